"""One recording through probe, events, encode and pictures; each result is stored and reused.

This is what a worker process runs. Everything in ``Settings`` that changes a result is part of that step's key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np

from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.data.schema import SIDES
from data_prep.blob import Blob
from data_prep.manifest import Recording, SkipReason, SkipRecording
from data_prep.media.client import MediaClient, VideoFacts
from data_prep.meter import Cost, Meter
from data_prep.selection import Enough
from data_prep.settings import Settings, check_codecs
from data_prep.steps import augment, encode, events, pictures, probe, track
from data_prep.steps.clock import Clock, frames_on_grid
from data_prep.steps.crop import Crop
from data_prep.steps.digests import FileDigests
from data_prep.steps.sound import Sound
from data_prep.steps.store import TRANSIENT, StepResult, StepStore, step_key


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Outcome for one recording: keys of its step results, or why it was skipped."""

    interaction: str
    keys: dict[str, str]
    skip: SkipReason | None = None
    detail: str = ""
    computed: bool = False
    """False if every result was already there."""
    costs: dict[str, Cost] = field(default_factory=dict)
    """What each step that was computed took."""


class Pipeline:
    """Runs recordings through the steps with one pair of codecs and one media process per side; a context manager.

    Raises:
        ValueError: the codecs' grids are not those of the layout.
    """

    def __init__(self, settings: Settings, audio_codec: AudioCodec, video_codec: VideoCodec) -> None:
        check_codecs(settings.layout, audio_codec, video_codec)
        self._settings = settings
        self._audio_codec, self._video_codec = audio_codec, video_codec
        self._store = StepStore(settings.work)
        self._digests = FileDigests(settings.work)
        self._media = {side: MediaClient(settings.limits) for side in SIDES}
        self._meter = Meter(self._media.values())
        self._computed = False
        self._recalling = False

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._media.values():
            client.close()
        self._digests.close()

    def recall(self, recording: Recording) -> Prepared | None:
        """The outcome of ``recording`` if all of it is already stored and its files have not changed; cheap."""
        self._recalling = True
        try:
            return self.prepare(recording)
        except _NotStored:
            return None
        finally:
            self._recalling = False

    def prepare(self, recording: Recording) -> Prepared:
        """All steps of ``recording``; never raises for what is wrong with the recording."""
        self._computed = False
        outcome = Prepared(interaction=recording.interaction, keys={})
        try:
            with suppress(Enough):
                try:
                    self._run_steps(recording, outcome.keys)
                except SkipRecording as skip:  # what may pass is tried once more, from the step that was in the way
                    if skip.reason not in TRANSIENT:
                        raise
                    self._run_steps(recording, outcome.keys)
        except SkipRecording as skip:
            outcome = replace(outcome, skip=skip.reason, detail=skip.detail)
        return replace(outcome, computed=self._computed, costs=self._meter.collect())

    def _run_steps(self, recording: Recording, keys: dict[str, str]) -> None:
        settings, layout = self._settings, self._settings.layout
        if recording.problem is not None:
            raise SkipRecording(*recording.problem)
        files = {role: self._digest(blob) for role, blob in recording.files.items()}
        media_files = {role: digest for role, digest in files.items() if role.endswith((".video", ".audio"))}
        lengths = {"max_mismatch": settings.max_mismatch, "min_seconds": settings.min_seconds}
        probed = self._step(
            keys,
            "probe",
            probe.VERSION,
            {"limits": asdict(settings.limits), **lengths, **({"audio_only": True} if recording.audio_only else {})},
            media_files,
            lambda: probe.probe(recording, self._media["a"], **lengths),
        )
        facts = {} if recording.audio_only else {side: _video_facts(probed, side) for side in SIDES}
        clock = Clock.of(layout, probed.values["seconds"])
        framings = self._framings(keys, recording, facts)
        # The length stands for the probe: limits and time-outs do not change what is encoded.
        grids = {name: getattr(layout, name) for name in ("sample_rate", "audio_rate", "fps")}
        grids["seconds"] = probed.values["seconds"]
        chunk_tokens = max(1, round(settings.chunk_seconds * layout.audio_rate))
        sound = Sound(recording, self._media, layout, clock)
        found = self._step(
            keys,
            "events",
            events.VERSION,
            grids | {"vad": asdict(settings.vad), "interaction": recording.interaction} | _channels(recording),
            files,
            lambda: events.find_events(
                sound.waveforms,
                sample_rate=layout.sample_rate,
                rule=settings.vad,
                interaction=recording.interaction,
                given=recording.events,
                notes={side: files.notes for side, files in recording.sides.items() if files.notes is not None},
            ),
        )
        codecs = {"audio": self._audio_codec.spec.fingerprint, "video": self._video_codec.spec.fingerprint}
        framing = {
            "crops": {side: [asdict(crop) for crop in crops] for side, crops in framings.items()},
            "frames_per_latent": layout.frames_per_latent,
        }
        self._step(
            keys,
            "encode",
            encode.VERSION,
            grids | framing | codecs | _channels(recording),
            media_files,
            lambda: self._encode(recording, facts, clock, sound, framings, chunk_tokens),
        )
        if settings.augment is not None:
            heard = augment.Augment(settings.augment, self._audio_codec, recording.interaction, chunk_tokens)
            stated = grids | heard.stated | _channels(recording)
            self._step(keys, "augment", augment.VERSION, stated, media_files, lambda: heard.run(sound.waveforms))
        self._step(
            keys,
            "pictures",
            pictures.VERSION,
            grids | framing | {"video": codecs["video"], "count": settings.pictures},
            media_files | {"events": keys["events"]},
            lambda: self._pictures(recording, facts, clock, found, framings),
        )

    def _framings(
        self, keys: dict[str, str], recording: Recording, facts: dict[str, VideoFacts]
    ) -> dict[str, tuple[Crop, ...]]:
        """What is cut out of each side's picture, from where its face is; nothing where there are no pictures."""
        if recording.audio_only:
            return {}
        brought = {side: recording.sides[side].features for side in SIDES}
        sizes = {side: {"width": facts[side].width, "height": facts[side].height} for side in SIDES}
        tracked = self._step(
            keys,
            "track",
            track.VERSION,
            {"sizes": sizes},
            {f"{side}.features": self._digest(blob) for side, blob in brought.items() if blob is not None},
            lambda: track.track({side: track.find_face(brought[side], **sizes[side]) for side in SIDES}),
        )
        return {side: self._settings.crops.at(track.Face(**tracked.values[side]), **sizes[side]) for side in SIDES}

    def _step(
        self,
        keys: dict[str, str],
        step: str,
        version: int,
        params: dict[str, object],
        inputs: dict[str, str],
        compute: Callable[[], StepResult],
    ) -> StepResult:
        """The stored result of a step, computed now if there is none."""
        if self._settings.steps is not None and step not in self._settings.steps:
            raise Enough
        keys[step] = step_key(step, version, params, inputs)
        stored = self._store.load(step, keys[step])
        if stored is not None:
            return stored
        if self._recalling:
            raise _NotStored
        self._computed = True
        try:
            result = self._meter.measure(step, compute)
        except SkipRecording as skip:
            self._store.save_skip(step, keys[step], skip)
            raise
        self._store.save(step, keys[step], result)
        return result

    def _digest(self, blob: Blob) -> str:
        try:
            find = self._digests.known if self._recalling else self._digests.of
            digest = self._meter.measure("digests", lambda: find(blob))
        except OSError as error:
            raise SkipRecording(SkipReason.UNREADABLE, f"{blob.name}: {error}") from error
        if digest is None:
            raise _NotStored
        return digest

    def _encode(
        self,
        recording: Recording,
        facts: dict[str, VideoFacts],
        clock: Clock,
        sound: Sound,
        framings: dict[str, tuple[Crop, ...]],
        chunk_tokens: int,
    ) -> StepResult:
        settings, layout = self._settings, self._settings.layout
        chunk_latents = max(1, round(settings.chunk_seconds * layout.latent_rate))
        chunk_frames = chunk_latents * layout.frames_per_latent
        streams: dict[str, Iterator[np.ndarray]] = {}
        valid: dict[str, Any] = {f"{side}.audio_valid": sound.valid[side] for side in SIDES}
        for side in facts:
            index, live_P = frames_on_grid(facts[side].pts_P, fps=layout.fps, count=clock.frames)
            streams[side] = self._media[side].frames(_video(recording, side), index, facts[side], chunk=chunk_frames)
            valid[f"{side}.video_valid"] = live_P.reshape(clock.latents, -1).all(1)
        result = encode.encode(
            sound.waveforms,
            streams,
            audio_codec=self._audio_codec,
            video_codec=self._video_codec,
            framings=framings,
            chunk_tokens=chunk_tokens,
            chunk_frames=chunk_frames,
        )
        return StepResult(arrays=result.arrays | valid)

    def _pictures(
        self,
        recording: Recording,
        facts: dict[str, VideoFacts],
        clock: Clock,
        found: StepResult,
        framings: dict[str, tuple[Crop, ...]],
    ) -> StepResult:
        layout = self._settings.layout
        if recording.audio_only:
            return pictures.no_pictures(self._video_codec)
        arrays = {}
        for side in SIDES:
            grid_frames_R = pictures.neutral_frames(
                [tuple(span) for span in found.arrays[f"{side}.speech"].tolist()],
                found.tables.get("given_events"),
                side=side,
                fps=float(layout.fps),
                frames=clock.frames,
                pictures=self._settings.pictures,
            )
            index, _ = frames_on_grid(facts[side].pts_P, fps=layout.fps, count=clock.frames)
            pieces = self._media[side].frames(
                _video(recording, side), index[grid_frames_R], facts[side], chunk=len(grid_frames_R)
            )
            arrays[f"{side}.pictures"] = pictures.encode_pictures(pieces, self._video_codec, framings[side][0])
            arrays[f"{side}.picture_frames"] = grid_frames_R
        return StepResult(arrays=arrays)


def _channels(recording: Recording) -> dict[str, object]:
    """Which channel each side speaks on, where two people share a file."""
    channels = {side: files.channel for side, files in recording.sides.items() if files.channel is not None}
    return {"channels": channels} if channels else {}


class _NotStored(Exception):
    """Something would have to be computed."""


def _video(recording: Recording, side: str) -> Blob:
    blob = recording.sides[side].video
    assert blob is not None  # probe has refused the recording otherwise
    return blob


def _video_facts(probed: StepResult, side: str) -> VideoFacts:
    plain = dict(probed.values[f"{side}.video"])
    plain["fps"] = Fraction(plain["fps"])
    return VideoFacts(pts_P=probed.arrays[f"{side}.pts"], **plain)
