"""Stage ``long_tune``: distribution matching at the end of rollouts that are longer than a window, against drift."""

from __future__ import annotations

from avatar_lab.stage.self_forcing import SelfForcing


class LongTune(SelfForcing):
    """``self_forcing`` once more, on what the student says and shows after a while (``scored_blocks``)."""

    name = "long_tune"
    starts_from = "self_forcing"
