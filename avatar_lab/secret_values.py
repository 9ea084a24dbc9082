"""Configs and command lines are written to disk, so no secret may be in them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)
"""Environment variables that hold one."""
SHORTEST = 8
"""Shorter values are words that a config may hold by chance."""
_IN_ADDRESS = re.compile(r"://([^/\s@]+:[^/\s@]+|[^/\s@:]{20,})@")
"""A password, or a token in the place of a name."""


def refuse_secrets(plain: Mapping[str, Any]) -> None:
    """Refuse a config that holds a password in an address, or what the environment holds under a secret's name.

    Raises:
        ValueError: it does; the message names the place, and not the value.
    """
    hidden = {name: value for name, value in os.environ.items() if SECRET_NAME.search(name) and len(value) >= SHORTEST}
    for place, text in _texts(plain, ""):
        holder = next((f"the value of ${name}" for name, value in hidden.items() if value in text), None)
        if holder is None and _IN_ADDRESS.search(text):
            holder = "an address with a password"
        if holder is not None:
            raise ValueError(
                f"{place} holds {holder}, and configs are written to run folders and job scripts: leave it out; what "
                "needs it can read the environment or ~/.netrc itself"
            )


def _texts(node: Any, place: str) -> Iterator[tuple[str, str]]:
    """All keys and values that are text, with their place."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            inside = f"{place}.{key}" if place else str(key)
            yield place or "the top level", str(key)
            yield from _texts(value, inside)
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _texts(value, f"{place}.{index}")
    elif isinstance(node, str):
        yield place, node
