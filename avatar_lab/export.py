"""``avatar-lab export RUN ... [--to DIR]``: the artefacts of training runs, gathered in one folder.

A finished run's files are copied as they are; those of a run under way are made from its newest checkpoint. For
shipping: ``--half`` stores weights in float16, ``--card`` writes a model card beside each file.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from pathlib import Path

import yaml

from avatar_lab.checkpoint import Card, load_checkpoint
from avatar_lab.config import RunConfig
from avatar_lab.model_card import model_card
from avatar_lab.run_folder import signed, write_artefacts
from avatar_lab.run_table import cards_of
from avatar_lab.train import build_stage, shared_objects
from avatar_lab.training.restore import latest_roles

log = logging.getLogger(__name__)


def export(run: Path, folder: Path) -> list[Path]:
    """Write the artefacts of ``run`` into ``folder``; returns their files.

    Raises:
        ValueError: ``run`` is not a run folder, or has no checkpoint yet.
    """
    if (run / "done.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        names: list[str] = json.loads((run / "done.json").read_text())["artefacts"]
        for name in names:
            if (run / name).resolve() != (folder / name).resolve():
                shutil.copy2(run / name, folder / name)
            log.info("%s: finished", folder / name)
        return [folder / name for name in names]
    path = run / "config.yaml"
    if not path.exists():
        raise ValueError(f"{run} is not a run folder (no config.yaml); list runs with: avatar-lab runs ls {run.parent}")
    config = RunConfig(**yaml.safe_load(path.read_text()))
    stage = build_stage(config, shared_objects(config))
    roles, step = latest_roles(stage=stage, out=run)
    names = write_artefacts(folder, signed(run, stage.export(roles)))
    for name in names:
        log.info("%s: step %d of %d", folder / name, step, config.training["steps"])
    return [folder / name for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(prog="avatar-lab export", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--to", type=Path, default=None, help="folder for the files; each run's own if not given")
    parser.add_argument("--half", action="store_true", help="store parameters in float16; needs --to")
    parser.add_argument("--card", action="store_true", help="also write NAME.md from the records of the graph's runs")
    parser.add_argument("--summary", type=Path, default=None, help="summary.json with figures for the card")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        own = arguments.to is None or any(run.resolve() == arguments.to.resolve() for run in arguments.runs)
        if arguments.half and own:
            raise ValueError("--half would lose digits of the run's own files: give another folder with --to")
        for run in arguments.runs:
            files = export(run, arguments.to or run)
            cards = cards_of(files[0].parent) if files and (arguments.half or arguments.card) else {}
            for path in files:
                if not isinstance(cards.get(path.name), Card):  # not asked, or a codec or another small network
                    continue
                if arguments.half:
                    load_checkpoint(path).save(path, half=True)
                if arguments.card:
                    card = model_card(path, root=run.parent, summary=arguments.summary)
                    path.with_suffix(".md").write_text(card)
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
