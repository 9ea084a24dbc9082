"""What autograd keeps for a backward pass, by the bytes of distinct storages; what sharded weights would exchange."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from avatar_lab.model.layer import Layer, LayerMemory
from avatar_lab.sharded import shared_maps


class Kept:
    """Bytes of distinct storages that autograd keeps, in all, and as if layers were checkpointed."""

    def __init__(self, networks: nn.Module) -> None:
        self.own = {parameter.untyped_storage()._cdata for parameter in networks.parameters()}
        self.own |= {buffer.untyped_storage()._cdata for buffer in networks.buffers()}
        self.layer: int | None = None
        self.clear()

    def clear(self) -> None:
        self.held: list[Tensor] = []  # a storage that is freed could lend its address to another
        self.sizes: dict[int, int] = {}
        self.by_layer: dict[int | None, int] = {}
        self.inputs = 0

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.own and storage._cdata not in self.sizes:
            self.held.append(tensor.detach())
            self.sizes[storage._cdata] = storage.nbytes()
            self.by_layer[self.layer] = self.by_layer.get(self.layer, 0) + storage.nbytes()
        return tensor

    @property
    def total(self) -> int:
        return sum(self.sizes.values())

    def share(self, tensors: list[Tensor]) -> int:
        """Bytes of those of ``tensors`` that are kept."""
        return sum(self.sizes.get(x.untyped_storage()._cdata, 0) for x in tensors)

    @property
    def checkpointed(self) -> int:
        inside = [size for layer, size in self.by_layer.items() if layer is not None]
        return self.by_layer.get(None, 0) + self.inputs + max(inside, default=0)

    @contextmanager
    def watching(self, networks: nn.Module) -> Iterator[None]:
        """Know in which layer a tensor is kept."""

        def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
            if torch.is_grad_enabled():
                memory: LayerMemory = args[3]
                for keys in (memory.conditions, memory.listen, memory.see):
                    if keys is not None:  # projected before and handed in: kept for every layer
                        self.pack(keys.k_BHMC)
                        self.pack(keys.v_BHMC)
                self.layer = len(self.by_layer) + 1
                self.inputs += args[0].numel() * args[0].element_size()

        def leave(*_: Any) -> None:
            self.layer = None

        hooks = []
        for module in networks.modules():
            if isinstance(module, Layer):
                hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        try:
            with saved_tensors_hooks(self.pack, lambda tensor: tensor):
                yield
        finally:
            for hook in hooks:
                hook.remove()


class Gathers:
    """Weights that are gathered where linear maps are sharded, in parameters, and gradients that are scattered.

    A map is gathered at each call and once more when a backward pass reaches that call; its gradient is scattered once
    per backward pass, however often it was called.
    """

    def __init__(self) -> None:
        self.gathered = self.scattered = 0
        self.reached: set[nn.Module] = set()

    def end_backward(self) -> None:
        """To be called after each backward pass."""
        self.scattered += sum(p.numel() for module in self.reached for p in module.parameters() if p.requires_grad)
        self.reached.clear()

    @contextmanager
    def watching(self, networks: nn.Module) -> Iterator[None]:
        """Count calls of the maps that are shared out."""

        def called(module: nn.Module, _: tuple[Any, ...], output: Tensor) -> None:
            size = sum(p.numel() for p in module.parameters())
            self.gathered += size

            def reach(_: Tensor) -> None:
                self.gathered += size
                self.reached.add(module)

            if output.requires_grad:
                output.register_hook(reach)

        hooks = [linear.register_forward_hook(called) for linear in shared_maps(networks)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
