"""Exponential moving average of weights, kept in fp32 whatever the training precision.

The decay warms up, ``min(decay, n / (9 + n))`` after ``n`` updates, so that an early average is not dominated by the
start: the first update copies the weights. Evaluation and export use the average.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from avatar_lab.sharded import local, locals_of


class EMA:
    """Shadow of the trained parameters of one network; frozen parameters and buffers are taken from it as they are."""

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"EMA decay must lie in [0, 1), got {decay}")
        self.decay = decay
        self.updates = 0
        self.shadow = {
            name: parameter.detach().to(torch.float32, copy=True)
            for name, parameter in network.named_parameters()
            if parameter.requires_grad
        }

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the shadow one step towards the weights of ``network``."""
        decay = min(self.decay, self.updates / (9 + self.updates))
        self.updates += 1
        current = dict(network.named_parameters())
        weights = [local(current[name]).detach().float() for name in self.shadow]
        torch._foreach_lerp_(locals_of(self.shadow.values()), weights, 1 - decay)

    @torch.no_grad()
    def averaged(self, network: nn.Module) -> nn.Module:
        """Copy of ``network`` in evaluation mode with the averaged weights, or with its own before any update."""
        average = deepcopy(network).eval().requires_grad_(False)
        if self.updates == 0:
            return average
        parameters = dict(average.named_parameters())
        for name, shadow in self.shadow.items():
            parameters[name].copy_(shadow)
        return average

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "shadow": self.shadow}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["shadow"].keys() != self.shadow.keys():
            raise ValueError("the stored average has other parameters than the network; resume with the same config")
        self.updates = state["updates"]
        for name, shadow in self.shadow.items():
            shadow.copy_(state["shadow"][name])


def averaged_roles(roles: nn.ModuleDict, averages: dict[str, EMA]) -> nn.ModuleDict:
    """``roles`` with every averaged one replaced by its average; the others are the same objects."""
    return nn.ModuleDict({r: averages[r].averaged(net) if r in averages else net for r, net in roles.items()})
