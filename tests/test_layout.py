"""The clock: both tested grids, visibility, latency sums, refusals."""

from __future__ import annotations

from fractions import Fraction

import pytest

from avatar_lab.layout import DelayBudget, Layout, Stream

FPS30 = Layout(fps=30, block_seconds=Fraction(2, 5))


def test_default_grid() -> None:
    layout = Layout()
    assert (layout.audio_per_block, layout.latents_per_block, layout.frames_per_block) == (4, 2, 8)
    assert layout.samples_per_token == 1920
    assert layout.samples_per_block == 7680
    assert layout.latent_rate == Fraction(25, 4)
    assert layout.num_blocks(10.0) == 31


def test_thirty_fps_grid() -> None:
    assert (FPS30.audio_per_block, FPS30.latents_per_block, FPS30.frames_per_block) == (5, 3, 12)
    assert FPS30.samples_per_block == 9600


@pytest.mark.parametrize("layout", [Layout(), FPS30])
@pytest.mark.parametrize("stream", list(Stream))
def test_a_block_sees_what_ended_at_or_before_its_start_minus_the_delay(layout: Layout, stream: Stream) -> None:
    for block in range(30):
        end = layout.visible_end(stream, block)
        limit = block * layout.block_seconds - Fraction(layout.delay(stream)).limit_denominator(10_000)
        assert end * layout.grid(stream) <= limit
        assert (end + 1) * layout.grid(stream) > limit
    assert layout.delay(stream) >= layout.budget(stream).total
    assert layout.delay(stream) - layout.budget(stream).total < layout.grid(stream)


def test_reaction_latency_is_earliest_mean_and_worst() -> None:
    layout = Layout()
    assert layout.earliest_reaction(Stream.USER_AUDIO) == pytest.approx(0.24)
    assert layout.mean_reaction(Stream.USER_AUDIO) == pytest.approx(0.40)
    assert layout.worst_reaction(Stream.USER_AUDIO) == pytest.approx(0.56)
    assert layout.worst_reaction(Stream.USER_VIDEO) == pytest.approx(0.64)


def test_slow_reactions_are_refused_with_the_sum() -> None:
    slow = DelayBudget(encode=0.1, compute=0.6, decode=0.1, transport=0.1)
    with pytest.raises(ValueError, match=r"1\.28 s > 1 s: block 0\.32 \+ delay 0\.96 .*compute 0\.6"):
        Layout(user_audio_delay=slow)
    assert Layout(user_audio_delay=slow, allow_slow_reaction=True).worst_reaction(Stream.USER_AUDIO) > 1


@pytest.mark.parametrize("block", [Fraction(1, 4), Fraction(4, 25), Fraction(1, 3)])
def test_blocks_without_whole_tokens_are_refused(block: Fraction) -> None:
    if block == Fraction(4, 25):
        assert Layout(block_seconds=block).latents_per_block == 1
        return
    with pytest.raises(ValueError, match="choose block_seconds"):
        Layout(block_seconds=block)


def test_a_resting_look_of_one_token_is_refused() -> None:
    with pytest.raises(ValueError, match="or 0 for raw features"):
        Layout(rest_seconds=Fraction(1, 5))
    assert Layout(rest_seconds=Fraction(0)).rest_tokens(Stream.USER_VIDEO) == 0


def test_lead_covers_everything_that_the_first_block_can_reach() -> None:
    for layout in (Layout(), FPS30):
        for stream in Stream:
            folded = layout.stack_tokens(stream) - 1 + max(0, layout.rest_tokens(stream) - 1)
            reach = layout.visible_span(stream) + folded + layout.delay_tokens(stream)
            assert layout.lead_tokens(stream) >= reach
            assert layout.lead_tokens(stream) % layout.per_block(stream) == 0


def test_audio_tokens_of_a_latent_overlap_it() -> None:
    assert Layout().audio_of_latent(3) == range(6, 8)
    assert FPS30.audio_of_latent(1) == range(1, 4)


def test_layout_survives_its_dictionary() -> None:
    assert Layout.from_dict(FPS30.to_dict()) == FPS30
