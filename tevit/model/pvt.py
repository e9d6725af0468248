"""PVTv2 with messenger tokens: a few extra tokens a frame that are shifted between frames after every block.

The blocks are timm's; what is ours is their forward pass, because messengers travel beside the patches.
Source: TeViT paper, section 3.2 (messenger shift mechanism); hustvl/TeViT mmdet/models/backbones/pvt.py.
Difference to timm: every LayerNorm has eps 1e-6, as in the original (timm mixes 1e-5 and 1e-6).
"""

from collections.abc import Callable
from typing import cast

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
        if config.messengers:  # as wide as an image pixel: they enter through the patch embedding like everything else
            self.messengers = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, config.messengers, 3), std=0.02))
        else:
            self.register_parameter("messengers", None)

    def forward(self, frames: Tensor, clip_length: int, chunk: int | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """Feature maps and messengers of every stage.

        frames: (B*T, 3, H, W) normalised, B before T. clip_length: T. chunk: bounds the memory: without gradients,
        how many frames a block takes at once (equal up to rounding); with gradients, any number makes the blocks
        compute their inner values again in the backward pass.
        Returns: four maps (B*T, C, h, w) with strides 4, 8, 16, 32, and four tensors (B*T, M, C).
        """
        messengers = frames.new_zeros(len(frames), 0, 3)
        if self.messengers is not None:
            messengers = self.messengers.expand(len(frames), -1, -1)
        maps, tokens_of_stages = [], []
        x = frames
        for module in self.stages:
            stage = cast(PyramidVisionTransformerStage, module)
            embed = cast(OverlapPatchEmbed, stage.downsample or self.patch_embed)
            x, messengers = _stage(embed, stage, x, messengers, clip_length, chunk)
            maps.append(x)
            tokens_of_stages.append(messengers)
        return maps, tokens_of_stages


def _stage(
    embed: OverlapPatchEmbed,
    stage: PyramidVisionTransformerStage,
    x: Tensor,
    messengers: Tensor,
    clip_length: int,
    chunk: int | None,
) -> tuple[Tensor, Tensor]:
    """One stage: (B*T, C_in, H, W) and (B*T, M, C_in) -> (B*T, C, h, w) and (B*T, M, C)."""
    patches = in_chunks(embed, x, chunk)  # (B*T, h, w, C)
    size_hw = patches.shape[1:3]
    messengers = embed.norm(_as_constant_image(messengers, embed.proj))
    tokens = torch.cat([patches.flatten(1, 2), messengers], 1)  # (B*T, L+M, C)
    count = messengers.shape[1]
    for index, module in enumerate(stage.blocks):
        block = cast(Block, module)
        tokens = in_chunks(lambda part, block=block: _block(block, part, size_hw, count), tokens, chunk)
        tokens = _shift(tokens, count, clip_length, direction=-1 if index % 2 else 1)
    patches, messengers = _split(stage.norm(tokens), count)
    return patches.unflatten(1, size_hw).permute(0, 3, 1, 2), messengers


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, chunk: int | None) -> Tensor:
    """`function(x)`, its memory bounded where `chunk` is given.

    Without gradients it is computed on at most `chunk` rows at a time; with gradients nothing inside is kept for the
    backward pass, but computed again there.
    """
    if chunk is not None and torch.is_grad_enabled():
        return cast(Tensor, checkpoint(function, x, use_reentrant=False))
    if chunk is None or len(x) <= chunk:
        return function(x)
    return torch.cat([function(part) for part in x.split(chunk)])


def _split(tokens: Tensor, count: int) -> tuple[Tensor, Tensor]:
    length = tokens.shape[1] - count
    return tokens[:, :length], tokens[:, length:]


def _as_constant_image(messengers: Tensor, conv: nn.Conv2d) -> Tensor:
    """What `conv` gives on an image that has the messenger's value everywhere: (N, M, C_in) -> (N, M, C_out)."""
    return F.linear(messengers, conv.weight.sum((2, 3)), conv.bias)


def _block(block: Block, tokens: Tensor, size_hw: torch.Size, count: int) -> Tensor:
    """One transformer block on patches followed by `count` messengers, (N, L+M, C)."""
    tokens = tokens + block.drop_path1(_attend(block.attn, block.norm1(tokens), size_hw, count))
    return tokens + block.drop_path2(_feed_forward(block.mlp, block.norm2(tokens), size_hw, count))


def _attend(attention: Attention, tokens: Tensor, size_hw: torch.Size, count: int) -> Tensor:
    """Patches and messengers ask; spatially reduced patches and messengers answer.

    Without reduction (the last stage) the patches alone answer, as in the original.
    """
    rows, length, channels = tokens.shape
    answers, messengers = _split(tokens, count)
    if attention.sr is not None and attention.norm is not None:
        image = answers.transpose(1, 2).unflatten(2, size_hw)
        reduced = attention.sr(image).flatten(2).transpose(1, 2)
        answers = attention.norm(torch.cat([reduced, _as_constant_image(messengers, attention.sr)], 1))
    q = attention.q(tokens).view(rows, length, attention.num_heads, -1).transpose(1, 2)
    k, v = attention.kv(answers).view(rows, -1, 2, attention.num_heads, attention.head_dim).permute(2, 0, 3, 1, 4)
    out = F.scaled_dot_product_attention(q, k, v)
    return attention.proj(out.transpose(1, 2).reshape(rows, length, channels))


def _feed_forward(mlp: MlpWithDepthwiseConv, tokens: Tensor, size_hw: torch.Size, count: int) -> Tensor:
    """fc1, depth-wise 3x3 over the patches (its kernel sum for the messengers), GELU, fc2."""
    patches, messengers = _split(mlp.fc1(tokens), count)
    image = mlp.dwconv(patches.transpose(1, 2).unflatten(2, size_hw))
    messengers = messengers * mlp.dwconv.weight.sum((1, 2, 3)) + cast(Tensor, mlp.dwconv.bias)
    return mlp.fc2(mlp.act(torch.cat([image.flatten(2).transpose(1, 2), messengers], 1)))


def _shift(tokens: Tensor, count: int, clip_length: int, direction: int) -> Tensor:
    """Roll four groups of messengers along time by +1, -1, +2, -2 frames (times `direction`), circular in each clip."""
    if not count:
        return tokens
    patches, messengers = _split(tokens, count)
    groups = messengers.unflatten(0, (-1, clip_length)).chunk(4, 2)  # four of (B, T, M/4, C)
    steps = (1, -1, 2, -2)
    rolled = [group.roll(direction * step, 1) for group, step in zip(groups, steps, strict=True)]
    return torch.cat([patches, torch.cat(rolled, 2).flatten(0, 1)], 1)
