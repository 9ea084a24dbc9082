"""Published codecs in miniature: folders as ``from_pretrained`` reads them, same classes, random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn


def mimi_network(*, silent: bool = False) -> Any:
    """A random ``MimiModel`` with a window of 6 frames and 6 codebooks of 16 entries, all of its parts audible.

    ``silent``: no biases, and entry 0 of every codebook is zero, so that silence comes out as silence.
    """
    transformers = pytest.importorskip("transformers", reason="needs the extra: pip install 'avatar-lab[codecs]'")
    torch.manual_seed(0)
    config = transformers.MimiConfig(
        num_filters=4,
        hidden_size=32,
        upsample_groups=32,
        codebook_size=16,
        codebook_dim=8,
        vector_quantization_hidden_dimension=8,
        num_quantizers=6,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=32,
        sliding_window=6,
        layer_scale_initial_scale=0.5,
    )
    network = transformers.MimiModel(config).eval()
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            if name.endswith("embed_sum"):
                buffer.normal_()
            if name.endswith("cluster_usage"):
                buffer.uniform_(0.5, 2)
        for name, parameter in network.named_parameters():
            if silent and name.endswith("bias"):
                parameter.zero_()
            elif name.endswith("bias"):
                parameter.normal_(std=0.1)
        if silent:
            for name, buffer in network.named_buffers():
                if name.endswith("embed_sum"):
                    buffer[0] = 0
        loudest = [layer for layer in network.decoder.modules() if isinstance(layer, nn.Conv1d)][-1]
        loudest.weight.mul_(0.01)
        if loudest.bias is not None:
            loudest.bias.mul_(0.01)
    return network


def mimi_folder(folder: Path, *, silent: bool = False) -> Path:
    mimi_network(silent=silent).save_pretrained(folder)
    return folder


def wan_network() -> Any:
    """A random ``AutoencoderKLWan`` with two halvings in time and three in space, of 4 to 8 features."""
    diffusers = pytest.importorskip("diffusers", reason="needs the extra: pip install 'avatar-lab[codecs]'")
    torch.manual_seed(0)
    network = diffusers.AutoencoderKLWan(base_dim=4, dim_mult=[1, 2, 2, 2], num_res_blocks=1).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "bias" in name:
                parameter.normal_(std=0.1)
            elif "gamma" in name:
                parameter.uniform_(0.5, 1.5)
            elif parameter.ndim > 1:
                parameter.mul_(1.5)
    return network


def wan_folder(folder: Path) -> Path:
    wan_network().save_pretrained(folder)
    return folder
