"""Names, units and directions of everything that is measured; the table that rows, bars and report read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a number is: its unit, which way is better (``None``: neither) and the signal it was read from."""

    name: str
    title: str
    unit: str
    representation: str
    about: str
    higher_better: bool | None = None


_JAW = "jaw from pixels, envelope of decoded audio"
_PITCH = "head pitch from pixels"
_VOICE = "energy VAD on decoded audio"
_SMILE = "smile from pixels"
_LIDS = "eyelids from pixels"
_ANY = "all reactions, from pixels and decoded audio"


def _response(name: str, title: str, representation: str, behaviour: str, cue: str, good: bool | None) -> list[Metric]:
    """A response and the two rates whose difference it is."""
    window = ".2-1.5 s after"
    return [
        Metric(
            name=f"{name}_response",
            title=title,
            unit="probability",
            representation=representation,
            about=f"P({behaviour} {window} {cue}) - P(same {window} matched moments without)",
            higher_better=good,
        ),
        Metric(
            name=f"{name}_after_cue",
            title=f"P({behaviour} | cue)",
            unit="probability",
            representation=representation,
            about=f"P({behaviour} {window} {cue})",
        ),
        Metric(
            name=f"{name}_without_cue",
            title=f"P({behaviour} | no cue)",
            unit="probability",
            representation=representation,
            about=f"P({behaviour} {window} matched moments without a cue)",
        ),
    ]


def _rate(name: str, title: str, representation: str) -> Metric:
    return Metric(
        name=f"{name}_rate",
        title=title,
        unit="1/min",
        representation=representation,
        about=f"{title} per minute, whatever the user does",
    )


_METRICS = [
    Metric(
        name="lip_sync_correlation",
        title="lip sync",
        unit="r",
        representation=_JAW,
        about="largest correlation, over lags, of mouth opening with the envelope of the avatar's own voice",
        higher_better=True,
    ),
    Metric(
        name="lip_sync_lag_ms",
        title="lip lag",
        unit="ms",
        representation=_JAW,
        about="lag at that correlation; positive = the mouth follows the sound",
    ),
    *_response("nod", "nod to pause", _PITCH, "nod", "the user pauses while the avatar listens", True),
    *_response(
        "backchannel", "mm-hm to pause", _VOICE, "vocal reaction", "the user pauses while the avatar listens", True
    ),
    *_response("smile", "smile to smile", _SMILE, "smile", "the user begins to smile", True),
    *_response("blink", "anything to blink", _ANY, "any reaction", "the user blinks (negative control)", None),
    _rate("nod", "nods", _PITCH),
    _rate("backchannel", "vocal reactions", _VOICE),
    _rate("smile", "smiles", _SMILE),
    _rate("blink", "blinks", _LIDS),
]

METRICS: dict[str, Metric] = {metric.name: metric for metric in _METRICS}
SUMMARY_METRICS = (
    "lip_sync_correlation",
    "lip_sync_lag_ms",
    "nod_response",
    "backchannel_response",
    "smile_response",
    "blink_response",
)
"""What the level table and ``summary.json`` always hold, in this order."""
