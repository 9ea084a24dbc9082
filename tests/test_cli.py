"""The command line as a user meets it: what it prints, what it leaves on disk, how it ends."""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from avatar_lab import cli, doctor
from avatar_lab.training.metrics_log import read_rows

CODEC = ["experiment=codec_audio", "data.batch_size=2", "data.dataset.num_tokens=8", "training.log_every_steps=1"]
Command = Callable[..., int]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run ``avatar-lab ...`` in this process; returns the exit code."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["avatar-lab", *arguments])
        try:
            cli.main()
        except SystemExit as end:
            if isinstance(end.code, str):
                sys.stderr.write(end.code)
                return 1
            return end.code or 0
        return 0

    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield run
    root.handlers[:] = handlers
    root.setLevel(level)


def test_usage_names_every_command(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command() == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.COMMANDS)
    assert command("fly") == 2
    assert "unknown command 'fly'" in capsys.readouterr().err


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_main(name: str) -> None:
    assert callable(importlib.import_module(cli.COMMANDS[name][0]).main)


def test_train_leaves_a_folder_that_describes_itself(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a"
    assert command("train", *CODEC, f"out={out}", "training.steps=3") == 0
    assert [row["step"] for row in read_rows(out / "metrics.jsonl")] == [1, 2, 3]
    assert yaml.safe_load((out / "config.yaml").read_text())["training"]["steps"] == 3
    done = json.loads((out / "done.json").read_text())
    assert done["artefacts"] == ["tiny_audio.safetensors"]
    assert 0 < done["seconds"]["saving"] < done["seconds"]["all"]
    assert done["command"][1:] == [*CODEC, f"out={out}", "training.steps=3"]
    assert (out / "tiny_audio.safetensors").stat().st_size > 1000
    capsys.readouterr()

    assert command("train", *CODEC, f"out={out}", "training.steps=4") == 0
    shown = capsys.readouterr().out
    assert "restored step 3 of 4" in shown
    assert "config changed since the last start: training.steps: 3 -> 4" in shown
    assert [row["step"] for row in read_rows(out / "metrics.jsonl")] == [1, 2, 3, 4]

    assert command("train", *CODEC, f"out={out}", "data.batch_size=3") == 2
    assert "holds a run with another config (data.batch_size: 2 -> 3)" in capsys.readouterr().out

    assert command("runs", "ls", str(tmp_path)) == 0
    assert "done         4/4" in capsys.readouterr().out
    assert command("runs", "show", str(out)) == 0
    assert "codec/loss/level" in capsys.readouterr().out
    assert command("export", str(out), "--to", str(tmp_path / "to")) == 0
    exported = (tmp_path / "to" / "tiny_audio.safetensors").read_bytes()
    assert exported == (out / "tiny_audio.safetensors").read_bytes()
    (out / "done.json").unlink()
    assert command("export", str(out), "--to", str(tmp_path / "again")) == 0
    assert (tmp_path / "again" / "tiny_audio.safetensors").read_bytes() == exported


def test_dry_run_describes_and_trains_nothing(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("train", *CODEC, f"out={tmp_path / 'dry'}", "+dry_run=true") == 0
    shown = capsys.readouterr().out
    for part in ("worst reaction", "M parameters", "memory", "wav_S", "GFLOP forward and backward", "of activations"):
        assert part in shown
    assert not (tmp_path / "dry").exists()


def test_dry_run_without_data_still_describes(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("train", "experiment=quickstart/teacher", f"root={tmp_path}", "+dry_run=true") == 0
    shown = capsys.readouterr().out
    assert "role     teacher" in shown
    assert "batch    none" in shown


def test_multirun_gives_each_job_a_folder(command: Command, tmp_path: Path) -> None:
    arguments = [*CODEC, f"out={tmp_path / 'sweep'}", "training.steps=1", "seed=0,1"]
    assert command("train", "--multirun", *arguments) == 0
    seeds = [yaml.safe_load(path.read_text())["seed"] for path in sorted(tmp_path.glob("sweep/*/config.yaml"))]
    assert seeds == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sead=1"], "Could not override 'sead'; see all keys with --cfg job"),
        (["experiment=quickstart/teecher"], "(did you mean 'quickstart/teacher'?); there are ablation/all_steps, "),
        (["experiment=quickstart/teacher", "layout.block_seconds=0.9"], "choose block_seconds so that it holds whole"),
        (["+training.stepz=1", *CODEC], "has no argument 'stepz' (did you mean 'steps'?)"),
        (["experiment=quickstart/autoregressive", "root=/nonexistent"], "train the stage that makes it first"),
        ([], "no stage chosen"),
    ],
)
def test_mistakes_are_one_sentence(
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("train", *arguments, f"out={tmp_path / 'x'}") == 2
    errors = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert sentence in errors[0]


def test_submit_prints_a_script_that_survives_preemption(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["experiment=quickstart/teacher", "cluster=slurm", "cluster.sbatch.partition=long", "seed=3"]
    assert command("submit", *arguments, "--print") == 0
    text = capsys.readouterr().out
    for line in ("--requeue", "--open-mode=append", "--signal=USR1@120", "--ntasks-per-node=1", "--partition=long"):
        assert f"#SBATCH {line}\n" in text
    assert "--account" not in text
    assert re.search(
        r"srun --kill-on-bad-exit=0 --wait=0 python -m avatar_lab.train --submitted \S+/submitted/[0-9a-f]{16}.yaml",
        text,
    )
    assert "  99) again=yes ;;" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
    assert f"\ncd {Path.cwd()}\n" in text


def test_submit_wants_a_cluster(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("submit", "experiment=quickstart/teacher", "--print") == 1
    assert "add cluster=slurm" in capsys.readouterr().err


def test_doctor_tells_what_to_mend(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> list[doctor.Finding]:
        return [
            doctor.Finding(name="good", ok=True, needed=True, seen="1.0"),
            doctor.Finding(name="wing", ok=False, needed=True, seen="torn", mend="sew it"),
            doctor.Finding(name="hat", ok=False, needed=False, seen="lost", mend="buy one"),
        ]

    monkeypatch.setattr(doctor, "CHECKS", (broken,))
    assert command("doctor") == 1
    shown = capsys.readouterr().out
    assert "FAIL  wing" in shown
    assert "-> sew it" in shown
    assert "note  hat" in shown
    assert "broken: wing" in shown
    assert doctor.imports("import no_such_module_at_all") is not None


@pytest.mark.ci
def test_doctor_finds_this_environment_whole(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("doctor") == 0
    assert "all that is needed is here" in capsys.readouterr().out


def start_training(out: Path) -> subprocess.Popen[str]:
    """A training process that has done at least one step."""
    process = subprocess.Popen(
        [sys.executable, "-m", "avatar_lab.train", *CODEC, f"out={out}", "training.steps=100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    end = time.monotonic() + 120
    while not (out / "metrics.jsonl").exists() or not (out / "metrics.jsonl").read_text():
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < end
        time.sleep(0.1)
    return process


@pytest.mark.ci
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 99)])
def test_a_signal_saves_and_ends(tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = start_training(tmp_path)
    process.send_signal(number)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == code, shown
    assert f"by {number.name}; the same command goes on from here" in shown
    saved = sorted(tmp_path.glob("checkpoints/step_*/manifest.json"))
    assert json.loads(saved[-1].read_text())["step"] == read_rows(tmp_path / "metrics.jsonl")[-1]["step"]
    assert not (tmp_path / "done.json").exists()


def test_row_23_a_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    program = (
        "import time\n"
        "from avatar_lab.training.interrupts import Interrupts\n"
        "with Interrupts() as interrupts:\n"
        "    print('ready', flush=True)\n"
        "    while interrupts.received is None:\n"
        "        time.sleep(0.01)\n"
        "    print('asked', flush=True)\n"
        "    time.sleep(600)\n"  # a step that takes long
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for expected in ("ready", "asked"):
        assert process.stdout.readline().strip() == expected
        process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130


SKEWED = """
import socket, time
real, calls = time.time, []
def backwards():
    calls.append(1)
    return real() - 3600 * {hours} - len(calls)
time.time = backwards
def refuse(*_, **__):
    raise OSError("no network")
socket.getaddrinfo = socket.socket.connect = refuse
"""


@pytest.mark.ci
def test_row_28_a_skewed_clock_and_no_network_cost_nothing(tmp_path: Path) -> None:
    """A run in a time zone of half hours, offline, on a clock that goes backwards, and goes on an hour before."""
    for hours, steps in ((0, 2), (1, 4)):
        (tmp_path / "sitecustomize.py").write_text(SKEWED.format(hours=hours))
        environment = os.environ | {
            "PYTHONPATH": f"{tmp_path}:{Path.cwd()}",
            "TZ": "America/St_Johns",
            "HF_HUB_OFFLINE": "1",
        }
        command = [sys.executable, "-m", "avatar_lab.train", *CODEC, f"out={tmp_path}/run", f"training.steps={steps}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert rows[-1]["step"] == 4
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds), "durations do not come from the clock on the wall"
    assert json.loads((tmp_path / "run" / "done.json").read_text())["steps"] == 4
