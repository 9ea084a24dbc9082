"""Latency is what the clock and the measured blocks imply."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avatar_lab.evaluation.latency import WARM_UP_BLOCKS, measure_latency, reaction_seconds, summarise_latency
from avatar_lab.evaluation.live import stream_blocks
from avatar_lab.evaluation.media import Media
from avatar_lab.layout import Layout, Stream
from avatar_lab.rollout.session import Script
from tests.factory import CODEBOOKS, LAYOUT
from tests.rollout.test_session import SIZE, session


def test_reactions_lie_between_delay_and_worst_case_and_late_blocks_add() -> None:
    layout = Layout()
    for stream in Stream:
        on_time = np.array(reaction_seconds([0.05] * 10, layout, stream))
        assert layout.earliest_reaction(stream) < on_time.min() < on_time.max() < layout.worst_reaction(stream)
        assert on_time.mean() == pytest.approx(layout.mean_reaction(stream))
        late = np.array(reaction_seconds([layout.budget(stream).compute + 0.5] * 10, layout, stream))
        assert late.mean() == pytest.approx(on_time.mean() + 0.5)


def test_summary_counts_late_blocks_after_the_warm_up() -> None:
    found = summarise_latency([9.0] * WARM_UP_BLOCKS + [0.064] * 99 + [0.32], Layout())
    assert found["blocks"] == 100
    assert found["late_blocks"] == 1
    assert found["block_p50_ms"] == pytest.approx(64)
    assert found["real_time_factor"] == pytest.approx((0.064 * 99 + 0.32) / 32)
    grown = summarise_latency([9.0] * WARM_UP_BLOCKS + [0.05] * 50 + [0.1] * 50, Layout())
    assert (grown["block_p50_first_tenth_ms"], grown["block_p50_last_tenth_ms"]) == pytest.approx((50, 100))
    with pytest.raises(ValueError, match="not enough"):
        summarise_latency([0.1], Layout())


def test_a_live_session_is_fed_block_by_block() -> None:
    num = 8
    user = Media(
        video_PHWC=np.zeros((num * LAYOUT.frames_per_block, SIZE, SIZE, 3), np.uint8),
        audio_S=np.zeros(num * LAYOUT.samples_per_block, np.float32),
    )
    total = num * LAYOUT.audio_per_block
    script = Script(tokens_NK=torch.zeros(total, CODEBOOKS, dtype=torch.long), speech_N=torch.arange(total) < 6)
    for camera in (True, False):
        blocks = list(stream_blocks(session(), user, script, camera=camera))
        assert [block.index for block in blocks[:num]] == list(range(num))
    found = measure_latency(session(), user, script)
    assert found["blocks"] >= num - WARM_UP_BLOCKS
    assert found["encode_p50_ms"] + found["generate_p50_ms"] > 0
