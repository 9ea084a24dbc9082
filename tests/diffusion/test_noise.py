"""Counter-based noise and the noise-level warps."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import kstest

from avatar_lab.diffusion.flow import expand, mix
from avatar_lab.diffusion.levels import block_levels, draw_u
from avatar_lab.diffusion.noise import Draw, counter_normal
from avatar_lab.diffusion.sampler import Estimate, Observed, Sampler, denoise
from avatar_lab.diffusion.warp import Warp, Warps
from avatar_lab.layout import Layout
from avatar_lab.tensors import AVState, NoiseLevels


def normal(conversation: list[int], **changes: int) -> torch.Tensor:
    key = {"seed": 1, "block": 2, "step": 0, "draw": Draw.AUDIO} | changes
    return counter_normal((64, 8), conversation_B=torch.tensor(conversation), **key)


def test_noise_is_standard_normal_and_independent_between_keys() -> None:
    draws = [normal(list(range(50))), *(normal(list(range(50)), **{name: 7}) for name in ("seed", "block", "step"))]
    draws.append(normal(list(range(50)), draw=Draw.VIDEO))
    for x in draws:
        assert kstest(x.flatten().numpy(), "norm").pvalue > 1e-3
    stacked = torch.stack([x.flatten() for x in draws])
    off_diagonal = torch.corrcoef(stacked) - torch.eye(len(draws))
    assert off_diagonal.abs().max() < 0.03


def test_noise_depends_on_the_conversation_only() -> None:
    assert torch.equal(normal([3, 9])[1], normal([9])[0])
    assert not torch.equal(normal([3])[0], normal([9])[0])


def test_levels_are_shared_in_the_stated_proportions() -> None:
    audio, video = draw_u(4000, 5, shared=0.5, per_modality=0.25, rng=torch.Generator().manual_seed(0))
    same_modalities = (audio == video).all(1)
    constant = (audio == audio[:, :1]).all(1)
    assert abs(same_modalities.float().mean() - 0.5) < 0.03
    assert abs(constant.float().mean() - 0.75) < 0.03


def test_a_tilt_moves_levels_towards_noise() -> None:
    audio, video = draw_u(4000, 5, shared=0.0, per_modality=0.0, tilt=3.0, rng=torch.Generator().manual_seed(0))
    for u in (audio, video):
        assert abs(float(u.mean()) - 3 / 4) < 0.01  # mean of the density 3 u^2
        assert abs(float((u > 0.8).float().mean()) - (1 - 0.8**3)) < 0.02


def test_fitted_warp_makes_the_loss_linear_in_u() -> None:
    warps = Warps(audio=Warp(), video=Warp(), num_bins=32)
    sigma = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
    warps.observe(sigma, 5 * torch.sigmoid(12 * (sigma - 0.4)))
    warps.fit_audio()
    u = torch.linspace(0.1, 0.9, 9)
    loss = 5 * torch.sigmoid(12 * (warps.audio(u) - 0.4))
    straight = torch.linspace(float(loss[0]), float(loss[-1]), 9)
    assert (loss - straight).abs().max() < 0.25
    assert float(warps.audio(torch.tensor(0.0))) == 0
    assert float(warps.audio(torch.tensor(1.0))) == 1


def test_flat_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="train longer"):
        Warp().fit(torch.linspace(0.1, 0.9, 9), torch.ones(9))


def test_a_student_that_reads_tokens_from_noise_is_refused() -> None:
    warps = Warps(audio=Warp(), video=Warp())
    Sampler(steps=(1.0, 0.3), renoise=1.0).check(warps)
    with pytest.raises(ValueError, match="incoherent"):
        Sampler(steps=(1.0, 0.5), renoise=1.0).check(warps)
    with pytest.raises(ValueError, match="start at 1"):
        Sampler(steps=(0.9, 0.5), renoise=1.0)


def test_the_last_step_is_lowered_to_where_tokens_can_be_read() -> None:
    warps = Warps(audio=Warp(shift=3.0), video=Warp())
    given = Sampler(steps=(1.0, 0.5, 0.3), renoise=1.0)
    with pytest.raises(ValueError, match="incoherent"):
        given.check(warps)
    lowered = given.readable(warps)
    lowered.check(warps)
    assert lowered.steps[:2] == (1.0, 0.5)
    assert 0.34 < float(warps.audio(torch.tensor(lowered.steps[-1]))) <= 0.35 + 1e-6
    low = Sampler(steps=(1.0, 0.05), renoise=1.0)
    assert low.readable(warps) == low


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_noise_between_steps_is_kept_and_drawn_anew_in_the_stated_share(share: float) -> None:
    """An estimate that knows the clean state: what is noisy afterwards is noise alone."""
    rng, layout, warps = torch.Generator().manual_seed(0), Layout(), Warps(audio=Warp(), video=Warp())
    clean, start, fresh = (
        AVState(
            audio_BAD=torch.randn(2, layout.audio_per_block, 3, generator=rng, dtype=torch.double),
            video_BFHWC=torch.randn(2, layout.latents_per_block, 2, 2, 3, generator=rng, dtype=torch.double),
        )
        for _ in range(3)
    )
    logits = torch.zeros(2, layout.audio_per_block, 1, 2, dtype=torch.double)
    nothing = Observed(values_BAD=clean.audio_BAD, mask_BA=torch.zeros(2, layout.audio_per_block, dtype=torch.bool))
    seen: list[tuple[AVState, NoiseLevels]] = []
    first = mix(clean, start, block_levels(torch.ones(2, 1).double(), torch.ones(2, 1).double(), warps, layout))
    assert torch.equal(first.video_BFHWC, start.video_BFHWC), "the path starts at noise alone"
    denoise(
        lambda _noisy, _levels: Estimate(clean=clean, logits_BAKV=logits),
        lambda step: start if step == 0 else fresh,
        nothing,
        sampler=Sampler(steps=(1.0, 0.4), renoise=share),
        warps=warps,
        layout=layout,
        observer=lambda _step, noisy, levels: seen.append((noisy, levels)),
    )
    noisy, levels = seen[1]
    for x, c, level, kept, new in (
        (noisy.audio_BAD, clean.audio_BAD, levels.audio_BA, start.audio_BAD, fresh.audio_BAD),
        (noisy.video_BFHWC, clean.video_BFHWC, levels.video_BF, start.video_BFHWC, fresh.video_BFHWC),
    ):
        sigma = expand(level, x)
        left = (x - (1 - sigma) * c) / sigma
        torch.testing.assert_close(left, (1 - share**2) ** 0.5 * kept + share * new, atol=1e-9, rtol=0)


def test_a_share_of_fresh_noise_beyond_all_of_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"renoise 1\.5 must lie in"):
        Sampler(steps=(1.0,), renoise=1.5)
