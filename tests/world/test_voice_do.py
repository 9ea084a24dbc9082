"""An intervention on the voice leaves the sound before it as it was: noise belongs to pulses, not to a count."""

from __future__ import annotations

import numpy as np

from avatar_lab.world.speech import speech_rows
from avatar_lab.world.tracks import VOICE_CHANNELS, VOICE_RATE
from avatar_lab.world.voice import Voice, synthesize


def test_lower_pitch_later_changes_no_earlier_sample() -> None:
    rate, change_at = 24_000, 2.0
    voice = Voice.sample(np.random.default_rng(3))
    rows = speech_rows(np.random.default_rng(1), voice, 4.0, final_fall=False)
    lowered = rows.copy()
    lowered[int(change_at * VOICE_RATE) :, VOICE_CHANNELS.index("f0")] *= 0.7
    before, after = (synthesize(voice, r, rate, np.random.default_rng(5)) for r in (rows, lowered))
    safe = int((change_at - 0.05) * rate)
    assert np.array_equal(before[:safe], after[:safe])
    assert not np.allclose(before[int((change_at + 0.2) * rate) :], after[int((change_at + 0.2) * rate) :])
