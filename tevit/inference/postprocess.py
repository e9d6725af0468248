"""From the last stage's output to tracks in the original frame's pixels.

Source: TeViT's and mmdet's test code as recorded from the original: scores are averaged over the frames, the best
(query, class) pairs of the clip are kept, no non-maximum suppression, no threshold.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tevit.configs import ModelConfig
from tevit.masks.ops import MaskPart, encode_changes, encode_parts
from tevit.model.tevit import StageOutput
from tevit.results import RLE, Track

MASK_THRESHOLD = 0.5
SIDE = 28  # cells of a mask over its box, in both directions
MAX_PIXELS = 1 << 26  # that are pasted on a device at once: 256 MB of float32


class ClipModel(Protocol):
    """The interface of a model that prediction uses; `TeViT` has it."""

    config: ModelConfig

    def __call__(self, frames: Tensor, sizes_hw: Tensor, chunk: int | None = None) -> list[StageOutput]: ...

    def mask_logits(self, output: StageOutput, rows: Tensor, labels: Tensor, stage: int = -1) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Detections:
    """The N best (query, class) pairs of one clip of T frames, best first, on the CPU but for `masks_on_device`.

    scores: float32 (N,), probability averaged over the frames. frame_scores: float32 (T, N), the probability in each.
    labels, queries: int64 (N,). boxes_xyxy: float32 (T, N, 4), pixels of the original frame, may exceed it.
    mask_logits: float32 (T, N, 28, 28), over the boxes. features: float32 (N, C), the queries' mean over the frames.
    masks_on_device: `mask_logits` on the CUDA device that computed them, where they are pasted; else None.
    """

    scores: Tensor
    frame_scores: Tensor
    labels: Tensor
    queries: Tensor
    boxes_xyxy: Tensor
    mask_logits: Tensor
    features: Tensor
    masks_on_device: Tensor | None = None

    def frames(self, first: int) -> "Detections":
        """The frames from `first` on; scores and features stay those of the whole clip."""
        return replace(
            self,
            frame_scores=self.frame_scores[first:],
            boxes_xyxy=self.boxes_xyxy[first:],
            mask_logits=self.mask_logits[first:],
            masks_on_device=None if self.masks_on_device is None else self.masks_on_device[first:],
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
    # A copy: the output of a CUDA graph is overwritten by the next clip's.
    on_device = masks.to(torch.float32, copy=True) if masks.device.type == "cuda" else None
    features = output.objects[clip][:, queries].float().mean(0)
    tensors = [scores, frame_scores, labels, queries, boxes, masks, features]
    # One copy to the host for all, so that it waits once. Labels and queries are below 2^24, exact in float32.
    flat = torch.cat([tensor.flatten().float() for tensor in tensors]).cpu().split([x.numel() for x in tensors])
    pairs = zip(flat, tensors, strict=True)
    columns = ((data if x.is_floating_point() else data.long()).view(x.shape) for data, x in pairs)
    return Detections(*columns, masks_on_device=on_device)


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
    kept = [index for index, score in enumerate(detections.scores.tolist()) if score >= score_threshold]
    for index, (encoded, areas) in zip(kept, _encoded_masks(detections, kept, size_hw), strict=True):
        rles: list[RLE | None] = [rle if area else None for rle, area in zip(encoded, areas.tolist(), strict=True)]
        boxes = detections.boxes_xyxy[:, index].numpy()
        visible_boxes = np.where(areas[:, None] > 0, boxes, np.float32(np.nan))
        category_id, score = category_ids[int(detections.labels[index])], detections.scores[index].item()
        frame_scores = detections.frame_scores[:, index].numpy()
        track = Track(numbers[index], category_id, score, tuple(rles), visible_boxes, areas, frame_scores=frame_scores)
        tracks.append(track)
    return tuple(tracks)


def _encoded_masks(
    detections: Detections, indices: Sequence[int], size_hw: tuple[int, int]
) -> Iterator[tuple[list[RLE], np.ndarray]]:
    """The masks of each of these pairs in all T frames, and their areas, float64 (T,): pasted where they are."""
    logits, boxes = detections.masks_on_device, detections.boxes_xyxy
    if logits is None:
        for index in indices:
            yield encode_parts(paste(detections.mask_logits[:, index].sigmoid(), boxes[:, index], size_hw), size_hw)
    elif indices:
        frames = len(boxes)
        masks = logits[:, indices].transpose(0, 1).flatten(0, 1).sigmoid()  # one pair's after the other's
        rles, areas = paste_and_encode(masks, boxes[:, indices].transpose(0, 1).flatten(0, 1), size_hw)
        for first in range(0, len(rles), frames):
            yield rles[first : first + frames], areas[first : first + frames]


def paste(probabilities: Tensor, boxes_xyxy: Tensor, size_hw: tuple[int, int]) -> list[MaskPart]:
    """Binary masks of N boxes: bilinear samples of the probabilities at pixel centres, at least 0.5.

    probabilities: float32 (N, 28, 28). boxes_xyxy: float32 (N, 4), pixels of the frame; what exceeds the frame is cut.
    Returns the pixels that each box can reach, none for a box of zero size.
    Source: mmdet 2.21 `_do_paste_mask`, restricted to the pixels that the box can reach.
    """
    first, stop = _reach(boxes_xyxy, size_hw)
    across, down = (_pixel_weights(first[:, i], stop[:, i], boxes_xyxy[:, i], boxes_xyxy[:, i + 2]) for i in (0, 1))
    pairs = zip(down, probabilities, across, first.tolist(), strict=True)
    return [MaskPart((ys @ map @ xs.T >= MASK_THRESHOLD).numpy(), *place) for ys, map, xs, place in pairs]


def _reach(boxes_xyxy: Tensor, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The pixels that each box can reach, int64 (N, 2): the first column and row, and those behind the last."""
    low, high = boxes_xyxy.clamp(-1, max(size_hw) + 1).split(2, 1)  # farther coordinates give the same pixels
    first = (low.floor().long() - 1).clamp(min=0)
    stop = (high.ceil().long() + 1).minimum(torch.tensor(size_hw[::-1]))
    return first, torch.where((first < stop).all(1, keepdim=True), stop, first)


def paste_and_encode(
    probabilities: Tensor, boxes_xyxy: Tensor, size_hw: tuple[int, int]
) -> tuple[list[RLE], np.ndarray]:
    """`encode_parts` of `paste`, computed where the probabilities are; RLE, and areas, float64 (N,).

    probabilities: float32 (N, 28, 28), on any device. boxes_xyxy: float32 (N, 4), on the CPU, so that the sizes are
    known without waiting. From a device come only the places where pixels change: of at most MAX_PIXELS at once their
    number, and then they themselves.
    """
    first, stop = _reach(boxes_xyxy, size_hw)
    sides = (stop - first).flip(1)  # rows and columns
    places, padded, before = [], [], 0
    for begin, end in _groups(sides.tolist()):
        rows, columns = sides[begin:end].amax(0).tolist()
        part = slice(begin, end)
        changes = _changes(probabilities[part], boxes_xyxy[part], first[part], stop[part], (rows, columns))
        places.append(changes.nonzero().squeeze(1).cpu().numpy() + before)
        padded += [(rows, columns)] * (end - begin)
        before += (rows + 1) * columns * (end - begin)
    joined = np.concatenate([np.zeros(0, np.int64), *places])
    return encode_changes(joined, np.array(padded, np.int64).reshape(-1, 2), first.numpy(), size_hw)


def _groups(sides: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
    """Ranges of successive masks that have at most MAX_PIXELS, all of them as large as the largest; at least one."""
    begin, rows, columns = 0, 0, 0
    for index, (height, width) in enumerate(sides):
        rows, columns = max(rows, height), max(columns, width)
        if index > begin and rows * columns * (index + 1 - begin) > MAX_PIXELS:
            yield begin, index
            begin, rows, columns = index, height, width
    if sides:
        yield begin, len(sides)


def _changes(probabilities: Tensor, boxes_xyxy: Tensor, first: Tensor, stop: Tensor, sides: tuple[int, int]) -> Tensor:
    """bool (N * columns * (rows + 1),): the pixels that differ from the one before; see `encode_changes`.

    first, stop: of `_reach`. sides: rows and columns that all masks get.
    """
    weights = []
    for axis, count in zip((1, 0), sides, strict=True):  # down, across
        points = first[:, axis, None] + torch.arange(count)
        # Not a number beyond a box's own pixels, so that no mask has one there.
        points = torch.where(points < stop[:, axis, None], points + 0.5, torch.nan)
        low, high = boxes_xyxy[:, axis, None], boxes_xyxy[:, axis + 2, None]
        on_device = (x.to(probabilities.device, non_blocking=True) for x in (points, low, high - low))
        weights.append(bilinear_weights(*on_device))
    down, across = weights
    inside = across @ (down @ probabilities).transpose(1, 2) >= MASK_THRESHOLD  # (N, columns, rows)
    flat = F.pad(inside, (0, 1)).flatten()  # an empty pixel after each column
    return flat != F.pad(flat[:-1], (1, 0))


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
    centres = torch.arange(SIDE, dtype=torch.float32, device=points.device)
    return (1 - (cells[..., None] - centres).abs_()).clamp_(min=0)
