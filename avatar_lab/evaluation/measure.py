"""All metrics of one agent in one conversation, as rows."""

from __future__ import annotations

from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.cues import CUE_KINDS, CueTimes, find_cues
from avatar_lab.evaluation.finding import Finding
from avatar_lab.evaluation.lip_sync import lip_sync, speech_frames
from avatar_lab.evaluation.measure_interaction import find_by_role, find_placement, find_turns
from avatar_lab.evaluation.measure_motion import find_coupling, find_motion, find_variety
from avatar_lab.evaluation.metric.undefined import Undefined
from avatar_lab.evaluation.observation import Observation
from avatar_lab.evaluation.responses import RESPONSES, WINDOW, Response, ResponseCounts, count_responses
from avatar_lab.evaluation.rows import Measurement, Status
from avatar_lab.event_types import EventType
from avatar_lab.layout import Layout

SETTLE_SECONDS = 1.0
"""Cues in the first second are left out: an agent has seen next to nothing then."""
RATES = {
    "nod_rate": EventType.NOD,
    "backchannel_rate": EventType.BACKCHANNEL,
    "smile_rate": EventType.SMILE,
    "blink_rate": EventType.BLINK,
}


def conversation_cues(conversation: Conversation, *, seed: int) -> dict[str, CueTimes]:
    """Cue times by name of kind; the same for all agents."""
    return {
        kind.name: find_cues(
            conversation.events,
            kind,
            user=conversation.user,
            avatar=conversation.side,
            begin=SETTLE_SECONDS,
            end=conversation.seconds - WINDOW[1],
            seed=seed + conversation.window.sample % 2**32,
        )
        for kind in CUE_KINDS
    }


def measure(
    conversation: Conversation,
    observation: Observation,
    cues: dict[str, CueTimes],
    layout: Layout,
    *,
    truth: Observation | None = None,
    user: Observation | None = None,
    free: bool = False,
) -> list[Measurement]:
    """Rows of one conversation.

    Args:
        truth, user: the recorded avatar and the recorded user, read like the agent; without them there are no rows of
            the metrics that compare with them.
        free: whether the avatar decided itself when to speak; if not, turn-taking is ``given`` by its script.
    """
    rows = _lip_rows(conversation, observation, layout)
    for response in RESPONSES:
        counts = count_responses(observation.onsets(response.behaviours), cues[response.cue.name])
        rows += _response_rows(conversation, response, counts)
    for name, behaviour in RATES.items():
        num = len(observation.onsets((behaviour,)))
        rows.append(_row(conversation, name, num / conversation.seconds * 60, num))
    found = find_motion(observation, layout) + find_placement(conversation, observation)
    found += find_by_role(conversation, observation)
    if truth is not None:
        found += find_variety(observation, truth)
        if user is not None:
            found += find_coupling(observation, truth, user, layout)
    rows += [_found_row(conversation, one) for one in found]
    rows += [_found_row(conversation, one, given=not free) for one in find_turns(conversation, observation)]
    return rows


def _lip_rows(conversation: Conversation, observation: Observation, layout: Layout) -> list[Measurement]:
    speaking_P = speech_frames(observation.speech, len(observation.jaw_P), float(layout.fps))
    found = lip_sync(observation.jaw_P, observation.envelope_P, speaking_P, float(layout.fps))
    if found is None:
        reason = "too little speech, or a mouth or voice that does not move"
        return [
            _row(conversation, name, None, int(speaking_P.sum()), reason)
            for name in ("lip_sync_correlation", "lip_sync_lag_ms")
        ]
    return [
        _row(conversation, "lip_sync_correlation", found.correlation, found.frames),
        _row(conversation, "lip_sync_lag_ms", found.lag_ms, found.frames),
    ]


def _response_rows(conversation: Conversation, response: Response, counts: ResponseCounts) -> list[Measurement]:
    after = counts.hits / counts.cues if counts.cues else None
    without = counts.control_hits / counts.controls if counts.controls else None
    both = after is not None and without is not None
    return [
        _row(conversation, f"{response.name}_after_cue", after, counts.cues, "no cues"),
        _row(conversation, f"{response.name}_without_cue", without, counts.controls, "no matched moments"),
        _row(
            conversation,
            response.metric,
            after - without if after is not None and without is not None else None,
            counts.cues if both else 0,
            "no cues or no matched moments",
        ),
    ]


def _found_row(conversation: Conversation, found: Finding, *, given: bool = False) -> Measurement:
    if given:
        return Measurement(
            dyad_id=conversation.key,
            sample_id=conversation.name,
            metric=found.metric,
            value=None,
            n=found.n,
            status=Status.GIVEN,
            reason="the script decides when the avatar speaks",
        )
    if isinstance(found.value, Undefined):
        return _row(conversation, found.metric, None, found.n, found.value.reason)
    return _row(conversation, found.metric, found.value, found.n)


def _row(
    conversation: Conversation, metric: str, value: float | None, n: int, reason: str | None = None
) -> Measurement:
    undefined = value is None
    return Measurement(
        dyad_id=conversation.key,
        sample_id=conversation.name,
        metric=metric,
        value=value,
        n=n,
        status=Status.UNDEFINED if undefined else Status.OK,
        reason=reason if undefined else None,
    )
