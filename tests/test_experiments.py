"""What stands beside the package: the scripts of recorded runs, and the two files that tell of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.test_configs import GRAPH

FOLDER = Path(__file__).parent.parent / "experiments"
RUN = re.compile(r"\[.+?\]\(runs\.md#([\w-]+)\)")


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(FOLDER / script), *arguments], capture_output=True, text=True, timeout=10, check=False
    )


def rows() -> list[list[str]]:
    """Cells of every recorded run in README.md."""
    lines = (FOLDER / "README.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if RUN.match(line.strip("| "))]


def test_every_stage_of_the_quickstart_can_be_set() -> None:
    refused = run("quickstart.sh", "--set", "nonsense:training.steps=1")
    assert refused.returncode == 2
    assert refused.stderr.split("STAGE of ")[1].split() == list(GRAPH)


@pytest.mark.parametrize(
    "setting", ["teacher", "teacher:", "training.steps=1", "teacher:a=1 b=2", "teacher autoregressive:a=1"]
)
def test_a_setting_without_its_stage_is_refused(setting: str) -> None:
    refused = run("quickstart.sh", "--set", setting)
    assert refused.returncode == 2
    assert "STAGE:KEY=VALUE" in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [[], ["outputs/x", "suite=long"], ["--held-out", "2", "--", "suite=long"], ["outputs/x", "--", "suite=long"]],
)
def test_held_out_says_how_it_is_called(arguments: list[str]) -> None:
    refused = run("held_out.sh", *arguments)
    assert refused.returncode == 2
    assert "ROOT RENDERING... -- SETTING..." in refused.stderr


def test_every_recorded_run_has_a_command_and_its_figures() -> None:
    found = rows()
    assert len(found) > 50
    headings = re.findall(r"^## (.+)$", (FOLDER / "runs.md").read_text(), flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    for what, command, commit, *others in found:
        assert len(others) == 4, what
        assert command.startswith("`"), f"{what}: which command makes it again?"
        assert re.search(r"[0-9a-f]{7}", commit), what
        assert RUN.findall(what)[0] in anchors, what
