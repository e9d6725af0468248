"""Boxes to fixed-size features: RoIAlign on the pyramid level that fits each box."""

import torch
from torch import Tensor
from torchvision.ops import roi_align

STRIDES = (4, 8, 16, 32)
FINEST_SIDE = 56  # a box of this side (geometric mean, pixels) is the first that goes to the second level


def pyramid_roi_align(pyramid: list[Tensor], boxes_xyxy: Tensor, frame_index: Tensor, bins: int) -> Tensor:
    """Features of each box from its own pyramid level.

    pyramid: four maps (N, C, h, w) with strides 4, 8, 16, 32. boxes_xyxy: (R, 4), pixels of the network's input,
    may leave the image. frame_index: (R,), which of the N frames a box lies in. bins: P, cells a side.
    Returns: (R, C, P, P).
    Source: QueryInst (Fang et al., 2021); mmdet SingleRoIExtractor with RoIAlign(sampling_ratio=2, aligned=True).
    """
    # Boxes keep their own type: in mixed precision, where torchvision computes in float32, bfloat16 features would
    # round them to whole pixels.
    rois = torch.cat([frame_index[:, None].to(boxes_xyxy), boxes_xyxy], 1)  # (R, 5)
    levels = pyramid_level(boxes_xyxy)
    out = pyramid[0].new_zeros(len(rois), pyramid[0].shape[1], bins, bins)
    for level, (features, stride) in enumerate(zip(pyramid, STRIDES, strict=True)):
        rows = (levels == level).nonzero().squeeze(1)
        if (
            len(rows) or torch.is_grad_enabled()
        ):  # every level stays in the graph, so that every parameter gets a gradient
            crops = roi_align(features, rois[rows], bins, 1 / stride, sampling_ratio=2, aligned=True)
            out = out.index_put((rows,), crops)
    return out


def pyramid_level(boxes_xyxy: Tensor) -> Tensor:
    """Index 0 to 3 of the level for each box (R, 4): one up for every doubling of the side above 56 pixels."""
    width, height = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).unbind(1)
    return torch.log2((width * height).sqrt() / FINEST_SIDE + 1e-6).floor().clamp(0, len(STRIDES) - 1).long()
