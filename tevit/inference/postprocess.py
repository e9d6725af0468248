"""From the last stage's output to tracks in original pixels. Tensors stop here.

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
SIDE = 28  # of a mask over its box


class ClipModel(Protocol):
    """What prediction needs of a model; `TeViT` is one."""

    config: ModelConfig

    def __call__(self, frames: Tensor, sizes_hw: Tensor, chunk: int | None = None) -> list[StageOutput]: ...

    def mask_logits(self, output: StageOutput, rows: Tensor, labels: Tensor, stage: int = -1) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Detections:
    """The N best (query, class) pairs of one clip of T frames, best first, on the CPU.

    scores: float32 (N,), probability averaged over the frames. frame_scores: float32 (T, N), the probability in each.
    labels, queries: int64 (N,). boxes_xyxy: float32 (T, N, 4), pixels of the original frame, may leave it.
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
        """Of the frames from `first` on; scores and features stay those of the whole clip."""
        parts = {name: getattr(self, name)[first:] for name in ("frame_scores", "boxes_xyxy", "mask_logits")}
        return replace(self, **parts)


@torch.no_grad()
def detect(model: ClipModel, output: StageOutput, scale: Tensor, max_tracks: int, clip: int = 0) -> Detections:
    """Choose the best pairs of a clip and compute their masks.

    output: of the last stage. scale: float32 (4,), `video.Geometry.scale_factor` on the output's device.
    max_tracks: how many pairs are kept. clip: which of the B clips.
    """
    scores, index = clip_scores(output.logits[clip]).flatten().topk(min(max_tracks, output.logits[clip, 0].numel()))
    queries, labels = index // model.config.num_classes, index % model.config.num_classes
    frame_scores = output.logits[clip][:, queries, labels].float().sigmoid()
    boxes = output.boxes_xyxy[clip][:, queries] / scale  # (T, N, 4)
    frames, count = output.logits.shape[1:3]
    rows = ((clip * frames + torch.arange(frames, device=index.device))[:, None] * count + queries).flatten()
    scaled = output._replace(boxes_xyxy=output.boxes_xyxy / scale * scale)  # as the original: only rounding differs
    masks = model.mask_logits(scaled, rows, labels.repeat(frames)).unflatten(0, (frames, -1))
    features = output.objects[clip][:, queries].float().mean(0)
    return Detections(*_to_host([scores, frame_scores, labels, queries, boxes, masks, features]))


def _to_host(tensors: list[Tensor]) -> list[Tensor]:
    """Floats as float32, whole numbers below 2^24 as int64; one copy for all, for which alone the host waits."""
    flat = torch.cat([tensor.flatten().float() for tensor in tensors]).cpu().split([x.numel() for x in tensors])
    pairs = zip(flat, tensors, strict=True)
    return [(part if like.is_floating_point() else part.long()).view(like.shape) for part, like in pairs]


def clip_scores(logits: Tensor) -> Tensor:
    """logits (T, Q, K) -> class probabilities averaged over the frames, (Q, K)."""
    return logits.float().sigmoid().mean(0)


def to_tracks(
    detections: Detections,
    size_hw: tuple[int, int],
    categories: Mapping[int, str],
    score_threshold: float = 0.0,
    ids: Sequence[int] | None = None,
) -> tuple[Track, ...]:
    """Tracks, best first; those below `score_threshold` are left out.

    categories: id -> name in the order of the labels. size_hw: of the original frame. ids: of the tracks; from 1 where
    none are given.
    """
    numbers = ids or range(1, len(detections.scores) + 1)
    return tuple(
        _track(detections, index, numbers[index], size_hw, tuple(categories))
        for index in range(len(detections.scores))
        if float(detections.scores[index]) >= score_threshold
    )


def _track(
    detections: Detections, index: int, id: int, size_hw: tuple[int, int], category_ids: tuple[int, ...]
) -> Track:
    probabilities = detections.mask_logits[:, index].sigmoid()  # (T, 28, 28)
    boxes = detections.boxes_xyxy[:, index]
    found, areas = encode_parts(paste(probabilities, boxes, size_hw), size_hw)
    rles: list[RLE | None] = [rle if area else None for rle, area in zip(found, areas.tolist(), strict=True)]
    kept = np.where(areas[:, None] > 0, boxes.numpy(), np.float32(np.nan))
    category_id = category_ids[int(detections.labels[index])]
    score, frame_scores = float(detections.scores[index]), detections.frame_scores[:, index].numpy()
    return Track(id, category_id, score, tuple(rles), kept, areas, frame_scores=frame_scores)


def paste(probabilities: Tensor, boxes_xyxy: Tensor, size_hw: tuple[int, int]) -> list[MaskPart]:
    """N boxes' probabilities (N, 28, 28) as masks of the frame: bilinear at pixel centres, at least 0.5.

    boxes_xyxy: float32 (N, 4), pixels of the frame; what lies outside the frame is cut. Of each mask the pixels that
    the box can reach are given; none where the box has no inside.
    Source: mmdet 2.21 `_do_paste_mask`, on the pixels that the box can reach.
    """
    low, high = boxes_xyxy.clamp(-1, max(size_hw) + 1).split(2, 1)  # what is farther out makes no difference
    first = (low.floor().long() - 1).clamp(min=0)  # (N, 2): column and row
    stop = (high.ceil().long() + 1).minimum(torch.tensor(size_hw[::-1]))
    stop = torch.where((first < stop).all(1, keepdim=True), stop, first)
    across, down = (_weights(first[:, i], stop[:, i], boxes_xyxy[:, i], boxes_xyxy[:, i + 2]) for i in (0, 1))
    pairs = zip(down, probabilities, across, first.tolist(), strict=True)
    return [MaskPart((ys @ map @ xs.T >= MASK_THRESHOLD).numpy(), *place) for ys, map, xs, place in pairs]


def _weights(first: Tensor, stop: Tensor, low: Tensor, high: Tensor) -> Sequence[Tensor]:
    """N times float32 (stop - first, 28): how much each of 28 cells from `low` to `high` counts at pixels' centres."""
    counts = stop - first
    begin = first - counts.cumsum(0) + counts  # of a box, less the pixels of all before it
    begin, low, side = (torch.repeat_interleave(value, counts) for value in (begin, low, high - low))
    cells = (torch.arange(len(begin)) + begin + 0.5 - low) / side * SIDE - 0.5
    weights = (1 - (cells[:, None] - torch.arange(SIDE, dtype=torch.float32)).abs_()).clamp_(min=0)
    return weights.split(counts.tolist())
