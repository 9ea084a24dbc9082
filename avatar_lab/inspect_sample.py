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
from omegaconf import DictConfig

from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.config import CONFIG_MODULE, compose_more, known_keys, run_task
from avatar_lab.construct import build
from avatar_lab.data.schema import FEATURES_MEMBER, SIDES, DatasetInfo, Interaction, forms_of
from avatar_lab.data.shards import ShardReader
from avatar_lab.evaluation.event_lane import EventLane
from avatar_lab.evaluation.film import enlarge, enlarged_size, side_by_side, write_film
from avatar_lab.evaluation.media import Media
from avatar_lab.evaluation.playback import choose, end_of, lanes, play

log = logging.getLogger(__name__)


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
    interaction, user = choose(reader, config.sample, config.side)
    for line in brought(reader, config.sample):
        log.info("%s", line)
    audio_codec, video_codec = _codecs(config)
    reader.info.check_codecs(
        audio_fingerprint=audio_codec.spec.fingerprint, video_fingerprint=video_codec.spec.fingerprint
    )
    end = end_of(interaction, start=config.start, seconds=config.seconds)
    people = [
        play(interaction, side, reader.info, audio_codec, video_codec, start=config.start, end=end, seen=side == user)
        for side in (config.side, user)
    ]
    film(Path(config.out), people, interaction, reader.info, agent=config.side, user=user, start=config.start)
    log.info("%s: %s, %.1f to %.1f s, agent %s", config.out, config.sample, config.start, end, config.side)


def open_codecs(name: str) -> tuple[AudioCodec, VideoCodec]:
    """Codecs of ``configs/codec/<name>.yaml``, for notebooks."""
    return _codecs(InspectConfig.from_node(compose_more("inspect", [f"codec={name}", "shards=unused"])))


def _codecs(config: InspectConfig) -> tuple[AudioCodec, VideoCodec]:
    codecs = build(config.codec)
    return codecs["audio_codec"], codecs["video_codec"]


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
        rows=lanes(interaction, info, agent=agent, user=user),
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


@hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name="inspect")
def _task(node: DictConfig) -> None:
    run(InspectConfig.from_node(node))


def main() -> None:
    """Entry point."""
    run_task(_task)


if __name__ == "__main__":
    main()
