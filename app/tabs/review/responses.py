"""The answers to a question of the review, by key; and what a page sends, read with distrust."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tevit.io.ytvis import VideoInfo
from tevit.review.decisions import (
    AcceptMasks,
    Action,
    AddTrack,
    ChangeClass,
    DeleteFrames,
    DeleteTrack,
    Keep,
    MarkCrowd,
    Mask,
    MergeTracks,
    ReplaceMask,
    SplitTrack,
    SwapIdentities,
    TrackRef,
)
from tevit.review.queue import Answer, ReviewItem

MOST_LETTERS = 4_000  # of a note
MOST_COUNTS = 4_000_000  # letters of one mask
NAME_LETTERS = 60
_KEYS: Mapping[type, Sequence[str]] = {
    AcceptMasks: "2",
    AddTrack: "2",
    SwapIdentities: "2",
    DeleteTrack: "35",
    ChangeClass: "4",
    MergeTracks: "6",
}
_VERDICTS = {"label is right": "1", "both wrong": "7", "unclear": "0"}
KINDS = ("save", "undo", "redo", "next", "previous", "go", "look", "resolve", "labels")


def by_key(choices: Sequence[Answer]) -> dict[str, Answer]:
    """The same kind of answer always has the same key: 1 right, 2 as predicted, 3 delete, 4 class, 0 unclear."""
    found: dict[str, Answer] = {}
    for choice in choices:
        kept = isinstance(choice.action, Keep)
        keys = _VERDICTS[choice.verdict] if kept else _KEYS[type(choice.action)]
        free = [key for key in keys if key not in found]
        if free:
            found[free[0]] = choice
    return dict(sorted(found.items(), key=lambda pair: (pair[0] == "0", pair[0])))


@dataclass(frozen=True)
class Said:
    """What a person did in the tab. item: name of what the page showed then. key: of an answer. extra: an answer of
    another kind. place: in the queue."""

    kind: str
    reviewer: str
    item: str = ""
    key: str = ""
    note: str = ""
    place: int = -1
    extra: Mapping[str, Any] | None = None


def read(data: object) -> Said:
    """What the browser says. Raises: ValueError where it is not what the tab sends."""
    said = data if isinstance(data, Mapping) else {}
    kind = said.get("kind")
    if kind not in KINDS:
        raise ValueError(f"expected one of {', '.join(KINDS)}, got {str(kind)[:40]!r}")
    place, extra = said.get("place", -1), said.get("extra")
    return Said(
        kind=str(kind),
        reviewer=_text(said, "reviewer", NAME_LETTERS).strip(),
        item=_text(said, "item", 200),
        key=_text(said, "key", 1),
        note=_text(said, "note", MOST_LETTERS).strip(),
        place=place if type(place) is int else -1,
        extra=extra if isinstance(extra, Mapping) else None,
    )


def _text(said: Mapping[str, Any], name: str, most: int) -> str:
    value = said.get(name, "")
    if not isinstance(value, str):
        raise ValueError(f"expected {name} as text, got {type(value).__name__}")
    if len(value) > most:
        raise ValueError(f"{name}: expected at most {most} letters, got {len(value)}")
    return value


def other(
    extra: Mapping[str, Any], item: ReviewItem, info: VideoInfo, taken: Answer | None, made: str | None = None
) -> Answer:
    """An answer that is not among the likely ones. taken: the likely one that has the predicted masks. made: the
    decision by which the prediction of an item without a label has become one.

    Raises: ValueError for what does not make sense for this item.
    """
    label = item.annotation_ids[0] if item.annotation_ids else made
    if label is not None:
        words, action = _other(extra, label, info, taken)
    elif taken is not None and isinstance(taken.action, AddTrack):
        words, action = "Add it with changes", _added(extra, taken.action, info)
    else:
        raise ValueError("there is neither a label nor a prediction to change")
    return Answer(words, item, "label is wrong", action, None if taken is None else taken.prediction)


def _added(extra: Mapping[str, Any], track: AddTrack, info: VideoInfo) -> AddTrack:
    """A prediction as a new label, but of another class, of a range of frames, or with one mask corrected."""
    kind, masks = extra.get("do"), list(track.masks)
    if kind == "class":
        return AddTrack(_whole(extra, "category", 0, math.inf), track.masks)
    if kind == "mask":
        found = _mask(extra, 0, info)
        masks[found.frame] = found.mask
    elif kind in ("delete frames", "take frames"):
        first = _whole(extra, "first", 0, info.length)
        last = _whole(extra, "last", first, info.length)
        keeps = kind == "take frames"
        masks = [mask if (first <= frame <= last) == keeps else None for frame, mask in enumerate(masks)]
    else:
        raise ValueError("add the prediction first: then it is a label that this can be done to")
    return AddTrack(track.category_id, tuple(masks))


def _other(extra: Mapping[str, Any], id: TrackRef, info: VideoInfo, taken: Answer | None) -> tuple[str, Action]:
    kind = extra.get("do")
    if kind == "class":
        category = _whole(extra, "category", 0, math.inf)
        return f"Change the class of label {id}", ChangeClass(id, category)
    if kind == "crowd":
        return f"Mark label {id} as crowd", MarkCrowd(id, True)
    if kind == "split":
        return f"Split label {id}", SplitTrack(id, _whole(extra, "frame", 1, info.length))
    if kind == "mask":
        return f"Correct the mask of label {id}", _mask(extra, id, info)
    if kind not in ("delete frames", "take frames"):
        raise ValueError(f"expected another answer that the tab has, got {str(kind)[:40]!r}")
    first = _whole(extra, "first", 0, info.length)
    last = _whole(extra, "last", first, info.length)
    if kind == "delete frames":
        return f"Delete frames {first} to {last} of label {id}", DeleteFrames(id, first, last)
    if taken is None or not isinstance(taken.action, AcceptMasks):
        raise ValueError("there is no prediction to take masks from")
    return f"Take frames {first} to {last}", AcceptMasks(id, first, taken.action.masks[first : last + 1])


def _mask(extra: Mapping[str, Any], id: TrackRef, info: VideoInfo) -> ReplaceMask:
    """The counts are checked as the decision is made; a mask of no pixel is one, too."""
    size, counts = extra.get("size"), extra.get("counts")
    if size != list(info.size_hw):
        raise ValueError(f"expected a mask of {list(info.size_hw)} pixels (height, width), got {str(size)[:40]}")
    if not isinstance(counts, str) or not 0 < len(counts) <= MOST_COUNTS or not counts.isascii():
        raise ValueError("expected a mask as COCO's run lengths")
    return ReplaceMask(id, _whole(extra, "frame", 0, info.length), Mask((info.size_hw[0], info.size_hw[1]), counts))


def _whole(said: Mapping[str, Any], name: str, least: int, stop: float) -> int:
    value = said.get(name)
    if type(value) is not int or not least <= value < stop:
        raise ValueError(
            f"expected {name} from {least} on{'' if stop == math.inf else f' to {stop - 1}'}, got {value!r}"
        )
    return value
