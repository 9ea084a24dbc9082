"""Published codecs on disk: found by folder or hub id, never downloaded, known by the sha256 of their files.

Every process of a run loads the codecs anew, so a loader that downloads would fetch the same weights many times, or
other ones than yesterday. Getting them is a step of its own; here they are there, or one sentence says what to do.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError

_ABOUT_WRITING = ("_name_or_path", "_diffusers_version", "transformers_version")
"""Keys of ``config.json`` that say who wrote the file, not what the network is."""


def library(name: str, *, at_least: tuple[int, int]) -> ModuleType:
    """An optional library, imported only where a codec of its is loaded.

    Raises:
        ValueError: it is not installed, does not import, or is older than ``at_least`` (major, minor).
    """
    remedy = "run: pip install 'avatar-lab[codecs]'"
    try:
        installed = importlib.metadata.version(name)
        module = importlib.import_module(name)
    except ImportError as error:  # PackageNotFoundError is one
        raise ValueError(f"this codec needs {name}, which does not import ({error}); {remedy}") from error
    if tuple(int(part) for part in re.findall(r"\d+", installed)[:2]) < at_least:
        wanted = ".".join(map(str, at_least))
        raise ValueError(f"this codec needs {name} {wanted} or newer, but {installed} is installed; {remedy}")
    return module


@dataclass(frozen=True, kw_only=True)
class PretrainedFolder:
    """A ``config.json`` and the safetensors files of its weights."""

    path: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]

    @classmethod
    def find(
        cls, source: Path | str, *, stem: str, subfolder: str = "", revision: str | None = None
    ) -> PretrainedFolder:
        """The folder ``source``, or what the local hub cache holds under that id.

        Args:
            source: folder, or hub id such as ``kyutai/mimi``.
            stem: name of the weight file without ``.safetensors``.
            subfolder: part of the repository in which the codec lies.
            revision: branch, tag or commit of the hub repository; None is its main branch.

        Raises:
            ValueError: there is no such folder or cached repository, or files are missing from it.
        """
        path = _cached(str(source), revision) if not Path(source).expanduser().is_dir() else Path(source).expanduser()
        path = path / subfolder
        try:
            config = json.loads((path / "config.json").read_text())
            index = path / f"{stem}.safetensors.index.json"
            names = (
                set(json.loads(index.read_text())["weight_map"].values())
                if index.is_file()
                else {stem + ".safetensors"}
            )
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"{path} holds no readable codec ({error}): give the folder with its config.json"
            ) from error
        weights = tuple(path / name for name in sorted(names))
        missing = [file.name for file in weights if not file.is_file()]
        if missing:
            raise ValueError(
                f"{path} lacks {', '.join(missing)}: fetch the weights as safetensors (pickles are not read)"
            )
        return cls(path=path, config=config, weights=weights)

    def fingerprint(self, **settings: Any) -> str:
        """First 16 hex digits of the sha256 over weight files, configuration and the given settings of the codec."""
        config = {key: value for key, value in self.config.items() if key not in _ABOUT_WRITING}
        digest = hashlib.sha256(json.dumps([config, settings], sort_keys=True).encode())
        for file in self.weights:
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
        return digest.hexdigest()[:16]

    def load(self, from_pretrained: Callable[..., Any], **kwargs: Any) -> Any:
        """The network, frozen and in evaluation mode.

        Args:
            from_pretrained: of the network's class, in transformers or diffusers.
            kwargs: for ``from_pretrained``, the precision among them.

        Raises:
            ValueError: the files are damaged or do not hold all weights of such a network.
        """
        # transformers exchanges torch.linspace while it loads, and torch lists the constructors that `torch.device`
        # contexts redirect when the first of them is entered: entered in there, it would miss linspace for ever.
        with torch.device("cpu"):
            torch.empty(0)
        try:
            network, found = from_pretrained(
                self.path,
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # they are told below, with their names
                output_loading_info=True,
                **kwargs,
            )
        except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ValueError(f"the codec in {self.path} cannot be loaded ({reason}): fetch it again") from error
        lacking = sorted([*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])])
        if lacking:  # the libraries would go on with random values
            raise ValueError(
                f"the weights in {self.path} do not fit its config.json: {lacking[0]} and {len(lacking) - 1} other "
                "tensors are missing or of another shape; fetch them again"
            )
        return network.eval().requires_grad_(False)


def _cached(source: str, revision: str | None) -> Path:
    hub = library("huggingface_hub", at_least=(0, 30))
    try:
        return Path(hub.snapshot_download(source, revision=revision, local_files_only=True))
    except (OSError, ValueError) as error:  # not cached, or no valid id
        raise ValueError(
            f"{source!r} is neither a folder nor in the local hub cache: give the folder of the codec, or run "
            f"`hf download {source}` on a machine with network"
        ) from error
