import inspect
from dataclasses import fields
from pathlib import Path

import pytest

from avatar_lab.construct import build
from avatar_lab.layout import Layout
from data_prep import config
from data_prep.prepare import prepare
from data_prep.settings import NO_RESULT, Settings
from data_prep.sources.paired_files import PairedFiles
from data_prep.steps.features import FeatureRule
from data_prep.steps.motion import PixelMotion
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo

CONFIGS = Path(__file__).parents[2] / "configs" / "data_prep"


@pytest.mark.parametrize("name", ["paired_files", "world"])
def test_shipped_configurations_build(name: str, tmp_path: Path) -> None:
    built = build(config.load(CONFIGS / f"{name}.yaml", [f"source.root={tmp_path}", "workers=0", "limits.timeout=5"]))
    assert built["source"].name == name
    assert built["layout"] == Layout()
    assert built["limits"].timeout == 5
    assert built["workers"] == 0
    assert callable(built["audio_codec"])


def test_every_setting_is_a_key_of_the_file_and_every_key_a_setting() -> None:
    keys = set(config.load(CONFIGS / "paired_files.yaml", []))
    arguments = {name for name, p in inspect.signature(prepare).parameters.items() if p.kind is not p.VAR_KEYWORD}
    assert keys == arguments | {field.name for field in fields(Settings)}


def test_the_file_says_the_defaults(tmp_path: Path) -> None:
    built = build(config.load(CONFIGS / "paired_files.yaml", [f"source.root={tmp_path}"]))
    parameters = {field.name: built[field.name] for field in fields(Settings)}
    own = {name: parameters.pop(name) for name in ("layout", "work", "steps")} | {"work": tmp_path}
    assert Settings.of(parameters, **own) == Settings(layout=Layout(), work=tmp_path, features=FeatureRule(keys=[])), (
        "the file asks for what a function call must ask for: the data set's own arrays"
    )


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    codecs: dict = {"audio_codec": FakeAudio, "video_codec": FakeVideo}
    with pytest.raises(ValueError, match=r"no setting 'picture' \(did you mean 'pictures'\?\)"):
        prepare(source=PairedFiles(root=tmp_path), out=tmp_path / "out", layout=Layout(), picture=2, **codecs)


def test_all_that_decides_the_shards_is_stated_unless_declared_otherwise(tmp_path: Path) -> None:
    names = {field.name for field in fields(Settings)}
    assert names >= NO_RESULT
    stated = Settings(layout=Layout(), work=tmp_path, motion=PixelMotion()).stated()
    assert set(stated) == names - NO_RESULT - {"layout"}
    assert stated["vad"]["margin"] == 12.0
    assert set(stated["motion"]) == {"pixel_reader", "rules"}


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
