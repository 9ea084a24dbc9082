"""A data set is replaced by another one only where that is asked for; growing needs no question."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from avatar_lab.data.shards import ShardReader
from avatar_lab.events.vad import VadRule
from data_prep.selection import STEPS, Share
from data_prep.steps.crop import Crop, Crops
from tests.data_prep.fake_codecs import FakeVideo
from tests.data_prep.recordings import write_pair
from tests.data_prep.test_prepare import fingerprint, run


class OtherVideo(FakeVideo):
    def __init__(self) -> None:
        super().__init__(fingerprint="other-video")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``recordings``, ``shards`` and its work folder."""
    root = tmp_path_factory.mktemp("made")
    for name in ("d0", "d1"):
        write_pair(root / "recordings", name)
    run(root / "recordings", root / "shards")
    return root


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "made")  # with its times, so that nothing is computed again
    return tmp_path / "made"


def test_everything_that_decides_the_shards_is_stated(made: Path) -> None:
    stated = json.loads((made / "shards" / "settings.json").read_text())
    assert tuple(sorted(stated["version"])) == tuple(sorted(STEPS))
    assert stated["video_codec"] == "fake_video fake-video"
    assert stated["vad"]["margin"] == VadRule().margin
    assert str(made) not in json.dumps(stated)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video_codec": OtherVideo}, r"\(video_codec: fake_video fake-video -> fake_video other-video\)"),
        ({"vad": VadRule(margin=15.0)}, r"\(vad\.margin: 12\.0 -> 15\.0\)"),
        ({"crops": Crops(user=Crop(top=0.5))}, r"\(crops\.user\.top: 0\.0 -> 0\.5\)"),
        ({"splits": {"train": 0.5, "val": 0.5}}, r"\(splits\.train: 1\.0 -> 0\.5; splits\.val: None -> 0\.5\)"),
        ({"pictures": 2, "array": Share(index=0, count=2)}, r"\(pictures: 4 -> 2\)"),
        ({"pictures": 2, "score_only": True}, r"\(pictures: 4 -> 2\)"),
    ],
)
def test_another_configuration_is_refused_before_it_runs(made: Path, changes: dict, message: str) -> None:
    before, results = fingerprint(made / "shards"), len(list((made / "shards.work").rglob("result.json")))
    with pytest.raises(ValueError, match=rf"made with another configuration {message}: overwrite=true replaces it; or"):
        run(made / "recordings", made / "shards", **changes)
    assert fingerprint(made / "shards") == before
    assert len(list((made / "shards.work").rglob("result.json"))) == results


def test_what_bounds_the_run_may_differ(made: Path) -> None:
    before = fingerprint(made / "shards")
    run(made / "recordings", made / "shards", chunk_seconds=2.0, workers=1)
    assert fingerprint(made / "shards") == before


def test_a_data_set_grows_without_a_question_and_shrinks_only_when_told(copied: Path) -> None:
    recordings, out = copied / "recordings", copied / "shards"
    write_pair(recordings, "d2")
    assert run(recordings, out).splits["train"]["interactions"] == 3
    (recordings / "d1_speaker1.mp4").write_bytes(b"")
    for path in recordings.glob("d0*"):
        path.unlink()
    before = fingerprint(out)
    with pytest.raises(ValueError, match=r"lack \(d0: no longer in the source, d1: empty\): overwrite=true"):
        run(recordings, out, max_skipped_share=1.0)
    assert fingerprint(out) == before
    assert "3 of 3" in (out / "report.md").read_text()
    assert run(recordings, out, max_skipped_share=1.0, overwrite=True).splits["train"]["interactions"] == 1


def test_older_and_unreadable_data_sets_are_not_replaced_silently(copied: Path) -> None:
    recordings, out = copied / "recordings", copied / "shards"
    (out / "settings.json").unlink()  # as before settings were stated
    with pytest.raises(ValueError, match="video_codec: fake_video fake-video -> fake_video other-video"):
        run(recordings, out, video_codec=OtherVideo)
    run(recordings, out)
    info = json.loads((out / "dataset.json").read_text())
    (out / "dataset.json").write_text(json.dumps(info | {"schema_version": 0}))
    with pytest.raises(ValueError, match=r"schema version 0, this code reads .* overwrite=true"):
        run(recordings, out)
    run(recordings, out, overwrite=True)
    assert ShardReader(out).keys("train") == ["d0", "d1"]
