"""Where recordings come from: one file per data set, each with a ``Source`` that lists ``Recording`` rows."""

from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from data_prep.manifest import Recording


class Source(Protocol):
    """A data set on disk."""

    name: str
    findings: Counter[str]
    """What listing met besides recordings (files of other names, damaged archives ...), for the report."""

    def recordings(self) -> Iterator[Recording]:
        """Every interaction that the data set claims to have, incomplete ones included, sorted by identifier."""
        ...
