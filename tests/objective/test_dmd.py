"""Distribution matching: the replay under gradients against the loop itself, and what is compared where."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.checkpoint import at_level
from avatar_lab.diffusion.sampler import Estimate, Sampler
from avatar_lab.level import Level
from avatar_lab.model.visibility import Role
from avatar_lab.objective.conditions import ConditionRates
from avatar_lab.objective.dmd import SelfForcing
from avatar_lab.objective.rollouts import Rollouts, again, exit_of
from avatar_lab.plan_trace import LATE
from avatar_lab.rollout.rollout import noise_of
from avatar_lab.stage.see_teacher import branch_state
from avatar_lab.tensors import AVState, NoiseLevels
from tests.factory import SILENCE_K, random_batch, tiny_model


def test_rollouts_exit_equally_often_at_each_step_in_an_order_that_changes() -> None:
    rounds = [tuple(exit_of(step, 3) for step in range(start, start + 3)) for start in range(0, 60, 3)]
    assert all(sorted(order) == [1, 2, 3] for order in rounds)
    assert len(set(rounds)) > 3
    assert LATE % 60 == 0
    assert [exit_of(LATE, num_steps) for num_steps in range(1, 7)] == [1, 2, 3, 4, 5, 6]  # as plans take for granted


@pytest.mark.parametrize("all_steps", [False, True])
@pytest.mark.parametrize("renoise", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("level", [Level.LISTEN, Level.SEE])
def test_replay_under_gradients_is_what_the_rollout_produced(level: Level, renoise: float, all_steps: bool) -> None:
    student, batch = tiny_model(level), random_batch()
    sampler = Sampler(steps=(1.0, 0.6, 0.3), renoise=renoise)
    losses = SelfForcing(silence_K=SILENCE_K, rates=ConditionRates(), sampler=sampler, all_steps=all_steps)
    taken = set()
    for step in range(3):
        made = losses.generate(student, batch, torch.Generator().manual_seed(step), step=step)
        clean = again(student, made).clean
        assert (clean.video_BFHWC - made.soft.video_BFHWC).abs().max() < 1e-9
        assert (clean.audio_BAD - made.soft.audio_BAD).abs().max() < 1e-9
        taken.add(made.sampler.steps)
    assert taken == {sampler.steps[:number] for number in ((3,) if all_steps else (1, 2, 3))}


@pytest.mark.parametrize("all_steps", [False, True])
def test_a_pull_on_what_comes_out_reaches_the_trained_steps(all_steps: bool) -> None:
    student, batch = tiny_model(Level.LISTEN), random_batch()
    sampler = Sampler(steps=(1.0, 0.6, 0.3), renoise=0.5)
    losses = SelfForcing(silence_K=SILENCE_K, rates=ConditionRates(), sampler=sampler, all_steps=all_steps)
    last = next(step for step in range(3) if exit_of(step, 3) == 3)
    made = losses.generate(student, batch, torch.Generator().manual_seed(0), step=last)
    seen: list[torch.Tensor] = []
    estimate = student.estimate_window

    def watched(noisy: AVState, *args: Any, **kwargs: Any) -> Estimate:
        found = estimate(noisy, *args, **kwargs)
        seen.append(found.clean.video_BFHWC)
        if torch.is_grad_enabled():
            seen[-1].retain_grad()
        return found

    student.estimate_window = watched  # type: ignore[method-assign]
    again(student, made).clean.video_BFHWC.square().mean().backward()
    reached = [each.grad is not None and bool(each.grad.abs().max() > 0) for each in seen]
    assert reached == [all_steps, all_steps, True]


@pytest.mark.parametrize("role", Role)
def test_a_critic_equal_to_the_real_score_gives_no_gradient(role: Role) -> None:
    student, other, batch = tiny_model(Level.LISTEN), tiny_model(Level.LISTEN, seed=1), random_batch()
    sampler = Sampler(steps=(1.0, 0.3), renoise=1.0)
    losses = SelfForcing(silence_K=SILENCE_K, rates=ConditionRates(), sampler=sampler, role=role)
    rng = torch.Generator().manual_seed(0)
    made = losses.generate(student, batch, rng, step=0)
    assert losses.student_loss(student, other, other, made, rng).total.item() < 1e-20
    assert float(losses.student_loss(student, student, other, made, rng).total.detach()) > 1e-6
    assert float(losses.critic_loss(other, made, rng).total.detach()) > 0


def test_beyond_a_level_only_what_is_perceived_there_pulls() -> None:
    student, batch = tiny_model(Level.SEE), random_batch()
    teacher, elsewhere = tiny_model(Level.SEE, seed=1), tiny_model(Level.SEE, seed=2)
    seeing = at_level(teacher, Level.SEE)
    with torch.no_grad():
        for network in (teacher, elsewhere):  # neither is moved by what it sees; they differ in all else
            for name, value in branch_state(network).items():
                value.mul_(not name.endswith("gate_D"))
    sampler = Sampler(steps=(1.0, 0.3), renoise=1.0)
    all_of_it, above = (
        SelfForcing(silence_K=SILENCE_K, rates=ConditionRates(no_camera=0.0), sampler=sampler, beyond=beyond)
        for beyond in (None, Level.LISTEN)
    )
    made = all_of_it.generate(student, batch, torch.Generator().manual_seed(0), step=0)

    def pull(losses: SelfForcing, critic: AvatarModel) -> float:
        rng = torch.Generator().manual_seed(0)
        return float(losses.student_loss(student, teacher, critic, made, rng).total)

    assert pull(all_of_it, elsewhere) > 1e-6
    assert pull(above, elsewhere) < 1e-20
    assert pull(above, seeing) > 1e-6


def test_only_a_bidirectional_score_knows_what_comes_after() -> None:
    student, score, batch = tiny_model(Level.LISTEN), tiny_model(Level.LISTEN, seed=1), random_batch()
    changed = {}
    for role in Role:
        losses = SelfForcing(
            silence_K=SILENCE_K, rates=ConditionRates(), sampler=Sampler(steps=(1.0, 0.3), renoise=1.0), role=role
        )
        made = losses.generate(student, batch, torch.Generator().manual_seed(0), step=0)
        noised = losses._noise(score, made, made.soft, torch.Generator().manual_seed(0))
        other = noised.noisy.video_BFHWC.clone()
        other[:, -1] += 1
        before, after = (
            losses._score(score, made=made, noised=replace(noised, noisy=state), guidance={}).video_BFHWC[:, 0]
            for state in (noised.noisy, replace(noised.noisy, video_BFHWC=other))
        )
        changed[role] = not torch.equal(before, after)
    assert changed == {Role.CAUSAL: False, Role.BIDIRECTIONAL: True}


def test_scores_of_video_are_compared_nearer_to_data_and_those_of_sound_where_they_were() -> None:
    student, batch = tiny_model(Level.LISTEN), random_batch(num_blocks=6)

    def noised(tilt: float) -> tuple[NoiseLevels, float]:
        losses = SelfForcing(
            silence_K=SILENCE_K,
            rates=ConditionRates(),
            sampler=Sampler(steps=(1.0, 0.3), renoise=1.0),
            video_tilt=tilt,
        )
        made = losses.generate(student, batch, torch.Generator().manual_seed(0), step=0)
        levels = losses._noise(student, made, made.soft, torch.Generator().manual_seed(1)).levels
        with torch.no_grad():
            pull = losses._pull(
                student, tiny_model(Level.LISTEN, seed=1), student, made, made.soft, torch.Generator().manual_seed(1)
            )
        per_block = pull.gradient.video_BFHWC.abs().flatten(2).mean(-1)
        return levels, float(per_block.max() / per_block.clamp(min=1e-12).min())

    (even, uneven_size), (low, even_size) = noised(1.0), noised(0.5)
    assert torch.equal(even.audio_BA, low.audio_BA)
    assert (low.video_BF < even.video_BF).all()
    assert even_size < uneven_size, "each block counts alike"


@pytest.mark.parametrize("tilt", [0.0, -1.0])
def test_a_tilt_that_is_no_density_is_refused(tilt: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        SelfForcing(
            silence_K=SILENCE_K, rates=ConditionRates(), sampler=Sampler(steps=(1.0, 0.3), renoise=1.0), video_tilt=tilt
        )


def test_the_end_of_a_long_rollout_is_a_window_of_its_own() -> None:
    student, batch = tiny_model(Level.SEE), random_batch(num_blocks=6)
    sampler = Sampler(steps=(1.0, 0.3), renoise=1.0)
    whole, end, same = (
        SelfForcing(silence_K=SILENCE_K, rates=ConditionRates(), sampler=sampler, scored_blocks=scored).generate(
            student, batch, torch.Generator().manual_seed(1), step=1
        )
        for scored in (None, 2, 6)
    )
    layout = student.layout
    assert end.context.num_blocks == 2
    assert torch.equal(end.history.audio_BAD, whole.history.audio_BAD[:, -2 * layout.audio_per_block :])
    assert torch.equal(end.soft.video_BFHWC, whole.soft.video_BFHWC[:, -2 * layout.latents_per_block :])
    assert torch.equal(end.context.user.hears_BS, whole.context.user.hears_BS[:, -2:])
    assert torch.equal(same.soft.video_BFHWC, whole.soft.video_BFHWC)
    assert again(student, end).clean.video_BFHWC.shape == end.soft.video_BFHWC.shape
    assert end.first == 4
    tail, all_of_it = (
        noise_of(student, whole.soft.video_BFHWC, seed=made.seed, conversation_B=made.conversation_B, blocks=blocks)(1)
        for made, blocks in ((end, range(end.first, 6)), (whole, range(6)))
    )
    assert torch.equal(tail.video_BFHWC, all_of_it.video_BFHWC[:, -2 * layout.latents_per_block :])


@pytest.mark.parametrize("all_steps", [False, True])
@pytest.mark.parametrize("scored_blocks", [None, 2])
def test_losses_in_parts_add_up_to_those_of_the_window(scored_blocks: int | None, all_steps: bool) -> None:
    student, teacher, critic = (tiny_model(Level.LISTEN, seed=seed) for seed in range(3))
    losses = SelfForcing(
        silence_K=SILENCE_K,
        rates=ConditionRates(),
        sampler=Sampler(steps=(1.0, 0.3), renoise=1.0),
        scored_blocks=scored_blocks,
        all_steps=all_steps,
    )
    made = losses.generate(student, random_batch(num_blocks=6), torch.Generator().manual_seed(0), step=0)
    parts = list(losses.student_losses(student, teacher, critic, made, torch.Generator().manual_seed(1)))
    assert len(parts) == (scored_blocks or 6)
    assert [bool(part.logs) for part in parts] == [True] + [False] * (len(parts) - 1)
    whole = losses.student_loss(student, teacher, critic, made, torch.Generator().manual_seed(1))
    if scored_blocks is None:  # else the window forgets what came before it, and the replay does not
        for name, term in whole.terms.items():
            torch.testing.assert_close(sum(part.terms[name] for part in parts), term, atol=1e-6, rtol=0)


def test_guidance_towards_the_own_audio_moves_windows_that_hear_by_what_the_script_does() -> None:
    student, score, batch = tiny_model(Level.LISTEN), tiny_model(Level.LISTEN, seed=1), random_batch()
    losses = SelfForcing(
        silence_K=SILENCE_K,
        rates=ConditionRates(free=0.0, no_user_audio=0.0),
        sampler=Sampler(steps=(1.0, 0.3), renoise=1.0),
    )
    made = losses.generate(student, batch, torch.Generator().manual_seed(0), step=0)
    noised = losses._noise(score, made, made.soft, torch.Generator().manual_seed(0))

    def ask(own_audio: float, of: Rollouts = made) -> torch.Tensor:
        return losses._score(score, made=of, noised=noised, guidance={}, own_audio=own_audio).video_BFHWC

    none, one, three = ask(0.0), ask(1.0), ask(3.0)
    free = score.estimate_window(
        noised.unheld, noised.unheld_levels, made.context.unscripted(), role=Role.CAUSAL, history=made.history
    ).clean.video_BFHWC
    torch.testing.assert_close(none, free, atol=1e-12, rtol=0)
    assert (one - none).abs().max() > 1e-3
    torch.testing.assert_close(three, none + 3 * (one - none), atol=1e-12, rtol=0)

    user = made.context.user
    deaf = replace(made, context=replace(made.context, user=replace(user, hears_BS=user.hears_BS & False)))
    assert torch.equal(ask(3.0, deaf), ask(1.0, deaf))
