"""What one training step and one streamed block of a config compute and keep, traced on the meta device."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from avatar_lab.checkpoint import Checkpoint
from avatar_lab.codec.planned import PlannedAudio, PlannedVideo
from avatar_lab.config import RunConfig
from avatar_lab.construct import build, locate
from avatar_lab.context import block_inputs, live_context
from avatar_lab.cost_model import StepCost, StreamCost
from avatar_lab.diffusion.levels import block_levels
from avatar_lab.imagine import META, flop_counter, imagined_batch, imagining, without_weights
from avatar_lab.kept_tensors import Gathers, Kept
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.sharded import shared_maps
from avatar_lab.stage.long_tune import LongTune
from avatar_lab.stage.preference import Preference
from avatar_lab.stage.protocol import Stage, parts_of
from avatar_lab.stage.see import See
from avatar_lab.stage.self_forcing import SelfForcing
from avatar_lab.stage.start import ModelSize, Setting, fresh, imagined_artefacts
from avatar_lab.tensors import AVState
from avatar_lab.train import chosen

LATE = 73500
"""The step that is traced, long after any warm-up: all roles take their turn (it is a multiple of 60), and rollouts of
up to six steps exit at their last, so none costs more."""
ROLLING_OUT = (SelfForcing, Preference, See)


def setting_of(config: RunConfig, layout: Layout) -> Setting:
    """Clock and codecs of a run, the codecs without weights.

    Raises:
        ValueError: the config chooses none.
    """
    codecs = build(without_weights(config.codec), layout=layout, seed=config.seed)
    if set(codecs) != {"audio_codec", "video_codec"}:
        raise ValueError("no codecs chosen: add codec=mimi_wan or codec=tiny")
    return Setting(
        layout=layout,
        audio_codec=PlannedAudio(codecs["audio_codec"].spec),
        video_codec=PlannedVideo(codecs["video_codec"].spec),
    )


def size_of(config: RunConfig) -> ModelSize:
    """The size that ``model=`` chooses."""
    size = build(chosen("model", config.model))
    assert isinstance(size, ModelSize)
    return size


def _stage(config: RunConfig, setting: Setting, size: ModelSize, student_steps: int = 3) -> Stage:
    def imagine(stage: str, level: Level, asked: Setting) -> Checkpoint:
        blocks = config.data["num_blocks"]
        made = fresh(size=size, setting=asked, level=level, window_blocks=blocks, num_steps=student_steps)
        return Checkpoint(model=made.model, card=replace(made.card, stage=stage))

    given = dict(chosen("stage", config.stage))
    if locate(given["_target_"]) is LongTune:
        raise ValueError(
            f"{given['_target_']} rolls out for longer than a model remembers, block by block, which takes too long to "
            "trace: plan experiment=quickstart/self_forcing; its streaming table says what each further block costs"
        )
    if "size" in given:
        given["size"] = given["size"] | {"num_layers": size.num_layers}
    with torch.device("meta"), imagined_artefacts(imagine):
        stage: Stage = build(
            given, layout=setting.layout, audio_codec=setting.audio_codec, video_codec=setting.video_codec,
            codebook=setting.audio_codec.codebook, seed=config.seed,
        )  # fmt: skip
    for role, network in stage.roles.items():
        if role not in stage.trained:
            network.requires_grad_(False)
    return stage


def rolls_out(config: RunConfig) -> bool:
    """Whether a step of the stage goes through its window block by block."""
    return locate(chosen("stage", config.stage)["_target_"]) in ROLLING_OUT


def trace_step(
    config: RunConfig,
    setting: Setting,
    size: ModelSize,
    *,
    batch_size: int,
    cuda: bool,
    half: bool,
    num_blocks: int | None = None,
    student_steps: int = 3,
) -> StepCost:
    """One step of ``batch_size`` windows on one device, on the network as it is, weights in fp32: a GPU or a CPU, with
    products in bfloat16 (autocast) if ``half``. ``num_blocks``: of other windows than the run's. A student that starts
    from an earlier run rolls out in ``student_steps``."""
    stage = _stage(config, setting, size, student_steps)
    batch = imagined_batch(
        setting.layout, setting.audio_codec, setting.video_codec,
        size=batch_size, num_blocks=num_blocks or config.data["num_blocks"], dtype=torch.float32,
    )  # fmt: skip
    settings = build(config.training).optimizers
    optimizers = {role: settings[role].build(stage.roles[role]) for role in stage.trained}
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group.pop("fused", None)  # there is no fused kernel for tensors without values
            group["fused"] = False
    kept, gathers = Kept(stage.roles), Gathers()
    activations = checkpointed = copied = reduced = averaged = 0
    trained = {role: _trained(stage.roles[role]) for role in stage.trained}
    whole = {role: size - sum(map(_trained, shared_maps(stage.roles[role]))) for role, size in trained.items()}
    with (
        imagining(cuda=cuda, half=half) as imagined,
        flop_counter() as counter,
        kept.watching(stage.roles),
        gathers.watching(stage.roles),
    ):
        for role, losses in stage.turns(batch, LATE, torch.Generator().manual_seed(LATE)):
            for part in parts_of(losses):
                part.total.backward()
                gathers.end_backward()
                if kept.total > activations:
                    activations, copied = kept.total, kept.share(imagined.copies)
                checkpointed = max(checkpointed, kept.checkpointed)
                kept.clear()
                imagined.copies.clear()
            optimizers[role].step()
            optimizers[role].zero_grad(set_to_none=True)
            reduced += 4 * trained[role]
            averaged += 4 * whole[role]
    states = [x for o in optimizers.values() for state in o.state.values() for x in state.values()]
    moments = sum(x.numel() for x in states if isinstance(x, Tensor) and x.ndim)
    parameters = sum(p.numel() for p in stage.roles.parameters())
    return StepCost(
        flops=counter.get_total_flops(),
        parameters=parameters,
        trained=sum(trained.values()),
        weight_bytes=4 * parameters,
        gradient_bytes=4 * max(trained.values()),
        optimizer_bytes=4 * moments,
        average_bytes=4 * sum(trained[role] for role in stage.averaged),
        activation_bytes=activations,
        checkpointed_bytes=checkpointed,
        copied_bytes=copied if cuda else 0,  # on CPUs shards are gathered in fp32 (training/sharding.py)
        reduced_bytes=reduced,
        gathered_bytes=(2 if half and cuda else 4) * gathers.gathered,
        scattered_bytes=4 * gathers.scattered,
        whole_bytes=averaged,
    )


def _trained(network: nn.Module) -> int:
    """Parameters that get gradients."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


@torch.no_grad()
def trace_stream(setting: Setting, size: ModelSize, *, half: bool) -> StreamCost:
    """A block of one conversation at level 3, after the memory of the past has filled; products in bfloat16 if
    ``half``."""
    layout, dtype = setting.layout, torch.float32
    with META:
        model = fresh(size=size, setting=setting, level=Level.SEE, window_blocks=layout.history_blocks).model
    batch = imagined_batch(layout, setting.audio_codec, setting.video_codec, size=1, num_blocks=2, dtype=dtype)
    flops = []
    with imagining(cuda=True, half=half) as imagined:
        context = live_context(batch, layout, Level.SEE, silence_K=setting.audio_codec.silence_K.to(META))
        *_, inputs = block_inputs(context, layout)
        cache = model.net.start(batch.anchor)
        cache.num_blocks = layout.history_blocks
        state = AVState(
            audio_BAD=torch.empty(1, layout.audio_per_block, model.codebook.width, dtype=dtype, device=META),
            video_BFHWC=torch.empty(1, layout.latents_per_block, *model.net.grid, dtype=dtype, device=META),
        )
        ones_BS = torch.ones(1, 1, dtype=dtype, device=META)
        levels = block_levels(ones_BS, ones_BS, model.warps, layout)
        with flop_counter() as counter:
            memory = model.net.begin_block(inputs, cache)
        flops.append(counter.get_total_flops())
        imagined.copies.clear()
        with flop_counter() as counter:
            model.estimate_block(state, levels, memory)
        flops.append(counter.get_total_flops())
        copied = sum(each.nbytes for each in imagined.copies)
        with flop_counter() as counter:
            model.net.write_block(state, memory, cache)
        flops.append(counter.get_total_flops())
    held = [*cache.keys, *cache.values, *(x for pair in cache.anchor_projected for x in pair), cache.anchor_visible_BM]
    for window in (cache.user_audio, cache.user_video):
        held += [window.tokens_BTU, window.present_BT]
    return StreamCost(
        begin_flops=flops[0],
        predict_flops=flops[1],
        write_flops=flops[2],
        weight_bytes=sum(p.nbytes for p in model.parameters()),
        copied_bytes=copied,
        cache_bytes=sum(x.numel() * x.element_size() for x in held),
    )
