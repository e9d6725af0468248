"""PVTv2 with messenger tokens: a few extra tokens per frame that are shifted between frames after every block.

The modules are timm's; their forward pass is ours, because messengers travel beside the patches. Unlike in timm, every
LayerNorm has eps 1e-6, as in the original.
Source: TeViT paper, section 3.2 (messenger shift mechanism); hustvl/TeViT mmdet/models/backbones/pvt.py.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.models.pvt_v2 import (
    Attention,
    Block,
    MlpWithDepthwiseConv,
    OverlapPatchEmbed,
    PyramidVisionTransformerStage,
    PyramidVisionTransformerV2,
)
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tevit.configs import BackboneConfig


class FeedForward(nn.Module):
    """timm's MLP for patches and messengers: fc1, depth-wise 3x3 convolution, GELU, fc2."""

    def __init__(self, mlp: "MlpWithDepthwiseConv | FeedForward"):
        super().__init__()
        self.fc1: nn.Module = mlp.fc1
        self.dwconv: nn.Module = mlp.dwconv
        self.act: nn.Module = mlp.act
        self.fc2: nn.Module = mlp.fc2

    def forward(self, patches: Tensor, *messengers: Tensor) -> list[Tensor]:
        """patches: (N, h, w, C). messengers: (N, M, C) each. Returns: the same shapes in the same order."""
        weight, bias = cast(Tensor, self.dwconv.weight), cast(Tensor, self.dwconv.bias)
        hidden = [self.conv_act(self.fc1(patches).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)]
        # A messenger has no neighbours: it is convolved like an image that has its value everywhere.
        hidden += [self.act(self.fc1(tokens) * weight.sum((2, 3)).flatten() + bias) for tokens in messengers]
        return [self.fc2(tokens) for tokens in hidden]

    def conv_act(self, x: Tensor) -> Tensor:
        """Depth-wise convolution and activation of (N, C, h, w)."""
        return self.act(self.dwconv(x))


class MessengerPvt(nn.Module):
    """PVTv2 backbone; with `messengers` > 0 its frames exchange information through shifted messenger tokens.

    messengers must be a multiple of 4 (four shift groups).
    """

    def __init__(self, config: BackboneConfig):
        super().__init__()
        assert config.messengers % 4 == 0
        pvt = PyramidVisionTransformerV2(
            num_classes=0,
            depths=config.depths,
            embed_dims=config.dims,
            num_heads=config.heads,
            sr_ratios=config.sr_ratios,
            mlp_ratios=config.mlp_ratios,
            drop_path_rate=config.drop_path,
        )
        self.patch_embed = pvt.patch_embed
        self.stages = nn.ModuleList(pvt.stages)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = 1e-6
            elif isinstance(module, Block):
                module.mlp = cast(Any, FeedForward(module.mlp))
        if config.messengers:  # as wide as a pixel, because they pass through the patch embedding as well
            self.messengers = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, config.messengers, 3), std=0.02))
        else:
            self.register_parameter("messengers", None)

    def forward(self, frames: Tensor, clip_length: int, chunk: int | None = None) -> list[Tensor]:
        """Feature maps of every stage.

        frames: (B*T, 3, H, W) normalised, B before T. clip_length: T. chunk: bounds the memory: without gradients,
        how many frames a block processes at once (equal up to rounding); with gradients, any number makes the blocks
        recompute their activations in the backward pass.
        Returns: four maps (B*T, C, h, w) with strides 4, 8, 16, 32.
        """
        return self.forward_with_messengers(frames, clip_length, chunk, all_messengers=False)[0]

    def forward_with_messengers(
        self, frames: Tensor, clip_length: int, chunk: int | None = None, all_messengers: bool = True
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The maps, and every stage's messengers (B*T, M, C).

        all_messengers: False leaves out (M = 0) those on which no map depends.
        """
        messengers = frames.new_zeros(len(frames), 0, 3)
        if self.messengers is not None:
            messengers = self.messengers.expand(len(frames), -1, -1)
        maps, messengers_of_stages = [], []
        x = frames
        stages = [cast(PyramidVisionTransformerStage, module) for module in self.stages]
        for stage, following in zip(stages, [*stages[1:], None], strict=True):
            embed = cast(OverlapPatchEmbed, stage.downsample or self.patch_embed)
            keep_messengers = all_messengers or (following is not None and _attends_to_messengers(following))
            if not keep_messengers and not _attends_to_messengers(stage):
                messengers = messengers[:, :0]
            x, messengers = _stage(embed, stage, x, messengers, clip_length, chunk, keep_messengers)
            maps.append(x)
            messengers_of_stages.append(messengers)
        return maps, messengers_of_stages


def _attends_to_messengers(stage: PyramidVisionTransformerStage) -> bool:
    """Without spatial reduction (the last stage), patches attend to patches alone."""
    return any(cast(Block, block).attn.sr is not None for block in stage.blocks)


def _stage(
    embed: OverlapPatchEmbed,
    stage: PyramidVisionTransformerStage,
    x: Tensor,
    messengers: Tensor,
    clip_length: int,
    chunk: int | None,
    keep_messengers: bool,
) -> tuple[Tensor, Tensor]:
    """One stage: (B*T, C_in, H, W) and (B*T, M, C_in) -> (B*T, C, h, w) and (B*T, M, C).

    keep_messengers: whether the messengers of the last block are computed; else M = 0.
    """
    if chunk is None or torch.is_grad_enabled():
        size = len(x)
    else:
        size = -(-len(x) // -(-len(x) // chunk))  # as few chunks as possible, of nearly equal size
    chunks = [_checkpointed(chunk, embed, frames) for frames in x.split(size)]  # (n, h, w, C) each
    messengers = embed.norm(_conv_of_constant(embed.proj, messengers))
    for index, module in enumerate(stage.blocks):
        last = index == len(stage.blocks) - 1
        keep = bool(messengers.shape[1]) and (keep_messengers or not last)
        run = partial(_block, cast(Block, module), keep_messengers=keep)
        pairs = zip(chunks, messengers.split(size), strict=True)
        chunks, messengers_out = map(list, zip(*[_checkpointed(chunk, run, *pair) for pair in pairs], strict=True))
        messengers = _shift(torch.cat(messengers_out), clip_length, direction=-1 if index % 2 else 1)
    patches = torch.cat([stage.norm(patches) for patches in chunks])
    return patches.permute(0, 3, 1, 2), stage.norm(messengers)


def _checkpointed(chunk: int | None, function: Callable[..., Any], *inputs: Tensor) -> Any:
    """`function(*inputs)`; with gradients and a chunk its activations are recomputed in the backward pass."""
    if chunk is not None and torch.is_grad_enabled():
        return checkpoint(function, *inputs, use_reentrant=False)
    return function(*inputs)


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, chunk: int | None) -> Tensor:
    """`function(x)` with bounded memory.

    chunk: without gradients, at most so many rows at once; with gradients, any number makes the function recompute its
    activations in the backward pass; None for neither.
    """
    if chunk is None or torch.is_grad_enabled() or len(x) <= chunk:
        return _checkpointed(chunk, function, x)
    return torch.cat([function(rows) for rows in x.split(chunk)])


def _conv_of_constant(conv: nn.Conv2d, messengers: Tensor) -> Tensor:
    """`conv` of an image that has the messenger's value everywhere: (N, M, C_in) -> (N, M, C_out)."""
    return F.linear(messengers, conv.weight.sum((2, 3)), conv.bias)


def _block(block: Block, patches: Tensor, messengers: Tensor, keep_messengers: bool) -> tuple[Tensor, Tensor]:
    """One transformer block on patches (N, h, w, C) and messengers (N, M, C).

    keep_messengers: False computes no messengers; they come out as (N, 0, C).
    """
    normed = [block.norm1(patches), block.norm1(messengers)]
    keys, values = _keys_values(block.attn, *normed)
    branches = [_attend(block.attn, x, keys, values) for x in (normed if keep_messengers else normed[:1])]
    tokens = _add(block.drop_path1, [patches, messengers], branches)
    branches = block.mlp(*[block.norm2(x) for x in tokens])
    patches, *messengers_out = _add(block.drop_path2, tokens, cast(list[Tensor], branches))
    return patches, messengers_out[0] if messengers_out else messengers[:, :0]


def _add(path: nn.Module, tokens: list[Tensor], branches: list[Tensor]) -> list[Tensor]:
    """Residual sums of patches and, where they have a branch, messengers; both are dropped together for a frame."""
    if path.training and not isinstance(path, nn.Identity):
        keep = path(branches[0].new_ones(len(branches[0]), 1, 1))
        branches = [branch * keep.view(-1, *(1,) * (branch.ndim - 1)) for branch in branches]
    return [x + branch for x, branch in zip(tokens, branches, strict=False)]


def _keys_values(attention: Attention, patches: Tensor, messengers: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values, (N, heads, L, C / heads), of spatially reduced patches and messengers.

    Without reduction (the last stage) of the patches alone, as in the original.
    """
    tokens = patches.flatten(1, 2)
    if attention.sr is not None and attention.norm is not None:
        reduced = attention.sr(patches.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
        tokens = attention.norm(torch.cat([reduced, _conv_of_constant(attention.sr, messengers)], 1))
    shape = len(tokens), -1, 2, attention.num_heads, attention.head_dim
    keys, values = attention.kv(tokens).view(shape).permute(2, 0, 3, 1, 4)
    return keys, values


def _attend(attention: Attention, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of patches (N, h, w, C) or messengers (N, M, C) to the keys; the shape stays."""
    queries = attention.q(tokens).view(len(tokens), -1, attention.num_heads, attention.head_dim).transpose(1, 2)
    out = F.scaled_dot_product_attention(queries, keys, values)
    return attention.proj(out.transpose(1, 2).reshape(tokens.shape))


def _shift(messengers: Tensor, clip_length: int, direction: int) -> Tensor:
    """Roll four groups of messengers along time by +1, -1, +2, -2 frames (times `direction`), circular in each clip."""
    if not messengers.shape[1]:
        return messengers
    groups = messengers.unflatten(0, (-1, clip_length)).chunk(4, 2)  # four of (B, T, M/4, C)
    steps = (1, -1, 2, -2)
    rolled = [group.roll(direction * step, 1) for group, step in zip(groups, steps, strict=True)]
    return torch.cat(rolled, 2).flatten(0, 1)
