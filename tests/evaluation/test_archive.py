"""Observations come back from disk to the bit, and those of other settings or damaged files are made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from avatar_lab.evaluation.archive import observations_path, read_observations, write_observations
from avatar_lab.evaluation.metric.own_sound import OwnSound
from avatar_lab.evaluation.metric.picture import Look
from avatar_lab.evaluation.metric.voice import Voice
from avatar_lab.evaluation.observation import Observation
from avatar_lab.perception.pixel_reader import READ_CHANNELS
from tests.evaluation.planted import act, conversation


def observed(number: int) -> Observation:
    rng = np.random.default_rng(number)
    f0_R = np.where(rng.random(400) < 0.5, np.nan, rng.normal(size=400))
    return replace(
        act("oracle", conversation(number, "a")),
        channels_PC=rng.normal(size=(100, len(READ_CHANNELS))).astype(np.float32).astype(np.float64),
        voice=Voice(f0_R=f0_R, level_R=rng.normal(size=400)),
        look=Look(luma_P=rng.random(20), saturation_P=rng.random(20), sharpness_P=rng.random(20)),
        own_sound=OwnSound(
            tokens_AK=rng.integers(2048, size=(50, 8), dtype=np.uint16),
            open_A=rng.random(50) < 0.5,
            spectra_RD=rng.integers(256, size=(200, 16), dtype=np.uint8),
            num_entries=2048,
        ),
    )


def test_observations_come_back_to_the_bit(tmp_path: Path) -> None:
    made = {"d0-a": observed(0), "d1-a": observed(1), "d2-a": act("frozen", conversation(2, "a"))}
    write_observations(tmp_path, "oracle", made, "sha")
    found = read_observations(tmp_path, "oracle", "sha")
    assert found is not None
    assert list(found) == list(made)
    for name, before in made.items():
        after = found[name]
        for field in ("channels_PC", "jaw_P", "envelope_P"):
            np.testing.assert_array_equal(getattr(after, field), getattr(before, field), err_msg=field)
        assert after.speech == before.speech
        assert sorted((e.type, e.start, e.end, e.strength) for e in after.events) == sorted(
            (e.type, e.start, e.end, e.strength) for e in before.events
        )
        assert (after.voice is None) == (before.voice is None)
        if before.voice is not None and after.voice is not None:
            np.testing.assert_array_equal(after.voice.f0_R, before.voice.f0_R)
        if before.look is not None and after.look is not None:
            np.testing.assert_array_equal(after.look.sharpness_P, before.look.sharpness_P)
        assert (after.own_sound is None) == (before.own_sound is None)
        if before.own_sound is not None and after.own_sound is not None:
            assert after.own_sound.num_entries == 2048
            for field in ("tokens_AK", "open_A", "spectra_RD"):
                was, now = getattr(before.own_sound, field), getattr(after.own_sound, field)
                np.testing.assert_array_equal(now, was, err_msg=field)
                assert now.dtype == was.dtype, field


def test_what_is_of_other_settings_or_damaged_is_not_used(tmp_path: Path) -> None:
    assert read_observations(tmp_path, "oracle", "sha") is None
    write_observations(tmp_path, "oracle", {"d0-a": observed(0)}, "sha")
    assert read_observations(tmp_path, "oracle", "other") is None
    assert read_observations(tmp_path, "oracle") is not None
    path = observations_path(tmp_path, "oracle")
    path.write_bytes(path.read_bytes()[:-400])
    assert read_observations(tmp_path, "oracle", "sha") is None
