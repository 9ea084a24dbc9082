from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar_lab.data.dataset import DyadData
from avatar_lab.data.windows import WindowId, cut_window, stack_windows, voice_start
from avatar_lab.layout import Layout, Stream
from tests.data.small_dataset import SILENCE, random_interaction, write_dataset

LAYOUTS = [Layout(), Layout(fps=Fraction(30), block_seconds=Fraction(2, 5))]


def _cut(layout: Layout, *, start: int, blocks: int, seconds: float = 40.0, side: str = "a"):  # type: ignore[no-untyped-def]
    interaction = random_interaction("d0", seconds=seconds, layout=layout)
    window = WindowId(key="d0", side=side, start_block=start, num_blocks=blocks)
    cut = cut_window(interaction, window, layout=layout, silence_K=np.asarray(SILENCE, np.uint16))
    return interaction, stack_windows([cut])


@pytest.mark.parametrize("layout", LAYOUTS, ids=["fps25", "fps30"])
@pytest.mark.parametrize("side", ["a", "b"])
def test_window_lies_on_the_block_grid(layout: Layout, side: str) -> None:
    start, blocks = 31, 6
    interaction, batch = _cut(layout, start=start, blocks=blocks, side=side)
    avatar, user = interaction.sides[side], interaction.sides["b" if side == "a" else "a"]
    first = start * layout.audio_per_block
    length = blocks * layout.audio_per_block + layout.script_lookahead
    np.testing.assert_array_equal(batch.audio_BEK[0], avatar.audio_tokens[first : first + length].astype(np.int64))
    np.testing.assert_array_equal(batch.script_BE[0], avatar.script[first : first + length])
    latent = start * layout.latents_per_block
    assert batch.video_BFHWC[0, 0, 0, 0, 0] == latent
    assert batch.video_BFHWC.shape[1] == blocks * layout.latents_per_block
    lead = layout.lead_tokens(Stream.USER_AUDIO)
    assert batch.user_audio_BTK[0, lead, 0] == first
    np.testing.assert_array_equal(
        batch.user_audio_BTK[0], user.audio_tokens[first - lead : first + blocks * layout.audio_per_block]
    )
    video_lead = layout.lead_tokens(Stream.USER_VIDEO)
    assert batch.user_video_BGU[0, video_lead, 0] == latent
    assert batch.user_audio_valid_BT.all()
    assert batch.user_video_valid_BG.all()
    assert batch.audio_BEK.dtype == torch.int64
    assert batch.video_BFHWC.dtype == torch.float32


def test_before_the_start_is_silence_and_invalid() -> None:
    layout = Layout()
    _, batch = _cut(layout, start=0, blocks=5)
    lead = layout.lead_tokens(Stream.USER_AUDIO)
    assert not batch.user_audio_valid_BT[0, :lead].any()
    assert batch.user_audio_valid_BT[0, lead:].all()
    assert (batch.user_audio_BTK[0, :lead] == torch.tensor(SILENCE)).all()
    assert batch.user_audio_BTK[0, lead, 0] == 0
    video_lead = layout.lead_tokens(Stream.USER_VIDEO)
    assert not batch.user_video_valid_BG[0, :video_lead].any()
    assert not batch.user_video_BGU[0, :video_lead].any()


def test_look_ahead_past_the_end_is_silence_and_invalid() -> None:
    layout = Layout()
    interaction, batch = _cut(layout, start=115, blocks=10, seconds=40.0)
    end = 125 * layout.audio_per_block
    inside = len(interaction.sides["a"].audio_tokens) - end
    assert 0 <= inside < layout.script_lookahead
    tail = batch.audio_BEK[0, 10 * layout.audio_per_block + inside :]
    assert (tail == torch.tensor(SILENCE)).all()
    assert not batch.audio_valid_BE[0, 10 * layout.audio_per_block + inside :].any()
    assert not batch.script_BE[0, 10 * layout.audio_per_block + inside :].any()
    with pytest.raises(ValueError, match="does not fit"):
        _cut(layout, start=116, blocks=10, seconds=40.0)


def test_anchor_comes_from_outside_the_window() -> None:
    layout = Layout()
    sound = np.zeros(500, bool)
    sound[100:160] = True
    sound[300:330] = True
    assert 100 <= voice_start(sound, layout=layout, start=200, end=280) <= 160 - layout.anchor_tokens
    inside = voice_start(sound, layout=layout, start=90, end=170)
    assert inside >= 170 or inside + layout.anchor_tokens <= 90
    assert sound[inside : inside + layout.anchor_tokens].sum() == 30
    whole = voice_start(sound, layout=layout, start=0, end=500)
    assert sound[whole : whole + layout.anchor_tokens].all()
    with pytest.raises(ValueError, match="shorter than the anchor"):
        voice_start(sound[:20], layout=layout, start=0, end=10)


def test_picture_comes_from_outside_the_window() -> None:
    layout = Layout()
    _, early = _cut(layout, start=0, blocks=5)
    _, late = _cut(layout, start=31, blocks=5)
    assert (early.anchor.picture_BHWC == 2).all()
    assert (late.anchor.picture_BHWC == 1).all()
    assert early.anchor.present_B.all()


def test_sample_identity_tells_windows_apart() -> None:
    ids = {
        WindowId(key=key, side=side, start_block=start, num_blocks=5).sample
        for key in ("d0", "d1")
        for side in ("a", "b")
        for start in range(50)
    }
    assert len(ids) == 200
    assert all(0 <= identity < 2**63 for identity in ids)
    assert WindowId(key="d0", side="a", start_block=3, num_blocks=5).sample == 4567040917309164855


def test_conversation_is_all_whole_blocks(dataset: Path) -> None:
    layout = Layout()
    data = DyadData(root=dataset, layout=layout, batch_size=2, num_blocks=5, seed=0)
    batch = data.conversation("d3", "b")
    blocks = layout.num_blocks(12.5)
    assert batch.size == 1
    assert batch.video_BFHWC.shape[1] == blocks * layout.latents_per_block
    assert batch.audio_BEK.shape[1] == blocks * layout.audio_per_block + layout.script_lookahead
    with pytest.raises(ValueError, match="side 'c'"):
        data.conversation("d3", "c")


def test_shards_of_the_second_layout(tmp_path: Path) -> None:
    layout = LAYOUTS[1]
    write_dataset(tmp_path, lengths={"d0": 20.0}, layout=layout)
    data = DyadData(root=tmp_path, layout=layout, batch_size=2, num_blocks=4, seed=0)
    assert data.batch(0).video_BFHWC.shape[1] == 12
