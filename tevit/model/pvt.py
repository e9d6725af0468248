"""PVTv2 with messenger tokens: a few extra tokens a frame that are shifted between frames after every block.

The blocks are timm's; what is ours is their forward pass, because messengers travel beside the patches.
Source: TeViT paper, section 3.2 (messenger shift mechanism); hustvl/TeViT mmdet/models/backbones/pvt.py.
Difference to timm: every LayerNorm has eps 1e-6, as in the original (timm mixes 1e-5 and 1e-6).
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
from tevit.model.cpu.packed import convolved, kernel_sum


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

    def forward(self, frames: Tensor, clip_length: int, chunk: int | None = None) -> list[Tensor]:
        """Feature maps of every stage.

        frames: (B*T, 3, H, W) normalised, B before T. clip_length: T. chunk: bounds the memory: without gradients,
        how many frames a block takes at once (equal up to rounding); with gradients, any number makes the blocks
        compute their inner values again in the backward pass.
        Returns: four maps (B*T, C, h, w) with strides 4, 8, 16, 32.
        """
        return self.run(frames, clip_length, chunk, all_messengers=False)[0]

    def run(
        self, frames: Tensor, clip_length: int, chunk: int | None = None, all_messengers: bool = True
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The maps, and every stage's messengers, (B*T, M, C); or M = 0 for those on which no map depends."""
        messengers = frames.new_zeros(len(frames), 0, 3)
        if self.messengers is not None:
            messengers = self.messengers.expand(len(frames), -1, -1)
        maps, messengers_of_stages = [], []
        x = frames
        stages = [cast(PyramidVisionTransformerStage, module) for module in self.stages]
        for stage, later in zip(stages, [*stages[1:], None], strict=True):
            embed = cast(OverlapPatchEmbed, stage.downsample or self.patch_embed)
            wanted = all_messengers or (later is not None and _hears(later))
            messengers = messengers if wanted or _hears(stage) else messengers[:, :0]
            x, messengers = _stage(embed, stage, x, messengers, clip_length, chunk, wanted)
            maps.append(x)
            messengers_of_stages.append(messengers)
        return maps, messengers_of_stages


def _hears(stage: PyramidVisionTransformerStage) -> bool:
    """Whether its patches look at messengers: without spatial reduction (the last stage) they look at patches alone."""
    return any(cast(Block, block).attn.sr is not None for block in stage.blocks)


def _stage(
    embed: OverlapPatchEmbed,
    stage: PyramidVisionTransformerStage,
    x: Tensor,
    messengers: Tensor,
    clip_length: int,
    chunk: int | None,
    wanted: bool,
) -> tuple[Tensor, Tensor]:
    """One stage: (B*T, C_in, H, W) and (B*T, M, C_in) -> (B*T, C, h, w) and (B*T, M, C).

    wanted: whether anything depends on the messengers that come out.
    """
    size = len(x) if chunk is None or torch.is_grad_enabled() else _even(len(x), chunk)
    parts = [_again(chunk, embed, part) for part in x.split(size)]  # of frames, (n, h, w, C)
    messengers = embed.norm(_as_constant_image(messengers, embed.proj))
    for index, module in enumerate(stage.blocks):
        block, last = cast(Block, module), index == len(stage.blocks) - 1
        run = partial(_block, block, wanted=bool(messengers.shape[1]) and (wanted or not last))
        pairs = zip(parts, messengers.split(size), strict=True)
        parts, told = map(list, zip(*[_again(chunk, run, *pair) for pair in pairs], strict=True))
        messengers = _shift(torch.cat(told), clip_length, direction=-1 if index % 2 else 1)
    patches = torch.cat([stage.norm(part) for part in parts])
    return patches.permute(0, 3, 1, 2), stage.norm(messengers)


def _even(count: int, most: int) -> int:
    """How many of `count` frames a part has: as few parts as possible of at most `most`, none much smaller."""
    return -(-count // -(-count // most))


def _again(chunk: int | None, function: Callable[..., Any], *inputs: Tensor) -> Any:
    """`function(*inputs)`; with gradients and a chunk its inner values are computed again in the backward pass."""
    if chunk is not None and torch.is_grad_enabled():
        return checkpoint(function, *inputs, use_reentrant=False)
    return function(*inputs)


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, chunk: int | None) -> Tensor:
    """`function(x)`, its memory bounded where `chunk` is given.

    Without gradients it is computed on at most `chunk` rows at a time; with gradients nothing inside is kept for the
    backward pass, but computed again there.
    """
    if chunk is None or torch.is_grad_enabled() or len(x) <= chunk:
        return _again(chunk, function, x)
    return torch.cat([function(part) for part in x.split(chunk)])


def _as_constant_image(messengers: Tensor, conv: nn.Conv2d) -> Tensor:
    """What `conv` gives on an image that has the messenger's value everywhere: (N, M, C_in) -> (N, M, C_out)."""
    return F.linear(messengers, kernel_sum(conv), conv.bias)


def _block(block: Block, patches: Tensor, messengers: Tensor, wanted: bool) -> tuple[Tensor, Tensor]:
    """One transformer block on patches (N, h, w, C) and messengers (N, M, C). wanted: else no messengers come out."""
    normed = [block.norm1(patches), block.norm1(messengers)]
    answers = _answers(block.attn, *normed)
    branches = [_asked(block.attn, part, *answers) for part in (normed if wanted else normed[:1])]
    tokens = _add(block.drop_path1, [patches, messengers], branches)
    branches = _feed_forward(block.mlp, *[block.norm2(part) for part in tokens])
    patches, *told = _add(block.drop_path2, tokens, branches)
    return patches, told[0] if told else messengers[:, :0]


def _add(path: nn.Module, tokens: list[Tensor], branches: list[Tensor]) -> list[Tensor]:
    """Residual sums of patches and, if there is a branch of them, messengers; a frame's path is dropped for both."""
    if path.training and not isinstance(path, nn.Identity):
        keep = path(branches[0].new_ones(len(branches[0]), 1, 1))
        branches = [branch * keep.view(-1, *(1,) * (branch.ndim - 1)) for branch in branches]
    return [part + branch for part, branch in zip(tokens, branches, strict=False)]


def _answers(attention: Attention, patches: Tensor, messengers: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values, (N, heads, L, C / heads), of spatially reduced patches and messengers.

    Without reduction (the last stage) the patches alone answer, as in the original.
    """
    answers = patches.flatten(1, 2)
    if attention.sr is not None and attention.norm is not None:
        reduced = attention.sr(patches.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
        answers = attention.norm(torch.cat([reduced, _as_constant_image(messengers, attention.sr)], 1))
    shape = len(answers), -1, 2, attention.num_heads, attention.head_dim
    keys, values = attention.kv(answers).view(shape).permute(2, 0, 3, 1, 4)
    return keys, values


def _asked(attention: Attention, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What patches (N, h, w, C) or messengers (N, M, C) make of the answers."""
    rows = attention.q(tokens).view(len(tokens), -1, attention.num_heads, attention.head_dim).transpose(1, 2)
    out = F.scaled_dot_product_attention(rows, keys, values)
    return attention.proj(out.transpose(1, 2).reshape(tokens.shape))


def _feed_forward(mlp: MlpWithDepthwiseConv, patches: Tensor, *messengers: Tensor) -> list[Tensor]:
    """fc1, depth-wise 3x3 over the patches (its kernel sum for the messengers), GELU, fc2."""
    hidden = [convolved(mlp.dwconv, mlp.act, mlp.fc1(patches).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)]
    for tokens in messengers:
        hidden.append(mlp.act(mlp.fc1(tokens) * kernel_sum(mlp.dwconv).flatten() + cast(Tensor, mlp.dwconv.bias)))
    return [mlp.fc2(tokens) for tokens in hidden]


def _shift(messengers: Tensor, clip_length: int, direction: int) -> Tensor:
    """Roll four groups of messengers along time by +1, -1, +2, -2 frames (times `direction`), circular in each clip."""
    if not messengers.shape[1]:
        return messengers
    groups = messengers.unflatten(0, (-1, clip_length)).chunk(4, 2)  # four of (B, T, M/4, C)
    steps = (1, -1, 2, -2)
    rolled = [group.roll(direction * step, 1) for group, step in zip(groups, steps, strict=True)]
    return torch.cat(rolled, 2).flatten(0, 1)
