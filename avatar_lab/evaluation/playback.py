"""A prepared sample back as pictures, sound and spans of events, the way the models get it.

A audio tokens   K codebooks   F video latents   P video frames   H, W, C   S samples
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pyarrow as pa
import torch

from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.construct import nearest
from avatar_lab.data.schema import SIDES, DatasetInfo, Interaction
from avatar_lab.data.shards import ShardReader
from avatar_lab.evaluation.event_lane import Row, Span, rows_of
from avatar_lab.evaluation.media import Media, decode
from avatar_lab.event_types import EventType, from_table
from avatar_lab.events.segments import runs

GREY = 96
"""Of people without a picture."""


def choose(reader: ShardReader, key: str, side: str) -> tuple[Interaction, str]:
    """A sample, and the side of the user where ``side`` is the agent.

    Raises:
        ValueError: there is no such sample or side.
    """
    if key not in reader.rows:
        raise ValueError(
            f"{reader.root} has no sample {key!r}{nearest(key, list(reader.rows))}; leave out sample= to see all"
        )
    if side not in SIDES:
        raise ValueError(f"side={side} must be one of {list(SIDES)}")
    return reader.interaction(key), next(other for other in SIDES if other != side)


def end_of(interaction: Interaction, *, start: float, seconds: float) -> float:
    """End of a stretch that may be cut short by the end of the sample.

    Raises:
        ValueError: nothing of it is left.
    """
    end = min(start + seconds, interaction.meta.seconds)
    if end <= start:
        raise ValueError(f"start={start:g} lies behind the end of {interaction.key}, {interaction.meta.seconds:.1f} s")
    return end


@torch.inference_mode()
def play(
    interaction: Interaction,
    side: str,
    info: DatasetInfo,
    audio_codec: AudioCodec,
    video_codec: VideoCodec,
    *,
    start: float,
    end: float,
    seen: bool,
) -> Media:
    """Media of one person from ``start`` to ``end`` seconds; ``seen``: as the partner's camera delivers them.

    The decoders start a little earlier, so that they have run in.
    """
    arrays = interaction.sides[side]
    fps, latent_rate = Fraction(info.fps), Fraction(info.fps) / info.frames_per_latent
    audio_rate = Fraction(info.audio_rate)
    first = max(0, int(start * latent_rate) - video_codec.spec.warm_latents)
    early = float(first / latent_rate)
    first_token = int(early * audio_rate)
    tokens_AK = torch.from_numpy(arrays.audio_tokens[first_token : round(end * audio_rate)].astype(np.int64))
    stored = (arrays.user_features if seen else arrays.avatar_latents)[first : round(end * latent_rate)]
    latents_FHWC = torch.from_numpy(stored.reshape(-1, *info.latent_shape)).float()
    num_frames = round((end - start) * fps)
    if not len(latents_FHWC):
        audio_BS, _ = audio_codec.decode(tokens_AK[None])
        grey = (num_frames, video_codec.spec.frame_height, video_codec.spec.frame_width, 3)
        media = Media(video_PHWC=np.full(grey, GREY, np.uint8), audio_S=audio_BS[0].float().numpy())
        skipped_frames = 0
    else:
        media = decode(tokens_AK, latents_FHWC, audio_codec=audio_codec, video_codec=video_codec)
        skipped_frames = round((start - early) * fps)
    skipped = round(start * info.sample_rate) - round(first_token / audio_rate * info.sample_rate)
    return Media(
        video_PHWC=media.video_PHWC[skipped_frames : skipped_frames + num_frames],
        audio_S=media.audio_S[skipped : skipped + round((end - start) * info.sample_rate)],
    )


def lanes(interaction: Interaction, info: DatasetInfo, *, agent: str, user: str) -> list[Row]:
    """Voice, script and events of both people, one row per kind."""
    sides = agent, user
    return rows_of(
        _masks(interaction, info, sides),
        _events(interaction.events, sides),
        _events(interaction.given_events, sides),
    )


def _masks(
    interaction: Interaction, info: DatasetInfo, sides: tuple[str, str]
) -> dict[str, tuple[Sequence[Span], Sequence[Span]]]:
    """Stretches of the stored masks; of the validity masks, those that no loss sees."""
    token, latent = float(1 / Fraction(info.audio_rate)), float(info.frames_per_latent / Fraction(info.fps))

    def spans(name: str, period: float, *, of: bool) -> tuple[Sequence[Span], Sequence[Span]]:
        pair = [runs(getattr(interaction.sides[side], name) == of) * period for side in sides]
        return [tuple(span) for span in pair[0].tolist()], [tuple(span) for span in pair[1].tolist()]

    masks = {"voice": spans("sound", token, of=True), "script": spans("script", token, of=True)}
    invalid = {"no sound": spans("audio_valid", token, of=False), "no picture": spans("video_valid", latent, of=False)}
    return masks | {name: pair for name, pair in invalid.items() if any(map(len, pair))}


def _events(table: pa.Table | None, sides: tuple[str, str]) -> dict[str, tuple[list[Span], list[Span]]]:
    """Spans by kind in the order of ``EventType``; IPUs are the voice of the masks."""
    found: dict[str, tuple[list[Span], list[Span]]] = {}
    events = [] if table is None else from_table(table)
    for kind in EventType:
        spans: tuple[list[Span], list[Span]] = ([], [])
        for event in events:
            if event.type is kind is not EventType.IPU:
                spans[sides.index(event.side)].append((event.start, event.end))
        if any(spans):
            found[str(kind)] = spans
    return found
