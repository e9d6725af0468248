"""The records of all tracks as columns of numbers: quick to make anew when limits move, quick to filter."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tevit.evaluation.coverage import coverage
from tevit.evaluation.error_table import prediction_shares, truth_shares
from tevit.evaluation.error_types import TYPES
from tevit.evaluation.errors import Costs
from tevit.evaluation.overlaps import Overlaps, VideoPairs

ALL_TYPES = (*TYPES, "correct", "explained", "ignored")
_CODES = {type: code for code, type in enumerate(ALL_TYPES)}


@dataclass(frozen=True, eq=False)
class Columns:
    """N records: predictions, then truths, each in the order of its table; without tracks of unknown classes.

    truth: bool (N,), a truth's record. type: int8 (N,), positions in ALL_TYPES. truths, predictions: int64 (N,), rows
    of the tables, -1 for none. ious, shares: float64 (N,). frames: int64 (N,), in how many either is there. worst:
    int64 (N,), the frame of lowest IoU, -1 for none. switch, broken: bool (N,). As ErrorRecord explains them.
    """

    truth: np.ndarray
    type: np.ndarray
    truths: np.ndarray
    predictions: np.ndarray
    ious: np.ndarray
    shares: np.ndarray
    frames: np.ndarray
    worst: np.ndarray
    switch: np.ndarray
    broken: np.ndarray


@dataclass(frozen=True, eq=False)
class Geometry:
    """What no limit but `cover` changes. first: int64 (V,), where in the flat arrays of pairs a video begins, those
    with one prediction together. width: int64 (V,), truths. place_t, place_p: int64, each row's position in its video;
    -1: a prediction that is not among the pairs. pairs, alone_t, alone_p: of pairs, truths and predictions."""

    first: np.ndarray
    width: np.ndarray
    place_t: np.ndarray
    place_p: np.ndarray
    pairs: "_Facts"
    alone_t: "_Facts"
    alone_p: "_Facts"


@dataclass(frozen=True, eq=False)
class _Facts:
    """Columns as of `Columns`; flag: broken of pairs and truths, switch of predictions. switch: of truths."""

    ious: np.ndarray
    frames: np.ndarray
    worst: np.ndarray
    flag: np.ndarray
    switch: np.ndarray

    @classmethod
    def empty(cls, count: int) -> "_Facts":
        zeros = np.zeros(count)
        return cls(zeros, np.zeros(count, np.int64), np.full(count, -1), zeros > 0, zeros > 0)

    def put(self, where: slice | np.ndarray, ious: np.ndarray, seen: np.ndarray, curves: np.ndarray) -> None:
        """seen: bool (n, T). curves: float32 (n, T)."""
        self.ious[where], self.frames[where] = ious, seen.sum(axis=1)
        lowest = np.argmin(np.where(seen, curves.round(6), np.inf), axis=1) if seen.shape[1] else -1
        self.worst[where] = np.where(seen.any(axis=1), lowest, -1)


def geometry(measured: Overlaps, cover: float) -> Geometry:
    """measured: with all pairs. cover: as of Limits."""
    truths, predictions = measured.inputs.truths, measured.inputs.predictions
    sizes = [len(pairs.predictions) * len(pairs.truths) for pairs in measured.pairs]
    first = np.cumsum([0, *sizes])
    found = Geometry(
        first=first[:-1],
        width=np.array([len(pairs.truths) for pairs in measured.pairs], np.int64),
        place_t=np.full(len(truths.ids), -1),
        place_p=np.full(len(predictions.ids), -1),
        pairs=_Facts.empty(int(first[-1])),
        alone_t=_Facts.empty(len(truths.ids)),
        alone_p=_Facts.empty(len(predictions.ids)),
    )
    for pairs, start in zip(measured.pairs, first.tolist(), strict=False):
        _measure_video(found, pairs, start, cover)
    return found


def _measure_video(found: Geometry, pairs: VideoPairs, start: int, cover: float) -> None:
    d, g, t = pairs.common.shape
    found.place_t[pairs.truths], found.place_p[pairs.predictions] = np.arange(g), np.arange(d)
    ious, curves = pairs.ious(), pairs.frame_ious()
    seen_t, seen_p = pairs.truth_areas > 0, pairs.prediction_areas > 0
    covered = coverage(pairs, curves, cover)
    own = slice(start, start + d * g)
    either = (seen_p[:, None] | seen_t[None]).reshape(d * g, t)
    found.pairs.put(own, ious.ravel(), either, curves.reshape(d * g, t))
    found.pairs.flag[own] = covered.broken_by.ravel()
    found.alone_t.put(pairs.truths, ious.max(axis=0, initial=0), seen_t, curves.max(axis=0, initial=0))
    found.alone_t.flag[pairs.truths] = covered.broken
    found.alone_t.switch[pairs.truths] = [bool(switches) for switches in covered.switches]
    found.alone_p.put(pairs.predictions, ious.max(axis=1, initial=0), seen_p, curves.max(axis=1, initial=0))
    found.alone_p.flag[pairs.predictions] = covered.switchers


def columns(measured: Overlaps, costs: Costs, known: Geometry) -> Columns:
    """The same as the records of `find_errors`."""
    verdicts = costs.verdicts
    rows_p = np.flatnonzero(known.place_p >= 0)
    rows_t = np.flatnonzero(known.place_t >= 0)
    truths = np.concatenate([verdicts.truths_of[rows_p], rows_t])
    predictions = np.concatenate([rows_p, verdicts.predictions_of[rows_t]])
    truth = np.arange(len(truths)) >= len(rows_p)
    ious, frames, worst, broken_pair = _of_tracks(measured, known, truths, predictions)
    alone_t, alone_p = known.alone_t, known.alone_p
    shares = [prediction_shares(measured, verdicts, costs.dap)[rows_p], truth_shares(measured, verdicts, costs.dap)]
    return Columns(
        truth=truth,
        type=np.concatenate([_coded(verdicts.predictions[rows_p]), _coded(verdicts.truths[rows_t])]),
        truths=truths,
        predictions=predictions,
        ious=ious,
        shares=np.concatenate([shares[0], shares[1][rows_t]]),
        frames=frames,
        worst=worst,
        switch=np.where(truth, _at(alone_t.switch, truths), _at(alone_p.flag, predictions)),
        broken=np.where(truth, _at(alone_t.flag, truths), broken_pair),
    )


def _coded(types: np.ndarray) -> np.ndarray:
    result = np.zeros(len(types), np.int8)
    for type, code in _CODES.items():
        result[types == type] = code
    return result


def _at(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Those of the rows; for -1 a value of no meaning."""
    return values[rows] if len(values) else np.zeros(len(rows), values.dtype)


def _of_tracks(
    measured: Overlaps, known: Geometry, truths: np.ndarray, predictions: np.ndarray
) -> Sequence[np.ndarray]:
    """IoU, frames, worst frame and whether the pair is broken, of pairs and of tracks without another."""
    video_of_p = measured.inputs.predictions.videos
    video = np.where(predictions >= 0, _at(video_of_p, predictions), 0)
    both = (truths >= 0) & (predictions >= 0)
    index = known.first[video] + _at(known.place_p, predictions) * known.width[video] + _at(known.place_t, truths)
    index = np.where(both, index, -1)
    sources = ((known.pairs, index), (known.alone_t, truths), (known.alone_p, predictions))
    result = []
    for name in ("ious", "frames", "worst"):
        of_pairs, of_truths, of_predictions = (_at(getattr(facts, name), rows) for facts, rows in sources)
        result.append(np.where(both, of_pairs, np.where(truths >= 0, of_truths, of_predictions)))
    return [*result, both & _at(known.pairs.flag, index)]
