"""``avatar-lab <command> ...``: one entry for everything; each command is the ``main`` of one module."""

from __future__ import annotations

import importlib
import importlib.util
import sys

COMMANDS = {
    "render": ("avatar_lab.render", "recordings of the embedded world, to try everything on"),
    "prepare": ("data_prep.prepare", "recordings of two people -> shards and a report"),
    "inspect": ("avatar_lab.inspect_sample", "play one prepared sample back as mp4, with its events"),
    "train": ("avatar_lab.train", "one training stage (Hydra: experiment=..., key=value, --cfg job, --multirun)"),
    "pairs": ("avatar_lab.make_pairs", "store a teacher's trajectories for a few-step start to learn from"),
    "plan": ("avatar_lab.plan", "parameters, memory, time and cost of a run, before anything is rented"),
    "evaluate": ("avatar_lab.evaluate", "checkpoints and reference agents -> measurements and report"),
    "stream": ("avatar_lab.stream", "run a checkpoint on a recording as if live"),
    "export": ("avatar_lab.export", "artefacts from the latest training checkpoint of a run"),
    "runs": ("avatar_lab.runs", "list, show and compare runs"),
    "doctor": ("avatar_lab.doctor", "check this machine and say how to mend what is wrong"),
    "submit": ("avatar_lab.submit", "run an experiment on a Slurm cluster"),
}


def usage() -> str:
    rows = [f"  {name:<9} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["usage: avatar-lab COMMAND ...", "", *rows, "", "avatar-lab COMMAND --help tells more."])


def main() -> None:
    """Entry point of the installed script."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return
    command = arguments[0]
    if command not in COMMANDS:
        print(f"avatar-lab: unknown command {command!r}\n\n{usage()}", file=sys.stderr)
        sys.exit(2)
    module_name, _ = COMMANDS[command]
    sys.argv = [f"avatar-lab {command}", *arguments[1:]]
    started = sys.modules["__main__"]
    if started.__spec__ is None or started.__spec__.name == __spec__.name:
        # processes that Lightning starts for further devices repeat ``python -m <this module> <arguments>``
        started.__spec__ = importlib.util.find_spec(module_name)
    importlib.import_module(module_name).main()


if __name__ == "__main__":
    main()
