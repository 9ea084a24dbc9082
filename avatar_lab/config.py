"""From yaml to a typed envelope of plain values: the only module that hands out what Hydra composed.

Groups become objects through ``construct.build``, which knows neither Hydra nor files.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from avatar_lab.allocator import keep_freed_memory
from avatar_lab.construct import nearest
from avatar_lab.layout import Layout
from avatar_lab.secret_values import refuse_secrets

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CONFIG_MODULE = "configs"
SUBMITTED = "--submitted"
"""Followed by a resolved config: how what ``avatar-lab submit`` wrote is started."""
log = logging.getLogger(__name__)

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException)
"""What composing a config may raise; :func:`sentence` says it in one line."""


def known_keys(node: DictConfig, schema: type, title: str) -> dict[str, Any]:
    """The node resolved to plain values, whose keys are fields of the dataclass ``schema``; ``title`` names it.

    Raises:
        ValueError: a key is unknown, or a value is a secret.
    """
    plain = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    named = {str(key): value for key, value in plain.items()}
    check_keys(named, schema, title)
    refuse_secrets(named)
    return named


def check_keys(plain: Mapping[str, Any], schema: type, title: str) -> None:
    """Refuse keys that ``schema`` has no field for.

    Raises:
        ValueError: a key is unknown.
    """
    names = [column.name for column in fields(schema)]
    for key in plain:
        if key not in names:
            raise ValueError(f"{title} has no key {key!r}{nearest(str(key), names)}; it has {names}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run, resolved. Groups are plain dicts until ``construct.build`` makes objects of them."""

    root: str
    """Folder of the whole graph of stages; later stages find the artefacts of earlier ones below it."""
    out: str
    """Folder of this run."""
    seed: int
    resume: bool
    layout: dict[str, Any]
    codec: dict[str, Any]
    data: dict[str, Any]
    model: dict[str, Any]
    stage: dict[str, Any]
    training: dict[str, Any]
    cluster: dict[str, Any]
    samples: dict[str, Any] | None = None
    """What writes sample media now and then, if anything."""
    gate: dict[str, Any] | None = None
    """What the checkpoint must reach before the next stage may start (``gate.GateConfig``), if anything."""
    judge: dict[str, Any] | None = None
    """What the best step is chosen by (``judge.JudgeConfig``), if not the last one."""
    dry_run: bool = False

    @classmethod
    def from_node(cls, node: DictConfig) -> RunConfig:
        """Envelope around a composed config.

        Raises:
            ValueError: a top-level key is unknown or missing, or a group is not a mapping.
        """
        plain = known_keys(node, cls, "the top level")
        required = [f.name for f in fields(cls) if f.default is MISSING]
        missing = [name for name in required if name not in plain]
        if missing:
            raise ValueError(f"the config lacks {missing}; compose it from {CONFIG_MODULE}/train.yaml")
        for name in ("layout", "codec", "data", "model", "stage", "training", "cluster"):
            if not isinstance(plain[name], dict):
                raise ValueError(f"config group {name!r} must be a mapping, got {plain[name]!r}")
        return cls(**plain)


def load(overrides: Sequence[str]) -> RunConfig:
    """Compose a run as the command line does, for notebooks and tests: ``load(["experiment=teacher", "seed=1"])``."""
    GlobalHydra.instance().clear()
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        return RunConfig.from_node(compose("train", overrides=list(overrides)))


def write_resolved(folder: Path, config: DataclassInstance) -> Path:
    """``config`` as a file that says all of it and is named by its own hash: what a job was submitted with, whatever
    becomes of the yaml files and defaults until it starts."""
    path = resolved_path(folder, config)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(_plain(config))
        temporary.chmod(0o444)
        temporary.rename(path)
    return path


def resolved_path(folder: Path, config: DataclassInstance) -> Path:
    """Where :func:`write_resolved` puts it."""
    return folder / f"{_digest(_plain(config))}.yaml"


def read_resolved(path: Path) -> RunConfig:
    """Inverse of :func:`write_resolved` for a run.

    Raises:
        ValueError: as :func:`resolved_values`.
    """
    return RunConfig(**resolved_values(path, RunConfig, "a run"))


def resolved_values(path: Path, schema: type, title: str) -> dict[str, Any]:
    """What :func:`write_resolved` wrote of a ``schema``, by key; nothing is interpolated or instantiated here.

    Raises:
        ValueError: it is missing, was changed, or is of another version.
    """
    if not path.is_file():
        raise ValueError(f"there is no resolved config {path}: submit the run again")
    text = path.read_text()
    if _digest(text) != path.stem:
        raise ValueError(f"{path} was changed after it was submitted: submit the run again with what it should be")
    plain: dict[str, Any] = yaml.safe_load(text)
    check_keys(plain, schema, title)
    return plain


def _plain(config: DataclassInstance) -> str:
    return yaml.safe_dump(asdict(config), sort_keys=False)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def compose_more(name: str, overrides: Sequence[str]) -> DictConfig:
    """A config beside the one that an entry point runs with."""
    if GlobalHydra.instance().is_initialized():
        return compose(name, overrides=list(overrides))
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        return compose(name, overrides=list(overrides))


def build_layout(node: Mapping[str, Any]) -> Layout:
    """Layout from its config group.

    Raises:
        ValueError: a key is unknown, or the numbers do not fit together.
    """
    unknown = sorted(set(node) - set(Layout.__dataclass_fields__))
    if unknown:
        raise ValueError(f"unknown layout key {unknown[0]!r}; a layout has {sorted(Layout.__dataclass_fields__)}")
    return Layout.from_dict(dict(node))


def choices(group: str) -> list[str]:
    """Names that ``group=...`` takes, those in folders included."""
    folder = Path(str(resources.files(CONFIG_MODULE) / group))
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def sentence(error: Exception) -> str:
    """Hydra's several lines as one, with what to do about it."""
    line = next(line.strip().rstrip(".") for line in str(error).splitlines() if line.strip())
    missing = re.search(r"Could not find '(\w+)/(.+)'", line)
    if missing:
        names = choices(missing[1])
        return f"there is no {missing[1]}={missing[2]}{nearest(missing[2], names)}; there are {', '.join(names)}"
    return f"{line}; see all keys with --cfg job, and prefix + to set an argument that no yaml lists"


def run_task(task: Callable[[], None]) -> None:
    """Run a Hydra entry point: errors in what the user gave are one sentence and exit code 2, anything else keeps its
    traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    keep_freed_memory()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets exceptions reach us; Hydra would print them its own way
    try:
        task()
    except COMPOSITION_ERRORS as error:
        log.error("error: %s", sentence(error))
        sys.exit(2)
    except ValueError as error:
        if os.environ.get("AVATAR_LAB_TRACEBACK"):
            traceback.print_exc()
        log.error("error: %s (AVATAR_LAB_TRACEBACK=1 shows where)", error)
        sys.exit(2)
