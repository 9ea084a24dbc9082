"""The runner on tiny random checkpoints: arms differ in one thing only, and broken models are caught."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar_lab.context import BlockInput, Context, live_context
from avatar_lab.evaluation import generate
from avatar_lab.evaluation.agents import AGENTS, ModelAgent
from avatar_lab.evaluation.answers import Answer, passes
from avatar_lab.evaluation.arms import BrokenHistory, ModelArms
from avatar_lab.evaluation.camera import Camera, Picture
from avatar_lab.evaluation.causality import Baseline, no_future, on_the_codebook, own_user_only
from avatar_lab.evaluation.conversation import recorded_batch
from avatar_lab.evaluation.fallback import fallback
from avatar_lab.evaluation.intervene import Interviewer, run_interventions
from avatar_lab.evaluation.intervention_rows import interventions_df
from avatar_lab.evaluation.interventions import EXPERIMENTS
from avatar_lab.evaluation.interview import units_of
from avatar_lab.evaluation.outcomes import CONTROL
from avatar_lab.evaluation.own_channel import Echo
from avatar_lab.evaluation.references import Unavailable
from avatar_lab.evaluation.treatments import Delay, Scene, Silence, Swap, Treatment
from avatar_lab.evaluation.units import whole_unit
from avatar_lab.layout import Layout, Stream
from avatar_lab.level import Level
from avatar_lab.model.cache import Cache
from avatar_lab.model.dit import BlockMemory, JointDiT
from avatar_lab.model.video_head import MOTION
from avatar_lab.tensors import AVState, DyadBatch
from tests.evaluation.tiny_studio import NUM_BLOCKS, SILENCE_K, TinyStudio, cut_branch, tiny_checkpoint
from tests.factory import LAYOUT

DYADS = 6


def asked(studio: TinyStudio, agent: str, name: str) -> dict[str, Answer]:
    asker = Interviewer(studio=studio, conversations=studio.conversations, batch_size=4)
    return {answer.question: answer for answer in asker.ask(agent, name)}


def scene_of(studio: TinyStudio) -> Scene:
    units, partners = units_of(EXPERIMENTS["A1"], studio.conversations, studio.references, layout=studio.layout, seed=0)
    return Scene(studio=studio, units=units, partners=partners, batch=studio.data.cut([unit.window for unit in units]))


@pytest.mark.parametrize(
    "treatment",
    [
        Silence(),
        Swap(stream=Stream.USER_AUDIO),
        Swap(stream=Stream.USER_VIDEO),
        Delay(stream=Stream.USER_AUDIO, seconds=0.4),
        Delay(stream=Stream.USER_VIDEO, seconds=0.4),
        *(Camera(picture=picture) for picture in Picture),
    ],
    ids=str,
)
def test_a_treatment_changes_its_stream_from_its_moment_on(treatment: Treatment) -> None:
    scene = scene_of(TinyStudio(num_dyads=2))
    context = live_context(scene.batch, LAYOUT, Level.SEE, silence_K=SILENCE_K)
    edited = treatment.edit(context, scene)
    assert treatment.stream is not None
    start = scene.token(scene.units[0], treatment.stream)
    before, after = (
        (c.user.audio_BTK if treatment.stream is Stream.USER_AUDIO else c.user.video_BGU) for c in (context, edited)
    )
    assert torch.equal(before[:, :start], after[:, :start])
    assert not torch.equal(before[:, start:], after[:, start:])
    other = [c.user.video_BGU if treatment.stream is Stream.USER_AUDIO else c.user.audio_BTK for c in (context, edited)]
    assert torch.equal(*other)
    assert edited.plan is context.plan
    if isinstance(treatment, Delay):
        late = treatment.tokens(LAYOUT)
        assert torch.equal(after[:, start + late :], before[:, start:-late])
    if isinstance(treatment, Camera) and treatment.picture is Picture.FROZEN:
        assert (after[:, -1] - after[:, -4]).abs().max() < 1e-2, "the codec comes to rest"


@pytest.mark.ci
def test_an_uncut_model_changes_and_one_whose_listen_branch_is_cut_does_not() -> None:
    whole = asked(TinyStudio(num_dyads=DYADS), "level2", "A1")["motion"]
    assert whole.effect.low is not None
    assert whole.effect.low > 0.1 * MOTION  # what random weights say, in the units of the anchored head
    assert passes(whole, whole.p, alpha=0.05)
    deaf = asked(TinyStudio(num_dyads=DYADS, change=cut_branch("listen")), "level2", "A1")["motion"]
    assert deaf.treated == 0
    assert passes(deaf, deaf.p, alpha=0.05) is False


@pytest.mark.ci
def test_who_cannot_see_is_the_same_to_the_bit_and_whose_see_branch_is_cut_is_too() -> None:
    studio = TinyStudio(num_dyads=2)
    assert asked(studio, "level2", "V1")["output"].effect.value == 0
    assert asked(studio, "level3_camera_off", "V1")["output"].effect.value == 0
    for change, alike in ((None, False), (cut_branch("see"), True)):
        own = TinyStudio(num_dyads=2, change=change)
        units, partners = units_of(EXPERIMENTS["V1"], own.conversations, own.references, layout=LAYOUT, seed=0)
        agent = AGENTS["level3"]
        assert isinstance(agent, ModelAgent)
        trials = ModelArms(studio=own, agent=agent, batch_size=4).trials(EXPERIMENTS["V1"], units, partners)
        assert all((t.arms[CONTROL].digest == t.arms["treated"].digest) is alike for t in trials)


def batch_of(studio: TinyStudio) -> DyadBatch:
    return recorded_batch(studio.data, studio.conversations)


def baseline_of(batch: DyadBatch, level: Level = Level.SEE, *, scripted: bool = True) -> Baseline:
    return Baseline.of(tiny_checkpoint(level), batch, level=level, silence_K=SILENCE_K, seed=0, scripted=scripted)


@pytest.mark.ci
def test_levels_nest_and_a_level_that_does_not_is_found() -> None:
    batch = batch_of(TinyStudio(num_dyads=1))
    for upper in (Level.SEE, Level.LISTEN):
        lower = Level(upper - 1)
        found = fallback(tiny_checkpoint(upper), tiny_checkpoint(lower), batch, silence_K=SILENCE_K, seed=0)
        assert [finding.passed for finding in found] == [True, True], found
        assert found[0].vacuous is None

    def nudge(checkpoint: object) -> None:
        next(tiny.model.parameters()).add_(1e-4)

    tiny = tiny_checkpoint(Level.LISTEN)
    with torch.no_grad():
        nudge(tiny)
    broken = fallback(tiny_checkpoint(Level.SEE), tiny, batch, silence_K=SILENCE_K, seed=0)
    assert not any(finding.passed for finding in broken)
    blind = fallback(
        tiny_checkpoint(Level.SEE, cut_branch("see")), tiny_checkpoint(Level.LISTEN), batch, silence_K=SILENCE_K, seed=0
    )
    assert blind[0].passed
    assert "changes nothing" in str(blind[0].vacuous)
    with pytest.raises(ValueError, match="falls back on the one below"):
        fallback(tiny_checkpoint(Level.SEE), tiny_checkpoint(Level.TALK), batch, silence_K=SILENCE_K, seed=0)


def test_the_future_is_not_known() -> None:
    batch = batch_of(TinyStudio(num_dyads=1))
    found = no_future(baseline_of(batch))
    assert [finding.question for finding in found] == ["user_audio", "user_video", "script"]
    assert all(finding.passed and finding.vacuous is None for finding in found), found
    free = no_future(baseline_of(batch, scripted=False))
    assert [finding.question for finding in free] == ["user_audio", "user_video"], "there is no script to know"
    assert all(finding.passed and finding.vacuous is None for finding in free), free


def test_a_leak_of_one_block_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inputs of each block hold the user tokens of one block more than its delay allows."""
    honest = Layout.visible_end

    def leaking(self: Layout, stream: Stream, block: int) -> int:
        return honest(self, stream, block + 1)

    studio = TinyStudio(num_dyads=1)
    batch = batch_of(studio)
    monkeypatch.setattr("avatar_lab.context.Layout.visible_end", leaking)
    monkeypatch.setattr(
        "avatar_lab.evaluation.causality.first_to_see",
        lambda layout, stream, token: next(b for b in range(99) if honest(layout, stream, b) > token),
    )
    monkeypatch.setattr(
        "avatar_lab.evaluation.treatments.first_to_see",
        lambda layout, stream, token: next(b for b in range(99) if honest(layout, stream, b) > token),
    )
    found = {f.question: f for f in no_future(baseline_of(batch))}
    assert not found["user_audio"].passed
    assert not found["user_video"].passed
    assert found["script"].passed
    with pytest.raises(BrokenHistory, match="before anything was done to it"):
        asked(studio, "level3", "A1")


@pytest.mark.ci
def test_yoked_audio_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that hears the user of the next conversation of its batch."""
    batch = batch_of(TinyStudio(num_dyads=2))
    found = own_user_only(baseline_of(batch))
    assert [check.question for check in found] == ["user_audio_of_others", "user_video_of_others"]
    assert all(check.passed and check.vacuous is None for check in found), found
    honest = generate.block_inputs

    def yoked(context: Context, layout: Layout) -> Iterator[BlockInput]:
        user = context.user
        other = replace(user, audio_BTK=user.audio_BTK.roll(1, 0))
        return honest(replace(context, user=other), layout)

    monkeypatch.setattr(generate, "block_inputs", yoked)
    heard, seen = own_user_only(baseline_of(batch))
    assert not heard.passed
    assert seen.passed


def test_soft_audio_in_the_history_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that remembers mixtures of entries in place of the tokens that were heard."""
    batch = batch_of(TinyStudio(num_dyads=1))
    found = on_the_codebook(baseline_of(batch, Level.LISTEN))
    assert found.passed
    assert found.compared == batch.size * NUM_BLOCKS * LAYOUT.audio_per_block
    write = JointDiT.write_block

    def soft(self: JointDiT, clean: AVState, memory: BlockMemory, cache: Cache) -> None:
        clean.audio_BAD.copy_(clean.audio_BAD.lerp(clean.audio_BAD.roll(1, 0), 0.1))
        write(self, clean, memory, cache)

    monkeypatch.setattr(JointDiT, "write_block", soft)
    broken = on_the_codebook(baseline_of(batch, Level.LISTEN))
    assert not broken.passed


def test_an_echo_is_heard_from_its_moment_on_and_after_its_delay() -> None:
    scene = scene_of(TinyStudio(num_dyads=2))
    context = live_context(scene.batch, LAYOUT, Level.SEE, silence_K=SILENCE_K)
    quiet, loud = Echo().baseline(context, scene), Echo(level_db=0.0).edit(context, scene)
    start = scene.token(scene.units[0], Stream.USER_AUDIO)
    before, after = quiet.user.audio_BTK, loud.user.audio_BTK
    assert torch.equal(before[:, :start], after[:, :start])
    assert (before[:, start:] != after[:, start:]).any(dim=2).any(dim=1).all()
    assert torch.equal(quiet.user.video_BGU, loud.user.video_BGU)
    late = Echo(level_db=0.0, delay=2 * LAYOUT.start(NUM_BLOCKS)).edit(context, scene)
    assert torch.equal(late.user.audio_BTK, before), "an echo that comes after the stretch is not in it"


@pytest.mark.ci
def test_answers_are_kept_and_what_is_missing_is_said(tmp_path: Path) -> None:
    studio = TinyStudio(num_dyads=2)

    def run(sha: str) -> list[dict]:
        return run_interventions(
            studio,
            ["level1", "level2"],
            ["A1", "A4", "F1", "C1"],
            out=tmp_path,
            num_dyads=1,
            batch_size=2,
            workers=1,
            config_sha=lambda agent: sha,
            progress=lambda agent, done, total: None,
        )

    rows = run("a")
    table = interventions_df(tmp_path / "interventions.parquet")
    assert len(table) == len(rows)
    by_key = {(row["agent"], row["intervention"], row["question"]): row for row in rows}
    assert by_key["level1", "A1", "output"]["passed"]
    assert by_key["level1", "F1", ""]["status"] == "unavailable"
    assert "world" in by_key["level2", "A4", ""]["reason"]
    assert by_key["level2", "F1", "listen_without_its_stream"]["passed"]
    assert by_key["level2", "C1", "user_audio"]["passed"]
    assert by_key["level2", "A1", "motion"]["dyads"] == 1
    before = (tmp_path / "interventions" / "level2.A1.json").stat().st_mtime_ns
    assert run("a") == rows
    assert (tmp_path / "interventions" / "level2.A1.json").stat().st_mtime_ns == before
    run("b")
    assert (tmp_path / "interventions" / "level2.A1.json").stat().st_mtime_ns != before
    with pytest.raises(ValueError, match="evaluate"):
        interventions_df(tmp_path / "none.parquet")


def test_a_teacher_has_no_history_and_checks_are_for_checkpoints() -> None:
    studio = TinyStudio(num_dyads=2)
    with pytest.raises(ValueError, match="whole windows"):
        asked(studio, "teacher", "A1")
    with pytest.raises(Unavailable, match="streaming checkpoints only"):
        asked(studio, "oracle", "F1")


def test_who_decides_itself_when_to_speak_is_not_given_its_turns() -> None:
    """The arms of an agent without a script are free too, from the same history and noise."""
    studio = TinyStudio(num_dyads=2)
    units, partners = units_of(EXPERIMENTS["A1"], studio.conversations, studio.references, layout=LAYOUT, seed=0)
    made = {}
    for name in ("level2", "level2_free"):
        agent = AGENTS[name]
        assert isinstance(agent, ModelAgent)
        trials = ModelArms(studio=studio, agent=agent, batch_size=4).trials(EXPERIMENTS["A1"], units, partners)
        made[name] = [trial.arms[CONTROL].digest for trial in trials]
    batch = studio.data.cut([unit.window for unit in units])
    assert bool(batch.script_BE.any(1).all())
    assert all(scripted != free for scripted, free in zip(*made.values(), strict=True))


def test_units_change_from_a_block_on() -> None:
    unit = whole_unit(TinyStudio(num_dyads=1).conversations[0], LAYOUT)
    assert unit.time == LAYOUT.start(5)
    assert unit.window == unit.recorded.window
