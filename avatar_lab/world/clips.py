"""Random clips of random people: the training data of the video codec and of the pixel reader.

P frames   H, W, C picture (or C scene channels)   T face channels
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from avatar_lab.world.appearance import Appearance
from avatar_lab.world.dialogue import SIDES
from avatar_lab.world.face import render_face
from avatar_lab.world.graph import world_v1
from avatar_lab.world.random_motion import random_face_tracks, random_scene_tracks
from avatar_lab.world.simulate import simulate

WORLD_FPS = 25.0
_WARM_UP_SECONDS = 5.0


class FaceClips(Dataset[dict[str, Tensor]]):
    """Clips rendered on demand; clip ``index`` is a pure function of ``(seed, index)``. Each shows another person.

    Items hold ``frames`` (P, H, W, C) uint8 and ``face`` (P, T) float32, the channels that were rendered.

    Args:
        num_clips: length of the dataset.
        num_frames: frames per clip.
        fps: frame rate of the motion.
        seed: training and held-out people differ in this.
        size: pixels per side.
        still_share: share of clips in which nothing moves, as in a reference picture.
        conversation_share: share of clips that move as in a conversation, where small motions matter; else randomly.
        scene_share: share of clips in which a hand may be raised and the light on the wall may change, as they do in
            the calibrated world; the channels of the face do not tell.

    Raises:
        ValueError: a length is not positive, or conversations are asked for at a rate other than the world's.
    """

    def __init__(
        self,
        *,
        num_clips: int,
        num_frames: int,
        fps: float,
        seed: int,
        size: int = 64,
        still_share: float = 0.1,
        conversation_share: float = 0.0,
        scene_share: float = 0.0,
    ) -> None:
        if num_clips < 1 or num_frames < 1:
            raise ValueError(f"num_clips {num_clips} and num_frames {num_frames} must be at least 1")
        if conversation_share and fps != WORLD_FPS:
            raise ValueError(f"conversations are simulated at {WORLD_FPS:g} fps, not {fps:g}: set conversation_share 0")
        self.num_clips, self.num_frames, self.fps = num_clips, num_frames, fps
        self.seed, self.size, self.still_share = seed, size, still_share
        self.conversation_share, self._graph = conversation_share, world_v1()
        self.scene_share = scene_share

    def __len__(self) -> int:
        return self.num_clips

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.num_clips:
            raise IndexError(f"clip {index} of {self.num_clips}")
        rng = np.random.default_rng((self.seed, index))
        person = Appearance.sample(rng)
        conversing = self.conversation_share > 0 and rng.random() < self.conversation_share
        face_PT = self._conversation(rng) if conversing else random_face_tracks(rng, self.num_frames, self.fps)
        if rng.random() < self.still_share:
            face_PT = np.repeat(face_PT[:1], self.num_frames, axis=0)
        scene_PC = None
        if self.scene_share and rng.random() < self.scene_share:
            scene_PC = random_scene_tracks(rng, self.num_frames, self.fps)
        frames_PHWC = render_face(person, face_PT, self.size, scene_PC)
        return {"frames": torch.from_numpy(frames_PHWC), "face": torch.from_numpy(face_PT)}

    def _conversation(self, rng: np.random.Generator) -> np.ndarray:
        """A stretch (P, T) from the middle of a conversation of its own."""
        seconds = _WARM_UP_SECONDS + self.num_frames / self.fps + 1
        dialogue = simulate(int(rng.integers(2**31)), seconds, graph=self._graph)
        start = int(_WARM_UP_SECONDS * self.fps)
        return dialogue.tracks[rng.choice(SIDES)].face_TP[start : start + self.num_frames].astype(np.float32)
