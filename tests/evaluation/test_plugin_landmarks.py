"""Landmarks: what a helper finds reaches findings, what is wrong with it is said, and a real man has a face."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avatar_lab.evaluation.finding import Finding, Missing
from avatar_lab.evaluation.metric.landmarks import RIGID, mouth_aperture
from avatar_lab.evaluation.metric.undefined import Undefined
from avatar_lab.evaluation.plugin import face_landmarks, landmark_finder
from avatar_lab.evaluation.plugin.face_landmarks import VARIABLE, FaceLandmarks
from avatar_lab.evaluation.plugin.landmark_finder import LandmarkFinder
from avatar_lab.evaluation.plugin.protocol import Plugin, Take, identity_of
from avatar_lab.evaluation.plugin.traces import watch
from avatar_lab.mediapipe_process import MEDIAPIPE
from avatar_lab.serving import Refusal
from tests.evaluation.metric.test_landmarks import face, syllables
from tests.evaluation.planted import LAYOUT
from tests.evaluation.takes import clip, silence, take
from tests.mediapipe_python import mediapipe_python

FACE, NOBODY, FATAL, FATAL_ONCE = 100, 0, 200, 201
"""What the first number of a picture makes the planted library do; the second one opens the mouth."""
PLANTED = """
import os
from types import SimpleNamespace

import numpy as np

HERE = os.path.dirname(__file__)


class FaceMesh:
    def __init__(self, *, max_num_faces, refine_landmarks):
        assert (max_num_faces, refine_landmarks) == (1, True)
        self.seen = 0

    def close(self):
        self.seen = None

    def process(self, picture):
        self.seen += 1
        kind, opening, _ = picture[0, 0].tolist()
        died = os.path.exists(HERE + "/died")
        if kind == FATAL or (kind == FATAL_ONCE and not died):
            open(HERE + "/died", "w").close()
            os._exit(1)
        if kind == NOBODY:
            return SimpleNamespace(multi_face_landmarks=None)
        points = np.load(HERE + "/face.npy")
        points[0] = self.seen / 1000, 0.5
        points[14, 1] += 0.2 * opening / 255
        landmarks = [SimpleNamespace(x=x, y=y, z=0.0) for x, y in points.tolist()]
        return SimpleNamespace(multi_face_landmarks=[SimpleNamespace(landmark=landmarks)])
"""


def planted_python(folder: Path, version: str = MEDIAPIPE) -> str:
    """An interpreter whose mediapipe finds one and the same face, with the mouth as open as the picture says."""
    solutions = folder / "planted" / "mediapipe" / "python" / "solutions"
    solutions.mkdir(parents=True)
    (folder / "planted" / "mediapipe" / "__init__.py").write_text(f"__version__ = {version!r}\n")
    for package in (solutions.parent, solutions):
        (package / "__init__.py").touch()
    names = f"NOBODY, FATAL, FATAL_ONCE = {NOBODY}, {FATAL}, {FATAL_ONCE}\n"
    (solutions / "face_mesh.py").write_text(names + PLANTED)
    np.save(solutions / "face.npy", face(np.zeros(1), size=1.0)[0] - 50.0)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder / "planted"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return str(python)


def pictures(kinds: list[int], openings: np.ndarray | None = None, *, height: int = 4, width: int = 8) -> np.ndarray:
    video_PHWC = np.zeros((len(kinds), height, width, 3), np.uint8)
    video_PHWC[:, 0, 0, 0] = kinds
    if openings is not None:
        video_PHWC[:, 0, 0, 1] = openings
    return video_PHWC


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    path = planted_python(tmp_path)
    monkeypatch.setenv(VARIABLE, path)
    yield path
    face_landmarks._network(path).close()


def test_pieces_are_joined_and_every_video_begins_anew(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmark_finder, "PIECE_BYTES", 3 * 4 * 8 * 3)
    kinds = [FACE, FACE, NOBODY, FACE, FACE, FACE, FACE]
    with LandmarkFinder(python) as finder:
        for _ in range(2):
            points_PL2 = finder.find(pictures(kinds, np.array([0, 255, 0, 0, 0, 0, 51])))
            assert points_PL2.shape == (7, 478, 2)
            assert np.isnan(points_PL2[2]).all()
            seen = points_PL2[[0, 1, 3, 4, 5, 6], 0]
            assert seen[:, 0] == pytest.approx(8 * np.array([1, 2, 4, 5, 6, 7]) / 1000)
            assert seen[:, 1] == pytest.approx(4 * 0.5)
            aperture_P = mouth_aperture(points_PL2)
            assert aperture_P[[0, 1, 6]] == pytest.approx([0, 4 / 8 * 0.2, 4 / 8 * 0.04], abs=1e-6)
        assert finder.find(pictures([])).shape == (0, 478, 2)


def test_a_process_that_dies_is_replaced_once(python: str) -> None:
    with LandmarkFinder(python) as finder:
        points_PL2 = finder.find(pictures([FACE, FATAL_ONCE, FACE]))
        assert np.isfinite(points_PL2).all()
        with pytest.raises(Refusal, match="landmarks: the helper process crashed"):
            finder.find(pictures([FACE, FATAL]))
        assert np.isfinite(finder.find(pictures([FACE]))).all()


def found_in(plugin: Plugin, judged: Take) -> dict[str, Finding]:
    found, traces = watch([plugin], judged)
    assert not traces
    return {one.metric: one for one in found}


def test_a_planted_face_reaches_findings(python: str) -> None:
    """The mouth follows the sound by two frames; a tenth of the frames has no face."""
    sound_P = syllables(500)
    sound_P /= sound_P.max()
    openings = np.roll(np.round(255 * sound_P), 2)
    judged = take(silence(20), video_PHWC=pictures([*[NOBODY] * 50, *[FACE] * 450], openings), speech=[(0.0, 20.0)])
    judged = replace(judged, observation=replace(judged.observation, envelope_P=sound_P))
    plugin = FaceLandmarks()
    assert plugin.identity() == f"mediapipe {MEDIAPIPE}"
    found = found_in(plugin, judged)
    assert found["landmark_lip_correlation"].value == pytest.approx(1, abs=1e-3)
    assert found["landmark_lip_lag_ms"].value == pytest.approx(80, abs=3)
    assert found["landmark_lip_lag_ms"].n == 450 - 8 - 8
    assert found["landmark_blink_rate"] == Finding(metric="landmark_blink_rate", value=0.0, n=0)
    assert found["landmark_jitter"].value == pytest.approx(0, abs=1e-4)
    assert found["landmark_jitter"].n == 448
    assert found["landmark_face_share"] == Finding(metric="landmark_face_share", value=0.9, n=500)
    silent = found_in(plugin, replace(judged, observation=replace(judged.observation, speech=[])))
    assert isinstance(silent["landmark_lip_correlation"].value, Undefined)
    assert silent["landmark_face_share"].value == 0.9
    faceless = found_in(plugin, take(silence(4), video_PHWC=pictures([NOBODY] * 100), speech=[(0.0, 4.0)]))
    assert faceless.pop("landmark_face_share").value == 0
    assert all(type(one.value) is Undefined for one in faceless.values())


@pytest.mark.parametrize("trouble", ["dies", "another version", "no python", "no mediapipe", "nowhere"])
def test_what_is_wrong_with_the_interpreter_is_said(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trouble == "no mediapipe" and importlib.util.find_spec("mediapipe") is not None:
        pytest.skip("mediapipe is installed here")
    python, reason = {
        "dies": (lambda: planted_python(tmp_path), "gave no answer twice (landmarks: the helper process crashed)"),
        "another version": (lambda: planted_python(tmp_path, "0.10.30"), "has mediapipe 0.10.30 instead of 0.10.21"),
        "no python": (lambda: "/bin/echo", "cannot be started"),
        "no mediapipe": (lambda: sys.executable, "has mediapipe none (No module named 'mediapipe')"),
        "nowhere": (lambda: str(tmp_path / "nowhere"), "cannot be started"),
    }[trouble]
    monkeypatch.setenv(VARIABLE, python())
    plugin = FaceLandmarks()
    found = found_in(plugin, take(silence(1), video_PHWC=pictures([FATAL])))
    assert set(found) == set(plugin.metrics)
    for one in found.values():
        assert isinstance(one.value, Missing)
        assert reason in one.value.reason
        assert ("out=..." if trouble == "dies" else f"set {VARIABLE}=FOLDER/bin/python") in one.value.reason
    assert (reason in identity_of(plugin)) == (trouble != "dies")


@pytest.mark.ci
def test_a_real_man_has_a_face_and_noise_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, mediapipe_python())
    video_PHWC, plugin = clip("carphone_pristine"), FaceLandmarks()
    points_PL2 = face_landmarks._landmarks(take(silence(1), video_PHWC=video_PHWC))
    assert np.isfinite(points_PL2).all()
    aperture_P = mouth_aperture(points_PL2)
    assert 0 <= aperture_P.min() < 0.05 < aperture_P.max() < 0.6, "he talks"
    left, right = points_PL2[:, RIGID[0], 0], points_PL2[:, RIGID[3], 0]
    assert (right - left > 20).all()
    assert (right - left < 100).all(), "of 176 pixels"
    speaking = take(silence(4.8), video_PHWC=video_PHWC, speech=[(0.0, 4.8)])
    sound_P = aperture_P - aperture_P.min()
    found = found_in(plugin, replace(speaking, observation=replace(speaking.observation, envelope_P=sound_P)))
    print({name: (one.value, one.n) for name, one in found.items()})
    assert found["landmark_lip_correlation"].value == pytest.approx(1, abs=1e-6)
    assert found["landmark_lip_lag_ms"].value == pytest.approx(0, abs=5)
    assert found["landmark_face_share"].value == 1
    assert isinstance(found["landmark_blink_rate"].value, Undefined), "4.8 s"
    shaken_PHWC = video_PHWC.copy()
    shaken_PHWC[::2] = np.roll(shaken_PHWC[::2], 2, axis=2)
    shaken = found_in(plugin, take(silence(4.8), video_PHWC=shaken_PHWC))
    print("shaken", shaken["landmark_jitter"])
    rest, trembling = (float(one["landmark_jitter"].value) for one in (found, shaken))  # type: ignore[arg-type]
    assert 0 < rest < trembling / 2
    noise_PHWC = np.random.default_rng(0).integers(0, 255, (30, 144, 176, 3), dtype=np.uint8)
    noise = found_in(plugin, take(silence(1.2), video_PHWC=noise_PHWC, speech=[(0.0, 1.2)]))
    assert noise.pop("landmark_face_share").value == 0
    assert all(type(one.value) is Undefined for one in noise.values())
    assert LAYOUT.fps == 25, "the clip's own"
