"""Every codec keeps the promises of the protocol, and the suite notices each way of breaking one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from avatar_lab.codec.mimi import Mimi
from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.codec.tiny_video import TinyVideo
from avatar_lab.codec.wan_vae import WanVae
from tests.codec import broken
from tests.codec.conformance import AUDIO_CHECKS, VIDEO_CHECKS, AudioSubject, VideoSubject, failures
from tests.codec.tiny_networks import mimi_folder, wan_folder

Check = Callable[[Any], None]
MIMI_WARM_TOKENS = 12
"""Two layers of six frames, two frames of convolutions, all at 25 Hz, and one token of downsampling, generously."""


@pytest.fixture(scope="module")
def tiny_audio() -> AudioSubject:
    return AudioSubject(codec=TinyAudio.load(), warm_tokens=6)


@pytest.fixture(scope="module")
def tiny_video() -> VideoSubject:
    return VideoSubject(codec=TinyVideo.load())


@pytest.fixture(scope="module")
def mimi(tmp_path_factory: pytest.TempPathFactory) -> AudioSubject:
    folder = mimi_folder(tmp_path_factory.mktemp("mimi"))
    return AudioSubject(codec=Mimi.load(source=folder, num_codebooks=4), warm_tokens=MIMI_WARM_TOKENS)


@pytest.fixture(scope="module")
def silent_mimi(tmp_path_factory: pytest.TempPathFactory) -> AudioSubject:
    folder = mimi_folder(tmp_path_factory.mktemp("silent_mimi"), silent=True)
    return AudioSubject(codec=Mimi.load(source=folder, num_codebooks=4), warm_tokens=MIMI_WARM_TOKENS)


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> VideoSubject:
    return VideoSubject(codec=WanVae.load(source=wan_folder(tmp_path_factory.mktemp("wan")), height=32, width=24))


@pytest.mark.parametrize("check", AUDIO_CHECKS, ids=lambda check: check.__name__)
def test_tiny_audio(tiny_audio: AudioSubject, check: Check) -> None:
    check(tiny_audio)


@pytest.mark.parametrize("check", VIDEO_CHECKS, ids=lambda check: check.__name__)
def test_tiny_video(tiny_video: VideoSubject, check: Check) -> None:
    check(tiny_video)


@pytest.mark.ci
@pytest.mark.parametrize("check", AUDIO_CHECKS, ids=lambda check: check.__name__)
def test_mimi(mimi: AudioSubject, silent_mimi: AudioSubject, check: Check) -> None:
    """Only a Mimi that has learnt it turns the tokens of silence into silence; without biases a random one does."""
    check(silent_mimi)
    if "silence" not in check.__name__:
        check(mimi)


@pytest.mark.ci
@pytest.mark.parametrize("check", VIDEO_CHECKS, ids=lambda check: check.__name__)
def test_wan_vae(wan: VideoSubject, check: Check) -> None:
    check(wan)


@pytest.mark.ci
@pytest.mark.parametrize(
    ("fault", "noticed_by"),
    [
        (broken.HearsAhead, {"audio_encoder_sees_no_future", "audio_streams_as_offline"}),
        (broken.SpeaksAhead, {"audio_decoder_sees_no_future", "audio_streams_as_offline"}),
        (broken.MixesVoices, {"audio_rows_do_not_meet"}),
        (broken.ForgetsSound, {"audio_streams_as_offline", "audio_goes_on_from_a_state_more_than_once"}),
        (broken.OverwritesSound, {"audio_goes_on_from_a_state_more_than_once"}),
        (broken.HidesSound, {"audio_goes_on_from_a_state_more_than_once"}),
        (broken.PadsSound, {"audio_refuses_what_it_cannot_do"}),
        (broken.HalfTokens, {"audio_has_the_shapes_of_its_specification"}),
        (broken.LoudSilence, {"audio_silence_is_lasting_and_quiet"}),
        (broken.ForeignTables, {"audio_tables_hold_the_tokens"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_broken_audio_is_noticed(
    tiny_audio: AudioSubject, fault: type[broken.BrokenAudio], noticed_by: set[str]
) -> None:
    subject = AudioSubject(codec=fault(tiny_audio.codec), warm_tokens=tiny_audio.warm_tokens)
    failed = failures(AUDIO_CHECKS, subject)
    assert noticed_by <= failed
    assert len(failed) < len(AUDIO_CHECKS) - 2, "what is not broken passes"


@pytest.mark.ci
@pytest.mark.parametrize(
    ("fault", "noticed_by"),
    [
        (broken.SeesAhead, {"video_encoder_sees_no_future", "video_streams_as_offline"}),
        (broken.ShowsAhead, {"video_decoder_sees_no_future", "video_streams_as_offline"}),
        (broken.MixesFaces, {"video_rows_do_not_meet"}),
        (broken.ForgetsFaces, {"video_streams_as_offline", "video_goes_on_from_a_state_more_than_once"}),
        (broken.OverwritesFaces, {"video_goes_on_from_a_state_more_than_once"}),
        (broken.ClaimsToBeWarm, {"video_late_start_catches_up"}),
        (broken.PadsFaces, {"video_refuses_what_it_cannot_do"}),
        (broken.FloatFrames, {"video_has_the_shapes_of_its_specification"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_broken_video_is_noticed(
    tiny_video: VideoSubject, fault: type[broken.BrokenVideo], noticed_by: set[str]
) -> None:
    failed = failures(VIDEO_CHECKS, VideoSubject(codec=fault(tiny_video.codec)))
    assert noticed_by <= failed
    assert len(failed) < len(VIDEO_CHECKS) - 2, "what is not broken passes"


@pytest.mark.ci
def test_the_unbroken_wrappers_pass(tiny_audio: AudioSubject, tiny_video: VideoSubject) -> None:
    whole = AudioSubject(codec=broken.BrokenAudio(tiny_audio.codec), warm_tokens=tiny_audio.warm_tokens)
    assert not failures(AUDIO_CHECKS, whole)
    assert not failures(VIDEO_CHECKS, VideoSubject(codec=broken.BrokenVideo(tiny_video.codec)))
