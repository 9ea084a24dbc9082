"""F1, strict enhancement: a level without its stream is the level below it, to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from avatar_lab.checkpoint import Checkpoint
from avatar_lab.context import BlockInput, Context, block_inputs, live_context
from avatar_lab.evaluation.exact_checks import OF_LEVEL, Check, names_of, unlike
from avatar_lab.evaluation.generate import generate_blocks
from avatar_lab.layout import Stream
from avatar_lab.level import Level
from avatar_lab.model.cache import Cache
from avatar_lab.precision import live_products
from avatar_lab.rollout.rollout import BlockOutput, rollout
from avatar_lab.tensors import DyadBatch


def fallback(upper: Checkpoint, lower: Checkpoint, batch: DyadBatch, *, silence_K: Tensor, seed: int) -> list[Check]:
    """F1: the upper level without its stream is the lower level, from the start and from the middle on.

    Raises:
        ValueError: the two levels are not neighbours.
    """
    level, below = upper.level, lower.level
    if level != below + 1:
        raise ValueError(f"level {level.name} falls back on the one below it, not on {below.name}")
    layout = upper.layout
    full = live_context(batch, layout, level, silence_K=silence_K)
    absent = live_context(batch, layout, below, silence_K=silence_K)
    off = _off(full, OF_LEVEL[level], plan_of=absent)
    names = names_of(batch)
    runs = {
        name: generate_blocks(checkpoint, context, level=at, seed=seed, conversation_B=batch.sample_B)
        for name, checkpoint, context, at in (
            ("on", upper, full, level),
            ("off", upper, off, level),
            ("skipped", upper, absent, below),
            ("below", lower, absent, below),
        )
    }
    vacuous = None if unlike(runs["on"], runs["below"], names) else "the stream changes nothing when it is on"
    found = [
        Check(
            question=f"{level.name.lower()}_without_its_stream",
            compared=2 * batch.size,
            differences=tuple(
                f"{name} {where}" for name in ("off", "skipped") for where in unlike(runs[name], runs["below"], names)
            ),
            vacuous=vacuous,
        )
    ]
    return [*found, _switched_off(upper, lower, batch, full, absent, seed=seed)]


def _switched_off(
    upper: Checkpoint, lower: Checkpoint, batch: DyadBatch, full: Context, absent: Context, *, seed: int
) -> Check:
    """Every block after the stream went off equals the lower level's, run from the same cache with the same noise."""
    level, below, layout = upper.level, lower.level, upper.layout
    middle, device = full.num_blocks // 2, upper.model.device
    full, absent = full.to(device), absent.to(device)

    def run(checkpoint: Checkpoint, inputs: Sequence[BlockInput], cache: Cache, at: Level) -> list[BlockOutput]:
        return list(
            rollout(
                checkpoint.model,
                inputs,
                full.anchor,
                sampler=upper.card.sampler,
                seed=seed,
                conversation_B=batch.sample_B.to(device),
                level=at,
                cache=cache,
            )
        )

    on, off, without = (
        list(block_inputs(context, layout)) for context in (full, _off(full, OF_LEVEL[level], plan_of=absent), absent)
    )
    with live_products(device.type):
        cache = upper.model.net.start(full.anchor)
        run(upper, on[:middle], cache, level)
        other = cache.clone()
        after, expected = run(upper, off[middle:], cache, level), run(lower, without[middle:], other, below)
    return Check(
        question=f"{level.name.lower()}_switched_off",
        compared=len(after) * batch.size,
        differences=tuple(
            f"block {middle + place}"
            for place, pair in enumerate(zip(after, expected, strict=True))
            if not _same(*pair)
        ),
    )


def _off(context: Context, stream: Stream, *, plan_of: Context) -> Context:
    """The stream absent throughout, own audio as a level without it plans it."""
    user, none = context.user, torch.zeros_like(context.user.hears_BS)
    if stream is Stream.USER_AUDIO:
        user = replace(user, hears_BS=none, audio_present_BT=torch.zeros_like(user.audio_present_BT))
    else:
        user = replace(user, sees_BS=none, video_present_BG=torch.zeros_like(user.video_present_BG))
    return replace(context, user=user, plan=plan_of.plan)


def _same(left: BlockOutput, right: BlockOutput) -> bool:
    return torch.equal(left.tokens_BAK, right.tokens_BAK) and torch.equal(
        left.clean.video_BFHWC, right.clean.video_BFHWC
    )
