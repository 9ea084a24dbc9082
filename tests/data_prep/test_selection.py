"""Some of the steps: what runs, what is left for later, and which names are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatar_lab.layout import Layout
from data_prep.pipeline import Pipeline
from data_prep.selection import ANNOTATING, OPTIONAL, STEPS, chosen_steps
from data_prep.settings import Settings
from data_prep.sources.paired_files import PairedFiles
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.recordings import write_pair
from tests.data_prep.test_prepare import run


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    write_pair(root, "d0")
    return root


def test_names() -> None:
    assert chosen_steps(None, score_only=False) is None
    assert chosen_steps(STEPS, score_only=False) is None
    assert chosen_steps(None, score_only=True) == set(ANNOTATING)
    assert chosen_steps(["sync", "probe"], score_only=False) == {"probe", "sync"}
    assert chosen_steps(["voice"], score_only=False) == {"probe", "sync", "voice"}  # brings along what it needs


@pytest.mark.parametrize(
    ("steps", "score_only", "message"),
    [
        (["event"], False, r"no step 'event' \(did you mean 'events'\?\); there are \['probe'"),
        ([], False, "runs nothing"),
        (["probe"], True, "leave out steps"),
    ],
)
def test_what_cannot_be_run_is_refused(steps: list[str], score_only: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chosen_steps(steps, score_only=score_only)


def test_steps_are_known_in_the_order_in_which_they_run(recordings: Path, tmp_path: Path) -> None:
    (recording,) = PairedFiles(root=recordings).recordings()
    with Pipeline(Settings(layout=Layout(), work=tmp_path), FakeAudio(), FakeVideo()) as pipeline:
        outcome = pipeline.prepare(recording)
    run_steps = tuple(step for step in STEPS if step not in OPTIONAL)
    assert tuple(outcome.keys) == run_steps
    assert set(outcome.costs) == {*run_steps, "digests"}
    encode = outcome.costs["encode"]
    assert 0 < encode.core < 10 * encode.wall
    assert encode.decode > 0
    assert not encode.accelerator


@pytest.mark.ci
def test_a_part_is_run_and_the_rest_goes_on_from_there(recordings: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "shards", tmp_path / "shards.work"
    assert run(recordings, out, steps=["probe"]) is None
    assert {path.name for path in work.iterdir() if path.is_dir()} == {"probe"}
    assert not out.exists()
    assert run(recordings, out, score_only=True) is None
    annotated = {*ANNOTATING, "sheet"} - {*OPTIONAL}  # sheets are the report's
    assert {path.name for path in work.iterdir() if path.is_dir()} == annotated
    assert "| backchannels |" in (out / "report.md").read_text()
    assert not (out / "dataset.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in work.rglob("result.json")}
    assert run(recordings, out).splits["train"]["interactions"] == 1
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())
