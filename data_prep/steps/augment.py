"""Step 6, augment (optional): each person as the partner's machine would hear them in live use.

Recordings of two people come from headsets in quiet rooms. A live user sits before a loudspeaker: the microphone hears
the avatar's own voice again, the room and noise, and the network drops packets. A model that never heard its echo may
react to itself. These are additional tokens beside the clean ones; the events of the recording do not change.

Every draw is a function of (seed, interaction, side, effect), so one effect's parameters move no other effect's draws.

    S samples   T audio tokens   K codebooks
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from avatar_lab.codec.protocol import AudioCodec
from avatar_lab.data.schema import SIDES
from avatar_lab.events.vad import VadRule, frame_levels
from avatar_lab.events.waveform import Waveform, pieces
from avatar_lab.world.noise import Noise
from data_prep.steps.encode import encode_audio
from data_prep.steps.microphone import COLOURS, coloured_noise, echo, lose_packets, reverberation, room_response
from data_prep.steps.scratch import ScratchArray
from data_prep.steps.sound import Sound
from data_prep.steps.store import StepResult

VERSION = 1
Range = tuple[float, float]
_QUIET = -30.0
"""Level of the voice, in decibels of full scale, of a person who says nothing: noise is relative to the voice."""


@dataclass(frozen=True, kw_only=True)
class AugmentRule:
    """Which conditions are drawn; ranges are uniform, ``*_share`` is the share of (interaction, side) that has one."""

    seed: int = 0
    echo_share: float = 0.7
    echo_decibels: Range = (-40.0, -20.0)
    """Of the partner's voice in this person's microphone, relative to the partner's own recording."""
    echo_delay: Range = (0.05, 0.3)
    echo_room: Range = (0.05, 0.15)
    """Reverberation time of the way from loudspeaker to microphone."""
    room_share: float = 0.5
    room_seconds: Range = (0.1, 0.6)
    """Time in which the room's reverberation falls by 60 dB."""
    room_direct: Range = (0.0, 15.0)
    """Direct over reverberant energy, in decibels."""
    noise_share: float = 0.7
    noise_decibels: Range = (10.0, 40.0)
    """Voice over noise."""
    loss_share: float = 0.3
    loss_rate: Range = (0.05, 0.5)
    """Bursts of lost packets a second; a burst is 20 to 60 ms."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name.endswith("_share") and not 0 <= value <= 1:
                raise ValueError(f"augment.{name} is {value}: a share lies between 0 and 1")
            if isinstance(value, (tuple, list)) and not (len(value) == 2 and value[0] <= value[1]):
                raise ValueError(f"augment.{name} is {value}: give the least and the largest value")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What was drawn for one person of one interaction; ``None``: without that effect."""

    echo: dict[str, float] | None
    room: dict[str, float] | None
    noise: dict[str, float] | None
    colour: str
    """Of the noise."""
    loss: dict[str, float] | None


def draw(rule: AugmentRule, noise: Noise) -> Conditions:
    """Conditions of one person, from counter-based noise."""

    def effect(name: str, share: float, **spans: Range) -> dict[str, float] | None:
        if noise.uniform(name) >= share:
            return None
        return {key: low + (high - low) * noise.uniform(name, key) for key, (low, high) in spans.items()}

    return Conditions(
        echo=effect("echo", rule.echo_share, decibels=rule.echo_decibels, delay=rule.echo_delay, room=rule.echo_room),
        room=effect("room", rule.room_share, seconds=rule.room_seconds, direct=rule.room_direct),
        noise=effect("noise", rule.noise_share, decibels=rule.noise_decibels),
        colour=COLOURS[int(noise.uniform("colour") * len(COLOURS))],
        loss=effect("loss", rule.loss_share, rate=rule.loss_rate),
    )


def as_heard(
    own_S: Waveform, partner_S: Waveform, conditions: Conditions, noise: Noise, *, sample_rate: int, scratch: Path
) -> ScratchArray:
    """A person's waveform (S,) as their own microphone and the network deliver it, in the folder ``scratch``;
    ``partner_S``, equally long, is what the loudspeaker plays: the avatar."""
    parts, rate = [pieces(own_S)], sample_rate
    if (room := conditions.room) is not None:
        response_M = room_response(noise.generator("room"), seconds=room["seconds"], sample_rate=rate)
        parts.append(reverberation(own_S, response_M=response_M, direct=room["direct"]))
    if (path := conditions.echo) is not None:
        response_M = room_response(noise.generator("echo"), seconds=path["room"], sample_rate=rate)
        parts.append(
            echo(partner_S, decibels=path["decibels"], delay=path["delay"], response_M=response_M, sample_rate=rate)
        )
    if (background := conditions.noise) is not None:
        gain = np.float32(10 ** ((voice_level(own_S, rate) - background["decibels"]) / 20))
        unit = coloured_noise(noise.generator("noise"), len(own_S), colour=conditions.colour, sample_rate=rate)
        parts.append(gain * piece_S for piece_S in unit)
    heard_S = ScratchArray(scratch, (0,))
    for together in zip(*parts, strict=True):
        heard_S.append(np.clip(reduce(np.add, together), -1, 1))
    if (loss := conditions.loss) is not None:
        lose_packets(heard_S, noise.generator("loss"), rate=loss["rate"], sample_rate=rate)
    return heard_S


def voice_level(wav_S: Waveform, sample_rate: int) -> float:
    """Mean level of the voice in decibels of full scale: of the frames that are no silence."""
    rule = VadRule()
    level_R = frame_levels(wav_S, sample_rate, rule)
    loud_R = level_R[level_R > rule.absolute]
    return float(10 * np.log10(np.mean(10 ** (loud_R / 10)))) if len(loud_R) else _QUIET


@dataclass(frozen=True)
class Augment:
    """The step for one interaction."""

    rule: AugmentRule
    codec: AudioCodec
    interaction: str
    chunk_tokens: int

    @property
    def stated(self) -> dict[str, object]:
        """What the result depends on besides the sound."""
        return {"rule": asdict(self.rule), "interaction": self.interaction, "audio": self.codec.spec.fingerprint}

    def run(self, sound: Sound) -> StepResult:
        """Arrays ``<side>.user_tokens`` (T, K) uint16; values: the conditions of each side."""
        wav, rate = sound.waveforms, self.codec.spec.sample_rate
        heard, drawn = {}, {}
        for side, other in zip(SIDES, reversed(SIDES), strict=True):
            noise = Noise(f"augment/{self.rule.seed}").within(self.interaction, side)
            conditions = draw(self.rule, noise)
            heard[side] = as_heard(wav[side], wav[other], conditions, noise, sample_rate=rate, scratch=sound.scratch)
            drawn[side] = asdict(conditions)
        tokens = encode_audio(heard, self.codec, chunk_tokens=self.chunk_tokens)
        return StepResult(values=drawn, arrays={f"{side}.user_tokens": tokens[side] for side in SIDES})
