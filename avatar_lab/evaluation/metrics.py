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
_HEAD = "head pitch and yaw from pixels"
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


def _placement(name: str, title: str, representation: str) -> list[Metric]:
    """Where the reactions of one kind are, against those of the recorded avatar."""
    return [
        Metric(
            name=f"{name}_placement_auc",
            title=f"{title} in place",
            unit="AUC",
            representation=representation,
            about=f"P({title} nearer to a true one than to a matched moment without); .5 is chance at any rate",
            higher_better=True,
        ),
        Metric(
            name=f"{name}_precision",
            title=f"{title} that are true",
            unit="share",
            representation=representation,
            about=f"share of {title} with a true one within .5 s, one to one",
            higher_better=True,
        ),
        Metric(
            name=f"{name}_recall",
            title=f"true {title} that are met",
            unit="share",
            representation=representation,
            about=f"share of the recorded avatar's {title} with one of the agent within .5 s, one to one",
            higher_better=True,
        ),
    ]


def _by_role(name: str, title: str, representation: str) -> list[Metric]:
    return [
        Metric(
            name=f"{name}_rate_{role}",
            title=f"{title} while {role}",
            unit="1/min",
            representation=representation,
            about=f"{title} per minute of {role}",
        )
        for role in ("speaking", "listening")
    ]


def _variety(name: str, representation: str) -> list[Metric]:
    return [
        Metric(
            name=f"{name}_variance_ratio",
            title=f"{name} variance",
            unit="ratio",
            representation=representation,
            about="variance over time, as a share of the recorded avatar's; 1 is best, 0 is frozen",
        ),
        Metric(
            name=f"{name}_jerk_ratio",
            title=f"{name} jerk",
            unit="ratio",
            representation=representation,
            about="mean third difference, as a share of the recorded avatar's; 1 is best, more is jitter",
        ),
    ]


def _coupling(name: str, representation: str) -> list[Metric]:
    return [
        Metric(
            name=f"{name}_coupling",
            title=f"{name} coupling",
            unit="r",
            representation=representation,
            about="largest correlation with the user's, up to 2 s later, minus its mean at circular shifts > 10 s",
        ),
        Metric(
            name=f"{name}_rpcc",
            title=f"{name} rPCC",
            unit="r",
            representation=representation,
            about="mean over lags up to 2 s of |r(truth, user) - r(agent, user)|",
            higher_better=False,
        ),
    ]


def _turn(name: str, title: str, unit: str, about: str, good: bool | None = None) -> Metric:
    return Metric(name=name, title=title, unit=unit, representation=_VOICE, about=about, higher_better=good)


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
    *_placement("nod", "nods", _PITCH),
    *_placement("backchannel", "vocal reactions", _VOICE),
    *_placement("smile", "smiles", _SMILE),
    *_by_role("nod", "nods", _PITCH),
    *_by_role("blink", "blinks", _LIDS),
    *_variety("head", _HEAD),
    *_variety("jaw", "jaw from pixels"),
    *_coupling("pitch", _PITCH),
    *_coupling("smile", _SMILE),
    Metric(
        name="head_seam_jerk",
        title="seams",
        unit="ratio",
        representation=_HEAD,
        about="third difference across edges of blocks over that inside blocks; 1 is seamless",
        higher_better=False,
    ),
    Metric(
        name="head_motion_drift",
        title="drift of motion",
        unit="degrees/min",
        representation=_PITCH,
        about="Theil-Sen slope of the standard deviation in windows of 10 s; 0 is best",
    ),
    Metric(
        name="voice_level_drift",
        title="drift of loudness",
        unit="dB/min",
        representation="envelope of decoded audio",
        about="Theil-Sen slope of the mean level in windows of 10 s; 0 is best",
    ),
    _turn("speaking_share", "share of speech", "share", "the avatar's share of all speech"),
    _turn("long_silence_rate", "long silences", "1/min", "silences of both of more than 3 s", False),
    _turn("double_talk_rate", "double talk", "1/min", "stretches of more than 1 s in which both speak", False),
    _turn("take_over_after_turn", "answers", "probability", "P(turn of 1 s begins -1 to 3 s after the user's)", True),
    _turn("take_over_in_pause", "intrusions", "probability", "P(turn of 1 s begins in the user's pause)", False),
    _turn("response_latency", "answer after", "s", "median, negative where the avatar begins before the user's end"),
    _turn("yield_rate", "yields", "probability", "P(stops within 1.5 s | the user interrupts)", True),
    _turn("stop_latency", "stops after", "s", "median seconds from an interruption to the avatar's silence", False),
    _turn("false_yield_rate", "false yields", "probability", "P(stops within 1.5 s | the user's mm-hm)", False),
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
