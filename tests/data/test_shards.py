import json
from pathlib import Path

import numpy as np
import pytest
import webdataset as wds

from avatar_lab.data.schema import from_members
from avatar_lab.data.shards import ShardReader
from avatar_lab.layout import Layout
from tests.data.conftest import LENGTHS
from tests.data.small_dataset import random_interaction


def test_reads_what_was_written(dataset: Path) -> None:
    reader = ShardReader(dataset)
    assert reader.keys("train") == sorted(LENGTHS)
    for key in reader.keys("train"):
        wanted = random_interaction(key, seconds=LENGTHS[key], layout=Layout())
        np.testing.assert_array_equal(reader.interaction(key).sides["b"].audio_tokens, wanted.sides["b"].audio_tokens)
    reader.verify()
    reader.close()


def test_plain_webdataset_reads_the_shards(dataset: Path) -> None:
    urls = [str(path) for path in sorted(dataset.glob("*.tar"))]
    found = {}
    for sample in wds.WebDataset(urls, shardshuffle=False):
        raw = {name: data for name, data in sample.items() if not name.startswith("__")}
        found[sample["__key__"]] = from_members(sample["__key__"], raw)
    assert sorted(found) == sorted(LENGTHS)
    reader = ShardReader(dataset)
    np.testing.assert_array_equal(
        found["d2"].sides["a"].avatar_latents, reader.interaction("d2").sides["a"].avatar_latents
    )


def test_cache_is_bounded_by_bytes(dataset: Path) -> None:
    size = ShardReader(dataset).interaction("d0").nbytes
    reader = ShardReader(dataset, cache_bytes=2 * size)
    for key in reader.keys("train"):
        reader.interaction(key)
    assert reader._cached <= 2 * size
    assert reader._cached == sum(item.nbytes for item in reader._cache.values())
    assert reader.interaction("short") is reader.interaction("short")


def test_unknown_key_and_split(dataset: Path) -> None:
    reader = ShardReader(dataset)
    with pytest.raises(ValueError, match="no interaction 'nobody'"):
        reader.interaction("nobody")
    with pytest.raises(ValueError, match="no split 'test'"):
        reader.keys("test")


def test_flipped_bit_is_found(own_dataset: Path) -> None:
    row = ShardReader(own_dataset).row("d1")
    member = next(m for m in row.members if m.name == "b.audio_tokens.npy")
    path = own_dataset / row.shard
    raw = bytearray(path.read_bytes())
    raw[member.offset + member.size - 1] ^= 1
    path.write_bytes(raw)
    reader = ShardReader(own_dataset)
    reader.interaction("d0")
    with pytest.raises(ValueError, match=r"d1\.b\.audio_tokens\.npy is damaged"):
        reader.interaction("d1")
    with pytest.raises(ValueError, match="sha256 differs"):
        reader.verify()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "train-000001.tar").unlink(), r"train-000001\.tar is missing"),
        (lambda root: _cut(root / "train-000001.tar"), r"train-000001\.tar has .* bytes instead of"),
        (lambda root: (root / "index.parquet").unlink(), "does not belong to dataset.json"),
        (lambda root: _cut(root / "index.parquet"), "does not belong to dataset.json"),
        (lambda root: (root / "dataset.json").unlink(), "preparation did not finish"),
        (lambda root: _cut(root / "dataset.json"), "damaged"),
        (lambda root: _edit(root, schema_version=0), "schema version 0"),
    ],
)
def test_damage_is_refused_in_one_sentence(own_dataset: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    damage(own_dataset)
    with pytest.raises(ValueError, match=message) as caught:
        ShardReader(own_dataset)
    assert "\n" not in str(caught.value)
    assert "prepar" in str(caught.value)


def test_swapped_shards_are_found(own_dataset: Path) -> None:
    first, second = own_dataset / "train-000000.tar", own_dataset / "train-000001.tar"
    size = max(first.stat().st_size, second.stat().st_size)
    swapped = first.read_bytes(), second.read_bytes()
    first.write_bytes(swapped[1].ljust(size, b"\0")[: first.stat().st_size])
    with pytest.raises(ValueError, match="damaged"):
        ShardReader(own_dataset).interaction("d0")


def test_other_layout_and_codecs_are_refused(dataset: Path) -> None:
    info = ShardReader(dataset).info
    with pytest.raises(ValueError, match="fps 25, the layout has 30"):
        info.check_layout(Layout(fps=30, block_seconds="2/5"))  # type: ignore[arg-type]
    info.check_codecs(audio_fingerprint="audio", video_fingerprint="video")
    with pytest.raises(ValueError, match="encoded by video codec video, the loaded one is other"):
        info.check_codecs(audio_fingerprint="audio", video_fingerprint="other")


def _cut(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])


def _edit(root: Path, **changes: object) -> None:
    path = root / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
