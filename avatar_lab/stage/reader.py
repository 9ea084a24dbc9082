"""Stage ``reader``: trains the pixel reader on raw frames and on frames that went through the video codec.

Part of the codec's latents carry noise, because generated latents are never exact and the reader is used on those.

    B clips   P frames   F latents   H, W, C
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from avatar_lab.objective.losses import Losses

READER, CODEC = "reader", "codec"


class ReaderStage:
    """One update of the reader per step; the codec is frozen.

    Args:
        name: name of the stage in logs and lineage, and of the exported reader.
        reader: ``PixelReader`` or a network of the same interface.
        codec: a ``VideoCodec``.
        objective: ``(net, batch, rng) -> Losses``; ``batch`` holds ``frames`` (B, P, H, W, C) and ``face`` (B, P, T).
        decoded_share: share of the clips of a batch that go through the codec.
        max_noise: their latents get noise of a standard deviation drawn per clip from [0, max_noise].
    """

    trained = (READER,)
    followers = ()
    averaged = (READER,)
    card = None

    def __init__(
        self,
        *,
        name: str,
        reader: nn.Module,
        codec: nn.Module,
        objective: Callable[[Any, Any, torch.Generator], Losses],
        decoded_share: float,
        max_noise: float,
    ) -> None:
        if not 0 <= decoded_share <= 1:
            raise ValueError(f"decoded_share {decoded_share} must lie in [0, 1]")
        self.name = name
        self.roles = nn.ModuleDict({READER: reader, CODEC: codec})
        self.objective = objective
        self.decoded_share, self.max_noise = decoded_share, max_noise

    def turns(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> Iterator[tuple[str, Losses]]:
        """One update of the reader."""
        frames_BPHWC = batch["frames"]
        decoded = round(self.decoded_share * len(frames_BPHWC))
        if decoded:
            through_BPHWC = self._through_codec(frames_BPHWC[:decoded], rng)
            frames_BPHWC = torch.cat((through_BPHWC, frames_BPHWC[decoded:]))
        yield READER, self.objective(self.roles[READER], batch | {"frames": frames_BPHWC}, rng)

    def export(self, roles: nn.ModuleDict) -> dict[str, nn.Module]:
        return {self.name: roles[READER]}

    def _through_codec(self, frames_BPHWC: Tensor, rng: torch.Generator) -> Tensor:
        codec: Any = self.roles[CODEC]
        latents_BFHWC, _ = codec.encode(frames_BPHWC)
        level_B1111 = torch.rand((len(latents_BFHWC), 1, 1, 1, 1), generator=rng).to(latents_BFHWC.device)
        noise = torch.randn(latents_BFHWC.shape, generator=rng).to(latents_BFHWC.device)
        return codec.decode(latents_BFHWC + self.max_noise * level_B1111 * noise)[0]
