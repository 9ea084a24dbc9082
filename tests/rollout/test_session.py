"""A session is the rollout plus codecs and a clock: however the media is cut, the same stream, at flat cost."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from avatar_lab.checkpoint import Card, Checkpoint
from avatar_lab.codebook import Codebook
from avatar_lab.codec.protocol import AudioSpec, State, VideoSpec
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.level import Level
from avatar_lab.rollout.session import AvatarBlock, Script, Session
from tests.factory import CODEBOOKS, ENTRIES, GRID, LAYOUT, WIDTH, tiny_codebook, tiny_model

SIZE = 8


class CountingAudio:
    """Tokens from the mean level of their own samples and of the token before: causal, with state."""

    def __init__(self) -> None:
        self.codebook: Codebook = tiny_codebook()
        self.silence_K = torch.zeros(CODEBOOKS, dtype=torch.long)
        self.spec = AudioSpec(
            name="counting",
            sample_rate=LAYOUT.sample_rate,
            token_rate=Fraction(LAYOUT.audio_rate),
            num_codebooks=CODEBOOKS,
            codebook_size=ENTRIES,
            embedding_width=WIDTH,
            fingerprint="audio",
        )

    def encode(self, wav_BS: Tensor, state: State = None) -> tuple[Tensor, State]:
        level_BA = wav_BS.unflatten(1, (-1, LAYOUT.samples_per_token)).abs().mean(-1)
        before = torch.zeros(len(wav_BS), 1) if state is None else state
        previous_BA = torch.cat([before, level_BA[:, :-1]], dim=1)
        code_BA = ((level_BA + 0.5 * previous_BA) * 40).long() % ENTRIES
        return torch.stack([code_BA, (code_BA + 1) % ENTRIES], dim=-1), level_BA[:, -1:]

    def decode(self, tokens_BAK: Tensor, state: State = None) -> tuple[Tensor, State]:
        return (tokens_BAK[..., 0] / ENTRIES).repeat_interleave(LAYOUT.samples_per_token, dim=1), None


class CountingVideo:
    """Latents from the mean colour of their frames."""

    spec = VideoSpec(
        name="counting",
        frames_per_latent=LAYOUT.frames_per_latent,
        frame_height=SIZE,
        frame_width=SIZE,
        grid_height=GRID[0],
        grid_width=GRID[1],
        channels=GRID[2],
        warm_latents=0,
        fingerprint="video",
    )

    def encode(self, frames_BPHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        colour = frames_BPHWC.unflatten(1, (-1, LAYOUT.frames_per_latent)).float().mean((2, 3, 4)) / 255
        return colour[:, :, None, None].expand(-1, -1, GRID[0], GRID[1], -1), None

    def decode(self, latents_BFHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        colour = (latents_BFHWC.mean((2, 3)).sigmoid() * 255).to(torch.uint8)
        frames = colour.repeat_interleave(LAYOUT.frames_per_latent, dim=1)
        return frames[:, :, None, None].expand(-1, -1, SIZE, SIZE, -1), None

    def encode_picture(self, picture_BHWC: Tensor) -> Tensor:
        return self.encode(picture_BHWC[:, None].expand(-1, LAYOUT.frames_per_latent, -1, -1, -1))[0][:, 0]


def session(level: Level = Level.SEE, *, device: str = "cpu") -> Session:
    card = Card(
        stage="self_forcing",
        sampler=Sampler(steps=(1.0, 0.3), renoise=1.0),
        audio_codec="audio",
        video_codec="video",
        window_blocks=6,
    )
    return Session(
        checkpoint=Checkpoint(model=tiny_model(level, dtype=torch.float32).to(device), card=card),
        audio_codec=CountingAudio(),
        video_codec=CountingVideo(),
        picture_HWC=torch.full((SIZE, SIZE, 3), 100, dtype=torch.uint8),
        voice_S=torch.linspace(0, 1, LAYOUT.anchor_tokens * LAYOUT.samples_per_token),
    )


def media(num_blocks: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    audio = torch.rand(num_blocks * LAYOUT.samples_per_block, generator=rng)
    frames = num_blocks * LAYOUT.frames_per_block
    video = torch.randint(0, 255, (frames, SIZE, SIZE, 3), generator=rng, dtype=torch.uint8)
    return audio, video


def same(left: list[AvatarBlock], right: list[AvatarBlock]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a.audio_S, b.audio_S) and torch.equal(a.video_PHWC, b.video_PHWC)
        for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("frames_per_push", [1, 3, 8, 11])
def test_any_chunking_of_push_gives_the_same_stream(frames_per_push: int) -> None:
    audio, video = media(5)
    whole = session().push(audio, video)
    live, blocks = session(), []
    samples = int(frames_per_push * LAYOUT.sample_rate / LAYOUT.fps)
    for step in range(-(-len(video) // frames_per_push)):
        blocks += live.push(
            audio[step * samples : (step + 1) * samples],
            video[step * frames_per_push : (step + 1) * frames_per_push],
        )
    assert len(whole) >= 5
    assert same(whole, blocks)


def test_blocks_come_as_soon_as_their_input_is_there_and_no_earlier() -> None:
    """Block i needs the user up to start(i) - delay: 240 ms of microphone, 320 ms of camera."""
    audio, video = media(3)
    live = session()
    token = LAYOUT.samples_per_token
    assert [b.index for b in live.push(audio[:0], video[:0])] == [0]
    assert live.push(audio[: token - 1], video[:0]) == []
    assert [b.index for b in live.push(audio[token - 1 : token], video[:0])] == [1]
    assert live.push(audio[token : 5 * token], video[:7]) == []
    assert [b.index for b in live.push(audio[:0], video[7:8])] == [2]


def test_without_a_camera_it_is_the_level_2_session() -> None:
    audio, _ = media(5)
    assert same(session(Level.SEE).push(audio, None), session(Level.LISTEN).push(audio, None))


def test_a_late_camera_changes_only_what_comes_after() -> None:
    audio, video = media(8)
    half_s, half_p = 4 * LAYOUT.samples_per_block, 4 * LAYOUT.frames_per_block
    live, never = session(), session()
    first = live.push(audio[:half_s], None)
    assert same(first, never.push(audio[:half_s], None))
    later, without = live.push(audio[half_s:], video[half_p:]), never.push(audio[half_s:], None)
    assert same(later[:1], without[:1])
    assert not same(later, without)


def test_script_is_spoken_and_can_be_revoked() -> None:
    tokens = torch.full((12, CODEBOOKS), 5)
    script = Script(tokens_NK=tokens, speech_N=torch.ones(12, dtype=torch.bool))
    live = session()
    spoken = live.push(None, None, script)
    assert torch.equal(spoken[0].audio_S, torch.full_like(spoken[0].audio_S, 5 / ENTRIES))
    live.revoke_script()
    silent = live.push(None, None)
    assert torch.equal(silent[0].audio_S, torch.zeros_like(silent[0].audio_S))


def test_wrong_codec_and_short_voice_are_refused() -> None:
    live = session()
    with pytest.raises(ValueError, match="resize or convert"):
        live.push(torch.zeros(10), torch.zeros(1, 4, 4, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="anchor needs"):
        Session(
            checkpoint=Checkpoint(
                model=live.model,
                card=Card(stage="x", sampler=Sampler.ode(2), audio_codec="audio", video_codec="video", window_blocks=6),
            ),
            audio_codec=CountingAudio(),
            video_codec=CountingVideo(),
            picture_HWC=torch.zeros(SIZE, SIZE, 3, dtype=torch.uint8),
            voice_S=torch.zeros(10),
        )


@pytest.mark.ci
def test_memory_and_step_time_stay_flat_over_two_thousand_blocks() -> None:
    """10 minutes of conversation: a block costs what it costs in a young one beside it, and nothing grows."""
    live, young = session(), session()
    audio, video = media(1)
    for _ in range(1700):
        live.push(audio, video)
    for _ in range(50):
        young.push(audio, video)
    seconds: dict[Session, list[float]] = {young: [], live: []}
    for _ in range(300):
        for each, spent in seconds.items():  # in turns, so that what else runs on the machine slows both
            begin = time.perf_counter()
            each.push(audio, video)
            spent.append(time.perf_counter() - begin)
    early, late = (torch.tensor(spent).quantile(0.2) for spent in seconds.values())
    assert late < 1.25 * early
    assert len(live.hearing.media) < 2 * LAYOUT.samples_per_block
    assert len(live.seeing.media) < 2 * LAYOUT.frames_per_block
    assert not live._inputs
