"""``avatar-lab export RUN ... [--to DIR]``: the artefacts of training runs, gathered in one folder.

A finished run's files are copied as they are; those of a run under way are made from its newest checkpoint.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from pathlib import Path

import yaml

from avatar_lab.config import RunConfig
from avatar_lab.run_folder import signed, write_artefacts
from avatar_lab.train import build_stage, shared_objects
from avatar_lab.training.restore import latest_roles

log = logging.getLogger(__name__)


def export(run: Path, folder: Path) -> None:
    """Write the artefacts of ``run`` into ``folder``.

    Raises:
        ValueError: ``run`` is not a run folder, or has no checkpoint yet.
    """
    if (run / "done.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in json.loads((run / "done.json").read_text())["artefacts"]:
            if (run / name).resolve() != (folder / name).resolve():
                shutil.copy2(run / name, folder / name)
            log.info("%s: finished", folder / name)
        return
    path = run / "config.yaml"
    if not path.exists():
        raise ValueError(f"{run} is not a run folder (no config.yaml); list runs with: avatar-lab runs ls {run.parent}")
    config = RunConfig(**yaml.safe_load(path.read_text()))
    stage = build_stage(config, shared_objects(config))
    roles, step = latest_roles(stage=stage, out=run)
    for name in write_artefacts(folder, signed(run, stage.export(roles))):
        log.info("%s: step %d of %d", folder / name, step, config.training["steps"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="avatar-lab export", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--to", type=Path, default=None, help="folder for the files; each run's own if not given")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        for run in arguments.runs:
            export(run, arguments.to or run)
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
