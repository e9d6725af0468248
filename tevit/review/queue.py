"""What to review first: every disagreement of labels and predictions, the most likely label errors before the rest."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tevit.evaluation.error_table import ErrorRecord
from tevit.evaluation.error_types import TYPES
from tevit.evaluation.errors import Errors, find_errors
from tevit.evaluation.inputs import read_inputs
from tevit.evaluation.overlaps import Overlaps, compute_overlaps
from tevit.io.ytvis import Dataset, Results, open_dataset, read_results
from tevit.review.decisions import Predicted
from tevit.review.suspicion import COVERS, Suspicion, scene, suspicions

_REST = 0.05  # priorities below it are for errors that look like the model's own


@dataclass(frozen=True)
class Item:
    """One disagreement. kind: one of Suspicion's kinds or an error type of the evaluation. priority: in [0, 1].

    annotation_ids: the labels it is about, the first one mainly. prediction: its place in the results from 1, None
    where none is involved. frame: the one to look at first. at: from which frame identities may be swapped, else None.
    """

    video_id: int
    kind: str
    priority: float
    frame: int
    annotation_ids: tuple[int, ...]
    prediction: int | None
    question: str
    at: int | None = None


def queue(gt: str | os.PathLike | Dataset, results: str | os.PathLike | Results) -> list[Item]:
    """Everything in which labels and predictions disagree, the most likely label errors first; each object once.

    Raises: OSError or ValueError where something cannot be read or does not fit together.
    """
    dataset = gt if isinstance(gt, Dataset) else open_dataset(gt)
    found = results if isinstance(results, Results) else read_results(results)
    measured = compute_overlaps(read_inputs(dataset, found), all_pairs=True)
    return queue_of(dataset, measured, find_errors(measured))


def queue_of(dataset: Dataset, measured: Overlaps, errors: Errors) -> list[Item]:
    """The same of what the Errors tab has measured already (with all pairs)."""
    suspected = sorted(_suspected(measured, errors), key=lambda pair: (-pair[1].priority, pair[0]))
    words = Questions(dataset, measured)
    seen, places = _Seen(), measured.inputs.predictions.ids
    items = [
        words.suspected(video, s)
        for video, s in suspected
        if seen.is_new(video, *_named(measured, s), [int(places[row]) for row in s.same])
    ]
    rest = [record for record in errors.records if record.type in TYPES]
    rest.sort(key=lambda record: (-(record.score or 0), -record.share))
    rest = [record for record in rest if record.frames]  # where nothing is to be seen, nothing can be asked
    items += [_rest(words, r) for r in rest if seen.is_new(r.video_id, _truths(r), r.prediction_id)]
    return sorted(items, key=lambda item: -item.priority)


def walk(dataset: Dataset) -> list[Item]:
    """Every label of every video, in the file's order, for those who look through labels without a model."""
    found = []
    for video in dataset.videos:
        pairs = zip(dataset.annotations_of(video), dataset.masks(video), strict=True)
        for annotation, track in pairs:
            name = dataset.categories.get(annotation.category_id, f"class {annotation.category_id}").replace("_", " ")
            question = f"Is label {annotation.id} {_a(name)}, with the right masks in every frame?"
            frame = int(track.areas.argmax()) if len(track.areas) else 0
            found.append(Item(video, "label", 0.0, frame, (annotation.id,), None, question))
    return found


def reference(path: str | os.PathLike, place: int) -> Predicted:
    """How decisions name a prediction: the file, its SHA-256, and the place in it from 1."""
    with open(path, "rb") as file:
        return Predicted(Path(path).name, hashlib.file_digest(file, "sha256").hexdigest(), place)


def _suspected(measured: Overlaps, errors: Errors) -> Iterable[tuple[int, Suspicion]]:
    scores = [r.score for r in errors.records if r.kind == "prediction" and r.type == "correct" and r.score]
    usual = float(np.median(scores)) if scores else 0.5
    found = [pairs.ious().max(axis=0, initial=0) for pairs in measured.pairs]
    recall = float((np.concatenate([np.zeros(0), *found]) >= COVERS).mean()) if any(map(len, found)) else 0.0
    for pairs in measured.pairs:
        video = measured.inputs.videos[pairs.video].id
        yield from ((video, s) for s in suspicions(scene(measured, pairs, usual, recall)))


def _named(measured: Overlaps, s: Suspicion) -> tuple[tuple[int, ...], int | None]:
    """Annotation ids and the prediction's place."""
    truths = tuple(int(measured.inputs.truths.ids[row]) for row in s.truths)
    return truths, int(measured.inputs.predictions.ids[s.prediction]) if s.prediction >= 0 else None


def _rest(words: "Questions", r: ErrorRecord) -> Item:
    item = words.about(r.type, r.video_id, r.truth_id, r.prediction_id, r.worst_frame)
    return replace(item, priority=_REST * min(max(r.score or 0.0, 0.0), 1.0))


def _truths(record: ErrorRecord) -> tuple[int, ...]:
    return () if record.truth_id is None else (record.truth_id,)


class _Seen:
    """What has been asked already: labels by id, predictions by their place."""

    def __init__(self) -> None:
        self._labels: set[tuple[int, int]] = set()
        self._predictions: set[int] = set()

    def is_new(self, video: int, truths: Sequence[int], prediction: int | None, same: Sequence[int] = ()) -> bool:
        """same: places of predictions on the same object."""
        if truths:
            new = {(video, id) for id in truths} - self._labels
            self._labels |= new
            return bool(new)
        if prediction is None or prediction in self._predictions:
            return False
        self._predictions |= {prediction, *same}
        return True


_LEFT_OUT = (
    "Is a label missing? The model sees {model} ({score:.2f}), which the metric leaves out.",
    "Is label {a} ({bare}) right?",
)


class Questions:
    """What people are asked, in words."""

    def __init__(self, dataset: Dataset, measured: Overlaps):
        self._names = dataset.categories
        self._inputs, self._measured = measured.inputs, measured
        self._rows = {int(id): row for row, id in enumerate(measured.inputs.predictions.ids)}
        self._label_classes = {annotation.id: annotation.category_id for annotation in dataset.annotations}

    def suspected(self, video: int, s: Suspicion) -> Item:
        """About what may be a label error."""
        truths, prediction = _named(self._measured, s)
        ask = {
            "class": "Is label {a} {label}? The model sees {model} there ({score:.2f}).",
            "missing": "Is a label missing? The model sees {model} ({score:.2f}) where no label is.",
            "misplaced": "Does label {a} ({bare}) lie beside its object? The model's masks lie elsewhere.",
            "duplicate": "Are labels {a} ({bare}) and {b} ({other}) one object twice?",
            "identity": "Do labels {a} ({bare}) and {b} ({other}) change places at frame {at}?",
            "unpredicted": "Is there {label} where label {a} is? The model sees none.",
        }[s.kind]
        question = ask.format_map(self._facts(truths, prediction, s.at))
        # What is unlikely still comes before errors that look like the model's own.
        priority = _REST + (1 - _REST) * s.priority
        return Item(video, s.kind, priority, s.frame, truths, prediction, question, s.at if s.at >= 0 else None)

    def about(self, type: str, video: int, truth: int | None, prediction: int | None, frame: int | None) -> Item:
        """About a track of the evaluation. type: an ErrorRecord's. truth: an annotation's id. prediction: its place.
        frame: the worst one. The item's priority is 0."""
        ask = {
            "classification": "Is label {a} {label}? The model sees {model} there ({score:.2f}).",
            "spatial": "Are the masks of label {a} ({bare}) right? The model's {sees} ({score:.2f}) differs.",
            "temporal": "Is label {a} ({bare}) right in all frames? The model's {sees} ({score:.2f}) meets it in some.",
            "both": "Are class and masks of label {a} ({bare}) right? The model sees {model} ({score:.2f}) nearby.",
            "duplicate": "Is label {a} ({bare}) one object? The model sees two, the other {model} ({score:.2f}).",
            "background": "Is a label missing? The model sees {model} ({score:.2f}) where no label is.",
            "missed": "Is there {label} where label {a} is? No prediction comes near.",
            "correct": "Is label {a} ({bare}) right? The model's {sees} ({score:.2f}) agrees with it.",
        }.get(type, _LEFT_OUT[truth is not None])
        truths = () if truth is None else (truth,)
        kind = "duplicate prediction" if type == "duplicate" else type
        words = ask.format_map(self._facts(truths, prediction, -1))
        return Item(video, kind, 0.0, frame or 0, truths, prediction, words)

    def _facts(self, truths: Sequence[int], prediction: int | None, at: int) -> dict[str, object]:
        labels = [self._name(self._label_classes[id]) for id in truths] + ["object"] * 2
        facts: dict[str, object] = {"a": truths[0] if truths else "", "b": truths[-1] if truths else "", "at": at}
        facts |= {"label": _a(labels[0]), "bare": labels[0], "other": labels[1]}
        if prediction is not None:
            row = self._rows[prediction]
            category = list(self._inputs.categories)[self._inputs.predictions.categories[row]]
            facts |= {"model": _a(self._name(category)), "sees": self._name(category)}
            facts |= {"score": float(self._inputs.predictions.scores[row])}
        return facts

    def _name(self, category: int) -> str:
        return self._names.get(category, f"class {category}").replace("_", " ")


def _a(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
