"""Parameters of all preparation steps, and the check that codecs and layout fit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.construct import nearest
from avatar_lab.events.vad import VadRule, VoiceDetector
from avatar_lab.layout import Layout
from data_prep.media.client import MediaLimits
from data_prep.media.faces import MediapipeFaces
from data_prep.steps.augment import AugmentRule
from data_prep.steps.bleed import BleedRule
from data_prep.steps.crop import Crops
from data_prep.steps.features import FeatureRule
from data_prep.steps.motion import MotionReader
from data_prep.steps.sync import SyncRule


@runtime_checkable
class Identified(Protocol):
    """A detector or reader, which says itself what its results depend on."""

    def identity(self) -> dict[str, Any]:
        """As plain values."""


NO_RESULT = frozenset({"work", "limits", "chunk_seconds", "steps"})
"""Settings that bound or choose what runs; all others decide what is in a data set."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Parameters of all steps: a new one is a field here and a key of ``configs/data_prep/paired_files.yaml``."""

    layout: Layout
    work: Path
    limits: MediaLimits = field(default_factory=MediaLimits)
    sync: SyncRule = field(default_factory=SyncRule)
    vad: VoiceDetector = field(default_factory=VadRule)
    bleed: BleedRule = field(default_factory=BleedRule)
    faces: MediapipeFaces | None = None
    """Looks for faces where the data set does not say where they are; ``None``: the whole picture is used then."""
    crops: Crops = field(default_factory=Crops)
    motion: MotionReader | None = None
    """Reads curves of head and face, in which visible events are found."""
    features: FeatureRule | None = None
    """Which of the data set's own arrays come along; ``None``: none."""
    max_mismatch: float = 1.0
    """Largest difference in length between the four streams of an interaction, in seconds."""
    min_seconds: float = 10.0
    chunk_seconds: float = 8.0
    """Stretch that is encoded at once."""
    pictures: int = 4
    """Reference pictures per person."""
    steps: frozenset[str] | None = None
    """Steps to run, ``None`` for all (``selection.chosen_steps``); changes no result."""
    augment: AugmentRule | None = None
    """Live conditions under which each person is encoded once more; ``None``: not at all."""

    @classmethod
    def of(cls, parameters: Mapping[str, Any], *, layout: Layout, work: Path, steps: frozenset[str] | None) -> Settings:
        """Settings with ``parameters`` by names of fields, as a configuration has them; ``None`` is the default.

        Raises:
            ValueError: there is no such field.
        """
        names = [each.name for each in fields(cls)]
        for name in parameters:
            if name not in names:
                raise ValueError(
                    f"the preparation has no setting {name!r}{nearest(name, names)}; "
                    "configs/data_prep/paired_files.yaml lists what can be set"
                )
        given = {name: value for name, value in parameters.items() if value is not None}
        return cls(layout=layout, work=work, steps=steps, **given)

    def stated(self) -> dict[str, Any]:
        """All that decides what is in a data set but the layout, as plain values."""
        names = [each.name for each in fields(self) if each.name not in NO_RESULT | {"layout"}]
        plain = {name: _plain(getattr(self, name)) for name in names}
        if self.motion is not None:  # its identity tells the curves; events are found in them by these
            plain["motion"] |= {"rules": asdict(self.motion.rules)}
        return plain

    @property
    def chunk_tokens(self) -> int:
        """Audio tokens that are encoded at once."""
        return max(1, round(self.chunk_seconds * self.layout.audio_rate))

    @property
    def chunk_frames(self) -> int:
        """Frames that are encoded at once: whole latents."""
        return max(1, round(self.chunk_seconds * self.layout.latent_rate)) * self.layout.frames_per_latent


def _plain(parameter: Any) -> Any:
    """A detector by what its results depend on, a rule by its fields."""
    if isinstance(parameter, Identified):
        return parameter.identity()
    return asdict(parameter) if is_dataclass(parameter) and not isinstance(parameter, type) else parameter


def check_codecs(layout: Layout, audio_codec: AudioCodec, video_codec: VideoCodec) -> None:
    """Refuse codecs on other grids than the layout's.

    Raises:
        ValueError: with the rate that differs.
    """
    audio, video = audio_codec.spec, video_codec.spec
    for name, codec_has, layout_has in (
        ("sample rate", audio.sample_rate, layout.sample_rate),
        ("audio token rate", audio.token_rate, layout.audio_rate),
        ("frames per latent", video.frames_per_latent, layout.frames_per_latent),
    ):
        if codec_has != layout_has:
            raise ValueError(f"{name}: the codec has {codec_has}, the layout {layout_has}; choose matching ones")
