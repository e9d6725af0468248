"""Overlaps as plain arrays, to be stored in a file and loaded again without reading a mask."""

from collections.abc import Mapping, Sequence
from typing import NoReturn

import msgspec
import numpy as np

from tevit.evaluation.inputs import EvaluatedVideo, Inputs, LeftOutTrack, Tracks
from tevit.evaluation.matching import VideoClassPairs
from tevit.evaluation.overlaps import Overlaps, VideoPairs

_SIDES = ("ground_truth", "predictions")
_COLUMNS = ("ids", "videos", "categories", "scores", "areas", "crowd")
_GROUP_ARRAYS = (*_SIDES, "ious")
_PAIR_ARRAYS = (*_SIDES, "intersection", "union", "ground_truth_areas", "prediction_areas")


class _OverlapsHead(msgspec.Struct):
    videos: list[EvaluatedVideo]
    categories: dict[int, str]
    left_out: list[LeftOutTrack]
    input_warnings: list[str]
    warnings: list[str]
    agnostic: bool
    labels: list[str]


def pack(overlaps: Overlaps) -> dict[str, np.ndarray]:
    """Everything but the access to the masks, as arrays of numbers; "head": uint8, JSON."""

    def joined(items: Sequence[VideoClassPairs] | Sequence[VideoPairs], name: str, dtype: type) -> np.ndarray:
        return np.concatenate([np.zeros(0, dtype), *(getattr(item, name).ravel() for item in items)])

    inputs, groups, pairs = overlaps.inputs, overlaps.groups, overlaps.pairs
    head = _OverlapsHead(
        videos=inputs.videos,
        categories=inputs.categories,
        left_out=list(inputs.left_out),
        input_warnings=list(inputs.warnings),
        warnings=list(overlaps.warnings),
        agnostic=overlaps.agnostic,
        labels=[inputs.ground_truth.label, inputs.predictions.label],
    )
    group_shapes = [(g.video, g.category, len(g.ground_truth), len(g.predictions)) for g in groups]
    dtypes = {"ious": np.float64, **dict.fromkeys(_PAIR_ARRAYS, np.int32), **dict.fromkeys(_SIDES, np.int64)}
    return {
        "head": np.frombuffer(msgspec.json.encode(head), np.uint8),
        **{f"{side}.{name}": getattr(getattr(inputs, side), name) for side in _SIDES for name in _COLUMNS},
        "ground_truth.frames": overlaps.ground_truth_frames,
        "predictions.frames": overlaps.prediction_frames,
        "groups.shapes": np.array(group_shapes, np.int64).reshape(-1, 4),
        **{f"groups.{name}": joined(groups, name, dtypes[name]) for name in _GROUP_ARRAYS},
        "pairs.shapes": np.array([(p.video, *p.intersection.shape) for p in pairs], np.int64).reshape(-1, 4),
        **{f"pairs.{name}": joined(pairs, name, dtypes[name]) for name in _PAIR_ARRAYS},
    }


def unpack(arrays: Mapping[str, np.ndarray]) -> Overlaps:
    """The inverse of `pack`; the masks cannot be read."""
    head = msgspec.json.decode(arrays["head"].tobytes(), type=_OverlapsHead)
    sides = {
        side: Tracks(label, *(arrays[f"{side}.{name}"] for name in _COLUMNS), read_masks=_no_masks)
        for side, label in zip(_SIDES, head.labels, strict=True)
    }
    inputs = Inputs(
        videos=head.videos,
        categories=head.categories,
        **sides,
        left_out=tuple(head.left_out),
        warnings=tuple(head.input_warnings),
    )
    of_groups = [_Reader(arrays[f"groups.{name}"]) for name in _GROUP_ARRAYS]
    groups = []
    for video, category, g, d in arrays["groups.shapes"].tolist():
        shapes = (g,), (d,), (d, g)
        own = (read(*shape) for read, shape in zip(of_groups, shapes, strict=True))
        groups.append(VideoClassPairs(video, category, *own))
    of_pairs = [_Reader(arrays[f"pairs.{name}"]) for name in _PAIR_ARRAYS]
    pairs = []
    for video, d, g, t in arrays["pairs.shapes"].tolist():
        shapes = (g,), (d,), (d, g, t), (d, g, t), (g, t), (d, t)
        pairs.append(VideoPairs(video, *(read(*shape) for read, shape in zip(of_pairs, shapes, strict=True))))
    return Overlaps(
        inputs=inputs,
        groups=groups,
        ground_truth_frames=arrays["ground_truth.frames"],
        prediction_frames=arrays["predictions.frames"],
        agnostic=head.agnostic,
        pairs=pairs,
        warnings=tuple(head.warnings),
    )


def _no_masks(rows: Sequence[int]) -> NoReturn:
    raise ValueError("the masks were not kept with what was measured: read the files")


class _Reader:
    """Returns consecutive parts of one array."""

    def __init__(self, array: np.ndarray):
        self._array, self._place = array, 0

    def __call__(self, *shape: int) -> np.ndarray:
        start, self._place = self._place, self._place + int(np.prod(shape))
        return self._array[start : self._place].reshape(shape)
