"""The discriminator beside the scores: what it learns, what it pulls on, and how hard."""

from __future__ import annotations

import torch

from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.level import Level
from avatar_lab.objective.adversarial import Adversarial, Discriminator
from avatar_lab.objective.conditions import ConditionRates
from avatar_lab.objective.dmd import SelfForcing
from avatar_lab.objective.losses import masked_mean
from avatar_lab.objective.rollouts import Rollouts
from tests.factory import SILENCE_K, random_batch, tiny_model

WEIGHT = 0.5
ADVERSARIAL = Adversarial(weight=WEIGHT)
SCORES = SelfForcing(silence_K=SILENCE_K, rates=ConditionRates(), sampler=Sampler(steps=(1.0, 0.3), renoise=True))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rollouts(seed: int = 0) -> Rollouts:
    return SCORES.generate(tiny_model(Level.LISTEN), random_batch(num_blocks=3), rng(seed), step=1)


def discriminator(*, blank: bool = False) -> Discriminator:
    made = Discriminator(tiny_model(Level.LISTEN, seed=3))
    if not blank:
        torch.manual_seed(4)
        torch.nn.init.normal_(made.head.weight)
    return made


def test_at_first_it_knows_nothing_then_it_tells_recordings_from_rollouts() -> None:
    judge, made = discriminator(blank=True), rollouts()
    before = ADVERSARIAL.discriminator_loss(judge, made, rng())
    torch.testing.assert_close(before.total, before.total.new_tensor(4.0).log())
    optimizer = torch.optim.Adam((p for p in judge.parameters() if p.requires_grad), lr=1e-2)
    for step in range(30):
        optimizer.zero_grad()
        ADVERSARIAL.discriminator_loss(judge, made, rng(step)).total.backward()
        optimizer.step()
    after = ADVERSARIAL.discriminator_loss(judge, made, rng(99))
    assert after.total.item() < 0.5 * before.total.item()
    assert after.logs["right"].item() > 0.9


def test_it_sees_the_user_and_what_comes_after() -> None:
    judge, made = discriminator(), rollouts()
    clean = made.recorded
    user = made.context.user

    def gradient_at(first: int) -> torch.Tensor:
        video = clean.video_BFHWC.clone().requires_grad_()
        state = type(clean)(audio_BAD=clean.audio_BAD, video_BFHWC=video)
        logits = ADVERSARIAL._logits(judge, made, state, rng())
        return torch.autograd.grad(logits[:, first].sum(), video)[0]

    assert gradient_at(0)[:, -1].abs().sum() > 0, "the first latent is judged with the last in view"
    logits = ADVERSARIAL._logits(judge, made, clean, rng())
    deaf = made.context.__class__(
        plan=made.context.plan,
        user=user.__class__(**(vars(user) | {"hears_BS": torch.zeros_like(user.hears_BS)})),
        anchor=made.context.anchor,
    )
    other = ADVERSARIAL._logits(judge, made.__class__(**(vars(made) | {"context": deaf})), clean, rng())
    hears_B = user.hears_BS.any(dim=1)
    assert hears_B.any()
    assert not torch.equal(logits[hears_B], other[hears_B])


def test_its_pull_is_a_share_of_that_of_the_scores_and_downhill() -> None:
    judge, made = discriminator(), rollouts()
    video = made.soft.video_BFHWC
    scores = torch.randn(video.shape, dtype=video.dtype, generator=rng(5))
    pull = ADVERSARIAL.pull(judge, made, rng(), video, scores)
    mask = made.video_generated_BF
    torch.testing.assert_close(masked_mean(pull.abs(), mask), WEIGHT * masked_mean(scores.abs(), mask))
    assert torch.equal(pull[~mask], torch.zeros_like(pull[~mask]))

    def passes(at: torch.Tensor) -> float:
        state = type(made.soft)(audio_BAD=made.history.audio_BAD, video_BFHWC=at)
        return (ADVERSARIAL._logits(judge, made, state, rng()) * mask).sum().item()

    assert passes(video - 1e-3 * pull) > passes(video)


def test_it_is_added_to_the_scores_on_video_alone() -> None:
    student, teacher, critic = (tiny_model(Level.LISTEN, seed=seed) for seed in range(3))
    made = rollouts()
    alone, both = (
        SCORES.student_loss(
            student, teacher, critic, made, rng(1),
            also=None if extra is None else lambda _video, _scores, extra=extra: extra,
        )
        for extra in (None, torch.ones_like(made.soft.video_BFHWC))
    )  # fmt: skip
    gradients = [
        torch.autograd.grad(
            losses.terms[name].sum(), student.net.patches.parameters(), allow_unused=True, retain_graph=True
        )
        for losses in (alone, both)
        for name in ("audio", "video")
    ]
    changed = [
        any(a is not None and b is not None and not torch.allclose(a, b) for a, b in zip(x, y, strict=True))
        for x, y in ((gradients[0], gradients[2]), (gradients[1], gradients[3]))
    ]
    assert changed == [False, True]
