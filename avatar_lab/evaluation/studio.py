"""Where agents perform and are observed; one instance lives in every worker process.

An agent's work on a few conversations is one task: generate in codec space, decode, read, detect. Tasks are pure
functions of the studio, so that any number of workers gives the same rows, on GPUs up to the rounding of other batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from avatar_lab.checkpoint import BIDIRECTIONAL_STAGE, Checkpoint, load_checkpoint
from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.context import OwnAudio, live_context
from avatar_lab.data.dataset import DyadData
from avatar_lab.data.schema import SIDES
from avatar_lab.evaluation.agents import Agent, MediaAgent, ModelAgent, ReferenceAgent
from avatar_lab.evaluation.conversation import Conversation, recorded_batch, user_batch
from avatar_lab.evaluation.exchange import read_films, write_inputs
from avatar_lab.evaluation.film import write_side_by_side
from avatar_lab.evaluation.generate import Generated, generate, in_steps
from avatar_lab.evaluation.live import Persona
from avatar_lab.evaluation.media import Media, decode
from avatar_lab.evaluation.metric.own_sound import trace_own_sound
from avatar_lab.evaluation.observation import Observation, Reader, observe
from avatar_lab.evaluation.plugin.protocol import Plugin, Take
from avatar_lab.evaluation.plugin.traces import watch
from avatar_lab.evaluation.references import References, Unavailable
from avatar_lab.events.segments import runs
from avatar_lab.layout import Layout

KEPT = 2
"""Checkpoints in memory: agents perform one after the other, and F1 compares two."""


@dataclass(kw_only=True)
class Studio:
    """Everything that a worker needs; picklable until it is used.

    agents      all agents by name
    open_data   opens the prepared data set; called once in every process, since open files cannot be shared
    films       number of conversations that are also filmed
    device      where checkpoints compute
    plugins     what measures all media with foreign weights
    """

    agents: Mapping[str, Agent]
    open_data: Callable[[], DyadData]
    layout: Layout
    audio_codec: AudioCodec
    video_codec: VideoCodec
    reader: Reader
    references: References
    checkpoints: Path
    conversations: tuple[Conversation, ...]
    seed: int
    films: int
    film_seconds: float
    film_folder: Path
    plugins: tuple[Plugin, ...] = ()
    device: str = "cpu"
    _data: DyadData | None = field(default=None, init=False)
    _loaded: dict[Path, Checkpoint] = field(default_factory=dict, init=False)

    @property
    def data(self) -> DyadData:
        if self._data is None:
            self._data = self.open_data()
        return self._data

    def perform(self, agent: Agent, numbers: Sequence[int], known: Set[str]) -> list[tuple[str, Observation | None]]:
        """What ``agent`` does in the conversations of these numbers: a digest, and the observation.

        The digest is of its media and of which tokens of its sound are its own: agents that sound alike may differ in
        that. What has a digest that is ``known`` was observed before and is not decoded again (``None``).

        Raises:
            Unavailable: the agent's checkpoint, films or recordings are not there.
            ValueError: its checkpoint is damaged, or of other codecs or another layout.
        """
        conversations = [self.conversations[number] for number in numbers]
        results: list[tuple[str, Observation | None]] = []
        with torch.inference_mode():
            made = self.generate(agent, conversations)
            open_BA = self.open_places(agent, conversations)
            for number, media_digest, tokens_AK, latents_FHWC, open_A in zip(
                numbers, made.digests(), made.tokens_BAK, made.latents_BFHWC, open_BA.numpy(), strict=True
            ):
                digest = sha256(media_digest.encode() + open_A.tobytes()).hexdigest()
                filmed = agent.filmed and number in self.filmed()
                if digest in known and not filmed:
                    results.append((digest, None))
                    continue
                conversation = self.conversations[number]
                media = self.decode(tokens_AK, latents_FHWC)
                if filmed:
                    self._film(agent, conversation, media)
                own = trace_own_sound(
                    tokens_AK.numpy(),
                    open_A,
                    media.audio_S,
                    sample_rate=self.layout.sample_rate,
                    num_entries=self.audio_codec.spec.codebook_size,
                )
                results.append((digest, replace(self.observe(media, conversation), own_sound=own)))
        return results

    def open_places(self, agent: Agent, conversations: Sequence[Conversation]) -> Tensor:
        """(B, A) bool: audio tokens that no script gives. Of an agent that is no model: all that a script would not."""
        batch = recorded_batch(self.data, conversations)
        num_tokens = conversations[0].num_blocks * self.layout.audio_per_block
        if not isinstance(agent, ModelAgent):
            return ~batch.script_BE[:, :num_tokens]
        context = live_context(
            batch, self.layout, agent.level, silence_K=self.audio_codec.silence_K, scripted=agent.scripted
        )
        return context.plan.state_BE[:, :num_tokens] == OwnAudio.OPEN

    def observe(self, media: Media, conversation: Conversation) -> Observation:
        """What is read and detected in the media of one conversation, and what plugins find there."""
        seen = observe(media, conversation, reader=self.reader, layout=self.layout)
        if not self.plugins:
            return seen
        extra, traces = watch(self.plugins, self._take(media, conversation, seen))
        return replace(seen, extra=extra, traces=traces)

    def _take(self, media: Media, conversation: Conversation, seen: Observation) -> Take:
        batch = recorded_batch(self.data, [conversation])
        persona = Persona.of_batch(batch, audio_codec=self.audio_codec, video_codec=self.video_codec)
        spoken_A = persona.script.speech_N[: conversation.num_blocks * self.layout.audio_per_block]
        script_R2 = runs(spoken_A.numpy()) / float(self.layout.audio_rate)
        return Take(
            media=media,
            observation=seen,
            person_S=persona.voice_S.float().numpy(),
            picture_HWC=persona.picture_HWC.numpy(),
            script=[(float(start), float(end)) for start, end in script_R2],
            layout=self.layout,
        )

    def film(self, agent: Agent, numbers: Sequence[int]) -> None:
        """Film an agent in these conversations, one after the other; films that are there are left alone.

        Raises:
            Unavailable, ValueError: as :meth:`perform`.
        """
        with torch.inference_mode():
            for conversation in (self.conversations[number] for number in numbers):
                if not self._film_path(agent, conversation).is_file():
                    made = self.generate(agent, [conversation])
                    self._film(agent, conversation, self.decode(made.tokens_BAK[0], made.latents_BFHWC[0]))

    def _film(self, agent: Agent, conversation: Conversation, media: Media) -> None:
        path = self._film_path(agent, conversation)
        write_side_by_side(path, self.user(conversation), media, self.layout, seconds=self.film_seconds)

    def _film_path(self, agent: Agent, conversation: Conversation) -> Path:
        return self.film_folder / f"{conversation.name}.{agent.name}.mp4"

    def filmed(self) -> list[int]:
        """Numbers of the conversations that are filmed: different dyads, the avatar's side alternating."""
        sides = len(SIDES)
        return [sides * film + film % sides for film in range(self.films)]

    def generate(self, agent: Agent, conversations: Sequence[Conversation]) -> Generated:
        """The agent's tokens and latents."""
        if isinstance(agent, MediaAgent):
            return read_films(
                agent.folder,
                conversations,
                layout=self.layout,
                audio_codec=self.audio_codec,
                video_codec=self.video_codec,
            )
        batch = recorded_batch(self.data, conversations)
        if isinstance(agent, ReferenceAgent):
            return self.references.make(agent.name, conversations, batch)
        return generate(
            self.checkpoint(agent),
            batch,
            level=agent.level,
            offline=agent.offline,
            scripted=agent.scripted,
            silence_K=self.audio_codec.silence_K,
            seed=self.seed,
        )

    def decode(self, tokens_AK: Tensor, latents_FHWC: Tensor) -> Media:
        return decode(tokens_AK, latents_FHWC, audio_codec=self.audio_codec, video_codec=self.video_codec)

    def user(self, conversation: Conversation) -> Media:
        """The recorded user, through the same codecs."""
        batch = user_batch(self.data, [conversation])
        num_tokens = conversation.num_blocks * self.layout.audio_per_block
        return self.decode(batch.audio_BEK[0, :num_tokens], batch.video_BFHWC[0])

    def write_inputs(self, folder: Path) -> None:
        """What another system needs of every conversation (``exchange``); those that are complete are left alone."""
        for conversation in self.conversations:
            if (folder / f"{conversation.name}.json").is_file():
                continue
            with torch.inference_mode():
                batch = recorded_batch(self.data, [conversation])
                persona = Persona.of_batch(batch, audio_codec=self.audio_codec, video_codec=self.video_codec)
                num_tokens = conversation.num_blocks * self.layout.audio_per_block
                spoken_A1 = persona.script.speech_N[:num_tokens, None]
                tokens_AK = torch.where(spoken_A1, persona.script.tokens_NK[:num_tokens], self.audio_codec.silence_K)
                script_BS, _ = self.audio_codec.decode(tokens_AK[None])
            write_inputs(folder, conversation, self.user(conversation), persona, script_BS[0].numpy(), self.layout)

    def checkpoint(self, agent: ModelAgent) -> Checkpoint:
        """The checkpoint of an agent; the last two are kept."""
        path = agent.path(self.checkpoints)
        if path not in self._loaded:
            if not path.is_file():
                raise Unavailable(f"{path.name} is not in {path.parent}")
            with torch.inference_mode(False):  # the same kernels, whoever asks first
                checkpoint = load_checkpoint(
                    path,
                    audio_codec=self.audio_codec.spec.fingerprint,
                    video_codec=self.video_codec.spec.fingerprint,
                )
                checkpoint.model.to(self.device)
            if checkpoint.layout != self.layout:
                raise ValueError(
                    f"{path} has another layout than this evaluation: choose the layout it was trained with"
                )
            if agent.offline != (checkpoint.card.stage == BIDIRECTIONAL_STAGE) or agent.level > checkpoint.level:
                raise ValueError(
                    f"{path} was made by stage {checkpoint.card.stage!r} at level {checkpoint.level.name} and cannot "
                    f"be agent {agent.name!r}: put the right checkpoint there"
                )
            while len(self._loaded) >= KEPT:
                del self._loaded[next(iter(self._loaded))]
            self._loaded[path] = checkpoint
        loaded = self._loaded[path]
        return loaded if agent.num_steps is None else in_steps(loaded, agent.num_steps)
