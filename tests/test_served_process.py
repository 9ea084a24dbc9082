"""Helper processes: answers come back, refusals and deaths are said, and the next request finds a fresh process."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from avatar_lab import served_process
from avatar_lab.served_process import ServedProcess
from avatar_lab.serving import Fault, Refusal

ROOT = Path(__file__).parent.parent


@pytest.fixture
def helper() -> Iterator[ServedProcess]:
    with ServedProcess(sys.executable, "tests.answering", "one", "two", timeout=60.0) as process:
        yield process


def pid_of(helper: ServedProcess) -> int:
    return int(next(iter(list(helper.ask({"op": "echo"}, about="x"))))[0]["pid"])


def test_answers_come_back_in_order(helper: ServedProcess) -> None:
    payload = bytes(range(256)) * 4096  # more than a pipe holds
    answers = list(helper.ask({"op": "echo"}, about="x", payload=payload))
    assert [bytes(answer) for _, answer in answers] == [payload[::2], payload[1::2]]
    assert answers[0][0]["arguments"] == ["one", "two"]
    assert helper.cpu_seconds > 0


def test_a_refusal_leaves_the_process_alive(helper: ServedProcess) -> None:
    before = pid_of(helper)
    for operation, reason, detail in (
        ("refuse", "no_audio", "a.mp4: there is none"),
        ("fail", Fault.UNREADABLE, "a.mp4: ValueError: odd file"),
        ("exhaust", Fault.TOO_LARGE, "memory limit"),
    ):
        with pytest.raises(Refusal) as refused:
            list(helper.ask({"op": operation}, about="a.mp4"))
        assert refused.value.reason == reason
        assert detail in refused.value.detail
    assert pid_of(helper) == before


@pytest.mark.parametrize(
    ("operation", "reason", "detail"),
    [("crash", Fault.UNREADABLE, "crashed"), ("hang", Fault.TIMEOUT, "no answer within 1 s")],
)
def test_a_fresh_process_follows_one_that_died(
    helper: ServedProcess, operation: str, reason: Fault, detail: str
) -> None:
    before = pid_of(helper)
    process, helper._timeout = helper._process, 1.0
    with pytest.raises(Refusal, match=f"a.mp4: .*{detail}") as refused:
        list(helper.ask({"op": operation}, about="a.mp4"))
    assert refused.value.reason == reason
    assert process is not None
    assert process.poll() is not None, "it was killed"
    helper._timeout = 60.0
    assert pid_of(helper) != before


def test_what_is_no_helper_is_said(tmp_path: Path) -> None:
    shell = tmp_path / "shell"
    shell.write_text("#!/bin/sh\nread request\necho hello\n")
    shell.chmod(0o755)
    said = r"x: the helper process says b'hello\\n', which is no answer"
    with ServedProcess(str(shell), "tests.answering", timeout=60.0) as process, pytest.raises(Refusal, match=said):
        list(process.ask({"op": "echo"}, about="x"))
    with ServedProcess("nowhere/python", "tests.answering", timeout=60.0) as process, pytest.raises(FileNotFoundError):
        list(process.ask({"op": "echo"}, about="x"))


def test_a_helper_takes_this_code_only_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the code is installed, the folder is full of packages that are made for another interpreter."""
    for name in ("avatar_lab/__init__.py", "avatar_lab/serving.py", "avatar_lab/lifetime.py", "tests/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "tests" / "answering.py", tmp_path / "tests")
    (tmp_path / "numpy.py").write_text("")
    monkeypatch.setattr(served_process, "_ROOT", tmp_path)
    with ServedProcess(sys.executable, "tests.answering", timeout=60.0) as process:
        origins = []
        for module in ("avatar_lab.serving", "numpy"):
            ((header, _),) = process.ask({"op": "where", "module": module}, about=module)
            origins.append(header["origin"])
    assert origins[0] == str(tmp_path / "avatar_lab" / "serving.py")
    assert origins[1] != str(tmp_path / "numpy.py")
