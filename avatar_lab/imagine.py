"""Networks and batches that take no memory, and what a step on them would compute and keep.

Everything lies on torch's meta device, which knows shapes and nothing else, so that a stage's own code says what it
does: no formula has to be kept in step with it. Layers are all alike, so stages are traced with two and with three
of them and what a deeper network needs follows exactly, as long as its first layers are like each other. Stages that
roll a student out block after block are traced with one to three blocks, for the same reason.

    B batch   S blocks   K codebooks   others as in tensors.py
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental import _config as experimental
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.construct import locate
from avatar_lab.layout import Layout, Stream
from avatar_lab.tensors import Anchor, DyadBatch

META = torch.device("meta")
_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_CPU_ATTENTION_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def flop_counter() -> FlopCounterMode:
    """Torch's counter of matrix products, which has no entry for the attention of CPUs; here it counts as that of
    other devices does."""

    def forward(q: Any, k: Any, v: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return sdpa_flop_count(q, k, v)

    def backward(grad: Any, q: Any, k: Any, v: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return sdpa_backward_flop_count(grad, q, k, v)

    return FlopCounterMode(display=False, custom_mapping={_CPU_ATTENTION: forward, _CPU_ATTENTION_BACKWARD: backward})


_HALF = {"linear", "matmul", "einsum", "mm", "bmm", "addmm", "baddbmm", "conv1d", "conv2d", "conv3d",
         "scaled_dot_product_attention"}  # fmt: skip
_SINGLE = {"layer_norm", "rms_norm", "group_norm", "softmax", "log_softmax", "logsumexp", "cross_entropy", "nll_loss",
           "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits", "softplus", "exp",
           "log", "rsqrt", "pow", "__rdiv__", "sum", "prod", "cumsum", "norm"}  # fmt: skip
_WIDEST = {"addcmul", "addcdiv", "cat", "stack", "scatter_add"}
"""Functions whose arguments autocast casts to bfloat16; on CUDA alone (``ATen/autocast_mode.h``), to fp32 and to the
widest among them."""


class Imagining(TorchFunctionMode):
    """Answers what code asks of values that are not there: every stream is on, every mask is full, numbers are 0.

    What autograd keeps depends on kernels. ``cuda``: masks of the avatar's own tokens are compiled (FlexAttention) and
    take no memory, attention is fused, which keeps no logits, and so are RMS norms. Else as on CPUs: masks are dense,
    and attention in bfloat16 is written out (``model/attention.py``).

    While autocast is enabled for CUDA, arguments are cast here, since torch has no autocast for the meta device.
    """

    def __init__(self, *, cuda: bool) -> None:
        super().__init__()
        self.cuda = cuda
        self.copies: list[Tensor] = []
        """Parameters in bfloat16, one per use: training caches none (Lightning's ``MixedPrecision``)."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.is_autocast_enabled("cuda"):
            args, kwargs = self._cast(getattr(func, "__name__", ""), (args, kwargs))
        if func is F.scaled_dot_product_attention and args[0].is_meta:
            return self._attention(*args, **kwargs)
        if func is F.rms_norm and self.cuda and args[0].is_meta:  # the meta device has no fused kernel but this
            return F.layer_norm(args[0], args[1], kwargs["weight"])
        if func in (Tensor.__bool__, Tensor.__float__) and args[0].is_meta:
            return func is Tensor.__bool__ or 0.0
        return func(*args, **kwargs)

    def _cast(self, name: str, given: Any) -> Any:
        """Arguments as autocast passes them on."""
        wide = name in _WIDEST and any(isinstance(x, Tensor) and x.dtype == torch.float32 for x in tree_leaves(given))
        if name not in _HALF and not (self.cuda and (wide or name in _SINGLE)):
            return given
        dtype = torch.bfloat16 if name in _HALF else torch.float32

        def cast(x: Tensor) -> Tensor:
            if x.dtype not in (torch.bfloat16, torch.float32) or x.dtype == dtype:
                return x
            made = x.to(dtype)
            if isinstance(x, nn.Parameter):
                self.copies.append(made)
            return made

        return tree_map_only(Tensor, cast, given)

    def _attention(self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        own = attn_mask is not None and attn_mask.ndim == 2
        mask = None if attn_mask is None or (own and self.cuda) else attn_mask.to(q.dtype)
        if q.dtype == torch.bfloat16 and not self.cuda:
            logits = q * q.shape[-1] ** -0.5 @ k.mT
            written_out: Tensor = (logits if mask is None else logits + mask).softmax(-1) @ v
            return written_out
        found: Tensor = _CPU_ATTENTION(q, k, v, 0.0, False, attn_mask=mask)[0]
        return found


@contextmanager
def imagining(*, cuda: bool, half: bool = False) -> Iterator[Imagining]:
    """Run code on meta tensors; see :class:`Imagining`. ``half``: under autocast to bfloat16."""
    nonzero, autocast = experimental.meta_nonzero_assume_all_nonzero, torch.is_autocast_enabled("cuda")
    experimental.meta_nonzero_assume_all_nonzero = True
    torch.set_autocast_enabled("cuda", half)  # ``torch.autocast`` refuses where there is no GPU
    try:
        with Imagining(cuda=cuda) as imagined:
            yield imagined
    finally:
        experimental.meta_nonzero_assume_all_nonzero = nonzero
        torch.set_autocast_enabled("cuda", autocast)


def without_weights(group: Mapping[str, Any]) -> dict[str, Any]:
    """A codec group in which loaders of published weights are replaced by ``planned`` beside them, where there is one:
    it takes the same arguments and knows the codec's grids alone."""
    replaced: dict[str, Any] = {}
    for name, node in group.items():
        owner = str(node["_target_"]).rpartition(".")[0]
        planned = getattr(locate(owner), "planned", None)
        if planned is None:
            replaced[name] = node
            continue
        known = inspect.signature(planned).parameters
        replaced[name] = {key: value for key, value in node.items() if key in known}
        replaced[name]["_target_"] = f"{owner}.planned"
    return replaced


def imagined_batch(
    layout: Layout, audio_codec: AudioCodec, video_codec: VideoCodec, *, size: int, num_blocks: int, dtype: torch.dtype
) -> DyadBatch:
    """A window of ``num_blocks`` blocks in ``size`` conversations, as the loader of a prepared data set yields them."""
    spec = video_codec.spec
    grid = (spec.grid_height, spec.grid_width, spec.channels)
    audio, latents = num_blocks * layout.audio_per_block, num_blocks * layout.latents_per_block
    heard, seen = (layout.lead_tokens(s) + n for s, n in ((Stream.USER_AUDIO, audio), (Stream.USER_VIDEO, latents)))
    extended = audio + layout.script_lookahead

    def tokens(*shape: int) -> Tensor:
        return torch.empty(size, *shape, audio_codec.spec.num_codebooks, dtype=torch.long, device=META)

    def flags(*shape: int) -> Tensor:
        return torch.empty(size, *shape, dtype=torch.bool, device=META)

    def values(*shape: int) -> Tensor:
        return torch.empty(size, *shape, dtype=dtype, device=META)

    return DyadBatch(
        audio_BEK=tokens(extended),
        script_BE=flags(extended),
        sound_BE=flags(extended),
        audio_valid_BE=flags(extended),
        video_BFHWC=values(latents, *grid),
        video_valid_BF=flags(latents),
        user_audio_BTK=tokens(heard),
        user_audio_valid_BT=flags(heard),
        user_video_BGU=values(seen, grid[0] * grid[1] * grid[2]),
        user_video_valid_BG=flags(seen),
        anchor=Anchor(picture_BHWC=values(*grid), voice_BNK=tokens(layout.anchor_tokens), present_B=flags()),
        sample_B=torch.empty(size, dtype=torch.long, device=META),
    )


class Linear:
    """Mixin of dataclasses of numbers that grow by the same amount with every layer."""

    def plus(self, other: Self, times: float) -> Self:
        """``self + times * other``, field by field."""
        return type(self)(**{f.name: getattr(self, f.name) + times * getattr(other, f.name) for f in fields(self)})  # type: ignore[arg-type]


_T = TypeVar("_T", bound=Linear)


def at_depth(trace: Callable[[int], _T], num_layers: int) -> _T:
    """What ``trace(num_layers)`` would be, from networks of two and three layers."""
    if num_layers <= 3:
        return trace(num_layers)
    two, three = trace(2), trace(3)
    return two.plus(three.plus(two, -1.0), num_layers - 2.0)


def at_length(trace: Callable[[int], _T], num_blocks: int) -> _T:
    """What ``trace(num_blocks)`` would be, from windows of one, two and three blocks: each block sees all before it, so
    every cost is a polynomial of second degree (Newton's forward differences)."""
    if num_blocks <= 3:
        return trace(num_blocks)
    one, two, three = trace(1), trace(2), trace(3)
    slope, next_slope = two.plus(one, -1.0), three.plus(two, -1.0)
    bend = next_slope.plus(slope, -1.0)
    steps = num_blocks - 1.0
    return one.plus(slope, steps).plus(bend, steps * (steps - 1) / 2)
