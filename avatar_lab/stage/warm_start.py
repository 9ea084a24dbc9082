"""Warm start: the weights of Wan's video diffusion transformer in the trunk's video path, with a report of every key.

Wan (Wan Team 2025, arXiv:2503.20314) is read in the layout of diffusers' ``WanTransformer3DModel``. Its patch and
noise embedding, modulation, self-attention, feed-forward and head have the shapes and the order of this trunk's; a
timestep there is 1000 times a noise level here. What is promised (``tests/stage/test_warm_start.py``): with the keys of
audio tokens hidden, the network returns what Wan returns when Wan's text cross-attention adds nothing.

Text has no counterpart here, so Wan's cross-attention (``attn2``) and text embedding stay unused. The conditions'
attention that stands in its place is new, and its output is set to zero, as the gates of the branches are: it does not
disturb what was learned until it has learned something itself. Audio tokens are new and visible from the first step on.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from avatar_lab.checkpoint import Checkpoint
from avatar_lab.codec.pretrained import PretrainedFolder
from avatar_lab.model.dit import JointDiT
from avatar_lab.model.video_head import VelocityHead

log = logging.getLogger(__name__)

STEM = "diffusion_pytorch_model"
"""Weight file of a diffusers model, without its ending."""
WHOLE = {
    "patch_embedding": "patches.embed",
    "condition_embedder.time_embedder.linear_1": "noise.mlp.0",
    "condition_embedder.time_embedder.linear_2": "noise.mlp.2",
    "condition_embedder.time_proj": "noise.modulation.1",
    "scale_shift_table": "scale_shift_out",
    "proj_out": "video_out",
}
"""Modules and parameters of Wan, and what they are here."""
PER_LAYER = {
    "scale_shift_table": "scale_shift_table",
    "attn1.to_q": "attention.q",
    "attn1.to_k": "attention.k",
    "attn1.to_v": "attention.v",
    "attn1.to_out.0": "attention.o",
    "attn1.norm_q": "attention.norm_q",
    "attn1.norm_k": "attention.norm_k",
    "norm2": "norm2",
    "ffn.net.0.proj": "feed_forward.0",
    "ffn.net.2": "feed_forward.2",
}
"""The same inside ``blocks.<i>`` there and ``layers.<i>`` here."""
REQUIRED = {
    "_class_name": "WanTransformer3DModel",
    "qk_norm": "rms_norm_across_heads",
    "cross_attn_norm": True,
    "eps": 1e-6,
    "added_kv_proj_dim": None,
    "image_dim": None,
}
"""What ``config.json`` must say; image-to-video Wan differs in the last two or in its channels."""


@dataclass(frozen=True, kw_only=True)
class WarmStartReport:
    """What became of every key."""

    mapped: dict[str, str]
    """Wan's key to the parameter that now holds it."""
    new: tuple[str, ...]
    """Parameters that start at random (or at zero, as any fresh network's)."""
    zeroed: tuple[str, ...]
    """New parameters set to zero by the warm start."""
    unused: tuple[str, ...]
    """Wan's keys without a counterpart."""

    def lines(self) -> list[str]:
        """Counts, then every key; layers that share a fate share a line."""
        mapped = [f"{theirs} -> {ours}" for theirs, ours in self.mapped.items()]
        groups = {"mapped": mapped, "new": self.new, "new, zeroed": self.zeroed, "unused": self.unused}
        found = ["warm start: " + ", ".join(f"{len(keys)} {fate}" for fate, keys in groups.items())]
        for fate, keys in groups.items():
            counts = Counter(re.sub(r"\b(blocks|layers)\.\d+\.", r"\1.*.", key) for key in keys)
            found += [f"  {fate}: {key}" + (f" ({count} layers)" if count > 1 else "") for key, count in counts.items()]
        return found


class WanWeights:
    """Weights of a text-to-video Wan on disk; nothing is downloaded.

    folder  a diffusers ``transformer`` folder with ``config.json`` and safetensors (in one file or sharded), or one
            such file with ``config.json`` beside it

    Raises:
        ValueError: it is missing or incomplete, or the network in it is of another architecture.
    """

    def __init__(self, *, folder: str) -> None:
        path = Path(folder).expanduser()
        if not path.exists():
            raise ValueError(
                f"there is no {path}: give the transformer folder of a Wan in diffusers' layout, for example of `hf "
                "download Wan-AI/Wan2.1-T2V-1.3B-Diffusers --include 'transformer/*'`"
            )
        if path.is_dir() and (path / "transformer").is_dir():
            raise ValueError(f"{path} holds a whole pipeline: give {path / 'transformer'}")
        place, stem = (path, STEM) if path.is_dir() else (path.parent, path.name.removesuffix(".safetensors"))
        self.found = PretrainedFolder.find(place, stem=stem)
        said = self.found.config
        differing = [
            f"{key} {said.get(key)!r} instead of {value!r}" for key, value in REQUIRED.items() if said.get(key) != value
        ]
        channels = {said.get("in_channels"), said.get("out_channels") or said.get("in_channels")}
        if len(channels) > 1:
            differing.append(f"in_channels {said.get('in_channels')} for out_channels {said.get('out_channels')}")
        if differing:
            raise ValueError(f"{path} is no text-to-video Wan ({'; '.join(differing)}): give one, such as Wan 2.1 T2V")

    def warm(self, start: Checkpoint) -> Checkpoint:
        """``start`` with these weights in its network, and in its lineage; the report is logged. On the meta device
        only sizes are checked.

        Raises:
            ValueError: sizes differ (each is named), or the files are damaged or lack a key.
        """
        for line in self.apply(start.model.net).lines():
            log.info("%s", line)
        if start.model.net.scale_shift_out.is_meta:
            return start
        card = start.card.under(["undisclosed (pretraining of Wan)"], non_commercial=False)
        return replace(start, card=replace(card, lineage=(*card.lineage, f"wan:{self.found.fingerprint()}")))

    @torch.no_grad()
    def apply(self, net: JointDiT) -> WarmStartReport:
        """Copy every tensor that has a counterpart; errors as of :meth:`warm`."""
        _check_sizes(self.found.config, net)
        parameters = dict(net.named_parameters())
        mapped, unused, tensors = {}, [], {}
        for file in self.found.weights:
            try:
                with safe_open(file, framework="pt", device="cpu") as content:
                    for key in content.keys():  # noqa: SIM118 (not a mapping)
                        ours = counterpart(key)
                        if ours is None:
                            unused.append(key)
                            continue
                        shape = content.get_slice(key).get_shape()
                        expected = parameters[ours].shape if ours in parameters else None
                        if arranged(key, torch.empty(shape, device="meta")).shape != expected:
                            raise ValueError(
                                f"{file}: {key} {tuple(shape)} does not fit its config.json; fetch it again"
                            )
                        if not parameters[ours].is_meta:
                            tensors[ours] = arranged(key, content.get_tensor(key))
                        mapped[key] = ours
            except (SafetensorError, OSError) as error:
                raise ValueError(f"{file} is damaged ({error}): fetch it again") from error
        lacking = sorted({name for name in parameters if in_video_path(name)} - set(mapped.values()))
        if lacking:
            raise ValueError(f"{self.found.path} has nothing for {', '.join(lacking)}: fetch its weights again")
        for name, tensor in tensors.items():  # only now: a file that does not fit leaves the network as it was
            parameters[name].copy_(tensor)
        zeroed = tuple(f"layers.{index}.conditions.o.weight" for index in range(len(net.layers)))
        for name in zeroed:
            nn.init.zeros_(parameters[name])
        new = tuple(name for name in parameters if name not in {*mapped.values(), *zeroed})
        return WarmStartReport(mapped=mapped, new=new, zeroed=zeroed, unused=tuple(sorted(unused)))


def counterpart(key: str) -> str | None:
    """Parameter of :class:`JointDiT` that a key of Wan's belongs to, if there is one."""
    place, rest, table = "", key, WHOLE
    if layer := re.fullmatch(r"blocks\.(\d+)\.(.+)", key):
        place, rest, table = f"layers.{layer[1]}.", layer[2], PER_LAYER
    if rest in table:
        return place + table[rest]
    module, _, kind = rest.rpartition(".")
    return f"{place}{table[module]}.{kind}" if module in table else None


def in_video_path(name: str) -> bool:
    """Must a parameter of :class:`JointDiT` come from Wan?"""
    layer = re.fullmatch(r"layers\.\d+\.(.+)", name)
    rest, table = (layer[1], PER_LAYER) if layer else (name, WHOLE)
    return bool({rest, rest.rpartition(".")[0]} & set(table.values()))


def arranged(key: str, value: Tensor) -> Tensor:
    """A tensor of Wan's in this trunk's order: a patch is (row, column, channel) here, and tables have no batch."""
    if key == "patch_embedding.weight":
        return rearrange(value, "d c t p q -> d (t p q c)")
    return value.squeeze(0) if key.endswith("scale_shift_table") else value


def _check_sizes(config: dict[str, Any], net: JointDiT) -> None:
    if not isinstance(net.video_head, VelocityHead):
        raise ValueError("Wan predicts the velocity itself: set model.video_head=VelocityHead")
    hidden = net.get_parameter("layers.0.feed_forward.0.weight").shape[0]
    heads, ours = config["num_attention_heads"], net.sizes()
    rows = (
        ("model.width", heads * config["attention_head_dim"], ours["width"]),
        ("model.num_heads", heads, ours["num_heads"]),
        ("model.num_layers", config["num_layers"], ours["num_layers"]),
        ("model.feed_forward_ratio * model.width", config["ffn_dim"], hidden),
        ("(1, model.patch, model.patch)", tuple(config["patch_size"]), (1, ours["patch"], ours["patch"])),
        ("channels of the video codec", config["in_channels"], net.grid[2]),
        ("width of the noise embedding", config["freq_dim"], 2 * net.noise.num_frequencies),
    )
    differing = [f"{what} is {here}, Wan's {there}" for what, there, here in rows if there != here]
    if differing:
        raise ValueError(f"this Wan is of another size ({'; '.join(differing)}): choose the model= that fits it")
