"""The clock: one frozen dataclass from which every length in the package is derived.

Media time runs in seconds from the start of a conversation. Three grids divide it: video frames, video latents and
audio tokens; a *block* is the unit of causal generation and holds a whole number of each. Nothing else in the package
may contain such a number.

What the avatar may know is stated here too: block ``i`` sees the part of a user stream that ends at or before
``start(i) - delay(stream)``. The same cut-off holds in teacher, autoregressive model, student, critic and cache writes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction

MAX_REACTION_SECONDS = 1.0


class Stream(Enum):
    """The two inputs that the avatar perceives of its user."""

    USER_AUDIO = "user_audio"
    USER_VIDEO = "user_video"


@dataclass(frozen=True, kw_only=True)
class DelayBudget:
    """Where the time goes between a user event and the avatar's block that may answer it (seconds)."""

    encode: float
    compute: float
    decode: float
    transport: float

    @property
    def total(self) -> float:
        return self.encode + self.compute + self.decode + self.transport

    def __str__(self) -> str:
        return f"encode {self.encode} + compute {self.compute} + decode {self.decode} + transport {self.transport}"


def _audio_budget() -> DelayBudget:
    return DelayBudget(encode=0.01, compute=0.16, decode=0.02, transport=0.05)


def _video_budget() -> DelayBudget:
    return DelayBudget(encode=0.02, compute=0.16, decode=0.02, transport=0.05)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Grids of one model. The defaults are 25 fps and 320 ms blocks = 2 video latents + 4 audio tokens.

    Raises:
        ValueError: a block does not hold whole numbers of tokens, or the worst reaction is slower than one second and
            ``allow_slow_reaction`` is not set.
    """

    sample_rate: int = 24_000
    audio_rate: Fraction = Fraction(25, 2)
    """Audio tokens per second."""
    fps: Fraction = Fraction(25)
    frames_per_latent: int = 4
    block_seconds: Fraction = Fraction(8, 25)
    user_audio_delay: DelayBudget = field(default_factory=_audio_budget)
    user_video_delay: DelayBudget = field(default_factory=_video_budget)
    history_blocks: int = 20
    """Blocks of the avatar's own past that stay in the cache; older ones are forgotten (the anchor never is)."""
    user_seconds: Fraction = Fraction(16, 5)
    """How far back each user stream stays visible."""
    stack_seconds: Fraction = Fraction(12, 25)
    """Newest stretch of a user stream that is folded into one feature of the listen and see branches."""
    rest_seconds: Fraction = Fraction(16, 5)
    """Stretch of camera whose mean is how the user looks at rest; the see branch gets deviations (0: raw features)."""
    script_lookahead: int = 10
    """Largest number of future script tokens shown to a block."""
    anchor_seconds: Fraction = Fraction(3)
    """Length of the voice sample in the anchor."""
    allow_slow_reaction: bool = False

    def __post_init__(self) -> None:
        for name in (
            "audio_rate",
            "fps",
            "block_seconds",
            "user_seconds",
            "stack_seconds",
            "rest_seconds",
            "anchor_seconds",
        ):
            object.__setattr__(self, name, Fraction(getattr(self, name)).limit_denominator(100_000))
        for name, value in (
            ("audio tokens", self.audio_rate * self.block_seconds),
            ("video latents", self.latent_rate * self.block_seconds),
            ("samples", self.sample_rate * self.block_seconds),
        ):
            if value.denominator != 1 or value < 1:
                raise ValueError(
                    f"a block of {float(self.block_seconds):g} s holds {value} {name}; choose block_seconds so that it "
                    "holds whole audio tokens, video latents and samples"
                )
        if self.sample_rate % self.audio_rate:
            raise ValueError(f"{self.sample_rate} Hz is not a whole number of samples per audio token")
        if self.rest_tokens(Stream.USER_VIDEO) == 1:
            raise ValueError(
                f"rest_seconds {float(self.rest_seconds):g} is one camera token, which deviates from its own mean by "
                f"nothing: choose at least {float(2 * self.grid(Stream.USER_VIDEO)):g}, or 0 for raw features"
            )
        for stream in Stream:
            worst = self.worst_reaction(stream)
            if worst > MAX_REACTION_SECONDS and not self.allow_slow_reaction:
                raise ValueError(
                    f"worst reaction to {stream.value} is {worst:.2f} s > {MAX_REACTION_SECONDS:g} s: block "
                    f"{float(self.block_seconds):g} + delay {self.delay(stream):g} ({self.budget(stream)}, rounded up "
                    f"to the grid of {float(self.grid(stream)):g} s); shorten the block or a delay, or set "
                    "layout.allow_slow_reaction=true"
                )

    # Grids -----------------------------------------------------------------------------------------------------------
    @property
    def latent_rate(self) -> Fraction:
        """Video latents per second."""
        return self.fps / self.frames_per_latent

    @property
    def audio_per_block(self) -> int:
        return int(self.audio_rate * self.block_seconds)

    @property
    def latents_per_block(self) -> int:
        return int(self.latent_rate * self.block_seconds)

    @property
    def frames_per_block(self) -> int:
        return self.latents_per_block * self.frames_per_latent

    @property
    def samples_per_token(self) -> int:
        return int(self.sample_rate / self.audio_rate)

    @property
    def samples_per_block(self) -> int:
        return self.samples_per_token * self.audio_per_block

    @property
    def anchor_tokens(self) -> int:
        """Whole audio tokens in the anchor's voice sample."""
        return int(self.anchor_seconds * self.audio_rate)

    def audio_of_latent(self, latent: int) -> range:
        """Audio tokens that overlap a video latent in time."""
        ratio = self.audio_rate / self.latent_rate
        return range(math.floor(latent * ratio), math.ceil((latent + 1) * ratio))

    def start(self, block: int) -> float:
        """Media time at which ``block`` begins, in seconds."""
        return float(block * self.block_seconds)

    def num_blocks(self, seconds: float) -> int:
        """Whole blocks in ``seconds`` of media."""
        return math.floor(Fraction(seconds).limit_denominator(1_000_000) / self.block_seconds)

    # Who sees what, and when -----------------------------------------------------------------------------------------
    def grid(self, stream: Stream) -> Fraction:
        """Seconds per token of a user stream."""
        return 1 / (self.audio_rate if stream is Stream.USER_AUDIO else self.latent_rate)

    def per_block(self, stream: Stream) -> int:
        """Tokens of a user stream that arrive during one block."""
        return self.audio_per_block if stream is Stream.USER_AUDIO else self.latents_per_block

    def budget(self, stream: Stream) -> DelayBudget:
        return self.user_audio_delay if stream is Stream.USER_AUDIO else self.user_video_delay

    def delay_tokens(self, stream: Stream) -> int:
        """The delay of a user stream in its own tokens, rounded up."""
        return math.ceil(Fraction(self.budget(stream).total).limit_denominator(1_000_000) / self.grid(stream))

    def delay(self, stream: Stream) -> float:
        """Seconds between the end of a user token and the first block start that may see it."""
        return float(self.delay_tokens(stream) * self.grid(stream))

    def visible_end(self, stream: Stream, block: int) -> int:
        """Exclusive end index of the user tokens that ``block`` may see; negative before anything is visible."""
        return block * self.per_block(stream) - self.delay_tokens(stream)

    def visible_span(self, stream: Stream) -> int:
        """Number of newest visible user tokens that a block attends to."""
        return int(self.user_seconds / self.grid(stream))

    def stack_tokens(self, stream: Stream) -> int:
        """User tokens folded into one branch feature."""
        return int(self.stack_seconds / self.grid(stream))

    def rest_tokens(self, stream: Stream) -> int:
        """User tokens that are averaged to how the user looks at rest; 0 for audio, whose codebook is fixed."""
        return int(self.rest_seconds / self.grid(stream)) if stream is Stream.USER_VIDEO else 0

    def memory_tokens(self, stream: Stream) -> int:
        """Newest user tokens from which the features that a block attends to are computed."""
        before = self.stack_tokens(stream) - 1 + max(0, self.rest_tokens(stream) - 1)
        return self.visible_span(stream) + before

    def lead_tokens(self, stream: Stream) -> int:
        """User tokens before a window that its first block can still be influenced by, in whole blocks."""
        reach = self.memory_tokens(stream) + self.delay_tokens(stream)
        return math.ceil(reach / self.per_block(stream)) * self.per_block(stream)

    def earliest_reaction(self, stream: Stream) -> float:
        return self.delay(stream)

    def mean_reaction(self, stream: Stream) -> float:
        return float(self.block_seconds) / 2 + self.delay(stream)

    def worst_reaction(self, stream: Stream) -> float:
        """An event just after a cut-off waits one whole block for the next (seconds)."""
        return float(self.block_seconds) + self.delay(stream)

    def to_dict(self) -> dict[str, object]:
        """Plain values for a checkpoint header; ``Layout.from_dict`` reads them back."""
        plain: dict[str, object] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            plain[name] = (
                str(value) if isinstance(value, Fraction) else vars(value) if isinstance(value, DelayBudget) else value
            )
        return plain

    @classmethod
    def from_dict(cls, plain: dict) -> Layout:
        values = dict(plain)
        for name in ("user_audio_delay", "user_video_delay"):
            if isinstance(values.get(name), dict):
                values[name] = DelayBudget(**values[name])
        return cls(**values)
