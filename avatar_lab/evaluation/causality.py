"""C1, honest causality: no block knows the future, nobody hears the user of another, and memory is what was heard.

B conversations   T user tokens   S samples   P, H, W, C video frames
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar_lab.checkpoint import Checkpoint
from avatar_lab.context import Context, live_context
from avatar_lab.evaluation.exact_checks import OF_LEVEL, Check, names_of, unlike
from avatar_lab.evaluation.generate import Generated, generate_blocks, roll_out
from avatar_lab.evaluation.live import Persona, stream_blocks
from avatar_lab.evaluation.media import Media
from avatar_lab.evaluation.studio import Studio
from avatar_lab.evaluation.treatments import first_to_see, values_of, with_values
from avatar_lab.layout import Layout, Stream
from avatar_lab.level import Level
from avatar_lab.rollout.rollout import BlockOutput
from avatar_lab.tensors import DyadBatch


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What a checkpoint does at a level in a batch where nothing is changed; rolled out once for all of C1."""

    checkpoint: Checkpoint
    level: Level
    context: Context
    batch: DyadBatch
    seed: int
    scripted: bool
    blocks: Sequence[BlockOutput]

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        batch: DyadBatch,
        *,
        level: Level,
        silence_K: Tensor,
        seed: int,
        scripted: bool = True,
    ) -> Baseline:
        """Roll out the recorded conversations of ``batch``, with or without their scripts."""
        context = live_context(batch, checkpoint.layout, level, silence_K=silence_K, scripted=scripted)
        blocks = roll_out(checkpoint, context, level=level, seed=seed, conversation_B=batch.sample_B)
        return cls(
            checkpoint=checkpoint,
            level=level,
            context=context,
            batch=batch,
            seed=seed,
            scripted=scripted,
            blocks=blocks,
        )

    def again(self, context: Context) -> Generated:
        """The same conversations and noise, told something else."""
        return generate_blocks(
            self.checkpoint, context, level=self.level, seed=self.seed, conversation_B=self.batch.sample_B
        )

    @property
    def streams(self) -> list[Stream]:
        """What is perceived of the user."""
        return [stream for own, stream in OF_LEVEL.items() if own <= self.level]

    @property
    def entries(self) -> int:
        """Size of each codebook."""
        return int(self.checkpoint.model.codebook.tables_KVD.shape[1])


def no_future(baseline: Baseline) -> list[Check]:
    """C1, offline: everything that is said, heard and seen after a time changes, and no block before may know."""
    layout, context, entries = baseline.checkpoint.layout, baseline.context, baseline.entries
    before, names = Generated.of(baseline.blocks), names_of(baseline.batch)
    rng = torch.Generator().manual_seed(baseline.seed)
    middle = context.num_blocks // 2
    found = []
    for stream in baseline.streams:
        token = middle * layout.per_block(stream) - 1  # ends a block, so that a leak of one block shows
        start = layout.lead_tokens(stream) + token
        changed = _other_values(values_of(context.user, stream), start, entries, rng)
        after = baseline.again(replace(context, user=with_values(context.user, stream, changed)))
        found.append(_causal(stream.value, before, after, first_to_see(layout, stream, token), layout, names))
    if not baseline.scripted:
        return found
    token = middle * layout.audio_per_block + layout.script_lookahead - 1
    tokens = _other_values(context.plan.tokens_BEK, token, entries, rng)
    after = baseline.again(replace(context, plan=replace(context.plan, tokens_BEK=tokens)))
    first = (token - layout.script_lookahead) // layout.audio_per_block
    return [*found, _causal("script", before, after, max(first, 0), layout, names)]


def own_user_only(baseline: Baseline) -> list[Check]:
    """C1: the user of every second conversation is another; the conversations between stay as they are, to the bit.

    It finds an avatar that hears or sees the user of another dyad. None below two conversations, or where the level
    perceives nobody.
    """
    if baseline.batch.size < 2:
        return []
    context, names, before = baseline.context, names_of(baseline.batch), Generated.of(baseline.blocks)
    found = []
    for stream in baseline.streams:
        values = values_of(context.user, stream)
        others = values.clone()
        rng = torch.Generator().manual_seed(baseline.seed)
        others[::2] = _other_values(values[::2], 0, baseline.entries, rng)
        after = baseline.again(replace(context, user=with_values(context.user, stream, others)))
        changed = unlike(before, after, names)
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


def on_the_codebook(baseline: Baseline) -> Check:
    """C1: what the avatar remembers of its own sound is what was heard, entries of the codebook and no soft mixture."""
    codebook = baseline.checkpoint.model.codebook
    compared, wrong = 0, []
    for place, block in enumerate(baseline.blocks):
        compared += block.tokens_BAK[..., 0].numel()
        heard_BAD = codebook.embed(block.tokens_BAK.to(codebook.tables_KVD.device))
        if not torch.equal(block.clean.audio_BAD, heard_BAD.to(block.clean.audio_BAD.device)):
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
        for own, stream in OF_LEVEL.items()
        if own <= checkpoint.level
    )
    parted = [
        place
        for place, (one, two) in enumerate(zip(*runs, strict=True))
        if not (torch.equal(one.audio_S, two.audio_S) and torch.equal(one.video_PHWC, two.video_PHWC))
    ]
    return Check(
        question="streaming",
        compared=first,
        differences=tuple(f"block {place} of {first} that could not know" for place in parted if place < first),
        vacuous=None if parted else "nothing changed at all",
    )


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
    changes = bool(unlike(before, after, names))
    return Check(
        question=name,
        compared=first * len(names),
        differences=tuple(f"before block {first}: {where}" for where in unlike(early[0], early[1], names)),
        vacuous=None if changes else "nothing changed at all",
    )
