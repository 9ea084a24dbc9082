"""One agent is asked all questions of one experiment, at units that suit it, as far as they can be asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from avatar_lab.evaluation.answers import Answer, answer, not_asked, same_to_the_bit
from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.experiment import Experiment, Question
from avatar_lab.evaluation.injections import Inject, injection_unit
from avatar_lab.evaluation.outcomes import Trial
from avatar_lab.evaluation.references import References, Unavailable
from avatar_lab.evaluation.units import Unit, event_unit, whole_unit
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.world.graph import Source


class Arms(Protocol):
    """Whoever makes the trials of one agent."""

    def trials(self, experiment: Experiment, units: Sequence[Unit], partners: Sequence[Unit]) -> list[Trial]: ...


def ask(
    experiment: Experiment,
    arms: Arms,
    units: Sequence[Unit],
    partners: Sequence[Unit],
    *,
    level: Level,
    free: bool,
    references: References,
    seed: int,
) -> list[Answer]:
    """All questions of one experiment; an agent that cannot perceive the difference gets one: does anything change?

    free  whether the agent decides itself when to speak; if not, questions about that are ``given`` by its script

    Raises:
        Unavailable: there is no unit.
    """
    if not units:
        raise Unavailable(f"{experiment.about}: no conversation holds a moment at which that could be done")
    if level < experiment.needs:
        return [same_to_the_bit(experiment, arms.trials(experiment, units, partners))]
    any_asked = any(free or not question.free for question in experiment.questions)
    trials = arms.trials(experiment, units, partners) if any_asked else []  # nothing is rolled out for no question
    return [
        answer(experiment, question, trials, edges=has_edge(question, units, references), seed=seed)
        if free or not question.free
        else not_asked(experiment, question)
        for question in experiment.questions
    ]


def has_edge(question: Question, units: Sequence[Unit], references: References) -> bool:
    """Whether the world has the edge of a question, from the partner's cue; recordings of people are taken to have
    it."""
    if question.edge is None:
        return True
    try:
        graph = references.dialogue(units[0].recorded.interaction).graph
    except Unavailable:
        return True
    cue, response = question.edge
    return any(edge.response is response and edge.source is Source.PARTNER for edge in graph.from_cue(cue))


def units_of(
    experiment: Experiment,
    conversations: Sequence[Conversation],
    references: References,
    *,
    layout: Layout,
    seed: int,
) -> tuple[list[Unit], list[Unit]]:
    """Units of an experiment, and for each the unit of the next dyad, from the same side."""
    if experiment.occasion is None:
        found = [whole_unit(conversation, layout) for conversation in conversations]
    else:
        found = [u for c in conversations if (u := _event_unit(experiment, c, references, layout, seed)) is not None]
    partners = []
    for unit in found:
        others = [other for other in found if other.recorded.side == unit.recorded.side]
        partners.append(others[(others.index(unit) + 1) % len(others)])
    return found, partners


def _event_unit(
    experiment: Experiment, conversation: Conversation, references: References, layout: Layout, seed: int
) -> Unit | None:
    assert experiment.occasion is not None
    injected = [treatment for treatment in experiment.arms.values() if isinstance(treatment, Inject)]
    if injected:
        return injection_unit(
            conversation, references, occasion=experiment.occasion, arms=injected, layout=layout, seed=seed
        )
    for time in experiment.occasion.moments(conversation, layout, seed=seed):
        return event_unit(conversation, layout, time=time, do=())
    return None
