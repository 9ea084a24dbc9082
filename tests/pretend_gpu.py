"""A GPU that computes on the CPU: real numbers, and the errors that tensors on two devices would raise.

Tensors say they were on ``cuda`` and are CPU tensors to torch itself, since its autograd would ask a driver for
streams. For the same reason the mode takes the place of torch's fake tensors, while which no driver is asked. What a
driver alone knows stays untested: kernels, their rounding, autocast, memory; and so does inference mode, which wrapped
tensors cannot be in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_iter, tree_map_only

from avatar_lab.model import visibility

aten = torch.ops.aten
CPU = torch.device("cpu")
BETWEEN_DEVICES = (aten._to_copy.default, aten.copy_.default)
INDEXING = (aten.index.Tensor, aten._unsafe_index.Tensor, aten.index_put.default, aten.index_put_.default)
"""Their indices may lie on the CPU."""


class OnGPU(Tensor):
    """CPU data on a device that says it were ``cuda``."""

    data_on_cpu: Tensor

    @staticmethod
    def __new__(cls, data: Tensor) -> OnGPU:
        data = data.resolve_conj().resolve_neg()  # such bits of a wrapper would be lost
        made = Tensor._make_wrapper_subclass(
            cls, data.shape, strides=data.stride(), storage_offset=data.storage_offset(), dtype=data.dtype, device=CPU
        )
        made.data_on_cpu = data
        return made

    @property
    def device(self) -> torch.device:
        return torch.device("cuda", 0)

    @property
    def is_cuda(self) -> bool:
        return True

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"OnGPU({self.data_on_cpu!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> OnGPU:
        return OnGPU(deepcopy(self.data_on_cpu, memo))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.data_on_cpu.__reduce_ex__(protocol)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            if func is Tensor.tolist:
                return args[0].data_on_cpu.tolist()
            if func is Tensor.numpy:
                raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
            if func is Tensor.new_tensor:
                return OnGPU(args[0].data_on_cpu.new_tensor(*args[1:], **kwargs))
            target = kwargs.get("device", args[1] if len(args) > 1 else None)
            if func is Tensor.to and isinstance(target, OnGPU):
                return args[0].to(target.device, target.dtype)
            if func is Tensor.cpu or (func is Tensor.to and _is_cpu(target)):
                assert isinstance(args[0], OnGPU)
                home = aten._to_copy.default(args[0], device=CPU)
                rest = {k: v for k, v in kwargs.items() if k != "device"}
                return home.to(*args[2:], **rest) if func is Tensor.to and (args[2:] or rest) else home
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


def _is_cpu(target: Any) -> bool:
    if isinstance(target, Tensor):
        return target.device.type == "cpu"
    return isinstance(target, (str, torch.device)) and torch.device(target).type == "cpu"


class PretendGPU(TorchDispatchMode):
    """While it is active, ``cuda`` is there."""

    def __init__(self) -> None:
        super().__init__()
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [x for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)]
    there, target = any(isinstance(x, OnGPU) for x in tensors), kwargs.get("device")
    going_back = torch._C._current_autograd_node() is not None  # its own zeros are on the device that torch knows of
    if func not in BETWEEN_DEVICES and not going_back:
        checked = tensors[:1] if func in INDEXING else tensors
        if there and any(not isinstance(x, OnGPU) and x.dim() > 0 for x in checked):
            raise RuntimeError(f"{func}: Expected all tensors to be on the same device, but found cuda:0 and cpu")
        if kwargs.get("generator") is not None and (there or (target is not None and target.type == "cuda")):
            raise RuntimeError(f"{func}: Expected a 'cuda' device type for generator but found 'cpu'")
    if target is not None:
        there, kwargs = target.type == "cuda", kwargs | {"device": CPU}
    plain_args, plain_kwargs = tree_map_only(OnGPU, lambda x: x.data_on_cpu, (args, kwargs))
    out = func(*plain_args, **plain_kwargs)
    if func is aten.copy_.default:
        return args[0]
    if not there:
        return out
    made = tree_map_only(Tensor, OnGPU, out)
    return return_and_correct_aliasing(func, args, kwargs, made) if tensors and target is None else made


@contextmanager
def pretend_gpu(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with a GPU. Masks that would be compiled for it are dense."""

    def dense(mask_mod: Any, *, B: None, H: None, Q_LEN: int, KV_LEN: int, device: torch.device) -> Tensor:
        queries, keys = (torch.arange(length, device=device) for length in (Q_LEN, KV_LEN))
        return mask_mod(keys, keys, queries[:, None], keys[None])

    patch.setattr(visibility, "create_block_mask", dense)
    visibility.avatar_mask.cache_clear()
    torch._C._ensureCUDADeviceGuardSet()
    lifted = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    torch.__future__.set_swap_module_params_on_conversion(True)  # keeps their type, which plain conversion loses
    try:
        with PretendGPU():
            yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
        torch._C._set_only_lift_cpu_tensors(lifted)
        visibility.avatar_mask.cache_clear()
