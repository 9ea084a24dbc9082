"""Checkpoints: one safetensors file that says what it is and loads without Lightning, Hydra or any config file.

The header holds a ``Card``; the tensors are weights, codebook tables and noise warps. Levels nest: a file of level 3 is
also one of level 2 and level 1, by leaving branches out (``at_level``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.codebook import Codebook
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.diffusion.warp import Warp, Warps
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.model.dit import JointDiT
from avatar_lab.model.video_head import AnchoredHead, CleanHead, VelocityHead

FORMAT = "avatar_lab.checkpoint/2"
"""2: logits are the heads' plus the codebook's likelihood; heads of format 1 expect to stand alone."""
BIDIRECTIONAL_STAGE = "teacher"
"""The one stage whose model sees its own future; all others are causal."""
VIDEO_HEADS = {head.__name__: head for head in (AnchoredHead, CleanHead, VelocityHead)}


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a checkpoint says of itself."""

    stage: str
    """Stage that made it; ``teacher`` is bidirectional, all others are causal."""
    sampler: Sampler
    """Steps it is meant to be sampled with."""
    audio_codec: str
    """Fingerprint of the codec whose tokens it speaks."""
    video_codec: str
    window_blocks: int
    """Blocks of its training windows."""
    lineage: tuple[str, ...] = ()
    """``stage:sha256`` of the weights of every ancestor, and of every model that taught one, oldest first."""
    metrics: dict[str, float] = field(default_factory=dict)
    commit: str = "unknown"
    data_licence: str = "unknown"
    """Licences of all data that it or an ancestor was trained on, with commas; empty before any training."""
    non_commercial: bool = False

    def under(self, licences: Iterable[str], *, non_commercial: bool) -> Card:
        """This card with the terms of further data or of another model added; nothing is ever lifted."""
        joined = {name for names in (self.data_licence, *licences) for name in names.split(", ") if name}
        return replace(
            self,
            data_licence=", ".join(sorted(joined)),
            non_commercial=self.non_commercial or non_commercial,
        )


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model and its card."""

    model: AvatarModel
    card: Card
    loaded_as: str | None = None
    """Signature of the file that it comes from, where it was widened or cut to another level since."""

    @property
    def level(self) -> Level:
        return self.model.level

    @property
    def layout(self) -> Layout:
        return self.model.layout

    @property
    def signature(self) -> str:
        """Stage and digest of the weights, as lineages name it."""
        return self.loaded_as or f"{self.card.stage}:{weights_sha256(self.model)[:16]}"

    def save(self, path: Path, *, half: bool = False) -> None:
        """Write to ``path`` by way of a temporary file; ``half`` stores parameters in float16, for shipping. They are
        computed with in float32 either way; tables and warps keep their precision."""
        net = self.model.net
        header = {
            "format": FORMAT,
            "level": int(net.level),
            "layout": net.layout.to_dict(),
            "net": net.sizes() | {"video_head": type(net.video_head).__name__},
            "codebook": list(net.codebook.tables_KVD.shape),
            "card": asdict(self.card),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        stored = weights(self.model)
        if half:
            stored |= {name: stored[name].half() for name, _ in self.model.named_parameters() if name in stored}
        save_file(stored, temporary, metadata={"avatar_lab": json.dumps(header)})
        temporary.chmod(0o644)  # safetensors writes for the owner only, and groups share their runs
        temporary.replace(path)

    def descend(self, *, taught_by: Checkpoint | None = None, **changes: Any) -> Card:
        """Card of a checkpoint made from this one: lineage grows by this one's stage and weights.

        taught_by  another model that it learns from; the terms of its data hold as well
        """
        taught = () if taught_by is None else (taught_by.signature,)
        lineage = tuple(dict.fromkeys((*self.card.lineage, self.signature, *taught)))
        card = replace(self.card, lineage=lineage, metrics={}, **changes)
        if taught_by is None:
            return card
        return card.under([taught_by.card.data_licence], non_commercial=taught_by.card.non_commercial)


def weights(model: AvatarModel) -> dict[str, torch.Tensor]:
    """Tensors of a model, each once (tables shared inside the network are stored under their first name)."""
    seen: set[int] = set()
    unique = {}
    for name, tensor in model.state_dict().items():
        if tensor.is_meta:  # of a network that is only planned
            unique[name] = tensor
        elif tensor.data_ptr() not in seen or tensor.numel() == 0:
            seen.add(tensor.data_ptr())
            unique[name] = tensor.detach().cpu().contiguous()
    return unique


def weights_sha256(model: AvatarModel) -> str:
    """Digest over names, shapes and bytes of all tensors; independent of how the file was written."""
    digest = sha256()
    for name, tensor in sorted(weights(model).items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        if not tensor.is_meta:
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def build_model(
    *,
    layout: Layout,
    codebook: Codebook,
    level: Level,
    sizes: dict[str, Any],
    video_head: str,
    audio_warp: Warp,
    video_warp: Warp,
) -> AvatarModel:
    """A fresh model of the given sizes.

    Raises:
        ValueError: there is no such video head.
    """
    if video_head not in VIDEO_HEADS:
        raise ValueError(f"unknown video head {video_head!r}; choose one of {sorted(VIDEO_HEADS)}")
    values = sizes | {"grid": tuple(sizes["grid"])}
    net = JointDiT(layout=layout, codebook=codebook, level=level, video_head=VIDEO_HEADS[video_head](), **values)
    return AvatarModel(net=net, warps=Warps(audio=audio_warp, video=video_warp))


def load_checkpoint(
    path: Path, *, audio_codec: str | None = None, video_codec: str | None = None, stages: Sequence[str] = ()
) -> Checkpoint:
    """Read a checkpoint, in evaluation mode.

    audio_codec, video_codec  fingerprints that it must have been trained with, if given
    stages                    stages one of which must have made it, if given

    Raises:
        ValueError: the file is missing, damaged, of another format, of the wrong stage, or trained with other codecs.
    """
    header, tensors = _read(Path(path))
    try:
        card = _card_of(header)
        model = _model_of(header, tensors)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:  # what a header may lack, or tensors differ in
        raise ValueError(f"{path} does not fit its own header ({error!r}): copy or train it again") from error
    if stages and card.stage not in stages:
        wanted = " or ".join(stages)
        raise ValueError(f"{path} was made by stage {card.stage!r}, not {wanted}: point to the {wanted} run's artefact")
    for kind, expected, found in (("audio", audio_codec, card.audio_codec), ("video", video_codec, card.video_codec)):
        if expected is not None and expected != found:
            raise ValueError(
                f"{path} speaks the {kind} codec {found}, but this one is {expected}: use the codec it was trained "
                "with, or train again on data encoded with the new one"
            )
    return Checkpoint(model=model.eval(), card=card)


def read_card(path: Path) -> Card:
    """What a checkpoint says of itself, without reading its tensors.

    Raises:
        ValueError: the file is missing, damaged or of another format.
    """
    header, _ = _read(Path(path), tensors=False)
    try:
        return _card_of(header)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} has a damaged card ({error!r}): copy or train it again") from error


def _card_of(header: dict[str, Any]) -> Card:
    card = Card(**header["card"] | {"sampler": Sampler(**header["card"]["sampler"])})
    return replace(card, lineage=tuple(card.lineage))


def _model_of(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> AvatarModel:
    """The model that a file's header describes, with the file's tensors.

    Raises:
        KeyError, TypeError, AttributeError, RuntimeError: they do not fit together.
    """
    sizes = dict(header["net"])
    head = sizes.pop("video_head")
    with torch.device("cpu"):  # an artefact is real, also where new networks are only described (meta device)
        model = build_model(
            layout=Layout.from_dict(header["layout"]),
            codebook=Codebook(tensors["net.codebook.tables_KVD"]),
            level=Level(header["level"]),
            sizes=sizes,
            video_head=head,
            audio_warp=Warp(),
            video_warp=Warp(),
        )
    own = model.state_dict()
    kinds = [
        name for name, x in tensors.items() if name in own and x.is_floating_point() != own[name].is_floating_point()
    ]
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    absent = set(missing) - (set(own) - set(weights(model)))
    if absent or unexpected or kinds:
        raise RuntimeError(f"missing {sorted(absent)}, unexpected {unexpected}, of another type {kinds}")
    return model


def _read(path: Path, *, tensors: bool = True) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and, where they are wanted, tensors."""
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}: train the stage that makes it first, or correct the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            found = {name: file.get_tensor(name) for name in file.keys() if tensors}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}): copy or train it again") from error
    try:
        header = json.loads(metadata.get("avatar_lab", "{}"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} has a damaged header ({error}): copy or train it again") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{path} is not an avatar_lab checkpoint of format {FORMAT}: train it again with this version")
    return header, found


def at_level(model: AvatarModel, level: Level) -> AvatarModel:
    """The model of a lower (or its own) level inside ``model``, with weights of its own; or of a higher level, the new
    branches fresh and their gates closed, so that it starts as exactly what it came from."""
    return _rebuilt(model, level=level, layout=model.layout)


def with_blocks_of(model: AvatarModel, layout: Layout) -> AvatarModel:
    """The same weights in blocks of another length, as something to train on from.

    Raises:
        ValueError: ``layout`` differs in more than the length of blocks and how many of them are remembered.
    """
    own = model.layout
    if replace(own, block_seconds=layout.block_seconds, history_blocks=layout.history_blocks) != layout:
        raise ValueError(f"only block_seconds and history_blocks may differ between {own} and {layout}")
    return _rebuilt(model, level=model.level, layout=layout)


def _rebuilt(model: AvatarModel, *, level: Level, layout: Layout) -> AvatarModel:
    """A new model with all weights of ``model`` that it has a place for."""
    net = model.net
    with net.codebook.tables_KVD.device:
        other = build_model(
            layout=layout,
            codebook=net.codebook,
            level=level,
            sizes=net.sizes(),
            video_head=type(net.video_head).__name__,
            audio_warp=Warp(),
            video_warp=Warp(),
        )
    other.to(next(model.parameters()).dtype)
    own = other.state_dict()
    other.load_state_dict(own | {name: value for name, value in model.state_dict().items() if name in own})
    return other.train(model.training)
