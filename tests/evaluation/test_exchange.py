"""Other systems and further checkpoints stand beside the nine agents: inputs out, films in, names checked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avatar_lab.checkpoint import load_checkpoint
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.evaluation.agents import AGENTS, MediaAgent, ModelAgent, cast
from avatar_lab.evaluation.exchange import films_state
from avatar_lab.evaluation.generate import in_steps
from avatar_lab.evaluation.references import Unavailable
from avatar_lab.evaluation.studio import Studio
from avatar_lab.level import Level
from avatar_lab.world.record import write_audio, write_video
from tests.evaluation.test_studio import checkpoint, studio

__all__ = ["studio"]  # the fixture


def _films(folder: Path, studio: Studio, *, blocks: int) -> MediaAgent:
    """Films of a system that shows a grey picture, brighter with every sample, and hums."""
    rng = np.random.default_rng(0)
    spec, layout = studio.video_codec.spec, studio.layout
    folder.mkdir()
    for number, conversation in enumerate(studio.conversations):
        shape = (blocks * layout.frames_per_block, spec.frame_height, spec.frame_width, 3)
        write_video(folder / f"{conversation.name}.mp4", np.full(shape, 60 + 20 * number, np.uint8), layout)
        hum_S = 0.1 * rng.standard_normal(blocks * layout.samples_per_block).astype(np.float32)
        write_audio(folder / f"{conversation.name}.wav", hum_S, layout)
    agent = cast({}, {"theirs": str(folder)})["theirs"]
    assert isinstance(agent, MediaAgent)
    return agent


def test_films_of_another_system_are_judged_like_any_agent(studio: Studio, tmp_path: Path) -> None:
    agent = _films(tmp_path / "theirs", studio, blocks=studio.conversations[0].num_blocks)
    made = studio.generate(agent, studio.conversations)
    oracle = studio.generate(AGENTS["oracle"], studio.conversations)
    assert made.tokens_BAK.shape == oracle.tokens_BAK.shape
    assert made.latents_BFHWC.shape == oracle.latents_BFHWC.shape
    brightness_B = made.latents_BFHWC.float().mean((1, 2, 3, 4))
    assert (brightness_B.diff() > 0).all(), "every sample has its own film"
    assert (made.tokens_BAK[..., 0] > 5).all(), "it hums"
    jaws = [observation.jaw_P.mean() for _, observation in studio.perform(agent, range(6), frozenset()) if observation]
    assert len(jaws) == 6
    assert jaws == sorted(jaws)


def test_films_that_are_missing_or_too_short_are_said(studio: Studio, tmp_path: Path) -> None:
    agent = _films(tmp_path / "theirs", studio, blocks=studio.conversations[0].num_blocks - 2)
    with pytest.raises(ValueError, match=r"d0-a\.mp4 and \.wav last 11\.20 s together, the conversation 11\.84 s"):
        studio.generate(agent, studio.conversations)
    before = films_state(agent.folder)
    (agent.folder / "d0-a.wav").unlink()
    assert films_state(agent.folder) != before
    with pytest.raises(Unavailable, match=r"lacks d0-a\.wav"):
        studio.generate(agent, studio.conversations)
    with pytest.raises(Unavailable, match="there is no folder"):
        studio.generate(replace(agent, folder=tmp_path / "nowhere"), studio.conversations)


def test_inputs_hold_what_an_avatar_may_know(studio: Studio, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    studio.write_inputs(folder)
    assert len(list(folder.iterdir())) == 6 * len(studio.conversations)
    order = json.loads((folder / "d0-a.json").read_text())
    assert order["deliver"] == ["d0-a.mp4", "d0-a.wav"]
    assert order["seconds"] == pytest.approx(11.84)
    user, rate = soundfile.read(folder / "d0-a.user.wav")
    assert rate == studio.layout.sample_rate
    assert len(user) / rate == pytest.approx(11.84)
    script, _ = soundfile.read(folder / "d0-a.script.wav")
    assert len(script) == len(user)
    stamp = (folder / "d0-a.user.mp4").stat().st_mtime_ns
    studio.write_inputs(folder)
    assert (folder / "d0-a.user.mp4").stat().st_mtime_ns == stamp, "complete samples are left alone"


def test_checkpoints_beside_the_built_in_ones(studio: Studio, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    checkpoint(Level.LISTEN).save(path)
    agents = cast({"mine": str(path)}, {})
    assert list(agents) == [*list(AGENTS)[:-4], "mine", *list(AGENTS)[-4:]]
    mine = agents["mine"]
    assert isinstance(mine, ModelAgent)
    assert (mine.level, mine.offline, mine.path(Path("elsewhere"))) == (Level.LISTEN, False, path)
    assert AGENTS["level1"].path(Path("here")) == Path("here/level1.safetensors")  # type: ignore[union-attr]


def test_a_checkpoint_is_compared_in_another_number_of_steps(tmp_path: Path) -> None:
    path = tmp_path / "ode.safetensors"
    student = checkpoint(Level.LISTEN)
    replace(student, card=replace(student.card, stage="autoregressive", sampler=Sampler.ode(4))).save(path)
    asked = {"many": {"checkpoint": str(path), "num_steps": 32}, "own": str(path)}
    many, own = (cast(asked, {})[name] for name in asked)
    assert isinstance(many, ModelAgent)
    assert isinstance(own, ModelAgent)
    assert (many.num_steps, own.num_steps) == (32, None)
    assert "32 steps" in many.about
    found = in_steps(load_checkpoint(path), 3).card.sampler
    assert (len(found.steps), found.renoise) == (3, 0.0)
    student.save(path)
    with pytest.raises(ValueError, match="steps of its own"):
        cast(asked, {})
    with pytest.raises(ValueError, match="give a path, or checkpoint and num_steps"):
        cast({"many": {"path": str(path)}}, {})


@pytest.mark.parametrize(
    ("compare", "media", "message"),
    [
        ({}, {"level2": "x"}, "already"),
        ({}, {"../up": "x"}, "letters, digits"),
        ({"mine": "nothing.safetensors"}, {}, "there is no checkpoint"),
        ({"a": "x.safetensors"}, {"a": "x"}, "already"),
    ],
)
def test_names_and_files_are_checked(compare: dict[str, str], media: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cast(compare, media)
