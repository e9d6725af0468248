"""Feature pyramid network (Lin et al., 2017), and boxes to fixed-size features: RoIAlign on the level that fits each.

A bin is the mean of 2 x 2 points, a point the bilinear mean of 4 cells: with the pyramid as one table of cells, a bin
is a weighted sum of 16 of its rows. `F.embedding_bag` computes that on every device, forward and backward; on a CPU it
is several times as fast as torchvision's RoIAlign (see `tevit benchmark`), and there is no synchronisation to count
the boxes of each level.
"""

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
