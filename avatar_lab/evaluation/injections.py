"""One event done to the user: the world is simulated again with ``do()``, and the changed recording encoded anew.

Control and treated arm are rendered from the same world with the same noise and encoded by the same codec over the same
stretch, so that they agree to the bit up to the event. What the user does afterwards follows from the world: where the
recorded avatar answers the event and the user answers that, this is part of the treated recording, mostly later than
the window in which the answer is looked for; where it could be earlier, the recorded avatar is kept from answering.

    S samples   P video frames
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar_lab.context import Context
from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.references import References
from avatar_lab.evaluation.treatments import Scene, first_to_see, token_at, values_of, with_values
from avatar_lab.evaluation.units import AFTER_SECONDS, Occasion, Unit, event_unit
from avatar_lab.event_types import EventType
from avatar_lab.layout import Layout, Stream
from avatar_lab.world.dialogue import Dialogue
from avatar_lab.world.face import render_face
from avatar_lab.world.intervention import Action, Intervention
from avatar_lab.world.simulate import simulate
from avatar_lab.world.tracks import VOICE_RATE
from avatar_lab.world.voice import synthesize

ONSET_MARGIN = 0.1
"""Seconds before an event in which its sound may already differ: a pulse of the voice is placed by its end."""
TRIES = 12
"""Moments tried per conversation before it is left out: not all can take what is asked for."""
_OFF = {Stream.USER_AUDIO: EventType.MICROPHONE_OFF, Stream.USER_VIDEO: EventType.CAMERA_OFF}


@dataclass(frozen=True, kw_only=True)
class Deed:
    """An event that the user does or does not do, in seconds from the moment."""

    type: EventType
    start: float = 0.0
    end: float = 0.0
    action: Action = Action.FORCE

    def at(self, time: float, user: str) -> Intervention:
        return Intervention(action=self.action, side=user, type=self.type, start=time + self.start, end=time + self.end)


@dataclass(frozen=True, kw_only=True)
class Inject:
    """``deeds`` of the user, perceived on ``stream`` alone: the other stream tells nothing of them.

    beside      another stream that both arms encode anew too, so that arms of different streams share their control
    unanswered  what the recorded avatar is kept from doing while the user is rendered: a user who was laughed with
                laughs on, and one who got the floor speaks, which would tell a model the answer
    """

    stream: Stream
    deeds: tuple[Deed, ...]
    beside: Stream | None = None
    unanswered: tuple[EventType, ...] = ()

    def baseline(self, context: Context, scene: Scene) -> Context:
        context = self._with(context, scene, self.stream, ())
        return context if self.beside is None else self._with(context, scene, self.beside, ())

    def edit(self, context: Context, scene: Scene) -> Context:
        context = self._with(context, scene, self.stream, self.deeds)
        return context if self.beside is None else self._with(context, scene, self.beside, ())

    def _with(self, context: Context, scene: Scene, stream: Stream, deeds: Sequence[Deed]) -> Context:
        tokens = values_of(context.user, stream).clone()
        for row, unit in enumerate(scene.units):
            dialogue = scene.studio.references.dialogue(unit.recorded.interaction)
            if deeds:
                dialogue = again(dialogue, self.rendered(unit))
            new = encoded_user(dialogue, unit, stream, scene)
            tokens[row, tokens.shape[1] - len(new) :] = new.to(tokens.dtype)
        return replace(context, user=with_values(context.user, stream, tokens))

    def done(self, unit: Unit) -> list[Intervention]:
        """What the user does, by the clock of the world."""
        return [deed.at(unit.begin + unit.time, unit.recorded.user) for deed in self.deeds]

    def rendered(self, unit: Unit) -> list[Intervention]:
        """The same where nobody answers it at once."""
        time = unit.begin + unit.time
        kept = [Deed(type=kind, end=AFTER_SECONDS, action=Action.REMOVE) for kind in self.unanswered]
        return [*self.done(unit), *(deed.at(time, unit.recorded.side) for deed in kept)]

    def first_block(self, unit: Unit, layout: Layout) -> int:
        return first_to_see(layout, self.stream, token_at(layout, self.stream, self.begins(unit)))

    def begins(self, unit: Unit) -> float:
        """Time in the stretch up to which both arms are the same."""
        return unit.time + min(deed.start for deed in self.deeds) - ONSET_MARGIN


def again(dialogue: Dialogue, do: Sequence[Intervention]) -> Dialogue:
    """The same conversation under interventions.

    Raises:
        ValueError: an event cannot be forced at that moment.
    """
    return simulate(
        dialogue.seed,
        dialogue.seconds,
        graph=dialogue.graph,
        held_out=dialogue.held_out,
        layout=dialogue.layout,
        do=do,
    )


def encoded_user(dialogue: Dialogue, unit: Unit, stream: Stream, scene: Scene) -> Tensor:
    """User tokens of the stretch and of as much of its lead as the recording has."""
    layout, studio = scene.layout, scene.studio
    lead = layout.lead_tokens(stream) // layout.per_block(stream)
    first = max(0, unit.start_block - lead)
    last = unit.start_block + unit.conversation.num_blocks
    side = unit.recorded.user
    person, tracks = dialogue.persons[side], dialogue.tracks[side]
    if stream is Stream.USER_VIDEO:
        frames = slice(first * layout.frames_per_block, last * layout.frames_per_block)
        scene_TC = None if tracks.scene_TC is None else tracks.scene_TC[frames]
        frames_PHWC = render_face(person.appearance, tracks.face_TP[frames], scene_TC=scene_TC)
        latents_BFHWC, _ = studio.video_codec.encode(torch.from_numpy(frames_PHWC[None]))
        return latents_BFHWC[0].flatten(1)
    rows = slice(round(layout.start(first) * VOICE_RATE), round(layout.start(last) * VOICE_RATE))
    rng = dialogue.noise.generator("sound", side)
    wav_S = synthesize(person.voice, tracks.voice_RQ[rows], layout.sample_rate, rng)
    return studio.audio_codec.encode(torch.from_numpy(wav_S[None]))[0][0]


def injection_unit(
    conversation: Conversation,
    references: References,
    *,
    occasion: Occasion,
    arms: Sequence[Inject],
    layout: Layout,
    seed: int,
) -> Unit | None:
    """The first moment of the conversation that takes the deeds of every arm; ``None``: there is none.

    Raises:
        Unavailable: the recording is not one of the embedded world.
    """
    dialogue = references.dialogue(conversation.interaction)
    moments = occasion.moments(conversation, layout, seed=seed)
    moments = (time for time in moments if all(_perceptible(conversation, arm.stream, time) for arm in arms))
    for _, time in zip(range(TRIES), moments, strict=False):
        try:
            for arm in arms:
                again(dialogue, [deed.at(time, conversation.user) for deed in arm.deeds])
            do = tuple(deed.at(time, conversation.user) for arm in arms for deed in arm.deeds)
            return event_unit(conversation, layout, time=time, do=do)
        except ValueError:  # the floor is not where that needs it, or too near to an end
            continue
    return None


def _perceptible(conversation: Conversation, stream: Stream, time: float) -> bool:
    """Whether the user's camera or microphone is on from the moment to the end of what is looked at."""
    return not any(
        event.start < time + AFTER_SECONDS and event.end > time
        for event in conversation.events
        if event.side == conversation.user and event.type is _OFF[stream]
    )
