"""The likely answers to a question of the queue, each ready to be logged."""

from dataclasses import dataclass

from tevit.io.ytvis import Dataset, Results
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
    Predicted,
    SwapIdentities,
    Verdict,
    decide,
    to_mask,
)
from tevit.review.queue import Item


@dataclass(frozen=True)
class Choice:
    """One answer. label: the words on its button."""

    label: str
    item: Item
    verdict: Verdict
    action: Action
    prediction: Predicted | None

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


def choices(item: Item, dataset: Dataset, results: Results, prediction: Predicted | None) -> tuple[Choice, ...]:
    """The likely answers, the label's correction first, then "the label is right" and "unclear".

    prediction: how decisions name the item's prediction (see `reference`), None where it has none.
    """
    found = [
        Choice(label, item, "label is wrong", action, prediction)
        for label, action in _corrections(item, dataset, results)
    ]
    kept = "Nothing is missing" if not item.annotation_ids else "The label is right"
    verdicts: dict[Verdict, str] = {"label is right": kept, "both wrong": "Both are wrong", "unclear": "Unclear"}
    return (*found, *(Choice(label, item, verdict, Keep(), prediction) for verdict, label in verdicts.items()))


def _corrections(item: Item, dataset: Dataset, results: Results) -> list[tuple[str, Action]]:
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


def _from_prediction(item: Item, dataset: Dataset, results: Results) -> list[tuple[str, Action]]:
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


def _predicted(item: Item, dataset: Dataset, results: Results) -> tuple[Mask | None, ...]:
    """The prediction's masks, one or null for every frame of the video."""
    assert item.prediction is not None
    info = dataset.videos[item.video_id]
    places = results.by_video[item.video_id]
    track = results.masks(item.video_id, info.size_hw)[places.index(item.prediction - 1)]
    found = [rle if area else None for rle, area in zip(track.rles, track.areas, strict=True)]
    return tuple(map(to_mask, (found + [None] * info.length)[: info.length]))
