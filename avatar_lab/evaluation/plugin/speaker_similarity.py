"""Whether the avatar sounds like the person it is: cosine of speaker embeddings (GE2E; Wan et al. 2018, ICASSP).

Compared is with the voice sample that an avatar starts from, not with the judged stretch: so the recorded person
itself stays below 1 and is the ceiling.

    S samples   E dimensions of an embedding
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from avatar_lab.data.schema import file_sha256
from avatar_lab.evaluation.finding import Finding
from avatar_lab.evaluation.metric.undefined import Array, Undefined
from avatar_lab.evaluation.observation import reaction_spans
from avatar_lab.evaluation.plugin.packages import import_or_say, packaged_file
from avatar_lab.evaluation.plugin.protocol import Judging, Take, Wave
from avatar_lab.evaluation.plugin.speech import RATE, speech_at_16k
from avatar_lab.events.segments import Segment, total
from avatar_lab.events.vad import detect_speech

INSTALL = "pip install 'avatar-lab[metrics]' && pip install --no-deps Resemblyzer"
MIN_SPEECH = 0.5


@dataclass(frozen=True)
class SpeakerSimilarity(Judging):
    """Vocal reactions, which are always the avatar's own, and all its speech, which a script may have given."""

    name: ClassVar[str] = "speaker_similarity"
    metrics: ClassVar[tuple[str, ...]] = ("reaction_speaker_similarity", "speech_speaker_similarity")
    weights: ClassVar[str] = "pretrained.pt of Resemblyzer 0.1.4 (Resemble AI), in the package (Apache 2.0)"

    def identity(self) -> str:
        return f"{file_sha256(_network_file())} librosa {import_or_say('librosa', INSTALL).__version__}"

    def measure(self, take: Take) -> list[Finding]:
        _network()
        rate = take.layout.sample_rate
        person_E = embed(take.person_S, rate, detect_speech(take.person_S, rate))
        found = []
        for metric, spans in zip(
            self.metrics, (reaction_spans(take.observation), take.observation.speech), strict=True
        ):
            own_E = embed(take.media.audio_S, rate, spans)
            value: float | Undefined
            if isinstance(person_E, Undefined):
                value = Undefined(f"the person's voice sample: {person_E.reason}")
            else:
                value = own_E if isinstance(own_E, Undefined) else float(own_E @ person_E)
            found.append(Finding(metric=metric, value=value, n=len(spans)))
        return found


def embed(audio_S: Wave, sample_rate: int, spans: Sequence[Segment]) -> Array | Undefined:
    """Embedding (E,) of unit length of what is said in ``spans`` (seconds).

    Raises:
        Unavailable: Resemblyzer or what it needs is not installed.
    """
    if total(list(spans)) < MIN_SPEECH:
        return Undefined(f"{total(list(spans)):.2f} s of speech; {MIN_SPEECH:g} s are needed")
    wave_S = speech_at_16k(audio_S, sample_rate, spans)
    if len(wave_S) < MIN_SPEECH * RATE or not wave_S.any():
        return Undefined("the stretches of speech are silent or lie outside the recording")
    package = _package()
    level = package.hparams.audio_norm_target_dBFS
    loud_S = package.normalize_volume(wave_S, level, increase_only=True).astype(np.float32)
    return np.asarray(_network().embed_utterance(loud_S), dtype=np.float64)


@cache
def _network() -> Any:
    return _package().VoiceEncoder("cpu", verbose=False, weights_fpath=_network_file())


def _package() -> Any:
    _network_file()
    return import_or_say("resemblyzer", INSTALL)


def _network_file() -> Path:
    return packaged_file("resemblyzer", "pretrained.pt", INSTALL)
