"""Every notebook runs from top to bottom on a small result, and is kept as it should be: small, without outputs."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.codec.tiny_video import TinyVideo
from avatar_lab.layout import Layout
from avatar_lab.world.record import write_dataset
from avatar_lab.world.worlds import WorldName, make_world
from data_prep.prepare import prepare
from data_prep.sources.paired_files import PairedFiles
from tests.evaluation.planted_result import write_result

FOLDER = Path(__file__).parent.parent.parent / "experiments" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SHOWN = {
    "compare_checkpoints": ["DataFrame", "DataFrame", "DataFrame", "DataFrame", "Svg"],
    "does_it_listen": ["DataFrame", "Svg", "DataFrame", "DataFrame", "DataFrame", "Svg", "DataFrame"],
    "does_it_see": ["DataFrame", "Svg", *["DataFrame"] * 3, "Svg", "DataFrame", "DataFrame"],
    "inspect_sample": ["DataFrame", "Player", "Svg", "Svg"],
    "latency": ["DataFrame", "DataFrame", "Svg", "Svg", "DataFrame"],
}
"""What the cells of each end with."""
MAX_SECONDS = 60.0
MAX_LINES = 5
"""Of a cell, beside its imports: what takes more belongs into the package."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Planted agents, and a conversation of the embedded world through the real codecs."""
    root = write_result(tmp_path_factory.mktemp("notebooks"), num_dyads=6)
    write_dataset(
        root / "recordings",
        num_dialogues=1,
        seconds=12.0,
        seed=0,
        held_out=False,
        graph=make_world(WorldName.QUICKSTART, None, held_out=False),
        workers=1,
        progress=lambda done, total: None,
    )
    prepare(
        source=PairedFiles(root=root / "recordings"),
        out=root / "shards",
        layout=Layout(),
        audio_codec=TinyAudio.load,
        video_codec=TinyVideo.load,
        splits={"train": 1.0},
        workers=0,
    )
    return root


@pytest.fixture(autouse=True)
def environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "root" in request.fixturenames:
        root = request.getfixturevalue("root")
        monkeypatch.setenv("AVATAR_LAB_OUT", str(root))
        monkeypatch.setenv("AVATAR_LAB_SHARDS", str(root / "shards"))
        monkeypatch.chdir(FOLDER)


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def shown_by(path: Path) -> Iterator[object]:
    """What each cell ends with, all run in one namespace as a kernel would."""
    space: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells(path, "code"):
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop()
        assert isinstance(last, ast.Expr), "a cell ends with what it shows"
        exec(compile(tree, str(path), "exec"), space)
        yield eval(compile(ast.Expression(last.value), str(path), "eval"), space)


@pytest.mark.ci
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_from_top_to_bottom(path: Path, root: Path) -> None:
    start = time.process_time()
    shown = list(shown_by(path))
    assert [type(value).__name__ for value in shown] == SHOWN[path.stem]
    for value in shown:
        assert len(value) > 0
    assert time.process_time() - start <= MAX_SECONDS


@pytest.mark.ci
@pytest.mark.skipif(find_spec("ipykernel") is None or find_spec("nbclient") is None, reason="needs .[notebooks]")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_in_a_kernel(path: Path, root: Path) -> None:
    import nbclient
    import nbformat

    done = nbclient.NotebookClient(nbformat.read(path, as_version=4), timeout=MAX_SECONDS).execute()
    outputs = [cell.outputs[-1] for cell in done.cells if cell.cell_type == "code"]
    kinds = {"DataFrame": "text/html", "Player": "text/html", "Svg": "image/svg+xml"}
    assert all(kinds[name] in output.data for name, output in zip(SHOWN[path.stem], outputs, strict=True))


def test_notebooks_are_those_of_the_design() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(SHOWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stripped_and_its_cells_are_short_and_explained(path: Path) -> None:
    assert path.stat().st_size < 20_000
    for cell in cells(path, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        lines = "".join(cell["source"]).splitlines()
        assert len([line for line in lines if line and not line.startswith(("import ", "from "))]) <= MAX_LINES
    kinds = [cell["cell_type"] for cell in json.loads(path.read_text())["cells"]]
    assert kinds[0] == "markdown"
    first, *others = cells(path, "code")
    assert "os.environ.get(" in "".join(first["source"])
    assert not any("environ" in "".join(cell["source"]) for cell in others)
    unexplained = [n for n in range(2, len(kinds)) if kinds[n] == "code" and "markdown" not in kinds[n - 2 : n]]
    assert not unexplained, "say before a cell what there is to see"
