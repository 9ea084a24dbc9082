"""Reference agents in codec space: recordings as they are, still pictures, and the world's responders rendered anew.

Oracle and frozen exist for any data set. The delayed oracle and the yoked agent need to know why things happened, so
they exist only for recordings of the embedded world, whose ``<id>.world.json`` allows simulating them again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.generate import Generated
from avatar_lab.layout import Layout
from avatar_lab.tensors import DyadBatch
from avatar_lab.world.agents import Performance, delayed_oracle, yoked
from avatar_lab.world.dialogue import Dialogue
from avatar_lab.world.record import read_dialogue, render_person
from avatar_lab.world.tracks import Tracks


class Unavailable(Exception):
    """An agent cannot be had here; the message says why. Its metrics are reported as ``unavailable``."""


@dataclass(frozen=True, kw_only=True)
class References:
    """Makes reference agents.

    interactions   all dyads of the evaluation, in order; a yoked agent takes its reactions from the next one
    recordings     folder with the recordings behind the data set, for the agents that are rendered; ``None``: not there
    """

    layout: Layout
    audio_codec: AudioCodec
    video_codec: VideoCodec
    interactions: tuple[str, ...]
    recordings: Path | None

    def make(self, name: str, conversations: Sequence[Conversation], batch: DyadBatch) -> Generated:
        """Agent ``name`` in ``conversations``; ``batch`` holds their recordings.

        Raises:
            Unavailable: the agent needs files that are not there.
        """
        makers: dict[str, Callable[[Sequence[Conversation], DyadBatch], Generated]] = {
            "oracle": self._oracle,
            "delayed_oracle": self._delayed_oracle,
            "yoked": self._yoked,
            "frozen": self._frozen,
        }
        return makers[name](conversations, batch)

    def truth(self, conversation: Conversation) -> Tracks:
        """What the recorded avatar's face and voice really did.

        Raises:
            Unavailable: the recording is not one of the embedded world, or of another clock or version of it.
        """
        return self.dialogue(conversation.interaction).tracks[conversation.side]

    def _oracle(self, conversations: Sequence[Conversation], batch: DyadBatch) -> Generated:
        num_tokens = conversations[0].num_blocks * self.layout.audio_per_block
        return Generated(tokens_BAK=batch.audio_BEK[:, :num_tokens], latents_BFHWC=batch.video_BFHWC)

    def _frozen(self, conversations: Sequence[Conversation], batch: DyadBatch) -> Generated:
        num_blocks, size = conversations[0].num_blocks, batch.size
        silence_K = self.audio_codec.silence_K.cpu()
        tokens_BAK = silence_K.expand(size, num_blocks * self.layout.audio_per_block, -1)
        picture_B1HWC = batch.anchor.picture_BHWC[:, None]
        latents_BFHWC = picture_B1HWC.expand(-1, num_blocks * self.layout.latents_per_block, -1, -1, -1)
        return Generated(tokens_BAK=tokens_BAK, latents_BFHWC=latents_BFHWC)

    def _delayed_oracle(self, conversations: Sequence[Conversation], batch: DyadBatch) -> Generated:
        def act(dialogue: Dialogue, conversation: Conversation) -> Performance:
            return delayed_oracle(dialogue, conversation.side, self.layout)

        return self._rendered(conversations, act)

    def _yoked(self, conversations: Sequence[Conversation], batch: DyadBatch) -> Generated:
        if len(self.interactions) < 2:
            raise Unavailable("a yoked agent takes its reactions from another dyad; evaluate at least two")

        def act(dialogue: Dialogue, conversation: Conversation) -> Performance:
            number = self.interactions.index(conversation.interaction)
            other = self.interactions[(number + 1) % len(self.interactions)]
            return yoked(dialogue, self.dialogue(other), conversation.side)

        return self._rendered(conversations, act)

    def _rendered(
        self, conversations: Sequence[Conversation], act: Callable[[Dialogue, Conversation], Performance]
    ) -> Generated:
        tokens, latents = [], []
        for conversation in conversations:
            dialogue = self.dialogue(conversation.interaction)
            tracks = act(dialogue, conversation).tracks
            rng = dialogue.noise.generator("sound", conversation.side)
            frames_PHWC, wav_S = render_person(dialogue.persons[conversation.side], tracks, self.layout, rng)
            frames = conversation.num_blocks * self.layout.frames_per_block
            samples = conversation.num_blocks * self.layout.samples_per_block
            tokens.append(self._encode_audio(wav_S[:samples]))
            latents.append(self.video_codec.encode(torch.from_numpy(frames_PHWC[None, :frames]))[0])
        return Generated(tokens_BAK=torch.cat(tokens), latents_BFHWC=torch.cat(latents))

    def _encode_audio(self, wav_S: np.ndarray) -> Tensor:
        return self.audio_codec.encode(torch.from_numpy(wav_S[None]))[0]

    def dialogue(self, interaction: str) -> Dialogue:
        """The conversation of a recording, simulated again.

        Raises:
            Unavailable: the recording is not one of the embedded world, or of another clock or version of it.
        """
        if self.recordings is None:
            raise Unavailable("needs recordings=<folder of the world's recordings>")
        path = self.recordings / f"{interaction}.world.json"
        if not path.is_file():
            raise Unavailable(
                f"{path.name} is not among the recordings; only the embedded world can be simulated again"
            )
        try:
            return read_dialogue(path, self.layout)
        except ValueError as error:
            raise Unavailable(str(error)) from error
