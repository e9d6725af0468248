"""The review queue: disagreements of labels and predictions, most likely label errors first, with likely answers.

The priority of a disagreement, in [0, 1], is high where labels and confident predictions would agree much better with
the label corrected. Duplicates and swapped identities also show without a model: two labels on one object, two labels
that jump.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from tevit.evaluation.error_table import ErrorRecord, Errors, analyse_errors
from tevit.evaluation.errors import TYPES, UNMATCHABLE
from tevit.evaluation.inputs import read_inputs
from tevit.evaluation.overlaps import Overlaps, VideoPairs, compute_overlaps
from tevit.io.ytvis import Dataset, Results, open_dataset, read_results
from tevit.masks.ops import Spans, decode_spans, frame_overlaps, max_extent, track_ious
from tevit.results import Track
from tevit.review.decisions import (
    Action,
    AddTrack,
    ChangeClass,
    Decision,
    DeleteTrack,
    Keep,
    MergeTracks,
    PredictionRef,
    Subject,
    SwapIdentities,
    Verdict,
    decide,
)
from tevit.review.labels import lies_beside, predicted_masks, take_masks
from tevit.review.log import class_name

COVERS = 0.5  # IoU from which two masks are taken to show the same object
_TOUCHES = 0.05  # IoU of whole tracks from which a misplaced label may still be of the prediction's object


@dataclass(frozen=True)
class Suspicion:
    """One possible label error. kind: "class", "missing", "misplaced", "duplicate", "identity" or "unpredicted".

    priority: in [0, 1], higher is likelier. labels: rows of the ground truth's table. prediction: row of predictions,
    -1 for none. frame: the most informative one. at: from which frame on identities are swapped, -1 for other kinds.
    same: rows of further predictions on the same object, which has no label.
    """

    kind: str
    priority: float
    labels: tuple[int, ...]
    prediction: int
    frame: int
    at: int = -1
    same: tuple[int, ...] = ()


class VideoEvidence:
    """What suspicions about one video are computed from. d and g: positions of predictions and labels in `pairs`.

    trust: float64 (D,), in [0, 1): 1/2 where the score is that of a usual correct prediction. classes_d, classes_g:
    int64. ious: (D, G), frame_ious: (D, G, T). labels: the labels' masks; later: the same, one frame later.
    predictions: the predictions' masks. recall: fraction of all labels that some prediction covers.
    """

    def __init__(self, overlaps: Overlaps, pairs: VideoPairs, usual_score: float, recall: float):
        """usual_score: the median score of correct predictions."""
        ground_truth, predictions = overlaps.inputs.ground_truth, overlaps.inputs.predictions
        scores = np.maximum(predictions.scores[pairs.predictions], 0)
        self.pairs, self.recall = pairs, recall
        self.trust = scores / np.maximum(scores + usual_score, 1e-9)
        self.classes_d = predictions.categories[pairs.predictions]
        self.classes_g, self.crowd = ground_truth.categories[pairs.ground_truth], ground_truth.crowd[pairs.ground_truth]
        self.ious, self.frame_ious = pairs.ious(), pairs.frame_ious()
        masks_g = ground_truth.read_masks(pairs.ground_truth.tolist())
        masks_d = predictions.read_masks(pairs.predictions.tolist())
        later = [m._replace(length=m.length + 1, frames=m.frames + 1) for m in masks_g]
        length, stride = max_extent([*later, *masks_d])
        self.labels, self.later = decode_spans(masks_g, length, stride), decode_spans(later, length, stride)
        self.predictions = decode_spans(masks_d, length, stride)

    def suspicion(
        self, kind: str, priority: float, labels: Sequence[int], d: int, frame: int | np.integer, at: int = -1
    ) -> Suspicion:
        """Positions in `pairs` become rows of the tables; d: -1 for no prediction."""
        rows = tuple(int(self.pairs.ground_truth[g]) for g in labels)
        row = int(self.pairs.predictions[d]) if d >= 0 else -1
        return Suspicion(kind, float(np.clip(priority, 0, 1)), rows, row, int(frame), at)


def suspicions(evidence: VideoEvidence) -> Iterator[Suspicion]:
    """Every possible label error of one video, in no particular order."""
    for find in (_wrong_classes, _missing, _misplaced, _duplicates, _swapped_identities, _unpredicted):
        yield from find(evidence)


def _wrong_classes(e: VideoEvidence) -> Iterator[Suspicion]:
    """A prediction covers the label but has another class; lower where the label's class is predicted there, too."""
    for d, g in zip(*np.nonzero(e.ious >= COVERS), strict=True):
        if e.classes_d[d] == e.classes_g[g] or e.crowd[g]:
            continue
        backed = e.trust[(e.classes_d == e.classes_g[g]) & (e.ious[:, g] >= COVERS)].max(initial=0)
        against = e.trust[d] / max(e.trust[d] + backed, 1e-9)
        either = (e.pairs.prediction_areas[d] > 0) | (e.pairs.ground_truth_areas[g] > 0)
        agreement = float((e.frame_ious[d, g, either] >= COVERS).mean())
        yield e.suspicion("class", e.trust[d] * agreement * against, (g,), d, np.argmax(e.frame_ious[d, g]))


def _missing(e: VideoEvidence) -> Iterator[Suspicion]:
    """Lasting predictions on something without a label; of several on one object the best."""
    areas = e.pairs.prediction_areas.astype(float)
    covered = e.pairs.intersection.max(axis=1, initial=0).sum(axis=1) / np.maximum(areas.sum(axis=1), 1)
    lasting = (areas > 0).mean(axis=1) if areas.size else np.zeros(len(areas))
    priorities = e.trust * np.maximum(1 - 2 * covered, 0) * np.sqrt(lasting)
    order = np.argsort(-priorities, kind="stable")
    left = order[priorities[order] > 0]
    while len(left):
        d = int(left[0])
        same = _track_ious(e.predictions, [d], left)[0] >= COVERS
        rows = tuple(e.pairs.predictions[left[same]].tolist())
        yield replace(e.suspicion("missing", priorities[d], (), d, np.argmax(areas[d])), same=rows)
        left = left[1:][~same[1:]]


def _track_ious(tracks: Spans, a: Sequence[int], b: Sequence[int] | np.ndarray) -> np.ndarray:
    """IoU of whole tracks, float64 (len(a), len(b))."""
    pairs = np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.int64)
    return track_ious(*frame_overlaps(tracks, tracks, pairs)).reshape(len(a), len(b))


def _misplaced(e: VideoEvidence) -> Iterator[Suspicion]:
    """Label and prediction are each other's nearest, of similar size, and equally far apart in every frame."""
    if not e.ious.size:
        return
    for d, g in zip(*np.nonzero((e.ious >= _TOUCHES) & (e.ious < COVERS)), strict=True):
        if e.crowd[g] or e.ious[d].argmax() != g or e.ious[:, g].max() >= COVERS:
            continue
        areas_d, areas_g = e.pairs.prediction_areas[d].astype(float), e.pairs.ground_truth_areas[g].astype(float)
        either, both = (areas_d > 0) | (areas_g > 0), (areas_d > 0) & (areas_g > 0)
        similar = (np.minimum(areas_d, areas_g)[either] / np.maximum(areas_d, areas_g)[either]).mean()
        steady = 1 - min(1.0, float(e.frame_ious[d, g, either].std()) / max(float(e.ious[d, g]), 0.1))
        same_class = 1.0 if e.classes_d[d] == e.classes_g[g] else 0.5
        priority = e.trust[d] * similar * steady * (1 - e.ious[d, g]) * same_class
        worst = np.argmin(np.where(both, e.frame_ious[d, g], 2)) if both.any() else 0
        yield e.suspicion("misplaced", priority, (g,), d, worst)


def _duplicates(e: VideoEvidence) -> Iterator[Suspicion]:
    """Two labels on one object; predictions play no part."""
    every = range(len(e.classes_g))
    ious = _track_ious(e.labels, every, every) if len(every) > 1 else np.zeros((1, 1))
    for a, b in combinations(every, 2):
        iou = 0.0 if e.crowd[a] or e.crowd[b] else float(ious[a, b])
        if iou >= COVERS:
            both = np.minimum(e.pairs.ground_truth_areas[a], e.pairs.ground_truth_areas[b])
            weight = 1.0 if e.classes_g[a] == e.classes_g[b] else 0.8
            yield e.suspicion("duplicate", iou * weight, (a, b), -1, np.argmax(both))


def _swapped_identities(e: VideoEvidence) -> Iterator[Suspicion]:
    """Two labels that change places: a prediction follows one, then the other; and both would jump less if swapped."""
    length = e.frame_ious.shape[2]
    if len(e.classes_g) < 2 or length < 2:
        return
    smoother = _continuity_gains(e)[..., :length]
    for a, b in combinations(range(len(e.classes_g)), 2):
        if e.crowd[a] or e.crowd[b]:
            continue
        gains, followers = _follower_gains(e, a, b)
        total = gains + smoother[a, b]
        at = int(np.argmax(total[1:])) + 1
        if total[at] > 0:
            yield e.suspicion("identity", min(float(total[at]), 1.0), (a, b), int(followers[at]), at, at)


def _follower_gains(e: VideoEvidence, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
    """For a swap at each frame: the IoU that the most trusted follower of each label gains; the better follower, or -1.

    Returns float64 and int64 (T,).
    """
    length = e.frame_ious.shape[2]
    if not len(e.trust):
        return np.zeros(length), np.full(length, -1)
    before = e.ious[:, [a, b]].max(axis=1, keepdims=True)
    swapped = _swapped_ious(e, a, b), _swapped_ious(e, b, a)
    gains = [e.trust[:, None] * np.maximum(iou - before, 0) * (iou >= COVERS) for iou in swapped]
    best = np.maximum(gains[0], gains[1])
    return gains[0].max(axis=0) + gains[1].max(axis=0), np.where(best.max(axis=0) > 0, best.argmax(axis=0), -1)


def _swapped_ious(e: VideoEvidence, a: int, b: int) -> np.ndarray:
    """IoU of every prediction with label a before each frame and label b from it on, float64 (D, T)."""
    sums = []
    for table in (e.pairs.intersection, e.pairs.union):
        first, second = table[:, a].astype(float), table[:, b].astype(float)
        before = np.cumsum(first, axis=1) - first
        sums.append(before + np.cumsum(second[:, ::-1], axis=1)[:, ::-1])
    return sums[0] / np.maximum(sums[1], 1)


def _continuity_gains(e: VideoEvidence) -> np.ndarray:
    """How much closer two labels' masks are to those a frame earlier if swapped there: float64 (G, G, T), mean IoU.

    0 where one of the two has no mask in that frame or the one before.
    """
    count = len(e.classes_g)
    pairs = np.indices((count, count)).reshape(2, -1).T
    common, union = frame_overlaps(e.later, e.labels, pairs)
    across = (common / np.maximum(union, 1)).reshape(count, count, -1)
    own = across[np.arange(count), np.arange(count)]
    gain = (across + across.transpose(1, 0, 2) - own[:, None] - own[None]) / 2
    present = (e.later.areas > 0) & (e.labels.areas > 0)
    return gain * (present[:, None] & present[None])


def _unpredicted(e: VideoEvidence) -> Iterator[Suspicion]:
    """A label without a prediction nearby, by a model that finds most others."""
    for g in np.flatnonzero(~e.crowd).tolist():
        near = e.ious[:, g].max(initial=0)
        if near < COVERS / 2:
            priority = 0.5 * e.recall * (1 - 2 * near)
            yield e.suspicion("unpredicted", priority, (g,), -1, np.argmax(e.pairs.ground_truth_areas[g]))


# --- the queue


_MODEL_ERROR = 0.05  # lower priorities are for errors that are likely the model's own

_SUSPICION_QUESTIONS = {
    "class": "Is label {a} {label}? The model predicts {model} there ({score:.2f}).",
    "missing": "Is a label missing? The model predicts {model} ({score:.2f}) where no label is.",
    "misplaced": "Does label {a} ({bare}) lie beside its object? The predicted masks lie elsewhere.",
    "duplicate": "Are labels {a} ({bare}) and {b} ({other}) one object twice?",
    "identity": "Do labels {a} ({bare}) and {b} ({other}) swap identities at frame {at}?",
    "unpredicted": "Is there {label} where label {a} is? The model predicts none.",
}
_ERROR_QUESTIONS = {
    "classification": "Is label {a} {label}? The model predicts {model} there ({score:.2f}).",
    "spatial": "Are the masks of label {a} ({bare}) right? The predicted {name} ({score:.2f}) differs.",
    "temporal": "Is label {a} ({bare}) right in all frames? The predicted {name} ({score:.2f}) overlaps it in some.",
    "both": "Are class and masks of label {a} ({bare}) right? The model predicts {model} ({score:.2f}) nearby.",
    "duplicate": "Is label {a} ({bare}) one object? The model predicts two, the other {model} ({score:.2f}).",
    "background": "Is a label missing? The model predicts {model} ({score:.2f}) where no label is.",
    "missed": "Is there {label} where label {a} is? No prediction overlaps it.",
    "correct": "Is label {a} ({bare}) right? The predicted {name} ({score:.2f}) agrees with it.",
}
_BESIDE = (
    "Does label {a} ({bare}) lie beside its object? The model predicts {model} ({score:.2f}) there, without a label."
)
_LEFT_OUT_PREDICTION = "Is a label missing? The model predicts {model} ({score:.2f}), which the metric leaves out."
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

    def subject(self, sha256: str) -> Subject:
        """What the question is about, comparable with `subject_of` a decision. sha256: of the results."""
        if self.annotation_ids or self.prediction is None:
            return self.video_id, self.annotation_ids, "", 0
        return self.video_id, (), sha256, self.prediction


def review_queue(gt: str | os.PathLike | Dataset, results: str | os.PathLike | Results) -> list[ReviewItem]:
    """Every disagreement of labels and predictions, the most likely label errors first; each object once.

    Raises: OSError or ValueError where something cannot be read or does not fit together.
    """
    dataset = gt if isinstance(gt, Dataset) else open_dataset(gt)
    predictions = results if isinstance(results, Results) else read_results(results)
    overlaps = compute_overlaps(read_inputs(dataset, predictions), all_pairs=True)
    return build_queue(dataset, predictions, overlaps, analyse_errors(overlaps))


def build_queue(dataset: Dataset, results: Results, overlaps: Overlaps, errors: Errors) -> list[ReviewItem]:
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
    # An error without frames has nothing to show; what fits annotation 0 agrees with it.
    rest = [r for r in errors.records if r.type in TYPES and r.type != UNMATCHABLE and r.frames]
    for r in sorted(rest, key=lambda record: (-(record.score or 0), -record.share)):
        item = builder.from_error(r)
        if is_new(item):
            items.append(replace(item, priority=_MODEL_ERROR * min(max(r.score or 0.0, 0.0), 1.0)))
    items = _join_sides(items, dataset, results, overlaps, builder)
    return sorted(items, key=lambda item: -item.priority)


_ONE_SIDED = ("misplaced", "unpredicted", "missed")
"""Kinds of questions about one label that say of no prediction that it shows the label's object."""


def _join_sides(
    items: Sequence[ReviewItem], dataset: Dataset, results: Results, overlaps: Overlaps, builder: "ItemBuilder"
) -> list[ReviewItem]:
    """A label beside its object and the prediction without a label there become one question, at the higher place."""
    joined = list(items)
    pairs = {overlaps.inputs.videos[pairs.video].id: pairs for pairs in overlaps.pairs}
    for video in dict.fromkeys(item.video_id for item in items if not item.annotation_ids):
        own = [item for item in items if item.video_id == video]
        uncovered = pairs[video].ious().max(axis=0, initial=0) < COVERS
        ids = overlaps.inputs.ground_truth.ids[pairs[video].ground_truth[uncovered]].tolist()
        labels = [track for track in dataset.video(video).tracks if track.id in ids] if ids else []
        predictions = {t.id: t for t in results.video(dataset.videos[video], dataset.categories).tracks} if ids else {}
        for item in sorted((item for item in own if not item.annotation_ids), key=lambda item: -item.priority):
            prediction = predictions.get(item.prediction or 0)
            label = next((t for t in labels if prediction is not None and lies_beside(t, prediction)), None)
            if prediction is None or label is None:
                continue
            labels.remove(label)
            other = next((o for o in own if o.annotation_ids == (label.id,)), None)
            if other is None or other.kind in _ONE_SIDED:
                joined.remove(item)
                priority = max(item.priority, other.priority if other is not None else 0)
                if other is not None:
                    joined.remove(other)
                joined.append(builder.beside(label, prediction, replace(item, priority=priority)))
    return joined


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

    def beside(self, label: Track, prediction: Track, item: ReviewItem) -> ReviewItem:
        """The item about a label and the prediction that shows its object elsewhere. item: about the prediction."""
        question = _BESIDE.format_map(self._values((label.id,), prediction.id, -1))
        areas = np.minimum(label.areas, prediction.areas)
        return replace(item, kind="misplaced", frame=int(areas.argmax()), annotation_ids=(label.id,), question=question)

    def _values(self, labels: Sequence[int], prediction: int | None, at: int) -> dict[str, object]:
        """The values that questions name."""
        names = [class_name(self._names, self._label_classes[id]) for id in labels] + ["object"] * 2
        values: dict[str, object] = {"a": labels[0] if labels else "", "b": labels[-1] if labels else "", "at": at}
        values |= {"label": _with_article(names[0]), "bare": names[0], "other": names[1]}
        if prediction is not None:
            row = self._rows[prediction]
            category = list(self._inputs.categories)[self._inputs.predictions.categories[row]]
            name = class_name(self._names, category)
            values |= {"model": _with_article(name), "name": name}
            values |= {"score": float(self._inputs.predictions.scores[row])}
        return values


def _with_article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


# --- answers


@dataclass(frozen=True)
class Answer:
    """One answer to an item's question. label: of its button. verdict: None where it resolves a disagreement."""

    label: str
    item: ReviewItem
    verdict: Verdict | None
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
    masks = predicted_masks(dataset, results, item.video_id, index + 1)
    if not item.annotation_ids:
        return [(f"Add it as a {name}", AddTrack(category, masks))]
    id = item.annotation_ids[0]
    corrections: list[tuple[str, Action]] = []
    if category != next(a.category_id for a in dataset.annotations_of(item.video_id) if a.id == id):
        corrections.append((f"It is a {name}", ChangeClass(id, category)))
    corrections.append(("Take the predicted masks", take_masks(id, masks)))
    if item.kind == "misplaced":
        corrections.append((f"Add the predicted {name} as another object", AddTrack(category, masks)))
    corrections.append((f"Delete label {id}", DeleteTrack(id)))
    return corrections
