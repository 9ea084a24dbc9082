"""The three promises of generation: strict enhancement, honest causality, cached rollout == offline forward."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.context import Context, block_inputs
from avatar_lab.diffusion.sampler import Observer, Sampler
from avatar_lab.layout import Layout, Stream
from avatar_lab.level import Level
from avatar_lab.model.cache import Cache
from avatar_lab.model.visibility import Role
from avatar_lab.rollout.rollout import BlockOutput, rollout
from avatar_lab.tensors import AVState, NoiseLevels
from tests.factory import LAYOUT, LAYOUT_30FPS, context_of, random_batch, tiny_model

SAMPLER = Sampler(steps=(1.0, 0.3), renoise=1.0)


def run(
    model: AvatarModel,
    context: Context,
    *,
    level: Level | None = None,
    cache: Cache | None = None,
    observer: Observer | None = None,
) -> list[BlockOutput]:
    outputs = rollout(
        model,
        block_inputs(context, model.layout),
        context.anchor,
        sampler=SAMPLER,
        seed=3,
        conversation_B=torch.arange(len(context.anchor.present_B)) + 7,
        level=level,
        cache=cache,
        observer=observer,
    )
    return list(outputs)


def last_of(seen: list[tuple[AVState, NoiseLevels]]) -> Observer:
    """Keeps what the last step of each block starts from."""

    def keep(index: int, noisy: AVState, levels: NoiseLevels) -> None:
        if index == len(SAMPLER.steps) - 1:
            seen.append((noisy, levels))

    return keep


def same(left: BlockOutput, right: BlockOutput) -> bool:
    return torch.equal(left.tokens_BAK, right.tokens_BAK) and torch.equal(
        left.clean.video_BFHWC, right.clean.video_BFHWC
    )


def caches_equal(left: Cache, right: Cache) -> bool:
    pairs = zip(left.keys + left.values, right.keys + right.values, strict=True)
    return left.num_blocks == right.num_blocks and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("layout", [LAYOUT, LAYOUT_30FPS], ids=["25fps", "30fps"])
@pytest.mark.parametrize(
    ("upper", "lower", "off"), [(Level.SEE, Level.LISTEN, "sees"), (Level.LISTEN, Level.TALK, "hears")]
)
def test_level_with_its_stream_absent_is_the_level_below_bit_for_bit(
    layout: Layout, upper: Level, lower: Level, off: str
) -> None:
    context = context_of(random_batch(layout=layout), layout, **{off: False})
    high, low = tiny_model(upper, layout=layout), tiny_model(lower, layout=layout)
    caches = [model.net.start(context.anchor) for model in (high, low)]
    outputs = [run(model, context, cache=cache) for model, cache in zip((high, low), caches, strict=True)]
    assert all(same(a, b) for a, b in zip(*outputs, strict=True))
    assert caches_equal(*caches)
    present = run(high, context_of(random_batch(layout=layout), layout))
    assert not all(same(a, b) for a, b in zip(present, outputs[1], strict=True))


def test_sink_gives_the_same_bits_as_skipping_the_branch() -> None:
    """One sample without a camera beside one with: its branch runs, sees only the sink, and must add nothing."""
    batch = random_batch(size=2)
    sees = torch.tensor([[True], [False]]).expand(-1, 6)
    mixed = run(tiny_model(Level.SEE), context_of(batch, sees=sees))
    without = run(tiny_model(Level.LISTEN), context_of(batch))
    for a, b in zip(mixed, without, strict=True):
        assert torch.equal(a.clean.video_BFHWC[1], b.clean.video_BFHWC[1])
        assert torch.equal(a.tokens_BAK[1], b.tokens_BAK[1])
    assert not torch.equal(mixed[-1].clean.video_BFHWC[0], without[-1].clean.video_BFHWC[0])


def test_camera_switched_off_continues_as_level_2_from_the_same_cache() -> None:
    batch, see, listen = random_batch(num_blocks=7), tiny_model(Level.SEE), tiny_model(Level.LISTEN)
    sees = (torch.arange(7) < 5).expand(2, -1)
    context = context_of(batch, sees=sees)
    inputs = list(block_inputs(context, LAYOUT))
    options = {"sampler": SAMPLER, "seed": 3, "conversation_B": torch.arange(2)}
    cache = see.net.start(context.anchor)
    list(rollout(see, inputs[:5], context.anchor, cache=cache, **options))
    other = cache.clone()
    after = list(rollout(see, inputs[5:], context.anchor, cache=cache, **options))
    expected = list(rollout(listen, inputs[5:], context.anchor, cache=other, **options))
    assert all(same(a, b) for a, b in zip(after, expected, strict=True))


def _perturb(context: Context, stream: str, token: int) -> Context:
    """Change one stream from ``token`` (window index) on."""
    user, plan = context.user, context.plan
    if stream == "user_audio":
        start = LAYOUT.lead_tokens(Stream.USER_AUDIO) + token
        changed = user.audio_BTK.clone()
        changed[:, start:] = (changed[:, start:] + 1) % 8
        return replace(context, user=replace(user, audio_BTK=changed))
    if stream == "user_video":
        start = LAYOUT.lead_tokens(Stream.USER_VIDEO) + token
        changed = user.video_BGU.clone()
        changed[:, start:] += 1.0
        return replace(context, user=replace(user, video_BGU=changed))
    tokens = plan.tokens_BEK.clone()
    tokens[:, token:] = (tokens[:, token:] + 1) % 8
    return replace(context, plan=replace(plan, tokens_BEK=tokens, state_BE=torch.ones_like(plan.state_BE)))


def _first_allowed(stream: str, token: int) -> int:
    """First block that may differ when ``token`` and everything after it changes."""
    if stream == "script":
        return next(b for b in range(99) if (b + 1) * LAYOUT.audio_per_block + LAYOUT.script_lookahead > token)
    return next(b for b in range(99) if LAYOUT.visible_end(Stream(stream), b) > token)


@pytest.mark.parametrize("stream", ["user_audio", "user_video", "script"])
@pytest.mark.parametrize("token", [3, 8, 9])
def test_nothing_changes_before_its_allowed_time_when_streaming(stream: str, token: int) -> None:
    context = context_of(random_batch(num_blocks=8))
    context = replace(context, plan=replace(context.plan, state_BE=torch.ones_like(context.plan.state_BE)))
    context = context if stream == "script" else context_of(random_batch(num_blocks=8))
    model = tiny_model(Level.SEE)
    before, after = run(model, context), run(model, _perturb(context, stream, token))
    first = _first_allowed(stream, token)
    assert first < 8
    assert all(same(a, b) for a, b in zip(before[:first], after[:first], strict=True))
    assert not same(before[first], after[first])


@pytest.mark.parametrize("stream", ["user_audio", "user_video"])
@pytest.mark.parametrize("role", list(Role))
def test_nothing_changes_before_its_allowed_time_offline(stream: str, role: Role) -> None:
    """The user is time-masked in every network. In a bidirectional one later blocks tell earlier ones, so there only a
    change that no block may see leaves everything as it was."""
    batch, model = random_batch(num_blocks=8), tiny_model(Level.SEE)
    context = context_of(batch)
    token = 9 if role is Role.CAUSAL else LAYOUT.visible_end(Stream(stream), 7)
    clean = AVState(audio_BAD=model.codebook.embed(batch.audio_BEK[:, :32]), video_BFHWC=batch.video_BFHWC)
    noise = AVState(audio_BAD=torch.randn_like(clean.audio_BAD), video_BFHWC=torch.randn_like(clean.video_BFHWC))
    levels = NoiseLevels(audio_BA=torch.full((2, 32), 0.7).double(), video_BF=torch.full((2, 16), 0.7).double())
    history = clean if role is Role.CAUSAL else None
    one, two = (
        model.net(noise, levels, c, role=role, history=history) for c in (context, _perturb(context, stream, token))
    )
    first = _first_allowed(stream, token) if role is Role.CAUSAL else 8
    assert torch.equal(one.velocity_BFHWC[:, : 2 * first], two.velocity_BFHWC[:, : 2 * first])
    assert torch.equal(one.logits_BAKV[:, : 4 * first], two.logits_BAKV[:, : 4 * first])
    if first < 8:
        assert not torch.equal(one.velocity_BFHWC[:, 2 * first :], two.velocity_BFHWC[:, 2 * first :])


@pytest.mark.parametrize("layout", [LAYOUT, LAYOUT_30FPS], ids=["25fps", "30fps"])
def test_cached_rollout_equals_one_masked_offline_forward(layout: Layout) -> None:
    """Beyond the cache's length too: 9 blocks against a history of 4."""
    batch, model = random_batch(layout=layout, num_blocks=9), tiny_model(Level.SEE, layout=layout)
    context = context_of(batch, layout)
    seen: list[tuple[AVState, NoiseLevels]] = []
    outputs = run(model, context, observer=last_of(seen))
    levels = NoiseLevels(
        audio_BA=torch.cat([levels.audio_BA for _, levels in seen], 1),
        video_BF=torch.cat([levels.video_BF for _, levels in seen], 1),
    )
    noisy, history = _cat([noisy for noisy, _ in seen]), _cat([o.clean for o in outputs])
    offline = model.estimate_window(noisy, levels, context, role=Role.CAUSAL, history=history)
    streamed = _cat([o.estimate.clean for o in outputs])
    logits = torch.cat([o.estimate.logits_BAKV for o in outputs], dim=1)
    assert (offline.clean.video_BFHWC - streamed.video_BFHWC).abs().max() < 1e-9
    assert (offline.logits_BAKV - logits).abs().max() < 1e-9


def _cat(states: list[AVState]) -> AVState:
    return AVState(
        audio_BAD=torch.cat([s.audio_BAD for s in states], 1), video_BFHWC=torch.cat([s.video_BFHWC for s in states], 1)
    )


def test_an_hour_on_the_clock_changes_nothing() -> None:
    """The same cache contents, an hour later: same prediction in float32 to 1e-5."""
    model = tiny_model(Level.SEE, dtype=torch.float32)
    context = context_of(random_batch(num_blocks=7, dtype=torch.float32))
    inputs = list(block_inputs(context, LAYOUT))
    cache = model.net.start(context.anchor)
    seen: list[tuple[AVState, NoiseLevels]] = []
    list(
        rollout(
            model,
            inputs,
            context.anchor,
            sampler=SAMPLER,
            seed=0,
            conversation_B=torch.arange(2),
            cache=cache,
            observer=last_of(seen),
        )
    )
    later = cache.clone()
    later.num_blocks += LAYOUT.num_blocks(3600.0) // cache.num_slots * cache.num_slots
    noisy, levels = seen[-1]
    now_memory, later_memory = (model.net.block_memory(inputs[-1], c) for c in (cache, later))
    now = model.net.predict_block(noisy, levels, now_memory)
    then = model.net.predict_block(noisy, levels, later_memory)
    assert (now.velocity_BFHWC - then.velocity_BFHWC).abs().max() < 1e-5
    assert (now.logits_BAKV - then.logits_BAKV).abs().max() < 1e-5


def test_noise_belongs_to_the_conversation_not_to_the_batch() -> None:
    batch, model = random_batch(size=3), tiny_model(Level.SEE)
    together = run(model, context_of(batch))
    keys = torch.arange(3) + 7
    alone = context_of(batch[1:2])
    outputs = rollout(
        model, block_inputs(alone, LAYOUT), alone.anchor, sampler=SAMPLER, seed=3, conversation_B=keys[1:2]
    )
    for a, b in zip(together, outputs, strict=True):
        torch.testing.assert_close(a.clean.video_BFHWC[1:2], b.clean.video_BFHWC, atol=1e-10, rtol=0)


def test_guidance_of_one_changes_nothing_and_more_changes_the_output() -> None:
    context, model = context_of(random_batch()), tiny_model(Level.SEE)
    options = {"sampler": SAMPLER, "seed": 3, "conversation_B": torch.arange(2)}

    def first_two(scales: dict[Level, float]) -> list[BlockOutput]:
        inputs = list(block_inputs(context, LAYOUT))[:4]
        return list(rollout(model, inputs, context.anchor, guidance=scales, **options))

    plain, ones, strong = first_two({}), first_two({Level.SEE: 1.0}), first_two({Level.LISTEN: 2.0, Level.SEE: 3.0})
    assert all(same(a, b) for a, b in zip(plain, ones, strict=True))
    assert not same(plain[-1], strong[-1])


def test_a_history_without_snapping_is_soft_where_sound_is_open_and_the_script_elsewhere() -> None:
    model, context = tiny_model(Level.LISTEN), context_of(random_batch(), sees=False)
    sampler = replace(SAMPLER, snap=False)
    blocks = list(
        rollout(
            model,
            block_inputs(context, LAYOUT),
            context.anchor,
            sampler=sampler,
            seed=3,
            conversation_B=torch.arange(2) + 7,
        )
    )
    snapped = run(model, context)[0]
    assert torch.equal(blocks[0].clean.video_BFHWC, snapped.clean.video_BFHWC)
    for number, block in enumerate(blocks):
        own = slice(number * LAYOUT.audio_per_block, (number + 1) * LAYOUT.audio_per_block)
        open_BA = context.plan.state_BE[:, own] == 0
        on_codebook = model.codebook.embed(block.tokens_BAK)
        assert torch.equal(block.clean.audio_BAD[~open_BA], on_codebook[~open_BA])
        soft = block.estimate.clean.audio_BAD
        assert torch.equal(block.clean.audio_BAD[open_BA], soft[open_BA])
        assert not torch.allclose(soft[open_BA], on_codebook[open_BA])
