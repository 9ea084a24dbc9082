"""Shipping: half precision, and a card that says what the runs' own records say."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar_lab.checkpoint import load_checkpoint
from avatar_lab.export import main
from avatar_lab.level import Level
from avatar_lab.model_card import model_card
from avatar_lab.run_folder import finish
from avatar_lab.stage.start import Setting, fresh
from tests.test_runs import write_run
from tests.training.stages import NUM_BLOCKS, SIZE, fake_codecs

FIGURES = {
    "commit": "0123456789ab",
    "metrics": [
        {
            "agent": "level3",
            "metric": "nod_response",
            "value": 0.5,
            "ci_low": 0.4,
            "ci_high": 0.6,
            "n": 211,
            "unit": "P",
        },
        {"agent": "level3", "metric": "lags", "value": None, "ci_low": None, "ci_high": None, "n": 0, "unit": "s"},
        {
            "agent": "oracle",
            "metric": "nod_response",
            "value": 0.9,
            "ci_low": None,
            "ci_high": None,
            "n": 211,
            "unit": "P",
        },
    ],
}


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A teacher, a level 3 that comes from it, and an ablation that is not of the graph."""
    write_run(tmp_path / "teacher", "teacher", "training.steps=40", steps=40)
    teacher = load_checkpoint(tmp_path / "teacher" / "teacher.safetensors")
    write_run(tmp_path / "see", "see", "seed=3", steps=20, done=False)
    made = fresh(size=SIZE, level=Level.SEE, window_blocks=NUM_BLOCKS, setting=Setting(**fake_codecs()))
    card = replace(made.card, stage="see", lineage=teacher.descend(stage="see").lineage)
    finish(tmp_path / "see", {"level3": replace(made, card=card)}, steps=20)
    write_run(tmp_path / "ablation" / "teacher", "teacher", "training.steps=7", steps=7)
    (tmp_path / "summary.json").write_text(json.dumps(FIGURES))
    return tmp_path


def exported(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["avatar-lab export", *arguments])
    main()


def test_half_the_bytes_and_nearly_the_same_weights(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported(monkeypatch, str(graph / "see"), "--to", str(graph / "to"), "--half")
    whole, half = graph / "see" / "level3.safetensors", graph / "to" / "level3.safetensors"
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    original, loaded = load_checkpoint(whole), load_checkpoint(half)
    assert loaded.card == original.card
    assert torch.equal(loaded.model.codebook.tables_KVD, original.model.codebook.tables_KVD)
    assert torch.equal(loaded.model.warps.audio.sigma_knots, original.model.warps.audio.sigma_knots)
    for own, other in zip(loaded.model.parameters(), original.model.parameters(), strict=True):
        assert own.dtype == torch.float32
        torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-3)
        assert torch.equal(own, other.half().float())
    for to in ([], ["--to", str(graph / "see")]):
        with pytest.raises(SystemExit, match="--half would lose digits"):
            exported(monkeypatch, str(graph / "see"), *to, "--half")
    exported(monkeypatch, str(graph / "teacher"), "--to", str(graph / "to"), "--half", "--card")
    assert (graph / "to" / "codec.safetensors").read_bytes() == (graph / "teacher" / "codec.safetensors").read_bytes()


def test_a_card_says_what_the_records_say(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = str(graph / "summary.json")
    exported(monkeypatch, str(graph / "see"), "--to", str(graph / "to"), "--card", "--summary", summary)
    text = (graph / "to" / "level3.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert [row[0].strip("| ") for row in rows[2:4]] == ["teacher", "see"]
    assert [row[1] for row in rows[2:4]] == ["40", "20"]
    assert [row[3] for row in rows[2:4]] == ["0", "3"]
    assert "Level 3 (talks, listens and sees), stage `see`" in text
    assert load_checkpoint(graph / "see" / "level3.safetensors").card.lineage[-1] in text
    assert "| nod_response | 0.5 | 0.4 ... 0.6 | 211 | P |" in text
    assert "lags" not in text
    assert "Evaluated at commit 0123456789ab." in text
    assert "to the camera after" in text


def test_a_card_without_its_figures_is_refused(graph: Path) -> None:
    path, summary = graph / "see" / "level3.safetensors", graph / "summary.json"
    assert "What it does" not in model_card(path, root=graph, summary=None)
    summary.write_text(json.dumps(FIGURES | {"metrics": FIGURES["metrics"][2:]}))
    with pytest.raises(ValueError, match="does not know 'level3'; it has \\['oracle'\\]"):
        model_card(path, root=graph, summary=summary)
