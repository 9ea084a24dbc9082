"""The step that cuts a data set's own arrays, on files alone: which rows, at what times, and why not."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from avatar_lab.data.schema import SideFeatures
from data_prep import npz
from data_prep.blob import Blob
from data_prep.steps.features import FeatureRule, Refused, RowClock, take

NTSC = Fraction(30000, 1001)
VIDEO = np.arange(302) / 25
"""Times of 302 frames."""


def taken(
    path: Path, rule: FeatureRule | None = None, *, frames_P: np.ndarray | None = VIDEO, rate: Fraction | None = None
) -> tuple[str, SideFeatures, dict[str, str]]:
    left_out: dict[str, str] = {}
    clock = RowClock(frames_P=frames_P, start=0.0, end=12.08, rate=rate)
    axis, found, _ = take(Blob.of(path), clock, rule or FeatureRule(), seconds=12.0, left_out=left_out)
    return axis, found, left_out


@pytest.mark.parametrize(
    ("rows", "frames_P", "rate", "axis", "last"),
    [
        (302, VIDEO, None, "video", 299),
        (306, VIDEO, Fraction(25), "video", 299),
        (298, VIDEO, None, "video", 297),
        (302, None, Fraction(25), "rate", 299),
        (2900, VIDEO, Fraction(240), "rate", 2879),
        (362, None, NTSC, "rate", 359),
    ],
)
def test_rows_are_those_of_the_frames_or_of_the_stated_rate(
    tmp_path: Path, rows: int, frames_P: np.ndarray | None, rate: Fraction | None, axis: str, last: int
) -> None:
    np.savez(tmp_path / "x.npz", allow_pickle=False, row=np.arange(rows))
    found_axis, found, _ = taken(tmp_path / "x.npz", frames_P=frames_P, rate=rate)
    assert (found_axis, found.arrays["row"][0], found.arrays["row"][-1]) == (axis, 0, last)
    assert found.seconds[-1] == pytest.approx(last / float(25 if axis == "video" else rate))


def test_frames_go_before_a_rate_and_most_arrays_before_few(tmp_path: Path) -> None:
    rows = {"a": 2900, "b": 2900, "c": 301, "d": 302, "e": 302}
    np.savez(tmp_path / "x.npz", allow_pickle=False, **{name: np.arange(count) for name, count in rows.items()})
    axis, found, left_out = taken(tmp_path / "x.npz", rate=Fraction(240))
    assert (axis, list(found.arrays), sorted(left_out)) == ("video", ["d", "e"], ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"features\.keys is 'exp': give a list of names, such as \[exp\]"):
        FeatureRule(keys="exp")


@pytest.mark.parametrize(
    ("rows", "frames_P", "rate", "said"),
    [
        (310, VIDEO, None, "has rows row 310; the video has 302 frames, no feature_rate is stated"),
        (310, VIDEO, Fraction(50), "the video has 302 frames, 50 rows per second are stated"),
        (302, None, None, "there is no video, no feature_rate is stated, and the recording lasts 12.08 s"),
        (240, None, Fraction(25), "there is no video, 25 rows per second are stated"),
    ],
)
def test_a_time_axis_is_never_guessed(
    tmp_path: Path, rows: int, frames_P: np.ndarray | None, rate: Fraction | None, said: str
) -> None:
    np.savez(tmp_path / "x.npz", allow_pickle=False, row=np.arange(rows))
    with pytest.raises(Refused) as refused:
        taken(tmp_path / "x.npz", frames_P=frames_P, rate=rate)
    assert refused.value.note == "no_clock"
    assert said in refused.value.detail


def write_npz(path: Path, parts: Mapping[str, np.ndarray | bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    """An npz whose entries may be anything."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, part in parts.items():
            buffer = io.BytesIO()
            if not isinstance(part, bytes):
                np.save(buffer, part, allow_pickle=True)
            archive.writestr(name, part if isinstance(part, bytes) else buffer.getvalue())


def test_arrays_that_are_no_rows_of_numbers_are_left_out(tmp_path: Path) -> None:
    rows = np.arange(302)
    parts = {
        "exp.npy": rows.astype(">f4"),
        "shape.npy": np.zeros(100),
        "fps.npy": np.float32(25),
        "names.npy": np.full(302, "smile"),
        "objects.npy": np.asarray([{}] * 302, object),
        "wide.npy": rows.astype(np.complex64),
        "seconds.npy": rows / 25,
        "../../evil.npy": rows,
        "slow.npy": np.zeros((20, 3)),
        "readme.txt": b"hello",
    }
    write_npz(tmp_path / "x.npz", parts)
    _, found, left_out = taken(tmp_path / "x.npz")
    assert list(found.arrays) == ["exp"]
    assert found.arrays["exp"].dtype == np.dtype(">f4")
    assert left_out == {
        "shape": "other_rows",
        "fps": "other_rows",
        "slow": "other_rows",
        "names": "not_numeric",
        "objects": "not_numeric",
        "wide": "not_numeric",
        "seconds": "bad_name",
        "../../evil": "bad_name",
    }
    _, found, left_out = taken(tmp_path / "x.npz", FeatureRule(keys=["exp", "s*w"]))
    assert (list(found.arrays), left_out) == (["exp"], {"slow": "other_rows"})


def lying() -> bytes:
    """An array whose header announces more than a thousand times what there is."""
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((302, 200), np.float32))
    return buffer.getvalue().replace(b"(302, 200), }    ", b"(302, 999999), } ")


@pytest.mark.parametrize(
    ("parts", "method", "note"),
    [
        ({"exp.npy": lying()}, zipfile.ZIP_STORED, "damaged: .*announces 1207998792 bytes, 241600 are there"),
        ({f"{i}.npy": np.zeros((302, 600), np.float32) for i in range(2)}, zipfile.ZIP_DEFLATED, "too_large: .*2 arr"),
        ({"x.npy": np.zeros((302, 1000), np.float32)}, zipfile.ZIP_DEFLATED, "too_large: .*x.npy 1208128 bytes"),
        ({"x.npy": np.zeros(302)}, zipfile.ZIP_LZMA, "damaged: .*not as numpy does"),
        ({"x.npy": b"not an array"}, zipfile.ZIP_STORED, "damaged: .*magic"),
        ({"x.npy": np.asarray([{}] * 302, object)}, zipfile.ZIP_STORED, "no_array: "),
        ({f"{i}.npy": b"" for i in range(5000)}, zipfile.ZIP_STORED, "too_large: .*5000 arrays"),
    ],
    ids=["lies", "bomb", "large", "method", "text", "pickle", "many"],
)
def test_hostile_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: Mapping[str, np.ndarray | bytes], method: int, note: str
) -> None:
    monkeypatch.setattr(npz, "MAX_BYTES", 1 << 20)
    write_npz(tmp_path / "x.npz", parts, method)
    with pytest.raises(Refused) as refused:
        taken(tmp_path / "x.npz")
    assert re.match(note, f"{refused.value.note}: {refused.value.detail}"), refused.value.detail
