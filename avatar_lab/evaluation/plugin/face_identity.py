"""Whether the avatar keeps the face that it starts from: distance of embeddings by dlib's residual network (King 2017,
dlib.net; He et al. 2016, CVPR; 99.4 % on LFW, where pairs nearer than .6 are of one person).

It stands in for CSIM, which is by ArcFace, whose weights no package carries. Compared is with the anchor picture, not
with the recorded frames: so the recorded person itself has a distance, and is the ceiling. Drawn faces may not be taken
for faces at all; then there is no distance, and the share of frames with a face says so.

    P frames   H, W, C picture   E dimensions of an embedding
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from avatar_lab.data.schema import file_sha256
from avatar_lab.evaluation.finding import Finding
from avatar_lab.evaluation.metric.undefined import Array, Undefined
from avatar_lab.evaluation.plugin.faces import Picture, dlib_or_say, find_face
from avatar_lab.evaluation.plugin.packages import packaged_file
from avatar_lab.evaluation.plugin.protocol import Judging, Take

INSTALL = "pip install 'avatar-lab[metrics]'"
EVERY_SECONDS = 1.0
_EMBEDDING, _LANDMARKS = "dlib_face_recognition_resnet_model_v1.dat", "shape_predictor_5_face_landmarks.dat"


@dataclass(frozen=True)
class FaceIdentity(Judging):
    """Faces in one frame a second, the largest of each."""

    name: ClassVar[str] = "face_identity"
    metrics: ClassVar[tuple[str, ...]] = ("face_identity_distance", "face_found_share")
    weights: ClassVar[str] = f"{_EMBEDDING} and {_LANDMARKS} of dlib (CC0), in the package face_recognition_models"

    def identity(self) -> str:
        files = " ".join(file_sha256(_file(name)) for name in (_EMBEDDING, _LANDMARKS))
        return f"{files} dlib {dlib_or_say(INSTALL).__version__}"

    def measure(self, take: Take) -> list[Finding]:
        person_E = embed(take.picture_HWC)
        frames_PHWC = take.media.video_PHWC[:: round(EVERY_SECONDS * take.layout.fps)]
        seen = [face_E for face_E in map(embed, frames_PHWC) if face_E is not None]
        distance: float | Undefined
        if person_E is None:
            distance = Undefined("no face is found in the picture that the avatar starts from")
        elif not seen:
            distance = Undefined(f"no face is found in {len(frames_PHWC)} frames")
        else:
            distance = float(np.linalg.norm(np.stack(seen) - person_E, axis=1).mean())
        share = len(seen) / len(frames_PHWC) if len(frames_PHWC) else Undefined("there are no frames")
        return [
            Finding(metric="face_identity_distance", value=distance, n=len(seen)),
            Finding(metric="face_found_share", value=share, n=len(frames_PHWC)),
        ]


def embed(picture_HWC: Picture) -> Array | None:
    """Embedding (E,) of the largest face of a picture; ``None`` where there is none.

    Raises:
        Unavailable: dlib or its networks are not installed.
    """
    embedding, landmarks = _network()
    face = find_face(picture_HWC, INSTALL)
    if face is None:
        return None
    points = landmarks(face.picture_HWC, face.place)
    return np.array(embedding.compute_face_descriptor(face.picture_HWC, points), dtype=np.float64)


@cache
def _network() -> tuple[Any, Any]:
    embedding, landmarks = (str(_file(name)) for name in (_EMBEDDING, _LANDMARKS))
    dlib = dlib_or_say(INSTALL)
    return dlib.face_recognition_model_v1(embedding), dlib.shape_predictor(landmarks)


def _file(name: str) -> Path:
    return packaged_file("face_recognition_models", f"models/{name}", INSTALL)
