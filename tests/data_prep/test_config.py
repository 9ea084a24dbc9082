from pathlib import Path

import pytest

from avatar_lab.construct import build
from avatar_lab.layout import Layout
from data_prep import config

CONFIGS = Path(__file__).parents[2] / "configs" / "data_prep"


@pytest.mark.parametrize("name", ["paired_files", "world"])
def test_shipped_configurations_build(name: str, tmp_path: Path) -> None:
    built = build(config.load(CONFIGS / f"{name}.yaml", [f"source.root={tmp_path}", "workers=0", "limits.timeout=5"]))
    assert built["source"].name == name
    assert built["layout"] == Layout()
    assert built["limits"].timeout == 5
    assert built["workers"] == 0
    assert callable(built["audio_codec"])


def test_extended_file_keeps_the_rest() -> None:
    base, world = (config.load(CONFIGS / f"{name}.yaml", []) for name in ("paired_files", "world"))
    assert world["source"]["suffixes"] == base["source"]["suffixes"]
    assert (base["source"]["non_commercial"], world["source"]["non_commercial"]) == (True, False)


def test_another_source_replaces_the_whole_source(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("source: {_target_: a.B, suffixes: [x, y]}\nlimits: {timeout: 1, max: 2}\n")
    (tmp_path / "own.yaml").write_text("extends: base.yaml\nsource: {_target_: c.D, root: r}\nlimits: {max: 3}\n")
    loaded = config.load(tmp_path / "own.yaml", [])
    assert loaded == {"source": {"_target_": "c.D", "root": "r"}, "limits": {"timeout": 1, "max": 3}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("worker=1", r"no key 'worker' \(did you mean 'workers'"),
        ("source.rot=x", r"did you mean 'source.root'"),
        ("workers.many=1", "no key 'workers.many'"),
        ("workers", "must have the form"),
    ],
)
def test_unknown_overrides_are_refused(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config.load(CONFIGS / "paired_files.yaml", [override])


def test_only_this_project_is_built() -> None:
    with pytest.raises(ValueError, match="refused"):
        build({"_target_": "os.system", "command": "true"})


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    for text, message in (("- a", "must hold a mapping"), ("a: [", "no valid YAML")):
        path = tmp_path / "bad.yaml"
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            config.load(path, [])
    with pytest.raises(ValueError, match="does not exist"):
        config.load(tmp_path / "none.yaml", [])
