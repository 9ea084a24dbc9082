"""One stage inside Lightning: manual optimisation of alternating roles, a step counter of its own, complete state.

``trainer.global_step`` counts every optimiser's steps and so runs ahead when roles alternate; ``train_step`` counts
batches and is what schedules, logs, checkpoints and the data cursor go by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Self

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from avatar_lab.layout import Layout
from avatar_lab.model.dit import JointDiT
from avatar_lab.sharded import is_sharded
from avatar_lab.stage.protocol import Stage, Turn, parts_of
from avatar_lab.tensors import DyadBatch
from avatar_lab.training import distributed
from avatar_lab.training.ema import EMA, averaged_roles
from avatar_lab.training.guard import FrozenGuard
from avatar_lab.training.metrics import RunningMeans
from avatar_lab.training.microbatches import split_batch
from avatar_lab.training.muon import Muon
from avatar_lab.training.optimizer import AdamW, restore_moments
from avatar_lab.training.randomness import (
    generator_states,
    restore_generator_states,
    seed_global_generators,
    step_generator,
)
from avatar_lab.training.sharding import shard, skeletons, whole_roles
from avatar_lab.training.update_guard import UpdateGuard


class StageModule(LightningModule):
    """Drives ``stage.turns`` and holds all that a checkpoint must hold.

    Raises:
        ValueError: the optimisers do not match the trained roles, or there are no layers to recompute.
    """

    def __init__(
        self,
        *,
        stage: Stage,
        optimizers: Mapping[str, AdamW],
        layout: Layout,
        seed: int,
        total_steps: int,
        ema_decay: float,
        guard: UpdateGuard,
        accumulate: int = 1,
        sharded: bool = False,
        recompute_layers: bool = False,
    ) -> None:
        super().__init__()
        if set(optimizers) != set(stage.trained):
            raise ValueError(
                f"stage {stage.name} trains {sorted(stage.trained)} but training.optimizers names "
                f"{sorted(optimizers)}; give exactly one optimiser per trained role"
            )
        muon = {role: settings for role, settings in optimizers.items() if isinstance(settings, Muon)}
        if sharded and muon:
            keys = {f"training.optimizers.{role}": settings for role, settings in muon.items()}
            instead = " ".join(f"optimizer@{key}=adamw" + f" ~{key}.spared" * bool(s.spared) for key, s in keys.items())
            raise ValueError(
                f"Muon (roles {list(muon)}) needs whole matrices, which cluster.machine.strategy=sharded does not "
                f"have: choose AdamW ({instead}) or strategy=replicas"
            )
        self.automatic_optimization = False
        self.sharded = sharded
        self.skeletons: tuple[nn.ModuleDict, ...] = ()  # no list of parts: these are no part of the module
        self.stage = stage
        self.roles = stage.roles
        self.layout = layout
        self.seed = seed
        self.total_steps = total_steps
        self.settings = dict(optimizers)
        self.guard = guard
        self.accumulate = accumulate
        self.train_step = 0
        self.dialogue_seconds = 0.0
        self.means = RunningMeans()
        self.latest: dict[str, float] = {}
        for role, network in self.roles.items():
            if role not in stage.trained:
                network.requires_grad_(False).eval()
        if recompute_layers:
            self._recompute_layers()
        following = {follower.role for follower in stage.followers}
        self.frozen = FrozenGuard(nn.ModuleDict({r: net for r, net in self.roles.items() if r not in following}))
        self.averages = {role: EMA(self.roles[role], decay=ema_decay) for role in stage.averaged}

    def configure_model(self) -> None:
        """Share weights out, once there are ranks to share with and before there are optimisers."""
        if not self.sharded or self.skeletons:
            return
        strategy = self.trainer.strategy
        distributed.copy_from_first(self.roles.state_dict().values(), by_way_of=strategy.root_device)
        self.skeletons = (skeletons(self.roles),)
        shard(self.roles, device=strategy.root_device, precision=self.trainer.precision)
        self.averages = {role: EMA(self.roles[role], decay=each.decay) for role, each in self.averages.items()}

    def cpu(self) -> Self:
        """Lightning's teardown brings networks home; sharded ones stay where ranks can still exchange their parts."""
        return self if self.skeletons else super().cpu()

    def _recompute_layers(self) -> None:
        nets = [net for role in self.stage.trained for net in self.roles[role].modules() if isinstance(net, JointDiT)]
        if not nets:
            raise ValueError(
                f"stage {self.stage.name} has no transformer layers: set training.checkpoint_activations=false"
            )
        for net in nets:
            net.recompute_layers = True

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        self.role_optimizers = {role: self.settings[role].build(self.roles[role]) for role in self.stage.trained}
        for average in self.averages.values():
            average.shadow = {name: tensor.to(self.device) for name, tensor in average.shadow.items()}
        return list(self.role_optimizers.values())

    def on_train_start(self) -> None:
        distributed.copy_from_first(t for t in self.roles.state_dict().values() if not is_sharded(t))

    # The loop --------------------------------------------------------------------------------------------------------
    def training_step(self, batch: Any, batch_index: int) -> None:
        distributed.copy_from_first(self.roles.buffers())
        place, parts = {"seed": self.seed, "step": self.train_step}, self.accumulate
        seed_global_generators(**place, rank=distributed.rank())
        turns = [
            self.stage.turns(part, self.train_step, step_generator(**place, rank=distributed.rank() * parts + number))
            for number, part in enumerate(split_batch(batch, parts))
        ]
        while self._take_turn(turns, batch):
            pass
        self.train_step += 1
        if isinstance(batch, DyadBatch):
            seconds = batch.video_BFHWC.shape[1] / float(self.layout.latent_rate)
            self.dialogue_seconds += batch.size * seconds * distributed.world_size()

    def _take_turn(self, turns: list[Iterator[Turn]], batch: Any) -> bool:
        """Update the role that is next, by the mean over micro-batches; False where no role is left."""
        roles, shares, means = set(), [], RunningMeans()
        for turn in turns:  # one graph at a time
            found = next(turn, None)
            if found is None:
                continue
            role, losses = found
            scalars: Counter[str] = Counter()
            for part in parts_of(losses):
                share = part.total / len(turns)
                self.manual_backward(share)
                shares.append(share.detach())
                scalars.update(part.scalars())
            means.add(dict(scalars))
            roles.add(role)
        if not roles:
            return False
        (role,) = roles
        self._update(role, torch.stack(shares).sum(), means.flush(), batch)
        return True

    def _update(self, role: str, total: Tensor, scalars: dict[str, float], batch: Any) -> None:
        parameters = [p for p in self.roles[role].parameters() if p.requires_grad]
        optimizer, settings = self.role_optimizers[role], self.settings[role]
        distributed.average_gradients(parameters)
        norm = distributed.clip_gradients(parameters, settings.clip_norm)
        scalars["grad_norm"] = float(norm)
        oddity = self.guard.look(role=role, loss=total, gradient_norm=norm)
        if oddity is not None:
            self.guard.record(oddity, step=self.train_step, role=role, scalars=scalars, batch=batch)
        if self.guard.leaves_out(oddity):
            self.means.add({f"{role}/skipped": 1.0})
        else:
            scalars["lr"] = settings.set_lr(optimizer, self.train_step, self.total_steps)
            optimizer.step()
            if role in self.averages:
                self.averages[role].update(self.roles[role])
            for follower in self.stage.followers:
                if follower.leader == role:
                    follower.move(self.roles)
            self.latest = {f"{role}/{name}": value for name, value in scalars.items()}
            self.means.add(self.latest)
        optimizer.zero_grad(set_to_none=True)

    # State -----------------------------------------------------------------------------------------------------------
    def averaged_roles(self) -> nn.ModuleDict:
        """The roles as evaluation and export see them. Sharded ones are copied as a whole to the first rank, for which
        every rank must ask."""
        if not self.skeletons:
            return averaged_roles(self.roles, self.averages)
        shadows = {role: average.shadow for role, average in self.averages.items() if average.updates}
        return whole_roles(self.roles, self.skeletons[0], shadows)

    def training_state(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors and plain values.

        Frozen roles are not repeated but identified by checksums: each comes from an artefact of its own.
        """
        followers = [follower.role for follower in self.stage.followers]
        return {
            "stage": self.stage.name,
            "train_step": self.train_step,
            "seed": self.seed,
            "dialogue_seconds": self.dialogue_seconds,
            "roles": {role: self.roles[role].state_dict() for role in (*self.stage.trained, *followers)},
            "frozen": self.frozen.checksums,
            "averages": {role: average.state_dict() for role, average in self.averages.items()},
            "optimizers": {role: optimizer.state_dict() for role, optimizer in self.role_optimizers.items()},
            "means": self.means.state_dict(),
            "skipped": list(self.guard.skipped),
            "levels": {role: list(level) for role, level in self.guard.levels.items()},
            "generators": generator_states(),
        }

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`training_state` returned, by copies: it may lie in a file that goes. Learning rates,
        weight decays and the like are those of ``settings``.

        Raises:
            ValueError: as :meth:`check_same_run` and ``restore_moments``.
        """
        self.check_same_run(state)
        for role, weights in state["roles"].items():
            self.roles[role].load_state_dict(weights)
        for role, average in self.averages.items():
            average.load_state_dict(state["averages"][role])
        for role, optimizer in self.role_optimizers.items():
            restore_moments(optimizer, state["optimizers"][role])
        self.load_plain_state(state)

    def check_same_run(self, state: dict[str, Any]) -> None:
        """Refuse the state of another run.

        Raises:
            ValueError: it belongs to another stage, another seed, or to other frozen networks.
        """
        if state["stage"] != self.stage.name:
            raise ValueError(f"the checkpoint is of stage {state['stage']}, not {self.stage.name}; choose another out=")
        if state["seed"] != self.seed:
            raise ValueError(f"the checkpoint was trained with seed={state['seed']}, not {self.seed}; use another out=")
        if state["frozen"] != self.frozen.checksums:
            raise ValueError(
                "the frozen networks of this run are not those that the checkpoint was trained with: an earlier stage "
                "has changed since; use another out= and start this stage anew"
            )

    def load_plain_state(self, state: dict[str, Any]) -> None:
        """All but networks, averages and optimisers."""
        self.train_step = state["train_step"]
        self.dialogue_seconds = state["dialogue_seconds"]
        self.means.load_state_dict(state["means"])
        self.guard.skipped = list(state["skipped"])
        self.guard.levels = {role: list(level) for role, level in state.get("levels", {}).items()}
        restore_generator_states(state["generators"])
