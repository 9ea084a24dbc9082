"""Films while training: a held-out conversation, user on the left, what the networks make of the avatar beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from avatar_lab.checkpoint import Checkpoint
from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.data.dataset import DyadData
from avatar_lab.evaluation.conversation import list_conversations, recorded_batch, user_batch
from avatar_lab.evaluation.film import write_side_by_side
from avatar_lab.evaluation.generate import generate
from avatar_lab.evaluation.media import Media, decode
from avatar_lab.layout import Layout


class TrainingFilm:
    """Writes ``<artefact>.mp4`` for each artefact that a stage would export now.

    data     where the conversation comes from; split  its first long enough interaction is filmed
    seconds  length of a film
    offline  sample as a bidirectional teacher is, with sight of its own future
    """

    def __init__(
        self,
        *,
        data: DyadData,
        layout: Layout,
        audio_codec: AudioCodec,
        video_codec: VideoCodec,
        split: str,
        seconds: float,
        offline: bool,
        seed: int,
    ) -> None:
        self.layout, self.audio_codec, self.video_codec = layout, audio_codec, video_codec
        self.offline, self.seed = offline, seed
        conversations = list_conversations(data, layout, split=split, num_dyads=1, seconds=seconds)[:1]
        self.batch = recorded_batch(data, conversations)
        self.user = user_batch(data, conversations)

    @torch.no_grad()
    def write(self, *, artefacts: Mapping[str, Checkpoint], folder: Path) -> None:
        """Film every artefact into ``folder``."""
        num_tokens = self.batch.video_BFHWC.shape[1] // self.layout.latents_per_block * self.layout.audio_per_block
        user = self._decode(self.user.audio_BEK[0, :num_tokens], self.user.video_BFHWC[0])
        for name, checkpoint in artefacts.items():
            made = generate(
                checkpoint,
                self.batch,
                level=checkpoint.level,
                offline=self.offline,
                silence_K=self.audio_codec.silence_K,
                seed=self.seed,
            )
            avatar = self._decode(made.tokens_BAK[0], made.latents_BFHWC[0])
            write_side_by_side(folder / f"{name}.mp4", user, avatar, self.layout)

    def _decode(self, tokens_AK: Tensor, latents_FHWC: Tensor) -> Media:
        return decode(tokens_AK, latents_FHWC, audio_codec=self.audio_codec, video_codec=self.video_codec)
