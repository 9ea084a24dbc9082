"""Lag and leakage of a pair: measured as planted, stored, and acted upon only when asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from avatar_lab.data.schema import DatasetInfo
from avatar_lab.data.shards import ShardReader
from avatar_lab.event_types import Event, EventType, from_table, to_table
from avatar_lab.events.pair_lag import LagRule
from avatar_lab.events.vad import detect_speech
from avatar_lab.layout import Layout
from data_prep.manifest import SkipReason, SkipRecording
from data_prep.prepare import prepare
from data_prep.sources.paired_files import PairedFiles
from data_prep.steps.bleed import BleedRule, measure_bleed
from data_prep.steps.events import find_events
from data_prep.steps.store import StepResult
from data_prep.steps.sync import SyncRule, sync
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.recordings import ramp, write_video
from tests.events.babble import RATE, alternating, babble, late, with_bleed

SECONDS = 70.0
LAG = 0.4


def talk(seconds: float = SECONDS) -> dict[str, np.ndarray]:
    spans = alternating(seconds, seed=1)
    return {side: babble(seconds, spans[side], seed=number) for number, side in enumerate("ab", start=2)}


def measured(wavs: dict[str, np.ndarray], *, min_seconds: float = 3.0) -> dict:
    speech = {side: detect_speech(wav, RATE) for side, wav in wavs.items()}
    return measure_bleed(wavs, speech, sample_rate=RATE, min_seconds=min_seconds).values


@pytest.mark.parametrize("isolation_db", [9.0, 16.0, 23.0, 30.0])
def test_isolation_is_measured_as_planted(isolation_db: float) -> None:
    """Also where so much leaks that the voice activity of both is on while one speaks, and at any gain."""
    wavs = with_bleed(talk(), isolation_db=isolation_db)
    wavs["b"] = 0.3 * wavs["b"]
    found = measured(wavs)
    sides = list(found["isolation_db"].values())
    assert np.mean(sides) == pytest.approx(isolation_db, abs=0.3)
    assert sides == pytest.approx([isolation_db] * 2, abs=2.0)  # one voice is louder, which both sides show
    if isolation_db < 10:
        assert found["both_share"] > 0.5


def test_isolation_of_one_mixed_recording_is_none_of_it() -> None:
    wav = sum(talk().values())
    assert isinstance(wav, np.ndarray)
    found = measured({"a": wav, "b": wav.copy()})
    assert found["isolation_db"] == {"a": 0.0, "b": 0.0}
    assert found["both_share"] == 1.0


def test_isolation_without_enough_of_either_is_not_defined() -> None:
    wavs = talk()
    for changed in ({"b": np.zeros_like(wavs["b"])}, {"a": np.zeros_like(wavs["a"])}):
        found = measured(wavs | changed)
        assert found["isolation_db"] == {"a": None, "b": None}
    assert measured(wavs, min_seconds=60.0)["isolation_db"]["a"] is None


def test_low_isolation_is_a_skip_only_if_asked() -> None:
    result = StepResult(values={"isolation_db": {"a": 20.0, "b": 9.0}})
    BleedRule().refuse(result)
    BleedRule(min_isolation=8.0).refuse(result)
    with pytest.raises(SkipRecording, match=r"side b 9\.0 dB < 12 dB") as skipped:
        BleedRule(min_isolation=12.0).refuse(result)
    assert skipped.value.reason is SkipReason.LOW_ISOLATION
    BleedRule(min_isolation=12.0).refuse(StepResult(values={"isolation_db": {"a": None, "b": None}}))


def test_a_lag_is_acted_upon_only_if_asked_sure_and_large_enough_to_tell() -> None:
    wavs = with_bleed(talk(), isolation_db=20.0)
    facts = {"a.audio": {"start": 0.02}, "a.video": {"start": 0.05}, "b.audio": {"start": 0.0}}
    probed = StepResult(values={"seconds": 60.0, **facts})
    found = sync({"a": wavs["a"], "b": late(wavs["b"], LAG)}, probed, sample_rate=RATE, rule=LagRule())
    assert found.values["sound_after_picture"] == pytest.approx({"a": -0.03})
    assert found.values["evidence"] == "bleed"
    assert json.loads(json.dumps(found.values)) == found.values
    assert SyncRule().shift(found) == 0.0
    assert SyncRule(apply=True).shift(found) == pytest.approx(-LAG, abs=0.015)
    unsure = replace(found, values=found.values | {"confidence": 0.99})
    assert SyncRule(apply=True).shift(unsure) == 0.0
    assert SyncRule(apply=True, min_confidence=0.98).shift(unsure) != 0.0
    tiny = sync({"a": wavs["a"], "b": late(wavs["b"], 0.01)}, probed, sample_rate=RATE, rule=LagRule())
    assert tiny.values["lag_seconds"] == pytest.approx(0.01, abs=0.01)
    assert SyncRule(apply=True).shift(tiny) == 0.0
    short = sync({side: wav[: RATE * 20] for side, wav in wavs.items()}, probed, sample_rate=RATE, rule=LagRule())
    assert (short.values["lag_seconds"], short.values["confidence"]) == (None, 0.0)
    assert SyncRule(apply=True).shift(short) == 0.0


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs with leakage; in the second, side b started to record late and lacks its first moments."""
    root = tmp_path_factory.mktemp("recordings")
    wavs = with_bleed(talk(), isolation_db=12.0)
    for name, delay in (("sync", 0.0), ("late", LAG)):
        for number, side in enumerate("ab", start=1):
            wav = late(wavs[side], delay if side == "b" else 0.0)
            write_video(root / f"{name}_speaker{number}.mp4", ramp(SECONDS, size=32, offset=20 * number))
            soundfile.write(root / f"{name}_speaker{number}.wav", wav, RATE, "PCM_16")
    return root


def run(recordings: Path, out: Path, **changes: object) -> DatasetInfo:
    settings: dict = {
        "source": PairedFiles(root=recordings),
        "layout": Layout(),
        "audio_codec": FakeAudio,
        "video_codec": FakeVideo,
        "splits": {"train": 1.0},
        "workers": 0,
    }
    return prepare(out=out, **settings | changes)


@pytest.mark.ci
def test_a_late_side_is_noted_and_moved_only_on_demand(recordings: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    run(recordings, tmp_path / "noted", work=work)
    run(recordings, tmp_path / "moved", work=work, sync=SyncRule(apply=True))
    noted, moved = ShardReader(tmp_path / "noted"), ShardReader(tmp_path / "moved")
    keys = {name: noted.interaction(name).meta.step_keys for name in ("sync", "late")}
    lags = {
        name: json.loads((work / "sync" / key["sync"] / "result.json").read_text())["lag_seconds"]
        for name, key in keys.items()
    }
    assert lags == pytest.approx({"sync": 0.0, "late": LAG}, abs=0.015)
    for reader, late_by in ((noted, LAG), (moved, 0.0)):  # in the index: what is left of it
        row = reader.row("late")
        assert row.lag_seconds == pytest.approx(late_by, abs=0.015)
        assert row.lag_confidence > 0.999
        bleed = work / "bleed" / reader.interaction("late").meta.step_keys["bleed"] / "result.json"
        assert {"a": row.a_isolation_db, "b": row.b_isolation_db} == json.loads(bleed.read_text())["isolation_db"]
        assert row.a_isolation_db > 10.0
    assert moved.interaction("sync").meta.step_keys == keys["sync"]
    assert moved.interaction("late").meta.step_keys["sync"] == keys["late"]["sync"]
    turns = [
        [e.start for e in from_table(reader.interaction(name).events) if e.side == "b" and e.type is EventType.TURN]
        for reader, name in ((noted, "sync"), (moved, "late"))
    ]
    np.testing.assert_allclose(turns[1], turns[0], atol=0.03)
    before, after = noted.interaction("late").sides["b"], moved.interaction("late").sides["b"]
    # five tokens of 80 ms and ten frames of 40 ms: what comes before is shown earlier, and the end is missing
    np.testing.assert_array_equal(after.audio_tokens[5:500, 0], before.audio_tokens[10:505, 0])
    assert before.audio_valid.all()
    assert after.audio_valid[:-6].all()
    assert not after.audio_valid[-5:].any()
    level = after.avatar_latents[50:60].astype(np.float32) - before.avatar_latents[50:60].astype(np.float32)
    assert float(level.mean()) * 127.5 == pytest.approx(10 * LAG, abs=0.5)


@pytest.mark.ci
def test_low_isolation_is_counted_and_no_damage(recordings: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no recording is left"):
        run(recordings, tmp_path / "out", bleed=BleedRule(min_isolation=20.0), max_skipped_share=0.0)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["skipped_by_reason"] == {"low_isolation": 2}


def test_what_was_noted_on_a_moved_file_moves_along(tmp_path: Path) -> None:
    nods = [Event(interaction="d", side=side, type=EventType.NOD, start=5.0, end=5.8) for side in "ab"]
    pq.write_table(to_table(nods), tmp_path / "given.parquet")
    found = find_events(
        {"a": [(1.0, 4.0)], "b": [(6.0, 9.0)]},
        seconds=12.0,
        interaction="d",
        given=tmp_path / "given.parquet",
        notes={},
        shift={"b": -0.5},
    )
    assert [(e.side, e.start) for e in from_table(found.tables["given_events"])] == [("b", 4.5), ("a", 5.0)]
    assert found.arrays["b.reactions"].tolist()[4:6] == [1, 0]
