"""What a finished run writes on the cards of its checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from avatar_lab.checkpoint import Card, Checkpoint
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.level import Level
from avatar_lab.run_folder import signed
from tests.factory import tiny_model


def card_after(run: Path, *, data: dict[str, object] | None, ancestor_non_commercial: bool = False) -> Card:
    (run / "starts.jsonl").write_text(
        json.dumps({"commit": "first", "data": None}) + "\n" + json.dumps({"commit": "last", "data": data}) + "\n"
    )
    rows = [{"step": 1, "seconds": 1.0, "model/video": 2.0}, {"step": 2, "seconds": 2.0, "model/video": 0.5}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = Card(
        stage="autoregressive",
        sampler=Sampler.ode(4),
        audio_codec="a",
        video_codec="b",
        window_blocks=4,
        data_licence="old",
        non_commercial=ancestor_non_commercial,
    )
    artefact = Checkpoint(model=tiny_model(Level.TALK, dtype=torch.float32), card=before)
    return signed(run, {"level1": artefact})["level1"].card


def test_commit_last_metrics_and_licences_of_the_data_go_onto_the_card(tmp_path: Path) -> None:
    card = card_after(tmp_path, data={"licences": ["CC0", "MIT"], "non_commercial": False})
    assert (card.commit, card.metrics, card.data_licence) == ("last", {"model/video": 0.5}, "CC0, MIT")
    assert not card.non_commercial


def test_a_ban_on_commercial_use_is_inherited_and_never_lifted(tmp_path: Path) -> None:
    allowed = {"licences": ["CC0"], "non_commercial": False}
    assert card_after(tmp_path, data=allowed, ancestor_non_commercial=True).non_commercial
    assert card_after(tmp_path, data={"licences": ["x"], "non_commercial": True}).non_commercial
    assert card_after(tmp_path, data=None).data_licence == "old"
