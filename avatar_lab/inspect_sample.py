"""``avatar-lab inspect shards=SHARDS [sample=KEY]``: one prepared sample as an mp4, the way the models get it.

Tokens and latents of both people go back through the codecs that wrote them: the agent on the left and in the left ear,
the user, as the agent's camera sees them, on the right. Below, voice, script and events, under a moving cursor.

    A audio tokens   K codebooks   F video latents   P video frames   H, W, C   S samples
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import hydra
import numpy as np
import pyarrow as pa
import torch
from omegaconf import DictConfig

from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.config import CONFIG_MODULE, known_keys, run_task
from avatar_lab.construct import build, nearest
from avatar_lab.data.schema import FEATURES_MEMBER, SIDES, DatasetInfo, Interaction, forms_of
from avatar_lab.data.shards import ShardReader
from avatar_lab.evaluation.event_lane import EventLane, Span, rows_of
from avatar_lab.evaluation.film import enlarge, enlarged_size, side_by_side, write_film
from avatar_lab.evaluation.media import Media, decode
from avatar_lab.event_types import EventType, from_table
from avatar_lab.events.segments import runs

log = logging.getLogger(__name__)

GREY = 96
"""Of people without a picture."""


@dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """One sample, or the list of them; keys as in ``configs/inspect.yaml``."""

    shards: str
    sample: str | None
    side: str
    out: str
    start: float
    seconds: float
    codec: dict[str, Any]

    @classmethod
    def from_node(cls, node: DictConfig) -> InspectConfig:
        """Resolved config.

        Raises:
            ValueError: a key is unknown.
        """
        return cls(**known_keys(node, cls, "inspect"))


def run(config: InspectConfig) -> None:
    """List the samples, or film one."""
    reader = ShardReader(Path(config.shards))
    if config.sample is None:
        for line in listing(reader):
            log.info("%s", line)
        return
    if config.sample not in reader.rows:
        raise ValueError(
            f"{config.shards} has no sample {config.sample!r}{nearest(config.sample, list(reader.rows))}; leave out "
            "sample= to see all"
        )
    if config.side not in SIDES:
        raise ValueError(f"side={config.side} must be one of {list(SIDES)}")
    for line in brought(reader, config.sample):
        log.info("%s", line)
    codecs = build(config.codec)
    audio_codec, video_codec = codecs["audio_codec"], codecs["video_codec"]
    reader.info.check_codecs(
        audio_fingerprint=audio_codec.spec.fingerprint, video_fingerprint=video_codec.spec.fingerprint
    )
    interaction = reader.interaction(config.sample)
    user = next(side for side in SIDES if side != config.side)
    end = min(config.start + config.seconds, interaction.meta.seconds)
    if end <= config.start:
        raise ValueError(
            f"start={config.start:g} lies behind the end of {config.sample}, {interaction.meta.seconds:.1f} s"
        )
    people = [
        play(interaction, side, reader.info, audio_codec, video_codec, start=config.start, end=end, seen=side == user)
        for side in (config.side, user)
    ]
    film(Path(config.out), people, interaction, reader.info, agent=config.side, user=user, start=config.start)
    log.info("%s: %s, %.1f to %.1f s, agent %s", config.out, config.sample, config.start, end, config.side)


def listing(reader: ShardReader) -> Iterator[str]:
    """One line per sample: key, split, length, people."""
    width = max(map(len, reader.rows))
    for key in sorted(reader.rows, key=lambda key: (reader.rows[key].split, key)):
        row = reader.rows[key]
        reactions = f"{sum(row.a_reactions)} + {sum(row.b_reactions)} reactions"
        people = f"{row.participant_a} | {row.participant_b}"
        there = [side for side in SIDES if any(m.name == f"{side}.{FEATURES_MEMBER}" for m in row.members)]
        arrays = f"  arrays of {' and '.join(there)}" if there else ""
        yield f"{row.split:<6} {key:<{width}} {row.seconds:8.1f} s  {people}  {reactions}{arrays}"


def brought(reader: ShardReader, key: str) -> Iterator[str]:
    """One line per array that the data set brought along: whose it is, its form, rate, span and what of it is known."""
    for side, features in reader.interaction(key, features=None).features.items():
        rate = f"{1 / features.period:.6g} Hz" if features.period else "one row"
        span = f"{features.seconds[0]:.2f} to {features.seconds[-1]:.2f} s" if len(features.seconds) else "no rows"
        for form in forms_of(features):
            missing = np.isnan(features.arrays[form.name]).sum() / max(1, features.arrays[form.name].size)
            yield f"{side}: {form}, {rate}, {span}, {missing:.1%} NaN"


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
    stored = arrays.user_features.reshape(-1, *info.latent_shape) if seen else arrays.avatar_latents
    latents_FHWC = torch.from_numpy(stored[first : round(end * latent_rate)]).float()
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


def film(
    path: Path,
    people: Sequence[Media],
    interaction: Interaction,
    info: DatasetInfo,
    *,
    agent: str,
    user: str,
    start: float,
) -> None:
    """Both people side by side above their events."""
    left, right = people
    count = min(len(left.video_PHWC), len(right.video_PHWC))
    samples = min(len(left.audio_S), len(right.audio_S))
    pictures_PHWC = side_by_side(left.video_PHWC[:count], right.video_PHWC[:count])
    height, width = enlarged_size(pictures_PHWC.shape[1], pictures_PHWC.shape[2])
    names = interaction.meta.participants
    lane = EventLane(
        rows=rows_of(
            _masks(interaction, info, (agent, user)),
            _events(interaction.events, (agent, user)),
            _events(interaction.given_events, (agent, user)),
        ),
        width=width,
        title=f"{interaction.key}: {names[agent]} | {names[user]}",
    )
    fps = Fraction(info.fps)

    def frames() -> Iterator[av.VideoFrame]:
        for index, picture_HWC in enumerate(pictures_PHWC):
            above = enlarge(picture_HWC, height, width, "rgb24").to_ndarray()
            whole_HWC = np.concatenate([above, lane.at(start + float(index / fps))])
            yield av.VideoFrame.from_ndarray(whole_HWC, format="rgb24")

    write_film(
        path,
        frames(),
        np.stack([left.audio_S[:samples], right.audio_S[:samples]]).clip(-1, 1).astype(np.float32),
        fps,
        sample_rate=info.sample_rate,
        height=height + lane.height,
        width=width,
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


@hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name="inspect")
def _task(node: DictConfig) -> None:
    run(InspectConfig.from_node(node))


def main() -> None:
    """Entry point."""
    run_task(_task)


if __name__ == "__main__":
    main()
