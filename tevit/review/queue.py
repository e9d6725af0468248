"""The review queue: disagreements of labels and predictions, most likely label errors first, with likely answers."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tevit.evaluation.error_table import ErrorRecord, Errors, find_errors
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
from tevit.review.suspicion import COVERS, Suspicion, suspicions, video_evidence

_REST = 0.05  # priorities below it are for errors that look like the model's own


@dataclass(frozen=True)
class ReviewItem:
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


def review_queue(gt: str | os.PathLike | Dataset, results: str | os.PathLike | Results) -> list[ReviewItem]:
    """Everything in which labels and predictions disagree, the most likely label errors first; each object once.

    Raises: OSError or ValueError where something cannot be read or does not fit together.
    """
    dataset = gt if isinstance(gt, Dataset) else open_dataset(gt)
    found = results if isinstance(results, Results) else read_results(results)
    measured = compute_overlaps(read_inputs(dataset, found), all_pairs=True)
    return build_queue(dataset, measured, find_errors(measured))


def build_queue(dataset: Dataset, measured: Overlaps, errors: Errors) -> list[ReviewItem]:
    """The same of what the Errors tab has measured already (with all pairs)."""
    suspected = sorted(_suspected(measured, errors), key=lambda pair: (-pair[1].priority, pair[0]))
    words = ItemBuilder(dataset, measured)
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


def all_labels(dataset: Dataset) -> list[ReviewItem]:
    """Every label of every video, in the file's order, for those who look through labels without a model."""
    found = []
    for video in dataset.videos:
        pairs = zip(dataset.annotations_of(video), dataset.masks(video), strict=True)
        for annotation, track in pairs:
            name = dataset.categories.get(annotation.category_id, f"class {annotation.category_id}").replace("_", " ")
            question = f"Is label {annotation.id} {_a(name)}, with the right masks in every frame?"
            frame = int(track.areas.argmax()) if len(track.areas) else 0
            found.append(ReviewItem(video, "label", 0.0, frame, (annotation.id,), None, question))
    return found


def _suspected(measured: Overlaps, errors: Errors) -> Iterable[tuple[int, Suspicion]]:
    scores = [r.score for r in errors.records if r.kind == "prediction" and r.type == "correct" and r.score]
    usual = float(np.median(scores)) if scores else 0.5
    found = [pairs.ious().max(axis=0, initial=0) for pairs in measured.pairs]
    recall = float((np.concatenate([np.zeros(0), *found]) >= COVERS).mean()) if any(map(len, found)) else 0.0
    for pairs in measured.pairs:
        video = measured.inputs.videos[pairs.video].id
        yield from ((video, s) for s in suspicions(video_evidence(measured, pairs, usual, recall)))


def _named(measured: Overlaps, s: Suspicion) -> tuple[tuple[int, ...], int | None]:
    """Annotation ids and the prediction's place."""
    truths = tuple(int(measured.inputs.ground_truth.ids[row]) for row in s.truths)
    return truths, int(measured.inputs.predictions.ids[s.prediction]) if s.prediction >= 0 else None


def _rest(words: "ItemBuilder", r: ErrorRecord) -> ReviewItem:
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


class ItemBuilder:
    """What people are asked, in words."""

    def __init__(self, dataset: Dataset, measured: Overlaps):
        self._names = dataset.categories
        self._inputs, self._measured = measured.inputs, measured
        self._rows = {int(id): row for row, id in enumerate(measured.inputs.predictions.ids)}
        self._label_classes = {annotation.id: annotation.category_id for annotation in dataset.annotations}

    def suspected(self, video: int, s: Suspicion) -> ReviewItem:
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
        return ReviewItem(video, s.kind, priority, s.frame, truths, prediction, question, s.at if s.at >= 0 else None)

    def about(self, type: str, video: int, truth: int | None, prediction: int | None, frame: int | None) -> ReviewItem:
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
        return ReviewItem(video, kind, 0.0, frame or 0, truths, prediction, words)

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


# --- the likely answers


@dataclass(frozen=True)
class Answer:
    """One answer. label: the words on its button."""

    label: str
    item: ReviewItem
    verdict: Verdict
    action: Action
    prediction: PredictionRef | None

    def decision(self, dataset: str, reviewer: str, note: str = "") -> Decision:
        """The answer as a decision made now. dataset: the labels' `content_hash`."""
        item = self.item
        return decide(
            dataset,
            item.video_id,
            self.verdict,
            self.action,
            reviewer,
            tracks=item.annotation_ids,
            prediction=self.prediction,
            note=note,
        )


def likely_answers(
    item: ReviewItem, dataset: Dataset, results: Results, prediction: PredictionRef | None
) -> tuple[Answer, ...]:
    """The likely answers, the label's correction first, then "the label is right" and "unclear".

    prediction: how decisions name the item's prediction, None where it has none.
    """
    found = [
        Answer(label, item, "label is wrong", action, prediction)
        for label, action in _corrections(item, dataset, results)
    ]
    kept = "Nothing is missing" if not item.annotation_ids else "The label is right"
    verdicts: dict[Verdict, str] = {"label is right": kept, "both wrong": "Both are wrong", "unclear": "Unclear"}
    return (*found, *(Answer(label, item, verdict, Keep(), prediction) for verdict, label in verdicts.items()))


def _corrections(item: ReviewItem, dataset: Dataset, results: Results) -> list[tuple[str, Action]]:
    first = item.annotation_ids[0] if item.annotation_ids else 0
    last = item.annotation_ids[-1] if item.annotation_ids else 0
    if item.kind == "identity" and item.at is not None:
        return [(f"Swap {first} and {last} from frame {item.at} on", SwapIdentities(first, last, item.at))]
    if item.kind == "duplicate" and len(item.annotation_ids) == 2:
        return [
            (f"Delete label {last}", DeleteTrack(last)),
            (f"Delete label {first}", DeleteTrack(first)),
            (f"Merge {last} into {first}", MergeTracks(first, last)),
        ]
    if item.prediction is None:
        return [(f"Delete label {first}", DeleteTrack(first))]
    return _from_prediction(item, dataset, results)


def _from_prediction(item: ReviewItem, dataset: Dataset, results: Results) -> list[tuple[str, Action]]:
    assert item.prediction is not None
    category = results.predictions[item.prediction - 1].category_id
    name = dataset.categories.get(category, f"class {category}").replace("_", " ")
    found = _predicted(item, dataset, results)
    if not item.annotation_ids:
        return [(f"Add it as a {name}", AddTrack(category, found))]
    id = item.annotation_ids[0]
    own = next(a.category_id for a in dataset.annotations_of(item.video_id) if a.id == id)
    reclass: list[tuple[str, Action]] = [] if own == category else [(f"It is a {name}", ChangeClass(id, category))]
    accept: list[tuple[str, Action]] = [("Take the predicted masks", AcceptMasks(id, 0, found))]
    delete: list[tuple[str, Action]] = [(f"Delete label {id}", DeleteTrack(id))]
    return [*reclass, *accept, *delete]


def _predicted(item: ReviewItem, dataset: Dataset, results: Results) -> tuple[Mask | None, ...]:
    """The prediction's masks, one or null for every frame of the video."""
    assert item.prediction is not None
    info = dataset.videos[item.video_id]
    places = results.by_video[item.video_id]
    track = results.masks(item.video_id, info.size_hw)[places.index(item.prediction - 1)]
    found = [rle if area else None for rle, area in zip(track.rles, track.areas, strict=True)]
    return tuple(map(to_mask, (found + [None] * info.length)[: info.length]))
