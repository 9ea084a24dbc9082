"""The shape of the code base: who may import whom, how long a file may be, what a file may be called."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAX_LINES = 300

FLOORS = (
    {
        *("layout", "level", "tensors", "sharded", "codebook", "context", "event_types", "human"),
        *("figure_style", "page_style", "precision", "allocator", "weight_file", "construct", "lifetime"),
        *("serving", "served_process", "mediapipe_process", "secret_values"),
    },
    {"codec", "data", "world", "events", "perception", "model", "diffusion"},
    {"avatar_model", "checkpoint", "shipped", "rollout"},
    {"objective"},
    {"stage", "evaluation"},
    {"training"},
    {
        *(
            "config",
            "train",
            "evaluate",
            "evaluate_config",
            "stream",
            "cli",
            "render",
            "export",
            "submit",
            "runs",
            "doctor",
        ),
        *("dry_run", "run_folder", "run_table", "inspect_sample", "gate", "judge", "validation", "model_card"),
        *(
            "make_pairs",
            "run_lock",
            "run_graph",
            "plan",
            "plan_trace",
            "plan_table",
            "provenance",
            "cost_model",
            "imagine",
            "kept_tensors",
        ),
    },
)
"""Packages and modules of ``avatar_lab`` from the ground up; a floor imports its own and lower ones. The packages of
the second one do not see each other."""
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
SEPARATE_FLOOR, TRAINING_FLOOR, ENTRY_FLOOR = 1, 5, 6

DATA_PREP_SEES = FLOORS[0] | {"codec", "events", "perception", "world", "data.schema"}
ONLY_IN = {"lightning": {TRAINING_FLOOR}, "hydra": {ENTRY_FLOOR}, "omegaconf": {ENTRY_FLOOR}}
NEVER_AT_TOP = {"torchaudio", "torchcodec", "flash_attn", "transformers", "diffusers", "huggingface_hub"}
"""Optional libraries, and ones whose wheels may not load on a machine without CUDA; import them where they are used."""
TOP_LEVEL = {
    *("pyproject.toml", "README.md", "avatar_lab", "configs", "data_prep", "experiments", "tests", "slurm"),
    *(".ci", ".gitignore", ".gitattributes"),
}
MEANINGLESS = re.compile(r"(^|/)(utils?|helpers?|misc|common)(\.py|/)")
RULED_OUT = re.compile(
    r"getattr\((self\.)?(cfg|config|args)|\b(cfg|config)\.get\(|if (self\.)?(name|kind|type|mode) == \"|"
    r"\bTODO\b|\bFIXME\b|NotImplementedError"
)

FILES = sorted([*ROOT.glob("avatar_lab/**/*.py"), *ROOT.glob("data_prep/**/*.py"), *ROOT.glob("configs/*.py")])


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(params=FILES, ids=name_of, scope="module")
def source(request: pytest.FixtureRequest) -> tuple[Path, str, ast.Module]:
    text = request.param.read_text()
    return request.param, text, ast.parse(text)


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything imported below ``tree``, ``from a import b`` as ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def component(dotted: str) -> str | None:
    """First name below ``avatar_lab``, or None for anything else."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "avatar_lab" and len(parts) > 1 else None


def test_imports_point_downwards(source: tuple[Path, str, ast.Module]) -> None:
    path, _, tree = source
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] != "avatar_lab" or parts[1] == "__init__":
        return
    assert parts[1] in FLOOR_OF, f"{parts[1]} has no floor: add it to FLOORS"
    own = FLOOR_OF[parts[1]]
    for dotted in imported(tree):
        assert not dotted.startswith("data_prep"), f"{dotted}: start data_prep by module name instead"
        other = component(dotted)
        if other is None:
            continue
        floor = FLOOR_OF[other]
        assert floor <= own, f"{dotted} lies on floor {floor}, above floor {own}"
        if own == floor == SEPARATE_FLOOR:
            assert other == parts[1], f"{parts[1]} and {other} are siblings and must not see each other"


def test_data_prep_sees_little(source: tuple[Path, str, ast.Module]) -> None:
    path, _, tree = source
    if path.relative_to(ROOT).parts[0] != "data_prep":
        return
    for dotted in imported(tree):
        if component(dotted) is not None:
            inside = dotted.removeprefix("avatar_lab.")
            assert any(f"{inside}.".startswith(f"{name}.") for name in DATA_PREP_SEES), f"data_prep imports {dotted}"


def test_libraries_stay_in_their_place(source: tuple[Path, str, ast.Module]) -> None:
    path, _, tree = source
    parts = path.relative_to(ROOT).with_suffix("").parts
    floor = FLOOR_OF.get(parts[1]) if parts[0] == "avatar_lab" else None
    for dotted in imported(tree):
        library = dotted.split(".")[0]
        assert floor in ONLY_IN.get(library, {floor}), f"{library} may only be imported on floor {ONLY_IN[library]}"
    at_top = ast.Module(body=[n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], type_ignores=[])
    for dotted in imported(at_top):
        assert dotted.split(".")[0] not in NEVER_AT_TOP, f"import {dotted} inside the function that needs it"


def test_file_is_readable(source: tuple[Path, str, ast.Module]) -> None:
    path, text, tree = source
    lines = text.splitlines()
    assert len(lines) <= MAX_LINES, f"{len(lines)} lines; one concept per file"
    assert ast.get_docstring(tree), "a module starts by saying what it is"
    assert not MEANINGLESS.search(name_of(path)), "the name says nothing"
    found = [f"{number}: {line.strip()}" for number, line in enumerate(lines, 1) if RULED_OUT.search(line)]
    assert not found, found


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git clone")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def test_top_level_is_fixed() -> None:
    assert {name.split("/")[0] for name in tracked()} <= TOP_LEVEL


def test_nothing_large_is_tracked() -> None:
    large = [name for name in tracked() if (ROOT / name).stat().st_size > 8 * 2**20]
    assert not large


def test_every_floor_exists() -> None:
    """A name that no longer exists would silently permit whatever is called so later."""
    found = {path.stem for path in (ROOT / "avatar_lab").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert set(FLOOR_OF) <= found, set(FLOOR_OF) - found
