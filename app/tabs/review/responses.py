"""The answers to a question by key, and the checks of what a page sends, which is untrusted."""

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

MAX_NOTE = 4_000  # characters
MAX_COUNTS = 4_000_000  # characters of a mask's run lengths
MAX_NAME = 60  # characters
_KEYS: Mapping[type, Sequence[str]] = {
    AcceptMasks: "2",
    AddTrack: "2",
    SwapIdentities: "2",
    DeleteTrack: "35",
    ChangeClass: "4",
    MergeTracks: "6",
}
_VERDICT_KEYS = {"label is right": "1", "both wrong": "7", "unclear": "0"}
KINDS = ("save", "undo", "redo", "next", "previous", "go", "look", "resolve", "labels")


def answers_by_key(answers: Sequence[Answer]) -> dict[str, Answer]:
    """The same kind of answer always has the same key: 1 right, 2 as predicted, 3 delete, 4 class, 0 unclear."""
    by_key: dict[str, Answer] = {}
    for answer in answers:
        keys = _VERDICT_KEYS[answer.verdict] if isinstance(answer.action, Keep) else _KEYS[type(answer.action)]
        key = next((key for key in keys if key not in by_key), None)
        if key is not None:
            by_key[key] = answer
    return dict(sorted(by_key.items(), key=lambda pair: (pair[0] == "0", pair[0])))


@dataclass(frozen=True)
class ReviewEvent:
    """An event of the page. kind: one of KINDS. item: name of the question that the page showed; of a "resolve": id of
    the decision to keep. key: of the chosen answer. extra: an answer that has no key. place: in the queue."""

    kind: str
    reviewer: str
    item: str = ""
    key: str = ""
    note: str = ""
    place: int = -1
    extra: Mapping[str, Any] | None = None


def read_event(data: object) -> ReviewEvent:
    """Raises: ValueError where the data is not what the tab's script sends."""
    fields = data if isinstance(data, Mapping) else {}
    kind = fields.get("kind")
    if kind not in KINDS:
        raise ValueError(f"expected one of {', '.join(KINDS)}, got {str(kind)[:40]!r}")
    place, extra = fields.get("place", -1), fields.get("extra")
    return ReviewEvent(
        kind=str(kind),
        reviewer=_text(fields, "reviewer", MAX_NAME).strip(),
        item=_text(fields, "item", 200),
        key=_text(fields, "key", 1),
        note=_text(fields, "note", MAX_NOTE).strip(),
        place=place if type(place) is int else -1,
        extra=extra if isinstance(extra, Mapping) else None,
    )


def _text(fields: Mapping[str, Any], name: str, max_length: int) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise ValueError(f"expected {name} as text, got {type(value).__name__}")
    if len(value) > max_length:
        raise ValueError(f"{name}: expected at most {max_length} letters, got {len(value)}")
    return value


def custom_answer(
    extra: Mapping[str, Any], item: ReviewItem, info: VideoInfo, predicted: Answer | None, added: str | None = None
) -> Answer:
    """An answer without a key: another class, frames or mask.

    extra: the page's description of it. predicted: the likely answer that takes the predicted masks. added: id of the
    decision that has made the prediction a label. Raises: ValueError for what is not possible for this item.
    """
    label = item.annotation_ids[0] if item.annotation_ids else added
    if label is not None:
        words, action = _change_label(extra, label, info, predicted)
    elif predicted is not None and isinstance(predicted.action, AddTrack):
        words, action = "Add it with changes", _change_prediction(extra, predicted.action, info)
    else:
        raise ValueError("there is neither a label nor a prediction to change")
    return Answer(words, item, "label is wrong", action, None if predicted is None else predicted.prediction)


def _change_prediction(extra: Mapping[str, Any], track: AddTrack, info: VideoInfo) -> AddTrack:
    """A prediction as a new label, with another class, a range of frames, or one mask replaced."""
    kind, masks = extra.get("do"), list(track.masks)
    if kind == "class":
        return AddTrack(_integer(extra, "category", 0, math.inf), track.masks)
    if kind == "mask":
        replaced = _mask(extra, 0, info)
        masks[replaced.frame] = replaced.mask
    elif kind in ("delete frames", "take frames"):
        first, last = _frame_range(extra, info)
        inside = kind == "take frames"
        masks = [mask if (first <= frame <= last) == inside else None for frame, mask in enumerate(masks)]
    else:
        raise ValueError("add the prediction first: then it is a label that this can be done to")
    return AddTrack(track.category_id, tuple(masks))


def _change_label(
    extra: Mapping[str, Any], id: TrackRef, info: VideoInfo, predicted: Answer | None
) -> tuple[str, Action]:
    """The answer in words, and its action."""
    kind = extra.get("do")
    if kind == "class":
        category = _integer(extra, "category", 0, math.inf)
        return f"Change the class of label {id}", ChangeClass(id, category)
    if kind == "crowd":
        return f"Mark label {id} as crowd", MarkCrowd(id, True)
    if kind == "split":
        return f"Split label {id}", SplitTrack(id, _integer(extra, "frame", 1, info.length))
    if kind == "mask":
        return f"Correct the mask of label {id}", _mask(extra, id, info)
    if kind not in ("delete frames", "take frames"):
        raise ValueError(f"expected another answer that the tab has, got {str(kind)[:40]!r}")
    first, last = _frame_range(extra, info)
    if kind == "delete frames":
        return f"Delete frames {first} to {last} of label {id}", DeleteFrames(id, first, last)
    if predicted is None or not isinstance(predicted.action, AcceptMasks):
        raise ValueError("there is no prediction to take masks from")
    return f"Take frames {first} to {last}", AcceptMasks(id, first, predicted.action.masks[first : last + 1])


def _mask(extra: Mapping[str, Any], id: TrackRef, info: VideoInfo) -> ReplaceMask:
    # The run lengths are checked when the decision is made; an empty mask is valid.
    size, counts = extra.get("size"), extra.get("counts")
    if size != list(info.size_hw):
        raise ValueError(f"expected a mask of {list(info.size_hw)} pixels (height, width), got {str(size)[:40]}")
    if not isinstance(counts, str) or not 0 < len(counts) <= MAX_COUNTS or not counts.isascii():
        raise ValueError("expected a mask as COCO's run lengths")
    return ReplaceMask(id, _integer(extra, "frame", 0, info.length), Mask((info.size_hw[0], info.size_hw[1]), counts))


def _frame_range(extra: Mapping[str, Any], info: VideoInfo) -> tuple[int, int]:
    """First and last frame."""
    first = _integer(extra, "first", 0, info.length)
    return first, _integer(extra, "last", first, info.length)


def _integer(fields: Mapping[str, Any], name: str, minimum: int, stop: float) -> int:
    value = fields.get(name)
    if type(value) is not int or not minimum <= value < stop:
        end = "" if stop == math.inf else f" to {stop - 1}"
        raise ValueError(f"expected {name} from {minimum} on{end}, got {value!r}")
    return value
