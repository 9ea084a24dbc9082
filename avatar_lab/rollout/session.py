"""A live conversation: microphone and camera in, the avatar's voice and picture out, block by block.

The session adds codecs, presence and a clock to ``rollout``, on the device of the model (codecs have their own, media
lies on the CPU); it generates block ``i`` as soon as the user's media up to ``start(i) - delay`` is there, so how the
media was cut into pushes never matters.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar_lab.checkpoint import BIDIRECTIONAL_STAGE, Checkpoint
from avatar_lab.codec.protocol import AudioCodec, State, VideoCodec
from avatar_lab.context import AudioPlan, BlockInput, OwnAudio, UserStreams
from avatar_lab.layout import Stream
from avatar_lab.level import Level
from avatar_lab.precision import live_products
from avatar_lab.rollout.rollout import NO_GUIDANCE, rollout
from avatar_lab.rollout.stream_buffer import StreamBuffer
from avatar_lab.tensors import Anchor


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Compute seconds of one block."""

    encode: float
    generate: float
    decode: float

    @property
    def total(self) -> float:
        return self.encode + self.generate + self.decode


@dataclass(frozen=True, kw_only=True)
class AvatarBlock:
    """One block of output media; ``start`` is its media time in seconds."""

    index: int
    start: float
    audio_S: Tensor
    video_PHWC: Tensor
    timings: Timings
    late: bool
    """It took longer to compute than the delay budget of the layout allows."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """Speech planned ahead: tokens (N, K), and where they are speech; elsewhere the avatar is free to react."""

    tokens_NK: Tensor
    speech_N: Tensor


class Session:
    """One conversation with one avatar.

    picture_HWC  uint8 reference picture; voice_S  at least ``layout.anchor_seconds`` of the avatar's own voice
    level        below the checkpoint's own leaves the higher branches out

    Raises:
        ValueError: the checkpoint speaks other codecs, cannot stream or is not of that level, or the voice sample is
            too short.
    """

    def __init__(
        self,
        *,
        checkpoint: Checkpoint,
        audio_codec: AudioCodec,
        video_codec: VideoCodec,
        picture_HWC: Tensor,
        voice_S: Tensor,
        seed: int = 0,
        conversation: int = 0,
        level: Level | None = None,
        guidance: Mapping[Level, float] = NO_GUIDANCE,
    ) -> None:
        card = checkpoint.card
        if card.stage == BIDIRECTIONAL_STAGE:
            raise ValueError("a teacher sees its own future and cannot stream: open level1, level2 or level3 instead")
        if level is not None and level > checkpoint.level:
            raise ValueError(f"the checkpoint is of level {checkpoint.level.name}, not {level.name}: open a higher one")
        for kind, codec, expected in (
            ("audio", audio_codec, card.audio_codec),
            ("video", video_codec, card.video_codec),
        ):
            if codec.spec.fingerprint != expected:
                raise ValueError(
                    f"the checkpoint speaks {kind} codec {expected}, not {codec.spec.fingerprint}: load that one"
                )
        self.layout, self.model = checkpoint.layout, checkpoint.model
        self.level = checkpoint.level if level is None else level
        self.audio_codec, self.video_codec = audio_codec, video_codec
        needed = self.layout.anchor_tokens * self.layout.samples_per_token
        if len(voice_S) < needed:
            raise ValueError(f"the voice sample has {len(voice_S)} samples; the anchor needs {needed}")
        with torch.no_grad():
            anchor = Anchor(
                picture_BHWC=video_codec.encode_picture(picture_HWC[None]),
                voice_BNK=audio_codec.encode(voice_S[None, :needed])[0],
                present_B=torch.ones(1, dtype=torch.bool),
            )
        spec = video_codec.spec
        self.hearing = StreamBuffer(
            encode=audio_codec.encode,
            unit_shape=(),
            dtype=torch.float32,
            units_per_token=self.layout.samples_per_token,
            absent=audio_codec.silence_K,
        )
        self.seeing = StreamBuffer(
            encode=self._encode_user_video,
            unit_shape=(spec.frame_height, spec.frame_width, 3),
            dtype=torch.uint8,
            units_per_token=self.layout.frames_per_latent,
            absent=torch.zeros(self.model.net.user_width),
        )
        self.plan: deque[tuple[Tensor, bool]] = deque()
        self.num_blocks = self.late_blocks = 0
        self._audio_state: State = None
        self._video_state: State = None
        self._inputs: deque[BlockInput] = deque()
        self._blocks = rollout(
            self.model,
            iter(self._inputs.popleft, None),
            anchor.to(self.model.device),
            sampler=card.sampler,
            seed=seed,
            conversation_B=torch.tensor([conversation], device=self.model.device),
            level=self.level,
            guidance=guidance,
        )

    def push(
        self, user_audio_S: Tensor | None, user_video_PHWC: Tensor | None, script: Script | None = None
    ) -> list[AvatarBlock]:
        """Take in what was recorded of the user since the last push and return the blocks that it completes.

        A stream given as None is absent for as long as the other one lasts (one block, if both are): it leaves no
        tokens behind, and nothing is made up for it.
        """
        layout = self.layout
        samples_per_frame = layout.sample_rate / layout.fps
        if user_audio_S is None and user_video_PHWC is None:
            self.hearing.push_absent(layout.samples_per_block)
            self.seeing.push_absent(layout.frames_per_block)
        elif user_audio_S is None:
            assert user_video_PHWC is not None
            self.hearing.push_absent(int(len(user_video_PHWC) * samples_per_frame))
        elif user_video_PHWC is None:
            heard = self.hearing.taken * layout.samples_per_token + len(self.hearing.media) + len(user_audio_S)
            seen = self.seeing.taken * layout.frames_per_latent + len(self.seeing.media)
            self.seeing.push_absent(max(0, int(heard / samples_per_frame) - seen))
        if user_audio_S is not None:
            self.hearing.push(user_audio_S)
        if user_video_PHWC is not None:
            self.seeing.push(user_video_PHWC)
        if script is not None:
            self.plan.extend(zip(script.tokens_NK, script.speech_N.tolist(), strict=True))
        ready = []
        while self._ready():
            ready.append(self._generate())
        return ready

    def revoke_script(self) -> None:
        """Forget what was planned; from the next block on the avatar is free (it yields the floor)."""
        self.plan.clear()

    def _ready(self) -> bool:
        return all(
            buffer.available >= self.layout.visible_end(stream, self.num_blocks)
            for stream, buffer in ((Stream.USER_AUDIO, self.hearing), (Stream.USER_VIDEO, self.seeing))
        )

    @torch.no_grad()
    def _generate(self) -> AvatarBlock:
        start = time.perf_counter()
        self._inputs.append(self._next_input().to(self.model.device))
        encoded = time.perf_counter()
        with live_products(self.model.device.type):
            output = next(self._blocks)
        tokens_BAK, latents_BFHWC = output.tokens_BAK.cpu(), output.clean.video_BFHWC.cpu()  # waits for a GPU
        generated = time.perf_counter()
        audio_BS, self._audio_state = self.audio_codec.decode(tokens_BAK, self._audio_state)
        video_BPHWC, self._video_state = self.video_codec.decode(latents_BFHWC, self._video_state)
        decoded = time.perf_counter()
        timings = Timings(encode=encoded - start, generate=generated - encoded, decode=decoded - generated)
        late = timings.total > min(self.layout.budget(stream).compute for stream in Stream)
        self.late_blocks += late
        block = self.num_blocks
        self.num_blocks += 1
        return AvatarBlock(
            index=block,
            start=self.layout.start(block),
            audio_S=audio_BS[0],
            video_PHWC=video_BPHWC[0],
            timings=timings,
            late=late,
        )

    def _next_input(self) -> BlockInput:
        taken = {}
        for stream, buffer in ((Stream.USER_AUDIO, self.hearing), (Stream.USER_VIDEO, self.seeing)):
            tokens, present = buffer.take(self.layout.visible_end(stream, self.num_blocks))
            on = bool(present[0, -1]) if present.shape[1] else bool(buffer.on_at_start)
            taken[stream] = (tokens, present, torch.tensor([[on]]))
        hear, see = taken[Stream.USER_AUDIO], taken[Stream.USER_VIDEO]
        return BlockInput(
            plan=self._next_plan(hears=bool(hear[2])),
            user=UserStreams(
                audio_BTK=hear[0],
                audio_present_BT=hear[1],
                hears_BS=hear[2] & self.level.listens,
                video_BGU=see[0],
                video_present_BG=see[1],
                sees_BS=see[2] & self.level.sees,
            ),
        )

    def _next_plan(self, *, hears: bool) -> AudioPlan:
        """Own audio of the next block and its look-ahead; what is not planned is open if the avatar can hear."""
        layout = self.layout
        free = OwnAudio.OPEN if self.level.listens and hears else OwnAudio.SILENCE
        total = layout.audio_per_block + layout.script_lookahead
        tokens_EK = self.audio_codec.silence_K.repeat(total, 1)
        state_E = torch.full((total,), int(free))
        for index, (tokens_K, speech) in enumerate(list(self.plan)[:total]):
            if speech:
                tokens_EK[index], state_E[index] = tokens_K, int(OwnAudio.SPEECH)
        for _ in range(min(layout.audio_per_block, len(self.plan))):
            self.plan.popleft()
        return AudioPlan(
            tokens_BEK=tokens_EK[None], state_BE=state_E[None], lookahead_B=torch.tensor([layout.script_lookahead])
        )

    def _encode_user_video(self, frames_BPHWC: Tensor, state: State) -> tuple[Tensor, State]:
        latents, state = self.video_codec.encode(frames_BPHWC, state)
        return latents.flatten(2), state
