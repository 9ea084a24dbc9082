"""All plugins by name; ``plugins=[...]`` of an evaluation chooses among them."""

from __future__ import annotations

from avatar_lab.evaluation.plugin.dnsmos import Dnsmos
from avatar_lab.evaluation.plugin.face_identity import FaceIdentity
from avatar_lab.evaluation.plugin.face_landmarks import FaceLandmarks
from avatar_lab.evaluation.plugin.frechet_video import FrechetVideo
from avatar_lab.evaluation.plugin.protocol import Plugin
from avatar_lab.evaluation.plugin.speaker_similarity import SpeakerSimilarity
from avatar_lab.evaluation.plugin.syncnet import SyncNetDistance
from avatar_lab.evaluation.plugin.word_error_rate import WordErrorRate

_ALL = (
    Dnsmos(),
    SpeakerSimilarity(),
    WordErrorRate(),
    FaceIdentity(),
    FaceLandmarks(),
    FrechetVideo(),
    SyncNetDistance(),
)
PLUGINS: dict[str, Plugin] = {plugin.name: plugin for plugin in _ALL}
