"""Where recordings come from: one file per data set, each with a ``Source`` that lists ``Recording`` rows."""

from collections.abc import Iterator
from typing import Protocol

from data_prep.manifest import Recording


class Source(Protocol):
    """A data set on disk."""

    name: str

    def recordings(self) -> Iterator[Recording]:
        """Every interaction that the data set claims to have, incomplete ones included, sorted by identifier."""
        ...
