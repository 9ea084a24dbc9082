"""Trajectories of the teacher's ODE: both ways of finding them, and what the student learns from them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avatar_lab.context import OwnAudio
from avatar_lab.diffusion.sampler import Estimate, Sampler, denoise
from avatar_lab.level import Level
from avatar_lab.model.visibility import Role
from avatar_lab.objective.conditions import ConditionRates
from avatar_lab.objective.trajectory import CausalTrajectory, Trajectories
from avatar_lab.rollout.rollout import observed_audio
from avatar_lab.tensors import AVState, NoiseLevels
from tests.factory import LAYOUT, SILENCE_K, random_batch, tiny_model

STUDENT = Sampler(steps=(1.0, 0.6, 0.2), renoise=1.0)
SUBSTEPS = 2
NUM_BLOCKS = 4


def objective(sampler: Sampler = STUDENT) -> CausalTrajectory:
    return CausalTrajectory(silence_K=SILENCE_K, rates=ConditionRates(), sampler=sampler, substeps=SUBSTEPS)


def seeded(number: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def solved_offline(found: Trajectories, own: CausalTrajectory) -> AVState:
    """The end of the ODE from its start, all blocks at once behind the trajectories' history."""
    teacher = tiny_model(Level.LISTEN)

    def predict(noisy: AVState, levels: NoiseLevels) -> Estimate:
        return teacher.estimate_window(noisy, levels, found.context, role=Role.CAUSAL, history=found.history)

    estimate = denoise(
        predict,
        lambda _step: found.at(0),
        observed_audio(teacher, found.context.plan, found.tokens_BAK.shape[1]),
        sampler=own.solver,
        warps=teacher.warps,
        layout=LAYOUT,
    )
    tokens = found.context.plan.fill(teacher.codebook.snap(estimate.logits_BAKV))
    return AVState(audio_BAD=teacher.codebook.embed(tokens), video_BFHWC=estimate.clean.video_BFHWC)


@pytest.mark.parametrize("way", ["on_recording", "on_own_past"])
def test_the_end_is_where_the_ode_leads_from_the_start(way: str) -> None:
    """Through the cache as under one mask: the same ODE, once its history is known."""
    own, teacher = objective(), tiny_model(Level.LISTEN)
    found = getattr(own, way)(teacher, random_batch(num_blocks=NUM_BLOCKS), seeded())
    end = solved_offline(found, own)
    torch.testing.assert_close(found.video_BFHWC, end.video_BFHWC, rtol=0, atol=1e-9)
    assert torch.equal(teacher.codebook.embed(found.tokens_BAK), end.audio_BAD)


def test_only_on_its_own_past_history_is_what_was_made() -> None:
    own, teacher, batch = objective(), tiny_model(Level.LISTEN), random_batch(num_blocks=NUM_BLOCKS)
    recorded, made = own.on_recording(teacher, batch, seeded()), own.on_own_past(teacher, batch, seeded())
    assert torch.equal(recorded.history.video_BFHWC, batch.video_BFHWC)
    assert torch.equal(made.history.video_BFHWC, made.video_BFHWC)
    assert torch.equal(made.history.audio_BAD, teacher.codebook.embed(made.tokens_BAK))
    is_open = made.context.plan.state_BE[:, : made.tokens_BAK.shape[1]] == OwnAudio.OPEN
    assert torch.equal(made.audio_loss_BA, is_open)


def test_a_student_that_is_its_teacher_errs_at_the_first_step_only_if_the_ode_bends() -> None:
    """At the last step with one substep the teacher's own estimate is the end; before it the ODE has bent away."""
    own = CausalTrajectory(silence_K=SILENCE_K, rates=ConditionRates(), sampler=STUDENT, substeps=1)
    model = tiny_model(Level.LISTEN)
    found = own.on_recording(model, random_batch(num_blocks=NUM_BLOCKS), seeded())
    errors: dict[int, float] = {}
    for seed in range(40):
        start = int(torch.randint(len(STUDENT.steps), (1,), generator=seeded(seed)))
        errors[start] = float(own.regress(model, found, seeded(seed)).terms["video"].detach().mean())
    assert set(errors) == {0, 1, 2}
    assert errors[2] < 1e-20
    assert min(errors[0], errors[1]) > 1e-4


def test_stored_trajectories_teach_the_same() -> None:
    own, model = objective(), tiny_model(Level.LISTEN)
    found = own.on_own_past(model, random_batch(num_blocks=NUM_BLOCKS), seeded())
    flat = found.flat()
    assert all(len(tensor) == 2 for tensor in flat.values()), "one row per window"
    again = Trajectories.from_flat(flat)
    first, second = (own.regress(tiny_model(Level.LISTEN, seed=1), each, seeded()) for each in (found, again))
    assert torch.equal(first.total, second.total)
    assert float(first.total) > 1e-3


def test_what_does_not_fit_is_refused() -> None:
    own, model = objective(), tiny_model(Level.LISTEN)
    found = own.on_own_past(model, random_batch(num_blocks=NUM_BLOCKS), seeded())
    other = objective(replace(STUDENT, steps=(1.0, 0.5, 0.2)))
    with pytest.raises(ValueError, match="make them anew"):
        other.regress(model, found, seeded())
    flat = found.flat()
    with pytest.raises(ValueError, match="needs a tensor 'tokens_BAK'"):
        Trajectories.from_flat({name: tensor for name, tensor in flat.items() if name != "tokens_BAK"})
    with pytest.raises(ValueError, match="has no \\['more'\\]"):
        Trajectories.from_flat(flat | {"more": flat["tokens_BAK"]})
