"""One record a track: what became of it, where, and what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tevit.evaluation.errors import FALSE_POSITIVES, TYPES, Costs, Limits, Verdicts, coverage, find_costs
from tevit.evaluation.inputs import LeftOutTrack
from tevit.evaluation.overlaps import Overlaps, VideoPairs


@dataclass(frozen=True)
class ErrorRecord:
    """What became of one track.

    kind: "prediction" or "truth". type: one of TYPES, or correct; explained (a truth that an error of class or place
    stands for); ignored (it does not count: crowd, what takes a crowd, and what the metric leaves out).
    truth_id, prediction_id: annotation id and place in the file from 1; the other track is the one found, mistaken or
    explaining, None where there is none. The classes are theirs. iou: of the two tracks, else the highest with any.
    frames: those in which either is there; frame_ious: in each of them. share: of the AP that its type costs.
    identity_switch: (truth) different predictions cover it best in different frames, (prediction) it is one of those.
    fragmentation: the truth is covered, then not, then again; by any prediction, or by this one. switches: the frames
    at which another prediction takes over.
    """

    kind: str
    type: str
    video_id: int
    truth_id: int | None
    prediction_id: int | None
    truth_category_id: int | None
    category_id: int | None
    score: float | None
    iou: float
    frames: tuple[int, ...]
    frame_ious: tuple[float, ...]
    share: float = 0.0
    identity_switch: bool = False
    fragmentation: bool = False
    switches: tuple[int, ...] = ()

    @property
    def worst_frame(self) -> int | None:
        """The frame with the lowest IoU."""
        return self.frames[int(np.argmin(self.frame_ious))] if self.frames else None


def records(
    measured: Overlaps, verdicts: Verdicts, dap: Mapping[str, float], limits: Limits
) -> tuple[ErrorRecord, ...]:
    """Of all predictions in file order, then of all truths."""
    shares = prediction_shares(measured, verdicts, dap), truth_shares(measured, verdicts, dap)
    sides: tuple[dict[int, ErrorRecord], dict[int, ErrorRecord]] = {}, {}
    for pairs in measured.pairs:
        for found, side in zip(_of_video(measured, verdicts, pairs, shares, limits), sides, strict=True):
            side.update(found)
    left_out = measured.inputs.left_out
    found = [sides[0][row] for row in sorted(sides[0])]
    found += [_left_out(item) for item in left_out if item.what == "prediction"]
    truths = [sides[1][row] for row in sorted(sides[1])]
    truths += [_left_out(item) for item in left_out if item.what == "annotation"]
    return (*sorted(found, key=lambda record: record.prediction_id or 0), *truths)


def prediction_shares(measured: Overlaps, verdicts: Verdicts, dap: Mapping[str, float]) -> np.ndarray:
    """float64 (N,): the type's dAP, dealt out by score."""
    shares = np.zeros(len(verdicts.predictions))
    for type in FALSE_POSITIVES:
        rows = np.flatnonzero(verdicts.predictions == type)
        shares[rows] = dap[type] * _fractions(np.maximum(measured.inputs.predictions.scores[rows], 0))
    return shares


def truth_shares(measured: Overlaps, verdicts: Verdicts, dap: Mapping[str, float]) -> np.ndarray:
    """float64 (G,): dAP of what was missed, dealt out so that classes with few truths weigh as much as others."""
    truths = measured.inputs.ground_truth
    counts = np.bincount(truths.categories[~truths.crowd], minlength=len(measured.inputs.categories))
    rows = np.flatnonzero(verdicts.truths == "missed")
    shares = np.zeros(len(verdicts.truths))
    shares[rows] = dap["missed"] * _fractions(1 / counts[truths.categories[rows]])
    return shares


def _fractions(weights: np.ndarray) -> np.ndarray:
    """Of their sum; equal ones where that is 0."""
    total = weights.sum()
    return weights / total if total else np.full(len(weights), 1 / max(len(weights), 1))


def _of_video(
    measured: Overlaps, verdicts: Verdicts, pairs: VideoPairs, shares: tuple[np.ndarray, np.ndarray], limits: Limits
) -> tuple[dict[int, ErrorRecord], dict[int, ErrorRecord]]:
    """Row -> record, of predictions and of truths."""
    video = _Video(measured, pairs, limits)
    place_p = {row: d for d, row in enumerate(pairs.predictions.tolist())}
    place_t = {row: g for g, row in enumerate(pairs.ground_truth.tolist())}
    predictions = {
        row: video.prediction(
            d, place_t.get(int(verdicts.truths_of[row])), str(verdicts.predictions[row]), float(shares[0][row])
        )
        for row, d in place_p.items()
    }
    truths = {
        row: video.truth(
            g, place_p.get(int(verdicts.predictions_of[row])), str(verdicts.truths[row]), float(shares[1][row])
        )
        for row, g in place_t.items()
    }
    return predictions, truths


class _Video:
    """Makes the records of one video's tracks; d and g are their positions in its pairs."""

    def __init__(self, measured: Overlaps, pairs: VideoPairs, limits: Limits):
        self._inputs, self._pairs = measured.inputs, pairs
        self._ious, self._frame_ious = pairs.ious(), pairs.frame_ious()
        self._coverage = coverage(pairs, self._frame_ious, limits.cover)
        self._categories = list(measured.inputs.categories)

    def prediction(self, d: int, g: int | None, type: str, share: float) -> ErrorRecord:
        broken = g is not None and bool(self._coverage.broken_by[d, g])
        return self._record("prediction", type, d, g, share, bool(self._coverage.switchers[d]), broken, ())

    def truth(self, g: int, d: int | None, type: str, share: float) -> ErrorRecord:
        switches = self._coverage.switches[g]
        return self._record("truth", type, d, g, share, bool(switches), bool(self._coverage.broken[g]), switches)

    def _frames(self, d: int | None, g: int | None) -> tuple[np.ndarray, np.ndarray]:
        """bool (T,): where one of the tracks is there; and their IoU, of a track alone the highest with any."""
        if d is None:
            return self._pairs.truth_areas[g] > 0, self._frame_ious[:, g].max(axis=0, initial=0)
        if g is None:
            return self._pairs.prediction_areas[d] > 0, self._frame_ious[d].max(axis=0, initial=0)
        return (self._pairs.prediction_areas[d] > 0) | (self._pairs.truth_areas[g] > 0), self._frame_ious[d, g]

    def _record(
        self,
        kind: str,
        type: str,
        d: int | None,
        g: int | None,
        share: float,
        identity_switch: bool,
        fragmentation: bool,
        switches: tuple[int, ...],
    ) -> ErrorRecord:
        truths, predictions = self._inputs.ground_truth, self._inputs.predictions
        row_t = None if g is None else int(self._pairs.ground_truth[g])
        row_p = None if d is None else int(self._pairs.predictions[d])
        seen, curve = self._frames(d, g)
        return ErrorRecord(
            kind=kind,
            type=type,
            video_id=self._inputs.videos[self._pairs.video].id,
            truth_id=None if row_t is None else int(truths.ids[row_t]),
            prediction_id=None if row_p is None else int(predictions.ids[row_p]),
            truth_category_id=None if row_t is None else self._categories[truths.categories[row_t]],
            category_id=None if row_p is None else self._categories[predictions.categories[row_p]],
            score=None if row_p is None else float(predictions.scores[row_p]),
            iou=float(self._ious[slice(None) if d is None else d, slice(None) if g is None else g].max(initial=0)),
            frames=tuple(np.flatnonzero(seen).tolist()),
            frame_ious=tuple(curve[seen].round(6).tolist()),
            share=share,
            identity_switch=identity_switch,
            fragmentation=fragmentation,
            switches=switches,
        )


def _left_out(item: LeftOutTrack) -> ErrorRecord:
    truth = item.what == "annotation"
    return ErrorRecord(
        kind="truth" if truth else "prediction",
        type="ignored",
        video_id=item.video_id,
        truth_id=item.id if truth else None,
        prediction_id=None if truth else item.id,
        truth_category_id=item.category_id if truth else None,
        category_id=None if truth else item.category_id,
        score=None if truth else item.score,
        iou=0.0,
        frames=(),
        frame_ious=(),
    )


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
    truths, predictions = measured.inputs.ground_truth, measured.inputs.predictions
    sizes = [len(pairs.predictions) * len(pairs.ground_truth) for pairs in measured.pairs]
    first = np.cumsum([0, *sizes])
    found = Geometry(
        first=first[:-1],
        width=np.array([len(pairs.ground_truth) for pairs in measured.pairs], np.int64),
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
    found.place_t[pairs.ground_truth], found.place_p[pairs.predictions] = np.arange(g), np.arange(d)
    ious, curves = pairs.ious(), pairs.frame_ious()
    seen_t, seen_p = pairs.truth_areas > 0, pairs.prediction_areas > 0
    covered = coverage(pairs, curves, cover)
    own = slice(start, start + d * g)
    either = (seen_p[:, None] | seen_t[None]).reshape(d * g, t)
    found.pairs.put(own, ious.ravel(), either, curves.reshape(d * g, t))
    found.pairs.flag[own] = covered.broken_by.ravel()
    found.alone_t.put(pairs.ground_truth, ious.max(axis=0, initial=0), seen_t, curves.max(axis=0, initial=0))
    found.alone_t.flag[pairs.ground_truth] = covered.broken
    found.alone_t.switch[pairs.ground_truth] = [bool(switches) for switches in covered.switches]
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


@dataclass(frozen=True, eq=False)
class Errors:
    """ap: the AP at `limits.positive` that is taken apart, in [0, 1]; -1: no ground truth. dap: type -> AP gained by
    mending that type alone. mended: AP with all mended. records: predictions in file order, then truths."""

    limits: Limits
    ap: float
    dap: Mapping[str, float]
    mended: float
    records: tuple[ErrorRecord, ...]


def find_errors(measured: Overlaps, limits: Limits | None = None) -> Errors:
    """Name every error and what it costs. measured: with all pairs, and classes not pooled."""
    found = find_costs(measured, limits or Limits())
    rows = records(measured, found.verdicts, found.dap, found.limits)
    return Errors(found.limits, found.ap, found.dap, found.mended, rows)
