"""One row of the index: what the sampler weighs windows by and what a run may select by, without opening a shard."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from avatar_lab.data.schema import SIDES, IndexRow, Interaction, Member
from data_prep.manifest import Recording
from data_prep.steps.store import StepResult
from data_prep.steps.sync import SyncRule


def figures_of(recording: Recording, results: Mapping[str, StepResult], rule: SyncRule) -> dict[str, float | None]:
    """What a run may select by, by names of columns; a lag that was acted upon is gone."""
    synced, isolation = results["sync"], results["bleed"].values["isolation_db"]
    lag = synced.values["lag_seconds"]
    return {
        "lag_seconds": None if lag is None else lag + rule.shifts(recording, synced)["b"],
        "lag_confidence": None if lag is None else synced.values["confidence"],
        **{f"{side}_isolation_db": isolation[side] for side in SIDES},
    }


def index_row(
    interaction: Interaction,
    found: StepResult,
    figures: Mapping[str, float | None],
    members: tuple[Member, ...],
    shard: str,
) -> IndexRow:
    """The row of ``interaction``, whose events were ``found``; ``figures`` as ``figures_of`` gives them."""

    def per_second(name: str) -> list[int]:
        return np.asarray(found.arrays[name]).tolist()

    meta = interaction.meta
    return IndexRow(
        key=interaction.key,
        interaction=meta.interaction,
        split=meta.split,
        shard=shard,
        members=members,
        seconds=meta.seconds,
        audio_tokens=len(interaction.sides["a"].audio_tokens),
        video_latents=len(interaction.sides["a"].avatar_latents),
        participant_a=meta.participants["a"],
        participant_b=meta.participants["b"],
        group=meta.group,
        source=meta.source,
        license=meta.license,
        non_commercial=meta.non_commercial,
        a_reactions=per_second("a.reactions"),
        b_reactions=per_second("b.reactions"),
        a_listening=per_second("a.listening"),
        b_listening=per_second("b.listening"),
        **figures,
    )
