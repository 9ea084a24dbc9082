"""Writes a data set of random conversations without any media, in the real format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avatar_lab.config import load
from avatar_lab.data.schema import (
    INDEX_NAME,
    INFO_NAME,
    SIDES,
    DatasetInfo,
    IndexRow,
    Interaction,
    InteractionMeta,
    SideArrays,
    to_members,
    write_index,
    write_info,
)
from avatar_lab.event_types import Event, EventType, to_table
from avatar_lab.layout import Layout
from avatar_lab.train import shared_objects
from data_prep.open_shard import OpenShard

SILENCE = (7, 3)


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Sizes of the stored arrays: the smallest ones, or those of real codecs."""

    codebooks: int = 2
    codebook_size: int = 2048
    grid: tuple[int, int, int] = (2, 2, 3)


TINY_CODECS = Shapes(codebooks=4, codebook_size=256, grid=(4, 4, 24))


def random_side(rng: np.random.Generator, *, tokens: int, latents: int, shapes: Shapes = Shapes()) -> SideArrays:
    """Tokens count up, so that a window shows where it was cut."""
    speaking = np.zeros(tokens, bool)
    speaking[tokens // 2 : tokens // 2 + tokens // 4] = True
    latents_FHWC = rng.standard_normal((latents, *shapes.grid)).astype(np.float16)
    latents_FHWC[:, 0, 0, 0] = np.arange(latents)
    frames = np.asarray([0, latents * 2], np.int32)
    return SideArrays(
        audio_tokens=np.stack(
            [np.arange(tokens) % shapes.codebook_size, *rng.integers(0, 16, (shapes.codebooks - 1, tokens))], 1
        ).astype(np.uint16),
        avatar_latents=latents_FHWC,
        user_features=latents_FHWC.reshape(latents, -1),
        script=speaking,
        sound=speaking,
        audio_valid=np.ones(tokens, bool),
        video_valid=np.ones(latents, bool),
        pictures=np.stack([np.full(shapes.grid, 1), np.full(shapes.grid, 2)]).astype(np.float16),
        picture_frames=frames,
    )


def write_shipped_codecs_dataset(root: Path, *, lengths: dict[str, float]) -> None:
    """Random conversations that say they were encoded by the codecs in the package, for runs that load those."""
    shared = shared_objects(load(["experiment=quickstart/teacher"]))
    info = write_dataset(root, lengths=lengths, shapes=TINY_CODECS)
    fingerprints = {f"{kind}_fingerprint": shared[f"{kind}_codec"].spec.fingerprint for kind in ("audio", "video")}
    write_info(root / INFO_NAME, replace(info, **fingerprints))


def raw_members(interaction: Interaction) -> dict[str, bytes]:
    """Members of a sample as a reader gets them."""
    return {name: b"".join(pieces) for name, pieces in to_members(interaction).items()}


def random_interaction(
    key: str, *, seconds: float, layout: Layout, seed: int = 0, shapes: Shapes = Shapes()
) -> Interaction:
    rng = np.random.default_rng([seed, *key.encode()])
    tokens, latents = int(seconds * layout.audio_rate), int(seconds * layout.latent_rate)
    event = Event(interaction=key, side="a", type=EventType.BACKCHANNEL, start=1.0, end=1.4)
    return Interaction(
        key=key,
        meta=InteractionMeta(
            interaction=key,
            source="test",
            group="",
            participants={side: f"{key}{side}" for side in SIDES},
            split="train",
            seconds=seconds,
            source_fps=dict.fromkeys(SIDES, str(layout.fps)),
            source_sample_rate=dict.fromkeys(SIDES, layout.sample_rate),
            license="CC0-1.0",
            non_commercial=False,
            audio_fingerprint="audio",
            video_fingerprint="video",
            sample_rate=layout.sample_rate,
            audio_rate=str(layout.audio_rate),
            fps=str(layout.fps),
            frames_per_latent=layout.frames_per_latent,
            step_keys={},
        ),
        sides={side: random_side(rng, tokens=tokens, latents=latents, shapes=shapes) for side in SIDES},
        events=to_table([event]),
        given_events=None,
    )


def write_dataset(
    root: Path,
    *,
    lengths: dict[str, float],
    layout: Layout | None = None,
    reactions_at: dict[str, int] | None = None,
    figures: dict[str, dict[str, float | None]] | None = None,
    shapes: Shapes = Shapes(),
) -> DatasetInfo:
    """A data set with one shard per two interactions; ``reactions_at`` puts many reactions of side a into a second,
    ``figures`` gives columns of the index that may be unknown."""
    layout = layout or Layout()
    root.mkdir(parents=True, exist_ok=True)
    rows, shards = [], []
    keys = sorted(lengths)
    for number in range(0, len(keys), 2):
        shard = OpenShard(root, "train", number // 2)
        for key in keys[number : number + 2]:
            interaction = random_interaction(key, seconds=lengths[key], layout=layout, shapes=shapes)
            seconds = int(np.ceil(lengths[key]))
            reactions = [0] * seconds
            if reactions_at is not None and key in reactions_at:
                reactions[reactions_at[key]] = 200
            rows.append(
                IndexRow(
                    key=key,
                    interaction=key,
                    split="train",
                    shard=shard.name,
                    members=shard.add(interaction),
                    seconds=lengths[key],
                    audio_tokens=len(interaction.sides["a"].audio_tokens),
                    video_latents=len(interaction.sides["a"].avatar_latents),
                    participant_a=f"{key}a",
                    participant_b=f"{key}b",
                    group="",
                    source="test",
                    license="CC0-1.0",
                    non_commercial=False,
                    a_reactions=reactions,
                    b_reactions=[0] * seconds,
                    a_listening=[0] * seconds,
                    b_listening=[0] * seconds,
                    **(figures or {}).get(key, {}),
                )
            )
        shards.append(shard.close())
    info = DatasetInfo(
        content_hash="test",
        index_sha256=write_index(root / INDEX_NAME, rows),
        sample_rate=layout.sample_rate,
        audio_rate=str(layout.audio_rate),
        fps=str(layout.fps),
        frames_per_latent=layout.frames_per_latent,
        audio_codec="test",
        audio_fingerprint="audio",
        num_codebooks=shapes.codebooks,
        codebook_size=shapes.codebook_size,
        silence_tokens=(SILENCE * shapes.codebooks)[: shapes.codebooks],
        video_codec="test",
        video_fingerprint="video",
        latent_shape=shapes.grid,
        user_features=int(np.prod(shapes.grid)),
        shards=tuple(shards),
        splits={"train": {"interactions": len(rows), "seconds": sum(lengths.values()), "participants": 2 * len(rows)}},
        licenses={"CC0-1.0": sum(lengths.values()) / 3600},
        non_commercial=False,
    )
    write_info(root / INFO_NAME, info)
    return info
