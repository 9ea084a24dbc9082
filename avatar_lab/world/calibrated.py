"""The calibrated world: every edge of the design, at rates that follow the human table (``human_table``).

Which sense carries a cue decides which ablation of a model must lose the response:

- heard only: pause and low pitch -> backchannel, nod; closing and end of a turn -> turn start; hesitation -> brief
  interruption; interruption -> yield; laugh -> laugh; lively voice -> lively reaction
- seen only: nod -> nod; lean -> lean; gaze away -> pause; raised hand -> yield
- redundant: a laugh is heard (laugh -> smile) and shows (laugh -> own smile, smile -> smile); the floor is asked for by
  voice or by hand
- nothing: a blink and a change of the background

Probabilities and delays: Ward & Tsukahara 2000 (low pitch), Hale 2020 (nods, about 600 ms), Riehle 2017 (smiles, mostly
within a second), Maatman, Gratch & Marsella 2005 (posture and gaze are mirrored). Own edges are a person's habits.
"""

from __future__ import annotations

from dataclasses import replace

from avatar_lab.event_types import EventType as Kind
from avatar_lab.world.effects import Effects
from avatar_lab.world.graph import Behaviour, Edge, Graph, Origin, Sense, Source
from avatar_lab.world.law import Law
from avatar_lab.world.noise import Noise
from avatar_lab.world.outages import OutageLaws
from avatar_lab.world.scenario import SCENARIOS, Scenario, ScenarioName
from avatar_lab.world.turn_laws import HUMAN

WORLD = "calibrated"
_AUDIO, _VIDEO = Sense.AUDIO, Sense.VIDEO
_BACKCHANNEL = Law(centre=0.6, spread=0.28, low=0.25, high=1.3, lognormal=True)
_NOD = Law(centre=0.55, spread=0.15, low=0.2, high=1.1)
_BLINKS_TALKING, _BLINKS_RESTING = 25.5, 16.6
"""Per minute; the mean over people, whose rates are lognormal, is 4 % higher (Bentivoglio 1997: 26 and 17)."""


def calibrated(scenario: ScenarioName = ScenarioName.CASUAL, *, held_out: bool = False) -> Graph:
    """The graph of a scenario; ``held_out``: its edges are as strong and as slow as in no training world."""
    kind = SCENARIOS[scenario]
    graph = Graph(
        edges=(*_reactions(), *_floor(kind), *_habits()),
        behaviours=_behaviours(kind),
        negative_controls=(Kind.BLINK, Kind.BACKGROUND),
        turns=HUMAN,
        effects=Effects(role_length=tuple(zip("ab", kind.turn_length, strict=True))),
        outages=OutageLaws(
            camera_share=0.12,
            microphone_share=0.08,
            length=Law(centre=12.0, spread=0.4, low=5.0, high=30.0, lognormal=True),
        ),
        origin=Origin(world=WORLD, scenario=scenario, held_out=held_out),
    )
    return _other_strengths(graph) if held_out else graph


def _edge(
    name: str,
    sense: Sense,
    cue: Kind,
    response: Kind | None,
    probability: float,
    delay: Law | None,
    refractory: float = 0.0,
    *,
    source: Source = Source.PARTNER,
    after_end: bool = False,
    gain: float = 1.0,
    while_speaking: bool = False,
    graded: bool = False,
) -> Edge:
    return Edge(
        name=name,
        source=source,
        sense=sense,
        cue=cue,
        response=response,
        probability=probability,
        delay=delay,
        refractory=refractory,
        after_end=after_end,
        gain=gain,
        while_speaking=while_speaking,
        graded=graded,
    )


def _reactions() -> tuple[Edge, ...]:
    """Partner's cues that leave the floor where it is."""
    low, laugh, smile = Kind.LOW_PITCH, Kind.LAUGH, Kind.SMILE
    laughing = Law(centre=0.45, spread=0.35, low=0.2, high=1.2, lognormal=True)
    smiling = Law(centre=0.6, spread=0.4, low=0.2, high=1.5, lognormal=True)
    lively = Law(centre=0.5, spread=0.12, low=0.25, high=0.9)
    return (
        _edge("pause_to_backchannel", _AUDIO, Kind.PAUSE, Kind.BACKCHANNEL, 0.22, _BACKCHANNEL, 1.8),
        _edge("low_pitch_to_backchannel", _AUDIO, low, Kind.BACKCHANNEL, 0.18, _BACKCHANNEL, 1.8, after_end=True),
        _edge("pause_to_nod", _AUDIO, Kind.PAUSE, Kind.NOD, 0.5, _NOD, 1.6),
        _edge("low_pitch_to_nod", _AUDIO, low, Kind.NOD, 0.45, _NOD, 1.6, after_end=True),
        _edge("laugh_to_laugh", _AUDIO, laugh, laugh, 0.45, laughing, 2.5),
        _edge("laugh_to_smile", _AUDIO, laugh, smile, 0.6, smiling, 2.5),
        _edge("smile_to_smile", _VIDEO, smile, smile, 0.6, smiling, 2.5),
        _edge("nod_to_nod", _VIDEO, Kind.NOD, Kind.NOD, 0.3, Law(centre=0.6, spread=0.1, low=0.3, high=1.0), 2.0),
        _edge("lean_to_lean", _VIDEO, Kind.LEAN, Kind.LEAN, 0.5, Law(centre=0.9, spread=0.25, low=0.4, high=1.6), 4.0),
        _edge(
            "lively_to_lively",
            *(_AUDIO, Kind.LIVELY, Kind.LIVELY, 0.75, lively, 3.0),
            while_speaking=True,
            graded=True,
        ),
    )


def _floor(scenario: Scenario) -> tuple[Edge, ...]:
    """Partner's cues that change who speaks."""
    projected = Law(centre=0.3, spread=0.06, low=0.2, high=0.45)
    gap = Law(centre=0.34, spread=1.12, low=0.02, high=3.2, lognormal=True)
    stop = Law(centre=0.35, spread=0.1, low=0.15, high=0.6)
    look = Law(centre=0.6, spread=0.15, low=0.3, high=1.0)
    hand = Law(centre=0.8, spread=0.2, low=0.4, high=1.3)
    words = Law(centre=0.7, spread=0.18, low=0.4, high=1.2)
    start, brief = Kind.TURN_START, Kind.BRIEF_INTERRUPTION
    return (
        _edge("closing_to_turn_start", _AUDIO, Kind.CLOSING, start, 0.4 * scenario.overlap, projected),
        _edge("turn_end_to_turn_start", _AUDIO, Kind.TURN_END, start, 0.97, gap, after_end=True),
        _edge("hesitation_to_brief_interruption", _AUDIO, Kind.HESITATION, brief, 0.22 * scenario.overlap, words, 4.0),
        _edge("interruption_to_yield", _AUDIO, Kind.INTERRUPTION, Kind.YIELD, 0.8, stop),
        _edge("hand_to_yield", _VIDEO, Kind.HAND_RAISE, Kind.YIELD, 0.75, hand),
        _edge("gaze_away_to_pause", _VIDEO, Kind.GAZE_AWAY, Kind.PAUSE, 0.4, look),
    )


def _habits() -> tuple[Edge, ...]:
    """What a person's own voice and turns do to the person's face."""
    soon = Law(centre=0.06, spread=0.03, low=0.02, high=0.12)
    later = Law(centre=0.25, spread=0.1, low=0.05, high=0.5)
    brief, own = Kind.BRIEF_INTERRUPTION, Source.OWN
    return (
        _edge("voice_to_mouth", _AUDIO, Kind.IPU, None, 1.0, None, source=own),
        _edge("voice_to_brow", _AUDIO, Kind.IPU, Kind.BROW_RAISE, 0.4, soon, source=own),
        _edge("voice_to_beat_nod", _AUDIO, Kind.IPU, Kind.NOD, 0.22, later, 2.0, source=own, gain=0.8),
        _edge("laugh_to_own_smile", _AUDIO, Kind.LAUGH, Kind.SMILE, 1.0, soon, source=own),
        _edge("turn_start_to_own_gaze_away", _AUDIO, Kind.TURN_START, Kind.GAZE_AWAY, 0.75, soon, source=own),
        _edge("hesitation_to_own_gaze_away", _AUDIO, Kind.HESITATION, Kind.GAZE_AWAY, 0.8, soon, source=own),
        _edge("brief_interruption_to_own_yield", _AUDIO, brief, Kind.YIELD, 1.0, soon, source=own, after_end=True),
    )


def _behaviours(scenario: Scenario) -> tuple[Behaviour, ...]:
    def normal(centre: float, spread: float, low: float, high: float) -> Law:
        return Law(centre=centre, spread=spread, low=low, high=high)

    away = Law(centre=1.15, spread=0.45, low=0.3, high=3.5, lognormal=True)
    away_speaking = Law(centre=4.0, spread=0.6, low=0.5, high=9.0, lognormal=True)
    resting = _BLINKS_RESTING / _BLINKS_TALKING
    cheer, bid = scenario.cheer, scenario.overlap
    return (
        Behaviour(type=Kind.BACKCHANNEL, rate=0.5, refractory=2.0, duration=None),
        Behaviour(type=Kind.LAUGH, rate=0.56 * cheer, refractory=4.0, duration=None, in_own_turn=True),
        Behaviour(type=Kind.BRIEF_INTERRUPTION, rate=0.1 * bid, refractory=6.0, duration=None),
        Behaviour(type=Kind.NOD, rate=1.4, refractory=2.0, duration=normal(0.85, 0.25, 0.4, 1.4)),
        Behaviour(type=Kind.SMILE, rate=2.2 * cheer, refractory=3.0, duration=normal(2.0, 0.6, 1.0, 4.0)),
        Behaviour(
            type=Kind.BLINK,
            rate=_BLINKS_TALKING,
            refractory=0.5,
            duration=normal(0.18, 0.02, 0.15, 0.22),
            while_listening=resting,
        ),
        Behaviour(type=Kind.LEAN, rate=1.0, refractory=6.0, duration=normal(4.5, 1.2, 2.5, 8.0)),
        Behaviour(type=Kind.GAZE_AWAY, rate=14.0, refractory=0.4, duration=away, duration_speaking=away_speaking),
        Behaviour(type=Kind.LIVELY, rate=1.6, refractory=4.0, duration=normal(3.5, 0.8, 2.0, 6.0)),
        Behaviour(type=Kind.BROW_RAISE, rate=1.5, refractory=2.0, duration=normal(0.7, 0.1, 0.5, 1.0)),
        Behaviour(
            type=Kind.HAND_RAISE, rate=0.5, refractory=8.0, duration=normal(2.0, 0.4, 1.2, 3.2), while_speaking=0.0
        ),
        Behaviour(
            type=Kind.INTERRUPTION,
            rate=0.7 * bid,
            refractory=8.0,
            duration=normal(1.1, 0.15, 0.8, 1.5),
            while_speaking=0.0,
        ),
        Behaviour(type=Kind.BACKGROUND, rate=0.9, refractory=8.0, duration=normal(5.0, 1.5, 2.5, 9.0)),
    )


def _other_strengths(graph: Graph) -> Graph:
    """Every edge from the partner stronger or weaker by 15 to 30 %, and faster or slower by 10 to 20 %."""
    noise = Noise("held-out strengths")
    for edge in graph.edges:
        if edge.source is Source.OWN or edge.delay is None:
            continue
        factor = _apart(noise, 0.15, 0.3, edge.name, "probability")
        slower = _apart(noise, 0.1, 0.2, edge.name, "delay")
        delay = replace(edge.delay, centre=min(max(edge.delay.centre * slower, edge.delay.low), edge.delay.high))
        graph = graph.with_edge(replace(edge, probability=min(edge.probability * factor, 0.98), delay=delay))
    return graph


def _apart(noise: Noise, least: float, most: float, *names: str) -> float:
    """A factor that differs from 1 by ``least`` to ``most``."""
    sign = 1 if noise.uniform(*names, "sign") < 0.5 else -1
    return 1 + sign * (least + (most - least) * noise.uniform(*names, "size"))
