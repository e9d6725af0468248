"""All tracks of all models as one table: what the list, the plots and every filter read."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from app.analysis.comparison import Findings, ModelFindings
from tevit.evaluation.error_columns import ALL_TYPES
from tevit.evaluation.error_types import TYPES

LENSES = {
    "tracking": "Identity switches, fragments, and tracks that are right in some frames only",
    "classification": "Tracks in a wrong class",
    "masks": "Masks that do not fit, objects missed, tracks of nothing and tracks too many",
}
"""The second lens; a track may be seen through more than one."""
OUTCOMES = ("", "fixed", "broken", "both wrong", "both right")
OUTCOME_WORDS = {
    "fixed": "fixed by B",
    "broken": "broken by B",
    "both wrong": "wrong in both",
    "both right": "right in both",
}
_CODE = {type: code for code, type in enumerate(ALL_TYPES)}


@dataclass(frozen=True, eq=False)
class Table:
    """N rows: model by model, predictions before truths. Classes and videos are positions in the findings' lists.

    model: int16 (N,). truth: bool (N,), a truth's row. type: int8 (N,), position in ALL_TYPES. video, truth_class,
    predicted_class: int64 (N,). truth_id, prediction_id: int64 (N,), meaningless where truth_row or prediction_row
    is -1. score: float64 (N,), NaN without prediction. iou, share: float64 (N,). frames: int64 (N,), in how many either
    track is there; length: int64 (N,), frames of the truth, of the prediction where there is none. worst: int64 (N,),
    -1 for none. switch, broken: bool (N,). outcome: int8 (N,), position in OUTCOMES: what became of the row's truth in
    B after A; of a row without truth, or with one model alone, "".
    """

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
    switch: np.ndarray
    broken: np.ndarray
    outcome: np.ndarray
    words: Sequence[str]

    @cached_property
    def error(self) -> np.ndarray:
        """bool (N,): rows that are errors: false positives and missed truths."""
        return self.type < len(TYPES)

    @cached_property
    def confused(self) -> np.ndarray:
        """bool (N,): rows that the class confusion matrix counts."""
        of_prediction = np.isin(self.type, [_CODE["correct"], _CODE["classification"]]) & ~self.truth
        return of_prediction | self.is_type("background", "missed")

    @cached_property
    def order(self) -> np.ndarray:
        """int64 (N,): rows by cost, the costliest first; then by score, model and place."""
        score = np.nan_to_num(self.score, nan=1.0)
        return np.lexsort((np.arange(len(self.model)), -score, -self.share))

    def is_type(self, *types: str) -> np.ndarray:
        """bool (N,): rows of any of the types."""
        return np.isin(self.type, [_CODE[type] for type in types])

    def seen_through(self, lens: str) -> np.ndarray:
        """bool (N,): what belongs to a lens, see LENSES; switches and fragments of truths that were found, too."""
        if lens == "tracking":
            return (self.switch | self.broken | self.is_type("temporal")) & ~self.is_type("ignored")
        if lens == "classification":
            return self.is_type("classification", "both")
        return self.is_type("spatial", "missed", "background", "duplicate")


def table(findings: Findings) -> Table:
    """The table of some findings; it is kept with them."""
    kept = findings.__dict__
    if "table" not in kept:
        kept["table"] = _table(findings)
    return kept["table"]


def _table(findings: Findings) -> Table:
    parts = [_part(findings, index, model) for index, model in enumerate(findings.models)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Table(
        **joined,
        outcome=_outcomes(findings, joined["truth_row"]),
        words=_words(findings, joined),
    )


def _part(findings: Findings, index: int, model: ModelFindings) -> dict[str, np.ndarray]:
    found, inputs = model.columns, model.measured.inputs
    truths, predictions = inputs.truths, inputs.predictions
    rows_t, rows_p = found.truths, found.predictions
    has_t, has_p = rows_t >= 0, rows_p >= 0
    frames_t, frames_p = _at(model.measured.truth_frames, rows_t), _at(model.measured.prediction_frames, rows_p)
    return {
        "model": np.full(len(rows_t), index, np.int16),
        "truth": found.truth,
        "type": found.type,
        "video": np.where(has_p, _at(predictions.videos, rows_p), _at(truths.videos, rows_t)),
        "truth_row": rows_t,
        "prediction_row": rows_p,
        "truth_id": np.where(has_t, _at(truths.ids, rows_t), -1),
        "prediction_id": np.where(has_p, _at(predictions.ids, rows_p), -1),
        "truth_class": np.where(has_t, _at(truths.categories, rows_t), -1),
        "predicted_class": np.where(has_p, _at(predictions.categories, rows_p), -1),
        "score": np.where(has_p, _at(predictions.scores, rows_p), np.nan),
        "iou": found.ious,
        "share": found.shares,
        "frames": found.frames,
        "length": np.where(has_t, frames_t, frames_p),
        "worst": found.worst,
        "switch": found.switch,
        "broken": found.broken,
    }


def _at(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return values[rows] if len(values) else np.zeros(len(rows), values.dtype)


def found_truths(model: ModelFindings) -> np.ndarray:
    """bool (G,): the truths that a model finds, by row of the truths."""
    found, columns = np.zeros(len(model.measured.inputs.truths.ids), bool), model.columns
    found[columns.truths[columns.truth]] = columns.type[columns.truth] == _CODE["correct"]
    return found


def _outcomes(findings: Findings, rows: np.ndarray) -> np.ndarray:
    if len(findings.models) < 2:
        return np.zeros(len(rows), np.int8)
    in_a, in_b = (_at(found_truths(model), rows) for model in findings.models[:2])
    codes = np.select([~in_a & in_b, in_a & ~in_b, ~in_a & ~in_b], [1, 2, 3], 4).astype(np.int8)
    return np.where(rows >= 0, codes, 0).astype(np.int8)


def _words(findings: Findings, joined: dict[str, np.ndarray]) -> list[str]:
    """What a search looks through, in lower case."""
    videos = [f"{video.name} {video.id}" for video in findings.measured.inputs.videos]
    names = [*(f"{name} {name.replace('_', ' ')}" for name in findings.categories.values()), ""]
    return [
        f"{videos[video]} {ALL_TYPES[type]} {names[truth_class]} {names[predicted_class]}".casefold()
        for video, type, truth_class, predicted_class in zip(
            *(joined[name].tolist() for name in ("video", "type", "truth_class", "predicted_class")), strict=True
        )
    ]


@dataclass(frozen=True)
class Row:
    """One row for the list. key: names it in events. Ids and classes None where there is no such track; worst None
    without frames; share: of the AP lost, in [0, 1]. outcome: in words, "" where there is none."""

    key: str
    model: str
    video_id: int
    video: str
    type: str
    truth: bool
    truth_id: int | None
    prediction_id: int | None
    truth_class: str | None
    predicted_class: str | None
    score: float | None
    iou: float
    share: float
    frames: int
    length: int
    worst: int | None
    identity_switch: bool
    fragmentation: bool
    outcome: str


def row(findings: Findings, index: int) -> Row:
    """One row of the table, by its index."""
    t = table(findings)
    video = findings.measured.inputs.videos[int(t.video[index])]
    has_t, has_p = bool(t.truth_row[index] >= 0), bool(t.prediction_row[index] >= 0)
    return Row(
        key=_key(t, index),
        model=findings.models[int(t.model[index])].name,
        video_id=video.id,
        video=video.name,
        type=ALL_TYPES[int(t.type[index])],
        truth=bool(t.truth[index]),
        truth_id=int(t.truth_id[index]) if has_t else None,
        prediction_id=int(t.prediction_id[index]) if has_p else None,
        truth_class=findings.class_name(int(t.truth_class[index])) if has_t else None,
        predicted_class=findings.class_name(int(t.predicted_class[index])) if has_p else None,
        score=float(t.score[index]) if has_p else None,
        iou=float(t.iou[index]),
        share=float(t.share[index]),
        frames=int(t.frames[index]),
        length=int(t.length[index]),
        worst=int(t.worst[index]) if t.worst[index] >= 0 else None,
        identity_switch=bool(t.switch[index]),
        fragmentation=bool(t.broken[index]),
        outcome=OUTCOME_WORDS.get(OUTCOMES[int(t.outcome[index])], ""),
    )


def _key(t: Table, index: int) -> str:
    """Model, side, row of its side's table: the same at all limits."""
    side, number = ("t", t.truth_row[index]) if t.truth[index] else ("p", t.prediction_row[index])
    return f"{t.model[index]}{side}{number}"


def find(findings: Findings, key: str) -> int | None:
    """The index of a row by its key; None where there is none, or none any more at these limits."""
    t = table(findings)
    kept = findings.__dict__
    if "row_keys" not in kept:
        kept["row_keys"] = {_key(t, index): index for index in range(len(t.model))}
    return kept["row_keys"].get(key)
