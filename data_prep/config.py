"""Configuration files of the preparation: YAML that may extend another file of its folder, with overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from avatar_lab.construct import nearest
from avatar_lab.secret_values import refuse_secrets

_EXTENDS = "extends"


def load(path: Path, overrides: list[str]) -> dict[str, Any]:
    """A YAML file with ``a.b=value`` overrides applied (values are YAML).

    ``extends: other.yaml`` takes everything from a file beside it that this one does not say otherwise; a mapping with
    a ``_target_`` of its own replaces the other's as a whole.

    Raises:
        ValueError: the file is no mapping, an override has no ``=``, names a key that the file lacks, or is a secret.
    """
    config = _read(path)
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals:
            raise ValueError(f"override {override!r} must have the form key.subkey=value")
        *parents, leaf = name.split(".")
        node: Any = config
        for parent in parents:
            node = node[parent] if isinstance(node, dict) and parent in node else None
        if not isinstance(node, dict) or leaf not in node:
            hint = nearest(name, _names(config))
            raise ValueError(f"{path.name} has no key {name!r}{hint}; see the file for what can be set")
        node[leaf] = yaml.safe_load(value)
    refuse_secrets(config)
    return config


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"configuration {path} does not exist")
    try:
        config = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold a mapping")
    if _EXTENDS not in config:
        return config
    base = _read(path.with_name(config.pop(_EXTENDS)))
    _update(base, config)
    return base


def _update(base: dict[str, Any], changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        merges = isinstance(value, dict) and isinstance(base.get(name), dict) and "_target_" not in value
        if merges:
            _update(base[name], value)
        else:
            base[name] = value


def _names(config: dict[str, Any], prefix: str = "") -> list[str]:
    names = []
    for name, value in config.items():
        names.append(prefix + name)
        if isinstance(value, dict):
            names += _names(value, f"{prefix}{name}.")
    return names
