"""What is looked at in the arms of an intervention: pairs of numbers (control, treated), one per unit.

Every outcome reads the same observations as the level table. ``None``: the unit does not determine it, for instance
because it holds no cue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from avatar_lab.evaluation.cues import CueTimes, find_cues, inside
from avatar_lab.evaluation.lip_sync import lip_sync, speech_frames
from avatar_lab.evaluation.observation import Observation
from avatar_lab.evaluation.responses import WINDOW, Response, follows
from avatar_lab.evaluation.units import Unit
from avatar_lab.event_types import Event, EventType
from avatar_lab.layout import Layout

Pair = tuple[float, float]
CONTROL, RESEEDED = "control", "reseeded"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one arm showed in one unit.

    latents_FHWC  as generated; ``None`` for agents that are no models
    digest        equal ones mean equal media, to the bit
    """

    observation: Observation
    latents_FHWC: Tensor | None = None
    digest: str


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One unit with everything that was seen in it.

    arms     by name: ``control``, the treated ones, and ``reseeded``: the control with other noise from the moment on
    partner  the unit of another dyad whose user was given to a swapped arm
    """

    unit: Unit
    partner: Unit
    arms: Mapping[str, Seen]
    layout: Layout
    seed: int


class Outcome(Protocol):
    """A pair of numbers of one unit; ``unit`` is that of their difference."""

    @property
    def unit(self) -> str: ...

    def pair(self, trial: Trial, arm: str) -> Pair | None: ...


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Behaviours per minute from the moment on."""

    behaviours: tuple[EventType, ...]
    unit: str = "1/min"

    def pair(self, trial: Trial, arm: str) -> Pair | None:
        start = trial.unit.time + WINDOW[0]
        minutes = (trial.unit.conversation.seconds - start) / 60
        counts = [
            int((seen.observation.onsets(self.behaviours) >= start).sum()) / minutes
            for seen in (trial.arms[CONTROL], trial.arms[arm])
        ]
        return counts[0], counts[1]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Response to the user's cues after the moment: P(behaviour | cue) - P(behaviour | matched moment without).

    given  the cues of the user that the swapped arm was given, not those of the own one
    """

    response: Response
    given: bool = False
    unit: str = "probability"

    def pair(self, trial: Trial, arm: str) -> Pair | None:
        cues = cues_for(trial, self.response, user=trial.partner if self.given else trial.unit)
        found = [answered(seen.observation, self.response, cues) for seen in (trial.arms[CONTROL], trial.arms[arm])]
        return None if found[0] is None or found[1] is None else (found[0], found[1])


def answered(observation: Observation, response: Response, cues: CueTimes) -> float | None:
    """The contrast of one unit; ``None`` without cues or matched moments."""
    if not len(cues.cues_N) or not len(cues.controls_M):
        return None
    onsets_N = observation.onsets(response.behaviours)
    return float(follows(onsets_N, cues.cues_N).mean() - follows(onsets_N, cues.controls_M).mean())


def cues_for(trial: Trial, response: Response, *, user: Unit, tail: float = WINDOW[1]) -> CueTimes:
    """Cues after the moment of the user of one unit, while the avatar is the one of the trial's."""
    unit = trial.unit
    return find_cues(
        crossed(unit, user),
        response.cue,
        user=unit.conversation.user,
        avatar=unit.conversation.side,
        begin=unit.time,
        end=unit.conversation.seconds - tail,
        seed=trial.seed + unit.recorded.window.sample % 2**32,
    )


def crossed(avatar: Unit, user: Unit) -> list[Event]:
    """Events of the avatar's side of one unit and of the user's side of another, as if they had met."""
    if avatar is user:
        return avatar.conversation.events
    own = [event for event in avatar.conversation.events if event.side == avatar.conversation.side]
    return own + [
        Event(
            interaction=avatar.recorded.key,
            side=avatar.conversation.user,
            type=event.type,
            start=event.start,
            end=event.end,
        )
        for event in user.conversation.events
        if event.side == user.conversation.user
    ]


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Root mean square change of the picture's latents, in units of what other noise alone changes.

    floor  stands for the control: a change that is smaller is none
    """

    floor: float = 0.05
    unit: str = "of noise"

    def pair(self, trial: Trial, arm: str) -> Pair | None:
        if RESEEDED not in trial.arms:
            return None
        control, treated, reseeded = (trial.arms[name].latents_FHWC for name in (CONTROL, arm, RESEEDED))
        if control is None or treated is None or reseeded is None:
            return None
        first = trial.layout.num_blocks(trial.unit.time) * trial.layout.latents_per_block
        scale = float((reseeded - control)[first:].square().mean().sqrt())
        if scale == 0:
            return None
        return self.floor, float((treated - control)[first:].square().mean().sqrt()) / scale


def largest_steps(trial: Trial, arm: str, blocks: Sequence[int]) -> Pair | None:
    """Largest step between successive latents around the start of a block, relative to the median step of the control;
    mean over ``blocks``."""
    control, treated = trial.arms[CONTROL].latents_FHWC, trial.arms[arm].latents_FHWC
    if control is None or treated is None or not blocks:
        return None
    per_block = trial.layout.latents_per_block
    steps = [latents.diff(dim=0).square().flatten(1).mean(1).sqrt() for latents in (control, treated)]
    scale = float(steps[0].median())
    if scale == 0:
        return None
    near = [slice(max(block * per_block - 1, 0), (block + 4) * per_block) for block in blocks]
    left, right = (sum(float(step[place].max()) for place in near) / len(near) / scale for step in steps)
    return left, right


@dataclass(frozen=True, kw_only=True)
class Seam:
    """Largest step between successive latents around the moment, relative to the median step of the control."""

    unit: str = "of median step"

    def pair(self, trial: Trial, arm: str) -> Pair | None:
        return largest_steps(trial, arm, [trial.layout.num_blocks(trial.unit.time)])


@dataclass(frozen=True, kw_only=True)
class LipSync:
    """Correlation of mouth and own voice, as in the level table."""

    unit: str = "r"

    def pair(self, trial: Trial, arm: str) -> Pair | None:
        found = []
        for seen in (trial.arms[CONTROL], trial.arms[arm]):
            fps, own = float(trial.layout.fps), seen.observation
            speaking_P = speech_frames(own.speech, len(own.jaw_P), fps)
            found.append(lip_sync(own.jaw_P, own.envelope_P, speaking_P, fps))
        return None if found[0] is None or found[1] is None else (found[0].correlation, found[1].correlation)


@dataclass(frozen=True, kw_only=True)
class LipsOnUserSpeech:
    """Root mean square opening of the mouth while the user alone speaks (jaw in [0, 1])."""

    unit: str = "jaw"

    def pair(self, trial: Trial, arm: str) -> Pair | None:
        own = [e for e in trial.unit.conversation.events if e.side == trial.unit.conversation.side]
        spoken = [(e.start - 0.2, e.end + 0.2) for e in own if e.type in (EventType.TURN, EventType.BACKCHANNEL)]
        jaw_P = trial.arms[CONTROL].observation.jaw_P
        times_P = np.asarray((np.arange(len(jaw_P)) + 0.5) / float(trial.layout.fps), dtype=np.float64)
        alone_P = inside(times_P, trial.unit.conversation.user_speech()) & ~inside(times_P, spoken)
        if alone_P.sum() < float(trial.layout.fps):
            return None
        opened = [
            float(np.sqrt((seen.observation.jaw_P[alone_P] ** 2).mean()))
            for seen in (trial.arms[CONTROL], trial.arms[arm])
        ]
        return opened[0], opened[1]
