"""Plugins at work: in every take as it is observed, and on what they kept of takes when rows are made.

What a plugin keeps of a take is part of its observation, so that the recorded person's media are looked at once,
whoever is compared with them, and rows need no weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from avatar_lab.evaluation.finding import Finding, Missing
from avatar_lab.evaluation.observation import Trace
from avatar_lab.evaluation.plugin.protocol import Comparing, Judging, Plugin, Pooling, Take, Tracing, complete
from avatar_lab.evaluation.plugin.table import PLUGINS
from avatar_lab.evaluation.references import Unavailable

Traces = Mapping[str, Trace]


def watch(plugins: Sequence[Plugin], take: Take) -> tuple[tuple[Finding, ...], dict[str, Trace]]:
    """What plugins find in one take, and what they keep of it by their names; where one is unavailable, that and why
    for each of its metrics.

    Raises:
        ValueError: a plugin found something else than it said it would.
    """
    found: list[Finding] = []
    kept: dict[str, Trace] = {}
    for plugin in plugins:
        try:
            if isinstance(plugin, Judging):
                found += complete(plugin, plugin.measure(take))
            elif isinstance(plugin, Tracing):
                kept[plugin.name] = plugin.trace(take)
        except Unavailable as error:
            found += [Finding(metric=metric, value=Missing(str(error)), n=0) for metric in plugin.metrics]
    return tuple(found), kept


def compare_traces(own: Traces, truth: Traces) -> list[Finding]:
    """What plugins find in a take beside the recorded person's."""
    return [
        one
        for name, trace in own.items()
        if isinstance(plugin := PLUGINS[name], Comparing)
        for one in complete(plugin, plugin.compare(trace, truth[name]))
    ]


def pool_traces(own: Sequence[Traces], truth: Sequence[Traces], *, seed: int) -> list[Finding]:
    """What plugins find in all takes of an agent beside the recorded people's; the takes are in pairs."""
    found: list[Finding] = []
    for name in own[0] if own else ():
        if isinstance(plugin := PLUGINS[name], Pooling):
            pairs = ([one[name] for one in side] for side in (own, truth))
            found += complete(plugin, plugin.pool(*pairs, seed=seed))
    return found
