"""Agents in codec space: levels use what they may use, references come from recordings, what is missing is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from avatar_lab.checkpoint import Card, Checkpoint
from avatar_lab.codec.protocol import State
from avatar_lab.data.dataset import DyadData
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.evaluation.agents import AGENTS
from avatar_lab.evaluation.conversation import list_conversations
from avatar_lab.evaluation.finding import Finding
from avatar_lab.evaluation.generate import Generated, generate
from avatar_lab.evaluation.metric.own_sound import BANDS
from avatar_lab.evaluation.observation import Trace
from avatar_lab.evaluation.plugin.protocol import Comparing, Take
from avatar_lab.evaluation.reader_quality import r_squared, read_quality
from avatar_lab.evaluation.references import References, Unavailable
from avatar_lab.evaluation.runner import conversations_of
from avatar_lab.evaluation.studio import Studio
from avatar_lab.events.segments import runs
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.perception.pixel_reader import READ_CHANNELS
from avatar_lab.world.graph import world_v1
from avatar_lab.world.record import write_recording
from avatar_lab.world.simulate import simulate
from tests.data.small_dataset import write_dataset
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.factory import CODEBOOKS, LAYOUT, random_batch, tiny_model

SILENCE_K = torch.zeros(CODEBOOKS, dtype=torch.long)


def checkpoint(level: Level = Level.SEE) -> Checkpoint:
    card = Card(
        stage="see",
        sampler=Sampler(steps=(1.0, 0.3), renoise=1.0),
        audio_codec="audio",
        video_codec="video",
        window_blocks=4,
    )
    return Checkpoint(model=tiny_model(level), card=card)


def rolled(
    level: Level, change: Callable[[Tensor], Tensor] | None = None, *, field: str = "", seed: int = 0
) -> Generated:
    """A rollout, with one field of the recording changed."""
    batch = random_batch(num_blocks=5)
    if change is not None:
        vars(batch)[field] = change(getattr(batch, field))
    return generate(checkpoint(), batch, level=level, offline=False, silence_K=SILENCE_K, seed=seed)


def test_each_level_depends_on_exactly_its_streams() -> None:
    for level in Level:
        reference = rolled(level)
        heard = rolled(level, lambda x: x.flip(1), field="user_audio_BTK")
        seen = rolled(level, lambda x: -x, field="user_video_BGU")
        assert (heard.digests() == reference.digests()) is not level.listens
        assert (seen.digests() == reference.digests()) is not level.sees
        assert rolled(level).digests() == reference.digests()
        assert rolled(level, seed=1).digests() != reference.digests()


def test_scripted_speech_is_spoken_and_level_1_is_silent_elsewhere() -> None:
    batch = random_batch(num_blocks=5)
    made = generate(checkpoint(), batch, level=Level.TALK, offline=False, silence_K=SILENCE_K, seed=0)
    num = made.tokens_BAK.shape[1]
    spoken_BA = batch.script_BE[:, :num]
    assert torch.equal(made.tokens_BAK[spoken_BA], batch.audio_BEK[:, :num][spoken_BA])
    assert (made.tokens_BAK[~spoken_BA] == SILENCE_K).all()


def test_without_a_script_all_sound_is_the_avatars_own() -> None:
    batch = random_batch(num_blocks=5)
    made = {
        (level, scripted): generate(
            checkpoint(), batch, level=level, offline=False, silence_K=SILENCE_K, seed=0, scripted=scripted
        ).tokens_BAK
        for level in (Level.TALK, Level.LISTEN)
        for scripted in (True, False)
    }
    spoken_BA = batch.script_BE[:, : made[Level.TALK, True].shape[1]]
    assert spoken_BA.any()
    script = batch.audio_BEK[:, : spoken_BA.shape[1]][spoken_BA]
    assert torch.equal(made[Level.LISTEN, True][spoken_BA], script)
    assert (made[Level.LISTEN, False][spoken_BA] != script).any()
    assert (made[Level.TALK, False] == SILENCE_K).all(), "who hears nobody has nothing to say"


def test_the_teacher_is_sampled_offline() -> None:
    batch = random_batch(num_blocks=5)
    made = generate(checkpoint(), batch, level=Level.SEE, offline=True, silence_K=SILENCE_K, seed=0)
    assert made.tokens_BAK.shape[1] == 5 * LAYOUT.audio_per_block
    assert made.latents_BFHWC.shape[1] == 5 * LAYOUT.latents_per_block


class QuietAudio(FakeAudio):
    def decode(self, tokens_BAK: Tensor, state: State = None) -> tuple[Tensor, State]:
        return torch.zeros(len(tokens_BAK), tokens_BAK.shape[1] * Layout().samples_per_token), state


class Brightness:
    """Every channel is the brightness of the picture."""

    def read(self, frames_PHWC: Tensor) -> Tensor:
        return (frames_PHWC.float().mean((1, 2, 3)) / 255)[:, None].expand(-1, len(READ_CHANNELS))


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    layout = Layout()
    write_dataset(tmp_path / "shards", lengths={"d0": 14.0, "d1": 15.0, "d2": 14.0, "short": 9.0})
    open_data = partial(
        DyadData, root=tmp_path / "shards", layout=layout, batch_size=1, num_blocks=30, seed=0, split="train"
    )
    conversations = list_conversations(open_data(), layout, split="train", num_dyads=3, seconds=12.0)
    audio_codec, video_codec = QuietAudio(), FakeVideo()
    return Studio(
        agents=AGENTS,
        open_data=open_data,
        layout=layout,
        audio_codec=audio_codec,
        video_codec=video_codec,
        reader=Brightness(),
        references=References(
            layout=layout,
            audio_codec=audio_codec,
            video_codec=video_codec,
            interactions=("d0", "d1", "d2"),
            recordings=tmp_path,
        ),
        checkpoints=tmp_path / "checkpoints",
        conversations=tuple(conversations),
        seed=0,
        films=2,
        film_seconds=1.0,
        film_folder=tmp_path / "films",
    )


def test_conversations_are_the_long_enough_ones_from_both_sides(studio: Studio) -> None:
    assert [conversation.name for conversation in studio.conversations] == [
        f"d{i}-{side}" for i in range(3) for side in "ab"
    ]
    assert {conversation.num_blocks for conversation in studio.conversations} == {37}
    with pytest.raises(ValueError, match="none of the 4 interactions"):
        list_conversations(studio.data, studio.layout, split="train", num_dyads=4, seconds=20.0)


def test_too_few_dyads_are_said(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    found = list_conversations(studio.data, studio.layout, split="train", num_dyads=4, seconds=12.0)
    assert len(found) == 6
    assert "only 3 of 4 dyads" in caplog.text


def test_oracle_is_the_recording_and_frozen_stands_still(studio: Studio) -> None:
    results = studio.perform(AGENTS["oracle"], range(6), frozenset())
    assert len({digest for digest, _ in results}) == len(results)
    assert all(observation is not None and observation.jaw_P.std() > 0 for _, observation in results)
    assert sorted(path.name for path in (studio.film_folder).iterdir()) == ["d0-a.oracle.mp4", "d1-b.oracle.mp4"]
    for _, observation in studio.perform(AGENTS["frozen"], range(6), frozenset()):
        assert observation is not None
        assert observation.jaw_P.std() == 0
        assert not observation.events


def test_own_sound_is_what_the_tokens_were_and_where_no_script_was(studio: Studio) -> None:
    made = studio.generate(AGENTS["oracle"], studio.conversations)
    for (_, seen), tokens_AK in zip(
        studio.perform(AGENTS["oracle"], range(6), frozenset()), made.tokens_BAK, strict=True
    ):
        assert seen is not None
        own = seen.own_sound
        assert own is not None
        assert own.num_entries == studio.audio_codec.spec.codebook_size
        np.testing.assert_array_equal(own.tokens_AK, tokens_AK)
        (closed,) = runs(~own.open_A).tolist()
        assert closed in ([87, 130], [93, 139]), "as in the small data set: the third quarter"
        assert own.spectra_RD.shape == (37 * 16, BANDS), "four frames of 20 ms per token"


def test_sound_is_a_models_own_where_it_hears_and_has_no_script(studio: Studio) -> None:
    two = studio.conversations[:2]
    outside_BA = studio.open_places(AGENTS["oracle"], two)
    assert 0 < outside_BA.float().mean() < 1
    for name in ("level2", "level3", "level3_camera_off", "teacher", "frozen"):
        assert torch.equal(studio.open_places(AGENTS[name], two), outside_BA), name
    assert not studio.open_places(AGENTS["level1"], two).any(), "silence is given too"
    assert studio.open_places(AGENTS["level3_free"], two).all()


def test_equal_media_of_which_other_sound_is_its_own_is_observed_anew(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = {digest for digest, _ in studio.perform(AGENTS["frozen"], range(6), frozenset())}
    monkeypatch.setattr(studio, "open_places", lambda agent, conversations: torch.ones(6, 37 * 4, dtype=torch.bool))
    for digest, seen in studio.perform(AGENTS["frozen"], range(6), frozen):
        assert digest not in frozen
        assert seen is not None
        assert seen.own_sound is not None
        assert seen.own_sound.open_A.all()


@dataclass(frozen=True)
class Watching(Comparing):
    name: ClassVar[str] = "word_error_rate"
    metrics: ClassVar[tuple[str, ...]] = ("word_error_rate",)
    weights: ClassVar[str] = "none"
    takes: list[Take]

    def identity(self) -> str:
        return "1"

    def trace(self, take: Take) -> Trace:
        self.takes.append(take)
        return np.array(["one", "word"])

    def compare(self, own: Trace, truth: Trace) -> list[Finding]:
        return []


def test_plugins_see_who_the_avatar_is_and_what_it_is_told_to_say(studio: Studio) -> None:
    watching = Watching([])
    studio.plugins = (watching,)
    ((_, seen),) = studio.perform(AGENTS["oracle"], [0], frozenset())
    (take,) = watching.takes
    assert seen is not None
    assert seen.traces["word_error_rate"].tolist() == ["one", "word"]
    assert take.script == [(87 * 0.08, 130 * 0.08)], "as in the small data set: tokens 87 to 129 of 80 ms"
    assert take.picture_HWC.shape == take.media.video_PHWC.shape[1:]
    assert (take.picture_HWC == 255).all(), "pictures of the small data set are white"
    assert len(take.person_S) == studio.layout.anchor_tokens * studio.layout.samples_per_token
    assert (len(take.media.video_PHWC), len(take.media.audio_S)) == (37 * 8, 37 * 4 * 1920)


def test_media_that_is_known_is_not_decoded_again(studio: Studio) -> None:
    digests = {digest for digest, _ in studio.perform(AGENTS["frozen"], range(6), frozenset())}
    assert all(observation is None for _, observation in studio.perform(AGENTS["frozen"], range(6), digests))


@pytest.mark.parametrize(("agent", "reason"), [("level1", "level1.safetensors"), ("delayed_oracle", "world.json")])
def test_what_is_missing_is_said(studio: Studio, agent: str, reason: str) -> None:
    with pytest.raises(Unavailable, match=reason):
        studio.perform(AGENTS[agent], range(2), frozenset())
    assert read_quality(studio, num_conversations=2) is None


def test_a_recording_of_another_clock_cannot_be_simulated_again(studio: Studio, tmp_path: Path) -> None:
    """Blocks of another length may be judged on the same recordings, only not beside the world's responders."""
    other = replace(studio.layout, block_seconds=2 * studio.layout.block_seconds)
    (header,) = write_recording(simulate(4, 4.0, graph=world_v1(), layout=other), tmp_path, other)[-1:]
    references = replace(studio.references, recordings=tmp_path)
    with pytest.raises(Unavailable, match="simulated otherwise: layout"):
        references.dialogue(header.name.removesuffix(".world.json"))


def test_slow_agents_may_be_judged_on_fewer_dyads(studio: Studio) -> None:
    assert conversations_of(AGENTS["teacher"], studio, 2) == studio.conversations[:4]
    assert conversations_of(AGENTS["teacher"], studio, None) == studio.conversations
    assert conversations_of(AGENTS["level3"], studio, 2) == studio.conversations


def test_a_checkpoint_of_other_codecs_is_refused(studio: Studio) -> None:
    checkpoint(Level.TALK).save(studio.checkpoints / "level1.safetensors")
    with pytest.raises(ValueError, match="codec"):
        studio.perform(AGENTS["level1"], range(2), frozenset())


def test_r_squared() -> None:
    true_PC = np.random.default_rng(0).normal(size=(4000, 2))
    noise = np.random.default_rng(1).normal(size=4000)
    read_PC = np.stack([true_PC[:, 0], true_PC[:, 1] + 0.5 * noise], 1)
    assert r_squared(read_PC, true_PC) == pytest.approx([1.0, 0.75], abs=0.02)
    assert r_squared(read_PC, np.ones_like(true_PC)) == [None, None]
