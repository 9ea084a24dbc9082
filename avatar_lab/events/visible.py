"""All visible events of a person from the curves that a reader gives, where they are known.

Unknown is not zero: frames that no reader saw are NaN. Detectors get them bridged by straight lines, and nothing that
they find there counts.

    P video frames
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from avatar_lab.event_types import Event
from avatar_lab.events.blinks import BlinkRule, detect_blinks
from avatar_lab.events.gaze import GazeRule, detect_gaze_away
from avatar_lab.events.leans import LeanRule, detect_leans
from avatar_lab.events.nods import NodRule, detect_nods
from avatar_lab.events.segments import Segment, overlap, runs
from avatar_lab.events.smiles import SmileRule, detect_smiles

TRACES = ("pitch", "smile", "blink", "lean", "gaze_x", "gaze_y")
"""Curves that detectors read: pitch in degrees (positive: chin down), smile and blink (eyelid closure) from 0 to 1,
lean from -1 to 1 (positive: towards the camera), gaze on any scale that the gaze rule states."""
_MIN_KNOWN = 0.5
"""Share of frames that must be known for a person's resting level to be."""


@dataclass(frozen=True, kw_only=True)
class VisibleRules:
    """Parameters of all detectors of visible events."""

    nod: NodRule = field(default_factory=NodRule)
    smile: SmileRule = field(default_factory=SmileRule)
    blink: BlinkRule = field(default_factory=BlinkRule)
    lean: LeanRule = field(default_factory=LeanRule)
    gaze: GazeRule = field(default_factory=GazeRule)


def detect_visible(
    traces: Mapping[str, np.ndarray], fps: float, rules: VisibleRules | None = None, *, interaction: str, side: str
) -> list[Event]:
    """NOD, SMILE, BLINK, LEAN and GAZE_AWAY events, as far as there are curves (P,) of ``TRACES``, sorted by start; of
    a curve that is unknown in more than half of the frames none."""
    rules = rules or VisibleRules()
    detectors: list[tuple[tuple[str, ...], Callable[[np.ndarray], list[Event]]]] = [
        (("pitch",), lambda x_P1: detect_nods(x_P1[:, 0], fps, rules.nod, interaction=interaction, side=side)),
        (("smile",), lambda x_P1: detect_smiles(x_P1[:, 0], fps, rules.smile, interaction=interaction, side=side)),
        (("blink",), lambda x_P1: detect_blinks(x_P1[:, 0], fps, rules.blink, interaction=interaction, side=side)),
        (("lean",), lambda x_P1: detect_leans(x_P1[:, 0], fps, rules.lean, interaction=interaction, side=side)),
        (
            ("gaze_x", "gaze_y"),
            lambda x_PC: detect_gaze_away(x_PC, fps, rules.gaze, interaction=interaction, side=side),
        ),
    ]
    found: list[Event] = []
    for names, detect in detectors:
        known = [np.asarray(traces[name], np.float64) for name in names if name in traces]
        if not known:
            continue
        curves_PC = np.stack(known, axis=1)
        valid_P: np.ndarray = np.all(np.isfinite(curves_PC), axis=1)
        if len(valid_P) and valid_P.mean() >= _MIN_KNOWN:
            unknown: list[Segment] = [(start / fps, end / fps) for start, end in runs(~valid_P).tolist()]
            found += [e for e in detect(_bridged(curves_PC, valid_P)) if not overlap([(e.start, e.end)], unknown)]
    return sorted(found, key=lambda event: event.start)


def _bridged(curves_PC: np.ndarray, valid_P: np.ndarray) -> np.ndarray:
    """Curves with straight lines over frames that are unknown."""
    frames, known = np.arange(len(valid_P)), np.flatnonzero(valid_P)
    return np.stack([np.interp(frames, known, column_P[valid_P]) for column_P in curves_PC.T], axis=1)
