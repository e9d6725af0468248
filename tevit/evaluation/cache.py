"""What was measured as plain arrays, to be kept in a file and taken up again without reading a mask."""

from collections.abc import Mapping, Sequence
from typing import NoReturn

import msgspec
import numpy as np

from tevit.evaluation.inputs import EvaluatedVideo, Inputs, LeftOutTrack, Tracks
from tevit.evaluation.matching import VideoClassPairs
from tevit.evaluation.overlaps import Overlaps, VideoPairs

Arrays = Mapping[str, np.ndarray]
_COLUMNS = ("ids", "videos", "categories", "scores", "areas", "crowd")


class _Head(msgspec.Struct):
    videos: list[EvaluatedVideo]
    categories: dict[int, str]
    left_out: list[LeftOutTrack]
    input_warnings: list[str]
    warnings: list[str]
    agnostic: bool
    truths: str
    predictions: str


def pack(measured: Overlaps) -> dict[str, np.ndarray]:
    """Everything but the way to the masks, as arrays of numbers; "head": uint8, JSON."""
    inputs = measured.inputs
    head = _Head(
        videos=inputs.videos,
        categories=inputs.categories,
        left_out=list(inputs.left_out),
        input_warnings=list(inputs.warnings),
        warnings=list(measured.warnings),
        agnostic=measured.agnostic,
        truths=inputs.ground_truth.what,
        predictions=inputs.predictions.what,
    )
    tables = {"truths": inputs.ground_truth, "predictions": inputs.predictions}
    return {
        "head": np.frombuffer(msgspec.json.encode(head), np.uint8),
        **{f"{side}.{name}": getattr(table, name) for side, table in tables.items() for name in _COLUMNS},
        "truths.frames": measured.ground_truth_frames,
        "predictions.frames": measured.prediction_frames,
        **_pack_groups(measured.groups),
        **_pack_pairs(measured.pairs),
    }


def _pack_groups(groups: Sequence[VideoClassPairs]) -> dict[str, np.ndarray]:
    facts = [(g.video, g.category, len(g.ground_truth), len(g.predictions)) for g in groups]
    return {
        "groups.facts": np.array(facts, np.int64).reshape(-1, 4),
        "groups.truths": _joined([g.ground_truth for g in groups], np.int64),
        "groups.predictions": _joined([g.predictions for g in groups], np.int64),
        "groups.ious": _joined([g.ious for g in groups], np.float64),
    }


def _pack_pairs(pairs: Sequence[VideoPairs]) -> dict[str, np.ndarray]:
    facts = [(p.video, *p.common.shape) for p in pairs]
    rows = {name: _joined([getattr(p, name) for p in pairs], np.int64) for name in ("ground_truth", "predictions")}
    names = ("common", "union", "truth_areas", "prediction_areas")
    pixels = {name: _joined([getattr(p, name) for p in pairs], np.int32) for name in names}
    return {
        "pairs.facts": np.array(facts, np.int64).reshape(-1, 4),
        **{f"pairs.{name}": array for name, array in {**rows, **pixels}.items()},
    }


def _joined(arrays: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *(array.ravel() for array in arrays)])


def unpack(arrays: Arrays) -> Overlaps:
    """What `pack` was given; its masks cannot be asked for."""
    head = msgspec.json.decode(arrays["head"].tobytes(), type=_Head)
    inputs = Inputs(
        videos=head.videos,
        categories=head.categories,
        ground_truth=_table(arrays, "truths", head.truths),
        predictions=_table(arrays, "predictions", head.predictions),
        left_out=tuple(head.left_out),
        warnings=tuple(head.input_warnings),
    )
    return Overlaps(
        inputs=inputs,
        groups=_groups(arrays),
        ground_truth_frames=arrays["truths.frames"],
        prediction_frames=arrays["predictions.frames"],
        agnostic=head.agnostic,
        pairs=_pairs(arrays),
        warnings=tuple(head.warnings),
    )


def _table(arrays: Arrays, side: str, what: str) -> Tracks:
    return Tracks(what, *(arrays[f"{side}.{name}"] for name in _COLUMNS), masks=_no_masks)


def _no_masks(rows: Sequence[int]) -> NoReturn:
    raise ValueError("the masks were not kept with what was measured: read the files")


class _Reader:
    """Hands out one array's parts in their order."""

    def __init__(self, array: np.ndarray):
        self._array, self._place = array, 0

    def __call__(self, *shape: int) -> np.ndarray:
        start, self._place = self._place, self._place + int(np.prod(shape))
        return self._array[start : self._place].reshape(shape)


def _groups(arrays: Arrays) -> list[VideoClassPairs]:
    truths, predictions, ious = (_Reader(arrays[f"groups.{name}"]) for name in ("truths", "predictions", "ious"))
    return [
        VideoClassPairs(video, category, truths(count_t), predictions(count_p), ious(count_p, count_t))
        for video, category, count_t, count_p in arrays["groups.facts"].tolist()
    ]


def _pairs(arrays: Arrays) -> list[VideoPairs]:
    names = ("ground_truth", "predictions", "common", "union", "truth_areas", "prediction_areas")
    readers = [_Reader(arrays[f"pairs.{name}"]) for name in names]
    return [
        VideoPairs(video, *(read(*shape) for read, shape in zip(readers, _shapes(d, g, t), strict=True)))
        for video, d, g, t in arrays["pairs.facts"].tolist()
    ]


def _shapes(d: int, g: int, t: int) -> tuple[tuple[int, ...], ...]:
    return (g,), (d,), (d, g, t), (d, g, t), (g, t), (d, t)
