"""Checkpoints describe themselves, refuse what does not fit, nest, and need neither Lightning nor Hydra."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from avatar_lab.checkpoint import Card, Checkpoint, at_level, load_checkpoint, weights_sha256, with_blocks_of
from avatar_lab.context import block_inputs
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.level import Level
from avatar_lab.rollout.rollout import rollout
from avatar_lab.stage.start import Setting, started_from
from tests.factory import LAYOUT, context_of, random_batch, tiny_model
from tests.training.stages import fake_codecs

CARD = Card(
    stage="self_forcing",
    sampler=Sampler(steps=(1.0, 0.3), renoise=1.0),
    audio_codec="a" * 16,
    video_codec="b" * 16,
    window_blocks=6,
    metrics={"smile_response": 0.5},
)


def saved(folder: Path, level: Level = Level.SEE) -> Path:
    path = folder / "level3.safetensors"
    model = tiny_model(level, dtype=torch.float32)
    model.warps.audio.sigma_knots.pow_(1.5)
    Checkpoint(model=model, card=CARD).save(path)
    return path


def test_round_trip_keeps_weights_warps_and_card(tmp_path: Path) -> None:
    path = saved(tmp_path)
    loaded = load_checkpoint(path, audio_codec="a" * 16, video_codec="b" * 16, stages=["self_forcing"])
    assert loaded.card == CARD
    assert loaded.layout == LAYOUT
    assert loaded.level is Level.SEE
    original = tiny_model(Level.SEE, dtype=torch.float32)
    original.warps.audio.sigma_knots.pow_(1.5)
    assert weights_sha256(loaded.model) == weights_sha256(original)


def test_wrong_stage_codec_and_damage_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    with pytest.raises(ValueError, match="made by stage 'self_forcing', not teacher"):
        load_checkpoint(path, stages=["teacher"])
    with pytest.raises(ValueError, match="train again on data encoded"):
        load_checkpoint(path, audio_codec="c" * 16)
    with pytest.raises(ValueError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "absent.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="not an avatar_lab checkpoint"):
        load_checkpoint(path)


def test_levels_nest_and_a_new_branch_starts_closed() -> None:
    see = tiny_model(Level.SEE)
    listen = at_level(see, Level.LISTEN)
    assert weights_sha256(at_level(see, Level.LISTEN)) == weights_sha256(listen)
    grown = at_level(listen, Level.SEE)
    context = context_of(random_batch())
    options = {"sampler": CARD.sampler, "seed": 0, "conversation_B": torch.arange(2)}
    low, high = (
        list(rollout(model, block_inputs(context, LAYOUT), context.anchor, **options)) for model in (listen, grown)
    )
    for a, b in zip(low, high, strict=True):
        assert torch.equal(a.clean.video_BFHWC, b.clean.video_BFHWC)


def test_lineage_grows_by_stage_and_weights() -> None:
    parent = Checkpoint(model=tiny_model(Level.LISTEN), card=replace(CARD, stage="autoregressive", lineage=("x:1",)))
    card = parent.descend(stage="initialise")
    assert card.stage == "initialise"
    assert card.lineage == ("x:1", f"autoregressive:{weights_sha256(parent.model)[:16]}")
    assert card.metrics == {}


def test_a_lineage_names_the_file_and_not_what_it_was_widened_to(tmp_path: Path) -> None:
    """Branches that are added are random, and drawn otherwise on other processors."""
    setting = Setting(**fake_codecs())
    codecs = {"audio_codec": setting.audio_codec.spec.fingerprint, "video_codec": setting.video_codec.spec.fingerprint}
    level2 = replace(load_checkpoint(saved(tmp_path, Level.LISTEN)), card=replace(CARD, **codecs))
    level2.save(tmp_path / "level2.safetensors")
    signatures = set()
    for seed in range(2):
        torch.manual_seed(seed)
        start = started_from(str(tmp_path / "level2.safetensors"), stage=CARD.stage, level=Level.SEE, setting=setting)
        assert start.level is Level.SEE
        signatures.update(start.descend(stage="see").lineage)
    assert signatures == {level2.signature}


PROGRAM = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("lightning", "hydra", "omegaconf", "wandb", "webdataset"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
import torch
from avatar_lab.checkpoint import load_checkpoint
from avatar_lab.context import block_inputs
from avatar_lab.rollout.rollout import rollout
import avatar_lab.rollout.session
from tests.factory import context_of, random_batch
from pathlib import Path
found = load_checkpoint(Path(sys.argv[1]))
context = context_of(random_batch(dtype=torch.float32))
blocks = list(rollout(found.model, block_inputs(context, found.layout), context.anchor,
                      sampler=found.card.sampler, seed=0, conversation_B=torch.arange(2)))
torch.save([(block.tokens_BAK, block.clean.video_BFHWC) for block in blocks], sys.argv[2])
"""


@pytest.mark.ci
def test_an_exported_checkpoint_runs_without_lightning_and_hydra(tmp_path: Path) -> None:
    """Row 38: and it says there what the model says that was exported."""
    path, said = saved(tmp_path), tmp_path / "said.pt"
    command = [sys.executable, "-c", PROGRAM, str(path), str(said)]
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True, timeout=120)
    model = tiny_model(Level.SEE, dtype=torch.float32)
    model.warps.audio.sigma_knots.pow_(1.5)
    context = context_of(random_batch(dtype=torch.float32))
    inputs, options = block_inputs(context, LAYOUT), {"sampler": CARD.sampler, "seed": 0}
    own = rollout(model, inputs, context.anchor, conversation_B=torch.arange(2), **options)
    for block, (tokens_BAK, video_BFHWC) in zip(own, torch.load(said), strict=True):
        assert torch.equal(block.tokens_BAK, tokens_BAK)
        torch.testing.assert_close(block.clean.video_BFHWC, video_BFHWC, atol=1e-5, rtol=1e-5)


def test_blocks_of_another_length_keep_all_weights(tmp_path: Path) -> None:
    model = tiny_model(Level.SEE)
    longer = replace(LAYOUT, block_seconds=2 * LAYOUT.block_seconds, history_blocks=2)
    other = with_blocks_of(model, longer)
    assert other.layout == longer
    assert weights_sha256(other) == weights_sha256(model)
    context = context_of(random_batch(layout=longer, num_blocks=3), longer)
    blocks = rollout(
        other,
        block_inputs(context, longer),
        context.anchor,
        sampler=CARD.sampler,
        seed=0,
        conversation_B=torch.arange(2),
    )
    assert [block.tokens_BAK.shape[1] for block in blocks] == [longer.audio_per_block] * 3
    with pytest.raises(ValueError, match="only block_seconds and history_blocks may differ"):
        with_blocks_of(model, replace(LAYOUT, script_lookahead=2))
