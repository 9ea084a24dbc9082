"""Conversations of the embedded world without media: dialogues are simulated when they are asked for."""

from __future__ import annotations

from functools import cache
from typing import cast

from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.references import References
from avatar_lab.layout import Layout
from avatar_lab.world.calibrated import calibrated
from avatar_lab.world.dialogue import Dialogue
from avatar_lab.world.graph import world_v1
from avatar_lab.world.simulate import simulate

LAYOUT = Layout()
SECONDS = 54.4
QUICKSTART, CALIBRATED = "h", "hc"
"""How the names of interactions of the held-out people begin, by world."""


@cache
def simulated(interaction: str) -> Dialogue:
    graph = calibrated(held_out=True) if interaction.startswith(CALIBRATED) else world_v1()
    return simulate(int(interaction[-8:]), SECONDS, graph=graph, held_out=True)


class Simulated(References):
    """References whose recordings are simulated from their names."""

    def dialogue(self, interaction: str) -> Dialogue:
        return simulated(interaction)


def references(num_dyads: int, world: str = QUICKSTART) -> Simulated:
    return Simulated(
        layout=LAYOUT,
        audio_codec=cast(AudioCodec, None),
        video_codec=cast(VideoCodec, None),
        interactions=tuple(f"{world}{number:08d}" for number in range(num_dyads)),
        recordings=None,
    )


def conversations(num_dyads: int, world: str = QUICKSTART) -> list[Conversation]:
    """Both sides of each dyad."""
    return [
        Conversation(
            key=name,
            interaction=name,
            side=side,
            num_blocks=LAYOUT.num_blocks(SECONDS),
            seconds=SECONDS,
            events=list(simulated(name).events),
        )
        for name in references(num_dyads, world).interactions
        for side in "ab"
    ]
