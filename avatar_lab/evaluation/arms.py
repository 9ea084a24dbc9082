"""The arms of an experiment for a checkpoint: the same conversation, noise and history, and one thing that differs.

The history is checked, not assumed: if any block before the first that may differ does differ, nothing that is measured
afterwards means what it says, and the run stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from avatar_lab.context import Context, live_context
from avatar_lab.evaluation.agents import ModelAgent
from avatar_lab.evaluation.experiment import Experiment
from avatar_lab.evaluation.generate import Generated, generate_blocks
from avatar_lab.evaluation.observation import Observation, observe
from avatar_lab.evaluation.outcomes import CONTROL, RESEEDED, Seen, Trial
from avatar_lab.evaluation.studio import Studio
from avatar_lab.evaluation.treatments import Scene, unequal_before
from avatar_lab.evaluation.units import Unit
from avatar_lab.layout import Layout


class BrokenHistory(RuntimeError):
    """Two arms differ before anything was done to one of them."""


@dataclass(frozen=True, kw_only=True)
class ModelArms:
    """Makes the trials of one checkpoint at one level.

    batch_size  units rolled out together
    """

    studio: Studio
    agent: ModelAgent
    batch_size: int

    def trials(self, experiment: Experiment, units: Sequence[Unit], partners: Sequence[Unit]) -> list[Trial]:
        """One per unit, in order. Agents that cannot perceive the difference are compared to the bit only: what their
        arms show is not decoded where it is equal.

        Raises:
            BrokenHistory: the arms do not share their history.
            Unavailable: the checkpoint, or what a treatment needs, is not there.
            ValueError: the agent samples whole windows, so that there is no history to share.
        """
        if self.agent.offline:
            raise ValueError(f"{self.agent.name} samples whole windows and has no history that arms could share")
        trials: list[Trial] = []
        with torch.inference_mode():
            for start in range(0, len(units), self.batch_size):
                part = slice(start, start + self.batch_size)
                trials += self._batch(experiment, units[part], partners[part])
        return trials

    def _batch(self, experiment: Experiment, units: Sequence[Unit], partners: Sequence[Unit]) -> list[Trial]:
        layout = self.studio.layout
        batch = self.studio.data.cut([unit.window for unit in units])
        scene = Scene(studio=self.studio, units=units, partners=partners, batch=batch)
        recorded = live_context(
            batch,
            layout,
            self.agent.level,
            silence_K=self.studio.audio_codec.silence_K,
            scripted=self.agent.scripted,
        )
        treatments = list(experiment.arms.values())
        baseline = treatments[0].baseline(recorded, scene)
        made = {CONTROL: self._play(baseline, scene)}
        for name, treatment in experiment.arms.items():
            made[name] = self._play(treatment.edit(recorded, scene), scene)
            first = [treatment.first_block(unit, layout) for unit in units]
            check_history(made[CONTROL], made[name], first, units=units, arm=f"{experiment.name}/{name}", layout=layout)
        if experiment.reseeded:
            block = layout.num_blocks(units[0].time)
            made[RESEEDED] = self._play(baseline, scene, reseed=(block, self.studio.seed + 1))
        seen: dict[str, Observation] = {}
        trials = []
        for row, (unit, partner) in enumerate(zip(units, partners, strict=True)):
            arms = {name: self._seen(generated, row, unit, seen) for name, generated in made.items()}
            trials.append(Trial(unit=unit, partner=partner, arms=arms, layout=layout, seed=self.studio.seed))
        return trials

    def _play(self, context: Context, scene: Scene, *, reseed: tuple[int, int] | None = None) -> Generated:
        return generate_blocks(
            self.studio.checkpoint(self.agent),
            context,
            level=self.agent.level,
            seed=self.studio.seed,
            conversation_B=scene.batch.sample_B,
            reseed=reseed,
        )

    def _seen(self, made: Generated, row: int, unit: Unit, seen: dict[str, Observation]) -> Seen:
        """Observation of one unit; equal media is observed once."""
        one = made[row : row + 1]
        digest = f"{unit.name} {one.digests()[0]}"
        if digest not in seen:
            media = self.studio.decode(one.tokens_BAK[0], one.latents_BFHWC[0])
            seen[digest] = observe(media, unit.conversation, reader=self.studio.reader, layout=self.studio.layout)
        return Seen(observation=seen[digest], latents_FHWC=one.latents_BFHWC[0], digest=digest)


def check_history(
    control: Generated, treated: Generated, first_B: Sequence[int], *, units: Sequence[Unit], arm: str, layout: Layout
) -> None:
    """All blocks before the first that may differ are equal to the bit.

    Raises:
        BrokenHistory: some are not; says where.
    """
    audio = [first * layout.audio_per_block for first in first_B]
    video = [first * layout.latents_per_block for first in first_B]
    wrong = sorted(
        {
            *unequal_before(control.tokens_BAK, treated.tokens_BAK, audio),
            *unequal_before(control.latents_BFHWC, treated.latents_BFHWC, video),
        }
    )
    if wrong:
        names = ", ".join(f"{units[row].name} before block {first_B[row]}" for row in wrong[:3])
        raise BrokenHistory(
            f"arm {arm} differs from its control in {len(wrong)} of {len(units)} units before anything was done to it "
            f"({names}): something knows the future, or the noise is not the same; see the checks C1 and F1"
        )
