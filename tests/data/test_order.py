import hashlib
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch

from avatar_lab.data.dataset import DyadData
from avatar_lab.data.sampler import WindowSampler
from avatar_lab.data.shards import ShardReader
from avatar_lab.layout import Layout
from avatar_lab.tensors import DyadBatch
from tests.data.small_dataset import write_dataset


def _data(root: Path, **changes: object) -> DyadData:
    settings: dict = {"batch_size": 4, "num_blocks": 6, "seed": 1} | changes
    return DyadData(root=root, layout=Layout(), **settings)


def _fingerprint(batch: DyadBatch) -> str:
    digest = hashlib.sha256()
    batch.apply(lambda tensor: digest.update(tensor.numpy().tobytes()) or tensor)  # type: ignore[func-returns-value]
    return digest.hexdigest()


def test_batch_is_a_pure_function_of_seed_and_step(dataset: Path) -> None:
    first, again, other = _data(dataset), _data(dataset), _data(dataset, seed=2)
    forward = [_fingerprint(first.batch(step)) for step in range(40)]
    assert [_fingerprint(again.batch(step)) for step in reversed(range(40))] == forward[::-1]
    assert [_fingerprint(other.batch(step)) for step in range(40)] != forward
    assert len(set(forward)) == 40


def test_order_is_the_same_for_any_number_of_workers_and_any_start(dataset: Path) -> None:
    data = _data(dataset)
    wanted = [_fingerprint(data.batch(step)) for step in range(5, 17)]
    for workers in (0, 2):
        got = [_fingerprint(batch) for batch in islice(data.loader(5, workers), 12)]
        assert got == wanted
    assert [_fingerprint(batch) for batch in islice(data.loader(11, 0), 6)] == wanted[6:]


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_slice_one_global_order(dataset: Path, world_size: int) -> None:
    whole = _data(dataset)
    ranks = [_data(dataset, rank=rank, world_size=world_size) for rank in range(world_size)]
    for step in range(20):
        parts = [part.batch(step) for part in ranks]
        assert torch.equal(torch.cat([part.sample_B for part in parts]), whole.batch(step).sample_B)


def test_uneven_ranks_are_refused(dataset: Path) -> None:
    with pytest.raises(ValueError, match="batch_size 4 must divide evenly"):
        _data(dataset, rank=0, world_size=3).batch(0)
    with pytest.raises(ValueError, match="give both"):
        _data(dataset, rank=0)


def test_rank_is_that_of_the_process_group(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for when batches are, since the training loop joins the group only after the data was built."""
    data = _data(dataset)
    assert len(data.batch(3).sample_B) == 4
    for name, value in (("is_initialized", True), ("get_rank", 1), ("get_world_size", 2)):
        monkeypatch.setattr(f"torch.distributed.{name}", lambda value=value: value)
    wanted = _data(dataset, rank=1, world_size=2).batch(3).sample_B
    assert torch.equal(data.batch(3).sample_B, wanted)
    assert torch.equal(next(data.loader(3, 0)).sample_B, wanted)


def test_every_slot_is_used_once_per_epoch(dataset: Path) -> None:
    sampler = _data(dataset, batch_size=1, num_blocks=13).sampler
    count = sampler.windows_per_epoch
    epochs = [Counter((w.key, w.side) for w in map(sampler.window, range(e * count, (e + 1) * count))) for e in (0, 1)]
    assert epochs[0] == epochs[1]
    assert sum(epochs[0].values()) == count
    assert set(epochs[0]) == {(key, side) for key in ("d0", "d1", "d2", "d3") for side in ("a", "b")}
    orders = [[sampler.window(e * count + i) for i in range(count)] for e in (0, 1)]
    assert orders[0] != orders[1]


def test_longer_conversations_come_up_more_often(dataset: Path) -> None:
    sampler = _data(dataset, batch_size=1).sampler
    seen = Counter(sampler.window(i).key for i in range(sampler.windows_per_epoch))
    assert seen["d2"] > seen["d1"] > seen["d3"]


def test_short_conversations_are_named_not_lost(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = _data(dataset, num_blocks=14)
    assert data.sampler.too_short == ["short"]
    assert "1 of 5 interactions are shorter" in caplog.text
    with pytest.raises(ValueError, match="none of 5 interactions holds a window of 500 blocks"):
        _data(dataset, num_blocks=500)


def test_windows_with_reactions_come_up_more_often(tmp_path: Path) -> None:
    layout = Layout()
    write_dataset(tmp_path, lengths={"d0": 64.0, "d1": 64.0}, reactions_at={"d0": 40})
    reader = ShardReader(tmp_path)
    settings: dict = {"layout": layout, "num_blocks": 10, "seed": 0, "listening_weight": 0.0}

    def share(event_weight: float) -> float:
        """Windows of (d0, a) that hold the reactions, among all windows of an epoch or ten."""
        sampler = WindowSampler(reader.rows, reader.keys("train"), event_weight=event_weight, **settings)
        windows = [sampler.window(i) for i in range(10 * sampler.windows_per_epoch)]
        hits = [
            w.key == "d0" and w.side == "a" and layout.start(w.start_block) < 40 < layout.start(w.start_block + 10)
            for w in windows
        ]
        return sum(hits) / len(hits)

    # 10 of 191 starts on one of four (interaction, side): by chance about .013; each such start weighs 1 + 200 / 3.2
    assert share(0.0) < 0.03
    assert share(1.0) > 0.3


def test_all_starts_are_reachable(dataset: Path) -> None:
    sampler = _data(dataset, batch_size=1, num_blocks=20).sampler
    starts = {w.start_block for w in map(sampler.window, range(4000)) if w.key == "d3"}
    assert starts == set(range(39 - 20 + 1))


def test_loader_is_fast_enough(dataset: Path) -> None:
    """A tiny step uses 16 windows of 6.4 s in half a second; 20 times that is 640 windows a second."""
    data = _data(dataset, batch_size=16, num_blocks=20)
    for step in range(20):
        data.batch(step)
    started = time.process_time()
    for step in range(20, 60):
        data.batch(step)
    assert 40 * 16 / (time.process_time() - started) > 640
