"""The flow objective: what its audio term is, with tokens and with squared errors, and what it logs."""

from __future__ import annotations

import torch

from avatar_lab.diffusion.flow import mix
from avatar_lab.level import Level
from avatar_lab.model.visibility import Role
from avatar_lab.objective.conditions import ConditionRates
from avatar_lab.objective.joint_flow import JointFlow, gaussian_like
from avatar_lab.rollout.rollout import observed_audio
from avatar_lab.tensors import NoiseLevels
from tests.factory import SILENCE_K, random_batch, tiny_model


def objective(*, audio_mse: bool) -> JointFlow:
    rates = ConditionRates(free=1.0, no_user_audio=0.0)
    return JointFlow(role=Role.CAUSAL, silence_K=SILENCE_K, rates=rates, level=Level.LISTEN, audio_mse=audio_mse)


def test_audio_by_tokens_or_by_squared_error_of_the_embedding() -> None:
    """Both see the same noise; video is the same, and either pulls at the heads of the audio."""
    model, batch = tiny_model(Level.LISTEN), random_batch()
    by_tokens, by_error = (
        objective(audio_mse=mse)(model, batch, torch.Generator().manual_seed(0)) for mse in (False, True)
    )
    assert torch.equal(by_tokens.terms["video"], by_error.terms["video"])
    assert not torch.allclose(by_tokens.terms["audio"], by_error.terms["audio"])
    for losses in (by_tokens, by_error):
        model.zero_grad()
        losses.total.backward()
        assert model.net.audio_out.weight.grad is not None
        assert model.net.audio_out.weight.grad.abs().max() > 0


def test_squared_error_is_that_of_the_expected_embedding_in_units_of_the_noise() -> None:
    model, batch = tiny_model(Level.LISTEN), random_batch()
    found = objective(audio_mse=True)
    window = found.condition(model, batch, torch.Generator().manual_seed(0))
    levels = NoiseLevels(
        audio_BA=torch.full(window.audio_loss_BA.shape, 0.5, dtype=torch.double),
        video_BF=torch.full(window.video_loss_BF.shape, 0.5, dtype=torch.double),
    )
    found.draw_levels = lambda *_: levels  # type: ignore[method-assign]
    losses = found.on_window(model, window, torch.Generator().manual_seed(0))
    noise = gaussian_like(window.clean, torch.Generator().manual_seed(0))
    observed = observed_audio(model, window.context.plan, window.tokens_BAK.shape[1])
    noisy, held = observed.hold(mix(window.clean, noise, levels), levels)
    estimate = model.estimate_window(noisy, held, window.context, role=Role.CAUSAL, history=window.clean)
    error_BA = (estimate.clean.audio_BAD - window.clean.audio_BAD).square().mean(-1) / 0.5**2
    expected_B = (error_BA * window.audio_loss_BA).sum(1) / window.audio_loss_BA.sum(1)
    torch.testing.assert_close(losses.terms["audio"], expected_B)
    assert set(losses.logs) == {"audio/noise_0.25", "video/noise_0.25"}
