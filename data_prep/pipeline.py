"""One recording through the steps, from probe to pictures; each result is stored and reused.

This is what a worker process runs. Everything in ``Settings`` that changes a result is part of that step's key.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace

from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.data.schema import SIDES
from data_prep.footage import Footage, encode_footage, take_pictures
from data_prep.manifest import Recording, SkipReason, SkipRecording
from data_prep.media.client import MediaClient
from data_prep.media.faces import FaceFinder
from data_prep.meter import Cost, Meter
from data_prep.selection import Enough
from data_prep.settings import Settings, check_codecs
from data_prep.steps import augment, bleed, encode, events, features, motion, pictures, probe, sync, track, voice
from data_prep.steps.crop import Crop
from data_prep.steps.runner import NotStored, StepRunner
from data_prep.steps.store import TRANSIENT, StepResult


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
        self._media = {side: MediaClient(settings.limits) for side in SIDES}
        self._finder = None if settings.faces is None else FaceFinder(settings.faces)
        self._served = (*self._media.values(), *([] if self._finder is None else [self._finder]))
        self._meter = Meter(self._served)
        self._runner = StepRunner(settings.work, wanted=settings.steps, meter=self._meter)

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._served:
            client.close()
        self._runner.close()

    def recall(self, recording: Recording) -> Prepared | None:
        """The outcome of ``recording`` if all of it is already stored and its files have not changed; cheap."""
        try:
            return self._outcome(recording, recalling=True)
        except NotStored:
            return None

    def prepare(self, recording: Recording) -> Prepared:
        """All steps of ``recording``; never raises for what is wrong with the recording."""
        return self._outcome(recording, recalling=False)

    def _outcome(self, recording: Recording, *, recalling: bool) -> Prepared:
        runner = self._runner
        runner.begin(recalling=recalling)
        outcome = Prepared(interaction=recording.interaction, keys=runner.keys)
        try:
            with suppress(Enough):
                try:
                    self._run_steps(recording)
                except SkipRecording as skip:  # what may pass is tried once more, from the step that was in the way
                    if skip.reason not in TRANSIENT:
                        raise
                    self._run_steps(recording)
        except SkipRecording as skip:
            outcome = replace(outcome, skip=skip.reason, detail=skip.detail)
        return replace(outcome, computed=runner.computed, costs=self._meter.collect())

    def _run_steps(self, recording: Recording) -> None:
        if recording.problem is not None:
            raise SkipRecording(*recording.problem)
        files = {role: self._runner.digest(blob) for role, blob in recording.files.items()}
        media_files = {role: files[role] for role in recording.media}
        probed = self._probe(recording, media_files)
        layout = self._settings.layout
        footage = Footage.of(recording, probed, self._media, layout, scratch=self._settings.work)
        # The length stands for the probe: limits and time-outs do not change what is computed from the media.
        sound_grid: dict[str, object] = {
            "sample_rate": layout.sample_rate,
            "audio_rate": layout.audio_rate,
            "fps": layout.fps,
            "seconds": probed.values["seconds"],
        } | ({"channels": recording.channels} if recording.channels else {})
        shift = self._shift(footage, probed, sound_grid, media_files)
        if any(shift.values()):
            footage, sound_grid = footage.moved(shift), sound_grid | {"shift": shift}
        speech = self._voice(footage, sound_grid, media_files)
        framings = self._framings(footage)
        moved = self._motion(footage, framings, sound_grid, media_files)
        self._features(footage, sound_grid, media_files)
        found = self._events(footage, speech, moved, shift, files)
        self._encode(footage, found, framings, sound_grid, media_files)

    def _probe(self, recording: Recording, media_files: dict[str, str]) -> StepResult:
        settings = self._settings
        bounds = {"max_mismatch": settings.max_mismatch, "min_seconds": settings.min_seconds}
        return self._runner.step(
            "probe",
            probe.VERSION,
            {"limits": asdict(settings.limits), **bounds} | ({"audio_only": True} if recording.audio_only else {}),
            media_files,
            lambda: probe.probe(recording, self._media["a"], **bounds),
        )

    def _shift(
        self, footage: Footage, probed: StepResult, grid: dict[str, object], media_files: dict[str, str]
    ) -> dict[str, float]:
        """Seconds to add to the media times of side ``b``, if its lag is to be acted upon."""
        rule = self._settings.sync
        synced = self._runner.step(
            "sync",
            sync.VERSION,
            grid | {"search": asdict(rule.search), "starts": sync.sound_after_picture(probed)} | sync.judged(probed),
            media_files,
            lambda: sync.sync(
                footage.sound.first(sync.JUDGED_SECONDS),
                probed,
                sample_rate=footage.layout.sample_rate,
                rule=rule.search,
            ),
        )
        return rule.shifts(footage.recording, synced)

    def _voice(self, footage: Footage, grid: dict[str, object], media_files: dict[str, str]) -> StepResult:
        """When each side speaks; recordings in which too much of the partner is heard are refused."""
        settings, rate = self._settings, footage.layout.sample_rate
        speech = self._runner.step(
            "voice",
            voice.VERSION,
            grid | {"vad": settings.vad.identity()},
            media_files,
            lambda: voice.find_voice(footage.sound.waveforms, sample_rate=rate, detector=settings.vad),
        )
        measured = self._runner.step(
            "bleed",
            bleed.VERSION,
            {"min_seconds": settings.bleed.min_seconds},
            media_files | {"voice": self._runner.keys["voice"]},
            lambda: bleed.measure_bleed(
                footage.sound.waveforms,
                {side: voice.as_segments(speech.arrays[f"{side}.speech"]) for side in SIDES},
                sample_rate=rate,
                min_seconds=settings.bleed.min_seconds,
            ),
        )
        settings.bleed.refuse(measured)
        return speech

    def _framings(self, footage: Footage) -> dict[str, tuple[Crop, ...]]:
        """What is cut out of each side's picture, from where its face is; nothing where there are no pictures."""
        if footage.recording.audio_only:
            return {}
        brought = {side: footage.recording.sides[side].features for side in SIDES}
        sizes = {side: {"width": footage.facts[side].width, "height": footage.facts[side].height} for side in SIDES}
        params: dict[str, object] = {"sizes": sizes}
        inputs = self._brought(footage.recording)
        faces = self._settings.faces
        if faces is not None:
            params["faces"] = faces.identity()
            inputs |= {f"{side}.video": self._runner.digest(footage.video(side)) for side in SIDES}

        def find(side: str) -> track.Face:
            face = track.find_face(brought[side], **sizes[side])
            if face is not track.NOWHERE or faces is None or self._finder is None:
                return face
            return footage.face(side, self._finder, pictures=faces.pictures)

        tracked = self._runner.step(
            "track", track.VERSION, params, inputs, lambda: track.track({side: find(side) for side in SIDES})
        )
        return {side: self._settings.crops.at(track.Face(**tracked.values[side]), **sizes[side]) for side in SIDES}

    def _motion(
        self,
        footage: Footage,
        framings: dict[str, tuple[Crop, ...]],
        grid: dict[str, object],
        media_files: dict[str, str],
    ) -> StepResult | None:
        """Curves of head and face, where a reader is configured and there are pictures."""
        reader = self._settings.motion
        if reader is None or not framings:
            return None
        return self._runner.step(
            "motion",
            motion.VERSION,
            grid | {"reader": reader.identity(), "crops": {s: asdict(crops[0]) for s, crops in framings.items()}},
            media_files | self._brought(footage.recording),
            lambda: motion.read_motion(footage, reader, framings),
        )

    def _features(self, footage: Footage, grid: dict[str, object], media_files: dict[str, str]) -> None:
        """The data set's own arrays, where they are asked for and there are any."""
        rule = self._settings.features
        files = {} if rule is None else self._brought(footage.recording)
        if rule is not None and files:
            rates = {side: own.feature_rate for side, own in footage.recording.sides.items()}
            stated, inputs = grid | {"rule": asdict(rule), "rates": rates}, media_files | files
            self._runner.step("features", features.VERSION, stated, inputs, lambda: features.pass_on(footage, rule))

    def _brought(self, recording: Recording) -> dict[str, str]:
        """Hashes of the files with the data set's own arrays, by role."""
        files = {side: own.features for side, own in sorted(recording.sides.items())}
        return {f"{side}.features": self._runner.digest(blob) for side, blob in files.items() if blob is not None}

    def _events(
        self,
        footage: Footage,
        speech: StepResult,
        moved: StepResult | None,
        shift: dict[str, float],
        files: dict[str, str],
    ) -> StepResult:
        recording, layout, reader = footage.recording, footage.layout, self._settings.motion
        params: dict[str, object] = {"interaction": recording.interaction}
        said = {role: digest for role, digest in files.items() if role.endswith("notes") or role == "events"}
        if moved is not None and reader is not None:
            params |= {"visible": asdict(reader.rules), "motion": self._runner.keys["motion"]}
        return self._runner.step(
            "events",
            events.VERSION,
            params,
            said | {"voice": self._runner.keys["voice"]},
            lambda: events.find_events(
                {side: voice.as_segments(speech.arrays[f"{side}.speech"]) for side in SIDES},
                seconds=footage.clock.samples / layout.sample_rate,
                interaction=recording.interaction,
                given=recording.events,
                notes={side: files.notes for side, files in recording.sides.items() if files.notes is not None},
                shift=shift,
                visible=[] if moved is None or reader is None else motion.visible_events(moved, reader, footage),
            ),
        )

    def _encode(
        self,
        footage: Footage,
        found: StepResult,
        framings: dict[str, tuple[Crop, ...]],
        grid: dict[str, object],
        media_files: dict[str, str],
    ) -> None:
        """Both people through both codecs, and their reference pictures."""
        settings, runner = self._settings, self._runner
        codecs = {"audio": self._audio_codec.spec.fingerprint, "video": self._video_codec.spec.fingerprint}
        seen = {
            "crops": {side: [asdict(crop) for crop in crops] for side, crops in framings.items()},
            "frames_per_latent": settings.layout.frames_per_latent,
        }
        runner.step(
            "encode",
            encode.VERSION,
            grid | seen | codecs,
            media_files,
            lambda: encode_footage(
                footage,
                audio_codec=self._audio_codec,
                video_codec=self._video_codec,
                framings=framings,
                chunk_tokens=settings.chunk_tokens,
                chunk_frames=settings.chunk_frames,
            ),
        )
        if settings.augment is not None:
            interaction = footage.recording.interaction
            heard = augment.Augment(settings.augment, self._audio_codec, interaction, settings.chunk_tokens)
            stated = grid | heard.stated
            runner.step("augment", augment.VERSION, stated, media_files, lambda: heard.run(footage.sound))
        runner.step(
            "pictures",
            pictures.VERSION,
            grid | seen | {"video": codecs["video"], "count": settings.pictures},
            media_files | {"events": runner.keys["events"]},
            lambda: take_pictures(
                footage, found, video_codec=self._video_codec, framings=framings, count=settings.pictures
            ),
        )
