"""The difference of two scores as a gradient on samples, and a loss that has it: distribution matching
(Yin et al. 2023, arXiv:2311.18828, eq. 7).

    B batch   N tokens
"""

from __future__ import annotations

from torch import Tensor

from avatar_lab.diffusion.flow import expand
from avatar_lab.objective.losses import masked_mean


def dmd_gradient(fake: Tensor, real: Tensor, clean: Tensor, generated: Tensor, *, parts: int = 1) -> Tensor:
    """``(fake - real) / max(mean |clean - real|, 1e-3)``, zero outside ``generated``; the mean is per sample and part.

    fake, real  clean estimates of critic and real score; clean  the student's sample; all (B, tokens, ...)
    generated   (B, tokens) bool; a part without generated tokens gets gradient 0
    parts       of equal length, one behind the other; errors at little noise count for as much as others in one alone
    """
    error_and_mask = (x.unflatten(1, (parts, -1)).flatten(0, 1) for x in ((clean - real).abs(), generated))
    scale_P = masked_mean(*error_and_mask).clamp(min=1e-3)
    scale_BN = scale_P.unflatten(0, (-1, parts)).repeat_interleave(clean.shape[1] // parts, dim=1)
    return (fake - real) / expand(scale_BN, clean) * expand(generated, clean)


def dmd_loss(clean: Tensor, gradient: Tensor, generated: Tensor, *, tokens: slice = slice(None)) -> Tensor:
    """Per-sample loss whose derivative with respect to ``clean`` is ``gradient``, averaged over generated values.

    tokens  those that ``clean`` holds, if it is a part of a window; losses of parts add up to that of the window
    """
    part = generated[:, tokens]
    target = (clean - gradient[:, tokens]).detach()
    share_B = part.sum(1) / generated.sum(1).clamp(min=1) if part.shape != generated.shape else 1.0
    return 0.5 * share_B * masked_mean((clean - target).square(), part)
