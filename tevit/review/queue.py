"""The review queue: disagreements of labels and predictions, most likely label errors first, with likely answers."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tevit.evaluation.error_table import ErrorRecord, Errors, analyse_errors
from tevit.evaluation.errors import TYPES
from tevit.evaluation.inputs import read_inputs
from tevit.evaluation.overlaps import Overlaps, compute_overlaps
from tevit.io.ytvis import Dataset, Results, open_dataset, read_results
from tevit.review.decisions import (
    AcceptMasks,
    Action,
    AddTrack,
    ChangeClass,
    Decision,
    DeleteTrack,
    Keep,
    Mask,
    MergeTracks,
    PredictionRef,
    SwapIdentities,
    Verdict,
    decide,
    to_mask,
)
from tevit.review.log import class_name
from tevit.review.suspicion import COVERS, Suspicion, VideoEvidence, suspicions

_MODEL_ERROR = 0.05  # lower priorities are for errors that are likely the model's own

_SUSPICION_QUESTIONS = {
    "class": "Is label {a} {label}? The model sees {model} there ({score:.2f}).",
    "missing": "Is a label missing? The model sees {model} ({score:.2f}) where no label is.",
    "misplaced": "Does label {a} ({bare}) lie beside its object? The model's masks lie elsewhere.",
    "duplicate": "Are labels {a} ({bare}) and {b} ({other}) one object twice?",
    "identity": "Do labels {a} ({bare}) and {b} ({other}) change places at frame {at}?",
    "unpredicted": "Is there {label} where label {a} is? The model sees none.",
}
_ERROR_QUESTIONS = {
    "classification": "Is label {a} {label}? The model sees {model} there ({score:.2f}).",
    "spatial": "Are the masks of label {a} ({bare}) right? The model's {sees} ({score:.2f}) differs.",
    "temporal": "Is label {a} ({bare}) right in all frames? The model's {sees} ({score:.2f}) meets it in some.",
    "both": "Are class and masks of label {a} ({bare}) right? The model sees {model} ({score:.2f}) nearby.",
    "duplicate": "Is label {a} ({bare}) one object? The model sees two, the other {model} ({score:.2f}).",
    "background": "Is a label missing? The model sees {model} ({score:.2f}) where no label is.",
    "missed": "Is there {label} where label {a} is? No prediction comes near.",
    "correct": "Is label {a} ({bare}) right? The model's {sees} ({score:.2f}) agrees with it.",
}
_LEFT_OUT_PREDICTION = "Is a label missing? The model sees {model} ({score:.2f}), which the metric leaves out."
_LEFT_OUT_LABEL = "Is label {a} ({bare}) right?"


@dataclass(frozen=True)
class ReviewItem:
    """One disagreement. kind: one of Suspicion's kinds or an error type of the evaluation. priority: in [0, 1].

    annotation_ids: the labels concerned, the main one first. prediction: its place in the results from 1, None for
    none. frame: the most informative one. at: from which frame identities may be swapped, else None.
    """

    video_id: int
    kind: str
    priority: float
    frame: int
    annotation_ids: tuple[int, ...]
    prediction: int | None
    question: str
    at: int | None = None


def review_queue(gt: str | os.PathLike | Dataset, results: str | os.PathLike | Results) -> list[ReviewItem]:
    """Every disagreement of labels and predictions, the most likely label errors first; each object once.

    Raises: OSError or ValueError where something cannot be read or does not fit together.
    """
    dataset = gt if isinstance(gt, Dataset) else open_dataset(gt)
    predictions = results if isinstance(results, Results) else read_results(results)
    overlaps = compute_overlaps(read_inputs(dataset, predictions), all_pairs=True)
    return build_queue(dataset, overlaps, analyse_errors(overlaps))


def build_queue(dataset: Dataset, overlaps: Overlaps, errors: Errors) -> list[ReviewItem]:
    """The same from overlaps (with all pairs) and errors that are computed already."""
    builder = ItemBuilder(dataset, overlaps)
    seen_labels: set[tuple[int, int]] = set()
    seen_predictions: set[int] = set()

    def is_new(item: ReviewItem, same: Sequence[int] = ()) -> bool:
        """same: places of further predictions on the same object."""
        if item.annotation_ids:
            new = {(item.video_id, id) for id in item.annotation_ids} - seen_labels
            seen_labels.update(new)
            return bool(new)
        if item.prediction is None or item.prediction in seen_predictions:
            return False
        seen_predictions.update((item.prediction, *same))
        return True

    items, places = [], overlaps.inputs.predictions.ids
    suspected = sorted(_all_suspicions(overlaps, errors), key=lambda pair: (-pair[1].priority, pair[0]))
    for video, s in suspected:
        item = builder.from_suspicion(video, s)
        if is_new(item, [int(places[row]) for row in s.same]):
            items.append(item)
    # An error without frames has nothing to show.
    rest = [record for record in errors.records if record.type in TYPES and record.frames]
    for r in sorted(rest, key=lambda record: (-(record.score or 0), -record.share)):
        item = builder.from_error(r)
        if is_new(item):
            items.append(replace(item, priority=_MODEL_ERROR * min(max(r.score or 0.0, 0.0), 1.0)))
    return sorted(items, key=lambda item: -item.priority)


def all_labels(dataset: Dataset) -> list[ReviewItem]:
    """Every label of every video in the file's order, for a review without a model."""
    items = []
    for video in dataset.videos:
        for annotation, track in zip(dataset.annotations_of(video), dataset.masks(video), strict=True):
            name = _with_article(class_name(dataset.categories, annotation.category_id))
            question = f"Is label {annotation.id} {name}, with the right masks in every frame?"
            frame = int(track.areas.argmax()) if len(track.areas) else 0
            items.append(ReviewItem(video, "label", 0.0, frame, (annotation.id,), None, question))
    return items


def _all_suspicions(overlaps: Overlaps, errors: Errors) -> Iterator[tuple[int, Suspicion]]:
    """With the video's id."""
    scores = [r.score for r in errors.records if r.kind == "prediction" and r.type == "correct" and r.score]
    usual_score = float(np.median(scores)) if scores else 0.5
    best = np.concatenate([np.zeros(0), *(pairs.ious().max(axis=0, initial=0) for pairs in overlaps.pairs)])
    recall = float((best >= COVERS).mean()) if len(best) else 0.0
    for pairs in overlaps.pairs:
        video = overlaps.inputs.videos[pairs.video].id
        yield from ((video, s) for s in suspicions(VideoEvidence(overlaps, pairs, usual_score, recall)))


class ItemBuilder:
    """Makes items and their questions from suspicions and errors."""

    def __init__(self, dataset: Dataset, overlaps: Overlaps):
        self._names, self._inputs = dataset.categories, overlaps.inputs
        self._rows = {int(id): row for row, id in enumerate(overlaps.inputs.predictions.ids)}
        self._label_classes = {annotation.id: annotation.category_id for annotation in dataset.annotations}

    def from_suspicion(self, video: int, s: Suspicion) -> ReviewItem:
        """The item of a possible label error."""
        labels = tuple(int(self._inputs.ground_truth.ids[row]) for row in s.labels)
        prediction = int(self._inputs.predictions.ids[s.prediction]) if s.prediction >= 0 else None
        question = _SUSPICION_QUESTIONS[s.kind].format_map(self._values(labels, prediction, s.at))
        # Even unlikely label errors come before errors that are likely the model's own.
        priority = _MODEL_ERROR + (1 - _MODEL_ERROR) * s.priority
        at = s.at if s.at >= 0 else None
        return ReviewItem(video, s.kind, priority, s.frame, labels, prediction, question, at)

    def from_error(self, record: ErrorRecord) -> ReviewItem:
        """The item of an error, with priority 0."""
        labels = () if record.truth_id is None else (record.truth_id,)
        template = _ERROR_QUESTIONS.get(record.type, _LEFT_OUT_LABEL if labels else _LEFT_OUT_PREDICTION)
        kind = "duplicate prediction" if record.type == "duplicate" else record.type
        question = template.format_map(self._values(labels, record.prediction_id, -1))
        return ReviewItem(record.video_id, kind, 0.0, record.worst_frame or 0, labels, record.prediction_id, question)

    def _values(self, labels: Sequence[int], prediction: int | None, at: int) -> dict[str, object]:
        """The values that questions name."""
        names = [class_name(self._names, self._label_classes[id]) for id in labels] + ["object"] * 2
        values: dict[str, object] = {"a": labels[0] if labels else "", "b": labels[-1] if labels else "", "at": at}
        values |= {"label": _with_article(names[0]), "bare": names[0], "other": names[1]}
        if prediction is not None:
            row = self._rows[prediction]
            category = list(self._inputs.categories)[self._inputs.predictions.categories[row]]
            name = class_name(self._names, category)
            values |= {"model": _with_article(name), "sees": name}
            values |= {"score": float(self._inputs.predictions.scores[row])}
        return values


def _with_article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


# --- answers


@dataclass(frozen=True)
class Answer:
    """One answer to an item's question. label: of its button."""

    label: str
    item: ReviewItem
    verdict: Verdict
    action: Action
    prediction: PredictionRef | None

    def decision(self, dataset: str, reviewer: str, note: str = "") -> Decision:
        """The answer as a decision made now. dataset: the labels' `content_hash`."""
        return decide(
            dataset,
            self.item.video_id,
            self.verdict,
            self.action,
            reviewer,
            tracks=self.item.annotation_ids,
            prediction=self.prediction,
            note=note,
        )


def likely_answers(
    item: ReviewItem, dataset: Dataset, results: Results, prediction: PredictionRef | None
) -> tuple[Answer, ...]:
    """The likely answers, the label's correction first, then "the label is right" and "unclear".

    prediction: the reference to the item's prediction, None where it has none.
    """
    first, last = (item.annotation_ids[0], item.annotation_ids[-1]) if item.annotation_ids else (0, 0)
    corrections: list[tuple[str, Action]]
    if item.kind == "identity" and item.at is not None:
        corrections = [(f"Swap {first} and {last} from frame {item.at} on", SwapIdentities(first, last, item.at))]
    elif item.kind == "duplicate" and len(item.annotation_ids) == 2:
        corrections = [
            (f"Delete label {last}", DeleteTrack(last)),
            (f"Delete label {first}", DeleteTrack(first)),
            (f"Merge {last} into {first}", MergeTracks(first, last)),
        ]
    elif item.prediction is None:
        corrections = [(f"Delete label {first}", DeleteTrack(first))]
    else:
        corrections = _from_prediction(item, item.prediction - 1, dataset, results)
    answers = [Answer(label, item, "label is wrong", action, prediction) for label, action in corrections]
    right = "Nothing is missing" if not item.annotation_ids else "The label is right"
    verdicts: dict[Verdict, str] = {"label is right": right, "both wrong": "Both are wrong", "unclear": "Unclear"}
    return (*answers, *(Answer(label, item, verdict, Keep(), prediction) for verdict, label in verdicts.items()))


def _from_prediction(item: ReviewItem, index: int, dataset: Dataset, results: Results) -> list[tuple[str, Action]]:
    """index: of the prediction in the results, from 0."""
    category = results.predictions[index].category_id
    name = class_name(dataset.categories, category)
    info = dataset.videos[item.video_id]
    track = results.masks(info.id, info.size_hw)[results.by_video[info.id].index(index)]
    rles = [rle if area else None for rle, area in zip(track.rles, track.areas, strict=True)]
    masks: tuple[Mask | None, ...] = tuple(map(to_mask, (rles + [None] * info.length)[: info.length]))
    if not item.annotation_ids:
        return [(f"Add it as a {name}", AddTrack(category, masks))]
    id = item.annotation_ids[0]
    corrections: list[tuple[str, Action]] = []
    if category != next(a.category_id for a in dataset.annotations_of(item.video_id) if a.id == id):
        corrections.append((f"It is a {name}", ChangeClass(id, category)))
    corrections.append(("Take the predicted masks", AcceptMasks(id, 0, masks)))
    corrections.append((f"Delete label {id}", DeleteTrack(id)))
    return corrections
