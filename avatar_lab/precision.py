"""Devices, and where bfloat16 products are fast: GPUs that support them, and CPUs that have instructions for them.

Other CPUs emulate them slowly. On one core of an AMD EPYC with AVX512-BF16 a product of the tiny model runs five
times as fast as in fp32 (experiments/LOG.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch


def find_device(name: str | None) -> torch.device:
    """The device of that name; ``None``: the first GPU, or where there is none the CPU.

    Raises:
        ValueError: there is no such device, or not on this machine.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name is None:
        return torch.device("cuda", 0) if gpus else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"device={name} is none: choose cpu, cuda, cuda:0, or null for a GPU where there is one")
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise ValueError(
            f"device={name} is not on this machine, which has {gpus} GPUs that torch can use: choose cpu, or null"
        )
    return torch.device("cpu") if device.type == "cpu" else device


def fast_bfloat16(device: str) -> bool:
    """Whether products in bfloat16 are faster than in fp32 on ``device``, a type such as ``cpu`` or ``cuda``."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


def fast_products(device: str) -> torch.autocast:
    """Context in which products are taken in bfloat16 where that is faster; everything else stays as it is."""
    return torch.autocast(device, torch.bfloat16, enabled=fast_bfloat16(device))


def block_products(device: str) -> AbstractContextManager[object]:
    """Context for rolling out block by block: on CPUs in fp32, since products are so small there that conversions take
    longer than bfloat16 saves; elsewhere as the caller has it."""
    return torch.autocast(device, enabled=False) if device == "cpu" else nullcontext()


@contextmanager
def live_products(device: str) -> Iterator[None]:
    """Context for rolling out away from training: in bfloat16 on GPUs, as in ``block_products`` on CPUs. Copies of
    weights last as long as the context; inference mode would make them anew at every use."""
    if device == "cpu":
        with block_products(device):
            yield
    else:
        with torch.inference_mode(False), torch.no_grad(), fast_products(device):
            yield


def exact_products(device: str) -> AbstractContextManager[object]:
    """Context without autocast, on the meta device too, where GPUs are imagined (``imagine.py``)."""
    return torch.autocast("cuda" if device == "meta" else device, enabled=False)
