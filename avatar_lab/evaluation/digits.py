"""Numbers as text, the same in the report and in notebooks."""

from __future__ import annotations

from avatar_lab.evaluation.statistics import Estimate

DIGITS = {"ms": 0, "1/min": 1, "p": 3}
"""Behind the point, by unit; two for all others."""


def number(value: float, unit: str) -> str:
    """With the digits that its unit deserves, and no negative zero."""
    text = f"{value:.{DIGITS.get(unit, 2)}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def limits(estimate: Estimate, unit: str) -> str:
    """``.42 ... .61``; nothing where there is no interval."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{number(estimate.low, unit)} ... {number(estimate.high, unit)}"


def p_text(p: float | None) -> str:
    """A p-value; resampling cannot tell how small a very small one is."""
    if p is None or p != p:
        return ""
    return "< .001" if p < 0.001 else f"{p:.3f}"
