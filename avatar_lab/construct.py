"""Objects from plain nested values, through one allow-list.

A mapping with ``_target_`` names a class of this project, or a class or static method that makes one
(``Mimi.load``); its other keys are that constructor's keyword arguments, so the signature is the schema. Functions are
refused: some run what they are told to, or write files. Objects that many constructors need (layout, codecs ...) are
not repeated in yaml: ``build`` passes each to every constructor whose signature names it. ``_partial_: true`` asks for
the callable with its arguments bound, ``_args_`` gives positional ones.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch

ALLOWED_PREFIXES = ("avatar_lab.", "data_prep.", "torch.optim.")
"""Nothing outside these packages is ever imported or called because a yaml says so."""

_KEYWORDS = ("_target_", "_args_", "_partial_")


def build(node: Any, **shared: Any) -> Any:
    """Objects from a plain config node, innermost first; ``shared`` goes to every constructor that names it.

    Raises:
        ValueError: a target lies outside the allow-list or does not exist, or arguments are unknown or missing.
    """
    for target in _targets(node):
        if not target.startswith(ALLOWED_PREFIXES):
            raise ValueError(
                f"_target_ {target!r} is refused: a config may only name objects of {', '.join(ALLOWED_PREFIXES)}"
            )
    return _build(node, shared)


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _targets(value)


def _build(node: Any, shared: Mapping[str, Any]) -> Any:
    if isinstance(node, (list, tuple)):
        return [_build(value, shared) for value in node]
    if not isinstance(node, Mapping):
        return node
    built = {str(key): _build(value, shared) for key, value in node.items() if key not in _KEYWORDS}
    if "_target_" not in node:
        return built
    target = locate(str(node["_target_"]))
    positional = _build(node.get("_args_", []), shared)
    is_partial = bool(node.get("_partial_", False))
    arguments = _arguments(target, str(node["_target_"]), built, shared, len(positional), is_partial=is_partial)
    if is_partial:
        return partial(target, *positional, **arguments)
    if inspect.isclass(target):
        return target(*positional, **arguments)
    with torch.device("cpu"):  # a loader reads real weights, also where new networks are only described (meta device)
        return target(*positional, **arguments)


def _arguments(
    target: Any, name: str, given: dict[str, Any], shared: Mapping[str, Any], num_positional: int, *, is_partial: bool
) -> dict[str, Any]:
    """Given and shared keyword arguments, checked against the signature of ``target``."""
    parameters = dict(list(inspect.signature(target).parameters.items())[num_positional:])
    for key in given:
        if key not in parameters:
            raise ValueError(
                f"{name} has no argument {key!r}{nearest(key, list(parameters))}; it takes {sorted(parameters)}"
            )
    arguments = {key: value for key, value in shared.items() if key in parameters} | given
    missing = [
        key
        for key, parameter in parameters.items()
        if key not in arguments
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if missing and not is_partial:
        raise ValueError(f"{name} needs {missing}; give them in its yaml or on the command line")
    return arguments


def locate(target: str) -> Any:
    """The class, or class or static method of one, of a dotted name, if an allowed package itself defines it.

    Raises:
        ValueError: there is no such object, it is something else, or it belongs to another package.
    """
    first, *rest = target.split(".")
    found: Any = importlib.import_module(first)
    owner = found
    for part in rest:
        owner = found
        inside = f"{found.__name__}.{part}" if hasattr(found, "__path__") else None
        if inside is not None and importlib.util.find_spec(inside) is not None:
            found = importlib.import_module(inside)
        elif part.startswith("_") or not hasattr(found, part):
            raise ValueError(f"_target_ {target!r}: {found.__name__} has no {part!r}{nearest(part, dir(found))}")
        else:
            found = getattr(found, part)
    if inspect.ismodule(found) or not f"{found.__module__}.".startswith(ALLOWED_PREFIXES):
        raise ValueError(f"_target_ {target!r} is refused: it is not defined in {', '.join(ALLOWED_PREFIXES)}")
    made_by_class = isinstance(inspect.getattr_static(owner, rest[-1]), (classmethod, staticmethod))
    if not inspect.isclass(found) and not made_by_class:
        raise ValueError(f"_target_ {target!r} is refused: it is neither a class nor a class or static method of one")
    return found


def nearest(word: str, words: Sequence[str]) -> str:
    """A hint at the most similar word, or nothing."""
    close = difflib.get_close_matches(word, words, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
