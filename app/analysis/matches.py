"""One video of an evaluation: which truth goes with which prediction, frame by frame, and where identities change; and
the list of all videos with their figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from app.analysis.comparison import Comparison, ErrorRow, ModelAnalysis
from app.projects.project import Project
from tevit.evaluation.errors import coverage, resumptions
from tevit.evaluation.overlaps import VideoPairs
from tevit.masks import ops as masks
from tevit.masks.rle import decode_texts
from tevit.results import RLE, Track, VideoResult

VideoOrder = Literal["file", "name", "AP", "errors", "cost", "length"]
VIDEO_ORDERS: tuple[VideoOrder, ...] = ("file", "name", "AP", "errors", "cost", "length")

Marks = Mapping[int, list[dict]]
"""Track id -> [{"frame": f, "kind": "switch" | "fragment"}], in the order of frames."""


@dataclass(frozen=True)
class MatchRow:
    """A row of the table of matches.

    key: as of `ErrorRow`. type: of the prediction, "missed" where there is none. matched: the prediction matches or
    explains the truth; else only one of the two is there, or the truth is matched to another prediction.
    """

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


def lines(comparison: Comparison, model: int, video_id: int) -> list[MatchRow]:
    """Matches first, by falling score, then truths that were missed, then the other predictions.

    Raises: ValueError for a video that is not there.
    """
    t = comparison.table
    here = np.flatnonzero((t.model == model) & (t.video == _place(comparison, video_id)))
    of_truths = here[t.truth[here]]
    partner = dict(zip(t.prediction_row[of_truths].tolist(), of_truths.tolist(), strict=True))
    of_predictions = here[~t.truth[here]]
    matched, others = [], []
    for index in of_predictions.tolist():
        truth = partner.get(int(t.prediction_row[index]))
        (others if truth is None else matched).append(_line(comparison.row(index), truth is not None))
    alone = [index for index in of_truths.tolist() if t.prediction_row[index] < 0]
    missed = [_line(comparison.row(index), False) for index in alone]
    return [*sorted(matched, key=_by_score), *missed, *sorted(others, key=_by_score)]


def _by_score(line: MatchRow) -> float:
    return -(line.score or 0)


def _line(found: ErrorRow, matched: bool) -> MatchRow:
    return MatchRow(
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


def _place(comparison: Comparison, video_id: int) -> int:
    place = comparison.video_places.get(video_id)
    if place is None:
        raise ValueError(f"{comparison.project.name} has no video {video_id}")
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


def curve(comparison: Comparison, model: int, video_id: int, truth_id: int | None, prediction_id: int | None) -> Curve:
    """Of a pair, or of a track alone. Raises: ValueError for a video or a track that is not there."""
    found, place = comparison.models[model], _place(comparison, video_id)
    pairs = found.overlaps.pairs[place]
    g = _position(found.overlaps.inputs.ground_truth.ids[pairs.ground_truth], truth_id, "annotation")
    d = _position(found.overlaps.inputs.predictions.ids[pairs.predictions], prediction_id, "prediction")
    ious, seen = _frame_ious(pairs, d, g)
    length = comparison.overlaps.inputs.videos[place].length
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


def frames_of(comparison: Comparison, index: int) -> Curve:
    """The curve of a row of the table."""
    found = comparison.row(index)
    return curve(comparison, int(comparison.table.model[index]), found.video_id, found.truth_id, found.prediction_id)


# --- marks on the lanes


def marks(comparison: Comparison, model: int, video_id: int) -> tuple[Marks, Marks]:
    """Of the truths and of one model's predictions, for their lanes.

    On a truth: where another prediction takes over, and where it is covered again after a gap. On a prediction: where
    it takes a truth over, and where it covers its own truth again. Raises: ValueError.
    """
    found = comparison.models[model]
    pairs = found.overlaps.pairs[_place(comparison, video_id)]
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


def _ids_t(found: ModelAnalysis, pairs: VideoPairs) -> list[int]:
    return found.overlaps.inputs.ground_truth.ids[pairs.ground_truth].tolist()


def _ids_p(found: ModelAnalysis, pairs: VideoPairs) -> list[int]:
    return found.overlaps.inputs.predictions.ids[pairs.predictions].tolist()


def _takes(ious: np.ndarray, pairs: VideoPairs, d: int, g: int, frame: int, found: ModelAnalysis) -> bool:
    """Whether this prediction covers the truth best there, as `coverage` counts."""
    covers = (ious[:, g, frame] >= found.limits.cover) & (pairs.common[:, g, frame] > 0)
    return bool(covers[d]) and int(np.argmax(np.where(covers, ious[:, g, frame], -1))) == d


def _own_truths(found: ModelAnalysis, pairs: VideoPairs) -> list[int | None]:
    """The position of the truth that each prediction is about."""
    columns = found.columns
    about = dict(
        zip(columns.predictions[~columns.truth].tolist(), columns.truths[~columns.truth].tolist(), strict=True)
    )
    places = {row: g for g, row in enumerate(pairs.ground_truth.tolist())}
    return [places.get(about.get(row, -1)) for row in pairs.predictions.tolist()]


def _marks(switches: Sequence[int], fragments: Sequence[int]) -> list[dict]:
    found = [*((frame, "switch") for frame in switches), *((frame, "fragment") for frame in fragments)]
    return [{"frame": int(frame), "kind": kind} for frame, kind in sorted(found)]


def _some(found: dict[int, list[dict]]) -> dict[int, list[dict]]:
    return {id: own for id, own in found.items() if own}


def above(result: VideoResult, cutoff: float) -> VideoResult:
    """The tracks of at least this score."""
    return replace(result, tracks=tuple(track for track in result.tracks if track.score >= cutoff))


# --- differences of masks

KINDS = {1: "agreed", 2: "missed", 3: "invented"}
"""Track id, and category id, of each kind of pixels -> its name."""
COLOURS = {"agreed": (59, 174, 109), "missed": (217, 74, 112), "invented": (227, 160, 32)}
"""RGB, told apart by colour-blind people too: their brightness differs."""


def difference(
    truth: VideoResult, prediction: VideoResult, truth_id: int | None = None, prediction_id: int | None = None
) -> VideoResult:
    """Pixels of both, of the truth alone, of the prediction alone: tracks 1, 2, 3 of the classes KINDS.

    truth_id, prediction_id: of one track each; None: all of that side together (crowds are left out). What is nowhere
    there is left out. Raises: ValueError for a track that is not there, or videos of different sizes or lengths.
    """
    if (truth.size_hw, truth.length) != (prediction.size_hw, prediction.length):
        raise ValueError(
            f"expected both sides of {truth.size_hw} and {truth.length} frames, got {prediction.size_hw} and "
            f"{prediction.length}"
        )
    a, b = (
        _together(_chosen(truth, truth_id), truth.length),
        _together(_chosen(prediction, prediction_id), truth.length),
    )
    kinds = (_both(a, b), _both(a, _complements(b)), _both(b, _complements(a)))
    tracks = [_track(id, rles) for id, rles in zip(KINDS, kinds, strict=True) if any(rles)]
    return replace(truth, categories=KINDS, tracks=tuple(tracks))


def _chosen(result: VideoResult, id: int | None) -> list[Track]:
    found = [track for track in result.tracks if (not track.iscrowd if id is None else track.id == id)]
    if id is not None and not found:
        raise ValueError(f"video {result.name!r} has no track {id}")
    return found


def _together(tracks: Sequence[Track], length: int) -> list[RLE | None]:
    found = []
    for frame in range(length):
        here = [rle for track in tracks if (rle := track.rles[frame]) is not None]
        found.append(masks.union(here) if here else None)
    return found


def _both(a: Sequence[RLE | None], b: Sequence[RLE | bool | None]) -> list[RLE | None]:
    """The common pixels in each frame; True in b: everything."""
    found: list[RLE | None] = []
    for one, other in zip(a, b, strict=True):
        if one is None or other is None or other is False:
            found.append(None)
        else:
            found.append(one if isinstance(other, bool) else masks.coco.merge([one, other], intersect=True))
    areas = masks.areas(found)
    return [rle if area else None for rle, area in zip(found, areas.tolist(), strict=True)]


def _complements(rles: Sequence[RLE | None]) -> list[RLE | bool]:
    """Everything but the mask in each frame, on the run lengths; True where there is none."""
    there = [rle for rle in rles if rle is not None]
    if not there:
        return [True] * len(rles)
    pixels = np.array([rle["size"][0] * rle["size"][1] for rle in there], np.int64)
    decoded = decode_texts([rle["counts"] for rle in there], pixels)
    parts = (decoded.lengths[start:stop].ravel() for start, stop in zip(decoded.first, decoded.first[1:], strict=False))
    plain = [{"size": rle["size"], "counts": _flipped(runs)} for rle, runs in zip(there, parts, strict=True)]
    height, width = there[0]["size"]
    made = iter(masks.coco.frPyObjects(plain, height, width))
    return [True if rle is None else next(made) for rle in rles]


def _flipped(runs: np.ndarray) -> np.ndarray:
    """Run lengths of the complement, uint32: foreground first, so that a leading 0 goes or comes."""
    runs = runs[:-1] if runs[-1] == 0 else runs
    return (runs[1:] if runs[0] == 0 else np.concatenate([[0], runs])).astype(np.uint32)


def _track(id: int, rles: list[RLE | None]) -> Track:
    return Track(id, id, 1.0, tuple(rles), masks.to_boxes_xyxy(rles), masks.areas(rles))


# --- the list of videos


@dataclass(frozen=True)
class VideoRow:
    """A row of the list of videos. length: frames. truths: tracks of ground truth, None without any. predictions:
    tracks of each model. For each model, once evaluated: ap in [0, 1], None without ground truth in the video; errors;
    cost, as share of the AP lost."""

    id: int
    name: str
    length: int
    truths: int | None
    predictions: tuple[int, ...]
    ap: tuple[float | None, ...] = ()
    errors: tuple[int, ...] = ()
    cost: tuple[float, ...] = ()


def video_rows(project: Project, comparison: Comparison | None = None) -> list[VideoRow]:
    """All videos in the order of the file. comparison: of the project's models, or of some of them."""
    results = project.results
    if comparison is not None:
        results = [project.results[project.model_index(model.name)] for model in comparison.models]
    rows = [
        VideoRow(info.id, info.name, info.length, None, tuple(len(found.of_video(info.id)) for found in results))
        for info in project.dataset.videos.values()
    ]
    if comparison is None:
        return rows
    table, places = comparison.table, comparison.video_places
    shape = len(comparison.models), len(places)
    cells = table.model.astype(np.int64) * len(places) + table.video
    errors = np.bincount(cells[table.error], minlength=shape[0] * shape[1]).reshape(shape)
    cost = np.bincount(cells, weights=table.share, minlength=shape[0] * shape[1]).reshape(shape)
    measured = []
    for row in rows:
        figures, place = [model.by_video[row.id] for model in comparison.models], places[row.id]
        measured.append(
            replace(
                row,
                truths=figures[0].truths,
                ap=tuple(None if figure.AP < 0 else figure.AP for figure in figures),
                errors=tuple(errors[:, place].tolist()),
                cost=tuple(cost[:, place].tolist()),
            )
        )
    return measured


def filter_videos(
    rows: Sequence[VideoRow], text: str = "", order: VideoOrder = "file", model: int = 0
) -> list[VideoRow]:
    """Rows whose name or id has all words of `text`; lowest AP, most errors, highest cost or longest first.

    model: index of the model whose AP, errors and cost count. Raises: ValueError for an unknown order.
    """
    if order not in VIDEO_ORDERS:
        raise ValueError(f"expected to sort by one of {', '.join(VIDEO_ORDERS)}, got {str(order)[:40]!r}")
    words = text.casefold().split()
    matching = [row for row in rows if all(word in f"{row.name} {row.id}".casefold() for word in words)]

    def of_model(values: Sequence[Any]) -> Any:
        return values[model] if model < len(values) else None

    keys = {
        "file": lambda row: 0,
        "name": lambda row: row.name,
        "AP": lambda row: 2 if of_model(row.ap) is None else of_model(row.ap),
        "errors": lambda row: -(of_model(row.errors) or 0),
        "cost": lambda row: -(of_model(row.cost) or 0),
        "length": lambda row: -row.length,
    }
    return sorted(matching, key=keys[order])


def neighbour_video(rows: Sequence[VideoRow], video_id: int, step: int) -> int | None:
    """Id of the video `step` rows after another (before it, if negative); None beyond the ends."""
    ids = [row.id for row in rows]
    place = ids.index(video_id) + step if video_id in ids else -1
    return ids[place] if 0 <= place < len(ids) else None
