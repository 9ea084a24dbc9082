"""``avatar-lab pairs experiment=... [key=value ...] --windows N [--part I/N]``: trajectories for a few-step start.

The autoregressive model of a run of stage ``initialise`` is rolled out through its cache on the run's own windows.
Where its ODE stands at each of the student's steps, and where it ends, is stored; the same run then learns from that
with ``data=pairs``. What is there is not made again; with ``--part`` several jobs share the work.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from avatar_lab.checkpoint import weights_sha256
from avatar_lab.config import COMPOSITION_ERRORS, RunConfig, load, sentence
from avatar_lab.data.dataset import DyadData
from avatar_lab.data.pairs import pairs_file, read_maker, write_pairs
from avatar_lab.data.schema import INFO_NAME, DatasetInfo, read_info, write_info
from avatar_lab.precision import find_device
from avatar_lab.stage.initialise import Initialise
from avatar_lab.stage.start import network
from avatar_lab.train import build_data, build_stage, shared_objects
from avatar_lab.training.randomness import step_generator

log = logging.getLogger(__name__)


def make(config: RunConfig, folder: Path, *, windows: int, part: int = 0, parts: int = 1) -> list[Path]:
    """Store ``windows`` windows or a few more in ``folder``, one file per batch of the run; returns this part's files.

    Raises:
        ValueError: the run is not of stage ``initialise``, has no prepared data set, or others made what is there.
    """
    shared = shared_objects(config)
    stage, data = build_stage(config, shared), build_data(config, shared)
    if not isinstance(stage, Initialise):
        raise ValueError(f"pairs are for stage initialise, not {stage.name}: choose stage=initialise")
    if not isinstance(data, DyadData):
        raise ValueError("pairs are made on windows of a prepared data set: choose data=shards")
    device = find_device(None)
    teacher = network(stage.roles, "teacher").to(device).eval()
    maker = {
        "teacher": weights_sha256(teacher),
        "seed": config.seed,
        "data": data.info.content_hash,
        "windows": {key: value for key, value in config.data.items() if key != "root"},
        "stage": {key: value for key, value in config.stage.items() if key != "init"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, data.info)
    files: list[Path] = []
    for step in _own_steps(windows, config.data, part=part, parts=parts):
        path = pairs_file(folder, step)
        files.append(path)
        if path.exists():
            if read_maker(path)[0] != maker:
                raise ValueError(f"{path} was made by another model or with other settings: choose another --to")
            continue
        batch = data.batch(step).to(device)
        rng = step_generator(seed=config.seed, step=step, rank=0)
        write_pairs(path, stage.objective.on_own_past(teacher, batch, rng).flat(), maker=maker)
        log.info("wrote %s", path)
    return files


def _claim(folder: Path, info: DatasetInfo) -> None:
    """Say which data set the windows of ``folder`` are cut from; what it says already stays."""
    if not (folder / INFO_NAME).exists():
        write_info(folder / INFO_NAME, info)
    elif read_info(folder).content_hash != info.content_hash:
        raise ValueError(f"{folder} holds windows of another data set: choose another --to")


def _own_steps(windows: int, data: dict[str, Any], *, part: int, parts: int) -> Iterable[int]:
    if windows < 1 or not 0 <= part < parts:
        raise ValueError(f"{windows} windows, part {part} of {parts}: ask for one window at least, part 0 of 1 is all")
    needed = -(-windows // int(data["batch_size"]))
    return range(part, needed, parts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="avatar-lab pairs", description=__doc__)
    parser.add_argument(
        "overrides", nargs="+", help="what avatar-lab train would get for the run that learns from them"
    )
    parser.add_argument("--windows", type=int, required=True, help="how many, at least; whole batches are made")
    parser.add_argument("--to", type=Path, default=None, help="folder, default <root>/pairs")
    parser.add_argument("--part", default="0/1", help="which share of the files, as in 3/8 (counted from 0)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        part, parts = (int(number) for number in arguments.part.split("/"))
        config = load(arguments.overrides)
        folder = arguments.to or Path(config.root) / "pairs"
        files = make(config, folder, windows=arguments.windows, part=part, parts=parts)
    except COMPOSITION_ERRORS as error:
        sys.exit(f"error: {sentence(error)}")
    except ValueError as error:
        sys.exit(f"error: {error}")
    log.info("%d files below %s; learn from them with data=pairs data.root=%s", len(files), folder, folder)


if __name__ == "__main__":
    main()
