"""The instrument tells the world's agents apart: oracle and delayed oracle respond, yoked and frozen do not.

Media is real (rendered, through codec and pixel reader) in the CI tier; the fast tier reads faces from the tracks,
which calibrates cues, detectors, matching and metrics without pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.codec.tiny_video import TinyVideo
from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.measure import conversation_cues, measure
from avatar_lab.evaluation.media import decode
from avatar_lab.evaluation.observation import Observation, observe, observe_channels
from avatar_lab.evaluation.responses import RESPONSES
from avatar_lab.evaluation.rows import Measurement
from avatar_lab.layout import Layout
from avatar_lab.perception.pixel_reader import READ_CHANNELS, PixelReader
from avatar_lab.world.agents import Performance, delayed_oracle, frozen, oracle, yoked
from avatar_lab.world.dialogue import Dialogue
from avatar_lab.world.graph import world_v1
from avatar_lab.world.record import render_person
from avatar_lab.world.simulate import simulate
from avatar_lab.world.tracks import FACE_CHANNELS
from avatar_lab.world.voice import synthesize

LAYOUT = Layout()
SECONDS = 48.0
COLUMNS = [FACE_CHANNELS.index(name) for name in READ_CHANNELS]

Watch = Callable[[Dialogue, Conversation, Performance], Observation]


def conversation(dialogue: Dialogue, side: str) -> Conversation:
    return Conversation(
        key=dialogue.interaction,
        interaction=dialogue.interaction,
        side=side,
        num_blocks=LAYOUT.num_blocks(SECONDS),
        seconds=SECONDS,
        events=list(dialogue.events),
    )


def from_tracks(dialogue: Dialogue, judged: Conversation, performance: Performance) -> Observation:
    """A perfect reader of the face; the voice is heard as a waveform."""
    voice = dialogue.persons[judged.side].voice
    rng = dialogue.noise.generator("sound", judged.side)
    wav_S = synthesize(voice, performance.tracks.voice_RQ, LAYOUT.sample_rate, rng)
    return observe_channels(performance.tracks.face_TP[:, COLUMNS].astype(np.float64), wav_S, judged, LAYOUT)


def pooled(rows: list[Measurement]) -> dict[str, float]:
    """Responses pooled over conversations, and mean lip sync."""
    found = {}
    for response in RESPONSES:
        rates = []
        for part in ("after_cue", "without_cue"):
            used = [row for row in rows if row.metric == f"{response.name}_{part}" and row.value is not None]
            rates.append(sum(row.value * row.n for row in used if row.value is not None) / sum(row.n for row in used))
        found[response.name] = rates[0] - rates[1]
    synced = [row.value for row in rows if row.metric == "lip_sync_correlation" and row.value is not None]
    found["lip_sync"] = float(np.mean(synced)) if synced else 0.0
    return found


def results(num_dyads: int, watch: Watch) -> dict[str, dict[str, float]]:
    dialogues = [simulate(seed, SECONDS, graph=world_v1(), held_out=True) for seed in range(num_dyads)]
    rows: dict[str, list[Measurement]] = {name: [] for name in ("oracle", "delayed_oracle", "yoked", "frozen")}
    for index, dialogue in enumerate(dialogues):
        side = "ab"[index % 2]
        judged = conversation(dialogue, side)
        cues = conversation_cues(judged, seed=0)
        performances = {
            "oracle": oracle(dialogue, side),
            "delayed_oracle": delayed_oracle(dialogue, side, LAYOUT),
            "yoked": yoked(dialogue, dialogues[(index + 1) % num_dyads], side),
            "frozen": frozen(dialogue, side),
        }
        for name, performance in performances.items():
            rows[name] += measure(judged, watch(dialogue, judged, performance), cues, LAYOUT)
    return {name: pooled(own) for name, own in rows.items()}


def check_order(found: dict[str, dict[str, float]], *, reach: float) -> None:
    for name in ("nod", "backchannel", "smile"):
        assert found["oracle"][name] > reach, (name, found)
        assert found["delayed_oracle"][name] > 0.8 * found["oracle"][name], (name, found)
        assert abs(found["yoked"][name]) < 0.2, (name, found)
        assert found["frozen"][name] == 0, (name, found)
    assert abs(found["oracle"]["blink"]) < 0.15, found
    assert found["oracle"]["lip_sync"] > found["frozen"]["lip_sync"]
    assert found["yoked"]["lip_sync"] > 0.8 * found["oracle"]["lip_sync"], "a yoked agent speaks its own script"


@pytest.mark.ci
def test_order_of_agents_with_a_perfect_reader() -> None:
    check_order(results(16, from_tracks), reach=0.5)


@pytest.mark.ci
def test_order_of_agents_through_codecs_and_pixels() -> None:
    torch.set_num_threads(1)
    audio_codec, video_codec, reader = TinyAudio.load(), TinyVideo.load(), PixelReader.load()

    def through_codecs(dialogue: Dialogue, judged: Conversation, performance: Performance) -> Observation:
        rng = dialogue.noise.generator("sound", judged.side)
        frames_PHWC, wav_S = render_person(dialogue.persons[judged.side], performance.tracks, LAYOUT, rng)
        with torch.inference_mode():
            tokens_BAK, _ = audio_codec.encode(torch.from_numpy(wav_S[None]))
            latents_BFHWC, _ = video_codec.encode(torch.from_numpy(frames_PHWC[None]))
            media = decode(tokens_BAK[0], latents_BFHWC[0], audio_codec=audio_codec, video_codec=video_codec)
            return observe(media, judged, reader=reader, layout=LAYOUT)

    check_order(results(24, through_codecs), reach=0.4)
