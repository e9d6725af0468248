"""One record a track: what became of it, where, and what it costs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tevit.evaluation.coverage import coverage
from tevit.evaluation.error_types import FALSE_POSITIVES, Limits, Verdicts
from tevit.evaluation.inputs import LeftOut
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
    truths = measured.inputs.truths
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
    place_t = {row: g for g, row in enumerate(pairs.truths.tolist())}
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
        truths, predictions = self._inputs.truths, self._inputs.predictions
        row_t = None if g is None else int(self._pairs.truths[g])
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


def _left_out(item: LeftOut) -> ErrorRecord:
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
