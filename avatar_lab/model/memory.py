"""What a network attends to besides its own tokens, as features with visibility and place: for a window or a block.

B batch   S blocks   N model tokens   M memory tokens   D model width
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from avatar_lab.codebook import Codebook
from avatar_lab.context import BlockInput, Context
from avatar_lab.layout import Layout, Stream
from avatar_lab.level import Level
from avatar_lab.model.cache import Cache
from avatar_lab.model.embedding import Conditions, Patches, UserFeatures
from avatar_lab.model.rotary import stream_rotations
from avatar_lab.model.visibility import user_mask


@dataclass(frozen=True, kw_only=True)
class Source:
    """Memory features before a layer projects them; without ``rotation`` they have no place in time."""

    features_BMD: Tensor
    visible_BNM: Tensor
    rotation_MP2: Tensor | None = None

    def of_last(self, num_queries: int) -> Source:
        """The same for the last queries only."""
        return replace(self, visible_BNM=self.visible_BNM[:, -num_queries:])


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Conditions, and the user streams that are there; a stream that is absent is left out altogether."""

    conditions: Source
    listen: Source | None = None
    see: Source | None = None

    def of_last(self, num_queries: int) -> Sources:
        """The same for the last queries only."""
        return Sources(
            conditions=self.conditions.of_last(num_queries),
            listen=None if self.listen is None else self.listen.of_last(num_queries),
            see=None if self.see is None else self.see.of_last(num_queries),
        )


class Memory(nn.Module):
    """Embeds conditions and user streams. The parts that only a higher level has carry its name."""

    def __init__(
        self,
        *,
        layout: Layout,
        codebook: Codebook,
        patches: Patches,
        user_width: int,
        level: Level,
        width: int,
        head_width: int,
    ) -> None:
        super().__init__()
        self.layout, self.codebook, self.head_width = layout, codebook, head_width
        self.embed_absent = False
        """Whether a block embeds user streams that no row perceives: the same result, by the same maps on all ranks."""
        self.conditions = Conditions(width, codebook, patches, layout.script_lookahead)
        audio, video = Stream.USER_AUDIO, Stream.USER_VIDEO
        self.listen_features = self.see_features = None
        if level.listens:
            self.listen_features = UserFeatures(codebook.width, width, layout.stack_tokens(audio))
        if level.sees:
            stack, rest = layout.stack_tokens(video), layout.rest_tokens(video)
            self.see_features = UserFeatures(user_width, width, stack, rest)

    def window(self, context: Context, level: Level, blocks_N: Tensor) -> Sources:
        """Sources of all tokens of a window; ``blocks_N`` is the block of each query."""
        layout, user = self.layout, context.user
        listen = see = None
        if level.listens and self.listen_features is not None:
            heard = self.listen_features(self.codebook.embed(user.audio_BTK), user.audio_present_BT)
            listen = self._window_stream(Stream.USER_AUDIO, heard, user.hears_BS, user.audio_present_BT, blocks_N)
        if level.sees and self.see_features is not None:
            seen = self.see_features(user.video_BGU, user.video_present_BG)
            see = self._window_stream(Stream.USER_VIDEO, seen, user.sees_BS, user.video_present_BG, blocks_N)
        num_blocks, ahead, per_block = context.num_blocks, layout.script_lookahead, layout.audio_per_block
        plan = context.plan
        tokens = plan.tokens_BEK[:, per_block:].unfold(1, ahead, per_block).movedim(-1, 2)[:, :num_blocks]
        state = plan.state_BE[:, per_block:].unfold(1, ahead, per_block)[:, :num_blocks]
        script, script_seen = self.conditions.lookahead(tokens, state, plan.lookahead_B)
        anchor, anchor_seen = self.conditions.anchor(context.anchor)
        own_block = torch.eye(num_blocks, dtype=torch.bool, device=blocks_N.device).repeat_interleave(ahead, dim=1)
        visible_BSM = torch.cat(
            [anchor_seen[:, None].expand(-1, num_blocks, -1), own_block & script_seen.flatten(1)[:, None]], dim=-1
        )
        conditions = Source(
            features_BMD=torch.cat([anchor, script.flatten(1, 2)], dim=1), visible_BNM=visible_BSM[:, blocks_N]
        )
        return Sources(conditions=conditions, listen=listen, see=see)

    def _window_stream(
        self, stream: Stream, features: Tensor, on_BS: Tensor, present_BT: Tensor, blocks_N: Tensor
    ) -> Source:
        index = torch.arange(features.shape[1], device=features.device) - self.layout.lead_tokens(stream)
        return Source(
            features_BMD=features,
            visible_BNM=user_mask(self.layout, stream, on_BS, present_BT)[:, blocks_N],
            rotation_MP2=stream_rotations(self.layout, stream, index, self.head_width),
        )

    def block(self, inputs: BlockInput, cache: Cache, level: Level, num_tokens: int) -> Sources:
        """Sources of one block of ``num_tokens`` model tokens, the anchor left to the cache."""
        user, plan, per_block = inputs.user, inputs.plan, self.layout.audio_per_block
        listen = see = None
        if level.listens and self.listen_features is not None and self._wanted(user.hears_BS):
            window = cache.user_audio
            heard = self.listen_features(self.codebook.embed(window.tokens_BTU), window.present_BT)
            listen = self._block_stream(Stream.USER_AUDIO, heard, user.hears_BS, window.present_BT, num_tokens)
        if level.sees and self.see_features is not None and self._wanted(user.sees_BS):
            window = cache.user_video
            seen = self.see_features(window.tokens_BTU, window.present_BT)
            see = self._block_stream(Stream.USER_VIDEO, seen, user.sees_BS, window.present_BT, num_tokens)
        script, script_seen = self.conditions.lookahead(
            plan.tokens_BEK[:, None, per_block:], plan.state_BE[:, None, per_block:], plan.lookahead_B
        )
        conditions = Source(features_BMD=script[:, 0], visible_BNM=script_seen.expand(-1, num_tokens, -1))
        return Sources(conditions=conditions, listen=listen, see=see)

    def _wanted(self, on_BS: Tensor) -> bool:
        return self.embed_absent or bool(on_BS.any())

    def _block_stream(
        self, stream: Stream, features: Tensor, on_B1: Tensor, present_BT: Tensor, num_tokens: int
    ) -> Source:
        """The newest visible tokens, placed relative to the block's start."""
        span = self.layout.visible_span(stream)
        index = torch.arange(-span, 0, device=features.device) - self.layout.delay_tokens(stream)
        return Source(
            features_BMD=features[:, -span:],
            visible_BNM=(present_BT[:, -span:] & on_B1)[:, None].expand(-1, num_tokens, -1),
            rotation_MP2=stream_rotations(self.layout, stream, index, self.head_width),
        )
