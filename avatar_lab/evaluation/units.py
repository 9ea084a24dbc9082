"""Where an intervention happens: a stretch of a conversation, and the moment in it from which an arm differs.

Interventions on a whole stream look at whole conversations from a fixed moment on. Interventions on one event need only
what the model can still remember before it and what may follow it, so their stretches are short, and the moment lies in
the same block of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from avatar_lab.data.windows import WindowId
from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.cues import GUARD_SECONDS, REST_SECONDS, Floor, floor_of, inside
from avatar_lab.event_types import Event, EventType
from avatar_lab.layout import Layout
from avatar_lab.world.intervention import Intervention

STREAM_SHARE = 0.25
"""Of a conversation, before a whole stream is changed."""
AFTER_SECONDS = 3.6
"""Looked at after an event: the window of responses, and what a detector needs behind it."""
GRID_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One sample: everything, ``time`` included, in seconds from the start of the stretch.

    recorded      the whole conversation
    conversation  the stretch of it, as a conversation of its own
    time          from here on the treated arm differs
    do            what is done to the user at that moment, by the world's clock; empty for edits of streams
    """

    recorded: Conversation
    conversation: Conversation
    start_block: int
    begin: float
    time: float
    do: tuple[Intervention, ...] = ()

    @property
    def dyad(self) -> str:
        return self.recorded.key

    @property
    def window(self) -> WindowId:
        return replace(self.recorded.window, start_block=self.start_block, num_blocks=self.conversation.num_blocks)

    @property
    def name(self) -> str:
        return f"{self.recorded.name}@{self.begin + self.time:.2f}"


def whole_unit(conversation: Conversation, layout: Layout, *, share: float = STREAM_SHARE) -> Unit:
    """The whole conversation, changed from a block at ``share`` of it on."""
    time = layout.start(int(conversation.num_blocks * share))
    return Unit(recorded=conversation, conversation=conversation, start_block=0, begin=0.0, time=time)


def event_unit(conversation: Conversation, layout: Layout, *, time: float, do: tuple[Intervention, ...]) -> Unit:
    """The stretch around one moment.

    Raises:
        ValueError: the conversation does not reach far enough to either side of it.
    """
    start_block = layout.num_blocks(time) - layout.history_blocks
    num_blocks = layout.history_blocks + 1 + layout.num_blocks(AFTER_SECONDS)
    if start_block < 0 or start_block + num_blocks > conversation.num_blocks:
        raise ValueError(f"{time:.1f} s is too near to an end of {conversation.name}, of {conversation.seconds:.1f} s")
    begin = layout.start(start_block)
    stretch = replace(
        conversation,
        num_blocks=num_blocks,
        seconds=layout.start(num_blocks),
        events=[replace(e, start=e.start - begin, end=e.end - begin) for e in conversation.events if e.end > begin],
    )
    return Unit(
        recorded=conversation, conversation=stretch, start_block=start_block, begin=begin, time=time - begin, do=do
    )


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """Moments at which an event may be inserted and its answer told from others.

    holder  who alone holds the floor around it: the user, the avatar, or either (``None``)
    clear   user events that invite the same answer: none may lie near
    rested  the recorded avatar did none of these shortly before
    """

    holder: str | None
    clear: tuple[EventType, ...]
    rested: tuple[EventType, ...]

    def moments(self, conversation: Conversation, layout: Layout, *, seed: int) -> Iterator[float]:
        """Such moments in an order that depends on the conversation and ``seed`` only."""
        first = layout.start(layout.history_blocks)
        times_N = np.arange(first, conversation.seconds - AFTER_SECONDS - float(layout.block_seconds), GRID_SECONDS)
        user, avatar = conversation.user, conversation.side
        times_N = times_N[_far(times_N, _starts(conversation.events, user, self.clear), GUARD_SECONDS, 2.0)]
        times_N = times_N[_far(times_N, _starts(conversation.events, avatar, self.rested), REST_SECONDS, 0.0)]
        if self.holder is not None:
            floor = floor_of(conversation.events, user=user, avatar=avatar)
            times_N = times_N[self._held(floor, times_N)]
        rng = np.random.default_rng([seed, conversation.window.sample % 2**32])
        yield from rng.permutation(times_N).tolist()

    def _held(self, floor: Floor, times_N: np.ndarray) -> np.ndarray:
        mine, other = (floor.user, floor.avatar) if self.holder == "user" else (floor.avatar, floor.user)
        held_N = inside(times_N, [(start + 1.0, stop - 2.3) for start, stop in mine])
        return held_N & ~inside(times_N, [(start - 2.3, stop + 0.5) for start, stop in other])


def _starts(events: Sequence[Event], side: str, types: tuple[EventType, ...]) -> np.ndarray:
    return np.array([event.start for event in events if event.side == side and event.type in types])


def _far(times_N: np.ndarray, marks_M: np.ndarray, before: float, after: float) -> np.ndarray:
    """Whether no mark lies within ``before`` seconds before a time or ``after`` after it."""
    since_NM = times_N[:, None] - marks_M[None]
    return ~((since_NM <= before) & (since_NM >= -after)).any(1)
