"""All metrics of one agent in one conversation, as rows."""

from __future__ import annotations

from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.cues import CUE_KINDS, CueTimes, find_cues
from avatar_lab.evaluation.finding import Finding, finding
from avatar_lab.evaluation.lip_sync import lip_sync, speech_frames
from avatar_lab.evaluation.measure_interaction import find_by_role, find_placement, find_posture, find_turns
from avatar_lab.evaluation.measure_motion import find_coupling, find_motion, find_variety, find_voice
from avatar_lab.evaluation.metric.undefined import Undefined
from avatar_lab.evaluation.observation import Observation
from avatar_lab.evaluation.plugin.traces import compare_traces
from avatar_lab.evaluation.responses import RESPONSES, WINDOW, Response, ResponseCounts, count_responses
from avatar_lab.evaluation.rows import Measurement, row_of
from avatar_lab.event_types import EventType
from avatar_lab.layout import Layout

SETTLE_SECONDS = 1.0
"""Cues in the first second are left out: an agent has seen next to nothing then."""
RATES = {
    "nod_rate": EventType.NOD,
    "backchannel_rate": EventType.BACKCHANNEL,
    "smile_rate": EventType.SMILE,
    "blink_rate": EventType.BLINK,
    "lean_rate": EventType.LEAN,
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
    found = _lips(observation, layout)
    for response in RESPONSES:
        found += _response(response, count_responses(observation.onsets(response.behaviours), cues[response.cue.name]))
    for name, behaviour in RATES.items():
        num = len(observation.onsets((behaviour,)))
        found.append(Finding(metric=name, value=num / conversation.seconds * 60, n=num))
    found += find_motion(observation, layout) + find_placement(conversation, observation)
    found += find_by_role(conversation, observation) + find_posture(conversation, observation, layout)
    found += observation.extra
    if truth is not None:
        found += find_variety(observation, truth) + find_voice(observation, truth)
        found += compare_traces(observation.traces, truth.traces)
        if user is not None:
            found += find_coupling(observation, truth, user, layout)
    rows = [row_of(one, dyad_id=conversation.key, sample_id=conversation.name) for one in found]
    turns = find_turns(conversation, observation)
    return rows + [row_of(o, dyad_id=conversation.key, sample_id=conversation.name, given=not free) for o in turns]


def _lips(observation: Observation, layout: Layout) -> list[Finding]:
    speaking_P = speech_frames(observation.speech, len(observation.jaw_P), float(layout.fps))
    found = lip_sync(observation.jaw_P, observation.envelope_P, speaking_P, float(layout.fps))
    lips = found or Undefined("too little speech, or a mouth or voice that does not move")
    frames = int(speaking_P.sum()) if found is None else found.frames
    return [
        finding("lip_sync_correlation", lips, lambda sync: sync.correlation, frames),
        finding("lip_sync_lag_ms", lips, lambda sync: sync.lag_ms, frames),
    ]


def _response(response: Response, counts: ResponseCounts) -> list[Finding]:
    """A response and the two rates whose difference it is."""
    after = counts.hits / counts.cues if counts.cues else Undefined("no cues")
    without = counts.control_hits / counts.controls if counts.controls else Undefined("no matched moments")
    both: float | Undefined = Undefined("no cues or no matched moments")
    if not isinstance(after, Undefined) and not isinstance(without, Undefined):
        both = after - without
    return [
        Finding(metric=f"{response.name}_after_cue", value=after, n=counts.cues),
        Finding(metric=f"{response.name}_without_cue", value=without, n=counts.controls),
        Finding(metric=response.metric, value=both, n=0 if isinstance(both, Undefined) else counts.cues),
    ]
