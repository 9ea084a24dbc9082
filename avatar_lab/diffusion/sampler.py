"""From noise to clean: the one denoising loop, run by rollouts on a block and by offline sampling on a window.

Teacher and autoregressive model follow the probability-flow ODE. A few-step student gives its soft estimate new noise
at the next listed ``u``: fresh noise (Yin et al. 2024, arXiv:2405.14867), which forgets what the old had decided, the
old one, or some of both (``gamma`` in Kim et al. 2023, arXiv:2310.02279, section 4). In all, tokens are read from the
logits of the last step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor

from avatar_lab.diffusion.flow import expand, mix
from avatar_lab.diffusion.levels import block_levels
from avatar_lab.diffusion.warp import Warps
from avatar_lab.layout import Layout
from avatar_lab.tensors import AVState, NoiseLevels, TensorRecord

MAX_LAST_AUDIO_SIGMA = 0.35
"""Independent heads agree on one token tuple only when the posterior is this sharp (design section 4)."""


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Steps in ``u``, from 1 downwards, and what happens between them.

    Raises:
        ValueError: the steps do not start at 1 or do not fall strictly towards 0, or ``renoise`` is not in [0, 1].
    """

    steps: tuple[float, ...]
    renoise: float
    """Deviation of what is fresh in the noise after each step, in [0, 1]; 0 is the ODE."""
    snap: bool = True
    """Own audio is remembered as the tokens that were read; without, as the soft estimate, which is an ablation."""

    def __post_init__(self) -> None:
        steps = tuple(float(u) for u in self.steps)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "renoise", float(self.renoise))  # old cards say true or false
        falling = all(a > b > 0 for a, b in pairwise(steps))
        if not steps or steps[0] != 1.0 or not falling:
            raise ValueError(f"sampler steps must start at 1 and fall strictly, all above 0; got {list(steps)}")
        if not 0 <= self.renoise <= 1:
            raise ValueError(f"sampler renoise {self.renoise} must lie in [0, 1]: 0 keeps the noise, 1 draws it anew")

    @classmethod
    def ode(cls, num_steps: int) -> Self:
        """``num_steps`` Euler steps, equal in ``u``."""
        return cls(steps=tuple(1 - i / num_steps for i in range(num_steps)), renoise=0.0)

    def until(self, num_steps: int) -> Self:
        """The first ``num_steps`` of the steps."""
        return replace(self, steps=self.steps[:num_steps])

    def readable(self, warps: Warps) -> Self:
        """The same steps, the last one lowered if need be to where tokens can be read; the warp is fitted to data, so
        no fixed list of ``u`` is always low enough."""
        lower = torch.linspace(self.steps[-1], 0, 513, device=warps.audio.sigma_knots.device)[:-1]
        fits = lower[warps.audio(lower) <= MAX_LAST_AUDIO_SIGMA]
        if not len(fits) or fits[0] == lower[0]:
            return self
        return replace(self, steps=(*self.steps[:-1], float(fits[0])))

    def check(self, warps: Warps) -> None:
        """Refuse a student whose last step is too noisy to read tokens from.

        Raises:
            ValueError: the audio noise level of the last step exceeds ``MAX_LAST_AUDIO_SIGMA``.
        """
        sigma = float(warps.audio(torch.tensor(self.steps[-1], device=warps.audio.sigma_knots.device)))
        if sigma > MAX_LAST_AUDIO_SIGMA:
            raise ValueError(
                f"the last step u={self.steps[-1]:g} has audio noise level {sigma:.2f} > {MAX_LAST_AUDIO_SIGMA}: "
                "tokens read there are incoherent; end the list of steps at a smaller u"
            )


@dataclass(frozen=True, kw_only=True)
class Observed(TensorRecord):
    """Own audio that is known: held at its clean value and noise level 0 throughout."""

    values_BAD: Tensor
    mask_BA: Tensor

    def fill(self, state: AVState) -> AVState:
        audio = torch.where(self.mask_BA[..., None], self.values_BAD, state.audio_BAD)
        return AVState(audio_BAD=audio, video_BFHWC=state.video_BFHWC)

    def hold(self, state: AVState, levels: NoiseLevels) -> tuple[AVState, NoiseLevels]:
        level = levels.audio_BA.masked_fill(self.mask_BA, 0.0)
        return self.fill(state), NoiseLevels(audio_BA=level, video_BF=levels.video_BF)


@dataclass(frozen=True, kw_only=True)
class Estimate(TensorRecord):
    """Clean estimate of both modalities and the logits from which tokens are read."""

    clean: AVState
    logits_BAKV: Tensor


Predict = Callable[[AVState, NoiseLevels], Estimate]
Observer = Callable[[int, AVState, NoiseLevels], None]


def denoise(
    predict: Predict,
    noise: Callable[[int], AVState],
    observed: Observed,
    *,
    sampler: Sampler,
    warps: Warps,
    layout: Layout,
    observer: Observer | None = None,
) -> Estimate:
    """Run the sampler over all blocks in ``noise(0)`` at once; what comes out is the estimate of the last step.

    noise      step index -> fresh standard noise; step 0 is the start, later ones are used when re-noising
    observer   called with (step index, noisy, levels) before each prediction
    """
    steps, state = sampler.steps, noise(0)
    size, num_blocks = state.audio_BAD.shape[0], state.audio_BAD.shape[1] // layout.audio_per_block
    ones_BS = torch.ones(size, num_blocks, device=state.audio_BAD.device, dtype=state.audio_BAD.dtype)

    def levels_at(u: float) -> NoiseLevels:
        return block_levels(u * ones_BS, u * ones_BS, warps, layout).to(ones_BS.device, ones_BS.dtype)

    for index, u in enumerate(steps):
        noisy, levels = observed.hold(state, levels_at(u))
        if observer is not None:
            observer(index, noisy, levels)
        estimate = predict(noisy, levels)
        if index + 1 < len(steps):
            after = levels_at(steps[index + 1])
            kept = partial(euler, noisy, estimate.clean, levels_at(u))
            if sampler.renoise == 0:
                state = kept(after)
            elif sampler.renoise == 1:
                state = mix(estimate.clean, noise(index + 1), after)
            else:
                blended = kept(levels_at(1.0)).combine(noise(index + 1), partial(blend, deviation=sampler.renoise))
                state = mix(estimate.clean, blended, after)
    return estimate


def blend(kept: Tensor, fresh: Tensor, deviation: float) -> Tensor:
    """Noise of unit variance, in which ``fresh`` has the given deviation."""
    return (1 - deviation**2) ** 0.5 * kept + deviation * fresh


def euler(noisy: AVState, clean: AVState, now: NoiseLevels, after: NoiseLevels) -> AVState:
    """Euler step of the flow ODE: the noise implied by the estimate is kept, its share shrinks."""

    def step(x: Tensor, c: Tensor, sigma: Tensor, sigma_after: Tensor) -> Tensor:
        return c + expand(sigma_after / sigma, x) * (x - c)

    return AVState(
        audio_BAD=step(noisy.audio_BAD, clean.audio_BAD, now.audio_BA, after.audio_BA),
        video_BFHWC=step(noisy.video_BFHWC, clean.video_BFHWC, now.video_BF, after.video_BF),
    )
