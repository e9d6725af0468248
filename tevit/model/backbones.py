"""ResNet-50 and Swin-L with four levels, the feature pyramid network upon a backbone, and RoIAlign on its levels.

A backbone is called as `backbone(frames, clip_length, chunk)` and returns maps as `MessengerPvt`; these two, timm's
modules with the original's forward pass where it differs, process each frame alone. RoIAlign is on the level that fits
each box: a bin is the mean of 2 x 2 points, a point the bilinear mean of 4 cells; with the pyramid as one table of
cells, a bin is a weighted sum of 16 of its rows. `F.embedding_bag` computes that on every device, forward and
backward; on a CPU it is several times as fast as torchvision's RoIAlign (see `tevit benchmark`), and there is no
synchronisation to count the boxes of each level.
Source: hustvl/TeViT mmdet/models/backbones/{resnet,swin}.py; Lin et al., 2017.
"""

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from timm.models.resnet import Bottleneck, ResNet
from timm.models.swin_transformer import (
    SwinTransformer,
    SwinTransformerBlock,
    SwinTransformerStage,
    get_relative_position_index,
    window_partition,
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
    attention, size_hw = block.attn, (x.shape[1], x.shape[2])
    padded_hw = tuple(side + -side % WINDOW for side in size_hw)
    shift = cast(tuple[int, int], block.shift_size)
    place = _window_places(size_hw, padded_hw, shift, x.device)
    tokens = attention.qkv(x.flatten(1, 2))  # (N, h*w, 3C)
    # Queries, keys and values of the padding, whose tokens are 0, are the projection's bias.
    padding = attention.qkv.bias.to(tokens).expand(len(x), padded_hw[0] * padded_hw[1], -1)
    windows = padding.index_copy(1, place, tokens).unflatten(1, (-1, WINDOW**2)).flatten(0, 1)
    queries, keys, values = windows.unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    bias = attention._get_rel_pos_bias()  # (1, heads, 49, 49)
    if any(shift):
        bias = (bias + _shift_mask(padded_hw, shift, bias)).expand(len(x), -1, -1, -1, -1).flatten(0, 1)
    out = F.scaled_dot_product_attention(queries, keys, values, bias.to(tokens))  # (N*windows, heads, 49, C / heads)
    out = out.transpose(1, 2).reshape(len(x), -1, x.shape[3]).index_select(1, place)
    return attention.proj(out).view(x.shape)


def _window_places(
    size_hw: tuple[int, int], padded_hw: tuple[int, ...], shift: tuple[int, int], device: torch.device
) -> Tensor:
    """(h*w,): place of each cell of a map among the tokens of all windows, window after window.

    padded_hw: of the map with whole windows, which is then rolled up and to the left by `shift`.
    """
    places = []  # of rows and columns
    for size, padded, step in zip(size_hw, padded_hw, shift, strict=True):
        places.append((torch.arange(size, device=device) - step) % padded)
    rows, columns = places[0][:, None], places[1]
    window = rows // WINDOW * (padded_hw[1] // WINDOW) + columns // WINDOW
    return (window * WINDOW**2 + rows % WINDOW * WINDOW + columns % WINDOW).flatten()


def _shift_mask(size_hw: tuple[int, ...], shift: tuple[int, int], like: Tensor) -> Tensor:
    """(1, windows, 1, 49, 49): -100 between tokens of a window that the roll joined from opposite sides, else 0.

    size_hw: of the padded map. shift: of the roll, rows and columns. like: a tensor of the result's type and device.
    """
    regions = []  # of each axis: 0 before the last window, 1 in it, 2 in what the roll moved to its end
    for size, step in zip(size_hw, shift, strict=True):
        index = torch.arange(size, device=like.device)
        regions.append((index >= size - WINDOW).long() + (index >= size - step).long())
    region = (3 * regions[0][:, None] + regions[1]).view(1, *size_hw, 1)
    windows = window_partition(region, (WINDOW, WINDOW)).view(1, -1, 1, WINDOW * WINDOW)
    return (windows[..., None, :] != windows[..., None]).to(like.dtype) * -100.0


class FeaturePyramid(nn.Module):
    """1x1 laterals, top-down sums by nearest upsampling, 3x3 output convolutions. Source: paper section 3.1."""

    def __init__(self, in_channels: tuple[int, ...], channels: int):
        super().__init__()
        self.lateral = nn.ModuleList(_conv(width, channels, 1) for width in in_channels)
        self.output = nn.ModuleList(_conv(channels, channels, 3) for _ in in_channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """maps: (N, C_i, h_i, w_i), fine to coarse, each half as wide and high. Returns: (N, C, h_i, w_i) in order."""
        sums = [conv(x) for conv, x in zip(self.lateral, maps, strict=True)]
        for level in range(len(sums) - 1, 0, -1):
            height, width = sums[level].shape[2:]
            fine, coarse = (x.permute(0, 2, 3, 1) for x in (sums[level - 1], sums[level]))
            # A view (N, h, 2, w, 2, C) of the finer map: each coarse cell is added to four, without an upsampled copy.
            cells = fine.unflatten(2, (width, 2)).unflatten(1, (height, 2))
            cells += coarse[:, :, None, :, None]
        return [conv(x) for conv, x in zip(self.output, sums, strict=True)]


def _conv(in_channels: int, channels: int, kernel: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(conv.weight)
    nn.init.zeros_(cast(Tensor, conv.bias))
    return conv


STRIDES = (4, 8, 16, 32)
FINEST_SIDE = 56  # side (geometric mean, pixels) from which on a box takes the second level
SAMPLES = 2  # points along each side of a bin


class Pyramid(NamedTuple):
    """Feature maps with strides 4, 8, 16, 32 as one table.

    table: float32 (S, C), the cells of all maps: map after map, frame after frame, row after row. levels: int32 (4, 3),
    height and width of each map and the table's row where it begins.
    """

    table: Tensor
    levels: Tensor

    @classmethod
    def from_maps(cls, maps: list[Tensor]) -> "Pyramid":
        """maps: (N, C, h, w) each."""
        table = torch.cat([x.permute(0, 2, 3, 1).flatten(0, 2) for x in maps])
        values, row = [], 0
        for x in maps:
            count, _, height, width = x.shape
            values += [height, width, row]
            row += count * height * width
        # Filled in on the device: a copy from the host would wait for all work queued there.
        numbers = [torch.full((), value, dtype=torch.int32, device=table.device) for value in values]
        # Sums of bfloat16 features are computed in float32, as in torchvision.
        return cls(table.float(), torch.stack(numbers).unflatten(0, (-1, 3)))


def pyramid_roi_align(pyramid: Pyramid, boxes_xyxy: Tensor, frame_index: Tensor, bins: int) -> Tensor:
    """Features of each box from its own pyramid level; no gradient goes to the boxes.

    boxes_xyxy: (R, 4), pixels of the network's input, may leave the image. frame_index: (R,), which of the N frames a
    box lies in. bins: P, cells a side.
    Returns: float32 (R, P*P, C), row after row. Points more than a cell outside of the map are 0.
    Source: QueryInst (Fang et al., 2021); mmdet SingleRoIExtractor with RoIAlign(sampling_ratio=2, aligned=True).
    """
    boxes = boxes_xyxy.detach().float().nan_to_num()
    levels = pyramid_level(boxes)
    height, width, first = pyramid.levels[levels].unbind(1)
    boxes = boxes / (STRIDES[0] * torch.exp2(levels))[:, None] - 0.5
    rows, row_weights = _bilinear_cells(boxes[:, 1], boxes[:, 3], height, bins)  # (R, P, 4)
    columns, column_weights = _bilinear_cells(boxes[:, 0], boxes[:, 2], width, bins)
    first = first + frame_index.int() * height * width
    rows = rows * width[:, None, None] + first[:, None, None]
    cells = rows[:, :, None, :, None] + columns[:, None, :, None, :]  # (R, P, P, 4, 4)
    weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
    sums = F.embedding_bag(
        cells.flatten(3).flatten(0, 2), pyramid.table, per_sample_weights=weights.flatten(3).flatten(0, 2), mode="sum"
    )
    return sums.unflatten(0, (len(boxes), bins * bins))


def _bilinear_cells(low: Tensor, high: Tensor, count: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """The cells of one axis that the points of each bin interpolate, int32 (R, P, 4), and their weights.

    low, high: (R,), the box's sides in cells, 0 at the centre of the first. count: int32 (R,), cells of the axis.
    """
    steps = (torch.arange(SAMPLES * bins, device=low.device) + 0.5) / (SAMPLES * bins)
    points = low[:, None] + (high - low)[:, None] * steps  # (R, 2P)
    inside = (points >= -1) & (points <= count[:, None])
    points = points.clamp(min=0).minimum(count[:, None] - 1)
    before = points.floor()
    after = (before + 1).minimum(count[:, None] - 1)
    share = points - before
    weights = torch.stack([1 - share, share], 2) * (inside / SAMPLES)[..., None]
    cells = torch.stack([before, after], 2).int()
    return cells.unflatten(1, (bins, -1)).flatten(2), weights.unflatten(1, (bins, -1)).flatten(2)


def pyramid_level(boxes_xyxy: Tensor) -> Tensor:
    """Level 0 to 3 of each box (R, 4), int64: one more for every doubling of the side above 56 pixels."""
    width, height = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).unbind(1)
    return torch.log2((width * height).sqrt() / FINEST_SIDE + 1e-6).floor().clamp(0, len(STRIDES) - 1).long()
