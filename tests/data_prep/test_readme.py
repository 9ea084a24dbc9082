"""The commands that ``data_prep/README.md`` gives for Seamless, as they stand there, on a miniature of the release."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from avatar_lab.data.shards import ShardReader
from data_prep.prepare import main
from tests.data_prep.seamless_tree import bundle, write_tar

README = Path(__file__).parents[2] / "data_prep" / "README.md"
PAIRS = [(f"V00_S{session:04d}_I0100_P0001A", f"V00_S{session:04d}_I0100_P0002") for session in range(1, 4)]


@pytest.mark.ci
def test_fifty_hours_tonight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    release, shards = tmp_path / "release", tmp_path / "shards"
    for number, file_ids in enumerate(zip(*PAIRS, strict=True)):  # partners in different archives
        bundles = {file_id: bundle(tmp_path, file_id, speech=None) for file_id in file_ids}
        write_tar(release / "improvised" / "train" / "0000" / f"{number:04d}.tar", bundles)
    monkeypatch.chdir(README.parents[1])
    section = README.read_text().split("## Fifty hours tonight")[1].split("\n## ")[0]
    places = {"RELEASE": str(release), "SHARDS": str(shards), "workers=16": "workers=0"}
    commands = []
    for line in re.findall(r"^    avatar-lab prepare (.*)$", section, re.MULTILINE):
        for name, value in places.items():
            line = line.replace(name, value)
        commands.append(shlex.split(line))
    plan, one_machine, *tasks = commands
    assert "plan=true" in plan
    assert [f"array.index={index}" in task for index, task in enumerate(tasks)] == [True] * 4
    main(plan)
    assert "recordings                 3" in capsys.readouterr().out
    for task in tasks:
        main(task)
    assert not shards.exists()
    main(one_machine)
    reader = ShardReader(shards)
    assert sorted(reader.rows) == [pair[0].rpartition("_")[0] for pair in PAIRS]
    assert (shards / "report.html").is_file()
