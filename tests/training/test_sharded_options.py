"""What else a run may ask for, on shared-out weights: replay by blocks, layers computed again, films, a judge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avatar_lab.checkpoint import Checkpoint, load_checkpoint
from avatar_lab.sharded import whole
from avatar_lab.training import distributed
from avatar_lab.training.fit import Fit, Machine
from avatar_lab.training.optimizer import AdamW
from tests.factory import LAYOUT
from tests.training.ranks import free_port, launched_as, start
from tests.training.stages import STAGES, stirred
from tests.training.test_distributed import SharedDyads
from tests.training.test_sharding import assert_near

FIRM = AdamW(lr=1e-2, eps=1e-3, weight_decay=0.0)
"""What gets no gradient stays, and rounding is not blown up to the size of a step."""


class Witness:
    """Sample writer and judge in one, that keep the files of what a run would export; known across processes."""

    every_steps = 2

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, *, artefacts: Mapping[str, Checkpoint], folder: Path) -> None:
        assert distributed.rank() == 0
        folder.mkdir(parents=True, exist_ok=True)
        for name, checkpoint in artefacts.items():
            checkpoint.save(folder / f"{name}.safetensors")
        torch.randn(5)  # whatever is drawn here must not reach training

    def knows(self, step: int) -> bool:
        return (self.folder / f"step_{step:08d}").exists()

    def forget_after(self, step: int) -> None:
        assert not self.knows(step + 1)

    def judge(self, *, step: int, artefacts: Mapping[str, Checkpoint]) -> None:
        self.write(artefacts=artefacts, folder=self.folder / f"step_{step:08d}")


def fit_options(
    rank: int, folder: str, port: int, name: str, world_size: int, steps: int, out: str, options: Mapping[str, bool]
) -> None:
    launched_as(rank, port, world_size)
    torch.set_num_threads(1)
    here = Path(folder) / out
    stage = stirred(STAGES[name](Path(folder) / f"artefacts{world_size}{rank}"))
    strategy = "sharded" if world_size > 1 else "replicas"
    witness = Witness(here / "judged") if options["watched"] else None
    fit = Fit(
        steps=steps,
        optimizers=dict.fromkeys(stage.trained, FIRM),
        ema_decay=0.9,
        accumulate=2 // world_size,
        checkpoint_activations=options["recompute"],
        sample_minutes=0.0,
    )
    result = fit.run(
        stage=stage,
        data=SharedDyads(),
        layout=LAYOUT,
        out=here,
        seed=3,
        machine=Machine(accelerator="cpu", devices=world_size, strategy=strategy),
        samples=witness,
        judge=witness,
    )
    assert result.steps_done == steps
    weights = {key: whole(p).detach() for key, p in stage.roles.named_parameters()}
    if rank == 0:
        torch.save((weights, dict(result.roles.named_parameters())), here / "end.pt")


def run(folder: Path, name: str, world_size: int, steps: int, out: str, **options: bool) -> tuple[dict, dict]:
    """Weights and export of a run on one whole rank, or on several with shared-out weights."""
    asked = {"recompute": False, "watched": False} | options
    start(fit_options, str(folder), free_port(), name, world_size, steps, out, asked, nprocs=world_size)
    return torch.load(folder / out / "end.pt", weights_only=True)


def stored(folder: Path) -> dict[str, Tensor]:
    """Tensors of the artefacts in ``folder``, without what warps have counted: that is the first rank's share."""
    found: dict[str, Tensor] = {}
    for path in folder.glob("*.safetensors"):
        state = load_checkpoint(path).model.state_dict()
        found |= {f"{path.stem}.{key}": value for key, value in state.items() if "warps.loss_" not in key}
    return found


@pytest.mark.ci
def test_blocks_are_replayed_and_layers_computed_again(tmp_path: Path) -> None:
    """``replay: blocks`` back-propagates once per block, and recomputing gathers weights once more, inside a backward
    pass; the one rank remembers its layers."""
    sharded = run(tmp_path, "long_tune", 2, 3, "two", recompute=True)
    alone = run(tmp_path, "long_tune", 1, 3, "one")
    assert_near(sharded, alone)
    fresh = dict(stirred(STAGES["long_tune"](tmp_path / "start")).roles.named_parameters())
    layers = [key for key in fresh if key.startswith("student.net.layers.")]
    moved = [key for key in layers if (sharded[0][key] - fresh[key]).abs().max() > 1e-4]
    assert len(moved) > len(layers) / 2, "gradients reached the inside of the layers, not the heads alone"


@pytest.mark.ci
def test_films_and_judgements_see_whole_networks(tmp_path: Path) -> None:
    """Every rank has a part to give, only the first looks on; a run that goes on judges the step it was left at."""
    run(tmp_path, "teacher", 2, 2, "two")
    sharded = run(tmp_path, "teacher", 2, 4, "two", watched=True)
    alone = run(tmp_path, "teacher", 1, 4, "one", watched=True)
    assert_near(sharded, alone)
    two, one = tmp_path / "two", tmp_path / "one"
    for seen in ("judged/step_00000002", "judged/step_00000004", "samples/step_00000003", "samples/step_00000004"):
        assert stored(one / seen)
        assert_near((stored(two / seen), {}), (stored(one / seen), {}))
    assert sorted(path.name for path in (two / "judged").iterdir()) == ["step_00000002", "step_00000004"]
