"""A studio of tiny random checkpoints, random recordings and small codecs: everything real but the people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast
from zlib import crc32

import torch
from torch import Tensor

from avatar_lab.checkpoint import Card, Checkpoint
from avatar_lab.codec.protocol import State
from avatar_lab.data.dataset import DyadData
from avatar_lab.data.windows import WindowId
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.evaluation.agents import ModelAgent, ReferenceAgent
from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.references import References
from avatar_lab.evaluation.studio import Studio
from avatar_lab.event_types import Event, EventType
from avatar_lab.level import Level
from avatar_lab.perception.pixel_reader import READ_CHANNELS
from avatar_lab.tensors import DyadBatch
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.factory import CODEBOOKS, ENTRIES, LAYOUT, random_batch, tiny_model

NUM_BLOCKS = 20
SILENCE_K = torch.zeros(CODEBOOKS, dtype=torch.int64)


class LoudAudio(FakeAudio):
    """Tokens of the tiny codebook; what is encoded is the loudness."""

    def encode(self, wav_BS: Tensor, state: State = None) -> tuple[Tensor, State]:
        tokens_BAK, state = super().encode(wav_BS, state)
        return tokens_BAK % ENTRIES, state


class RandomData:
    """Recordings that are a function of the window."""

    def cut(self, windows: list[WindowId]) -> DyadBatch:
        batches = []
        for window in windows:
            seed = crc32(f"{window.key}/{window.side}/{window.start_block}".encode())
            batch = random_batch(size=1, num_blocks=window.num_blocks, dtype=torch.float32, seed=seed)
            vars(batch)["sample_B"] = torch.tensor([window.sample])
            batches.append(batch)
        fields = {
            name: torch.cat([getattr(batch, name) for batch in batches])
            for name, value in vars(batches[0]).items()
            if isinstance(value, Tensor)
        }
        anchors = [batch.anchor for batch in batches]
        anchor = type(anchors[0])(
            **{name: torch.cat([getattr(one, name) for one in anchors]) for name in vars(anchors[0])}
        )
        return DyadBatch(**fields, anchor=anchor)


class FirstChannels:
    """Every channel is the brightness of the picture."""

    def read(self, frames_PHWC: Tensor) -> Tensor:
        return (frames_PHWC.float().mean((1, 2, 3)) / 255)[:, None].expand(-1, len(READ_CHANNELS))


def tiny_checkpoint(level: Level, change: Callable[[Checkpoint], None] | None = None) -> Checkpoint:
    """Levels of one seed are nested; ``change`` breaks it."""
    card = Card(
        stage="see",
        sampler=Sampler(steps=(1.0, 0.3), renoise=1.0),
        audio_codec="fake-audio",
        video_codec="fake-video",
        window_blocks=4,
    )
    checkpoint = Checkpoint(model=tiny_model(level, dtype=torch.float32), card=card)
    if change is not None:
        with torch.no_grad():
            change(checkpoint)
    return checkpoint


def cut_branch(name: str) -> Callable[[Checkpoint], None]:
    """Close the gates of one branch."""

    def change(checkpoint: Checkpoint) -> None:
        closed = [x for key, x in checkpoint.model.named_parameters() if f".{name}.gate" in key]
        assert closed or checkpoint.level < Level.SEE
        for parameter in closed:
            parameter.zero_()

    return change


def conversation(number: int, side: str) -> Conversation:
    key, seconds = f"d{number}", LAYOUT.start(NUM_BLOCKS)
    turn = Event(interaction=key, side="b" if side == "a" else "a", type=EventType.TURN, start=0.0, end=seconds)
    return Conversation(key=key, interaction=key, side=side, num_blocks=NUM_BLOCKS, seconds=seconds, events=[turn])


class TinyStudio(Studio):
    """Checkpoints are given, not read."""

    def __init__(self, *, num_dyads: int, change: Callable[[Checkpoint], None] | None = None) -> None:
        self.layout, self.seed = LAYOUT, 0
        self.audio_codec, self.video_codec = LoudAudio(), FakeVideo()
        self.reader = FirstChannels()
        self.conversations = tuple(conversation(number, side) for number in range(num_dyads) for side in "ab")
        self.references = References(
            layout=LAYOUT,
            audio_codec=self.audio_codec,
            video_codec=self.video_codec,
            interactions=tuple(f"d{number}" for number in range(num_dyads)),
            recordings=Path("nowhere"),
        )
        self._made = {level: tiny_checkpoint(level, change) for level in Level}

    @property
    def data(self) -> DyadData:
        return cast(DyadData, RandomData())

    def checkpoint(self, agent: ModelAgent | ReferenceAgent) -> Checkpoint:
        assert isinstance(agent, ModelAgent)
        return self._made[Level(int(agent.checkpoint.removeprefix("level")))]
