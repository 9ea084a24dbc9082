"""Codec training data: a pure function of seed and index, with targets that fit the sound."""

import pytest
import torch

from avatar_lab.layout import Layout
from avatar_lab.world.tracks import VOICE_RATE
from avatar_lab.world.utterances import Utterances


def test_items_are_pure_functions_of_seed_and_index() -> None:
    first = Utterances(layout=Layout(), size=8, num_tokens=8, seed=0)
    again = Utterances(layout=Layout(), size=100, num_tokens=8, seed=0)
    other = Utterances(layout=Layout(), size=8, num_tokens=8, seed=1)
    _ = first[2]
    assert torch.equal(first[5]["wav_S"], again[5]["wav_S"])
    assert not torch.equal(first[5]["wav_S"], other[5]["wav_S"])
    assert not torch.equal(first[5]["wav_S"], first[6]["wav_S"])


def test_lengths_and_targets() -> None:
    layout = Layout()
    data = Utterances(layout=layout, size=12, num_tokens=16, seed=0)
    for index in range(12):
        item = data[index]
        assert item["wav_S"].shape == (16 * layout.samples_per_token,)
        rows = 16 * layout.samples_per_token * VOICE_RATE // layout.sample_rate
        assert item["f0_R"].shape == item["voicing_R"].shape == (rows,)
        power_R = item["wav_S"].unflatten(0, (rows, -1)).square().mean(-1)
        assert (item["voicing_R"] >= 0).all()
        assert (item["voicing_R"] <= 1).all()
        assert power_R[item["voicing_R"] == 0].median() < 1e-3


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Utterances(layout=Layout(), size=0, num_tokens=4, seed=0)
    with pytest.raises(IndexError, match="of 3"):
        Utterances(layout=Layout(), size=3, num_tokens=4, seed=0)[3]
