"""The interventions as data: what is done, when, to which stream, what is looked at, and what must come of it.

To add one, add a row to ``EXPERIMENTS``. Names and ideas: A audio, V video, N nothing gets worse, P partner in the own
channel; the checks to the bit, F1 and C1, are in ``fallback`` and ``causality``. Arms that need another occasion
are experiments of their own (``A4_laugh``).
"""

from __future__ import annotations

from avatar_lab.evaluation.after_moment import Occurs, Stops
from avatar_lab.evaluation.camera import Camera, CameraOn, Picture
from avatar_lab.evaluation.experiment import TREATED, Expected, Experiment, Question
from avatar_lab.evaluation.injections import Deed, Inject
from avatar_lab.evaluation.outcomes import LipsOnUserSpeech, Motion, Seam
from avatar_lab.evaluation.own_channel import Bleed, Echo, Noise
from avatar_lab.evaluation.pooled_outcomes import Placement, Shift
from avatar_lab.evaluation.questions import (
    BACKCHANNEL,
    NOD,
    NOD_ANSWER,
    SMILE,
    SMILE_ANSWER,
    falling,
    kept,
    nothing,
    reaction,
    steady,
    to_pauses,
    to_smiles,
)
from avatar_lab.evaluation.toggling import Seams, Toggle
from avatar_lab.evaluation.treatments import Delay, Off, Silence, Swap
from avatar_lab.evaluation.units import Occasion
from avatar_lab.event_types import EventType
from avatar_lab.layout import Stream
from avatar_lab.level import Level
from avatar_lab.world.intervention import Action

AUDIO, VIDEO = Stream.USER_AUDIO, Stream.USER_VIDEO
BLINK, HAND_RAISE, LAUGH, YIELD = EventType.BLINK, EventType.HAND_RAISE, EventType.LAUGH, EventType.YIELD

_PAUSE = Occasion(holder="user", clear=(EventType.PAUSE, EventType.LOW_PITCH), rested=(NOD, BACKCHANNEL))
_FACE = Occasion(holder=None, clear=(SMILE, NOD), rested=(SMILE, NOD))
_LAUGH = Occasion(holder="user", clear=(SMILE, LAUGH), rested=(SMILE, LAUGH))
_CONFLICT = Occasion(holder="avatar", clear=(SMILE, LAUGH), rested=(SMILE, LAUGH))
_HAND = Occasion(holder="avatar", clear=(HAND_RAISE, EventType.INTERRUPTION), rested=())
_LAUGHS = Deed(type=LAUGH, end=0.8)
_SOBER = Deed(type=SMILE, start=0.0, end=2.0, action=Action.REMOVE)
_SMILES = Deed(type=SMILE, end=1.8)
_DELAYS = (0.4, 1.2)

_EXPERIMENTS = (
    Experiment(
        name="A1",
        about="the user's microphone hears nothing from a quarter of the conversation on",
        needs=Level.LISTEN,
        arms={TREATED: Silence()},
        questions=(
            falling(NOD),
            falling(BACKCHANNEL),
            Question(name="motion", outcome=Motion(), expected=Expected.INCREASES, planned=0.5, largest=None),
            to_smiles(Expected.UNCHANGED),
        ),
        reseeded=True,
    ),
    Experiment(
        name="A2",
        about="the user of another dyad is heard",
        needs=Level.LISTEN,
        arms={TREATED: Swap(stream=AUDIO)},
        questions=(
            *to_pauses(Expected.DECREASES),
            *to_pauses(Expected.INCREASES, given=True, suffix="_to_given"),
            Question(name="nod_placement", outcome=Placement(response=NOD_ANSWER), expected=Expected.INCREASES),
        ),
    ),
    Experiment(
        name="A3",
        about="the user is heard .4 and 1.2 s late",
        needs=Level.LISTEN,
        arms={f"{seconds:g}": Delay(stream=AUDIO, seconds=seconds) for seconds in _DELAYS},
        questions=(Question(name="nod_shift", outcome=Shift(response=NOD_ANSWER), expected=Expected.MOVES),),
    ),
    Experiment(
        name="A4",
        about="the user pauses after a stretch of low pitch",
        needs=Level.LISTEN,
        arms={
            TREATED: Inject(
                stream=AUDIO,
                deeds=(
                    Deed(type=EventType.LOW_PITCH, start=-0.25, end=0.0),
                    Deed(type=EventType.PAUSE, start=0.0, end=0.7),
                ),
            )
        },
        questions=(*reaction(EventType.PAUSE, NOD), *reaction(EventType.PAUSE, BACKCHANNEL)),
        occasion=_PAUSE,
    ),
    Experiment(
        name="A4_laugh",
        about="the user laughs in the middle of the own turn, with a sober face",
        needs=Level.LISTEN,
        arms={TREATED: Inject(stream=AUDIO, deeds=(_LAUGHS, _SOBER), unanswered=(LAUGH,))},
        questions=(*reaction(LAUGH, LAUGH), *reaction(LAUGH, SMILE)),
        occasion=_LAUGH,
    ),
    Experiment(
        name="A5",
        about="negative control: faint noise at the user's microphone",
        needs=Level.LISTEN,
        arms={TREATED: Noise()},
        questions=(nothing("any_after_noise"),),
        occasion=_PAUSE,
    ),
    Experiment(
        name="V1",
        about="the camera is switched off",
        needs=Level.SEE,
        arms={TREATED: Off(stream=VIDEO)},
        questions=(
            to_smiles(Expected.DECREASES),
            *to_pauses(Expected.UNCHANGED),
            Question(name="seam", outcome=Seam(), expected=Expected.UNCHANGED, margin=1.0, largest=None),
        ),
    ),
    *(
        Experiment(
            name=f"V2_{picture}" if picture is not Picture.FROZEN else "V2",
            about=f"the camera gives a {picture} picture",
            needs=Level.SEE,
            arms={TREATED: Camera(picture=picture)},
            questions=(to_smiles(Expected.DECREASES), *to_pauses(Expected.UNCHANGED)),
        )
        for picture in Picture
    ),
    Experiment(
        name="V3",
        about="the user of another dyad is seen",
        needs=Level.SEE,
        arms={TREATED: Swap(stream=VIDEO)},
        questions=(
            to_smiles(Expected.DECREASES),
            to_smiles(Expected.INCREASES, given=True, suffix="_to_given"),
            *to_pauses(Expected.UNCHANGED),
            Question(
                name="smile_placement",
                outcome=Placement(response=SMILE_ANSWER),
                expected=Expected.INCREASES,
            ),
        ),
    ),
    Experiment(
        name="V4",
        about="the user is seen .4 and 1.2 s late",
        needs=Level.SEE,
        arms={f"{seconds:g}": Delay(stream=VIDEO, seconds=seconds) for seconds in _DELAYS},
        questions=(Question(name="smile_shift", outcome=Shift(response=SMILE_ANSWER), expected=Expected.MOVES),),
    ),
    Experiment(
        name="V5",
        about="the user smiles, or nods",
        needs=Level.SEE,
        arms={
            "smile": Inject(stream=VIDEO, deeds=(_SMILES,)),
            "nod": Inject(stream=VIDEO, deeds=(Deed(type=NOD, end=0.8),)),
        },
        questions=(*reaction(SMILE, SMILE, arm="smile"), *reaction(NOD, NOD, arm="nod")),
        occasion=_FACE,
    ),
    Experiment(
        name="V5_hand",
        about="the user raises a hand while the avatar speaks",
        needs=Level.SEE,
        arms={TREATED: Inject(stream=VIDEO, deeds=(Deed(type=HAND_RAISE, end=2.0),), unanswered=(YIELD,))},
        questions=reaction(HAND_RAISE, YIELD, of=Stops(), free=True),
        occasion=_HAND,
    ),
    Experiment(
        name="A5_blink",
        about="negative control: the user blinks",
        needs=Level.SEE,
        arms={TREATED: Inject(stream=VIDEO, deeds=(Deed(type=BLINK, end=0.18),))},
        questions=(nothing("any_after_blink"),),
        occasion=_FACE,
    ),
    Experiment(
        name="V6",
        about="conflict: a laugh is heard from a sober face, or a smile seen without one",
        needs=Level.LISTEN,
        arms={
            "heard": Inject(stream=AUDIO, deeds=(_LAUGHS, _SOBER), beside=VIDEO),
            "seen": Inject(stream=VIDEO, deeds=(_SMILES,), beside=AUDIO),
        },
        questions=tuple(
            Question(name=f"smile_if_{arm}", outcome=Occurs(behaviours=(SMILE,)), expected=Expected.REPORTED, arm=arm)
            for arm in ("heard", "seen")
        ),
        occasion=_CONFLICT,
    ),
    Experiment(
        name="V7",
        about="the camera goes off and on again every 20 s: no seam shows",
        needs=Level.SEE,
        arms={TREATED: Toggle()},
        questions=(Question(name="seams", outcome=Seams(), expected=Expected.UNCHANGED, margin=1.0, largest=None),),
    ),
    *(
        Experiment(
            name=name,
            about=f"Level 2 and the same with {about}: nothing gets worse by more than 5 %",
            needs=Level.SEE,
            arms={TREATED: CameraOn(picture=picture)},
            questions=kept(),
        )
        for name, picture, about in (
            ("N1", None, "its camera"),
            ("N2", Picture.BLACK, "a black camera"),
            ("N3", Picture.FROZEN, "a frozen camera"),
            ("N4", Picture.OCCLUDED, "an occluded camera"),
        )
    ),
    Experiment(
        name="N5",
        about="the avatar's own voice comes back into the user's microphone: it must not answer itself",
        needs=Level.LISTEN,
        arms={TREATED: Echo()},
        questions=(steady(NOD), steady(BACKCHANNEL)),
    ),
    Experiment(
        name="P1",
        about="the user is heard in the avatar's own channel: lips must not move on user speech",
        needs=Level.TALK,
        arms={TREATED: Bleed()},
        questions=(
            Question(
                name="lips_on_user_speech",
                outcome=LipsOnUserSpeech(),
                expected=Expected.UNCHANGED,
                margin=0.03,
            ),
        ),
    ),
)
EXPERIMENTS: dict[str, Experiment] = {experiment.name: experiment for experiment in _EXPERIMENTS}
