"""DNSMOS P.835: what listeners would say of speech, its signal and its background (Reddy et al. 2022, ICASSP).

The network is read from the package ``speechmos`` and run here on one thread per process; the package itself opens it
on all cores, together with a second network, and needs librosa for that one. Windows and polynomials are its own.

    S samples   W windows
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from avatar_lab.data.schema import file_sha256
from avatar_lab.evaluation.finding import Finding
from avatar_lab.evaluation.metric.undefined import Undefined
from avatar_lab.evaluation.plugin.packages import import_or_say, packaged_file
from avatar_lab.evaluation.plugin.protocol import Judging, Take, Wave
from avatar_lab.evaluation.plugin.speech import RATE, speech_at_16k
from avatar_lab.events.segments import total

INSTALL = "pip install 'avatar-lab[metrics]'"
WINDOW_SECONDS = 9.01
MIN_SPEECH = 1.0
MARGIN = 0.25
"""Seconds around speech that are judged with it: the background is heard there."""
SCALES = {
    "dnsmos_signal": (-0.08397278, 1.22083953, 0.0052439),
    "dnsmos_background": (-0.13166888, 1.60915514, -0.39604546),
    "dnsmos_overall": (-0.06766283, 1.11546468, 0.04602535),
}
"""Polynomials from the network's three outputs, in this order, to opinion scores of 1 to 5 (of the package)."""


@dataclass(frozen=True)
class Dnsmos(Judging):
    """All speech of the avatar, vocal reactions too, judged without a reference."""

    name: ClassVar[str] = "dnsmos"
    metrics: ClassVar[tuple[str, ...]] = tuple(SCALES)
    weights: ClassVar[str] = "sig_bak_ovr.onnx of Microsoft's DNS Challenge, in the package speechmos (MIT)"

    def identity(self) -> str:
        return f"{file_sha256(_network_file())} onnxruntime {_runtime().__version__}"

    def measure(self, take: Take) -> list[Finding]:
        network = _network()
        spans, rate = take.observation.speech, take.layout.sample_rate
        if total(spans) < MIN_SPEECH:
            why = Undefined(f"{total(spans):.2f} s of speech; {MIN_SPEECH:g} s are needed")
            return [Finding(metric=name, value=why, n=0) for name in self.metrics]
        windows_WS = cut_windows(speech_at_16k(take.media.audio_S, rate, spans, margin=MARGIN))
        raw_W3 = np.concatenate([network.run(None, {"input_1": window_S[None]})[0] for window_S in windows_WS])
        return [
            Finding(metric=name, value=float(np.polyval(scale, raw_W).mean()), n=len(windows_WS))
            for (name, scale), raw_W in zip(SCALES.items(), raw_W3.T.astype(np.float64), strict=True)
        ]


def cut_windows(wave_S: Wave) -> Wave:
    """Windows (W, S) of 9.01 s, one a second; less sound is doubled until it fills one."""
    size = int(WINDOW_SECONDS * RATE)
    while len(wave_S) < size:
        wave_S = np.concatenate([wave_S, wave_S])
    return np.lib.stride_tricks.sliding_window_view(wave_S, size)[::RATE]


@cache
def _network() -> Any:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(str(_network_file()), options, providers=["CPUExecutionProvider"])


def _runtime() -> Any:
    return import_or_say("onnxruntime", INSTALL)


def _network_file() -> Any:
    return packaged_file("speechmos", "dnsmos_models/sig_bak_ovr.onnx", INSTALL)
