"""Which promises of ``avatar_lab/codec/protocol.py`` a codec breaks: ``failures`` names them, none for a good codec.

The promises are in ``audio_promises.py`` and ``video_promises.py``, one function each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.codec.audio_promises import AUDIO_CHECKS, AudioSubject
from tests.codec.video_promises import VIDEO_CHECKS, VideoSubject

__all__ = ["AUDIO_CHECKS", "VIDEO_CHECKS", "AudioSubject", "VideoSubject", "failures"]


def failures(checks: Sequence[Callable[[Any], None]], subject: AudioSubject | VideoSubject) -> set[str]:
    """Names of the checks that ``subject`` does not pass."""
    failed = set()
    for check in checks:
        try:
            check(subject)
        except (AssertionError, RuntimeError, pytest.fail.Exception):
            failed.add(check.__name__)
    return failed
