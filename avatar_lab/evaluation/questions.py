"""Questions that several interventions share: what is looked at, and which edge of the world says what must come."""

from __future__ import annotations

from avatar_lab.evaluation.after_moment import Happening, Latency, Occurs
from avatar_lab.evaluation.experiment import TREATED, Expected, Question
from avatar_lab.evaluation.outcomes import Answers, LipSync, Rate
from avatar_lab.evaluation.responses import RESPONSES
from avatar_lab.event_types import EventType

NOD_ANSWER, BACKCHANNEL_ANSWER, SMILE_ANSWER = RESPONSES[:3]
NOD, BACKCHANNEL, SMILE = EventType.NOD, EventType.BACKCHANNEL, EventType.SMILE


def to_pauses(
    expected: Expected, *, margin: float = 0.1, given: bool = False, suffix: str = ""
) -> tuple[Question, ...]:
    """Answers to pauses, which are heard."""
    return tuple(
        Question(
            name=f"{response.name}_response{suffix}",
            outcome=Answers(response=response, given=given),
            expected=expected,
            edge=(EventType.PAUSE, response.behaviours[0]),
            margin=margin,
        )
        for response in (NOD_ANSWER, BACKCHANNEL_ANSWER)
    )


def to_smiles(expected: Expected, *, margin: float = 0.1, given: bool = False, suffix: str = "") -> Question:
    """Answers to smiles, which are seen."""
    return Question(
        name=f"smile_response{suffix}",
        outcome=Answers(response=SMILE_ANSWER, given=given),
        expected=expected,
        edge=(SMILE, SMILE),
        margin=margin,
    )


def reaction(
    cue: EventType, response: EventType, *, of: Happening | None = None, arm: str = TREATED, free: bool = False
) -> tuple[Question, Question]:
    """Whether the response follows an event done to the user, as an edge of the world says, and how soon.

    of    what counts as the response; default: an event of that type
    free  as in :class:`Question`
    """
    name, what = f"{response}_after_{cue}", Occurs(behaviours=(response,)) if of is None else of
    return (
        Question(name=name, outcome=what, expected=Expected.INCREASES, arm=arm, edge=(cue, response), free=free),
        Question(
            name=f"{name}_latency",
            outcome=Latency(of=what),
            expected=Expected.REPORTED,
            arm=arm,
            free=free,
            largest=None,
        ),
    )


def nothing(name: str) -> Question:
    """No reaction of any kind."""
    outcome = Occurs(behaviours=(NOD, BACKCHANNEL, SMILE))
    return Question(name=name, outcome=outcome, expected=Expected.UNCHANGED)


def steady(behaviour: EventType) -> Question:
    """A rate that must stay as it is."""
    outcome, expected = Rate(behaviours=(behaviour,)), Expected.UNCHANGED
    return Question(name=f"{behaviour}_rate", outcome=outcome, expected=expected, margin=1.0, largest=None)


def falling(behaviour: EventType) -> Question:
    """A rate that must fall where nothing is heard."""
    return Question(
        name=f"{behaviour}_rate",
        outcome=Rate(behaviours=(behaviour,)),
        expected=Expected.DECREASES,
        edge=(EventType.PAUSE, behaviour),
        margin=1.0,
        planned=-2.0,
        largest=None,
    )


def kept() -> tuple[Question, ...]:
    """What a camera must not make worse by more than 5 %."""
    lips = Question(name="lip_sync", outcome=LipSync(), expected=Expected.NOT_INFERIOR, largest=None)
    return (*to_pauses(Expected.NOT_INFERIOR, margin=0.05), lips)
