"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): momentum orthogonalised matrix by matrix.

All directions of a weight matrix learn at the same speed, which the small convolutional codecs need: ``tiny_video``
reaches after 450 steps what AdamW reaches after 1600. Convolutions count as matrices (out, in * height * width);
vectors and positions fall back to Adam. The step is scaled to AdamW's typical size (Liu et al. 2025,
arXiv:2502.16982), so that learning rates and weight decay carry over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor, nn

from avatar_lab.precision import exact_products, fast_bfloat16
from avatar_lab.training.optimizer import AdamW

WORTH_HALF = 64
"""Rows and columns from which products in bfloat16 save anything; smaller matrices feel its rounding most."""
_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the Newton-Schulz iteration, chosen for speed at small singular values."""
_ADAM_RMS = 0.2


def orthogonalise(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Matrices (..., rows, columns) with the same singular vectors and all singular values about one (.7 to 1.2)."""
    tall = matrix.shape[-2] > matrix.shape[-1]
    wide = matrix.mT if tall else matrix
    x = wide.reshape(-1, *wide.shape[-2:])
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    large = min(matrix.shape[-2:]) >= WORTH_HALF
    if large and fast_bfloat16(matrix.device.type):  # precise enough for directions, as in the reference
        x = x.bfloat16()
    linear, cubic, quintic = _QUINTIC
    with exact_products(matrix.device.type):  # optimisers step inside the autocast of a training step
        for _ in range(iterations):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic), x, beta=linear)
    return (x.mT if tall else x).reshape(matrix.shape).to(matrix.dtype)


class MuonOptimizer(torch.optim.Optimizer):
    """Groups carry ``matrix``: True for orthogonalised momentum, False for Adam."""

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, lr: float, momentum: float, betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in trained:
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
            if group["matrix"]:
                self._step_matrices(trained, group)
            else:
                for parameter in trained:
                    parameter.add_(self._vector_update(parameter, parameter.grad, group), alpha=-group["lr"])
        return loss

    def _step_matrices(self, trained: list[Tensor], group: dict[str, Any]) -> None:
        """All matrices of one shape at once: they are small and many."""
        shapes: dict[torch.Size, list[Tensor]] = {}
        for parameter in trained:
            shapes.setdefault(parameter.flatten(1).shape, []).append(parameter)
        for shape, parameters in shapes.items():
            nesterov = torch.stack([self._nesterov(parameter, group) for parameter in parameters])
            scale = _ADAM_RMS * max(shape) ** 0.5
            for parameter, update in zip(parameters, orthogonalise(nesterov), strict=True):
                parameter.add_(update.reshape(parameter.shape), alpha=-group["lr"] * scale)

    def _nesterov(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """Momentum one step ahead, as a matrix."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].mul_(group["momentum"]).add_(parameter.grad)
        return parameter.grad.add(momentum, alpha=group["momentum"]).flatten(1)

    def _vector_update(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            state["updates"] = 0
        state["updates"] += 1
        first, second = group["betas"]
        mean = state["mean"].lerp_(grad, 1 - first) / (1 - first ** state["updates"])
        square = state["square"].lerp_(grad.square(), 1 - second) / (1 - second ** state["updates"])
        return mean / (square.sqrt() + group["eps"])


@dataclass(frozen=True, kw_only=True)
class Muon(AdamW):
    """Settings of one role, like ``AdamW``; ``betas`` and ``eps`` are those of the parameters that are not matrices.

    Raises:
        ValueError: ``lr_factors`` are given, a ``spared`` pattern fits nothing, or nothing is left to train.
    """

    momentum: float = 0.95
    matrix_names: tuple[str, ...] = ("weight",)
    """Last parts of the names of parameters to orthogonalise, if they have two or more axes."""
    spared: tuple[str, ...] = ()
    """Patterns of names that Adam takes all the same: embeddings, and heads over classes."""

    def build(self, network: nn.Module) -> MuonOptimizer:  # type: ignore[override]
        """Optimiser over the parameters of ``network`` that require gradients."""
        if self.lr_factors:
            raise ValueError(f"Muon takes no lr_factors, got {sorted(self.lr_factors)}; use AdamW or remove them")
        trained = [(name, value) for name, value in network.named_parameters() if value.requires_grad]
        if not trained:
            raise ValueError("a trained role has no parameter that requires a gradient; freeze fewer or do not list it")
        for pattern in self.spared:
            if not any(fnmatch(name, pattern) for name, _ in trained):
                raise ValueError(f"spared pattern {pattern!r} fits no parameter: correct or remove it")
        matrices = [
            value
            for name, value in trained
            if value.ndim >= 2
            and name.rpartition(".")[2] in self.matrix_names
            and not any(fnmatch(name, pattern) for pattern in self.spared)
        ]
        chosen = {id(value) for value in matrices}
        vectors = [value for _, value in trained if id(value) not in chosen]
        shared = {"lr": self.lr, "base_lr": self.lr, "weight_decay": self.weight_decay}
        groups = [{"params": matrices, "matrix": True} | shared, {"params": vectors, "matrix": False} | shared]
        return MuonOptimizer(
            [group for group in groups if group["params"]],
            lr=self.lr,
            momentum=self.momentum,
            betas=self.betas,
            eps=self.eps,
        )
