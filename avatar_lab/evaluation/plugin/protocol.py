"""What a plugin is: metrics that need weights which this repository does not carry.

Weights that are missing give ``unavailable`` with the reason, never a number and never a crash. There are three kinds,
by what a number needs: one take by itself, the recorded person's take beside it, or the takes of all conversations. The
latter two keep a trace of every take beside what was observed of it (``traces`` brings traces together).

    S samples   H, W, C picture
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from avatar_lab.evaluation.finding import Finding
from avatar_lab.evaluation.media import Media
from avatar_lab.evaluation.observation import Observation, Trace
from avatar_lab.evaluation.references import Unavailable
from avatar_lab.events.segments import Segment
from avatar_lab.layout import Layout

Wave = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Take:
    """One agent in one conversation, as plugins see it.

    observation   what was detected in these media, such as when the agent speaks
    person_S      the voice sample of the person that the avatar is, from outside the conversation where it is long
                  enough, through the same codec
    picture_HWC   the picture that the avatar starts from, uint8, through the same codec
    script        when the avatar is told what to say, in seconds: the recorded person's turns
    """

    media: Media
    observation: Observation
    person_S: Wave
    picture_HWC: NDArray[np.uint8]
    script: Sequence[Segment]
    layout: Layout


class Plugin(ABC):
    """Foreign weights and what is found with them; it travels to other processes, so it holds no network.

    name      its key in ``plugins=[...]``
    metrics   all that it finds, described in ``evaluation/metric_plugins.py``
    weights   which weights these are, where they come from, and their licence
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    weights: ClassVar[str]

    @abstractmethod
    def identity(self) -> str:
        """Digest of the weights and version of what runs them; other ones make old rows stale.

        Raises:
            Unavailable: weights or packages are missing; the message says what to install.
        """


class Judging(Plugin):
    """Judges one take by itself."""

    @abstractmethod
    def measure(self, take: Take) -> list[Finding]:
        """One finding for each of ``metrics``.

        Raises:
            Unavailable: as :meth:`identity`.
        """


class Tracing(Plugin):
    """Keeps of one take what is compared with other takes later, without any weights."""

    @abstractmethod
    def trace(self, take: Take) -> Trace:
        """An array of numbers or of text.

        Raises:
            Unavailable: as :meth:`identity`.
        """


class Comparing(Tracing):
    """Compares a take with the recorded person's own in the same conversation."""

    @abstractmethod
    def compare(self, own: Trace, truth: Trace) -> list[Finding]:
        """One finding for each of ``metrics``."""


class Pooling(Tracing):
    """Compares the takes of all conversations with the recorded people's."""

    @abstractmethod
    def pool(self, own: Sequence[Trace], truth: Sequence[Trace], *, seed: int) -> list[Finding]:
        """One finding for each of ``metrics``; the traces are in pairs."""


def identity_of(plugin: Plugin) -> str:
    """Its identity, or why it has none, so that rows are made anew once it can be had."""
    try:
        return plugin.identity()
    except Unavailable as error:
        return f"unavailable: {error}"


def complete(plugin: Plugin, found: Sequence[Finding]) -> Sequence[Finding]:
    """What a plugin found.

    Raises:
        ValueError: it found something else than it said it would.
    """
    if sorted(one.metric for one in found) != sorted(plugin.metrics):
        raise ValueError(f"plugin {plugin.name} found {[one.metric for one in found]} instead of {plugin.metrics}")
    return found
