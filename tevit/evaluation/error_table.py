"""One row per track: its error type, where it is, and the AP it costs, as numpy columns and as records."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from tevit.evaluation.errors import (
    ALL_TYPES,
    TYPES,
    UNMATCHABLE,
    ErrorCosts,
    Limits,
    best_covering,
    coverage,
    find_costs,
)
from tevit.evaluation.inputs import GroundTruth, LeftOutTrack, Predictions, read_inputs
from tevit.evaluation.matching import NOTHING
from tevit.evaluation.overlaps import Overlaps, VideoPairs, compute_overlaps
from tevit.io.files import write_rows

if TYPE_CHECKING:
    import pandas

    from tevit.progress import Progress

_CODES = {type: code for code, type in enumerate(ALL_TYPES)}

ERROR_GROUPS = {
    "tracking": "Identity switches, fragments, and tracks that are right in some frames only",
    "classification": "Tracks in a wrong class",
    "masks": "Masks that do not fit, objects missed, tracks of nothing and tracks too many",
}
"""Groups of the oracle gaps; a track may belong to several."""
OUTCOMES = ("", "fixed", "broken", "both wrong", "both right")
"""What became of ground truth in a second model, B, after the first."""
OUTCOME_WORDS = {
    "fixed": "fixed by B",
    "broken": "broken by B",
    "both wrong": "wrong in both",
    "both right": "right in both",
}


@dataclass(frozen=True)
class ErrorRecord:
    """What became of one track.

    key: names the track at all limits. truth: whether it is a track of the ground truth, else a prediction. type: one
    of ALL_TYPES. truth_id, prediction_id: annotation id and place in the file from 1; the other track is the matched,
    confused or explaining one, None where there is none. The categories are theirs. score: of the prediction. iou: of
    the two tracks, else the highest with any. share: of the AP that the type costs, in [0, 1]. frames: those in which
    either track is present; frame_ious: the IoU in each. length: frames of the ground truth, else of the prediction.
    worst_frame: the one of lowest IoU, None without frames. identity_switch: (ground truth) different predictions cover
    it best in different frames, (prediction) it is one of those. fragmentation: the ground truth is covered, then not,
    then again; by any prediction, or by this one. switches: (ground truth) the frames at which another prediction
    covers it best. outcome: of OUTCOME_WORDS.
    """

    key: str
    model: str
    video_id: int
    video: str
    type: str
    truth: bool
    truth_id: int | None
    prediction_id: int | None
    truth_category_id: int | None
    category_id: int | None
    truth_class: str | None
    predicted_class: str | None
    score: float | None
    iou: float
    share: float
    frames: tuple[int, ...]
    frame_ious: tuple[float, ...]
    length: int
    worst_frame: int | None
    identity_switch: bool
    fragmentation: bool
    switches: tuple[int, ...]
    outcome: str

    @property
    def kind(self) -> str:
        """ "truth" or "prediction"."""
        return "truth" if self.truth else "prediction"


_RECORD_KEYS = (
    "kind", "type", "video_id", "truth_id", "prediction_id", "truth_category_id", "category_id", "score", "iou",
    "frames", "frame_ious", "share", "identity_switch", "fragmentation", "switches",
)  # fmt: skip
_CSV_COLUMNS = (
    "kind", "type", "video_id", "video", "truth_id", "prediction_id", "truth_class", "class", "score", "iou", "share",
    "identity_switch", "fragmentation", "first_frame", "last_frame", "frames", "worst_frame",
)  # fmt: skip
STORED_COLUMNS = (
    "truth", "type", "truth_row", "prediction_row", "iou", "share", "frames", "worst", "identity_switch",
    "fragmentation",
)  # fmt: skip
"""The columns from which `table_of` makes a whole table."""


@dataclass(frozen=True, eq=False)
class ErrorTable:
    """N tracks of one or several models: model by model, predictions before ground truth, each in file order.

    Tracks of categories that the ground truth does not list are in `records` alone. models: names. overlaps: of each
    model. cover: see Limits. model: int16 (N,), position in `models`. truth: bool (N,), rows of ground truth. type:
    int8 (N,), position in ALL_TYPES. video, truth_class, predicted_class: int64 (N,), positions in Inputs' lists, -1:
    none. truth_row, prediction_row: int64 (N,), rows of Inputs' tables, -1: none; truth_id, prediction_id: int64 (N,),
    their ids. score: float64 (N,), NaN without prediction. frames: int64 (N,), in how many either track is present.
    worst: int64 (N,), the frame of lowest IoU, -1: none. iou, share: float64 (N,), length: int64 (N,), identity_switch,
    fragmentation: bool (N,): see ErrorRecord.
    """

    models: tuple[str, ...]
    overlaps: tuple[Overlaps, ...]
    cover: float
    model: np.ndarray
    truth: np.ndarray
    type: np.ndarray
    video: np.ndarray
    truth_row: np.ndarray
    prediction_row: np.ndarray
    truth_id: np.ndarray
    prediction_id: np.ndarray
    truth_class: np.ndarray
    predicted_class: np.ndarray
    score: np.ndarray
    iou: np.ndarray
    share: np.ndarray
    frames: np.ndarray
    length: np.ndarray
    worst: np.ndarray
    identity_switch: np.ndarray
    fragmentation: np.ndarray

    def __len__(self) -> int:
        return len(self.type)

    # --- selecting rows

    @cached_property
    def error(self) -> np.ndarray:
        """bool (N,): false positives and missed ground truth."""
        return self.type < len(TYPES)

    @cached_property
    def confused(self) -> np.ndarray:
        """bool (N,): rows that the class confusion matrix counts."""
        return (self.is_type("correct", "classification", UNMATCHABLE) & ~self.truth) | self.is_type(
            "background", "missed"
        )

    @cached_property
    def order(self) -> np.ndarray:
        """int64 (N,): rows by highest ΔAP first, then by score, model and place."""
        return np.lexsort((np.arange(len(self)), -np.nan_to_num(self.score, nan=1.0), -self.share))

    @cached_property
    def outcome(self) -> np.ndarray:
        """int8 (N,), position in OUTCOMES: what became of the row's ground truth in the second model after the first.

        0 for rows without ground truth, and where there is one model alone.
        """
        result, has_truth = np.zeros(len(self), np.int8), self.truth_row >= 0
        if len(self.models) > 1:
            a, b = (self.matched_ground_truth(model)[self.truth_row[has_truth]] for model in (0, 1))
            result[has_truth] = np.select([~a & b, a & ~b, ~a & ~b], [1, 2, 3], 4)
        return result

    @cached_property
    def words(self) -> list[str]:
        """The text that a search looks through, in lower case, for each row."""
        inputs = self.overlaps[0].inputs
        videos = [f"{video.name} {video.id}" for video in inputs.videos]
        names = [*(f"{name} {name.replace('_', ' ')}" for name in inputs.categories.values()), ""]
        columns = (self.video, self.type, self.truth_class, self.predicted_class)
        return [
            f"{videos[video]} {ALL_TYPES[type]} {names[truth_class]} {names[predicted_class]}".casefold()
            for video, type, truth_class, predicted_class in zip(*(c.tolist() for c in columns), strict=True)
        ]

    def is_type(self, *types: str) -> np.ndarray:
        """bool (N,): rows of any of the types."""
        return np.isin(self.type, [_CODES[type] for type in types])

    def in_group(self, group: str) -> np.ndarray:
        """bool (N,): rows of one of ERROR_GROUPS; "tracking" also holds switches and fragments of correct tracks."""
        if group == "tracking":
            return (self.identity_switch | self.fragmentation | self.is_type("temporal")) & ~self.is_type("ignored")
        if group == "classification":
            return self.is_type("classification", "both")
        return self.is_type("spatial", "missed", "background", "duplicate", UNMATCHABLE)

    def matched_ground_truth(self, model: int) -> np.ndarray:
        """bool (G,): the ground truth that a model finds, by row of Inputs' table."""
        result = np.zeros(len(self.overlaps[model].inputs.ground_truth.ids), bool)
        result[self.truth_row[self.truth & (self.model == model) & self.is_type("correct")]] = True
        return result

    def find(self, key: str) -> int | None:
        """The row of a record's key; None where there is none."""
        match = re.fullmatch(r"(\d{1,4})([tp])(\d{1,18})", key, re.ASCII)
        if not match:
            return None
        truth, number = match[2] == "t", int(match[3])
        own = (self.truth_row if truth else self.prediction_row) == number
        rows = np.flatnonzero((self.model == int(match[1])) & (self.truth == truth) & own)
        return int(rows[0]) if len(rows) else None

    # --- one row

    def record(self, i: int) -> ErrorRecord:
        """One row, with its frames. i: in 0 to N - 1."""
        overlaps = self.overlaps[int(self.model[i])]
        pairs, video = overlaps.pairs[int(self.video[i])], overlaps.inputs.videos[int(self.video[i])]
        t, p, truth = int(self.truth_row[i]), int(self.prediction_row[i]), bool(self.truth[i])
        g = int((pairs.ground_truth == t).argmax()) if t >= 0 else None
        d = int((pairs.predictions == p).argmax()) if p >= 0 else None
        present, ious = pairs.track_ious(d, g)
        ids, worst = list(overlaps.inputs.categories), int(self.worst[i])
        truth_class, predicted_class = int(self.truth_class[i]), int(self.predicted_class[i])
        return ErrorRecord(
            key=f"{self.model[i]}{'t' if truth else 'p'}{t if truth else p}",
            model=self.models[int(self.model[i])],
            video_id=video.id,
            video=video.name,
            type=ALL_TYPES[int(self.type[i])],
            truth=truth,
            truth_id=int(self.truth_id[i]) if t >= 0 else None,
            prediction_id=int(self.prediction_id[i]) if p >= 0 else None,
            truth_category_id=ids[truth_class] if t >= 0 else None,
            category_id=ids[predicted_class] if p >= 0 else None,
            truth_class=self._class_names[truth_class],
            predicted_class=self._class_names[predicted_class],
            score=float(self.score[i]) if p >= 0 else None,
            iou=float(self.iou[i]),
            share=float(self.share[i]),
            frames=tuple(np.flatnonzero(present).tolist()),
            frame_ious=tuple(ious[present].round(6).tolist()),
            length=int(self.length[i]),
            worst_frame=worst if worst >= 0 else None,
            identity_switch=bool(self.identity_switch[i]),
            fragmentation=bool(self.fragmentation[i]),
            switches=self._switches(pairs, g) if truth and g is not None and self.identity_switch[i] else (),
            outcome=OUTCOME_WORDS.get(OUTCOMES[int(self.outcome[i])], ""),
        )

    @cached_property
    def _class_names(self) -> list[str | None]:
        """By position; None last, for position -1."""
        return [*(name.replace("_", " ") for name in self.overlaps[0].inputs.categories.values()), None]

    def _switches(self, pairs: VideoPairs, g: int) -> tuple[int, ...]:
        ious = (pairs.intersection[:, g] / np.maximum(pairs.union[:, g], 1)).astype(np.float32)
        frames, best = best_covering((ious >= self.cover) & (pairs.intersection[:, g] > 0), ious)
        return tuple(frames[np.flatnonzero(np.diff(best)) + 1].tolist())

    @cached_property
    def records(self) -> tuple[ErrorRecord, ...]:
        """All predictions in file order, then all ground truth, of one model; also tracks of unlisted categories."""
        rows = [self.record(i) for i in range(len(self))]
        videos = {video.id: video.name for video in self.overlaps[0].inputs.videos}
        rows += [_left_out(track, self.models[0], videos) for track in self.overlaps[0].inputs.left_out]
        predictions = [record for record in rows if not record.truth]
        predictions.sort(key=lambda record: record.prediction_id or 0)
        return (*predictions, *(record for record in rows if record.truth))

    # --- exports

    def to_dict(self, rows: np.ndarray | None = None) -> dict[str, list]:
        """Column name -> values, None where there is none; as `pandas.DataFrame` takes it. rows: int64 (n,), or all."""
        rows = np.arange(len(self)) if rows is None else rows
        inputs = self.overlaps[0].inputs
        has_truth, has_prediction = self.truth_row[rows] >= 0, self.prediction_row[rows] >= 0
        ids, names = [video.id for video in inputs.videos], [video.name for video in inputs.videos]
        outcomes, videos = [OUTCOME_WORDS.get(name, "") for name in OUTCOMES], self.video[rows].tolist()

        def known(column: np.ndarray, there: np.ndarray) -> list:
            return [value if ok else None for value, ok in zip(column[rows].tolist(), there.tolist(), strict=True)]

        return {
            "model": [self.models[model] for model in self.model[rows].tolist()],
            "video_id": [ids[video] for video in videos],
            "video": [names[video] for video in videos],
            "type": [ALL_TYPES[type] for type in self.type[rows].tolist()],
            "truth": self.truth[rows].tolist(),
            "truth_id": known(self.truth_id, has_truth),
            "prediction_id": known(self.prediction_id, has_prediction),
            "truth_class": [self._class_names[place] for place in self.truth_class[rows].tolist()],
            "predicted_class": [self._class_names[place] for place in self.predicted_class[rows].tolist()],
            "score": known(self.score, has_prediction),
            "iou": self.iou[rows].tolist(),
            "share": self.share[rows].tolist(),
            "frames": self.frames[rows].tolist(),
            "length": self.length[rows].tolist(),
            "worst": known(self.worst, self.worst[rows] >= 0),
            "identity_switch": self.identity_switch[rows].tolist(),
            "fragmentation": self.fragmentation[rows].tolist(),
            "outcome": [outcomes[code] for code in self.outcome[rows].tolist()],
        }

    def to_json(self) -> list[dict[str, Any]]:
        """`records` as errors.json holds them."""
        return [{name: getattr(record, name) for name in _RECORD_KEYS} for record in self.records]

    def write_csv(self, file: IO[str]) -> None:
        """`records` as errors.csv holds them. file: opened with newline=""."""
        write_rows(file, _CSV_COLUMNS, map(self._csv_row, self.records))

    def _csv_row(self, r: ErrorRecord) -> list[object]:
        names = self.overlaps[0].inputs.categories
        classes = [None if id is None else names.get(id, id) for id in (r.truth_category_id, r.category_id)]
        ends = (r.frames[0], r.frames[-1]) if r.frames else (None, None)
        numbers = r.score, round(r.iou, 6), round(r.share, 9), r.identity_switch, r.fragmentation
        frames = *ends, len(r.frames), r.worst_frame
        return [r.kind, r.type, r.video_id, r.video, r.truth_id, r.prediction_id, *classes, *numbers, *frames]


def _left_out(track: LeftOutTrack, model: str, videos: Mapping[int, str]) -> ErrorRecord:
    truth = track.kind == "annotation"
    return ErrorRecord(
        key="",
        model=model,
        video_id=track.video_id,
        video=videos[track.video_id],
        type="ignored",
        truth=truth,
        truth_id=track.id if truth else None,
        prediction_id=None if truth else track.id,
        truth_category_id=track.category_id if truth else None,
        category_id=None if truth else track.category_id,
        truth_class=None,
        predicted_class=None,
        score=None if truth else track.score,
        iou=0.0,
        share=0.0,
        frames=(),
        frame_ious=(),
        length=0,
        worst_frame=None,
        identity_switch=False,
        fragmentation=False,
        switches=(),
        outcome="",
    )


# --- making a table


@dataclass(frozen=True, eq=False)
class TrackGeometry:
    """What depends on no limit but `cover`: quantities of P pairs, then of G tracks of the ground truth alone, then of
    D predictions alone, in flat arrays.

    first: int64 (V,), the position of a video's first pair; pairs of one prediction stand together. width: int64 (V,),
    tracks of the ground truth in each video. place_t: int64 (G,), place_p: int64 (D,), each row's position in its
    video, -1: a prediction that is not among the pairs. iou, frames, worst, fragmentation: (P + G + D,), see
    ErrorTable. identity_switch: bool (P + G + D,), False for pairs.
    """

    cover: float
    first: np.ndarray
    width: np.ndarray
    place_t: np.ndarray
    place_p: np.ndarray
    iou: np.ndarray
    frames: np.ndarray
    worst: np.ndarray
    fragmentation: np.ndarray
    identity_switch: np.ndarray


def track_geometry(overlaps: Overlaps, cover: float) -> TrackGeometry:
    """overlaps: with all pairs. cover: see Limits."""
    counts = len(overlaps.inputs.ground_truth.ids), len(overlaps.inputs.predictions.ids)
    first = np.cumsum([0, *(len(pairs.predictions) * len(pairs.ground_truth) for pairs in overlaps.pairs)])
    size = int(first[-1]) + sum(counts)
    result = TrackGeometry(
        cover=cover,
        first=first[:-1],
        width=np.array([len(pairs.ground_truth) for pairs in overlaps.pairs], np.int64),
        place_t=np.full(counts[0], -1),
        place_p=np.full(counts[1], -1),
        iou=np.zeros(size),
        frames=np.zeros(size, np.int64),
        worst=np.full(size, -1),
        fragmentation=np.zeros(size, bool),
        identity_switch=np.zeros(size, bool),
    )
    for pairs, start in zip(overlaps.pairs, first.tolist(), strict=False):
        _measure_video(result, pairs, start, int(first[-1]))
    return result


def _measure_video(result: TrackGeometry, pairs: VideoPairs, start: int, total: int) -> None:
    """Fill in one video. start: its first pair. total: P."""

    def put(where: slice | np.ndarray, ious: np.ndarray, present: np.ndarray, curves: np.ndarray) -> None:
        result.iou[where], result.frames[where] = ious, present.sum(axis=1)
        lowest = np.argmin(np.where(present, curves.round(6), np.inf), axis=1) if present.shape[1] else -1
        result.worst[where] = np.where(present.any(axis=1), lowest, -1)

    d, g, t = pairs.intersection.shape
    result.place_t[pairs.ground_truth], result.place_p[pairs.predictions] = np.arange(g), np.arange(d)
    of_pairs = slice(start, start + d * g)
    of_truths, of_predictions = total + pairs.ground_truth, total + len(result.place_t) + pairs.predictions
    ious, curves = pairs.ious(), pairs.frame_ious()
    present_t, present_p = pairs.ground_truth_areas > 0, pairs.prediction_areas > 0
    covered = coverage(pairs, curves, result.cover)
    put(of_pairs, ious.ravel(), (present_p[:, None] | present_t).reshape(d * g, t), curves.reshape(d * g, t))
    put(of_truths, ious.max(axis=0, initial=0), present_t, curves.max(axis=0, initial=0))
    put(of_predictions, ious.max(axis=1, initial=0), present_p, curves.max(axis=1, initial=0))
    result.fragmentation[of_pairs], result.fragmentation[of_truths] = covered.broken_by.ravel(), covered.broken
    result.identity_switch[of_truths] = [bool(switches) for switches in covered.switches]
    result.identity_switch[of_predictions] = covered.switchers


def build_table(overlaps: Overlaps, costs: ErrorCosts, geometry: TrackGeometry, model: str = "") -> ErrorTable:
    """The table of one model at the limits of `costs`. model: its name."""
    types, inputs = costs.types, overlaps.inputs
    rows_p, rows_t = np.flatnonzero(geometry.place_p >= 0), np.flatnonzero(geometry.place_t >= 0)
    truth_row = np.concatenate([types.ground_truth_of[rows_p], rows_t])
    prediction_row = np.concatenate([rows_p, types.prediction_of[rows_t]])
    truth = np.arange(len(truth_row)) >= len(rows_p)
    names = np.concatenate([types.predictions[rows_p], types.ground_truth[rows_t]])
    codes = np.zeros(len(names), np.int8)
    for type, code in _CODES.items():
        codes[names == type] = code
    pairs = len(geometry.iou) - len(geometry.place_t) - len(geometry.place_p)
    of_truths, of_predictions = pairs + truth_row, pairs + len(geometry.place_t) + prediction_row
    alone = np.where(truth, of_truths, of_predictions)
    index, both = np.where(truth_row >= 0, of_truths, of_predictions), (truth_row >= 0) & (prediction_row >= 0)
    t, p = truth_row[both], prediction_row[both]
    video = inputs.predictions.videos[p]
    index[both] = geometry.first[video] + geometry.place_p[p] * geometry.width[video] + geometry.place_t[t]
    columns = {
        "truth": truth,
        "type": codes,
        "truth_row": truth_row,
        "prediction_row": prediction_row,
        "iou": geometry.iou[index],
        "share": np.concatenate(_shares(overlaps, costs, rows_p, rows_t)),
        "frames": geometry.frames[index],
        "worst": geometry.worst[index],
        "identity_switch": geometry.identity_switch[alone],
        "fragmentation": np.where(truth, geometry.fragmentation[alone], both & geometry.fragmentation[index]),
    }
    return table_of(overlaps, columns, geometry.cover, model)


def _shares(overlaps: Overlaps, costs: ErrorCosts, rows_p: np.ndarray, rows_t: np.ndarray) -> list[np.ndarray]:
    """float64, for rows of predictions and of ground truth: each type's ΔAP divided among its tracks.

    Among predictions in proportion to their scores; among missed ground truth so that classes with few tracks weigh as
    much as others. What concerns an annotation with the id 0 gains nothing and has none.
    """

    def fractions(weights: np.ndarray) -> np.ndarray:
        total = weights.sum()
        return weights / total if total else np.full(len(weights), 1 / max(len(weights), 1))

    types, ground_truth = costs.types, overlaps.inputs.ground_truth
    of_predictions, of_ground_truth = np.zeros(len(types.predictions)), np.zeros(len(types.ground_truth))
    weights = np.maximum(overlaps.inputs.predictions.scores, 0)
    weights[types.prediction_of[(ground_truth.ids == 0) & (types.ground_truth == "explained")]] = 0
    for type in costs.dap.keys() - {"missed"}:
        rows = np.flatnonzero(types.predictions == type)
        of_predictions[rows] = costs.dap[type] * fractions(weights[rows])
    counts = np.bincount(ground_truth.categories[~ground_truth.crowd], minlength=len(overlaps.inputs.categories))
    rows = np.flatnonzero(types.ground_truth == "missed")
    of_ground_truth[rows] = costs.dap["missed"] * fractions(
        (ground_truth.ids[rows] != 0) / counts[ground_truth.categories[rows]]
    )
    return [of_predictions[rows_p], of_ground_truth[rows_t]]


def table_of(overlaps: Overlaps, columns: Mapping[str, np.ndarray], cover: float, model: str = "") -> ErrorTable:
    """The table of one model from its STORED_COLUMNS. cover: see Limits. model: its name."""
    ground_truth, predictions = overlaps.inputs.ground_truth, overlaps.inputs.predictions
    rows_t, rows_p = columns["truth_row"], columns["prediction_row"]

    def of_tracks(of_truth: np.ndarray, of_prediction: np.ndarray) -> np.ndarray:
        return np.where(rows_t >= 0, _take(of_truth, rows_t, -1), _take(of_prediction, rows_p, -1))

    return ErrorTable(
        models=(model,),
        overlaps=(overlaps,),
        cover=cover,
        model=np.zeros(len(rows_t), np.int16),
        video=of_tracks(ground_truth.videos, predictions.videos),
        truth_id=_take(ground_truth.ids, rows_t, -1),
        prediction_id=_take(predictions.ids, rows_p, -1),
        truth_class=_take(ground_truth.categories, rows_t, -1),
        predicted_class=_take(predictions.categories, rows_p, -1),
        score=_take(predictions.scores, rows_p, np.nan),
        length=of_tracks(overlaps.ground_truth_frames, overlaps.prediction_frames),
        **columns,
    )


def _take(values: np.ndarray, rows: np.ndarray, missing: float) -> np.ndarray:
    """values[rows], `missing` where a row is -1."""
    result, known = np.full(len(rows), missing), rows >= 0
    result[known] = values[rows[known]]
    return result


def concatenate(tables: Sequence[ErrorTable]) -> ErrorTable:
    """Tables of one model each, on the same ground truth, as one."""
    names = [field.name for field in fields(ErrorTable)[4:]]
    return replace(
        tables[0],
        models=tuple(name for table in tables for name in table.models),
        overlaps=tuple(overlaps for table in tables for overlaps in table.overlaps),
        model=np.repeat(np.arange(len(tables), dtype=np.int16), [len(table) for table in tables]),
        **{name: np.concatenate([getattr(table, name) for table in tables]) for name in names},
    )


@dataclass(frozen=True, eq=False, repr=False)
class Errors:
    """The errors of one model.

    ap: AP at `limits.positive`, in [0, 1]; -1: no ground truth. dap: error type -> AP gained by fixing that type alone.
    oracle_ap: AP with all errors fixed. table: a row per track.
    """

    limits: Limits
    ap: float
    dap: Mapping[str, float]
    oracle_ap: float
    table: ErrorTable

    def __repr__(self) -> str:
        costs = ", ".join(f"{type} {self.gain(type)}" for type in self.dap)
        return f"Errors(AP{round(100 * self.limits.positive)} {100 * self.ap:.1f}; {costs})"

    def _repr_html_(self) -> str:
        from tevit.display import errors_html

        return errors_html(self)

    def to_dataframe(self) -> "pandas.DataFrame":
        """`table` with a row per track; needs pandas."""
        import pandas

        return pandas.DataFrame(self.table.to_dict())

    @property
    def records(self) -> tuple[ErrorRecord, ...]:
        """A record per track: predictions in file order, then ground truth."""
        return self.table.records

    def gain(self, type: str) -> str:
        """The AP gained by fixing a type, as +8.3, or words without ground truth."""
        return NOTHING if self.ap < 0 else f"{100 * self.dap[type]:+.1f}"


def find_errors(
    gt: GroundTruth,
    results: Predictions,
    *,
    limits: Limits | None = None,
    progress: "Progress | None" = None,
    processes: int = 1,
) -> Errors:
    """The error type of every prediction and of missed ground truth, and the AP that each type costs.

    gt, results, progress, processes: see `evaluate`. limits: IoU limits of the types.
    Raises: OSError or ValueError where something cannot be read or does not fit together.
    """
    inputs = read_inputs(gt, results)
    return analyse_errors(compute_overlaps(inputs, progress=progress, all_pairs=True, processes=processes), limits)


def analyse_errors(overlaps: Overlaps, limits: Limits | None = None) -> Errors:
    """The type of every track and what it costs. overlaps: with all pairs, classes not pooled."""
    costs = find_costs(overlaps, limits or Limits())
    table = build_table(overlaps, costs, track_geometry(overlaps, costs.limits.cover))
    return Errors(costs.limits, costs.ap, costs.dap, costs.oracle_ap, table)
