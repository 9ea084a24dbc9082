"""Names, units and directions of everything that is measured; the table that rows, bars and report read."""

from __future__ import annotations

from avatar_lab.evaluation.metric_families import (
    ANY,
    F0,
    FACE,
    HEAD,
    JAW,
    LIDS,
    PITCH,
    SMILE,
    SPECTRA,
    TOKENS,
    VOICE,
    Metric,
    by_role,
    coupling,
    distribution,
    placement,
    rate,
    response,
    slope,
    turn,
    variety,
)
from avatar_lab.evaluation.metric_plugins import PLUGIN_METRICS

_METRICS = [
    Metric(
        name="lip_sync_correlation",
        title="lip sync",
        unit="r",
        representation=JAW,
        about="largest correlation, over lags, of mouth opening with the envelope of the avatar's own voice",
        higher_better=True,
    ),
    Metric(
        name="lip_sync_lag_ms",
        title="lip lag",
        unit="ms",
        representation=JAW,
        about="lag at that correlation; positive = the mouth follows the sound",
    ),
    *response("nod", "nod to pause", PITCH, "nod", "the user pauses while the avatar listens", True),
    *response(
        "backchannel", "mm-hm to pause", VOICE, "vocal reaction", "the user pauses while the avatar listens", True
    ),
    *response("smile", "smile to smile", SMILE, "smile", "the user begins to smile", True),
    *response("blink", "anything to blink", ANY, "any reaction", "the user blinks (negative control)", None),
    rate("nod", "nods", PITCH),
    rate("backchannel", "vocal reactions", VOICE),
    rate("smile", "smiles", SMILE),
    rate("blink", "blinks", LIDS),
    *placement("nod", "nods", PITCH),
    *placement("backchannel", "vocal reactions", VOICE),
    *placement("smile", "smiles", SMILE),
    *by_role("nod", "nods", PITCH),
    *by_role("blink", "blinks", LIDS),
    *variety("head", HEAD),
    *variety("jaw", "jaw from pixels"),
    *coupling("pitch", PITCH),
    *coupling("smile", SMILE),
    Metric(
        name="head_seam_jerk",
        title="seams",
        unit="ratio",
        representation=HEAD,
        about="third difference across edges of blocks over that inside blocks; 1 is seamless",
        higher_better=False,
    ),
    Metric(
        name="head_motion_drift",
        title="drift of motion",
        unit="degrees/min",
        representation=PITCH,
        about="Theil-Sen slope of the standard deviation in windows of 10 s; 0 is best",
    ),
    Metric(
        name="voice_level_drift",
        title="drift of loudness",
        unit="dB/min",
        representation="envelope of decoded audio",
        about="Theil-Sen slope of the mean level in windows of 10 s; 0 is best",
    ),
    slope("luma"),
    slope("saturation"),
    slope("sharpness"),
    rate("lean", "leans", "lean from pixels"),
    Metric(
        name="lean_answer",
        title="lean to lean",
        unit="lean",
        representation="lean from pixels",
        about="how much further the avatar leans in after the user's leans than after matched moments",
        higher_better=True,
    ),
    *(
        Metric(
            name=f"gaze_share_{role}",
            title=f"gaze while {role}",
            unit="share",
            representation="gaze from pixels",
            about=f"share of the time of {role} in which the avatar looks in its usual direction",
        )
        for role in ("speaking", "listening")
    ),
    Metric(
        name="reaction_voice_distance",
        title="reactions in own voice",
        unit="semitones",
        representation=F0,
        about="distance of the median F0 of vocal reactions from that of the recorded person's speech",
        higher_better=False,
    ),
    *distribution("face_fd", "face", "the avatar's face"),
    *distribution("face_pfd", "face with user", "the faces of user and avatar together (P-FD)"),
    Metric(
        name="face_sid_ratio",
        title="variety of faces",
        unit="ratio",
        representation=FACE,
        about="entropy over 20 clusters of the truth, as a share of the truth's own; 1 is best, less is collapse",
    ),
    *(
        Metric(
            name=f"reaction_{name}_r",
            title=f"{title} of reactions",
            unit="r",
            representation=representation,
            about=f"correlation of {title} of vocal reactions with the user's just before, each from its usual one",
            higher_better=True,
        )
        for name, title, representation in (("f0", "F0", F0), ("level", "loudness", "level of voiced frames"))
    ),
    *distribution("own_sound_fd", "own sound", "the sound that no script gave", SPECTRA),
    Metric(
        name="own_token_nll",
        title="own tokens",
        unit="nats/token",
        representation=TOKENS,
        about=(
            "mean -log p of tokens that no script gave, after the one before, by bigrams of recorded people of other "
            "dyads; neither way is better, silence is cheap: read it beside the recorded people's own"
        ),
    ),
    Metric(
        name="own_token_nll_truth",
        title="own tokens, recorded",
        unit="nats/token",
        representation=TOKENS,
        about="the same of the recorded people at the same places, who are judged by others' bigrams too",
    ),
    *(
        turn(f"{name}_distance", f"{title} off", "s", f"Wasserstein distance of {title} from the recorded", False)
        for name, title in (
            ("offset", "floor transfer offsets"),
            ("ipu", "durations of speech"),
            ("pause", "durations of pauses"),
            ("gap", "durations of gaps"),
            ("overlap", "durations of overlaps"),
        )
    ),
    turn("overlap_share", "overlap", "share", "share of the time with speech in which both speak"),
    turn("speaking_share", "share of speech", "share", "the avatar's share of all speech"),
    turn("long_silence_rate", "long silences", "1/min", "silences of both of more than 3 s", False),
    turn("double_talk_rate", "double talk", "1/min", "stretches of more than 1 s in which both speak", False),
    turn("take_over_after_turn", "answers", "probability", "P(turn of 1 s begins -1 to 3 s after the user's)", True),
    turn("take_over_in_pause", "intrusions", "probability", "P(turn of 1 s begins in the user's pause)", False),
    turn("response_latency", "answer after", "s", "median, negative where the avatar begins before the user's end"),
    turn("yield_rate", "yields", "probability", "P(stops within 1.5 s | the user interrupts)", True),
    turn("stop_latency", "stops after", "s", "median seconds from an interruption to the avatar's silence", False),
    turn("false_yield_rate", "false yields", "probability", "P(stops within 1.5 s | the user's mm-hm)", False),
    *PLUGIN_METRICS,
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
