"""Other people's packages and weights: found, or it is said how they are got.

Packages are imported when a plugin is first used; what a package carries is found without importing it.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from avatar_lab.evaluation.references import Unavailable


def import_or_say(module: str, install: str) -> Any:
    """A module of another package.

    Raises:
        Unavailable: it is not installed, or does not load here.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # a wheel for another machine or another numpy fails in either way
        raise Unavailable(f"{module} cannot be imported ({error}): {install}") from error


def packaged_file(package: str, inside: str, install: str) -> Path:
    """A file that a package carries, without importing it.

    Raises:
        Unavailable: package or file is not there.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise Unavailable(f"{package} is not installed: {install}")
    path = Path(spec.origin).parent / inside
    if not path.is_file():
        raise Unavailable(f"{package} has no {inside}: {install}")
    return path
