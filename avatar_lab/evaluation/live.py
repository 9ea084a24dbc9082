"""Live sessions for evaluation and demonstration: opened as a given avatar, fed block by block as a live source would.

S samples   P video frames   H, W, C
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar_lab.checkpoint import Checkpoint
from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.evaluation.media import Media
from avatar_lab.rollout.session import AvatarBlock, Script, Session
from avatar_lab.tensors import DyadBatch


@dataclass(frozen=True, kw_only=True)
class Persona:
    """Who the avatar is: a picture, a voice sample, and what it plans to say."""

    picture_HWC: Tensor
    voice_S: Tensor
    script: Script
    conversation: int

    @classmethod
    @torch.no_grad()
    def of_batch(cls, batch: DyadBatch, *, audio_codec: AudioCodec, video_codec: VideoCodec) -> Persona:
        """The avatar of a batch of one conversation."""
        picture_BPHWC, _ = video_codec.decode(batch.anchor.picture_BHWC[:, None])
        voice_BS, _ = audio_codec.decode(batch.anchor.voice_BNK)
        return cls(
            picture_HWC=picture_BPHWC[0, -1],
            voice_S=voice_BS[0],
            script=Script(tokens_NK=batch.audio_BEK[0], speech_N=batch.script_BE[0]),
            conversation=int(batch.sample_B[0]),
        )

    def open(self, checkpoint: Checkpoint, *, audio_codec: AudioCodec, video_codec: VideoCodec, seed: int) -> Session:
        """A session with this avatar."""
        return Session(
            checkpoint=checkpoint,
            audio_codec=audio_codec,
            video_codec=video_codec,
            picture_HWC=self.picture_HWC,
            voice_S=self.voice_S,
            seed=seed,
            conversation=self.conversation,
        )


def stream_blocks(session: Session, user: Media, script: Script, *, camera: bool) -> Iterator[AvatarBlock]:
    """Push the user's media in pieces of one block, the whole script with the first."""
    layout = session.layout
    audio_S, video_PHWC = torch.from_numpy(user.audio_S), torch.from_numpy(user.video_PHWC)
    for block in range(min(len(audio_S) // layout.samples_per_block, len(video_PHWC) // layout.frames_per_block)):
        heard = audio_S[block * layout.samples_per_block : (block + 1) * layout.samples_per_block]
        seen = video_PHWC[block * layout.frames_per_block : (block + 1) * layout.frames_per_block]
        yield from session.push(heard, seen if camera else None, script if block == 0 else None)
