"""The preparation report: known answers on planted results, nothing unknown as 0, a page that needs no network."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from avatar_lab.event_types import Event, EventType, to_table
from avatar_lab.layout import Layout
from data_prep.blob import Blob
from data_prep.manifest import Recording, SideFiles, SkipReason
from data_prep.pipeline import Prepared
from data_prep.report import Throughput, row, write_report
from data_prep.report.figures import Figures
from data_prep.report.reading import Reading
from data_prep.report.row import Row, SideRow
from data_prep.report.running import Running
from data_prep.report.sheets import SheetRule, choose, sheets
from data_prep.settings import Settings
from data_prep.shard import Entry
from data_prep.steps.outages import find_outages
from data_prep.steps.store import StepResult, StepStore
from data_prep.steps.sync import SyncRule
from tests.data_prep.recordings import ramp, write_video

EVIL = "<script src='https://example.org/x.js'></script>|`\n"
Span = tuple[float, float]


class Planted:
    """Step results written by hand, as if a preparation had left them in ``work``."""

    def __init__(self, root: Path) -> None:
        self.root, self.out = root, root / "out"
        self.store = StepStore(root / "work")
        self.recordings: list[Recording] = []
        self.outcomes: list[Prepared] = []
        self.entries: list[Entry] = []

    def add(
        self,
        name: str,
        *,
        seconds: float,
        people: tuple[str, str],
        license: str = "CC0-1.0",
        non_commercial: bool = False,
        split: str = "train",
        spans: dict[tuple[str, EventType], list[Span]] | None = None,
        shares: dict[str, float] | None = None,
        offsets: list[float] | None = None,
        pictures: bool = True,
        skip: tuple[SkipReason, str] | None = None,
        probed: bool = True,
        more: dict[str, StepResult] | None = None,
    ) -> None:
        """One recording; with ``skip`` it is dropped, after its probe or before."""
        spans = spans or {}
        sides = {
            side: SideFiles(
                participant=person, video=Blob.of(self.root / f"{name}{side}.mp4") if pictures else None, audio=None
            )
            for side, person in zip("ab", people, strict=True)
        }
        recording = Recording(
            interaction=name,
            source="planted",
            group="",
            sides=sides,
            license=license,
            non_commercial=non_commercial,
            audio_only=not pictures,
        )
        facts: dict[str, Any] = {"codec": "h264", "width": 64, "height": 48, "fps": "30000/1001", "start": 0.0}
        values: dict[str, Any] = {"seconds": seconds}
        for side in "ab":
            sound = {"codec": "pcm", "sample_rate": 48_000, "channels": 1, "start": 0.25, "end": seconds}
            values |= {f"{side}.audio": sound} | ({f"{side}.video": facts | {"end": seconds}} if pictures else {})
        steps = {"probe": StepResult(values=values, arrays={f"{s}.pts": np.arange(0, seconds, 0.04) for s in "ab"})}
        if skip is None:
            steps["events"] = _events_result(name, seconds, spans, shares or {"silence": 1.0}, offsets or [])
            steps["encode"] = StepResult()
            steps |= more or {}
        keys = {step: f"{step}-{name}".encode().hex() for step in steps if probed}
        for step, key in keys.items():
            self.store.save(step, key, steps[step])
        self.recordings.append(recording)
        reason, detail = (None, "") if skip is None else skip
        self.outcomes.append(Prepared(interaction=name, keys=keys, skip=reason, detail=detail))
        if skip is None:
            self.entries.append(Entry(recording=recording, split=split, keys=keys))

    def report(self, **rule: Any) -> dict[str, Any]:
        return write_report(
            self.out,
            recordings=self.recordings,
            outcomes=self.outcomes,
            entries=self.entries,
            store=self.store,
            settings=Settings(layout=Layout(), work=self.root / "work"),
            shares={"train": 0.9, "test": 0.1, "none": 0.0},
            cost=Throughput(wall_seconds=10.0, computed_seconds=360.0, workers=2),
            findings={"files of other names": 3},
            sheet_rule=SheetRule(**{"count": 0} | rule),
        )

    def text(self, name: str) -> str:
        return (self.out / name).read_text()


def _events_result(
    name: str,
    seconds: float,
    spans: dict[tuple[str, EventType], list[Span]],
    shares: dict[str, float],
    offsets: list[float],
) -> StepResult:
    events = [
        Event(interaction=name, side=side, type=kind, start=start, end=end)
        for (side, kind), found in spans.items()
        for start, end in found
    ]
    script = {
        side: [
            ipu
            for ipu in spans.get((side, EventType.IPU), [])
            if ipu not in spans.get((side, EventType.BACKCHANNEL), [])
        ]
        for side in "ab"
    }
    counts = {side: len(spans.get((side, EventType.BACKCHANNEL), [])) for side in "ab"}
    return StepResult(
        values={
            "seconds": seconds,
            "shares": {"speech": 0.0, "overlap": 0.0, "silence": 0.0} | shares,
            "turns": 0,
            "floor_transfer_offsets": offsets,
            "backchannels": counts,
            "interruptions": {"a": 0, "b": 0},
            "laughs": {"a": 0, "b": 0},
            "voice_agreement": {},
        },
        arrays={f"{side}.script": np.asarray(script[side]).reshape(-1, 2) for side in "ab"} | find_outages([]),
        tables={"events": to_table(events)},
    )


TALK: dict[tuple[str, EventType], list[Span]] = {
    ("a", EventType.IPU): [(0.0, 10.0), (10.5, 20.0), (39.0, 60.0)],
    ("b", EventType.IPU): [(5.0, 5.5), (20.4, 40.0)],
    ("a", EventType.PAUSE): [(10.0, 10.5)],
    ("a", EventType.TURN): [(0.0, 20.0), (39.0, 60.0)],
    ("b", EventType.TURN): [(20.4, 40.0)],
    ("b", EventType.BACKCHANNEL): [(5.0, 5.5)],
}
SHARES = {"speech": 59.1 / 120, "overlap": 1.5 / 120, "silence": 60.9 / 120}


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    """Two minutes with pictures, four without, one minute dropped late and one recording that was never there."""
    made = Planted(tmp_path)
    made.add("talk", seconds=120.0, people=("ann", "bob"), spans=TALK, shares=SHARES, offsets=[0.4, -1.0])
    made.add("gone", seconds=60.0, people=("cy", "di"), skip=(SkipReason.BAD_EVENTS, EVIL))
    nobody = (SkipReason.NOT_ON_DISK, "elsewhere")
    made.add("never", seconds=1e6, people=("ed", "fay"), skip=nobody, probed=False)
    terms: dict[str, Any] = {"license": "CC-BY-NC-4.0", "non_commercial": True}
    made.add("sound", seconds=240.0, people=("ann", EVIL), split="test", pictures=False, **terms)
    return made


def test_hours_count_what_is_used_and_shares_are_of_it(planted: Planted) -> None:
    found = planted.report()
    assert (found["recordings"], found["prepared"], found["skipped"]) == (4, 2, 2)
    assert found["hours"] == pytest.approx(360 / 3600)
    assert found["picture_hours"] == pytest.approx(120 / 3600)
    assert found["time_shares"] == pytest.approx(
        {
            "speech": 59.1 / 360,
            "overlap": 1.5 / 360,
            "overlap_without_backchannels": 1.0 / 360,
            "silence": 300.9 / 360,
        }
    )
    train, test = found["splits"]["train"], found["splits"]["test"]
    assert set(found["splits"]) == {"train", "test"}
    assert (train["hours"], test["hours"]) == pytest.approx((120 / 3600, 240 / 3600))
    assert (train["picture_hours"], test["picture_hours"]) == pytest.approx((120 / 3600, 0))
    assert train["speaking_hours"] == pytest.approx({"a": 40.5 / 3600, "b": 20.1 / 3600})
    # a listens but where it holds the floor itself, b listens also while it says "mm-hm"
    assert train["listening_hours"] == pytest.approx({"a": 18.6 / 3600, "b": 39.5 / 3600})
    assert test["speaking_hours"] == {"a": 0.0, "b": 0.0}
    assert found["per_minute"]["backchannels"] == pytest.approx(1 / 6)
    assert found["per_minute"]["floor transfers"] == pytest.approx(2 / 6)
    assert found["floor_transfer_offset"] == pytest.approx(
        {"count": 2, "mean": -0.3, "p10": -0.86, "p50": -0.3, "p90": 0.26, "share_in_overlap": 0.5}
    )
    assert (found["gap"]["p50"], found["overlap_at_transfer"]["p50"]) == pytest.approx((0.4, -1.0))
    assert (found["pause"]["mean"], found["turn"]["p50"]) == pytest.approx((0.5, 20.0))
    assert found["balance"]["mean"] == pytest.approx(40.5 / 60.6, abs=1e-3)
    assert found["frame_rates"] == {"no video": 2, "29.97 fps": 2}
    assert found["sample_rates"] == {"48000 Hz": 4}
    assert found["sound_after_picture"]["p50"] == pytest.approx(0.25)
    assert sum(found["histograms"]["floor_transfer_offset"]["counts"]) == 2


def test_drops_terms_and_leakage(planted: Planted) -> None:
    planted.entries.append(replace(planted.entries[0], split="test"))
    planted.recordings.append(planted.recordings[0])
    planted.outcomes.append(planted.outcomes[0])
    twin = replace(planted.recordings[0], interaction="twin")
    planted.recordings[-1], planted.outcomes[-1] = twin, replace(planted.outcomes[0], interaction="twin")
    planted.entries[-1] = replace(planted.entries[-1], recording=twin)
    found = planted.report()
    assert found["dropped"] == {
        "bad_events": {
            "recordings": 1, "hours": pytest.approx(60 / 3600), "unknown_length": 0, "damage": True, "first": ["gone"],
        },
        "not_on_disk": {"recordings": 1, "hours": 0.0, "unknown_length": 1, "damage": False, "first": ["never"]},
    }  # fmt: skip
    assert found["skipped_by_reason"] == {"bad_events": 1, "not_on_disk": 1}
    assert found["licenses"] == {
        "CC-BY-NC-4.0": {
            "recordings": 1,
            "hours": pytest.approx(240 / 3600),
            "non_commercial_hours": pytest.approx(240 / 3600),
        },
        "CC0-1.0": {"recordings": 2, "hours": pytest.approx(240 / 3600), "non_commercial_hours": 0.0},
    }
    assert found["non_commercial"]
    assert found["non_commercial_hours"] == pytest.approx(240 / 3600)
    assert found["leakage"]["people"] == ["ann", "bob"]
    assert found["leakage"]["same_files"] == found["leakage"]["same_files_across_splits"] == 1
    assert found["leakage"]["first_same_files"] == [["talk", "twin"]]
    assert found["participants"]["longest"]["ann"] == pytest.approx(480 / 3600)
    text = planted.text("report.md")
    assert "| not_on_disk | 1 | not known | no | never |" in text
    assert "talk = twin" in text
    assert "0.067 hours forbid commercial use" in text


def test_every_recording_has_a_row_and_what_is_unknown_is_null(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row, "_ROWS_PER_GROUP", 2)
    planted.report()
    file = pq.ParquetFile(planted.out / "report.parquet")
    assert file.metadata.num_row_groups == 2
    rows = {line["interaction"]: line for line in file.read().to_pylist()}
    assert list(rows) == ["talk", "gone", "never", "sound"]
    talk, gone, never, sound = rows.values()
    assert (talk["split"], talk["dropped"], talk["seconds"], talk["has_pictures"]) == ("train", None, 120.0, True)
    assert (talk["a_participant"], talk["a_turns"], talk["b_backchannels"]) == ("ann", 2, 1)
    assert (talk["a_width"], talk["a_sample_rate"]) == (64, 48_000)
    assert talk["a_fps"] == pytest.approx(30_000 / 1001)
    assert talk["floor_transfer_offset_mean"] == pytest.approx(-0.3)
    assert talk["overlap_seconds"] == pytest.approx(1.5)
    unknown = ("lag_seconds", "a_isolation_db", "a_visible_events", "a_face_from", "a_laughs", "a_voice_agreement")
    assert [talk[name] for name in unknown] == [None] * len(unknown)
    assert (gone["dropped"], gone["detail"], gone["seconds"], gone["split"]) == ("bad_events", EVIL, 60.0, None)
    assert (never["dropped"], never["seconds"], never["a_participant"]) == ("not_on_disk", None, "ed")
    assert (sound["has_pictures"], sound["a_fps"], sound["a_sound_after_picture"]) == (False, None, None)
    assert (sound["non_commercial"], sound["a_speaking_seconds"]) == (True, 0.0)
    assert not (planted.out / "report.parquet.part").exists()


def test_steps_that_did_not_run_are_said_and_have_no_figure(planted: Planted) -> None:
    found = planted.report()
    assert (found["steps"]["sync"], found["steps"]["bleed"], found["steps"]["motion"]) == (0, 0, 0)
    assert found["lag"] == found["isolation_db"] == found["motion_events"] == {}
    text = planted.text("report.md")
    for step in ("sync", "bleed", "motion", "track"):
        assert f"The step {step} was not run." in text
        assert f"| {step} | not run |" in text
    assert "| laughs per minute | not known | 1.40 |" in text
    assert planted.text("report.html").count(">not run</text>") == 2


def test_results_of_later_steps_are_shown_where_they_are(planted: Planted) -> None:
    planted.add(
        "more",
        seconds=60.0,
        people=("gus", "hal"),
        spans={("b", EventType.NOD): [(1.0, 2.0)]},
        more={
            "sync": StepResult(values={"lag_seconds": -0.12, "confidence": 0.9}),
            "bleed": StepResult(values={"isolation_db": {"a": 17.5, "b": None}}),
            "motion": StepResult(values={"known": {"a": {}, "b": {"pitch": 0.9}}}),
        },
    )
    found = planted.report()
    assert found["lag"]["p50"] == pytest.approx(-0.12)
    assert found["lag_confidence"]["mean"] == pytest.approx(0.9)
    assert (found["isolation_db"]["count"], found["isolation_db"]["mean"]) == (1, pytest.approx(17.5))
    assert found["motion_events"] == {"nod": 1}
    assert "1 of 3 recordings." in planted.text("report.md")
    line = pq.read_table(planted.out / "report.parquet").to_pylist()[-1]
    assert (line["lag_seconds"], line["a_isolation_db"], line["b_isolation_db"]) == (-0.12, 17.5, None)
    assert (line["a_visible_events"], line["b_visible_events"]) == (None, 1)
    assert "own voice over the other" in planted.text("report.html")


def test_a_result_that_vanished_is_said(planted: Planted) -> None:
    planted.entries[0].keys["events"] = "0" * 64
    with pytest.raises(ValueError, match="result of step events on talk vanished"):
        planted.report()


class Requests(HTMLParser):
    """Whatever a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        fetching = ("src", "href", "xlink:href", "srcset", "data", "action", "poster")
        self.addresses += [value or "" for name, value in attrs if name in fetching or name.startswith("on")]


def test_the_page_asks_for_nothing_and_names_stay_text(planted: Planted) -> None:
    planted.report(count=2)
    page = planted.text("report.html")
    asked = Requests()
    asked.feed(page)
    assert not asked.tags & {"script", "link", "iframe", "object", "embed", "base", "form", "a"}
    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in asked.addresses)
    assert "url(http" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page
    assert "&lt;script src=" in page
    assert "<script" not in planted.text("report.md")
    rows = [line for line in planted.text("report.md").splitlines() if "example.org" in line and line.startswith("|")]
    assert len(rows) == 1, "one cell, in one line"
    assert rows[0].replace("\\|", "").count("|") == 3


def test_shifts_and_holds_are_counted_where_they_are_plain(tmp_path: Path) -> None:
    made = Planted(tmp_path)
    talk: dict[tuple[str, EventType], list[Span]] = {
        ("a", EventType.IPU): [(0.0, 4.0), (4.6, 7.0)],
        ("b", EventType.IPU): [(7.5, 10.0), (10.5, 12.5)],
    }
    made.add("talk", seconds=30.0, people=("a", "b"), spans=talk)
    made.add("quiet", seconds=30.0, people=("c", "d"))
    found = made.report()
    assert (found["per_minute"]["shifts after silence"], found["per_minute"]["holds after silence"]) == (1.0, 2.0)
    assert found["shift_share"] == pytest.approx(1 / 3)
    assert "After 33.3% of the silences whose outcome is plain the other speaks" in made.text("report.md")
    rows = {line["interaction"]: line for line in pq.read_table(made.out / "report.parquet").to_pylist()}
    assert (rows["talk"]["shifts"], rows["talk"]["holds"], rows["quiet"]["shifts"]) == (1, 2, 0)


def test_nothing_prepared_is_a_report_too(tmp_path: Path) -> None:
    made = Planted(tmp_path)
    made.add("gone", seconds=60.0, people=("a", "b"), skip=(SkipReason.TRUNCATED, "short"))
    found = made.report()
    assert (found["prepared"], found["hours"], found["time_shares"], found["per_minute"]) == (0, 0.0, {}, {})
    assert "0 of 1 recordings prepared" in made.text("report.md")
    assert "Empty splits: test, train." in made.text("report.html")


@pytest.fixture
def filmed(tmp_path: Path) -> Planted:
    made = Planted(tmp_path)
    for number, name in enumerate(("film", "talk2", "talk3")):
        made.add(name, seconds=12.0, people=(f"{number}a", f"{number}b"), spans=TALK)
    write_video(tmp_path / "filma.mp4", np.tile(ramp(12.0, size=48), (1, 1, 2, 1))[:, :, :64])
    (tmp_path / "filmb.mp4").write_bytes(b"no video at all")
    made.add("mute", seconds=12.0, people=("3a", "3b"), pictures=False)
    return made


def test_contact_sheets_show_the_pictures_of_their_times(filmed: Planted) -> None:
    settings = Settings(layout=Layout(), work=filmed.root)
    rule = SheetRule(count=4, window=6.0, pictures=6, height=12)
    found = {sheet.interaction: sheet for sheet in sheets(filmed.entries, filmed.store, rule=rule, settings=settings)}
    assert list(found) == ["film", "mute", "talk2", "talk3"]
    sheet = found["film"]
    assert sheet.end - sheet.start == pytest.approx(6.0)
    shown = sheet.strips["a"].pictures_NHWC
    assert shown is not None, sheet.strips["a"].missing
    assert shown.shape == (6, 12, 16, 3)
    middle = sheet.start + np.arange(6) + 0.5
    np.testing.assert_allclose(shown.mean((1, 2, 3)), 10 * middle, atol=3.0)
    assert {event.type for event in sheet.events} >= {EventType.IPU}
    assert sheet.strips["b"].pictures_NHWC is None
    assert "not decoded: unreadable" in sheet.strips["b"].missing
    assert found["mute"].strips["a"].missing == "no pictures in this recording"
    (filmed.root / "filma.mp4").unlink()
    spent = replace(rule, budget=0.0)
    again = {sheet.interaction: sheet for sheet in sheets(filmed.entries, filmed.store, rule=spent, settings=settings)}
    np.testing.assert_array_equal(again["film"].strips["a"].pictures_NHWC, shown)
    assert "contact sheets were over" in again["film"].strips["b"].missing


def test_contact_sheets_show_a_late_side_where_it_was_moved_to(tmp_path: Path) -> None:
    made = Planted(tmp_path)
    found = {"lag_seconds": 1.5, "confidence": 0.9999, "evidence": "bleed", "bleed": {"resolution": 0.02}}
    made.add("late", seconds=12.0, people=("a", "b"), spans=TALK, more={"sync": StepResult(values=found)})
    for side in "ab":
        write_video(tmp_path / f"late{side}.mp4", np.tile(ramp(12.0, size=48), (1, 1, 2, 1))[:, :, :64])
    rule = SheetRule(window=6.0, pictures=6, height=12)
    for apply, behind in ((False, 0.0), (True, 1.5)):
        settings = Settings(layout=Layout(), work=tmp_path, sync=SyncRule(apply=apply))
        (sheet,) = sheets(made.entries, made.store, rule=rule, settings=settings)
        middle = sheet.start + np.arange(6) + 0.5
        for side, late in (("a", 0.0), ("b", behind)):  # what b filmed at 10 s belongs to 8.5 s
            shown = sheet.strips[side].pictures_NHWC
            assert shown is not None
            np.testing.assert_allclose(shown.mean((1, 2, 3)), 10 * np.minimum(middle + late, 11.96), atol=3.0)


def test_contact_sheets_are_in_the_page_and_do_not_depend_on_order(filmed: Planted) -> None:
    rule = SheetRule(count=2)
    names = [entry.recording.interaction for entry in choose(filmed.entries, rule)]
    assert names == [entry.recording.interaction for entry in choose(filmed.entries[::-1], rule)]
    many = {entry.recording.interaction for entry in choose(filmed.entries, replace(rule, seed=1, count=3))}
    assert len(many) == 3
    filmed.report(count=4, pictures=3)
    asked = Requests()
    asked.feed(filmed.text("report.html"))
    assert sum(address.startswith("data:image/jpeg;base64,/9j/") for address in asked.addresses) == 4


def test_running_quantiles_are_those_of_numpy() -> None:
    values = np.round(np.random.default_rng(0).normal(0.1, 0.8, 5001), 3)
    running = Running(low=-30.0, high=30.0, step=0.001)
    for part in np.array_split(values, 7):
        running.add(part)
    assert running.count == 5001
    assert running.mean == pytest.approx(values.mean())
    for share in (0.0, 0.1, 0.5, 0.903, 1.0):
        assert running.quantile(share) == pytest.approx(np.quantile(values, share), abs=1e-9)
    above = running.above(0.0)
    assert (above.count, above.mean) == (int((values > 0).sum()), pytest.approx(values[values > 0].mean()))
    assert running.below(0.0).quantile(0.5) == pytest.approx(np.median(values[values < 0]))
    histogram = running.histogram(low=-1.0, high=1.0, bins=20)
    expected, _ = np.histogram(values, np.linspace(-1, 1, 21) - 1e-9)
    assert histogram["counts"] == expected.tolist()
    assert (histogram["below"], histogram["above"]) == (int((values < -1).sum()), int((values >= 1).sum()))
    outside = Running(low=0.0, high=1.0, step=0.1)
    outside.add([5.0, -1.0])
    assert (outside.mean, outside.quantile(1.0), Running(low=0, high=1, step=1).summary()) == (2.0, 1.0, {})


def test_memory_does_not_grow_with_events() -> None:
    side = SideRow(backchannels=0, interruptions=0, sample_rate=8000)
    spent = dict.fromkeys(
        ("speech_seconds", "overlap_seconds", "overlap_without_backchannels_seconds", "silence_seconds"), 1.0
    )
    line = Row(
        interaction="x", source="", group="", license="", non_commercial=False, sides={"a": side, "b": side}, **spent
    )

    def readings() -> Iterator[Reading]:
        for seed in range(20):
            yield Reading(row=line, offsets=np.random.default_rng(seed).normal(size=5_000).tolist())

    figures = Figures()
    figures.add_used(Reading(row=line))
    tracemalloc.start()
    for reading in readings():
        figures.add_used(reading)
    del reading
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2**16
    assert figures.plain({})["floor_transfer_offset"]["count"] == 20 * 5_000
