"""The strip under a film of the report: both voices as waveforms, and what each person was seen and heard to do."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np

from avatar_lab.evaluation.observation import Observation
from avatar_lab.event_types import EventType
from avatar_lab.figure_style import STYLE, as_svg, axes_in_rows

MARKS = {
    EventType.NOD: ("v", "#2a7f9e", "nod"),
    EventType.BACKCHANNEL: ("o", "#d1495b", "mm-hm"),
    EventType.SMILE: ("^", "#edae49", "smile"),
    EventType.BLINK: ("|", "#999999", "blink"),
}
_LANES = (("user", 1.0), ("avatar", -1.0))


def strip_figure(user: Observation, avatar: Observation, *, fps: float, seconds: float) -> str:
    """Envelopes of the first ``seconds``, the user's above and the avatar's below, with marks where events begin."""
    with mpl.rc_context(STYLE):
        figure, (ax,) = axes_in_rows(1, columns=1, height=1.35, width=4.6)
        frames = round(seconds * fps)
        for seen, (_, middle) in zip((user, avatar), _LANES, strict=True):
            envelope_P = seen.envelope_P[:frames]
            height_P = envelope_P / max(float(envelope_P.max(initial=0.0)), 1e-6) * 0.45
            time_P = np.arange(len(height_P)) / fps
            ax.fill_between(time_P, middle - height_P, middle + height_P, color="#c9ccd1", lw=0)
            for kind, (marker, colour, label) in MARKS.items():
                starts = [event.start for event in seen.events if event.type is kind and event.start < seconds]
                ax.plot(
                    starts,
                    np.full(len(starts), middle + 0.72),
                    marker,
                    color=colour,
                    ms=4,
                    label=label,
                )
        ax.set_yticks([middle for _, middle in _LANES], [name for name, _ in _LANES])
        ax.set_ylim(-1.6, 2.1)
        ax.set_xlim(0, seconds)
        ax.set_xlabel("seconds")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        handles, labels = ax.get_legend_handles_labels()
        figure.legend(handles[: len(MARKS)], labels[: len(MARKS)], loc="outside upper right", ncols=len(MARKS))
        return as_svg(figure)
