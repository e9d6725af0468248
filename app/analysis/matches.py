"""One video of an evaluation: which truth goes with which prediction, frame by frame, and where identities change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.analysis.comparison import Findings, ModelFindings
from app.analysis.table import Row, row, table
from tevit.evaluation.coverage import coverage, resumptions
from tevit.evaluation.error_columns import ALL_TYPES
from tevit.evaluation.overlaps import VideoPairs
from tevit.results import VideoResult

Marks = Mapping[int, list[dict]]
"""Track id -> [{"frame": f, "kind": "switch" | "fragment"}], in the order of frames."""


@dataclass(frozen=True)
class Line:
    """A line of the table of matches. key: as of `Row`. type: of the prediction, "missed" where there is none. matched:
    the prediction found or explains the truth; else only one of the two is there, or the truth is another's."""

    key: str
    matched: bool
    type: str
    truth_id: int | None
    prediction_id: int | None
    truth_class: str | None
    predicted_class: str | None
    iou: float
    score: float | None
    share: float
    worst: int | None
    identity_switch: bool
    fragmentation: bool
    outcome: str


def lines(findings: Findings, model: int, video_id: int) -> list[Line]:
    """Matches first, by falling score, then truths that were missed, then the other predictions.

    Raises: ValueError for a video that is not there.
    """
    t = table(findings)
    here = np.flatnonzero((t.model == model) & (t.video == _place(findings, video_id)))
    of_truths = here[t.truth[here]]
    partner = dict(zip(t.prediction_row[of_truths].tolist(), of_truths.tolist(), strict=True))
    of_predictions = here[~t.truth[here]]
    matched, others = [], []
    for index in of_predictions.tolist():
        truth = partner.get(int(t.prediction_row[index]))
        (others if truth is None else matched).append(_line(row(findings, index), truth is not None))
    alone = [index for index in of_truths.tolist() if t.prediction_row[index] < 0]
    missed = [_line(row(findings, index), False) for index in alone]
    return [*sorted(matched, key=_by_score), *missed, *sorted(others, key=_by_score)]


def _by_score(line: Line) -> float:
    return -(line.score or 0)


def _line(found: Row, matched: bool) -> Line:
    return Line(
        key=found.key,
        matched=matched,
        type=found.type,
        truth_id=found.truth_id,
        prediction_id=found.prediction_id,
        truth_class=found.truth_class,
        predicted_class=found.predicted_class,
        iou=found.iou,
        score=found.score,
        share=found.share,
        worst=found.worst,
        identity_switch=found.identity_switch,
        fragmentation=found.fragmentation,
        outcome=found.outcome,
    )


def _place(findings: Findings, video_id: int) -> int:
    place = findings.video_places.get(video_id)
    if place is None:
        raise ValueError(f"{findings.project.name} has no video {video_id}")
    return place


# --- frame by frame


@dataclass(frozen=True)
class Curve:
    """IoU in every frame of the video, in [0, 1], None where neither track is there. worst, median, best: frames, None
    where there is none. Of a track alone it is the highest with any of the other side."""

    ious: tuple[float | None, ...]
    worst: int | None
    median: int | None
    best: int | None

    @property
    def frames(self) -> tuple[int, ...]:
        """Where either track is there."""
        return tuple(frame for frame, iou in enumerate(self.ious) if iou is not None)


def curve(findings: Findings, model: int, video_id: int, truth_id: int | None, prediction_id: int | None) -> Curve:
    """Of a pair, or of a track alone. Raises: ValueError for a video or a track that is not there."""
    found, place = findings.models[model], _place(findings, video_id)
    pairs = found.measured.pairs[place]
    g = _position(found.measured.inputs.truths.ids[pairs.truths], truth_id, "annotation")
    d = _position(found.measured.inputs.predictions.ids[pairs.predictions], prediction_id, "prediction")
    ious, seen = _frame_ious(pairs, d, g)
    length = findings.measured.inputs.videos[place].length
    return _curve(ious[:length], seen[:length], length)


def _position(ids: np.ndarray, id: int | None, what: str) -> int | None:
    if id is None:
        return None
    found = np.flatnonzero(ids == id)
    if not len(found):
        raise ValueError(f"this video has no {what} {id} at this cut-off")
    return int(found[0])


def _frame_ious(pairs: VideoPairs, d: int | None, g: int | None) -> tuple[np.ndarray, np.ndarray]:
    """IoU, float32 (T,), and bool (T,), where either is there."""
    ious = pairs.frame_ious()
    seen = np.zeros(ious.shape[2], bool)
    if d is not None:
        seen |= pairs.prediction_areas[d] > 0
    if g is not None:
        seen |= pairs.truth_areas[g] > 0
    chosen = ious[slice(None) if d is None else [d]][:, slice(None) if g is None else [g]]
    return chosen.max(axis=(0, 1), initial=0), seen


def _curve(ious: np.ndarray, seen: np.ndarray, length: int) -> Curve:
    values = [round(iou, 4) if there else None for iou, there in zip(ious.tolist(), seen.tolist(), strict=True)]
    values += [None] * (length - len(values))
    frames = np.flatnonzero(seen)
    if not len(frames):
        return Curve(tuple(values), None, None, None)
    order = frames[np.argsort(ious[frames].round(6), kind="stable")].tolist()
    best = int(frames[np.argmax(ious[frames])])
    return Curve(tuple(values), order[0], order[(len(order) - 1) // 2], best)


def frames_of(findings: Findings, index: int) -> Curve:
    """The curve of a row of the table."""
    found = row(findings, index)
    return curve(findings, int(table(findings).model[index]), found.video_id, found.truth_id, found.prediction_id)


# --- marks on the lanes


def marks(findings: Findings, model: int, video_id: int) -> tuple[Marks, Marks]:
    """Of the truths and of one model's predictions, for their lanes.

    On a truth: where another prediction takes over, and where it is covered again after a gap. On a prediction: where
    it takes a truth over, and where it covers its own truth again. Raises: ValueError.
    """
    found = findings.models[model]
    pairs = found.measured.pairs[_place(findings, video_id)]
    ious = pairs.frame_ious()
    covered, (again, again_by) = coverage(pairs, ious, found.limits.cover), resumptions(pairs, ious, found.limits.cover)
    truths = {id: _marks(covered.switches[g], again[g]) for g, id in enumerate(_ids_t(found, pairs))}
    predictions = {}
    own = _own_truths(found, pairs)
    for d, id in enumerate(_ids_p(found, pairs)):
        taken = [
            f for g, switches in enumerate(covered.switches) for f in switches if _takes(ious, pairs, d, g, f, found)
        ]
        g = own[d]
        predictions[id] = _marks(taken, [] if g is None else again_by[d][g])
    return _some(truths), _some(predictions)


def _ids_t(found: ModelFindings, pairs: VideoPairs) -> list[int]:
    return found.measured.inputs.truths.ids[pairs.truths].tolist()


def _ids_p(found: ModelFindings, pairs: VideoPairs) -> list[int]:
    return found.measured.inputs.predictions.ids[pairs.predictions].tolist()


def _takes(ious: np.ndarray, pairs: VideoPairs, d: int, g: int, frame: int, found: ModelFindings) -> bool:
    """Whether this prediction covers the truth best there, as `coverage` counts."""
    covers = (ious[:, g, frame] >= found.limits.cover) & (pairs.common[:, g, frame] > 0)
    return bool(covers[d]) and int(np.argmax(np.where(covers, ious[:, g, frame], -1))) == d


def _own_truths(found: ModelFindings, pairs: VideoPairs) -> list[int | None]:
    """The position of the truth that each prediction is about."""
    columns = found.columns
    about = dict(
        zip(columns.predictions[~columns.truth].tolist(), columns.truths[~columns.truth].tolist(), strict=True)
    )
    places = {row: g for g, row in enumerate(pairs.truths.tolist())}
    return [places.get(about.get(row, -1)) for row in pairs.predictions.tolist()]


def _marks(switches: Sequence[int], fragments: Sequence[int]) -> list[dict]:
    found = [*((frame, "switch") for frame in switches), *((frame, "fragment") for frame in fragments)]
    return [{"frame": int(frame), "kind": kind} for frame, kind in sorted(found)]


def _some(found: dict[int, list[dict]]) -> dict[int, list[dict]]:
    return {id: own for id, own in found.items() if own}


def types_of(findings: Findings, model: int, video_id: int, side: str) -> dict[int, str]:
    """Track id -> type of error, of one side ("truth" or "prediction") of a video. Raises: ValueError."""
    t = table(findings)
    here = (t.model == model) & (t.video == _place(findings, video_id)) & (t.truth == (side == "truth"))
    rows = np.flatnonzero(here)
    ids = t.truth_id if side == "truth" else t.prediction_id
    return {int(ids[index]): ALL_TYPES[int(t.type[index])] for index in rows.tolist()}


def above(result: VideoResult, cutoff: float) -> VideoResult:
    """The tracks of at least this score."""
    return replace(result, tracks=tuple(track for track in result.tracks if track.score >= cutoff))
