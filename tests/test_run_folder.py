"""What a finished run writes on the cards of its checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar_lab.checkpoint import Card, Checkpoint, load_checkpoint
from avatar_lab.config import load
from avatar_lab.data.dataset import DyadData
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.export import export
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.run_folder import claim, finish, provenance, read_starts, signed
from avatar_lab.stage.start import Setting, fresh
from avatar_lab.training.checkpointing import CheckpointStore
from data_prep.prepare import prepare
from data_prep.sources.paired_files import PairedFiles
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.recordings import write_pair
from tests.factory import tiny_model
from tests.training.stages import NUM_BLOCKS, SIZE, fake_codecs


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
    assert (card.commit, card.metrics, card.data_licence) == ("last", {"model/video": 0.5}, "CC0, MIT, old")
    assert not card.non_commercial


def test_a_ban_on_commercial_use_is_inherited_and_never_lifted(tmp_path: Path) -> None:
    allowed = {"licences": ["CC0"], "non_commercial": False}
    assert card_after(tmp_path, data=allowed, ancestor_non_commercial=True).non_commercial
    assert card_after(tmp_path, data={"licences": ["x"], "non_commercial": True}).non_commercial
    assert card_after(tmp_path, data=None).data_licence == "old"


def test_a_model_without_any_data_says_that_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "starts.jsonl").write_text(json.dumps({"commit": "c", "data": None}) + "\n")
    made = fresh(size=SIZE, level=Level.TALK, window_blocks=NUM_BLOCKS, setting=Setting(**fake_codecs()))
    assert signed(tmp_path, {"x": made})["x"].card.data_licence == "unknown"


def test_data_of_every_start_counts(tmp_path: Path) -> None:
    made = fresh(size=SIZE, level=Level.TALK, window_blocks=NUM_BLOCKS, setting=Setting(**fake_codecs()))
    before, after = (
        {"commit": "c", "data": {"licences": [name], "non_commercial": bound}}
        for name, bound in (("CC-BY-NC-4.0", True), ("CC0-1.0", False))
    )
    (tmp_path / "starts.jsonl").write_text(json.dumps(before) + "\n" + json.dumps(after) + "\n")
    card = signed(tmp_path, {"x": made})["x"].card
    assert (card.data_licence, card.non_commercial) == ("CC-BY-NC-4.0, CC0-1.0", True)


def test_terms_of_a_teacher_hold_for_its_student() -> None:
    made = fresh(size=SIZE, level=Level.TALK, window_blocks=NUM_BLOCKS, setting=Setting(**fake_codecs()))
    student = replace(made, card=made.card.under(["CC0-1.0"], non_commercial=False))
    teacher = replace(made, card=made.card.under(["CC-BY-NC-4.0"], non_commercial=True))
    card = student.descend(stage="self_forcing", taught_by=teacher)
    assert (card.data_licence, card.non_commercial) == ("CC-BY-NC-4.0, CC0-1.0", True)
    alone = student.descend(stage="self_forcing")
    assert (alone.data_licence, alone.non_commercial) == ("CC0-1.0", False)


@pytest.mark.ci
def test_terms_of_mixed_recordings_reach_the_exported_file(tmp_path: Path) -> None:
    """From the sidecar of a recording to the header of the weights."""
    for name, terms in (
        ("free", {"license": "CC0-1.0", "non_commercial": False}),
        ("bound", {"license": "CC-BY-NC-4.0", "non_commercial": True}),
    ):
        write_pair(tmp_path / "recordings", name, seconds=10.5)
        (tmp_path / "recordings" / f"{name}.world.json").write_text(json.dumps(terms))
    shards, run, to = tmp_path / "shards", tmp_path / "run", tmp_path / "exported"
    prepare(
        source=PairedFiles(root=tmp_path / "recordings"),
        out=shards,
        layout=Layout(),
        audio_codec=FakeAudio,
        video_codec=FakeVideo,
        splits={"train": 1.0},
        workers=0,
    )
    plain = json.loads((shards / "dataset.json").read_text())
    assert (sorted(plain["licenses"]), plain["non_commercial"]) == (["CC-BY-NC-4.0", "CC0-1.0"], True)
    data = DyadData(root=shards, layout=Layout(), batch_size=1, num_blocks=4, seed=0)
    made = fresh(size=SIZE, level=Level.TALK, window_blocks=NUM_BLOCKS, setting=Setting(**fake_codecs()))
    claim(run, load([]), data=data.info)
    with pytest.raises(ValueError, match=r"data set of .* has changed since its last start \(content .*restore it"):
        claim(run, load([]), data=replace(data.info, content_hash="0" * 64))
    finish(run, {"level1": made}, steps=1)
    export(run, to)
    for folder in (run, to):
        card = load_checkpoint(folder / "level1.safetensors").card
        assert (card.data_licence, card.non_commercial) == ("CC-BY-NC-4.0, CC0-1.0", True)
    child = load_checkpoint(to / "level1.safetensors").descend(stage="autoregressive")
    assert (child.data_licence, child.non_commercial) == ("CC-BY-NC-4.0, CC0-1.0", True)


def test_row_36_other_code_and_libraries_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = load(["experiment=codec_audio", f"out={tmp_path}"])
    claim(tmp_path, config)
    path = tmp_path / "starts.jsonl"
    before = json.loads(path.read_text())
    before["libraries"]["torch"] = "1.0"
    path.write_text(json.dumps(before | {"commit": "older"}) + "\n")
    with caplog.at_level("INFO", logger="avatar_lab.run_folder"):
        claim(tmp_path, config)
    now = provenance()
    assert f"code changed since the last start: commit: older -> {now['commit']}" in caplog.text
    assert f"libraries.torch: 1.0 -> {now['libraries']['torch']}" in caplog.text


def test_a_start_cut_short_does_not_keep_a_run_from_going_on(tmp_path: Path) -> None:
    config = load(["experiment=codec_audio", f"out={tmp_path}"])
    claim(tmp_path, config)
    path = tmp_path / "starts.jsonl"
    whole = path.read_text()
    path.write_text(whole + whole[:40])
    claim(tmp_path, config)
    assert path.read_text().startswith(whole)
    assert len(read_starts(tmp_path)) == len(path.read_text().splitlines()) == 2
    path.write_text(whole[:40] + "\n" + whole)
    with pytest.raises(ValueError, match=r"starts.jsonl is damaged .*line 1.* or move the run away"):
        claim(tmp_path, config)


def finished(out: Path, *, step: int) -> None:
    """A run that has saved ``step`` and says that it is done."""
    CheckpointStore(out / "checkpoints", keep=1).save({"stage": "toy", "train_step": step}, step=step)
    for name in ("done.json", "gate.json"):
        (out / name).write_text("{}")


def test_row_37_a_run_does_not_go_on_from_other_networks(tmp_path: Path) -> None:
    config = load(["experiment=codec_audio", f"out={tmp_path}"])
    claim(tmp_path, config, lineage=["teacher:1"])
    claim(tmp_path, config, lineage=["teacher:2"])  # nothing was saved yet
    finished(tmp_path, step=3)
    claim(tmp_path, config, lineage=["teacher:2"])
    with pytest.raises(ValueError, match=r"starts from has changed .*\(teacher:2, teacher:3\).*resume=false"):
        claim(tmp_path, config, lineage=["teacher:3"])


def test_a_finished_run_that_goes_on_is_not_done(tmp_path: Path) -> None:
    config = load(["experiment=codec_audio", f"out={tmp_path}", "training.steps=3"])
    claim(tmp_path, config)
    finished(tmp_path, step=3)
    claim(tmp_path, config)
    assert (tmp_path / "done.json").exists()
    claim(tmp_path, load(["experiment=codec_audio", f"out={tmp_path}", "training.steps=4"]))
    assert not (tmp_path / "done.json").exists()
    assert not (tmp_path / "gate.json").exists()
