"""Row 30: what the environment keeps secret reaches no file by way of a config."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from avatar_lab.config import load
from avatar_lab.secret_values import refuse_secrets
from data_prep.config import load as load_preparation

SECRET = "hf_4711abcdef"


@pytest.mark.parametrize(
    "override", ["out=/runs/${oc.env:HF_TOKEN}", f"+training.sinks.{SECRET}.x=1", f"data.root=s3://me:{'x' * 9}@host/a"]
)
def test_a_secret_is_refused_by_its_place_and_not_shown(monkeypatch: pytest.MonkeyPatch, override: str) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    with pytest.raises(ValueError, match=r"holds (the value of \$HF_TOKEN|an address with a password)") as refused:
        load(["experiment=quickstart/teacher", override])
    assert SECRET not in str(refused.value)
    assert "xxx" not in str(refused.value)


def test_preparation_refuses_it_too(tmp_path: Path) -> None:
    path = tmp_path / "prepare.yaml"
    path.write_text("out: null\n")
    with pytest.raises(ValueError, match=r"^out holds an address with a password"):
        load_preparation(path, ["out=https://me:pass@host/x"])


def test_words_paths_and_plain_addresses_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT_KEY", "runs")
    monkeypatch.setenv("KEYBOARD", "quickstart")
    refuse_secrets({"out": "/scratch/runs", "name": "quickstart", "root": "https://host:80/a@b", "steps": [1, None]})
    refuse_secrets({"root": "ssh://git@host/x"})
    with pytest.raises(ValueError, match=r"^root holds an address"):
        refuse_secrets({"root": f"https://{'t' * 36}@host/x"})


@pytest.mark.ci
def test_a_run_with_one_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", SECRET)
    command = [sys.executable, "-m", "avatar_lab.train", "experiment=codec_audio", f"out={tmp_path}/x_{SECRET}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "out holds the value of $MY_SECRET" in done.stdout
    assert SECRET not in done.stdout
    assert not list(tmp_path.iterdir())
