"""ResNet-50 and Swin-L with four levels: timm's modules, with the original's forward pass where it differs.

A backbone is called as `backbone(frames, clip_length, chunk)` and returns maps as `MessengerPvt`; these two process
each frame alone. Source: hustvl/TeViT mmdet/models/backbones/{resnet,swin}.py.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.models.resnet import Bottleneck, ResNet
from timm.models.swin_transformer import (
    SwinTransformer,
    SwinTransformerBlock,
    SwinTransformerStage,
    get_relative_position_index,
    window_partition,
    window_reverse,
)
from torch import Tensor, nn

from tevit.configs import BackboneConfig
from tevit.model.pvt import MessengerPvt, in_chunks

WINDOW = 7


def build_backbone(config: BackboneConfig) -> nn.Module:
    """The backbone of a configuration, with initial values."""
    if config.kind == "pvt_v2":
        return MessengerPvt(config)
    return ResNet50(config) if config.kind == "resnet50" else Swin(config)


class ResNet50(nn.Module):
    """ResNet-50 whose batch norms always use their running statistics; stem and first stage are frozen."""

    def __init__(self, config: BackboneConfig):
        super().__init__()
        resnet = ResNet(cast(Any, Bottleneck), config.depths, num_classes=0)  # timm's annotation lacks Bottleneck
        self.conv1, self.bn1 = cast(nn.Conv2d, resnet.conv1), cast(nn.BatchNorm2d, resnet.bn1)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            cast(nn.Sequential, getattr(resnet, f"layer{index}")) for index in (1, 2, 3, 4)
        )
        for module in (self.conv1, self.bn1, self.layer1):
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> "ResNet50":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, frames: Tensor, clip_length: int, chunk: int | None = None) -> list[Tensor]:
        def stem(frames: Tensor) -> Tensor:
            return F.max_pool2d(F.relu(self.bn1(self.conv1(frames))), 3, 2, 1)

        x = in_chunks(stem, frames, chunk)
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = in_chunks(layer, x, chunk)
            maps.append(x)
        return maps


class Swin(nn.Module):
    """Swin transformer; unlike in timm, maps are padded to whole windows before the roll, and outputs are normed."""

    def __init__(self, config: BackboneConfig):
        super().__init__()
        swin = SwinTransformer(
            num_classes=0,
            window_size=WINDOW,
            embed_dim=config.dims[0],
            depths=config.depths,
            num_heads=config.heads,
            drop_path_rate=config.drop_path,
            always_partition=True,  # windows stay 7 wide and keep shifting on small maps
            strict_img_size=False,
        )
        self.patch_embed = swin.patch_embed
        self.layers = nn.ModuleList(cast(nn.Sequential, swin.layers))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for dim in config.dims)
        with torch.device("cpu"):  # it is in no checkpoint, so it is computed even on "meta"
            index = get_relative_position_index(WINDOW, WINDOW)
        for module in self.modules():
            if isinstance(module, SwinTransformerBlock):
                # timm's mask is for one image size; `_shift_mask` computes it for each map.
                module.register_buffer("attn_mask", None, persistent=False)
                module.attn.relative_position_index = index

    def forward(self, frames: Tensor, clip_length: int, chunk: int | None = None) -> list[Tensor]:
        x = in_chunks(self.embed, frames, chunk)  # (B*T, h, w, C)
        maps = []
        for module, norm in zip(self.layers, self.norms, strict=True):
            layer = cast(SwinTransformerStage, module)
            x = in_chunks(layer.downsample, x, chunk)
            for item in layer.blocks:
                block = cast(SwinTransformerBlock, item)
                x = in_chunks(lambda rows, block=block: _swin_block(block, rows), x, chunk)
            maps.append(norm(x).permute(0, 3, 1, 2))  # channels last, as the other backbones
        return maps

    def embed(self, frames: Tensor) -> Tensor:
        """Patches of 4x4 pixels: (N, 3, H, W) -> (N, h, w, C), zero-padded to whole patches."""
        height, width = frames.shape[-2:]
        frames = F.pad(frames, (0, -width % 4, 0, -height % 4))
        patches = cast(nn.Conv2d, self.patch_embed.proj)(frames)
        return cast(nn.LayerNorm, self.patch_embed.norm)(patches.permute(0, 2, 3, 1))


def _swin_block(block: SwinTransformerBlock, x: Tensor) -> Tensor:
    """One block on a map (N, h, w, C)."""
    x = x + block.drop_path1(_window_attention(block, block.norm1(x)))
    return x + block.drop_path2(block.mlp(block.norm2(x)))


def _window_attention(block: SwinTransformerBlock, x: Tensor) -> Tensor:
    """Attention within the shifted windows of a map (N, h, w, C), zero-padded to whole windows."""
    height, width, channels = x.shape[1:]
    x = F.pad(x, (0, 0, 0, -width % WINDOW, 0, -height % WINDOW))
    padded_h, padded_w = x.shape[1:3]
    shift = cast(tuple[int, int], block.shift_size)
    x = x.roll((-shift[0], -shift[1]), (1, 2))
    windows = window_partition(x, (WINDOW, WINDOW)).view(-1, WINDOW * WINDOW, channels)
    windows = block.attn(windows, mask=_shift_mask(x, shift))
    x = window_reverse(windows.view(-1, WINDOW, WINDOW, channels), (WINDOW, WINDOW), padded_h, padded_w)
    return x.roll(shift, (1, 2))[:, :height, :width].contiguous()


def _shift_mask(x: Tensor, shift: tuple[int, int]) -> Tensor | None:
    """(windows, 49, 49): -100 between tokens of a window that the roll joined from opposite sides of the map, else 0.

    x: the rolled map (N, h, w, C). shift: of the roll, rows and columns. None where nothing was rolled.
    """
    if not any(shift):
        return None
    height, width = x.shape[1:3]
    regions = []  # of each axis: 0 before the last window, 1 in it, 2 in what the roll moved to its end
    for size, step in zip((height, width), shift, strict=True):
        index = torch.arange(size, device=x.device)
        regions.append((index >= size - WINDOW).long() + (index >= size - step).long())
    region = (3 * regions[0][:, None] + regions[1]).view(1, height, width, 1)
    windows = window_partition(region, (WINDOW, WINDOW)).view(-1, WINDOW * WINDOW)
    return (windows[:, None] != windows[:, :, None]).to(x.dtype) * -100.0
