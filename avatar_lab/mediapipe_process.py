"""mediapipe in an interpreter of its own: the version that it must have, and what to do where it has not.

mediapipe 0.10.21 carries its models (later wheels do not) and needs numpy below 2, which the rest of this project does
not run on. Programs that use it are helpers, ``serving.py``, and import nothing but it, numpy and the standard library.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from avatar_lab.served_process import ServedProcess
from avatar_lab.serving import Answer, Refusal

MEDIAPIPE = "0.10.21"
"""The one version whose results are known."""


def advice(named_by: str) -> str:
    """How an interpreter with mediapipe is made, and that ``named_by`` must say where it is."""
    return (
        f"make an interpreter of its own for it, Python 3.11 or 3.12, since it needs numpy below 2: python -m venv "
        f"FOLDER && FOLDER/bin/pip install mediapipe=={MEDIAPIPE}, and set {named_by}=FOLDER/bin/python"
    )


def about(request: dict[str, Any]) -> Iterator[Answer]:
    """The helper's operation by which its interpreter is judged: the version of the library, or that there is none."""
    try:
        import mediapipe
    except ImportError as error:
        yield {"mediapipe": None, "why": str(error), "bytes": 0}, b""
    else:
        yield {"mediapipe": mediapipe.__version__, "bytes": 0}, b""


def require_mediapipe(process: ServedProcess, python: str, *, named_by: str) -> None:
    """Ask a helper about its interpreter.

    Raises:
        ValueError: it cannot be started, has no mediapipe or another version; the message says what to do.
    """
    try:
        ((header, _),) = process.ask({"op": "about"}, about="mediapipe")
    except (Refusal, OSError) as error:
        raise ValueError(f"{named_by}={python} cannot be started ({error}): {advice(named_by)}") from error
    if header["mediapipe"] != MEDIAPIPE:
        found = header["mediapipe"] or f"none ({header['why']})"
        raise ValueError(f"{named_by}={python} has mediapipe {found} instead of {MEDIAPIPE}: {advice(named_by)}")
