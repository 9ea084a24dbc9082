"""``avatar-lab render``: recordings of the embedded world (mp4, wav, events with causes); finished ones stay."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from avatar_lab.world.record import write_dataset
from avatar_lab.world.scenario import ScenarioName
from avatar_lab.world.worlds import WorldName, make_world

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(prog="avatar-lab render", description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for the recordings")
    parser.add_argument("--dialogues", type=int, help="number of conversations")
    parser.add_argument("--gallery", type=Path, help="write one page that shows the calibrated world, and nothing else")
    parser.add_argument(
        "--world", type=WorldName, choices=list(WorldName), default=WorldName.QUICKSTART, help="default %(default)s"
    )
    parser.add_argument(
        "--scenario", type=ScenarioName, choices=list(ScenarioName), help="of the calibrated world; default casual"
    )
    parser.add_argument("--seconds", type=float, default=64.0, help="length of each (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--held-out",
        type=int,
        default=0,
        help="further conversations, of people kept for split test, calibrated: of other edge strengths too",
    )
    parser.add_argument("--workers", type=int, default=2, help="processes (default %(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    if arguments.gallery is not None:
        # matplotlib takes a second to import, in every worker
        from avatar_lab.world.gallery import write_gallery

        write_gallery(arguments.gallery)
        log.info("wrote %s: open it in a browser", arguments.gallery)
        return
    if arguments.out is None or arguments.dialogues is None:
        parser.error("give --out and --dialogues, or --gallery PAGE.html")

    def progress(done: int, total: int) -> None:
        if done % max(1, total // 5) == 0 or done == total:
            log.info("rendered %d of %d conversations", done, total)

    try:
        for number, held_out in ((arguments.dialogues, False), (arguments.held_out, True)):
            if number or not (held_out or arguments.held_out):
                write_dataset(
                    arguments.out,
                    num_dialogues=number,
                    seconds=arguments.seconds,
                    seed=arguments.seed,
                    held_out=held_out,
                    graph=make_world(arguments.world, arguments.scenario, held_out=held_out),
                    workers=arguments.workers,
                    progress=progress,
                )
    except ValueError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        log.error("interrupted; the same command goes on from here")
        sys.exit(130)


if __name__ == "__main__":
    main()
