"""Checkpoints that travel with the package, trained on the embedded world: streaming and notebooks work at once.

``shipped:level3`` stands for a path where a checkpoint is streamed or compared; ``weights/checkpoints`` holds a model
card of each.
"""

from __future__ import annotations

from pathlib import Path

from avatar_lab.checkpoint import Checkpoint, at_level, load_checkpoint
from avatar_lab.level import Level

PREFIX = "shipped:"
FOLDER = Path(__file__).parent / "weights" / "checkpoints"
_LEVELS = {"level1": Level.TALK, "level2": Level.LISTEN, "level3": Level.SEE}
"""Lower levels are views of the third."""
NAMES = (*_LEVELS, "teacher")


def find_checkpoint(name: str) -> tuple[Path, Level | None]:
    """File of a checkpoint, given by path or as ``shipped:NAME``, and the level to use it at; ``None``: its own.

    Raises:
        ValueError: none of that name is shipped.
    """
    if not name.startswith(PREFIX):
        return Path(name), None
    wanted = name.removeprefix(PREFIX)
    if wanted not in NAMES:
        raise ValueError(f"no checkpoint {wanted!r} is shipped; there are {', '.join(PREFIX + each for each in NAMES)}")
    file = "teacher" if wanted == "teacher" else "level3"
    return FOLDER / f"{file}.safetensors", _LEVELS.get(wanted)


def open_checkpoint(name: str) -> Checkpoint:
    """The checkpoint at a path, or ``shipped:NAME``.

    Raises:
        ValueError: none of that name is shipped, or the file is not a checkpoint.
    """
    path, level = find_checkpoint(name)
    found = load_checkpoint(path)
    return found if level is None else Checkpoint(model=at_level(found.model, level), card=found.card)
