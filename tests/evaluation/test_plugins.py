"""Metrics with foreign weights: numbers reach rows, what is missing is said, and the real networks hear noise."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from avatar_lab.evaluation.archive import read_observations, write_observations
from avatar_lab.evaluation.finding import Finding, Missing
from avatar_lab.evaluation.measure import conversation_cues, measure
from avatar_lab.evaluation.measure_pooled import measure_pooled
from avatar_lab.evaluation.metric.undefined import Undefined
from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.evaluation.plugin.dnsmos import SCALES, WINDOW_SECONDS, Dnsmos, cut_windows
from avatar_lab.evaluation.plugin.mobilenet import WIDTH
from avatar_lab.evaluation.plugin.protocol import Judging, Plugin, Take, identity_of
from avatar_lab.evaluation.plugin.speaker_similarity import SpeakerSimilarity, embed
from avatar_lab.evaluation.plugin.speech import RATE, speech_at_16k
from avatar_lab.evaluation.plugin.table import PLUGINS
from avatar_lab.evaluation.plugin.traces import watch
from avatar_lab.evaluation.plugin.word_error_rate import words_of
from avatar_lab.evaluation.rows import Status
from avatar_lab.events.vad import detect_speech
from tests.evaluation.planted import LAYOUT, act, conversation
from tests.evaluation.takes import needs, silence, take, voices
from tests.evaluation.test_measure import moving


def test_every_plugin_describes_its_metrics() -> None:
    for name, plugin in PLUGINS.items():
        assert plugin.name == name
        assert set(plugin.metrics) == {metric for metric, about in METRICS.items() if about.plugin == name}
        assert "package" in plugin.weights, "says where the weights are, or that no package has them"


@pytest.mark.parametrize("plugin", PLUGINS.values(), ids=list(PLUGINS))
def test_missing_weights_are_unavailable_with_the_reason(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    for variable in ("AVATAR_LAB_SYNCNET", "AVATAR_LAB_MEDIAPIPE"):
        monkeypatch.delenv(variable, raising=False)
    importlib.import_module(type(plugin).__module__)._network.cache_clear()
    found, traces = watch([plugin], take(silence(2), script=[(0.0, 2.0)]))
    assert not traces
    assert {one.metric for one in found} == set(plugin.metrics)
    assert all(isinstance(one.value, Missing) and "pip install" in one.value.reason for one in found)
    assert identity_of(plugin).startswith("unavailable: ")
    judged = conversation(0, "a")
    seen = replace(act("oracle", judged), extra=found)
    rows = [
        row for row in measure(judged, seen, conversation_cues(judged, seed=0), LAYOUT) if METRICS[row.metric].plugin
    ]
    assert [row.status for row in rows] == [Status.UNAVAILABLE] * len(plugin.metrics)
    assert all(row.value is None and "pip install" in str(row.reason) for row in rows)


def test_findings_reach_archive_and_rows(tmp_path: Path) -> None:
    judged = conversation(0, "a")
    names = list(SCALES)
    extra = tuple(
        Finding(metric=name, value=value, n=3)
        for name, value in zip(names, (1 / 3, Undefined("silent"), Missing("no weights")), strict=True)
    )
    write_observations(tmp_path, "oracle", {judged.name: replace(act("oracle", judged), extra=extra)}, "sha")
    kept = read_observations(tmp_path, "oracle", "sha")
    assert kept is not None
    assert kept[judged.name].extra == extra
    assert [type(one.value) for one in kept[judged.name].extra] == [float, Undefined, Missing]
    rows = {row.metric: row for row in measure(judged, kept[judged.name], conversation_cues(judged, seed=0), LAYOUT)}
    assert rows[names[0]].value == 1 / 3
    assert [rows[name].status for name in names] == [Status.OK, Status.UNDEFINED, Status.UNAVAILABLE]


def test_traces_reach_archive_and_rows_of_one_and_of_all_conversations(tmp_path: Path) -> None:
    rng, words = np.random.default_rng(0), words_of("Who would have said that ten of them are enough?")
    dyads = [conversation(number, side) for number in range(8) for side in "ab"]
    agents = {}
    for name, said in (("people", words), ("agent", words[:-2]), ("silent", [])):
        features = [rng.standard_normal((400, WIDTH)).astype(np.float16) for _ in dyads]
        observed = {
            one.name: replace(
                moving(one, number),
                traces={"word_error_rate": np.array(said, dtype=np.str_), "frechet_video": features[number]},
            )
            for number, one in enumerate(dyads)
        }
        write_observations(tmp_path, name, observed, "sha")
        kept = read_observations(tmp_path, name, "sha")
        assert kept is not None
        assert kept[dyads[0].name].traces["word_error_rate"].tolist() == said
        assert np.array_equal(kept[dyads[0].name].traces["frechet_video"], features[0])
        agents[name] = kept
    judged, truth = dyads[0], agents["people"]
    for name, lost in (("people", 0.0), ("agent", 0.2), ("silent", 1.0)):
        cues = conversation_cues(judged, seed=0)
        rows = measure(judged, agents[name][judged.name], cues, LAYOUT, truth=truth[judged.name])
        found = {row.metric: row for row in rows}
        assert found["word_error_rate"].value == pytest.approx(lost)
        assert found["word_error_rate"].n == len(words)
        assert "mobilenet_frame_fd" not in found, "one conversation does not determine it"
    pooled = measure_pooled(dyads, agents["agent"], truth, layout=LAYOUT, seed=0, free=True)
    rows_of_all = {row.metric: row for row in pooled}
    distance, floor = (rows_of_all[f"mobilenet_frame_fd{ending}"].value for ending in ("", "_floor"))
    assert distance == pytest.approx(floor, rel=0.1), "drawn from one distribution"
    assert rows_of_all["mobilenet_motion_fd"].status is Status.OK
    assert "word_error_rate" not in rows_of_all


@dataclass(frozen=True)
class Forgetful(Judging):
    name: ClassVar[str] = "forgetful"
    metrics: ClassVar[tuple[str, ...]] = ("dnsmos_overall", "dnsmos_signal")
    weights: ClassVar[str] = "none"

    def identity(self) -> str:
        return "1"

    def measure(self, take: Take) -> list[Finding]:
        return [Finding(metric="dnsmos_overall", value=1.0, n=1)]


def test_a_plugin_that_leaves_a_metric_out_is_refused() -> None:
    with pytest.raises(ValueError, match="forgetful found"):
        watch([Forgetful()], take(silence(0.1)))


def test_speech_is_joined_at_16_khz_and_windows_are_full() -> None:
    sound_S = np.ones(3 * LAYOUT.sample_rate, np.float32)
    spans = [(0.5, 1.0), (2.0, 9.0)]
    assert len(speech_at_16k(sound_S, LAYOUT.sample_rate, spans)) == pytest.approx(1.5 * RATE, abs=2)
    assert len(speech_at_16k(sound_S, LAYOUT.sample_rate, [])) == 0
    apart_S = speech_at_16k(sound_S, LAYOUT.sample_rate, spans, apart=0.5)
    assert len(apart_S) == pytest.approx(2.5 * RATE, abs=2)
    assert np.abs(apart_S[int(0.6 * RATE) : int(0.9 * RATE)]).max() < 0.01
    size = int(WINDOW_SECONDS * RATE)
    assert cut_windows(np.ones(RATE, np.float32)).shape == (7, size), "doubled to 16 s, as the package does"
    assert cut_windows(np.ones(12 * RATE, np.float32)).shape == (3, size)


@needs("speechmos", "onnxruntime")
def test_dnsmos_hears_noise_and_refuses_silence() -> None:
    clean_S = voices(11)[0]
    speech = detect_speech(clean_S, LAYOUT.sample_rate)
    level = np.sqrt(np.mean(speech_at_16k(clean_S, LAYOUT.sample_rate, speech) ** 2))
    noise_S = level * np.random.default_rng(0).standard_normal(len(clean_S))
    noisy_S = np.clip(clean_S + noise_S, -1, 1).astype(np.float32)
    clean, noisy = (
        {one.metric: one.value for one in Dnsmos().measure(take(wave, speech=speech))} for wave in (clean_S, noisy_S)
    )
    print(clean, noisy)
    assert all(1 <= float(value) <= 5 for value in clean.values())  # type: ignore[arg-type]
    assert clean["dnsmos_background"] > noisy["dnsmos_background"] + 0.5  # type: ignore[operator]
    silent = Dnsmos().measure(take(silence(2)))
    assert all(isinstance(one.value, Undefined) for one in silent)


@needs("resemblyzer", "librosa", "webrtcvad")
def test_a_person_is_more_like_themselves_than_like_another() -> None:
    mine_S, other_S = voices(11)
    half = len(mine_S) // 2
    rate = LAYOUT.sample_rate
    first, second, other = (
        embed(wave, rate, detect_speech(wave, rate)) for wave in (mine_S[:half], mine_S[half:], other_S)
    )
    assert not isinstance(first, Undefined)
    print("same", float(first @ second), "other", float(first @ other))  # type: ignore[operator]
    assert float(first @ second) > float(first @ other)  # type: ignore[operator]
    found = {one.metric: one.value for one in SpeakerSimilarity().measure(take(mine_S, person_S=mine_S))}
    assert found["speech_speaker_similarity"] == pytest.approx(1, abs=1e-5)
    assert isinstance(found["reaction_speaker_similarity"], Undefined), "no vocal reactions"
