"""The user's sound as heard in live use: each effect against its known answer, and the way into batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import welch

from avatar_lab.data.dataset import DyadData
from avatar_lab.data.schema import DatasetInfo
from avatar_lab.data.shards import ShardReader
from avatar_lab.data.streaming import DyadStream
from avatar_lab.data.windows import WindowId
from avatar_lab.layout import Layout
from avatar_lab.world.noise import Noise
from data_prep.prepare import prepare
from data_prep.sources.paired_files import PairedFiles
from data_prep.steps.augment import AugmentRule, Conditions, as_heard, draw, voice_level
from data_prep.steps.microphone import coloured_noise, convolved, echo, lose_packets, reverberation, room_response
from data_prep.steps.scratch import ScratchArray
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.recordings import RATE, tones, write_pair

NOTHING = Conditions(echo=None, room=None, noise=None, colour="white", loss=None)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _whole(pieces: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate(list(pieces))


def _decibels(wav: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(wav, dtype=np.float64))))


@pytest.mark.parametrize("decibels", [-20.0, -40.0])
@pytest.mark.parametrize("delay", [0.05, 0.3])
def test_echo_has_its_level_and_delay(decibels: float, delay: float) -> None:
    far = _rng().standard_normal(10 * RATE).astype(np.float32)
    response = room_response(_rng(1), seconds=0.1, sample_rate=RATE)
    heard = _whole(echo(far, decibels=decibels, delay=delay, response_M=response, sample_rate=RATE))
    assert np.flatnonzero(heard)[0] == round(delay * RATE)
    assert _decibels(heard[RATE:]) == pytest.approx(_decibels(far) + decibels, abs=0.5)


def test_convolution_in_blocks_is_one_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    wav, response = (
        _rng().standard_normal(5000).astype(np.float32),
        room_response(_rng(1), seconds=0.01, sample_rate=RATE),
    )
    monkeypatch.setattr("avatar_lab.events.waveform.PIECE", 700)
    late = 333
    heard = echo(wav, decibels=0.0, delay=late / RATE, response_M=response, sample_rate=RATE)
    expected = np.convolve(wav, response)[:5000]
    np.testing.assert_allclose(_whole(convolved(wav, response)), expected, atol=1e-4)
    np.testing.assert_allclose(_whole(heard), np.pad(expected, (late, 0))[:5000], atol=1e-4)


@pytest.mark.parametrize("colour", ["white", "pink", "brown"])
def test_noise_in_pieces_is_the_same_noise(monkeypatch: pytest.MonkeyPatch, colour: str) -> None:
    whole = _whole(coloured_noise(_rng(), 5000, colour=colour, sample_rate=RATE))
    monkeypatch.setattr("data_prep.steps.microphone.PIECE", 701)
    np.testing.assert_array_equal(_whole(coloured_noise(_rng(), 5000, colour=colour, sample_rate=RATE)), whole)


def test_room_decays_by_60_decibels_in_its_time() -> None:
    """Slope of the backward integrated energy (Schroeder 1965) between -5 and -35 dB."""
    response = room_response(_rng(), seconds=0.4, sample_rate=RATE)
    assert np.linalg.norm(response) == pytest.approx(1.0, abs=1e-3)
    left = 10 * np.log10(np.cumsum(response[::-1].astype(np.float64) ** 2)[::-1])
    inside = np.flatnonzero((left < -5) & (left > -35))
    slope = np.polyfit(inside / RATE, left[inside], 1)[0]
    assert -60 / slope == pytest.approx(0.4, rel=0.1)


def test_reverberation_has_its_energy_below_the_direct_sound() -> None:
    wav = np.zeros(RATE, np.float32)
    wav[100] = 1.0
    response = room_response(_rng(), seconds=0.2, sample_rate=RATE)
    wet = _whole(reverberation(wav, response_M=response, direct=6.0))
    assert 20 * np.log10(np.linalg.norm(wet)) == pytest.approx(-6.0, abs=0.1)


@pytest.mark.parametrize(("colour", "slope"), [("white", 0.0), ("pink", -10.0), ("brown", -20.0)])
def test_noise_has_its_colour_and_unit_level(colour: str, slope: float) -> None:
    noise = _whole(coloured_noise(_rng(), 40 * RATE, colour=colour, sample_rate=RATE))
    assert _decibels(noise) == pytest.approx(0.0, abs=1.0)
    frequency, power = welch(noise, RATE, nperseg=8192)
    inside = (frequency > 100) & (frequency < 4000)
    measured = np.polyfit(np.log10(frequency[inside]), 10 * np.log10(power[inside]), 1)[0]
    assert measured == pytest.approx(slope, abs=1.5)


def _heard(wav: np.ndarray, conditions: Conditions, scratch: Path) -> np.ndarray:
    return as_heard(wav, wav, conditions, Noise("n"), sample_rate=RATE, scratch=scratch)[:]


def test_noise_lies_below_the_voice(tmp_path: Path) -> None:
    voice = tones(20.0, [(2.0, 9.0)])
    level = voice_level(voice, RATE)
    assert level == pytest.approx(20 * np.log10(0.2 / np.sqrt(2)), abs=0.2)
    heard = _heard(voice, replace(NOTHING, noise={"decibels": 25.0}), tmp_path)
    assert _decibels(heard[10 * RATE :]) == pytest.approx(level - 25.0, abs=0.5)
    quiet = np.zeros(RATE, np.float32)
    heard = _heard(quiet, replace(NOTHING, noise={"decibels": 25.0}), tmp_path)
    assert _decibels(heard) == pytest.approx(-55.0, abs=0.5), "of someone who says nothing"


def _with_losses(wav: np.ndarray, rate: float, scratch: Path) -> np.ndarray:
    on_disk = ScratchArray(scratch, wav.shape)
    on_disk.write(0, wav)
    lose_packets(on_disk, _rng(), rate=rate, sample_rate=RATE)
    return on_disk[:]


def test_bursts_that_meet_repeat_what_was_sent(tmp_path: Path) -> None:
    """One burst after the other, on sound that is in memory."""
    wav, packet = np.arange(1, 20 * RATE + 1, dtype=np.float32), RATE // 50
    rng, expected = _rng(), wav.copy()
    for first in np.flatnonzero(rng.random(1000) < 30 / 50):
        burst, repeats = rng.integers(1, 4), rng.integers(2)
        before = wav[max(0, first - 1) * packet :][:packet]
        for lost in range(first, min(first + burst, 1000)):
            expected[lost * packet :][:packet] = before if repeats else 0
    np.testing.assert_array_equal(_with_losses(wav, 30.0, tmp_path), expected)


def test_lost_packets_are_silent_or_repeated(tmp_path: Path) -> None:
    wav = np.arange(1, 60 * RATE + 1, dtype=np.float32)
    heard = _with_losses(wav, 0.5, tmp_path)
    packet = RATE // 50
    changed = np.flatnonzero((heard != wav).reshape(-1, packet).any(1))
    bursts = np.split(changed, np.flatnonzero(np.diff(changed) > 1) + 1)
    assert 15 <= len(bursts) <= 50  # 30 expected
    assert {len(burst) for burst in bursts} >= {1, 2, 3}
    kinds = {
        "silent"
        if not heard[p * packet]
        else "repeated"
        if heard[p * packet] in wav[(burst[0] - 1) * packet :: packet]
        else "?"
        for burst in bursts
        for p in burst
    }
    assert kinds == {"silent", "repeated"}


def test_conditions_depend_on_seed_interaction_and_side_only() -> None:
    rule = AugmentRule()
    drawn = {
        (seed, name, side): draw(replace(rule, seed=seed), Noise(f"augment/{seed}").within(name, side))
        for seed in (0, 1) for name in ("d0", "d1") for side in "ab"
    }  # fmt: skip
    assert len({str(conditions) for conditions in drawn.values()}) == 8
    again = draw(rule, Noise("augment/0").within("d1", "b"))
    assert again == drawn[0, "d1", "b"]
    without = draw(replace(rule, echo_share=0.0), Noise("augment/0").within("d1", "b"))
    assert without == replace(again, echo=None), "one effect's parameters move no other's draws"


def test_shares_and_ranges_hold() -> None:
    rule = AugmentRule()
    drawn = [draw(rule, Noise(f"n{index}")) for index in range(800)]
    echoes = [conditions.echo for conditions in drawn if conditions.echo is not None]
    assert len(echoes) / 800 == pytest.approx(rule.echo_share, abs=0.06)
    assert -40 <= min(e["decibels"] for e in echoes) < -39
    assert -21 < max(e["decibels"] for e in echoes) <= -20
    assert 0.05 <= min(e["delay"] for e in echoes) < max(e["delay"] for e in echoes) <= 0.3
    assert {conditions.colour for conditions in drawn} == {"white", "pink", "brown"}
    assert sum(conditions == replace(NOTHING, colour=conditions.colour) for conditions in drawn) > 10, "some stay clean"
    with pytest.raises(ValueError, match=r"augment\.echo_share is 2"):
        AugmentRule(echo_share=2)
    with pytest.raises(ValueError, match=r"augment\.echo_delay is .*least and the largest"):
        AugmentRule(echo_delay=(0.3, 0.1))


# Through shards to batches ------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    for name in ("d0", "d1"):
        write_pair(root, name, seconds=12.0)
    return root


def _prepare(recordings: Path, out: Path, rule: AugmentRule | None, **changes: object) -> DatasetInfo:
    settings: dict = {"audio_codec": FakeAudio, "video_codec": FakeVideo, "workers": 0, "splits": {"train": 1.0}}
    return prepare(
        source=PairedFiles(root=recordings), out=out, layout=Layout(), augment=rule, work=out.parent / "work",
        **settings | changes,
    )  # fmt: skip


LOUD = AugmentRule(
    echo_share=1.0, echo_decibels=(-20, -20), echo_delay=(0.16, 0.16), room_share=0, noise_share=0, loss_share=0
)


@pytest.fixture(scope="module")
def shards(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("augmented")
    _prepare(recordings, root / "clean", None)
    _prepare(recordings, root / "live", LOUD)
    return {"clean": root / "clean", "live": root / "live"}


def test_members_are_added_and_nothing_else_changes(shards: dict[str, Path]) -> None:
    clean, live = (ShardReader(shards[name]) for name in ("clean", "live"))
    for key in clean.keys("train"):
        before = {member.name: member.crc32 for member in clean.row(key).members}
        after = {member.name: member.crc32 for member in live.row(key).members}
        assert set(after) - set(before) == {"a.user_tokens.npy", "b.user_tokens.npy"}
        assert {name for name in before if before[name] != after[name]} == {"json"}  # the hash of one more step
        assert set(live.interaction(key).meta.step_keys) - set(clean.interaction(key).meta.step_keys) == {"augment"}
    assert clean.info.content_hash != live.info.content_hash


def test_tokens_hold_the_partners_echo(shards: dict[str, Path]) -> None:
    """Side b speaks at 6.4 s for the first time alone; then side a's microphone hears it 20 dB quieter and later."""
    side = ShardReader(shards["live"]).interaction("d0").sides["a"]
    assert side.user_tokens is not None
    alone = slice(round(7.0 * 12.5), round(9.5 * 12.5))
    assert (side.audio_tokens[alone, 0] == 0).all()
    partner = ShardReader(shards["live"]).interaction("d0").sides["b"].audio_tokens[alone, 0].astype(int)
    assert np.abs(partner - side.user_tokens[alone, 0] - 20 / 3).mean() < 1.5  # levels in steps of 3 dB


def test_prepare_again_computes_only_the_new_step(shards: dict[str, Path], recordings: Path, tmp_path: Path) -> None:
    work = shards["live"].parent / "work"
    before = {path: path.stat().st_mtime_ns for path in work.glob("*/*/result.json")}
    _prepare(recordings, shards["live"].parent / "other", replace(LOUD, seed=1))
    after = set(work.glob("*/*/result.json")) - set(before)
    assert {path.parent.parent.name for path in after} == {"augment"}
    assert len(after) == 2
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())


def _data(root: Path, share: float) -> DyadData:
    return DyadData(root=root, layout=Layout(), batch_size=8, num_blocks=4, seed=3, augmented_share=share)


def test_loader_serves_them_with_the_stated_probability(shards: dict[str, Path]) -> None:
    clean, half, live = (_data(shards["live"], share) for share in (0.0, 0.5, 1.0))
    served = []
    for step in range(30):
        batches = [data.batch(step) for data in (clean, half, live)]
        assert all((batch.sample_B == batches[0].sample_B).all() for batch in batches), "the same windows"
        assert all((batch.audio_BEK == batches[0].audio_BEK).all() for batch in batches), "the avatar's own is clean"
        for row in range(8):
            is_clean, is_live = (
                (batches[1].user_audio_BTK[row] == batches[i].user_audio_BTK[row]).all() for i in (0, 2)
            )
            assert is_clean or is_live
            if not (is_clean and is_live):
                served.append(bool(is_live))
    assert len(served) > 100
    assert np.mean(served) == pytest.approx(0.5, abs=0.12)
    again = _data(shards["live"], 0.5)
    assert (again.batch(29).user_audio_BTK == half.batch(29).user_audio_BTK).all(), "a function of (seed, step)"


def test_whole_conversations_stay_clean(shards: dict[str, Path]) -> None:
    batches = [_data(shards["live"], share).conversation("d0", "a") for share in (0.0, 1.0)]
    assert (batches[0].user_audio_BTK == batches[1].user_audio_BTK).all()


def test_streams_serve_them_too(shards: dict[str, Path]) -> None:
    info = ShardReader(shards["live"]).info
    urls = [str(path) for path in sorted(shards["live"].glob("*.tar"))]
    settings: dict = {"urls": urls, "info": info, "layout": Layout(), "batch_size": 4, "num_blocks": 4, "seed": 0}
    with pytest.raises(ValueError, match="no user_tokens"):
        next(
            iter(
                DyadStream(
                    **settings | {"urls": [str(shards["clean"] / Path(url).name) for url in urls]}, augmented_share=1.0
                )
            )
        )
    batch = next(iter(DyadStream(**settings, augmented_share=1.0)))
    assert batch.user_audio_BTK.shape[0] == 4


def test_shards_without_them_are_refused(shards: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"2 of 2 interactions have no user_tokens.*augment block"):
        _data(shards["clean"], 0.3)
    with pytest.raises(ValueError, match="between 0 and 1"):
        _data(shards["live"], 1.3)
    assert WindowId(key="d0", side="a", start_block=3, num_blocks=5, heard_live=True).sample == 4567040917309164855
