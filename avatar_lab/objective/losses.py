"""What every objective returns: named, weighted loss terms, one value per sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Loss terms before reduction.

    terms    name -> (B,) tensor; samples on which a term is undefined (all masked) hold 0 and count as 0
    weights  name -> factor in the total; a term without one is logged but not trained on
    logs     name -> scalar tensor, logged as it is
    """

    terms: dict[str, Tensor]
    weights: dict[str, float]
    logs: dict[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """Scalar to call ``backward`` on: the batch mean of the weighted sum."""
        return torch.stack([weight * self.terms[name].mean() for name, weight in self.weights.items()]).sum()

    def scalars(self) -> dict[str, float]:
        """Plain numbers for the log, ``loss/<term>`` and the objective's own."""
        values = {f"loss/{name}": float(term.detach().mean()) for name, term in self.terms.items()}
        return values | {name: float(value.detach()) for name, value in self.logs.items()}


NOISE_BUCKETS = (0.0, 0.25, 0.5, 0.75, 1.0)


def by_noise_level(name: str, value_BT: Tensor, level_BT: Tensor, mask_BT: Tensor) -> dict[str, Tensor]:
    """Mean of ``value`` per quarter of the noise levels, as logs ``<name>/noise_<low>``; quarters without tokens are
    left out. A network that has learned to copy its input is good in the first, one that listens in the last."""
    value, level = value_BT.detach()[mask_BT], level_BT[mask_BT]
    found = {}
    for low, high in pairwise(NOISE_BUCKETS):
        inside = (level > low) & (level <= high)
        if inside.any():
            found[f"{name}/noise_{low:.2f}"] = value[inside].mean()
    return found


def masked_mean(value: Tensor, mask: Tensor) -> Tensor:
    """Mean over all but the batch axis where ``mask`` (broadcast over trailing axes) holds; 0 if it holds nowhere."""
    weight = mask.to(value.dtype).reshape(mask.shape + (1,) * (value.ndim - mask.ndim)).expand_as(value)
    return (value * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1)
