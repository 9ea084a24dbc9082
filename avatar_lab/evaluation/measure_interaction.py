"""Where one agent reacted in one conversation, what it did while speaking and listening, and how it took turns."""

from __future__ import annotations

import numpy as np

from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.cues import CueKind, CueTimes, find_cues
from avatar_lab.evaluation.finding import Finding, finding
from avatar_lab.evaluation.metric.placement import placement, placement_auc
from avatar_lab.evaluation.metric.posture import lean_response, rate_by_role, roles, share_by_role
from avatar_lab.evaluation.metric.turn_response import answer_moments, response_latency, take_over_rate, yielding
from avatar_lab.evaluation.metric.turn_taking import (
    Speech,
    long_double_talk,
    long_silences,
    overlap_share,
    speaking_share,
)
from avatar_lab.evaluation.observation import Observation
from avatar_lab.event_types import EventType
from avatar_lab.events.segments import Segment
from avatar_lab.layout import Layout

PLACED = {"nod": EventType.NOD, "backchannel": EventType.BACKCHANNEL, "smile": EventType.SMILE}
BY_ROLE = {"nod": EventType.NOD, "blink": EventType.BLINK}
LEAN = CueKind(name="lean", type=EventType.LEAN)


def find_placement(conversation: Conversation, observation: Observation) -> list[Finding]:
    """Whether reactions are where the recorded avatar's were."""
    found = []
    for name, kind in PLACED.items():
        made_N = observation.onsets((kind,))
        moments = true_moments(conversation, name, kind)
        matched = placement(made_N, moments.cues_N)
        area = placement_auc(made_N, moments.cues_N, moments.controls_M)
        found += [
            Finding(metric=f"{name}_placement_auc", value=area, n=len(moments.cues_N)),
            finding(f"{name}_precision", matched, lambda p: p.precision, len(made_N)),
            finding(f"{name}_recall", matched, lambda p: p.recall, len(moments.cues_N)),
        ]
    return found


def true_moments(conversation: Conversation, name: str, kind: EventType) -> CueTimes:
    """When the recorded avatar did it, and moments with the same holder of the floor at which it did not."""
    return find_cues(
        conversation.events,
        CueKind(name=name, type=kind),
        user=conversation.side,  # whose events are looked for
        avatar=conversation.user,
        begin=0.0,
        end=conversation.seconds,
        seed=conversation.window.sample % 2**32,
    )


def find_by_role(conversation: Conversation, observation: Observation) -> list[Finding]:
    """Rates while the avatar speaks and while it listens."""
    role = roles(observation.speech, conversation.user_speech(), seconds=conversation.seconds)
    found = []
    for name, kind in BY_ROLE.items():
        onsets_N = observation.onsets((kind,))
        rates = rate_by_role(onsets_N, role)
        found += [
            Finding(metric=f"{name}_rate_speaking", value=rates.speaking, n=len(onsets_N)),
            Finding(metric=f"{name}_rate_listening", value=rates.listening, n=len(onsets_N)),
        ]
    return found


def find_posture(conversation: Conversation, observation: Observation, layout: Layout) -> list[Finding]:
    """Gaze at the partner in either role, and whether leans answer the user's."""
    role = roles(observation.speech, conversation.user_speech(), seconds=conversation.seconds)
    away = [(event.start, event.end) for event in observation.events if event.type is EventType.GAZE_AWAY]
    gaze = share_by_role(away, role, absent=True)
    leans = find_cues(
        conversation.events,
        LEAN,
        user=conversation.user,
        avatar=conversation.side,
        begin=0.0,
        end=conversation.seconds,
        seed=conversation.window.sample % 2**32,
    )
    lean_P = observation.channels(("lean",))[:, 0]
    answer = lean_response(lean_P, leans.cues_N, leans.controls_M, rate=float(layout.fps))
    return [
        Finding(metric="gaze_share_speaking", value=gaze.speaking, n=len(away)),
        Finding(metric="gaze_share_listening", value=gaze.listening, n=len(away)),
        Finding(metric="lean_answer", value=answer, n=len(leans.cues_N)),
    ]


def find_turns(conversation: Conversation, observation: Observation) -> list[Finding]:
    """Turn-taking: properties of the avatar only if it decides itself when to speak."""
    seconds = conversation.seconds
    speech = Speech(own=observation.speech, user=conversation.user_speech(), seconds=seconds)
    ends_N = np.array([end for _, end in _user_spans(conversation, EventType.TURN) if end < seconds])
    moments, pauses = answer_moments(ends_N, speech.user), _user_spans(conversation, EventType.PAUSE)
    answers = take_over_rate(speech.own, moments, seconds=seconds)
    intrusions = take_over_rate(speech.own, pauses, seconds=seconds)
    latency = response_latency(speech.own, ends_N, speech.user)
    yields = yielding(speech.own, _user_spans(conversation, EventType.INTERRUPTION), seconds=seconds)
    false_yields = yielding(speech.own, _user_spans(conversation, EventType.BACKCHANNEL), seconds=seconds)
    units = len(speech.own)
    return [
        Finding(metric="speaking_share", value=speaking_share(speech), n=units),
        Finding(metric="overlap_share", value=overlap_share(speech), n=units),
        Finding(metric="long_silence_rate", value=long_silences(speech), n=units),
        Finding(metric="double_talk_rate", value=long_double_talk(speech), n=units),
        finding("take_over_after_turn", answers, lambda r: r.value, lambda r: r.moments),
        finding("take_over_in_pause", intrusions, lambda r: r.value, lambda r: r.moments),
        finding("response_latency", latency, lambda r: r.median, lambda r: r.answers),
        finding("yield_rate", yields, lambda y: y.rate, lambda y: y.moments),
        finding("stop_latency", yields, lambda y: y.stop_latency, lambda y: y.moments),
        finding("false_yield_rate", false_yields, lambda y: y.rate, lambda y: y.moments),
    ]


def _user_spans(conversation: Conversation, kind: EventType) -> list[Segment]:
    """The user's events of a kind that begin within the conversation."""
    return sorted(
        (event.start, event.end)
        for event in conversation.events
        if event.type is kind and event.side == conversation.user and event.start < conversation.seconds
    )
