"""Faces by dlib: a real man is himself, a drawn picture has no face, and crops are where they should be."""

from __future__ import annotations

import numpy as np
import pytest

from avatar_lab.evaluation.metric.undefined import Undefined
from avatar_lab.evaluation.plugin import face_places
from avatar_lab.evaluation.plugin.face_identity import FaceIdentity
from avatar_lab.evaluation.plugin.face_places import FacePlaces, track_faces
from avatar_lab.evaluation.plugin.faces import Face, find_face, resize
from tests.evaluation.takes import clip, needs, silence, take

RNG = np.random.default_rng(0)


def test_pictures_are_enlarged_in_proportion() -> None:
    ramp_HWC = np.tile(np.arange(0, 128, 4, dtype=np.uint8)[None, :, None], (16, 1, 3))
    larger_HWC = resize(ramp_HWC, 4.0)
    assert larger_HWC.shape == (64, 128, 3)
    assert np.abs(np.diff(larger_HWC[32, 8:-8, 0].astype(int)) - 1).max() <= 1
    assert larger_HWC[:, 64].mean() == pytest.approx(64, abs=2)


def test_crops_keep_their_place_also_beyond_the_edge() -> None:
    video_PHWC = np.zeros((3, 100, 100, 3), np.uint8)
    video_PHWC[1, 40:60, 40:60] = (200, 100, 50)
    places = FacePlaces(first=1, place_P3=np.array([[50.0, 50.0, 10.0], [0.0, 0.0, 10.0]]))
    inside_CHW = places.crop(video_PHWC, 1, 28)
    assert inside_CHW[:, 10, 14].tolist() == [200, 100, 50], "28 pixels: 10 above, 18 below, 14 to either side"
    assert inside_CHW[0, :20, 4:24].min() == 200
    assert inside_CHW[0, 21:].max() == 0
    corner_CHW = places.crop(video_PHWC, 2, 28)
    assert corner_CHW[0, 0, 0] == 110
    assert corner_CHW[0, -1, -1] == 0


def test_places_are_interpolated_between_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The face moves by one pixel a frame, is not found in one look and elsewhere in another."""

    class Place:
        def __init__(self, x: int) -> None:
            self.x = x

        def left(self) -> int:
            return self.x

        def right(self) -> int:
            return self.x + 20

        def top(self) -> int:
            return 30

        def bottom(self) -> int:
            return 50

        def width(self) -> int:
            return 20

        def height(self) -> int:
            return 16

    def find(picture_HWC: np.ndarray, install: str) -> Face | None:
        frame = int(picture_HWC[0, 0, 0])
        return None if frame == 15 else Face(picture_HWC, 2.0, Place(500 if frame == 30 else 2 * frame))

    monkeypatch.setattr(face_places, "find_face", find)
    video_PHWC = np.tile(np.arange(60, dtype=np.uint8)[:, None, None, None], (1, 4, 4, 3))
    places = track_faces(video_PHWC, 5, 56, "")
    assert places is not None
    middle = places.place_P3[12 - 5 : 45 - 5]
    assert np.abs(middle[:, 0] - (np.arange(12, 45) + 5)).max() <= 5, "the one look elsewhere is filtered out"
    assert (places.place_P3[:, 1] == 20).all()
    assert (places.place_P3[:, 2] == 5).all()
    monkeypatch.setattr(face_places, "find_face", lambda picture_HWC, install: None)
    assert track_faces(video_PHWC, 5, 56, "") is None


@needs("dlib", "face_recognition_models")
def test_a_man_is_himself_and_noise_is_nobody() -> None:
    video_PHWC = clip("carphone_pristine")
    plugin = FaceIdentity()
    found = {one.metric: one for one in plugin.measure(take(silence(4), video_PHWC=video_PHWC))}
    print({name: (one.value, one.n) for name, one in found.items()})
    assert found["face_found_share"].value == 1
    assert found["face_identity_distance"].n == 5
    assert 0 < float(found["face_identity_distance"].value) < 0.5  # type: ignore[arg-type]
    noise_PHWC = RNG.integers(0, 255, (50, 64, 64, 3), dtype=np.uint8)
    other = {one.metric: one.value for one in plugin.measure(take(silence(2), video_PHWC=noise_PHWC))}
    assert other["face_found_share"] == 0
    assert isinstance(other["face_identity_distance"], Undefined)
    lost = {
        one.metric: one.value
        for one in plugin.measure(take(silence(2), video_PHWC=noise_PHWC, picture_HWC=video_PHWC[0]))
    }
    assert isinstance(lost["face_identity_distance"], Undefined)
    assert "2 frames" in lost["face_identity_distance"].reason


@needs("dlib")
def test_small_faces_are_found_after_enlarging() -> None:
    picture_HWC = clip("carphone_pristine")[0]
    large = find_face(picture_HWC, "")
    assert large is not None
    small = find_face(resize(picture_HWC, 0.5), "")
    assert small is not None
    assert np.array(small.centre) * 2 == pytest.approx(np.array(large.centre), abs=8)
