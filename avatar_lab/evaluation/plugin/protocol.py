"""What a plugin is: metrics that need weights which this repository does not carry.

Weights that are missing give ``unavailable`` with the reason, never a number and never a crash: packages are imported
when a plugin is first used.

    S samples
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from avatar_lab.evaluation.finding import Finding, Missing
from avatar_lab.evaluation.media import Media
from avatar_lab.evaluation.observation import Observation
from avatar_lab.evaluation.references import Unavailable
from avatar_lab.layout import Layout

Wave = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Take:
    """One agent in one conversation, as plugins see it.

    observation   what was detected in these media, such as when the agent speaks
    person_S      the voice sample of the person that the avatar is, from outside the conversation where it is long
                  enough, through the same codec
    """

    media: Media
    observation: Observation
    person_S: Wave
    layout: Layout


class Plugin(Protocol):
    """Measures one conversation with foreign weights; it travels to other processes, so it holds no network."""

    @property
    def name(self) -> str:
        """Its key in ``plugins=[...]``."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """All that it finds, described in ``evaluation/metrics.py``."""
        ...

    @property
    def weights(self) -> str:
        """Which weights these are, where they come from, and their licence."""
        ...

    def identity(self) -> str:
        """Digest of the weights and version of what runs them; other ones make old rows stale.

        Raises:
            Unavailable: weights or packages are missing; the message says what to install.
        """
        ...

    def measure(self, take: Take) -> list[Finding]:
        """One finding for each of ``metrics``.

        Raises:
            Unavailable: as :meth:`identity`.
        """
        ...


def identity_of(plugin: Plugin) -> str:
    """Its identity, or why it has none, so that rows are made anew once it can be had."""
    try:
        return plugin.identity()
    except Unavailable as error:
        return f"unavailable: {error}"


def measure_with(plugin: Plugin, take: Take) -> tuple[Finding, ...]:
    """What a plugin finds; where it is unavailable, that and why for each of its metrics.

    Raises:
        ValueError: it found something else than it said it would.
    """
    try:
        found = tuple(plugin.measure(take))
    except Unavailable as error:
        return tuple(Finding(metric=metric, value=Missing(str(error)), n=0) for metric in plugin.metrics)
    if sorted(one.metric for one in found) != sorted(plugin.metrics):
        raise ValueError(f"plugin {plugin.name} found {[one.metric for one in found]} instead of {plugin.metrics}")
    return found


def import_or_say(module: str, install: str) -> Any:
    """A module of another package.

    Raises:
        Unavailable: it is not installed, or does not load here.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # a wheel for another machine or another numpy fails in either way
        raise Unavailable(f"{module} cannot be imported ({error}): {install}") from error


def packaged_file(package: str, inside: str, install: str) -> Path:
    """A file that a package carries, without importing it.

    Raises:
        Unavailable: package or file is not there.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise Unavailable(f"{package} is not installed: {install}")
    path = Path(spec.origin).parent / inside
    if not path.is_file():
        raise Unavailable(f"{package} has no {inside}: {install}")
    return path
