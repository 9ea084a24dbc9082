"""The joint audio-video diffusion transformer: noisy avatar tokens in, token logits and video velocity out.

One network serves every role. ``forward`` runs a whole window under a mask (teacher; or, with clean ``history``,
all blocks of an autoregressive model at once); ``begin_block`` / ``predict_block`` / ``write_block`` run one block
against a cache. Both paths go through the same layers and give the same numbers.

    B batch   S blocks   n model tokens per block   N = S * n   D width   others as in tensors.py
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from avatar_lab.codebook import Codebook
from avatar_lab.context import AudioPlan, BlockInput, Context, OwnAudio
from avatar_lab.layout import Layout, Stream
from avatar_lab.level import Level
from avatar_lab.model.cache import Cache, UserWindow
from avatar_lab.model.embedding import NoiseEmbedding, Patches
from avatar_lab.model.layer import Layer, LayerMemory, project
from avatar_lab.model.memory import Memory
from avatar_lab.model.rotary import block_rotations, rotate
from avatar_lab.model.video_head import VideoHead
from avatar_lab.model.visibility import Role, avatar_mask
from avatar_lab.tensors import Anchor, AVState, NoiseLevels, Prediction


@dataclass(frozen=True, kw_only=True)
class BlockMemory:
    """All that one block attends to, projected once and used by each of its denoising steps and its cache write."""

    layers: list[LayerMemory]
    past: list[tuple[Tensor, Tensor] | None]
    plan: AudioPlan
    anchor: Anchor


class JointDiT(nn.Module):
    """Diffusion transformer of one level.

    grid        latent (rows, columns, channels); user_width  width of a user video feature
    video_head  how video goes in and comes out (model/video_head.py)
    """

    def __init__(
        self,
        *,
        layout: Layout,
        codebook: Codebook,
        grid: tuple[int, int, int],
        user_width: int,
        level: Level,
        video_head: VideoHead,
        width: int,
        num_heads: int,
        num_layers: int,
        patch: int,
        feed_forward_ratio: float = 4,
    ) -> None:
        super().__init__()
        self.layout, self.level, self.width, self.head_width = layout, level, width, width // num_heads
        self.codebook, self.video_head = codebook, video_head
        self.patches = Patches(grid, patch, width)
        self.audio_in = nn.Linear(codebook.width, width)
        self.own_audio = nn.Embedding(len(OwnAudio), width)
        self.noise = NoiseEmbedding(width)
        self.memory = Memory(
            layout=layout,
            codebook=codebook,
            patches=self.patches,
            user_width=user_width,
            level=level,
            width=width,
            head_width=self.head_width,
        )
        hidden = round(feed_forward_ratio * width)
        self.layers = nn.ModuleList(
            Layer(width, num_heads, hidden, listens=level.listens, sees=level.sees) for _ in range(num_layers)
        )
        self.norm_out = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.scale_shift_out = nn.Parameter(torch.randn(2, width) / width**0.5)
        self.audio_out = nn.Linear(width, codebook.num_codebooks * codebook.size)
        self.video_out = nn.Linear(width, self.patches.patch_width)
        nn.init.zeros_(self.audio_out.weight)
        nn.init.zeros_(self.video_out.weight)
        self.user_width, self.grid = user_width, grid
        self.recompute_layers = False
        """Whether a backward pass computes the inside of each layer again instead of remembering it."""
        self._sizes = {
            "grid": list(grid),
            "user_width": user_width,
            "width": width,
            "num_heads": num_heads,
            "num_layers": num_layers,
            "patch": patch,
            "feed_forward_ratio": feed_forward_ratio,
        }

    @property
    def stack(self) -> list[Layer]:
        return cast(list[Layer], list(self.layers))

    def sizes(self) -> dict[str, Any]:
        """Constructor arguments that are plain values, for a checkpoint's header."""
        return dict(self._sizes)

    @property
    def tokens_per_block(self) -> int:
        return self.layout.audio_per_block + self.layout.latents_per_block * self.patches.per_latent

    # A whole window ---------------------------------------------------------------------------------------------------
    def forward(
        self,
        noisy: AVState,
        levels: NoiseLevels,
        context: Context,
        *,
        role: Role,
        history: AVState | None = None,
        level: Level | None = None,
    ) -> Prediction:
        """Predict every block of a window; with ``history`` each block sees only the clean blocks before it.

        ``level`` below the network's own leaves the higher branches out.
        """
        level = self.level if level is None else level
        num_blocks = context.num_blocks
        x, sigma = self._tokens(noisy, levels, context.plan, context.anchor), self._per_token(levels)
        blocks = torch.arange(num_blocks, device=x.device).repeat_interleave(self.tokens_per_block)
        rotation = self._rotation(torch.arange(num_blocks, device=x.device))
        if history is not None:
            clean = levels.apply(torch.zeros_like)
            x = torch.cat([self._tokens(history, clean, context.plan, context.anchor), x], dim=1)
            sigma = torch.cat([self._per_token(clean), sigma], dim=1)
            blocks, rotation = torch.cat([blocks, blocks]), torch.cat([rotation, rotation])
        sources = self.memory.window(context, level, blocks)
        mask_of = partial(
            avatar_mask,
            self.layout,
            role,
            num_blocks=num_blocks,
            tokens_per_block=self.tokens_per_block,
            history=history is not None,
            device=x.device,
        )
        embedded, modulation = self.noise(sigma)
        *earlier, last = self.stack
        for layer in earlier:
            x, _ = self._through(layer, x, modulation, rotation, project(layer, sources), mask=mask_of(all_ask=True))
        size = num_blocks * self.tokens_per_block
        memory = project(last, sources.of_last(size))
        mask = mask_of(all_ask=False)
        x, _ = self._through(last, x, modulation, rotation, memory, mask=mask, num_speaking=size)
        return self._heads(x, embedded[:, -size:], noisy, levels, context.anchor)

    # One block against a cache ----------------------------------------------------------------------------------------
    @torch.no_grad()
    def start(self, anchor: Anchor, *, projected: list[tuple[Tensor, Tensor]] | None = None) -> Cache:
        """Empty cache for the conversations of ``anchor`` (one per batch row); ``projected``: what
        :meth:`project_anchor` gave, if it is known."""
        features, visible = self.memory.conditions.anchor(anchor)
        size, heads = len(features), self.width // self.head_width
        ring = (size, heads, self.layout.history_blocks * self.tokens_per_block, self.head_width)
        windows = []
        for stream, shape, dtype in (
            (Stream.USER_AUDIO, (self.codebook.num_codebooks,), torch.long),
            (Stream.USER_VIDEO, (self.user_width,), features.dtype),
        ):
            length = self.layout.memory_tokens(stream)
            absent = torch.zeros(size, length, dtype=torch.bool, device=features.device)
            windows.append(UserWindow(features.new_zeros(size, length, *shape, dtype=dtype), absent))
        return Cache(
            keys=[features.new_zeros(ring) for _ in self.layers],
            values=[features.new_zeros(ring) for _ in self.layers],
            anchor=anchor,
            anchor_projected=self.project_anchor(anchor) if projected is None else projected,
            anchor_visible_BM=visible,
            user_audio=windows[0],
            user_video=windows[1],
            tokens_per_block=self.tokens_per_block,
            num_slots=self.layout.history_blocks,
        )

    def project_anchor(self, anchor: Anchor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the anchor in each layer, which all blocks share."""
        features, _ = self.memory.conditions.anchor(anchor)
        return [layer.conditions.project(features) for layer in self.stack]

    def begin_block(self, inputs: BlockInput, cache: Cache, *, level: Level | None = None) -> BlockMemory:
        """Take in what arrived (once per block) and project what the block will attend to."""
        cache.user_audio.push(inputs.user.audio_BTK, inputs.user.audio_present_BT)
        cache.user_video.push(inputs.user.video_BGU, inputs.user.video_present_BG)
        return self.block_memory(inputs, cache, level=level)

    def block_memory(self, inputs: BlockInput, cache: Cache, *, level: Level | None = None) -> BlockMemory:
        """What the block attends to at ``level``, user tokens already taken in (guidance asks at several levels)."""
        level = self.level if level is None else level
        sources = self.memory.block(inputs, cache, level, self.tokens_per_block)
        rotation = self._rotation(-cache.ages())
        return BlockMemory(
            layers=[
                project(layer, sources, anchor=(*projected, cache.anchor_visible_BM))
                for layer, projected in zip(self.stack, cache.anchor_projected, strict=True)
            ],
            past=[cache.past(i, lambda k: rotate(k, rotation)) for i in range(len(self.layers))],
            plan=inputs.plan,
            anchor=cache.anchor,
        )

    def predict_block(self, noisy: AVState, levels: NoiseLevels, memory: BlockMemory) -> Prediction:
        """Predict one block; call it once per denoising step."""
        x, embedded, _ = self._run_block(noisy, levels, memory)
        return self._heads(x, embedded, noisy, levels, memory.anchor)

    @torch.no_grad()
    def write_block(self, clean: AVState, memory: BlockMemory, cache: Cache) -> None:
        """Remember a finished block: one forward at noise level 0 under the same conditions."""
        zero = NoiseLevels(audio_BA=clean.audio_BAD[..., 0] * 0, video_BF=clean.video_BFHWC[..., 0, 0, 0] * 0)
        _, _, own = self._run_block(clean, zero, memory, only_remember=True)
        cache.write(own)

    def _run_block(
        self, state: AVState, levels: NoiseLevels, memory: BlockMemory, *, only_remember: bool = False
    ) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
        """Tokens, noise embedding, and keys and values of every layer; ``only_remember`` leaves the first undone."""
        x = self._tokens(state, levels, memory.plan, memory.anchor)
        embedded, modulation = self.noise(self._per_token(levels))
        rotation = self._rotation(torch.zeros(1, device=x.device, dtype=torch.long))
        own, stack = [], self.stack
        for layer, layer_memory, past in zip(stack, memory.layers, memory.past, strict=True):
            idle = only_remember and layer is stack[-1]
            speaking = 0 if idle else None
            x, keys_values = self._through(
                layer, x, modulation, rotation, layer_memory, past=past, num_speaking=speaking
            )
            own.append(keys_values)
        return x, embedded, own

    # Shared pieces ----------------------------------------------------------------------------------------------------
    def _through(self, layer: Layer, *inputs: Any, **options: Any) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One layer. Layers draw no random numbers, so none have to be drawn again when one is recomputed."""
        if not (self.recompute_layers and torch.is_grad_enabled()):
            return cast(tuple[Tensor, tuple[Tensor, Tensor]], layer(*inputs, **options))
        made = checkpoint(layer, *inputs, use_reentrant=False, preserve_rng_state=False, **options)
        return cast(tuple[Tensor, tuple[Tensor, Tensor]], made)

    def _tokens(self, state: AVState, levels: NoiseLevels, plan: AudioPlan, anchor: Anchor) -> Tensor:
        num_audio = state.audio_BAD.shape[1]
        audio = self.audio_in(state.audio_BAD) + self.own_audio(plan.state_BE[:, :num_audio])
        shown = self.video_head.shown(state.video_BFHWC, levels.video_BF[..., None, None, None], anchor)
        video = self.patches.embed(self.patches.split(shown))
        return self._interleave(audio, video.flatten(1, 2))

    def _per_token(self, levels: NoiseLevels) -> Tensor:
        video = levels.video_BF.repeat_interleave(self.patches.per_latent, dim=1)
        return self._interleave(levels.audio_BA[..., None], video[..., None])[..., 0]

    def _interleave(self, audio_BAD: Tensor, video_BND: Tensor) -> Tensor:
        """Audio then video tokens of each block, block after block."""
        audio = audio_BAD.unflatten(1, (-1, self.layout.audio_per_block))
        video = video_BND.unflatten(1, (-1, self.layout.latents_per_block * self.patches.per_latent))
        return torch.cat([audio, video], dim=2).flatten(1, 2)

    def _heads(
        self, x_BND: Tensor, embedded: Tensor, noisy: AVState, levels: NoiseLevels, anchor: Anchor
    ) -> Prediction:
        shift, scale = (embedded[:, :, None] + self.scale_shift_out).unbind(2)
        x = (self.norm_out(x_BND) * (1 + scale) + shift).unflatten(1, (-1, self.tokens_per_block))
        audio, video = x.split([self.layout.audio_per_block, x.shape[2] - self.layout.audio_per_block], dim=2)
        prior = self.audio_out(audio.flatten(1, 2)).unflatten(-1, (self.codebook.num_codebooks, -1))
        logits = prior + self.codebook.log_likelihood(noisy.audio_BAD, levels.audio_BA)
        output = rearrange(self.video_out(video), "b s (f n) q -> b (s f) n q", f=self.layout.latents_per_block)
        sigma = levels.video_BF[..., None, None, None]
        velocity = self.video_head.velocity(self.patches.join(output), noisy.video_BFHWC, sigma, anchor)
        return Prediction(logits_BAKV=logits, velocity_BFHWC=velocity)

    def _rotation(self, blocks_S: Tensor) -> Tensor:
        return block_rotations(self.layout, (self.patches.rows, self.patches.columns), blocks_S, self.head_width)
