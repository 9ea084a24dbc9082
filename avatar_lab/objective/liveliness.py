"""Does a student still live? How much its rollouts move and sound, as multiples of the recordings in the same windows.

Distillation by distribution matching can end in a still face or in silence while its losses fall; these two numbers
show it at once. 1 is as in the recordings, 0 is a photograph.

    B windows   A audio tokens   F latents   D width of the codebook
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar_lab.tensors import AVState

_NOTHING = 1e-6
"""Below it the recordings themselves hold nothing to compare with."""


def liveliness(
    made: AVState, recorded: AVState, *, silence_D: Tensor, audio_BA: Tensor, video_BF: Tensor
) -> dict[str, Tensor]:
    """``rollout/motion`` and ``rollout/sound``, each left out where the recordings have none in these windows.

    made, recorded      of the same windows: embedded tokens and latents
    silence_D           embedding of silence
    audio_BA, video_BF  bool: generated and recorded, so that the two can be compared
    """
    steady_BF = video_BF[:, 1:] & video_BF[:, :-1]
    motion = [x.video_BFHWC.diff(dim=1).square().mean((2, 3, 4))[steady_BF] for x in (made, recorded)]
    sound = [(x.audio_BAD - silence_D).square().mean(-1)[audio_BA] for x in (made, recorded)]
    found = {}
    for name, (own, reference) in {"rollout/motion": motion, "rollout/sound": sound}.items():
        if len(reference) and float(reference.mean()) > _NOTHING:
            found[name] = torch.sqrt(own.mean() / reference.mean())
    return found
