"""Many tests at once: the step-down procedure of Holm (1979, Scand. J. Statist. 6) over a family listed in advance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def holm(p_values: Mapping[str, float | None], family: Sequence[str]) -> dict[str, float | None]:
    """Adjusted p-value of every member of ``family``: reject those <= alpha, and the chance of any false one is alpha.

    A member without a p-value still counts, since leaving out what did not work would make the others look better; its
    own adjusted value is ``None``.

    Raises:
        ValueError: a name stands twice in the family, or a p-value belongs to none of it.
    """
    if len(set(family)) < len(family):
        raise ValueError(f"the family {list(family)} names a test twice")
    unknown = sorted(set(p_values) - set(family))
    if unknown:
        raise ValueError(f"{unknown} were not listed in the family before the tests: {list(family)}")
    known = sorted((p, name) for name, p in p_values.items() if p is not None)
    adjusted: dict[str, float | None] = dict.fromkeys(family)
    largest = 0.0
    for rank, (p, name) in enumerate(known):
        largest = max(largest, min(1.0, (len(family) - rank) * p))
        adjusted[name] = largest
    return adjusted
