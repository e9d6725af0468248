"""From the last stage's output to tracks in the original frame's pixels.

Source: TeViT's and mmdet's test code as recorded from the original: scores are averaged over the frames, the best
(query, class) pairs of the clip are kept, no non-maximum suppression, no threshold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tevit.configs import ModelConfig
from tevit.masks.ops import MaskPart, encode_parts
from tevit.model.tevit import StageOutput
from tevit.results import RLE, Track

MASK_THRESHOLD = 0.5
SIDE = 28  # cells of a mask over its box, in both directions


class ClipModel(Protocol):
    """The interface of a model that prediction uses; `TeViT` has it."""

    config: ModelConfig

    def __call__(self, frames: Tensor, sizes_hw: Tensor, chunk: int | None = None) -> list[StageOutput]: ...

    def mask_logits(self, output: StageOutput, rows: Tensor, labels: Tensor, stage: int = -1) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Detections:
    """The N best (query, class) pairs of one clip of T frames, best first, on the CPU.

    scores: float32 (N,), probability averaged over the frames. frame_scores: float32 (T, N), the probability in each.
    labels, queries: int64 (N,). boxes_xyxy: float32 (T, N, 4), pixels of the original frame, may exceed it.
    mask_logits: float32 (T, N, 28, 28), over the boxes. features: float32 (N, C), the queries' mean over the frames.
    """

    scores: Tensor
    frame_scores: Tensor
    labels: Tensor
    queries: Tensor
    boxes_xyxy: Tensor
    mask_logits: Tensor
    features: Tensor

    def frames(self, first: int) -> "Detections":
        """The frames from `first` on; scores and features stay those of the whole clip."""
        return replace(
            self,
            frame_scores=self.frame_scores[first:],
            boxes_xyxy=self.boxes_xyxy[first:],
            mask_logits=self.mask_logits[first:],
        )


@torch.no_grad()
def detect(model: ClipModel, output: StageOutput, scale: Tensor, max_tracks: int, clip: int = 0) -> Detections:
    """The best (query, class) pairs of a clip with their masks.

    output: of the last stage. scale: float32 (4,), `Geometry.scale_factor` on the output's device.
    max_tracks: maximum number of pairs. clip: index in the batch.
    """
    mean_scores = output.logits[clip].float().sigmoid().mean(0).flatten()  # over the frames; (Q * K,)
    scores, index = mean_scores.topk(min(max_tracks, len(mean_scores)))
    queries, labels = index // model.config.num_classes, index % model.config.num_classes
    frame_scores = output.logits[clip][:, queries, labels].float().sigmoid()
    boxes = output.boxes_xyxy[clip][:, queries] / scale  # (T, N, 4)
    frames, count = output.logits.shape[1:3]
    rows = ((clip * frames + torch.arange(frames, device=index.device))[:, None] * count + queries).flatten()
    scaled = output._replace(boxes_xyxy=output.boxes_xyxy / scale * scale)  # rounds as the original does
    masks = model.mask_logits(scaled, rows, labels.repeat(frames)).unflatten(0, (frames, -1))
    features = output.objects[clip][:, queries].float().mean(0)
    tensors = [scores, frame_scores, labels, queries, boxes, masks, features]
    # One copy to the host for all, so that it waits once. Labels and queries are below 2^24, exact in float32.
    flat = torch.cat([tensor.flatten().float() for tensor in tensors]).cpu().split([x.numel() for x in tensors])
    pairs = zip(flat, tensors, strict=True)
    return Detections(*((data if x.is_floating_point() else data.long()).view(x.shape) for data, x in pairs))


def to_tracks(
    detections: Detections,
    size_hw: tuple[int, int],
    categories: Mapping[int, str],
    score_threshold: float = 0.0,
    ids: Sequence[int] | None = None,
) -> tuple[Track, ...]:
    """Tracks, best first; those below `score_threshold` are left out.

    size_hw: of the original frame. categories: id -> name in the order of the labels. ids: of the tracks; default:
    from 1 on.
    """
    numbers, category_ids, tracks = ids or range(1, len(detections.scores) + 1), tuple(categories), []
    for index, score in enumerate(detections.scores.tolist()):
        if score < score_threshold:
            continue
        boxes = detections.boxes_xyxy[:, index]
        parts = paste(detections.mask_logits[:, index].sigmoid(), boxes, size_hw)
        encoded, areas = encode_parts(parts, size_hw)
        rles: list[RLE | None] = [rle if area else None for rle, area in zip(encoded, areas.tolist(), strict=True)]
        visible_boxes = np.where(areas[:, None] > 0, boxes.numpy(), np.float32(np.nan))
        category_id = category_ids[int(detections.labels[index])]
        frame_scores = detections.frame_scores[:, index].numpy()
        track = Track(numbers[index], category_id, score, tuple(rles), visible_boxes, areas, frame_scores=frame_scores)
        tracks.append(track)
    return tuple(tracks)


def paste(probabilities: Tensor, boxes_xyxy: Tensor, size_hw: tuple[int, int]) -> list[MaskPart]:
    """Binary masks of N boxes: bilinear samples of the probabilities at pixel centres, at least 0.5.

    probabilities: float32 (N, 28, 28). boxes_xyxy: float32 (N, 4), pixels of the frame; what exceeds the frame is cut.
    Returns the pixels that each box can reach, none for a box of zero size.
    Source: mmdet 2.21 `_do_paste_mask`, restricted to the pixels that the box can reach.
    """
    low, high = boxes_xyxy.clamp(-1, max(size_hw) + 1).split(2, 1)  # farther coordinates give the same pixels
    first = (low.floor().long() - 1).clamp(min=0)  # (N, 2): column and row
    stop = (high.ceil().long() + 1).minimum(torch.tensor(size_hw[::-1]))
    stop = torch.where((first < stop).all(1, keepdim=True), stop, first)
    across, down = (_pixel_weights(first[:, i], stop[:, i], boxes_xyxy[:, i], boxes_xyxy[:, i + 2]) for i in (0, 1))
    pairs = zip(down, probabilities, across, first.tolist(), strict=True)
    return [MaskPart((ys @ map @ xs.T >= MASK_THRESHOLD).numpy(), *place) for ys, map, xs, place in pairs]


def _pixel_weights(first: Tensor, stop: Tensor, low: Tensor, high: Tensor) -> Sequence[Tensor]:
    """N times float32 (stop - first, 28): the cells' weights at pixel centres, for boxes from `low` to `high`."""
    counts = stop - first
    offset = first - counts.cumsum(0) + counts  # a box's first pixel less the number of pixels of all boxes before it
    offset, low, side = (torch.repeat_interleave(value, counts) for value in (offset, low, high - low))
    return bilinear_weights(torch.arange(len(offset)) + offset + 0.5, low, side).split(counts.tolist())


def bilinear_weights(points: Tensor, low: Tensor, side: Tensor) -> Tensor:
    """float32 (*points.shape, 28): weight of each of 28 cells from `low` to `low + side` at the points; 0 outside.

    points, low, side: float32, in one unit and of shapes that broadcast.
    """
    cells = (points - low) / side * SIDE - 0.5
    return (1 - (cells[..., None] - torch.arange(SIDE, dtype=torch.float32)).abs_()).clamp_(min=0)
