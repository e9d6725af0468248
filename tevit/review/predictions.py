"""Predictions as a source of masks for labels: which overlap a label, and which show the object that it lies beside."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tevit.io.ytvis import Dataset, Results
from tevit.masks import ops as masks
from tevit.results import Track, VideoResult
from tevit.review.decisions import AcceptMasks, Mask, TrackRef, to_mask

_MAX_OFFSET = 1.5  # between the centres of a label and the object beside it, in widths and heights of the label
_STEADY = 0.35  # standard deviation of that offset, in widths and heights
_SIMILAR = 0.6  # smaller area divided by the larger one, mean over frames
_TOGETHER = 0.5  # frames with both masks, of those with either


@dataclass(frozen=True)
class OverlappingPrediction:
    """A prediction that overlaps a label. place: in the results, from 1. iou: of the whole tracks. frames: number of
    frames with common pixels."""

    place: int
    category_id: int
    score: float
    iou: float
    frames: int


def overlapping_predictions(
    label: Track, predictions: VideoResult, place: int | None = None
) -> list[OverlappingPrediction]:
    """Every prediction of the video with a pixel in common with the label, highest IoU first.

    place: of one that is listed in any case.
    """
    tracks = predictions.tracks
    common, union = masks.overlaps([track.rles for track in tracks], [label.rles])
    ious = common.sum(axis=(1, 2)) / np.maximum(union.sum(axis=(1, 2)), 1)
    frames = (common > 0).sum(axis=(1, 2))
    overlapping = [
        OverlappingPrediction(track.id, track.category_id, track.score, float(iou), int(count))
        for track, iou, count in zip(tracks, ious, frames, strict=True)
        if count or track.id == place
    ]
    return sorted(overlapping, key=lambda prediction: -prediction.iou)


def predicted_masks(dataset: Dataset, results: Results, video: int, place: int) -> tuple[Mask | None, ...]:
    """One prediction's masks in the form of decisions, one for each frame of the video. place: from 1.

    Raises: ValueError where the video has no such prediction, or its masks cannot be read.
    """
    info, positions = dataset.videos[video], results.by_video.get(video, [])
    if place - 1 not in positions:
        raise ValueError(f"video {video} has no prediction {place}")
    track = results.masks(video, info.size_hw)[positions.index(place - 1)]
    rles = [rle if area else None for rle, area in zip(track.rles, track.areas, strict=True)]
    return tuple(map(to_mask, (rles + [None] * info.length)[: info.length]))


def take_masks(track: TrackRef, predicted: Sequence[Mask | None], frames: tuple[int, int] | None = None) -> AcceptMasks:
    """The masks of a prediction for a label. frames: first and last one; None: all.

    Raises: ValueError where the video has no such frames.
    """
    first, last = frames or (0, len(predicted) - 1)
    if not 0 <= first <= last < len(predicted):
        raise ValueError(f"expected frames from 0 to {len(predicted) - 1}, got {first} to {last}")
    return AcceptMasks(track, first, tuple(predicted[first : last + 1]))


def lies_beside(label: Track, prediction: Track) -> bool:
    """Whether the prediction has the label's class and size, and stays at a constant distance (a shifted label)."""
    both, either = label.present & prediction.present, label.present | prediction.present
    if label.category_id != prediction.category_id or both.sum() < max(1, _TOGETHER * either.sum()):
        return False
    boxes, others = label.boxes_xyxy[both].astype(float), prediction.boxes_xyxy[both].astype(float)
    size = (boxes[:, 2:] - boxes[:, :2]).mean(axis=0)
    offsets = (others - boxes).reshape(-1, 2, 2).mean(axis=1) / size
    areas = label.areas[both], prediction.areas[both]
    similar = (np.minimum(*areas) / np.maximum(np.maximum(*areas), 1)).mean()
    near, steady = np.abs(offsets.mean(axis=0)) <= _MAX_OFFSET, offsets.std(axis=0) <= _STEADY
    return bool(similar >= _SIMILAR and near.all() and steady.all())
