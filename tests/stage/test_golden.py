"""Golden losses: 20 seeded steps of every stage, so that a change of the maths cannot pass unseen.

After a change that is meant to move them, write them anew with ``python -m tests.stage.test_golden`` and say in the
commit why they moved.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import torch

from avatar_lab.stage.protocol import Stage, parts_of
from tests.training.stages import STAGES, RandomDyads

GOLDEN = Path(__file__).parent / "golden.json"
NUM_STEPS = 20
TOLERANCE = 1e-4


def losses(stage: Stage) -> dict[str, list[float]]:
    """Total loss of every turn, by role, under plain SGD."""
    values: dict[str, list[float]] = {}
    batches = RandomDyads().loader(0, 0)
    for step in range(NUM_STEPS):
        rng = torch.Generator().manual_seed(step)
        for role, found in stage.turns(next(batches), step, rng):
            total = 0.0
            for part in parts_of(found):
                part.total.backward()
                total += float(part.total.detach())
            with torch.no_grad():
                for parameter in stage.roles[role].parameters():
                    if parameter.grad is not None:
                        parameter -= 0.002 * parameter.grad
            stage.roles.zero_grad(set_to_none=True)
            for follower in stage.followers:
                follower.move(stage.roles)
            values.setdefault(role, []).append(total)
    return values


@pytest.mark.parametrize("name", STAGES)
def test_losses_are_the_recorded_ones(tmp_path: Path, name: str) -> None:
    golden = json.loads(GOLDEN.read_text())[name]
    found = losses(STAGES[name](tmp_path))
    assert found.keys() == golden.keys()
    for role, values in golden.items():
        assert found[role] == pytest.approx(values, abs=TOLERANCE, rel=TOLERANCE), role


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        recorded = {name: losses(make(Path(folder))) for name, make in STAGES.items()}
    GOLDEN.write_text(json.dumps(recorded, indent=1) + "\n")
