"""What was observed of an agent, kept on disk: later rows, other agents' rows, report and notebooks read it.

``observations/<agent>.npz`` holds the curves of every sample and what plugins found and kept there,
``events/<agent>.parquet`` what the detectors found, with one interaction name per sample. To roll out and to read
pixels costs minutes, to compute metrics from curves seconds: a new metric needs no new rollout.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from avatar_lab.evaluation.finding import Finding, Missing
from avatar_lab.evaluation.metric.own_sound import OwnSound
from avatar_lab.evaluation.metric.picture import Look
from avatar_lab.evaluation.metric.undefined import Undefined
from avatar_lab.evaluation.metric.voice import Voice
from avatar_lab.evaluation.observation import Observation
from avatar_lab.event_types import Event, from_table, to_table

_KEY = "config_sha"
_TRACE = "trace:"


def write_observations(out: Path, agent: str, observations: Mapping[str, Observation], config_sha: str) -> None:
    """Keep the observations of an agent, by name of sample; the events first, the file that is looked for last."""
    write_events(events_path(out, agent), observations)
    arrays = {_KEY: np.array(config_sha)}
    for sample, seen in observations.items():
        curves: dict[str, np.ndarray] = {
            "channels": seen.channels_PC,
            "jaw": seen.jaw_P,
            "envelope": seen.envelope_P,
            "speech": np.array(seen.speech, dtype=np.float64).reshape(-1, 2),
        }
        if seen.voice is not None:
            curves |= {"f0": seen.voice.f0_R, "level": seen.voice.level_R}
        if seen.look is not None:
            look = seen.look
            curves["look"] = np.stack([look.luma_P, look.saturation_P, look.sharpness_P])
        if seen.own_sound is not None:
            own = seen.own_sound
            curves |= {"own_tokens": own.tokens_AK, "own_open": own.open_A, "own_spectra": own.spectra_RD}
            curves["own_entries"] = np.array(own.num_entries)
        if seen.extra:
            curves["extra"] = np.array(json.dumps([_plain(one) for one in seen.extra], allow_nan=False))
        curves |= {f"{_TRACE}{name}": trace for name, trace in seen.traces.items()}
        arrays |= {f"{sample}/{name}": curve for name, curve in curves.items()}
    path = observations_path(out, agent)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    partial.replace(path)


def read_observations(out: Path, agent: str, config_sha: str | None = None) -> dict[str, Observation] | None:
    """Observations of an agent by name of sample; ``None`` where there are none, or none made with ``config_sha``."""
    path, events = observations_path(out, agent), events_path(out, agent)
    if not path.is_file() or not events.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            if config_sha is not None and str(file[_KEY]) != config_sha:
                return None
            arrays = {name: file[name] for name in file.files if name != _KEY}
    except (zipfile.BadZipFile, ValueError, KeyError):  # cut off, or of another version: made again
        return None
    found: dict[str, list[Event]] = {}
    for event in from_table(pq.read_table(events)):
        found.setdefault(event.interaction, []).append(event)
    by_sample: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        sample, _, curve = name.rpartition("/")
        by_sample.setdefault(sample, {})[curve] = array
    return {sample: _observation(curves, found.get(sample, [])) for sample, curves in by_sample.items()}


def observations_path(out: Path, agent: str) -> Path:
    """Where the curves of an agent lie."""
    return out / "observations" / f"{agent}.npz"


def events_path(out: Path, agent: str) -> Path:
    """Where the events of an agent lie."""
    return out / "events" / f"{agent}.parquet"


def write_events(path: Path, observations: Mapping[str, Observation]) -> None:
    """Detected events of all samples in one table."""
    events = [
        replace(event, interaction=sample) for sample, observed in observations.items() for event in observed.events
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    pq.write_table(to_table(events), partial)
    partial.replace(path)


def _observation(curves: Mapping[str, np.ndarray], events: list[Event]) -> Observation:
    return Observation(
        jaw_P=curves["jaw"],
        envelope_P=curves["envelope"],
        speech=[(float(start), float(end)) for start, end in curves["speech"]],
        events=events,
        channels_PC=curves["channels"],
        voice=Voice(f0_R=curves["f0"], level_R=curves["level"]) if "f0" in curves else None,
        look=_look(curves["look"]) if "look" in curves else None,
        own_sound=_own_sound(curves) if "own_tokens" in curves else None,
        extra=_findings(json.loads(str(curves["extra"]))) if "extra" in curves else (),
        traces={name.removeprefix(_TRACE): trace for name, trace in curves.items() if name.startswith(_TRACE)},
    )


def _look(curves_3P: np.ndarray) -> Look:
    luma_P, saturation_P, sharpness_P = curves_3P
    return Look(luma_P=luma_P, saturation_P=saturation_P, sharpness_P=sharpness_P)


def _own_sound(curves: Mapping[str, np.ndarray]) -> OwnSound:
    return OwnSound(
        tokens_AK=curves["own_tokens"],
        open_A=curves["own_open"],
        spectra_RD=curves["own_spectra"],
        num_entries=int(curves["own_entries"]),
    )


def _plain(found: Finding) -> dict[str, Any]:
    """A finding as JSON: a number, or why there is none and whether that is for want of weights."""
    why = found.value if isinstance(found.value, Undefined) else None
    return {
        "metric": found.metric,
        "n": found.n,
        "value": found.value if why is None else None,
        "reason": why and why.reason,
        "missing": isinstance(why, Missing),
    }


def _findings(plain: Sequence[Mapping[str, Any]]) -> tuple[Finding, ...]:
    found = []
    for one in plain:
        value = one["value"]
        if value is None:
            value = (Missing if one["missing"] else Undefined)(one["reason"])
        found.append(Finding(metric=one["metric"], value=value, n=one["n"]))
    return tuple(found)
