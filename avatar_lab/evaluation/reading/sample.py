"""One prepared sample to hear and see: sound, frames, and both people's events on one time line.

P video frames   H, W, C   S samples
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.data.schema import DatasetInfo, Interaction
from avatar_lab.data.shards import ShardReader
from avatar_lab.evaluation.event_lane import COLOURS, draw_rows, legend_handles
from avatar_lab.evaluation.film import mix
from avatar_lab.evaluation.media import Media
from avatar_lab.evaluation.playback import choose, end_of, lanes, play
from avatar_lab.evaluation.reading.result import as_table, software
from avatar_lab.figure_style import STYLE, Svg, as_svg

ENVELOPE_PIXELS = 1200
FRAMES = 8


class Player(str):
    """A player of sound: text in a page, something to click at the end of a notebook's cell."""

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"<Player, {len(self):,} characters>"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A stretch of a prepared interaction, decoded.

    agent, user  sides
    people       media of agent and user, the user as the agent's camera sees them
    start, end   seconds
    """

    interaction: Interaction
    info: DatasetInfo
    agent: str
    user: str
    people: tuple[Media, Media]
    start: float
    end: float


def open_sample(
    shards: Path,
    codecs: tuple[AudioCodec, VideoCodec],
    *,
    key: str | None,
    side: str,
    start: float,
    seconds: float,
) -> Sample:
    """A stretch of a sample, by default of the first in the data set, with ``side`` as the agent.

    Raises:
        ValueError: the data set, the sample, the side or the stretch is not there, or the codecs are not those that
            wrote it.
    """
    reader, (audio_codec, video_codec) = ShardReader(shards), codecs
    reader.info.check_codecs(
        audio_fingerprint=audio_codec.spec.fingerprint, video_fingerprint=video_codec.spec.fingerprint
    )
    interaction, user = choose(reader, sorted(reader.rows)[0] if key is None else key, side)
    end = end_of(interaction, start=start, seconds=seconds)
    agent_media, user_media = (
        play(interaction, who, reader.info, audio_codec, video_codec, start=start, end=end, seen=who == user)
        for who in (side, user)
    )
    return Sample(
        interaction=interaction,
        info=reader.info,
        agent=side,
        user=user,
        people=(agent_media, user_media),
        start=start,
        end=end,
    )


def sample_facts(sample: Sample) -> pd.DataFrame:
    """Whose sample it is, where it comes from, and what was found in it."""
    meta, info = sample.interaction.meta, sample.info
    given = sample.interaction.given_events
    rows = dict(software()) | {
        "data hash": info.content_hash[:12],
        "sample": f"{sample.interaction.key}, split {meta.split}, {meta.seconds:.1f} s",
        "shown": f"{sample.start:.1f} to {sample.end:.1f} s, agent {sample.agent}",
        "agent": meta.participants[sample.agent],
        "user": meta.participants[sample.user],
        "source": f"{meta.source}, {meta.license}" + (", non-commercial" if meta.non_commercial else ""),
        "sound": f"{info.audio_codec}, {info.audio_rate} tokens/s x {info.num_codebooks}",
        "picture": f"{info.video_codec}, {'x'.join(map(str, info.latent_shape))} per {info.frames_per_latent} frames",
        "events found": str(len(sample.interaction.events)),
        "events by the source": "no log" if given is None else str(len(given)),
    }
    return as_table(rows.items())


def sound(sample: Sample) -> Player:
    """Both voices: the agent nearer to the left ear, the user nearer to the right one."""
    stereo_2S = mix(sample.people[0].audio_S, sample.people[1].audio_S)
    buffer = io.BytesIO()
    soundfile.write(buffer, stereo_2S.T, sample.info.sample_rate, format="WAV", subtype="PCM_16")
    data = base64.b64encode(buffer.getvalue()).decode()
    return Player(f'<audio controls src="data:audio/wav;base64,{data}"></audio>')


def frames_figure(sample: Sample, num_frames: int = FRAMES) -> Svg:
    """Frames of agent (above) and user at moments spread evenly over the stretch."""
    seconds = (np.arange(num_frames) + 0.5) / num_frames * (sample.end - sample.start)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 2.65), layout="constrained")
        axes = figure.subplots(2, num_frames, squeeze=False)
        for row, (name, media) in enumerate(zip(("agent", "user"), sample.people, strict=True)):
            for column, moment in enumerate(seconds):
                index = min(int(moment * Fraction(sample.info.fps)), len(media.video_PHWC) - 1)
                ax = axes[row, column]
                ax.imshow(media.video_PHWC[index], interpolation="nearest")
                ax.set_xticks([])
                ax.set_yticks([])
                for spine in ax.spines.values():
                    spine.set_visible(False)
                if row == 0:
                    ax.set_title(f"{sample.start + moment:.1f} s", loc="center", fontweight="normal", fontsize=8)
            axes[row, 0].set_ylabel(name, color=COLOURS[row])
        return as_svg(figure)


def timeline_figure(sample: Sample) -> Svg:
    """Waveforms above voice, script and events: found ones filled, those of the source's own log outlined."""
    rows = lanes(sample.interaction, sample.info, agent=sample.agent, user=sample.user)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 1.6 + 0.26 * len(rows)), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.1, 0.26 * len(rows)])
        for media, colour, place in zip(sample.people, COLOURS, (1.0, -1.0), strict=True):
            _draw_waveform(above, media.audio_S, colour, place, sample)
        above.axhline(0, color="#dddddd", lw=0.5)
        above.set_yticks([])
        above.spines["left"].set_visible(False)
        above.set_ylim(-2.05, 2.05)
        above.legend(handles=legend_handles(), loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
        draw_rows(below, rows)
        below.set_xlim(sample.start, sample.end)
        below.set_xlabel("seconds of the sample")
        return as_svg(figure)


def _draw_waveform(ax: Axes, audio_S: NDArray[np.float32], colour: str, place: float, sample: Sample) -> None:
    """Extremes of a waveform, as high as the loudest voice allows, around ``place``."""
    loudest = max(float(np.abs(media.audio_S).max(initial=0.0)) for media in sample.people) or 1.0
    size = max(1, len(audio_S) // ENVELOPE_PIXELS)
    pieces_NS = audio_S[: len(audio_S) // size * size].reshape(-1, size) / loudest
    seconds_N = sample.start + (np.arange(len(pieces_NS)) + 0.5) * size / sample.info.sample_rate
    ax.fill_between(seconds_N, place + pieces_NS.min(1), place + pieces_NS.max(1), color=colour, lw=0.3)
