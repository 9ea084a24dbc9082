"""Arrays of the data set's own in shards and batches: types and NaN as they were, on the frames that show them."""

from __future__ import annotations

import io
import random
import zipfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset as wds

from avatar_lab.data.dataset import DyadData
from avatar_lab.data.schema import (
    INDEX_NAME,
    INFO_NAME,
    Interaction,
    SideFeatures,
    forms_of,
    from_members,
    read_index,
    read_info,
    write_index,
    write_info,
)
from avatar_lab.data.schema.features import features_bytes, read_features
from avatar_lab.data.shards import ShardReader
from avatar_lab.data.streaming import DyadStream
from avatar_lab.data.windows import WindowId, cut_window, stack_windows
from avatar_lab.layout import Layout, Stream
from data_prep.open_shard import OpenShard
from tests.data.small_dataset import SILENCE, random_interaction, raw_members, write_dataset

SECONDS = 20.0


def ramp(rate: float, *, first: float = 0.0, seconds: float = SECONDS) -> SideFeatures:
    """Rows at ``rate`` whose number they hold, in several types."""
    count = round((seconds - first) * rate)
    row = np.arange(count)
    return SideFeatures(
        seconds=first + row / rate,
        arrays={
            "exp": np.stack([row, -row], axis=1).astype(np.float32),
            "half": (row[:, None, None] / np.ones((1, 2, 3))).astype(np.float16),
            "smplh:valid": row % 2 == 0,
            "token": row.astype(np.int32),
        },
    )


def with_features(key: str = "d0", *, layout: Layout | None = None, **sides: SideFeatures) -> Interaction:
    return replace(random_interaction(key, seconds=SECONDS, layout=layout or Layout()), features=sides)


def write(root: Path, interactions: list[Interaction]) -> Path:
    """A data set of one shard."""
    write_dataset(root, lengths={interaction.key: SECONDS for interaction in interactions})
    rows, info = read_index(root / INDEX_NAME), read_info(root)
    for path in root.glob("*.tar"):
        path.unlink()
    shard = OpenShard(root, "train", 0)
    rows = [replace(r, members=shard.add(i), shard=shard.name) for r, i in zip(rows, interactions, strict=True)]
    forms = {form for i in interactions for side in i.features.values() for form in forms_of(side)}
    changes = {"index_sha256": write_index(root / INDEX_NAME, rows), "features": tuple(sorted(forms))}
    write_info(root / INFO_NAME, replace(info, shards=(shard.close(),), **changes))
    return root


def test_round_trip_keeps_types_and_nan_and_is_always_the_same_bytes() -> None:
    brought = ramp(30.0)
    brought.arrays["exp"][3:5] = np.nan
    members = raw_members(with_features(b=brought))
    assert "a.features.npz" not in members
    assert members == raw_members(with_features(b=brought))
    (side,) = from_members("d0", members).features.items()
    assert side[0] == "b"
    np.testing.assert_array_equal(side[1].seconds, brought.seconds)
    for name, array in brought.arrays.items():
        assert side[1].arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(side[1].arrays[name], array)
    assert from_members("d0", members, features=()).features == {}
    assert list(from_members("d0", members, features=("exp",)).features["b"].arrays) == ["exp"]
    with np.load(io.BytesIO(members["b.features.npz"])) as plain:
        assert sorted(plain.files) == ["exp", "half", "seconds", "smplh:valid", "token"]


@pytest.mark.parametrize(
    "layout", [Layout(), Layout(fps=Fraction(30), block_seconds=Fraction(2, 5))], ids=["fps25", "fps30"]
)
@pytest.mark.parametrize("rate", [25.0, 30000 / 1001, 60.0])
def test_a_window_holds_the_rows_of_its_moments(layout: Layout, rate: float) -> None:
    start, blocks = 15, 6
    made = with_features(layout=layout, a=ramp(rate), b=ramp(rate))
    window = WindowId(key="d0", side="a", start_block=start, num_blocks=blocks)
    forms = forms_of(made.features["a"])
    cut = cut_window(made, window, layout=layout, silence_K=np.asarray(SILENCE, np.uint16), features=forms)
    found = stack_windows([cut, cut]).features
    assert found is not None
    moments = (start * layout.frames_per_block + np.arange(blocks * layout.frames_per_block)) / float(layout.fps)
    rows = np.floor(moments * rate + 2e-3 * rate).astype(int)
    assert found.avatar["exp"].dtype == torch.float32
    assert found.avatar["half"].shape == (2, len(rows), 2, 3)
    assert found.avatar["token"].dtype == torch.int64
    assert found.avatar["smplh:valid"].dtype == torch.bool
    np.testing.assert_array_equal(found.avatar["token"][1], rows)
    np.testing.assert_array_equal(found.avatar["exp"][0, :, 1], -rows.astype(np.float32))
    lead = layout.lead_tokens(Stream.USER_VIDEO) * layout.frames_per_latent
    assert found.user["token"].shape == (2, lead + len(rows))
    np.testing.assert_array_equal(found.user["token"][0, lead:], rows)
    before = max(0, lead - start * layout.frames_per_block)  # frames of the lead before the recording begins
    assert 0 < before < lead
    assert all(valid.all() for valid in found.avatar_valid.values())
    assert all((valid == (torch.arange(lead + len(rows)) >= before)).all() for valid in found.user_valid.values())
    half = stack_windows([cut]).to("cpu", torch.float16).features
    assert half is not None
    assert half.avatar["exp"].dtype == torch.float16
    assert half.avatar_valid["exp"].dtype == torch.bool


def test_where_there_is_no_row_nothing_is_invented() -> None:
    layout = Layout()
    late = ramp(25.0, first=2.0, seconds=12.0)
    late.arrays["exp"][25:50] = np.nan  # 3 to 4 s
    made = with_features(a=late)
    window = WindowId(key="d0", side="a", start_block=0, num_blocks=60)  # 19.2 s
    silence_K = np.asarray(SILENCE, np.uint16)
    batch = stack_windows([cut_window(made, window, layout=layout, silence_K=silence_K, features=forms_of(late))])
    assert batch.features is not None
    valid, value = batch.features.avatar_valid["exp"][0], batch.features.avatar["exp"][0]
    held = 12  # frames within half a second after the last row, which was at 11.96 s
    np.testing.assert_array_equal(np.flatnonzero(valid), np.arange(50, 300 + held))
    assert value[75:100].isnan().all()
    assert not value[torch.cat([torch.arange(75), torch.arange(100, 480)])].isnan().any()
    assert not value[:50].any()
    assert value[299, 0] == 249
    assert not batch.features.user_valid["exp"].any()
    assert stack_windows([cut_window(made, window, layout=layout, silence_K=silence_K)]).features is None


def test_rows_slower_than_pictures_hold_until_the_next() -> None:
    slow = SideFeatures(seconds=np.arange(20.0), arrays={"mood": np.arange(20, dtype=np.float64)})
    index_P, valid_P = slow.at(np.arange(525) / 25)
    assert valid_P[:500].all()
    assert not valid_P[500:].any()
    np.testing.assert_array_equal(index_P[:500], np.arange(500) // 25)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Both sides bring arrays, one side does, nobody does."""
    made = [with_features("d0", a=ramp(25.0), b=ramp(30.0)), with_features("d1", b=ramp(25.0)), with_features("d2")]
    return write(tmp_path / "shards", made)


def test_only_what_is_asked_for_is_read(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict = {"root": shards, "layout": Layout(), "batch_size": 6, "num_blocks": 10, "seed": 0}
    plain, asking = DyadData(**settings), DyadData(**settings, features=["exp", "smplh:*"])
    assert plain.batch(3).features is None
    batch = asking.batch(3)
    assert batch.features is not None
    assert sorted(batch.features.avatar) == ["exp", "smplh:valid"]
    torch.testing.assert_close(plain.batch(3).audio_BEK, batch.audio_BEK)
    seen = [bool(valid.any()) for valid in batch.features.avatar_valid["exp"]]
    windows = asking.windows(3, rank=0, world_size=1)
    assert seen == [(w.key, w.side) in (("d0", "a"), ("d0", "b"), ("d1", "b")) for w in windows]
    whole = asking.conversation("d0", "b").features
    assert whole is not None
    assert whole.avatar["exp"].shape == (1, 62 * 8, 2)
    assert asking.interaction("d1").features["b"].arrays.keys() == {"exp", "smplh:valid"}
    assert ShardReader(shards).interaction("d0", features=None).features["a"].arrays.keys() == ramp(1.0).arrays.keys()

    read = []
    pread = ShardReader._file
    monkeypatch.setattr(ShardReader, "_file", lambda reader, shard: read.append(shard) or pread(reader, shard))
    DyadData(**settings).interaction("d0")
    without = len(read)
    asking.reader._cache.clear()
    asking.interaction("d0")
    assert len(read) - without == without + 2, "the default opens no member of arrays"


def test_streams_bring_them_too(shards: Path) -> None:
    settings: dict = {"urls": [str(next(shards.glob("*.tar")))], "info": read_info(shards), "layout": Layout()}
    settings |= {"batch_size": 4, "num_blocks": 10, "seed": 0}
    assert next(iter(DyadStream(**settings))).features is None
    batch = next(iter(DyadStream(**settings, features=["token"])))
    assert batch.features is not None
    assert batch.features.avatar["token"].shape == (4, 80)


def test_plain_webdataset_and_numpy_read_them(shards: Path) -> None:
    (sample, *_) = wds.WebDataset([str(next(shards.glob("*.tar")))], shardshuffle=False)
    with np.load(io.BytesIO(sample["b.features.npz"]), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["token"], np.arange(600))


def test_names_that_are_not_there_and_rows_that_do_not_fit_are_said(shards: Path, tmp_path: Path) -> None:
    settings: dict = {"layout": Layout(), "batch_size": 2, "num_blocks": 10, "seed": 0}
    with pytest.raises(ValueError, match=r"'pose' is no array of this data set, which has \['exp', 'half'"):
        DyadData(root=shards, **settings, features=["pose"])
    with pytest.raises(ValueError, match=r"features is 'exp': give a list of names, such as \[exp\]"):
        DyadData(root=shards, **settings, features="exp")
    wide = SideFeatures(seconds=np.arange(20.0), arrays={"exp": np.zeros((20, 100), np.float32)})
    mixed = write(tmp_path / "mixed", [with_features("d0", a=ramp(25.0)), with_features("d1", a=wide)])
    with pytest.raises(ValueError, match=r"exp float32\[2\], exp float32\[100\]"):
        DyadData(root=mixed, **settings, features=["exp"])
    assert DyadData(root=mixed, **settings, features=["token"]).batch(0).features is not None


def test_a_data_set_without_them_is_described_as_before(tmp_path: Path) -> None:
    write_dataset(tmp_path, lengths={"d0": SECONDS})
    assert "features" not in (tmp_path / INFO_NAME).read_text().replace("user_features", "")
    assert read_info(tmp_path).features == ()


def entries(raw: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def packed(parts: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return buffer.getvalue()


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def test_hostile_members_are_refused() -> None:
    good = entries(features_bytes(ramp(25.0)))
    lying = good["exp.npy"].replace(b"(500, 2)", b"(9e9, 2)").replace(b"(500, 2)", b"(999, 2)")
    cases = {
        "allow_pickle": packed(good | {"exp.npy": saved(np.asarray([{"a": 1}] * 500, object))}),
        "malformed|announces|shape": packed(good | {"exp.npy": lying}),
        "is packed": packed(good, zipfile.ZIP_DEFLATED),
        "lacks the times": packed({"exp.npy": good["exp.npy"]}),
        "must be numbers with 500 rows": packed(good | {"exp.npy": saved(np.zeros(499))}),
        "must be numbers": packed(good | {"exp.npy": saved(np.full(500, "x"))}),
        "not decreasing": packed(good | {"seconds.npy": saved(-np.arange(500.0))}),
        "no name of an array": packed(good | {"../exp.npy": good["exp.npy"]}),
        "not a zip file": b"PK",
    }
    for message, raw in cases.items():
        with pytest.raises(ValueError, match=rf"here.*({message})"):
            read_features(raw, where="here")


def test_damage_is_a_sentence_or_changes_nothing() -> None:
    """Bytes changed at random, without the checksum of the index: a ValueError, or the arrays as they were."""
    raw = features_bytes(ramp(25.0, seconds=2.0))
    wanted, rng = read_features(raw, where="x"), random.Random(0)
    said: list[str] = []
    for _ in range(300):
        hurt = bytearray(raw)
        for _ in range(rng.choice((1, 1, 8))):
            hurt[rng.randrange(len(hurt))] = rng.randrange(256)
        hurt = hurt[: rng.randrange(len(hurt))] if rng.random() < 0.1 else hurt
        try:
            found = read_features(bytes(hurt), where="x")
        except ValueError as error:
            said.append(str(error))
            continue
        for name, array in found.arrays.items():
            if name in wanted.arrays:
                np.testing.assert_array_equal(array, wanted.arrays[name])
    assert len(said) > 150
    assert all(sentence.startswith("x") for sentence in said)
