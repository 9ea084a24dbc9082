"""Small self-describing weight files: safetensors with the constructor's arguments as JSON in the header.

Parameters are stored in half precision and computed in single; buffers (normalisation) keep their precision. The
fingerprint covers the configuration and the stored bytes, so that it survives saving and loading.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

Config = dict[str, Any]

_HEADER = "avatar_lab"


def stored_tensors(module: nn.Module) -> dict[str, Tensor]:
    """State of ``module`` as it goes into the file: parameters in float16, buffers as they are."""
    parameters = dict(module.named_parameters())
    state = module.state_dict()
    return {
        name: (value.half() if name in parameters else value).detach().cpu().contiguous()
        for name, value in state.items()
    }


def fingerprint(config: Config, module: nn.Module) -> str:
    """First 16 hex digits of the sha256 over configuration and stored weights."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, value in sorted(stored_tensors(module).items()):
        digest.update(name.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def save_weights(path: Path, config: Config, module: nn.Module) -> None:
    """Write atomically: a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    header = {"config": config, "fingerprint": fingerprint(config, module)}
    # one entry only: safetensors writes several in no fixed order, and equal weights shall give equal files
    save_file(stored_tensors(module), partial, metadata={_HEADER: json.dumps(header, sort_keys=True)})
    partial.chmod(0o644)  # safetensors writes for the owner only, but weights are installed for all
    os.replace(partial, path)


def read_weights(path: Path) -> tuple[Config, dict[str, Tensor], str]:
    """Configuration, float32 state and recorded fingerprint of a file written by :func:`save_weights`.

    Raises:
        ValueError: the file is missing, damaged, or was not written by :func:`save_weights`.
    """
    if not path.is_file():
        raise ValueError(f"no weights at {path}: install the package with its weights, or train and export them first")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}): restore it from the package or train it again") from error
    if _HEADER not in metadata:
        raise ValueError(f"{path} has no configuration in its header: it was not exported by this package")
    state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    try:
        header = json.loads(metadata[_HEADER])
        return dict(header["config"]), state, str(header["fingerprint"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} has a damaged header ({error!r}): restore it, or train it again") from error


def check_fingerprint(path: Path, recorded: str, actual: str) -> None:
    """Raise ValueError if weights or configuration were changed after export."""
    if recorded != actual:
        raise ValueError(
            f"{path} is corrupt: fingerprint {actual} differs from the recorded {recorded}; restore the file"
        )


class ShippedNetwork(nn.Module):
    """A network that travels with the package as one small file; ``config`` holds its constructor's arguments."""

    file: ClassVar[str]
    """Name of the shipped file."""
    config: Config

    @classmethod
    def shipped_weights(cls) -> Path:
        return Path(__file__).parent / "weights" / cls.file

    def fingerprint(self) -> str:
        return fingerprint(self.config, self)

    def save(self, path: Path) -> None:
        """Write configuration and weights (parameters in half precision)."""
        save_weights(path, self.config, self)

    @classmethod
    def load(cls, path: Path | str | None = None) -> Self:
        """The shipped network, or the one saved at ``path``, frozen and in evaluation mode.

        Raises:
            ValueError: the file is missing, damaged or of another network, or its fingerprint does not match.
        """
        path = cls.shipped_weights() if path is None else Path(path)
        config, state, recorded = read_weights(path)
        try:
            network = cls(**config)
            network.load_state_dict(state)
        except (TypeError, RuntimeError) as error:
            raise ValueError(f"{path} holds no {cls.__name__} ({error}): give the file of such a network") from error
        check_fingerprint(path, recorded, network.fingerprint())
        return network.eval().requires_grad_(False)
