"""Recordings in, shards out: all steps over a source with several processes; idempotent and resumable.

Run as ``python -m data_prep.prepare source.root=RECORDINGS out=SHARDS``. A second call does nothing twice; a killed one
goes on where it stopped. ``array.index=i array.count=n`` prepares one share of the recordings, in ``n`` such calls side
by side; the call without ``array.index`` then writes the shards.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

from avatar_lab.construct import build
from avatar_lab.data.schema import DatasetInfo
from avatar_lab.layout import Layout
from data_prep import config
from data_prep.existing import refuse_loss, refuse_other, stated, write_settings
from data_prep.headers import weights_of
from data_prep.manifest import NO_DAMAGE, Recording
from data_prep.pipeline import Prepared
from data_prep.plan import make_plan
from data_prep.plan_text import write_plan
from data_prep.pool import LoadAudio, LoadVideo, outcomes
from data_prep.progress import Tally, followed
from data_prep.report import Throughput, write_report
from data_prep.selection import Share, chosen_steps
from data_prep.settings import Settings, check_codecs
from data_prep.shard import Entry, ShardWriter
from data_prep.sources import Source
from data_prep.splits import assign_splits
from data_prep.steps.store import StepStore
from data_prep.timed_sample import SampleRule
from data_prep.work_folder import alone, beside_others

log = logging.getLogger(__name__)

DEFAULT_SPLITS = {"train": 0.9, "val": 0.05, "test": 0.05}


def prepare(
    *,
    source: Source,
    out: Path,
    layout: Layout,
    audio_codec: LoadAudio,
    video_codec: LoadVideo,
    work: Path | None = None,
    splits: Mapping[str, float] | None = None,
    allow_leakage: bool = False,
    workers: int = 2,
    max_skipped_share: float = 0.01,
    max_shard_bytes: int = 512 << 20,
    array: Share | None = None,
    steps: Sequence[str] | None = None,
    score_only: bool = False,
    plan: bool = False,
    plan_sample: SampleRule | None = None,
    overwrite: bool = False,
    **parameters: Any,
) -> DatasetInfo | None:
    """Prepare every recording of ``source`` into the data set ``out``; ``None`` where the call writes no shards.

    Args:
        audio_codec, video_codec: called in each worker to load the codec; must be picklable.
        work: step results; default ``<out>.work`` beside it. May be deleted afterwards, at the price of doing it again.
        splits: shares of participants by split.
        allow_leakage: keep splits of the source that put one person into two.
        workers: processes; 0 runs in this one.
        max_skipped_share: stop if a larger share of the recordings cannot be used; parts of a data set that are not on
            disk do not count.
        array: with an index, only that share of the recordings is prepared into ``work``, beside other such calls.
        steps: run only these and those before them; without the last step no shards are written.
        score_only: only the steps that need no codec, and the report.
        plan: say what all this would cost instead of doing it; a few recordings are prepared to be timed.
        plan_sample: how many.
        overwrite: replace a data set in ``out`` that was made with something else, or that has recordings which the new
            one lacks.
        parameters: the other fields of ``Settings``, by their names; ``None`` stands for the default.

    Raises:
        ValueError: there is no such parameter, there is nothing to prepare, too much was skipped, codecs and layout do
            not fit, or ``out`` holds another data set.
    """
    out = Path(out)
    work = Path(work) if work is not None else out.with_name(out.name + ".work")
    share = array or Share()
    settings = Settings.of(parameters, layout=layout, work=work, steps=chosen_steps(steps, score_only=score_only))
    shares = dict(splits) if splits else DEFAULT_SPLITS
    audio, video = audio_codec(), video_codec()
    check_codecs(layout, audio, video)
    made_with = stated(settings, audio, video, splits=shares, allow_leakage=allow_leakage)
    if not plan:
        refuse_other(out, made_with, overwrite=overwrite)
    recordings = list(source.recordings())
    if not recordings:
        raise ValueError(f"source {source.name} has no recordings: check its folder and file name patterns")
    split_of = assign_splits(recordings, shares, allow_leakage=allow_leakage)
    store = StepStore(work)
    started = time.monotonic()
    if plan:
        with beside_others(work):
            planned = make_plan(
                recordings,
                settings=settings,
                load_audio=audio_codec,
                load_video=video_codec,
                workers=workers,
                share=share,
                rule=plan_sample or SampleRule(),
                max_shard_bytes=max_shard_bytes,
            )
        write_plan(work, planned)
        return None
    if share.index is not None:
        own = share.of(recordings)
        with beside_others(work):
            done = _collect(outcomes(own, settings, audio_codec, video_codec, workers=workers), own, work)
        log.info(
            "task %d of %d: %d recordings done; when all tasks are, the same command without array.index writes the "
            "shards",
            share.index, share.count, len(done),
        )  # fmt: skip
        return None
    with alone(work):
        store.sweep()
        done = _collect(outcomes(recordings, settings, audio_codec, video_codec, workers=workers), recordings, work)
        entries = [
            Entry(recording=recording, split=split_of[recording.interaction], keys=done[recording.interaction].keys)
            for recording in recordings
            if done[recording.interaction].skip is None
        ]
        cost = Throughput(
            wall_seconds=time.monotonic() - started,
            computed_seconds=_computed_seconds(done, store),
            workers=workers,
        )
        ordered = [done[recording.interaction] for recording in recordings]
        refuse_loss(out, entries, done, overwrite=overwrite)
        if settings.steps is None or "events" in settings.steps:
            write_report(
                out,
                recordings=recordings,
                outcomes=ordered,
                entries=entries,
                store=store,
                settings=settings,
                shares=shares,
                cost=cost,
                findings=source.findings,
            )
        _refuse_damage(ordered, max_skipped_share=max_skipped_share, out=out)
        if settings.steps is not None:
            log.info("%s: steps %s of %d recordings; no shards", work, sorted(settings.steps), len(entries))
            return None
        writer = ShardWriter(
            out=out,
            store=store,
            settings=settings,
            audio_codec=audio,
            video_codec=video,
            max_shard_bytes=max_shard_bytes,
        )
        write_settings(out, made_with)
        info = writer.write(entries)
    hours = sum(split["seconds"] for split in info.splits.values()) / 3600
    log.info("%s: %d interactions, %.3f hours; %d skipped", out, len(entries), hours, len(ordered) - len(entries))
    return info


def _collect(found: Iterator[Prepared], recordings: Sequence[Recording], work: Path) -> dict[str, Prepared]:
    """Outcomes by interaction, without what they cost."""
    tally = Tally(weights=weights_of(recordings, work))
    return {outcome.interaction: replace(outcome, costs={}) for outcome in followed(found, tally)}


def _refuse_damage(ordered: Sequence[Prepared], *, max_skipped_share: float, out: Path) -> None:
    reasons = Counter(str(outcome.skip) for outcome in ordered if outcome.skip is not None)
    damaged = sum(count for reason, count in reasons.items() if reason not in NO_DAMAGE)
    if damaged > max_skipped_share * len(ordered):
        raise ValueError(
            f"{damaged} of {len(ordered)} recordings cannot be used ({dict(sorted(reasons.items()))}), "
            f"more than max_skipped_share={max_skipped_share:g}: mend them (see {out / 'report.md'}) or raise the share"
        )


def _computed_seconds(done: Mapping[str, Prepared], store: StepStore) -> float:
    """Media time of the recordings that were not already stored."""
    total = 0.0
    for outcome in done.values():
        if outcome.computed and outcome.skip is None:
            probed = store.load("probe", outcome.keys["probe"])
            total += 0.0 if probed is None else float(probed.values["seconds"])
    return total


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry of ``python -m data_prep.prepare``; exits with 1 (said why) or 130 (interrupted)."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(str(resources.files("configs"))) / "data_prep" / "paired_files.yaml"
    parser.add_argument("--config", type=Path, default=default, help="YAML file (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", help="key.subkey=value")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    handler = RichHandler(console=console, show_path=False) if console.is_terminal else logging.StreamHandler()
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s" if console.is_terminal else "%(asctime)s %(levelname)s %(message)s",
        handlers=[handler],
    )
    try:
        prepare(**build(config.load(options.config, options.overrides)))
    except ValueError as error:
        log.error("%s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        log.error("interrupted; the same command goes on from here")
        sys.exit(130)


if __name__ == "__main__":
    main()
