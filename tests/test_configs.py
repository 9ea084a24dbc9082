"""Every experiment composes, fits the signatures it names, and builds on the meta device."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from avatar_lab.config import RunConfig, build_layout, load
from avatar_lab.construct import build, locate
from avatar_lab.layout import Layout
from avatar_lab.run_folder import write_artefacts
from avatar_lab.train import build_stage, shared_objects

CONFIGS = Path(__file__).parent.parent / "configs"
FILES = sorted(CONFIGS.glob("experiment/**/*.yaml"))
EXPERIMENTS = [str(path.relative_to(CONFIGS / "experiment").with_suffix("")) for path in FILES]
GRAPH = ("teacher", "autoregressive", "initialise", "self_forcing", "preference", "see_teacher", "see")
"""Stages in the order in which one needs the artefacts of another."""
GRAPHS = sorted(name.removesuffix("/teacher") for name in EXPERIMENTS if name.endswith("/teacher"))
LATER = [name for name in EXPERIMENTS if name.startswith(("ablation/", "further/"))]
"""What starts from a finished graph."""
SMALL = ["model.width=32", "model.num_heads=2", "model.num_layers=1"]


def targets(node: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every node with a ``_target_``, with its place."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from targets(value, f"{path}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from targets(value, f"{path}.{index}")


def check_signature(node: Mapping[str, Any], place: str) -> None:
    parameters = inspect.signature(locate(node["_target_"])).parameters
    for key in set(node) - {"_target_", "_args_", "_partial_"}:
        assert key in parameters, f"{place}: {node['_target_']} has no argument {key}"
        kind = parameters[key].kind
        assert kind is not inspect.Parameter.POSITIONAL_ONLY, f"{place}.{key} cannot be given by name"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_fits_its_constructors(name: str) -> None:
    config = load([f"experiment={name}"])
    found = list(targets(vars(config)))
    assert any(place == ".stage" for place, _ in found), "an experiment chooses a stage"
    for place, node in found:
        check_signature(node, place)
        assert node["_target_"].startswith(("avatar_lab.", "data_prep."))
    assert build(config.training).steps == config.training["steps"]
    assert config.out != "outputs/run/train", "an experiment names its own folder"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_says_how_to_run_it(name: str) -> None:
    lines = (CONFIGS / "experiment" / f"{name}.yaml").read_text().splitlines()
    header = " ".join(line for line in lines if line.startswith("#"))
    assert f"experiment={name}" in header, "the header gives the command"
    for word in ("Hardware:", "Time", "xpected"):
        assert word in header, f"the header lacks {word}"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*/**/*.yaml")), ids=lambda p: str(p.relative_to(CONFIGS)))
def test_yaml_says_what_it_is(path: Path) -> None:
    assert path.read_text().startswith("#"), "a yaml begins with a comment"
    yaml.safe_load(path.read_text())


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if "/" not in name])
def test_single_stage_builds_on_meta(name: str) -> None:
    config = load([f"experiment={name}"])
    shared = shared_objects(config)
    with torch.device("meta"):
        stage = build_stage(config, shared)
    assert set(config.training["optimizers"]) == set(stage.trained)
    fresh = [p for role in stage.trained for p in stage.roles[role].parameters()]
    assert fresh
    assert all(p.is_meta for p in fresh)


@pytest.mark.parametrize("graph", GRAPHS)
def test_graph_builds_on_meta_and_its_artefacts_meet(graph: str, tmp_path: Path) -> None:
    """Each stage of a graph is built as it would be trained, and finds what the ones before it export."""
    assert {name for name in EXPERIMENTS if name.startswith(f"{graph}/")} == {f"{graph}/{stage}" for stage in GRAPH}
    configs = {name: load([f"experiment={graph}/{name}", f"root={tmp_path}", *SMALL]) for name in GRAPH}
    shared = shared_objects(configs[GRAPH[0]])
    for name, config in configs.items():
        assert (config.codec, config.layout) == (configs[GRAPH[0]].codec, configs[GRAPH[0]].layout)
        with torch.device("meta"):
            described = build_stage(config, shared)
        stage = build_stage(config, shared)
        assert set(config.training["optimizers"]) == set(stage.trained)
        shapes = [(key, p.shape) for key, p in stage.roles.named_parameters()]
        assert shapes == [(key, p.shape) for key, p in described.roles.named_parameters()]
        if name == GRAPH[0]:
            assert all(p.is_meta for p in described.roles.parameters())
        for role, settings in config.training["optimizers"].items():
            build(settings).build(stage.roles[role])
        write_artefacts(Path(config.out), stage.export(stage.roles))
    made = {path.stem for path in tmp_path.glob("*/*.safetensors")}
    assert {"level1", "level2", "level3", "teacher"} <= made


@pytest.mark.ci
def test_what_comes_later_starts_from_the_artefacts_of_a_finished_graph(tmp_path: Path) -> None:
    configs = {name: load([f"experiment={name}", f"root={tmp_path}", *SMALL]) for name in LATER}
    shared = shared_objects(load([f"experiment=quickstart/{GRAPH[0]}", f"root={tmp_path}", *SMALL]))
    for name in GRAPH[:-1]:
        config = load([f"experiment=quickstart/{name}", f"root={tmp_path}", *SMALL])
        stage = build_stage(config, shared)
        write_artefacts(Path(config.out), stage.export(stage.roles))
    assert configs
    for config in configs.values():
        stage = build_stage(config, shared)
        assert set(config.training["optimizers"]) == set(stage.trained)
        write_artefacts(Path(config.out), stage.export(stage.roles))


def test_the_first_layout_is_the_default_one() -> None:
    assert build_layout(load([]).layout) == Layout()


def test_the_second_layout_is_the_other_tested_grid() -> None:
    layout = build_layout(load(["layout=fps30"]).layout)
    assert (layout.latents_per_block, layout.audio_per_block, layout.frames_per_block) == (3, 5, 12)


def test_what_is_wrong_is_said_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"unknown layout key 'fpz'"):
        build_layout(load(["+layout.fpz=3"]).layout)
    with pytest.raises(ValueError, match=r"has no key 'sead' \(did you mean 'seed'\?\)"):
        load(["+sead=3"])
    config: RunConfig = load(["experiment=quickstart/teacher", "+training.stepz=3"])
    with pytest.raises(ValueError, match=r"has no argument 'stepz' \(did you mean 'steps'\?\)"):
        build(config.training)
    with pytest.raises(ValueError, match="no stage chosen"):
        build_stage(load([]), {})
