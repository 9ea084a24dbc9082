"""A helper process of ``prepare``: what it refuses is a reason to skip a recording."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from avatar_lab.served_process import Answer, ServedProcess
from avatar_lab.serving import Refusal
from data_prep.manifest import SkipReason, SkipRecording


class MediaProcess(ServedProcess):
    """Owns one process; a context manager."""

    def ask(self, request: dict[str, Any], *, about: str, payload: bytes = b"") -> Iterator[Answer]:
        """Answers to one request, the last of which ends them; ``about`` names the file in messages.

        Raises:
            SkipRecording: the process refused, crashed or did not answer in time.
            OSError: it cannot be started.
        """
        try:
            yield from super().ask(request, about=about, payload=payload)
        except Refusal as refusal:
            raise SkipRecording(SkipReason(refusal.reason), refusal.detail) from refusal
