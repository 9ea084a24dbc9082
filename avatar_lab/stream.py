"""``avatar-lab stream checkpoint=... recording=...``: a live session with a recorded user, written as an mp4.

Media goes in block by block, as from a camera and a microphone; the avatar's blocks come out, late ones are counted.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from omegaconf import DictConfig

from avatar_lab.codec.protocol import AudioCodec
from avatar_lab.config import CONFIG_MODULE, known_keys, run_task
from avatar_lab.construct import build
from avatar_lab.data.windows import voice_start
from avatar_lab.evaluation.film import write_side_by_side
from avatar_lab.evaluation.latency import summarise_latency
from avatar_lab.evaluation.live import Persona, stream_blocks
from avatar_lab.evaluation.media import Media
from avatar_lab.evaluation.recording import read_recording
from avatar_lab.events.segments import to_mask
from avatar_lab.events.turns import find_turns
from avatar_lab.events.vad import detect_speech
from avatar_lab.layout import Layout
from avatar_lab.precision import find_device
from avatar_lab.rollout.session import Script
from avatar_lab.shipped import open_checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """One demonstration, resolved; keys as in ``configs/stream.yaml``."""

    checkpoint: str
    recording: str
    user: str
    avatar: str
    out: str
    seconds: float
    camera: bool
    scripted: bool
    seed: int
    device: str | None
    codec: dict[str, Any]

    @classmethod
    def from_node(cls, node: DictConfig) -> StreamConfig:
        """Resolved config.

        Raises:
            ValueError: a key is unknown.
        """
        return cls(**known_keys(node, cls, "a stream"))


def run(config: StreamConfig) -> None:
    """Stream and write the film."""
    codecs = build(config.codec)
    audio_codec, video_codec = codecs["audio_codec"], codecs["video_codec"]
    checkpoint = open_checkpoint(config.checkpoint)
    checkpoint.model.to(find_device(config.device))
    layout, spec = checkpoint.layout, video_codec.spec
    stem = Path(config.recording)
    people = [
        read_recording(
            stem.with_name(stem.name + suffix),
            layout,
            height=spec.frame_height,
            width=spec.frame_width,
            seconds=config.seconds,
        )
        for suffix in (config.user, config.avatar)
    ]
    user, avatar = people
    persona = persona_of(avatar, user, layout, audio_codec, scripted=config.scripted)
    session = persona.open(checkpoint, audio_codec=audio_codec, video_codec=video_codec, seed=config.seed)
    blocks = list(stream_blocks(session, user, persona.script, camera=config.camera))
    if not blocks:
        raise ValueError(f"{config.recording} is shorter than a block of {float(layout.block_seconds):g} s")
    found = summarise_latency([block.timings.total for block in blocks], layout)
    log.info(
        "%d blocks, p50 %.0f ms (first tenth %.0f, last %.0f), p95 %.0f ms, real-time factor %.2f, %d late",
        len(blocks), found["block_p50_ms"], found["block_p50_first_tenth_ms"],
        found["block_p50_last_tenth_ms"], found["block_p95_ms"], found["real_time_factor"], found["late_blocks"],
    )  # fmt: skip
    answer = Media(
        video_PHWC=np.concatenate([block.video_PHWC.numpy() for block in blocks]),
        audio_S=np.concatenate([block.audio_S.numpy() for block in blocks]),
    )
    write_side_by_side(Path(config.out), user, answer, layout)  # an hour takes minutes; figures are told by now
    log.info("%s: written", config.out)


@torch.no_grad()
def persona_of(avatar: Media, user: Media, layout: Layout, audio_codec: AudioCodec, *, scripted: bool) -> Persona:
    """Picture, voice and script of the recorded person whose place the avatar takes; turns by the usual rules."""
    own = detect_speech(avatar.audio_S, layout.sample_rate)
    turns = find_turns(own, detect_speech(user.audio_S, layout.sample_rate)).script("a")
    num_tokens = len(avatar.audio_S) // layout.samples_per_token
    whole_S = torch.from_numpy(avatar.audio_S[: num_tokens * layout.samples_per_token])
    tokens_BNK, _ = audio_codec.encode(whole_S[None])
    rate = float(layout.audio_rate)
    speech_N = torch.from_numpy(to_mask(turns, rate=rate, count=num_tokens)) & scripted
    sound_N = to_mask(own, rate=rate, count=num_tokens)
    start = voice_start(sound_N, layout=layout, start=0, end=0) * layout.samples_per_token
    return Persona(
        picture_HWC=torch.from_numpy(avatar.video_PHWC[0]),
        voice_S=whole_S[start:],
        script=Script(tokens_NK=tokens_BNK[0], speech_N=speech_N),
        conversation=0,
    )


@hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name="stream")
def _task(node: DictConfig) -> None:
    run(StreamConfig.from_node(node))


def main() -> None:
    """Entry point."""
    run_task(_task)


if __name__ == "__main__":
    main()
