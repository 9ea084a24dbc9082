"""Metrics that only many conversations together determine: distributions of motion, sound and turn-taking, prosody.

A Frechet distance of one clip is mostly bias, a conversation holds a handful of transfers of the floor, and an avatar's
coupling to its user means something beside that to the users of other dyads. Such rows belong to no sample.

    P video frames   C reader channels
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.finding import Finding, finding
from avatar_lab.evaluation.metric.frechet import frechet, paired_frechet
from avatar_lab.evaluation.metric.own_sound import own_sound_distance, own_token_nll
from avatar_lab.evaluation.metric.prosody import BEFORE_SECONDS, reaction_prosody
from avatar_lab.evaluation.metric.pseudo_dyads import pseudo_dyads
from avatar_lab.evaluation.metric.turn_taking import Speech, battery_distances, floor_transfer_offsets, wasserstein
from avatar_lab.evaluation.metric.undefined import Array
from avatar_lab.evaluation.metric.variety import shannon_index
from avatar_lab.evaluation.metric.voice import RATE, Voice
from avatar_lab.evaluation.observation import Observation, reaction_spans
from avatar_lab.evaluation.plugin.traces import pool_traces
from avatar_lab.evaluation.rows import Measurement, row_of
from avatar_lab.events.segments import Segment
from avatar_lab.layout import Layout

EVERY = 5
"""Frames of which one is taken for distributions: neighbours say the same."""
CLUSTERS = 20
COUPLED = ("pitch", "smile")


def measure_pooled(
    conversations: Sequence[Conversation],
    observations: Mapping[str, Observation],
    truth: Mapping[str, Observation],
    *,
    layout: Layout,
    seed: int,
    free: bool,
) -> list[Measurement]:
    """Rows of an agent over all its conversations; ``dyad_id`` and ``sample_id`` are empty.

    Args:
        observations, truth: of the agent and of the recorded people, by name of sample.
        free: whether the avatar decided itself when to speak; if not, turn-taking is ``given`` by its script.
    """
    made = [observations[one.name] for one in conversations]
    true = [truth[one.name] for one in conversations]
    users = [truth[one.partner] for one in conversations]
    found = [
        *_distributions(users, true, made, seed=seed),
        *_couplings(conversations, users, made, layout=layout, seed=seed),
        *_prosody(conversations, users, made),
        *_own_sound(conversations, true, made, seed=seed),
        *pool_traces([one.traces for one in made], [one.traces for one in true], seed=seed),
    ]
    turns = _turn_taking(conversations, true, made)
    return [*(row_of(one) for one in found), *(row_of(one, given=not free) for one in turns)]


def _distributions(
    users: Sequence[Observation], true: Sequence[Observation], made: Sequence[Observation], *, seed: int
) -> list[Finding]:
    """Frechet distances and variety of all that the reader sees, in deviations of the truth."""
    faces = [[one.channels_PC[::EVERY] for one in side] for side in (users, true, made)]
    pooled_PC = np.concatenate(faces[1])
    scale_C = pooled_PC.std(0) if len(pooled_PC) else np.ones(pooled_PC.shape[1])
    scale_C = np.where(scale_C > 0, scale_C, 1.0)
    cut: list[list[Array]] = [[], [], []]
    for clips in zip(*faces, strict=True):
        shortest = min(map(len, clips))
        for side, clip_PC in zip(cut, clips, strict=True):
            side.append(clip_PC[:shortest] / scale_C)
    user, truth, own = cut
    alone, paired = frechet(truth, own, seed=seed), paired_frechet(user, truth, own, seed=seed)
    visited = shannon_index(truth, own, clusters=CLUSTERS, seed=seed)
    frames = sum(map(len, own))
    return [
        finding("face_fd", alone, lambda f: f.halved, frames),
        finding("face_fd_floor", alone, lambda f: f.floor, frames),
        finding("face_pfd", paired, lambda f: f.halved, frames),
        finding("face_pfd_floor", paired, lambda f: f.floor, frames),
        finding("face_sid_ratio", visited, lambda s: s.ratio, frames),
    ]


def _couplings(
    conversations: Sequence[Conversation],
    users: Sequence[Observation],
    made: Sequence[Observation],
    *,
    layout: Layout,
    seed: int,
) -> list[Finding]:
    """Coupling to the own user beyond that to others'; of each dyad one sample, since its two mirror each other."""
    first = list({one.key: number for number, one in reversed(list(enumerate(conversations)))}.values())
    found = []
    for name in COUPLED:
        curves = [[side[number].channels((name,))[:, 0] for number in first] for side in (users, made)]
        both = pseudo_dyads(*curves, rate=float(layout.fps), seed=seed)
        found += [
            finding(f"{name}_dyad_coupling", both, lambda p: p.own - p.others, lambda p: p.dyads),
            finding(f"{name}_dyad_coupling_p", both, lambda p: p.p, lambda p: p.dyads),
        ]
    return found


def _prosody(
    conversations: Sequence[Conversation], users: Sequence[Observation], made: Sequence[Observation]
) -> list[Finding]:
    """Whether reactions take up pitch and loudness of the user, each voice from its own usual one."""
    reactions: list[Segment] = []
    own: list[Voice] = []
    heard: list[Voice] = []
    start = 0.0
    for conversation, user, agent in zip(conversations, users, made, strict=True):
        if user.voice is None or agent.voice is None:
            continue
        spans = reaction_spans(agent)
        reactions += [(start + begin, start + end) for begin, end in spans if begin >= BEFORE_SECONDS]
        own.append(_from_its_usual(agent.voice, conversation.seconds))
        heard.append(_from_its_usual(user.voice, conversation.seconds))
        start += conversation.seconds
    both = reaction_prosody(reactions, _joined(own), _joined(heard))
    return [
        finding("reaction_f0_r", both, lambda r: r.f0_r, lambda r: r.reactions),
        finding("reaction_level_r", both, lambda r: r.level_r, lambda r: r.reactions),
    ]


def _from_its_usual(voice: Voice, seconds: float) -> Voice:
    """A voice relative to its median F0 and level, cut or filled to ``seconds``: that people differ is no answer."""
    frames = round(seconds * RATE)
    f0_R, level_R = np.full(frames, np.nan), np.full(frames, -np.inf)
    size = min(frames, len(voice.f0_R))
    voiced_R = np.isfinite(voice.f0_R[:size])
    if voiced_R.any():
        f0_R[:size] = voice.f0_R[:size] - np.median(voice.f0_R[:size][voiced_R])
        level_R[:size] = voice.level_R[:size] - np.median(voice.level_R[:size][voiced_R])
    return Voice(f0_R=f0_R, level_R=level_R)


def _joined(voices: Sequence[Voice]) -> Voice:
    empty = np.zeros(0)
    return Voice(
        f0_R=np.concatenate([empty, *(voice.f0_R for voice in voices)]),
        level_R=np.concatenate([empty, *(voice.level_R for voice in voices)]),
    )


def _own_sound(
    conversations: Sequence[Conversation], true: Sequence[Observation], made: Sequence[Observation], *, seed: int
) -> list[Finding]:
    """Sound that no script gave beside the recorded people's at the same places; conversations without tokens are left
    out."""
    known = [
        (conversation.key, person.own_sound, agent.own_sound)
        for conversation, person, agent in zip(conversations, true, made, strict=True)
        if person.own_sound is not None and agent.own_sound is not None
    ]
    truth, own = [person for _, person, _ in known], [agent for _, _, agent in known]
    distance = own_sound_distance(truth, own, seed=seed)
    surprise = own_token_nll(truth, own, [dyad for dyad, _, _ in known])
    return [
        finding("own_sound_fd", distance, lambda f: f.halved, lambda f: f.frames),
        finding("own_sound_fd_floor", distance, lambda f: f.floor, lambda f: f.frames),
        finding("own_token_nll", surprise, lambda s: s.made, lambda s: s.pairs),
        finding("own_token_nll_truth", surprise, lambda s: s.truth, lambda s: s.pairs),
    ]


def _turn_taking(
    conversations: Sequence[Conversation], true: Sequence[Observation], made: Sequence[Observation]
) -> list[Finding]:
    """Distances of the durations of dGSLM's battery and of floor transfer offsets from the recorded ones."""
    both = [
        [
            Speech(own=one.speech, user=conversation.user_speech(), seconds=conversation.seconds)
            for conversation, one in zip(conversations, side, strict=True)
        ]
        for side in (true, made)
    ]
    offsets = [[offset for speech in side for offset in floor_transfer_offsets(speech)] for side in both]
    distances = battery_distances(*both)
    counted = len(conversations)
    return [
        Finding(metric="offset_distance", value=wasserstein(*offsets), n=len(offsets[1])),
        *(Finding(metric=f"{kind}_distance", value=value, n=counted) for kind, value in distances.items()),
    ]
