from itertools import islice
from pathlib import Path

import pytest

from avatar_lab.data.schema import read_info
from avatar_lab.data.streaming import DyadStream
from avatar_lab.layout import Layout
from tests.data.conftest import LENGTHS


def _stream(root: Path, **changes: object) -> DyadStream:
    urls = [str(path) for path in sorted(root.glob("*.tar"))]
    settings: dict = {"urls": urls, "info": read_info(root), "batch_size": 4, "num_blocks": 5, "seed": 0} | changes
    return DyadStream(layout=Layout(), **settings)


def test_stream_reads_every_sample_once(dataset: Path) -> None:
    assert sorted(interaction.key for interaction in _stream(dataset).interactions()) == sorted(LENGTHS)


def test_batches_have_the_shape_of_a_window_and_mix_conversations(dataset: Path) -> None:
    batches = list(islice(_stream(dataset), 12))
    assert all(batch.video_BFHWC.shape == (4, 10, 2, 2, 3) for batch in batches)
    assert len({int(sample) for batch in batches for sample in batch.sample_B}) > 24


def test_ranks_draw_differently(dataset: Path) -> None:
    first, second = next(iter(_stream(dataset))), next(iter(_stream(dataset, rank=1)))
    assert first.sample_B.tolist() != second.sample_B.tolist()


def test_damaged_header_does_not_lose_samples_silently(own_dataset: Path) -> None:
    path = own_dataset / "train-000000.tar"
    raw = bytearray(path.read_bytes())
    middle = raw.find(b"d1.a.audio_tokens.npy")
    raw[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"gave 1 samples, dataset\.json says 2"):
        list(_stream(own_dataset).interactions())


@pytest.mark.parametrize("url", ["pipe:cat x.tar", "file:///etc/x; rm y", "https://host/$(x).tar", "ftp://host/x.tar"])
def test_addresses_that_reach_a_shell_are_refused(dataset: Path, url: str) -> None:
    with pytest.raises(ValueError, match="is refused"):
        _stream(dataset, urls=[url])


def test_conversations_too_short_for_a_window_do_not_hang(dataset: Path) -> None:
    with pytest.raises(ValueError, match="no interaction holds a window of 900 blocks"):
        next(iter(_stream(dataset, num_blocks=900)))
