"""What is decoded in pieces is what is decoded at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.codec.tiny_video import TinyVideo
from avatar_lab.evaluation import media


def test_sound_and_pictures_do_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = torch.Generator().manual_seed(0)
    audio_codec, video_codec = TinyAudio.load(), TinyVideo.load()
    spec, grid = audio_codec.spec, video_codec.spec
    tokens_AK = torch.randint(spec.codebook_size, (40, spec.num_codebooks), generator=rng)
    latents_FHWC = torch.randn(20, grid.grid_height, grid.grid_width, grid.channels, generator=rng)
    made = []
    for tokens, latents in ((1024, 16), (7, 3)):
        monkeypatch.setattr(media, "TOKENS_PER_PIECE", tokens)
        monkeypatch.setattr(media, "LATENTS_PER_PIECE", latents)
        made.append(media.decode(tokens_AK, latents_FHWC, audio_codec=audio_codec, video_codec=video_codec))
    whole, pieces = made
    assert whole.audio_S.shape == (40 * audio_codec.samples_per_token,)
    assert np.abs(whole.audio_S).max() > 1e-3
    np.testing.assert_allclose(pieces.audio_S, whole.audio_S, atol=1e-4)
    assert np.abs(pieces.video_PHWC.astype(int) - whole.video_PHWC).max() <= 1
