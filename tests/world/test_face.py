"""The rendered face: deterministic, fast, antialiased, and every channel moves the pixels it should and no others."""

import time

import numpy as np
import pytest

from avatar_lab.world.appearance import Appearance
from avatar_lab.world.clips import FaceClips
from avatar_lab.world.face import render_face
from avatar_lab.world.random_motion import random_face_tracks
from avatar_lab.world.tracks import FACE_CHANNELS, SCENE_CHANNELS

MOUTH = (slice(32, 44), slice(24, 41))
EYES = (slice(22, 30), slice(22, 43))
BROWS = (slice(17, 24), slice(22, 43))
SHOULDERS = (slice(50, 64), slice(0, 64))


def person(seed: int = 0) -> Appearance:
    return Appearance.sample(np.random.default_rng(seed))


def tracks(**channels: float) -> np.ndarray:
    face_TP = np.zeros((1, len(FACE_CHANNELS)), np.float32)
    for name, value in channels.items():
        face_TP[:, FACE_CHANNELS.index(name)] = value
    return face_TP


def change(seed: int, **channels: float) -> np.ndarray:
    """Mean absolute change per pixel that ``channels`` make to a resting face."""
    rest, moved = (render_face(person(seed), face)[0].astype(float) for face in (tracks(), tracks(**channels)))
    return np.abs(moved - rest).mean(-1)


def test_same_seed_same_person_and_pixels() -> None:
    face_TP = random_face_tracks(np.random.default_rng(3), 20, 25.0)
    assert person(1) == person(1) != person(2)
    assert np.array_equal(render_face(person(1), face_TP), render_face(person(1), face_TP))


def test_frames_do_not_depend_on_their_neighbours() -> None:
    face_TP = random_face_tracks(np.random.default_rng(4), 40, 25.0)
    whole = render_face(person(), face_TP)
    alone = np.concatenate([render_face(person(), row[None]) for row in face_TP])
    # boxes that cut off part of a shape would show here; rounding may differ by one step
    assert np.abs(whole.astype(int) - alone.astype(int)).max() <= 1


def test_people_differ_clearly() -> None:
    faces = np.stack([render_face(person(seed), tracks())[0] for seed in range(30)]).astype(float)
    distances = [np.abs(faces[i] - faces[j]).mean() for i in range(30) for j in range(i)]
    assert min(distances) > 4
    assert np.median(distances) > 20


@pytest.mark.parametrize(
    ("channel", "value", "region"),
    [
        ("jaw", 1.0, MOUTH),
        ("smile", 1.0, MOUTH),
        ("mouth_round", 1.0, MOUTH),
        ("blink", 1.0, EYES),
        ("gaze_x", 1.0, EYES),
        ("brow", 1.0, BROWS),
        ("lean", 1.0, SHOULDERS),
    ],
)
def test_channel_changes_its_region(channel: str, value: float, region: tuple[slice, slice]) -> None:
    for seed in (5, 11, 12):  # people without long hair over their brows
        difference = change(seed, **{channel: value})
        assert difference[region].mean() > 2, (channel, seed)
        assert difference[region].mean() > 2 * difference.mean() or channel == "lean", (channel, seed)


def test_local_channels_leave_the_rest_alone() -> None:
    for channel in ("blink", "gaze_x", "gaze_y", "brow"):
        difference = change(5, **{channel: 1.0})
        assert difference[:14].max() == difference[36:].max() == 0, channel


def test_nod_moves_the_features_down_and_lean_grows_the_head() -> None:
    # dark pupils and lips are found by comparing rows: the face's mean darkness moves down with the chin
    bald = next(
        person(seed) for seed in range(200) if person(seed).hair_volume is None and person(seed).glasses is None
    )
    frames = render_face(bald, np.concatenate([tracks(pitch=p) for p in (-15, 0, 15)])).astype(float)
    window = frames[:, 12:46, 24:40].mean((2, 3))
    detail = np.abs(np.diff(window, axis=1))
    height = (detail * np.arange(detail.shape[1])).sum(1) / detail.sum(1)
    assert height[0] + 1 < height[1] < height[2] - 1
    near, far = (render_face(bald, tracks(lean=lean))[0].astype(float) for lean in (1.0, -1.0))
    wall = render_face(bald, tracks(lean=0.0))[0, 28, 0].astype(float)
    widths = [(np.abs(frame[28] - wall).sum(-1) > 60).sum() for frame in (near, far)]
    assert widths[0] > widths[1] + 4


def test_edges_are_antialiased() -> None:
    """Roll by a fraction of a degree moves edges by less than a pixel: many pixels change, each of them little."""
    difference = change(5, roll=0.2)
    assert (difference > 0).sum() > 100
    assert difference.max() < 30  # a step of aliased edges would be the full contrast, 100 and more


def test_large_pictures_show_the_same_person() -> None:
    small, large = (render_face(person(7), tracks(smile=0.5), size)[0].astype(float) for size in (64, 128))
    pooled = large.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(pooled - small).mean() < 2


def test_bad_tracks_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        render_face(person(), np.zeros((3, 4), np.float32))
    with pytest.raises(ValueError, match="NaN"):
        render_face(person(), tracks(jaw=float("nan")))
    assert render_face(person(), tracks()[:0]).shape == (0, 64, 64, 3)


def test_extreme_values_are_clipped() -> None:
    wild = tracks(yaw=400.0, pitch=-400.0, roll=400.0, lean=9.0, jaw=7.0, gaze_x=-5.0)
    assert render_face(person(), wild).shape == (1, 64, 64, 3)


def test_rendering_is_fast() -> None:
    face_TP = random_face_tracks(np.random.default_rng(0), 500, 25.0)
    render_face(person(), face_TP[:50])
    start = time.process_time()
    render_face(person(), face_TP)
    assert (time.process_time() - start) / len(face_TP) < 2e-3  # seen: 0.3 to 0.5 ms; generous for busy machines


def test_random_motion_covers_every_range() -> None:
    clips = [random_face_tracks(np.random.default_rng(seed), 250, 25.0) for seed in range(80)]
    low, high = np.concatenate(clips).min(0), np.concatenate(clips).max(0)
    for name, least, most in zip(FACE_CHANNELS, low, high, strict=True):
        span = {"yaw": 45, "pitch": 35, "roll": 20, "lean": 1.8, "gaze_x": 1.8, "gaze_y": 1.8}.get(name, 0.95)
        assert most - least >= span, name
    assert all(np.isfinite(clip).all() and clip.dtype == np.float32 for clip in clips)


def test_clips_are_a_function_of_seed_and_index() -> None:
    clips = FaceClips(num_clips=5, num_frames=8, fps=25.0, seed=1)
    other = FaceClips(num_clips=5, num_frames=8, fps=25.0, seed=2)
    again = FaceClips(num_clips=9, num_frames=8, fps=25.0, seed=1)
    assert clips[3]["frames"].equal(again[3]["frames"])
    assert clips[3]["face"].equal(again[3]["face"])
    assert not clips[3]["frames"].equal(other[3]["frames"])
    assert not clips[3]["frames"].equal(clips[2]["frames"])
    with pytest.raises(IndexError, match="clip 5 of 5"):
        clips[5]


def test_clips_of_conversations_move_less_than_random_ones_and_keep_the_worlds_rate() -> None:
    sizes = {"num_clips": 24, "num_frames": 12, "seed": 1, "still_share": 0.0}
    random, talking = (FaceClips(fps=25.0, conversation_share=share, **sizes) for share in (0.0, 1.0))
    yaw = FACE_CHANNELS.index("yaw")
    spread = [
        np.concatenate([clips[i]["face"][:, yaw].numpy() for i in range(24)]).std() for clips in (random, talking)
    ]
    assert 0 < spread[1] < 0.6 * spread[0]
    assert talking[3]["face"].equal(FaceClips(fps=25.0, conversation_share=1.0, **sizes)[3]["face"])
    with pytest.raises(ValueError, match="simulated at 25 fps, not 30"):
        FaceClips(fps=30.0, conversation_share=0.5, **sizes)


def scene(**channels: float) -> np.ndarray:
    return np.array([[channels.get(name, 0.0) for name in SCENE_CHANNELS]], np.float32)


@pytest.mark.parametrize("seed", [5, 11, 12])
def test_hand_and_sunlight_are_seen_where_they_are(seed: int) -> None:
    rest = render_face(person(seed), tracks())[0].astype(float)
    hand, sun = (
        np.abs(render_face(person(seed), tracks(), scene_TC=scene(**{name: 1.0}))[0] - rest).mean(-1)
        for name in SCENE_CHANNELS
    )
    assert hand[34:, 46:].mean() > 10
    assert hand[:30].max() == hand[:, :40].max() == 0, "the hand does not touch the face"
    assert sun[:14, :16].mean() > 5
    assert sun[50:, 20:44].max() < 1, "the sun falls on the wall, not on the person"


def test_a_scene_at_rest_changes_no_pixel() -> None:
    face_TP = random_face_tracks(np.random.default_rng(1), 20, 25.0)
    still_TC = np.zeros((20, len(SCENE_CHANNELS)), np.float32)
    assert np.array_equal(render_face(person(2), face_TP), render_face(person(2), face_TP, scene_TC=still_TC))
    still_TC[18:] = 1.0
    moved = render_face(person(2), face_TP, scene_TC=still_TC)
    assert np.array_equal(moved[:18], render_face(person(2), face_TP)[:18])
    assert not np.array_equal(moved[18:], render_face(person(2), face_TP)[18:])
    with pytest.raises(ValueError, match="scene tracks have shape"):
        render_face(person(2), face_TP, scene_TC=still_TC[:3])


def test_a_raised_hand_comes_up_smoothly_and_antialiased() -> None:
    steps = np.linspace(0, 1, 12)
    scenes_TC = np.concatenate([scene(hand=float(step)) for step in steps])
    frames = render_face(person(5), np.repeat(tracks(), len(steps), axis=0), scene_TC=scenes_TC).astype(float)
    changes = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    assert changes[0] == 0, "out of sight"
    assert np.all(changes[5:] > 0.3)
    small, large = (render_face(person(5), tracks(), size, scene(hand=1.0))[0].astype(float) for size in (64, 128))
    halved = large.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(halved - small).mean() < 2.5, "the same picture at any size"


def test_clips_with_a_scene_show_hands_and_say_the_same_faces() -> None:
    sizes = {"num_clips": 16, "num_frames": 10, "fps": 25.0, "seed": 4}
    plain, with_scene = FaceClips(**sizes), FaceClips(**sizes, scene_share=1.0)
    moved = 0
    for index in range(16):
        assert plain[index]["face"].equal(with_scene[index]["face"])
        moved += not plain[index]["frames"].equal(with_scene[index]["frames"])
    assert moved >= 8
