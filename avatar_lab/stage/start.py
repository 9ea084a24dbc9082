"""How a role starts: fresh, or from the artefact of an earlier stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.checkpoint import Card, Checkpoint, at_level, build_model, load_checkpoint, with_blocks_of
from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.diffusion.warp import Warp
from avatar_lab.layout import Layout
from avatar_lab.level import Level


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Size of the transformer; the one dial of a scale-up. ``patch`` is the edge of a patch on the latent grid."""

    width: int
    num_heads: int
    num_layers: int
    patch: int
    feed_forward_ratio: float = 4
    """Hidden width of the feed-forward over ``width``; rounded to whole channels."""
    video_head: str = "CleanHead"
    video_shift: float = 1.0
    """Shift of the video warp; above 1 puts more of ``u`` at high noise."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Clock and codecs of a run: what every role must fit."""

    layout: Layout
    audio_codec: AudioCodec
    video_codec: VideoCodec


Imagine = Callable[[str, Level, Setting], Checkpoint]
"""Stage, level and setting -> what that stage would hand on, on the meta device."""
_IMAGINE: ContextVar[Imagine | None] = ContextVar("imagine", default=None)


@contextmanager
def imagined_artefacts(imagine: Imagine) -> Iterator[None]:
    """Let stages start from networks that no run has made yet, to see what they would cost."""
    token = _IMAGINE.set(imagine)
    try:
        yield
    finally:
        _IMAGINE.reset(token)


def network(roles: nn.ModuleDict, role: str) -> AvatarModel:
    """The model that plays ``role``."""
    model = roles[role]
    assert isinstance(model, AvatarModel)
    return model


def fresh(*, size: ModelSize, setting: Setting, level: Level, window_blocks: int, num_steps: int = 32) -> Checkpoint:
    """A model with random weights that speaks the given codecs, sampled by ``num_steps`` of the ODE.

    Raises:
        ValueError: codec rates do not fit the layout.
    """
    check_rates(setting)
    spec = setting.video_codec.spec
    grid = (spec.grid_height, spec.grid_width, spec.channels)
    model = build_model(
        layout=setting.layout,
        codebook=setting.audio_codec.codebook,
        level=level,
        sizes={
            "grid": grid,
            "user_width": spec.grid_height * spec.grid_width * spec.channels,
            "width": size.width,
            "num_heads": size.num_heads,
            "num_layers": size.num_layers,
            "patch": size.patch,
            "feed_forward_ratio": size.feed_forward_ratio,
        },
        video_head=size.video_head,
        audio_warp=Warp(),
        video_warp=Warp(shift=size.video_shift),
    )
    card = Card(
        stage="fresh",
        sampler=Sampler.ode(num_steps),
        audio_codec=setting.audio_codec.spec.fingerprint,
        video_codec=spec.fingerprint,
        window_blocks=window_blocks,
        data_licence="",
    )
    return Checkpoint(model=model, card=card)


def started_from(
    path: str, *, level: Level, setting: Setting, stage: str | Sequence[str], other_blocks: bool = False
) -> Checkpoint:
    """The artefact of an earlier stage (one of several, if so given), at ``level``.

    other_blocks  its blocks may have had another length; it is given those of the setting

    Raises:
        ValueError: it is missing, from the wrong stage, of another layout, or speaks other codecs.
    """
    stages = [stage] if isinstance(stage, str) else stage
    imagine = _IMAGINE.get()
    if imagine is not None:
        return imagine(stages[0], level, setting)
    found = load_checkpoint(
        Path(path),
        audio_codec=setting.audio_codec.spec.fingerprint,
        video_codec=setting.video_codec.spec.fingerprint,
        stages=stages,
    )
    signature = found.signature  # before branches are added, whose random weights differ between kinds of processors
    if other_blocks:
        found = Checkpoint(model=with_blocks_of(found.model, setting.layout), card=found.card)
    if found.layout != setting.layout:
        raise ValueError(f"{path} was trained with another layout ({found.layout}); use layout of that run")
    if found.level < level and not (found.level == Level.LISTEN and level == Level.SEE):
        raise ValueError(f"{path} is of level {found.level.name}; this stage needs {level.name}: train that one first")
    return Checkpoint(model=at_level(found.model, level), card=found.card, loaded_as=signature)


def few_step_start(
    init: str, *, steps: Sequence[float], snap: bool = True, renoise: float = 1.0, stage: str, setting: Setting
) -> Checkpoint:
    """The autoregressive model at level 2 as a student of ``stage`` starts from it, sampled by ``steps`` in u.

    The last step is lowered if its audio noise would be too high to read tokens from.

    Raises:
        ValueError: as :func:`started_from`, or no last step is low enough.
    """
    parent = started_from(init, stage="autoregressive", level=Level.LISTEN, setting=setting)
    sampler = Sampler(steps=tuple(steps), renoise=renoise, snap=snap).readable(parent.model.warps)
    sampler.check(parent.model.warps)
    return Checkpoint(model=parent.model, card=replace(parent.descend(stage=stage), sampler=sampler))


def levels_in(level2: AvatarModel, card: Card) -> dict[str, Checkpoint]:
    """Level 2, and level 1 inside it, by file stem."""
    return {
        "level1": Checkpoint(model=at_level(level2, Level.TALK), card=card),
        "level2": Checkpoint(model=level2, card=card),
    }


def check_rates(setting: Setting) -> None:
    """Refuse codecs whose grids are not the layout's.

    Raises:
        ValueError: naming the number that differs.
    """
    layout, audio, video = setting.layout, setting.audio_codec.spec, setting.video_codec.spec
    for what, codec_value, layout_value in (
        ("sample rate", audio.sample_rate, layout.sample_rate),
        ("audio token rate", audio.token_rate, layout.audio_rate),
        ("frames per latent", video.frames_per_latent, layout.frames_per_latent),
    ):
        if codec_value != layout_value:
            raise ValueError(
                f"codec {what} {codec_value} differs from the layout's {layout_value}: choose layout= to fit"
            )
