"""Live media of one user stream on its way to tokens: whatever the size of the pieces, the same tokens come out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from avatar_lab.codec.protocol import State

Encode = Callable[[Tensor, State], tuple[Tensor, State]]
"""Media (1, units, ...) and state to tokens (1, tokens, ...) and state."""


class StreamBuffer:
    """Collects media units (samples or frames), knows where the stream was absent, and encodes whole tokens.

    A token is present only if all of its media is. After an absence the codec starts cold.

    encode    codec call; unit_shape  shape of one unit; units_per_token  units in one token
    absent    (...) value that stands for an absent token
    """

    def __init__(
        self,
        *,
        encode: Encode,
        unit_shape: tuple[int, ...],
        dtype: torch.dtype,
        units_per_token: int,
        absent: Tensor,
    ) -> None:
        self.encode, self.units_per_token, self.absent = encode, units_per_token, absent
        self.media = torch.zeros(0, *unit_shape, dtype=dtype)
        self.present = torch.zeros(0, dtype=torch.bool)
        self.state: State = None
        self.taken = 0
        self.on_at_start: bool | None = None

    def push(self, media: Tensor) -> None:
        """Append media (units, ...).

        Raises:
            ValueError: the units have the wrong shape or type.
        """
        if media.shape[1:] != self.media.shape[1:] or media.dtype != self.media.dtype:
            raise ValueError(
                f"expected units of shape {tuple(self.media.shape[1:])} and {self.media.dtype}, got "
                f"{tuple(media.shape[1:])} and {media.dtype}: resize or convert the user's stream"
            )
        self._extend(media, present=True)

    def push_absent(self, num_units: int) -> None:
        """Time passes without this stream."""
        self._extend(self.media.new_zeros(num_units, *self.media.shape[1:]), present=False)

    def _extend(self, media: Tensor, *, present: bool) -> None:
        if self.on_at_start is None:
            self.on_at_start = present
        self.media = torch.cat([self.media, media])
        self.present = torch.cat([self.present, torch.full((len(media),), present)])

    @property
    def available(self) -> int:
        """Whole tokens received so far, those already taken included."""
        return self.taken + len(self.media) // self.units_per_token

    def take(self, end: int) -> tuple[Tensor, Tensor]:
        """Tokens (1, n, ...) from the last one taken up to ``end`` (exclusive), and their presence (1, n)."""
        count = max(0, end - self.taken)
        units = count * self.units_per_token
        media, self.media = self.media[:units], self.media[units:]
        present, self.present = self.present[:units], self.present[units:]
        on = present.unflatten(0, (count, self.units_per_token)).all(dim=1) if count else present
        self.taken += count
        pieces = []
        for start, stop in _runs(on):
            if not on[start]:
                self.state = None
                pieces.append(self.absent.expand(1, stop - start, *self.absent.shape))
                continue
            span = media[start * self.units_per_token : stop * self.units_per_token]
            tokens, self.state = self.encode(span[None], self.state)
            pieces.append(tokens)
        empty = self.absent.expand(1, 0, *self.absent.shape)
        return torch.cat([empty, *pieces], dim=1), on[None]


def _runs(flags: Tensor) -> list[tuple[int, int]]:
    """Maximal stretches of equal flags as (start, stop)."""
    if not len(flags):
        return []
    edges = [0, *(int(i) + 1 for i in torch.nonzero(flags[1:] != flags[:-1])[:, 0]), len(flags)]
    return list(pairwise(edges))
