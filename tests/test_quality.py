"""Lint, format and types, as tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYTHON = ["avatar_lab", "data_prep", "configs", "tests", "experiments"]


def check(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_lint() -> None:
    check("ruff", "check", *PYTHON)


def test_format() -> None:
    check("ruff", "format", "--check", *PYTHON)


@pytest.mark.ci
def test_types() -> None:
    check("mypy")


@pytest.mark.parametrize("script", sorted(ROOT.glob("**/*.sh")) + [ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_shell_scripts_stop_at_errors(script: Path) -> None:
    if ".venv" in script.parts:
        return
    text = script.read_text()
    assert "set -euo pipefail" in text
    subprocess.run(["bash", "-n", str(script)], check=True)
