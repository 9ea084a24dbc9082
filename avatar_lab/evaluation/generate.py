"""Batched rollouts of one checkpoint over many conversations; equal seeds give all agents equal noise.

Evaluation is scripted: the avatar's turns are given, vocal reactions are open from LISTEN on, and the user is the
recorded one. A level below the checkpoint's own leaves the streams above it absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor

from avatar_lab.checkpoint import Checkpoint
from avatar_lab.context import block_inputs, scripted_context
from avatar_lab.level import Level
from avatar_lab.rollout.offline import sample_windows
from avatar_lab.rollout.rollout import rollout
from avatar_lab.tensors import DyadBatch, TensorRecord


@dataclass(frozen=True, kw_only=True)
class Generated(TensorRecord):
    """What an agent produced, in codec space, where models, recordings and rendered references are alike."""

    tokens_BAK: Tensor
    latents_BFHWC: Tensor

    def digests(self) -> list[str]:
        """One per conversation; equal digests mean equal media, bit for bit."""
        parts = zip(self.tokens_BAK.cpu(), self.latents_BFHWC.cpu(), strict=True)
        return [
            sha256(tokens_AK.contiguous().numpy().tobytes() + latents_FHWC.contiguous().numpy().tobytes()).hexdigest()
            for tokens_AK, latents_FHWC in parts
        ]


def generate(
    checkpoint: Checkpoint, batch: DyadBatch, *, level: Level, offline: bool, silence_K: Tensor, seed: int
) -> Generated:
    """Roll out every conversation of ``batch`` to its end.

    offline  sample window by window as a bidirectional teacher is; else causally, block by block
    """
    model, layout = checkpoint.model, checkpoint.layout
    context = scripted_context(batch, layout, level, silence_K=silence_K)
    sampler = checkpoint.card.sampler
    if offline:
        tokens_BAK, latents_BFHWC = sample_windows(
            model,
            context,
            sampler=sampler,
            seed=seed,
            conversation_B=batch.sample_B,
            window_blocks=checkpoint.card.window_blocks,
        )
        return Generated(tokens_BAK=tokens_BAK, latents_BFHWC=latents_BFHWC)
    blocks = list(
        rollout(
            model,
            block_inputs(context, layout),
            context.anchor,
            sampler=sampler,
            seed=seed,
            conversation_B=batch.sample_B,
            level=level,
        )
    )
    return Generated(
        tokens_BAK=torch.cat([block.tokens_BAK for block in blocks], dim=1),
        latents_BFHWC=torch.cat([block.clean.video_BFHWC for block in blocks], dim=1),
    )
