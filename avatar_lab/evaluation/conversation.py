"""The fixed list of conversations on which every agent is judged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from avatar_lab.data.dataset import DyadData
from avatar_lab.data.schema import SIDES
from avatar_lab.data.windows import WindowId, whole_blocks
from avatar_lab.event_types import Event, EventType, from_table
from avatar_lab.layout import Layout
from avatar_lab.tensors import DyadBatch

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """One dyad with one participant as the avatar; the other is the user, who is always the recorded one.

    key          interaction in the data set; the cluster of every statistic
    interaction  the source's own name of it, as in the names of its files
    side         the avatar's side
    events       what happened in the recording, both sides: the source's own log where it has one, else the detectors'
    """

    key: str
    interaction: str
    side: str
    num_blocks: int
    seconds: float
    events: list[Event]

    @property
    def user(self) -> str:
        return SIDES[1 - SIDES.index(self.side)]

    @property
    def name(self) -> str:
        """Identity of the sample, usable in a file name."""
        return f"{self.key}-{self.side}"

    @property
    def partner(self) -> str:
        """The sample of the same dyad in which the user of this one is the avatar."""
        return f"{self.key}-{self.user}"

    @property
    def window(self) -> WindowId:
        return WindowId(key=self.key, side=self.side, start_block=0, num_blocks=self.num_blocks)

    @property
    def user_window(self) -> WindowId:
        """The same stretch with the roles exchanged: its video and audio are those of the user."""
        return WindowId(key=self.key, side=self.user, start_block=0, num_blocks=self.num_blocks)

    def user_speech(self) -> list[tuple[float, float]]:
        """Inter-pausal units of the user within the stretch."""
        units = [e for e in self.events if e.type is EventType.IPU and e.side == self.user and e.start < self.seconds]
        return [(unit.start, min(unit.end, self.seconds)) for unit in units]


def list_conversations(
    data: DyadData, layout: Layout, *, split: str, num_dyads: int, seconds: float
) -> list[Conversation]:
    """The first ``num_dyads`` interactions of ``split`` that are long enough, each from both sides.

    All have the same number of blocks, so that they can be rolled out as one batch. Fewer than asked for are reported
    and used.

    Raises:
        ValueError: no interaction of the split is long enough.
    """
    num_blocks = layout.num_blocks(seconds)
    if num_blocks < 1:
        raise ValueError(
            f"seconds={seconds:g} is less than one block of {float(layout.block_seconds):g} s; ask for more"
        )
    found: list[Conversation] = []
    keys = data.keys(split)
    for key in keys:
        if len(found) == num_dyads * len(SIDES):
            break
        row = data.reader.row(key)
        if whole_blocks(layout, audio_tokens=row.audio_tokens, video_latents=row.video_latents) < num_blocks:
            continue
        interaction = data.interaction(key)
        logged = interaction.events if interaction.given_events is None else interaction.given_events
        events = from_table(logged)
        found += [
            Conversation(
                key=key,
                interaction=row.interaction,
                side=side,
                num_blocks=num_blocks,
                seconds=layout.start(num_blocks),
                events=events,
            )
            for side in SIDES
        ]
    dyads = len(found) // len(SIDES)
    if not dyads:
        raise ValueError(
            f"none of the {len(keys)} interactions of split {split!r} lasts {seconds:g} s; lower seconds or prepare "
            "longer recordings"
        )
    if dyads < num_dyads:
        log.warning("only %d of %d dyads: split %r has no more that last %g s", dyads, num_dyads, split, seconds)
    return found


def recorded_batch(data: DyadData, conversations: Sequence[Conversation]) -> DyadBatch:
    """The recordings themselves as one batch, seen from the avatar's side."""
    return data.cut([conversation.window for conversation in conversations])


def user_batch(data: DyadData, conversations: Sequence[Conversation]) -> DyadBatch:
    """The same stretches seen from the user's side: its video and audio are those of the user."""
    return data.cut([conversation.user_window for conversation in conversations])
