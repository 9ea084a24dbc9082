"""Promises that hold to the bit or not at all, on real checkpoints: F1 strict enhancement, C1 honest causality.

They need no statistics: one difference in one block of one conversation refutes them. Each check also has to be able to
fail, so an input that must matter is shown to matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar_lab.checkpoint import Checkpoint
from avatar_lab.context import BlockInput, Context, block_inputs, live_context
from avatar_lab.evaluation.generate import Generated, generate_blocks
from avatar_lab.evaluation.live import Persona, stream_blocks
from avatar_lab.evaluation.media import Media
from avatar_lab.evaluation.studio import Studio
from avatar_lab.evaluation.treatments import first_to_see, values_of, with_values
from avatar_lab.layout import Layout, Stream
from avatar_lab.level import Level
from avatar_lab.model.cache import Cache
from avatar_lab.rollout.rollout import BlockOutput, rollout
from avatar_lab.tensors import DyadBatch

_OF_LEVEL = {Level.LISTEN: Stream.USER_AUDIO, Level.SEE: Stream.USER_VIDEO}
"""What a level perceives beyond the one below it."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check. ``differences`` says where it failed; ``vacuous``: what should have mattered did not, so that equality
    proves nothing."""

    question: str
    compared: int
    differences: tuple[str, ...]
    vacuous: str | None = None

    @property
    def passed(self) -> bool:
        return not self.differences


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
    off = _off(full, _OF_LEVEL[level], plan_of=absent)
    names = [str(int(sample)) for sample in batch.sample_B]
    runs = {
        name: generate_blocks(checkpoint, context, level=at, seed=seed, conversation_B=batch.sample_B)
        for name, checkpoint, context, at in (
            ("on", upper, full, level),
            ("off", upper, off, level),
            ("skipped", upper, absent, below),
            ("below", lower, absent, below),
        )
    }
    vacuous = None if _unlike(runs["on"], runs["below"], names) else "the stream changes nothing when it is on"
    found = [
        Check(
            question=f"{level.name.lower()}_without_its_stream",
            compared=2 * batch.size,
            differences=tuple(
                f"{name} {where}" for name in ("off", "skipped") for where in _unlike(runs[name], runs["below"], names)
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
    middle = full.num_blocks // 2

    def run(checkpoint: Checkpoint, inputs: Sequence[BlockInput], cache: Cache, at: Level) -> list[BlockOutput]:
        return list(
            rollout(
                checkpoint.model,
                inputs,
                full.anchor,
                sampler=upper.card.sampler,
                seed=seed,
                conversation_B=batch.sample_B,
                level=at,
                cache=cache,
            )
        )

    on, off, without = (
        list(block_inputs(context, layout)) for context in (full, _off(full, _OF_LEVEL[level], plan_of=absent), absent)
    )
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


def no_future(checkpoint: Checkpoint, batch: DyadBatch, *, level: Level, silence_K: Tensor, seed: int) -> list[Check]:
    """C1, offline: everything that is said, heard and seen after a time changes, and no block before may know."""
    layout, entries = checkpoint.layout, int(checkpoint.model.codebook.tables_KVD.shape[1])
    context = live_context(batch, layout, level, silence_K=silence_K)
    names = [str(int(sample)) for sample in batch.sample_B]
    before = generate_blocks(checkpoint, context, level=level, seed=seed, conversation_B=batch.sample_B)
    rng = torch.Generator().manual_seed(seed)
    middle = context.num_blocks // 2
    found = []
    streams = [stream for own, stream in _OF_LEVEL.items() if own <= level]
    for stream in streams:
        token = middle * layout.per_block(stream) - 1  # ends a block, so that a leak of one block shows
        start = layout.lead_tokens(stream) + token
        changed = _other_values(values_of(context.user, stream), start, entries, rng)
        after = generate_blocks(
            checkpoint,
            replace(context, user=with_values(context.user, stream, changed)),
            level=level,
            seed=seed,
            conversation_B=batch.sample_B,
        )
        found.append(_causal(stream.value, before, after, first_to_see(layout, stream, token), layout, names))
    token = middle * layout.audio_per_block + layout.script_lookahead - 1
    tokens = _other_values(context.plan.tokens_BEK, token, entries, rng)
    after = generate_blocks(
        checkpoint,
        replace(context, plan=replace(context.plan, tokens_BEK=tokens)),
        level=level,
        seed=seed,
        conversation_B=batch.sample_B,
    )
    first = (token - layout.script_lookahead) // layout.audio_per_block
    return [*found, _causal("script", before, after, max(first, 0), layout, names)]


def own_user_only(
    checkpoint: Checkpoint, batch: DyadBatch, *, level: Level, silence_K: Tensor, seed: int
) -> list[Check]:
    """C1: the user of every second conversation is another; the conversations between stay as they are, to the bit.

    It finds an avatar that hears or sees the user of another dyad. None below two conversations, or where the level
    perceives nobody.
    """
    layout, entries = checkpoint.layout, int(checkpoint.model.codebook.tables_KVD.shape[1])
    context = live_context(batch, layout, level, silence_K=silence_K)
    names = [str(int(sample)) for sample in batch.sample_B]
    streams = [stream for own, stream in _OF_LEVEL.items() if own <= level]
    if batch.size < 2 or not streams:
        return []
    before = generate_blocks(checkpoint, context, level=level, seed=seed, conversation_B=batch.sample_B)
    found = []
    for stream in streams:
        values = values_of(context.user, stream)
        others = values.clone()
        others[::2] = _other_values(values[::2], 0, entries, torch.Generator().manual_seed(seed))
        other = replace(context, user=with_values(context.user, stream, others))
        after = generate_blocks(checkpoint, other, level=level, seed=seed, conversation_B=batch.sample_B)
        changed = _unlike(before, after, names)
        kept = {f"conversation {name}" for name in names[1::2]}
        found.append(
            Check(
                question=f"{stream.value}_of_others",
                compared=len(kept),
                differences=tuple(where for where in changed if where in kept),
                vacuous=None if len(changed) > len(kept & set(changed)) else "no one's own user matters",
            )
        )
    return found


def on_the_codebook(checkpoint: Checkpoint, batch: DyadBatch, *, level: Level, silence_K: Tensor, seed: int) -> Check:
    """C1: what the avatar remembers of its own sound is what was heard, entries of the codebook and no soft mixture."""
    context = live_context(batch, checkpoint.layout, level, silence_K=silence_K)
    model = checkpoint.model
    blocks = rollout(
        model,
        block_inputs(context, checkpoint.layout),
        context.anchor,
        sampler=checkpoint.card.sampler,
        seed=seed,
        conversation_B=batch.sample_B,
        level=level,
    )
    compared, wrong = 0, []
    for place, block in enumerate(blocks):
        compared += block.tokens_BAK[..., 0].numel()
        if not torch.equal(block.clean.audio_BAD, model.codebook.embed(block.tokens_BAK)):
            wrong.append(f"block {place}")
    return Check(question="history_on_codebook", compared=compared, differences=tuple(wrong), vacuous=None)


def no_future_live(
    studio: Studio, checkpoint: Checkpoint, batch: DyadBatch, user: Media, *, seconds: float, seed: int
) -> Check:
    """C1, streaming: the same avatar hears and sees two users that part at ``seconds``; blocks are equal until it can
    know of it."""
    layout = studio.layout
    at = layout.start(layout.num_blocks(seconds))
    rng = torch.Generator().manual_seed(seed)
    audio_S, video_PHWC = user.audio_S.copy(), user.video_PHWC.copy()
    sample, frame = round(at * layout.sample_rate), round(at * layout.fps)
    audio_S[sample:] = 0.1 * torch.randn(len(audio_S) - sample, generator=rng).numpy()
    video_PHWC[frame:] = 255 - video_PHWC[frame:]
    persona = Persona.of_batch(batch, audio_codec=studio.audio_codec, video_codec=studio.video_codec)
    runs = []
    for media in (user, Media(video_PHWC=video_PHWC, audio_S=audio_S)):
        session = persona.open(checkpoint, audio_codec=studio.audio_codec, video_codec=studio.video_codec, seed=seed)
        runs.append(list(stream_blocks(session, media, persona.script, camera=checkpoint.level.sees)))
    first = min(
        first_to_see(layout, stream, int(at / float(layout.grid(stream)) + 1e-6))
        for own, stream in _OF_LEVEL.items()
        if own <= checkpoint.level
    )
    unlike = [
        place
        for place, (one, two) in enumerate(zip(*runs, strict=True))
        if not (torch.equal(one.audio_S, two.audio_S) and torch.equal(one.video_PHWC, two.video_PHWC))
    ]
    return Check(
        question="streaming",
        compared=first,
        differences=tuple(f"block {place} of {first} that could not know" for place in unlike if place < first),
        vacuous=None if unlike else "nothing changed at all",
    )


def _off(context: Context, stream: Stream, *, plan_of: Context) -> Context:
    """The stream absent throughout, own audio as a level without it plans it."""
    user, none = context.user, torch.zeros_like(context.user.hears_BS)
    if stream is Stream.USER_AUDIO:
        user = replace(user, hears_BS=none, audio_present_BT=torch.zeros_like(user.audio_present_BT))
    else:
        user = replace(user, sees_BS=none, video_present_BG=torch.zeros_like(user.video_present_BG))
    return replace(context, user=user, plan=plan_of.plan)


def _other_values(values: Tensor, start: int, entries: int, rng: torch.Generator) -> Tensor:
    """Values (B, T, ...) of which everything from ``start`` on is another."""
    changed = values.clone()
    late = changed[:, start:]
    if values.is_floating_point():
        changed[:, start:] = late + torch.randn(late.shape, generator=rng, dtype=torch.float64).to(late)
    else:
        changed[:, start:] = (late + torch.randint(1, entries, late.shape, generator=rng)) % entries
    return changed


def _causal(name: str, before: Generated, after: Generated, first: int, layout: Layout, names: Sequence[str]) -> Check:
    audio, video = first * layout.audio_per_block, first * layout.latents_per_block
    early = [
        Generated(tokens_BAK=made.tokens_BAK[:, :audio], latents_BFHWC=made.latents_BFHWC[:, :video])
        for made in (before, after)
    ]
    changes = bool(_unlike(before, after, names))
    return Check(
        question=name,
        compared=first * len(names),
        differences=tuple(f"before block {first}: {where}" for where in _unlike(early[0], early[1], names)),
        vacuous=None if changes else "nothing changed at all",
    )


def _unlike(left: Generated, right: Generated, names: Sequence[str]) -> list[str]:
    pairs = zip(left.digests(), right.digests(), names, strict=True)
    return [f"conversation {name}" for one, two, name in pairs if one != two]


def _same(left: BlockOutput, right: BlockOutput) -> bool:
    return torch.equal(left.tokens_BAK, right.tokens_BAK) and torch.equal(
        left.clean.video_BFHWC, right.clean.video_BFHWC
    )
