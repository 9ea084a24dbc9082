"""Array tasks side by side, killed and run again, leave what one process leaves; a busy folder is not swept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avatar_lab.data.schema import file_sha256
from avatar_lab.events.vad import VadRule
from data_prep.selection import Share
from data_prep.work_folder import alone, beside_others
from tests.data_prep.fake_codecs import FakeVideo
from tests.data_prep.recordings import write_pair
from tests.data_prep.test_prepare import fingerprint, run

ROOT = Path(__file__).parents[2]
COUNT, KILLED = 3, 1


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    for index in range(7):
        write_pair(root, f"d{index}", seconds=11.0 + index % 3)
    (root / "d4_speaker2.mp4").write_bytes(b"")
    return root


@pytest.mark.parametrize(("index", "count"), [(-1, 3), (3, 3), (0, 0)])
def test_a_share_that_does_not_exist_is_refused(index: int, count: int) -> None:
    with pytest.raises(ValueError, match=r"array\.count"):
        Share(index=index, count=count)


def test_shares_are_disjoint_and_complete() -> None:
    items = list(range(11))
    shares = [Share(index=index, count=4).of(items) for index in range(4)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert list(Share().of(items)) == items


def test_folders_are_shared_by_tasks_and_held_alone_by_whoever_sweeps(tmp_path: Path) -> None:
    refused = pytest.raises(ValueError, match="array tasks are still using")
    with beside_others(tmp_path), beside_others(tmp_path), refused, alone(tmp_path):
        pass
    with alone(tmp_path), pytest.raises(ValueError, match="another preparation is using"), beside_others(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_collecting_leaves_a_running_task_alone(recordings: Path, tmp_path: Path) -> None:
    half = tmp_path / "shards.work" / "encode" / ".half"
    half.mkdir(parents=True)
    with beside_others(tmp_path / "shards.work"), pytest.raises(ValueError, match="array tasks are still using"):
        run(recordings, tmp_path / "shards", max_skipped_share=1.0)
    assert half.is_dir()
    assert not (tmp_path / "shards" / "dataset.json").exists()


def start_task(recordings: Path, out: Path, index: int) -> subprocess.Popen[bytes]:
    program = (
        "from pathlib import Path; from data_prep.selection import Share; "
        "from tests.data_prep.test_prepare import run; "
        f"run(Path({str(recordings)!r}), Path({str(out)!r}), array=Share(index={index}, count={COUNT}), "
        f"workers={int(index == KILLED)})"
    )
    return subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)


@pytest.mark.ci
def test_tasks_of_which_one_is_killed_leave_the_bytes_of_one_process(recordings: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "shards", tmp_path / "shards.work"
    tasks = [start_task(recordings, out, index) for index in range(COUNT)]
    deadline = time.monotonic() + 120
    while not list((work / "encode").glob("*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    tasks[KILLED].send_signal(signal.SIGKILL)
    assert [task.wait() for task in tasks] == [0, -signal.SIGKILL, 0]
    assert not out.exists()
    assert start_task(recordings, out, KILLED).wait() == 0
    finished = {path: path.stat().st_mtime_ns for path in work.rglob("result.json")}

    info = run(recordings, out, max_skipped_share=1.0)
    assert info == run(recordings, tmp_path / "one", max_skipped_share=1.0)
    assert len(fingerprint(out)) > 1
    assert fingerprint(out) == fingerprint(tmp_path / "one")
    assert file_sha256(out / "dataset.json") == file_sha256(tmp_path / "one" / "dataset.json")
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    new = {path.parent.parent.name for path in work.rglob("result.json") if path not in finished}
    assert new <= {"sheet"}  # which only the report draws
    assert not list(work.glob("*/.*"))


def test_slurm_scripts_ask_for_an_array_and_then_the_shards(tmp_path: Path) -> None:
    """With stand-ins for ``sbatch`` and ``srun`` that write down how they were called."""
    for name, answer in (("sbatch", "4711;cluster"), ("srun", "")):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/{name}.log\necho "{answer}"\n')
        (tmp_path / name).chmod(0o755)
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    env = outside | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SBATCH_OPTIONS": "-p long"}
    script = ROOT / "slurm" / "prepare.sh"
    subprocess.run(["bash", str(script), "8", "out=x"], env=env, check=True, capture_output=True)
    array, collect = (tmp_path / "sbatch.log").read_text().splitlines()
    job = ROOT / "slurm" / "prepare.sbatch"
    assert array == f"--parsable -p long --array=0-7 {job} out=x array.count=8"
    assert collect == f"-p long --dependency=afterok:4711 {job} out=x"
    for task in ({"SLURM_ARRAY_TASK_ID": "5"}, {}):
        subprocess.run(["bash", str(job), "out=x"], env=env | task | {"SLURM_SUBMIT_DIR": str(tmp_path)}, check=True)
    calls = (tmp_path / "srun.log").read_text().splitlines()
    assert [call.split()[-2:] for call in calls] == [["out=x", "array.index=5"], ["out=x", "array.index=null"]]


@pytest.mark.ci
def test_results_of_other_parameters_never_mix(recordings: Path, tmp_path: Path) -> None:
    """Tasks that were started with different parameters: collecting takes what fits and computes the rest."""
    out = tmp_path / "shards"
    for index, changes in enumerate(({"pictures": 2}, {"vad": VadRule(margin=20.0)}, {"video_codec": OtherVideo})):
        assert run(recordings, out, array=Share(index=index, count=COUNT), **changes) is None
    info = run(recordings, out, max_skipped_share=1.0)
    assert info == run(recordings, tmp_path / "one", max_skipped_share=1.0)
    assert fingerprint(out) == fingerprint(tmp_path / "one")


class OtherVideo(FakeVideo):
    def __init__(self) -> None:
        super().__init__(fingerprint="other-video")
