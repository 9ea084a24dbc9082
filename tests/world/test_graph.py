"""The table of edges: what it refuses, how it is switched, and the laws it draws from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avatar_lab.event_types import EventType
from avatar_lab.world.graph import Behaviour, Graph, Sense, Source, world_v1
from avatar_lab.world.law import Law
from avatar_lab.world.noise import Noise


def test_world_v1_has_audio_only_and_video_only_reactions_and_a_control() -> None:
    graph = world_v1()
    senses = {(edge.cue, edge.response): edge.sense for edge in graph.edges if edge.source is Source.PARTNER}
    assert senses[EventType.PAUSE, EventType.NOD] is Sense.AUDIO
    assert senses[EventType.PAUSE, EventType.BACKCHANNEL] is Sense.AUDIO
    assert senses[EventType.LOW_PITCH, EventType.BACKCHANNEL] is Sense.AUDIO
    assert senses[EventType.SMILE, EventType.SMILE] is Sense.VIDEO
    assert senses[EventType.TURN_END, EventType.TURN_START] is Sense.AUDIO
    assert EventType.BLINK in graph.negative_controls
    assert not [edge for edge in graph.edges if edge.source is Source.PARTNER and edge.cue is EventType.BLINK]
    responses = {edge.response for edge in graph.edges if edge.source is Source.PARTNER}
    spontaneous = {behaviour.type for behaviour in graph.behaviours if behaviour.rate > 0}
    assert responses - {EventType.TURN_START} <= spontaneous, (
        "a response without a base rate could be told by its marginal"
    )


def test_switching_an_edge_changes_the_fingerprint_and_nothing_else() -> None:
    graph = world_v1()
    off = graph.without(["smile_to_smile"])
    assert [edge.name for edge in off.from_cue(EventType.SMILE)] == []
    assert off.fingerprint() != graph.fingerprint()
    assert off.with_edge(graph.edge("smile_to_smile")) == graph
    assert graph.fingerprint() == world_v1().fingerprint()
    with pytest.raises(ValueError, match="no edge 'smile'"):
        graph.without(["smile"])


def test_an_inconsistent_table_is_refused() -> None:
    graph = world_v1()
    smile = graph.edge("smile_to_smile")
    with pytest.raises(ValueError, match="negative control"):
        graph.with_edge(replace(smile, name="blink_to_smile", cue=EventType.BLINK))
    with pytest.raises(ValueError, match="no row in behaviours"):
        graph.with_edge(replace(smile, name="smile_to_lean", response=EventType.LEAN))
    with pytest.raises(ValueError, match="must lie in"):
        replace(smile, probability=1.2)
    with pytest.raises(ValueError, match="unique"):
        Graph(edges=(smile, smile), behaviours=(graph.behaviour(EventType.SMILE),))
    with pytest.raises(ValueError, match="low < high"):
        Law(centre=1.0, spread=0.1, low=2.0, high=1.0)


def test_an_edge_is_added_by_one_row() -> None:
    lean = Behaviour(
        type=EventType.LEAN, rate=1.0, refractory=2.0, duration=Law(centre=2.0, spread=0.5, low=1.0, high=4.0)
    )
    graph = world_v1()
    grown = replace(graph, behaviours=(*graph.behaviours, lean))
    grown = grown.with_edge(
        replace(graph.edge("smile_to_smile"), name="lean_to_lean", cue=lean.type, response=lean.type)
    )
    assert [edge.name for edge in grown.from_cue(EventType.LEAN)] == ["lean_to_lean"]


@pytest.mark.parametrize("lognormal", [False, True])
def test_quantile_and_cdf_of_a_law_are_inverse(lognormal: bool) -> None:
    law = Law(centre=0.8, spread=0.25, low=0.4, high=1.3, lognormal=lognormal)
    uniform = np.linspace(0.01, 0.99, 41)
    seconds = [law.quantile(float(u)) for u in uniform]
    assert np.all(np.diff(seconds) > 0)
    assert min(seconds) >= law.low
    assert max(seconds) <= law.high
    np.testing.assert_allclose([law.cdf(s) for s in seconds], uniform, atol=1e-9)


def test_noise_depends_on_its_name_only() -> None:
    noise = Noise("conversation")
    draws = np.asarray([noise.uniform("draw", i) for i in range(4000)])
    assert noise.uniform("draw", 7) == draws[7]
    assert abs(draws.mean() - 0.5) < 0.02
    assert abs(draws.std() - 12**-0.5) < 0.01
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.05
    assert noise.within("a").uniform("b") == noise.uniform("a", "b") != Noise("other").uniform("a", "b")
    assert len({noise.event_id("event", i) for i in range(10_000)}) == 10_000
    np.testing.assert_array_equal(noise.generator("x").random(3), noise.generator("x").random(3))
