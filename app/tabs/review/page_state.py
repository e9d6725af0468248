"""The state of one page of the tab Review: its queue, its place in it and the view in its player; and its events.

What a page sends is untrusted: `read_event` and `custom_answer` check it.
"""

import math
import re
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tevit.io.ytvis import VideoInfo
from tevit.masks.rle import check_texts
from tevit.results import RLE, VideoResult
from tevit.review.decisions import (
    AcceptMasks,
    Action,
    AddTrack,
    ChangeClass,
    Decision,
    DeleteFrames,
    DeleteTrack,
    Keep,
    MarkCrowd,
    Mask,
    MergeTracks,
    ReplaceMask,
    Resolve,
    SplitTrack,
    Subject,
    SwapIdentities,
    TrackRef,
    to_mask,
)
from tevit.review.labels import overlapping_predictions
from tevit.review.log import class_name
from tevit.review.queue import Answer, ReviewItem
from tevit.review.reviewers import Team

from ...page import counted
from ...player.component import Layer, PlayerView, ViewRegistry
from ...player.proxy import dataset_frames
from ...tasks import Task
from . import views
from .session import CorrectedVideo, IndexedLog, Question, ReviewSession

MAX_NOTE = 4_000  # characters
MAX_COUNTS = 4_000_000  # characters of a mask's run lengths
MAX_NAME = 60  # characters
# "The label is right" comes before these kinds of answers, "both are wrong" and "unclear" after them.
_ORDER = (AcceptMasks, SwapIdentities, DeleteTrack, ChangeClass, MergeTracks, AddTrack, Resolve)
_VERDICT_PLACES = {"label is right": -1, "both wrong": len(_ORDER), "unclear": len(_ORDER) + 1}
MAX_ANSWERS = 9  # as many as there are keys
KINDS = ("save", "undo", "redo", "next", "previous", "go", "look", "resolve", "labels", "reviewer")


def answers_by_key(answers: Sequence[Answer]) -> dict[str, Answer]:
    """Answers by the keys 1, 2, 3, … without gaps; kinds of answers are always in the same order."""

    def place(answer: Answer) -> int:
        keep = isinstance(answer.action, Keep)
        return _VERDICT_PLACES[answer.verdict or ""] if keep else _ORDER.index(type(answer.action))

    return {str(key): answer for key, answer in enumerate(sorted(answers, key=place)[:MAX_ANSWERS], 1)}


def predicted_answer(answers: Iterable[Answer]) -> Answer | None:
    """The one that takes the predicted masks."""
    return next((answer for answer in answers if isinstance(answer.action, AcceptMasks | AddTrack)), None)


@dataclass(frozen=True)
class ReviewEvent:
    """An event of the page. kind: one of KINDS. item: name of the question that the page showed; of a "resolve": id of
    the decision to keep; of a "go": the question to go to, instead of a place. key: of the chosen answer. extra: an
    answer that has no key. place: in the queue."""

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
    extra: Mapping[str, Any],
    item: ReviewItem,
    info: VideoInfo,
    predicted: Answer | None,
    added: str | None = None,
    present: Sequence[RLE | None] = (),
) -> Answer:
    """An answer without a key: another class, frames or masks.

    extra: the page's description of it. predicted: the likely answer that takes the predicted masks. added: id of the
    decision that has made the prediction a label. present: the label's masks by now, one for each frame. Raises:
    ValueError for what is not possible for this item.
    """
    label = item.annotation_ids[0] if item.annotation_ids else added
    if label is not None:
        words, action = _change_label(extra, label, info, predicted, present)
    elif predicted is not None and isinstance(predicted.action, AddTrack):
        words, action = "Add it with changes", _change_prediction(extra, predicted.action, info)
    else:
        raise ValueError("there is neither a label nor a prediction to change")
    return Answer(words, item, "label is wrong", action, None if predicted is None else predicted.prediction)


def _change_prediction(extra: Mapping[str, Any], track: AddTrack, info: VideoInfo) -> AddTrack:
    """A prediction as a new label, with another class, a range of frames, or some masks replaced."""
    kind, masks = extra.get("do"), list(track.masks)
    if kind == "class":
        return AddTrack(integer(extra, "category", 0, math.inf), track.masks)
    if kind == "masks":
        for frame, mask in read_masks(extra, info.size_hw, info.length).items():
            masks[frame] = mask
    elif kind in ("delete frames", "take frames"):
        first, last = frame_range(extra, info)
        inside = kind == "take frames"
        masks = [mask if (first <= frame <= last) == inside else None for frame, mask in enumerate(masks)]
    else:
        raise ValueError("add the prediction first: then it is a label that this can be done to")
    return AddTrack(track.category_id, tuple(masks))


def _change_label(
    extra: Mapping[str, Any], id: TrackRef, info: VideoInfo, predicted: Answer | None, present: Sequence[RLE | None]
) -> tuple[str, Action]:
    """The answer in words, and its action."""
    kind = extra.get("do")
    if kind == "class":
        category = integer(extra, "category", 0, math.inf)
        return f"Change the class of label {id}", ChangeClass(id, category)
    if kind == "crowd":
        return f"Mark label {id} as crowd", MarkCrowd(id, True)
    if kind == "split":
        return f"Split label {id}", SplitTrack(id, integer(extra, "frame", 1, info.length))
    if kind == "masks":
        return f"Correct the mask of label {id}", _replace_masks(
            read_masks(extra, info.size_hw, info.length), id, present
        )
    if kind not in ("delete frames", "take frames"):
        raise ValueError(f"expected another answer that the tab has, got {str(kind)[:40]!r}")
    first, last = frame_range(extra, info)
    if kind == "delete frames":
        return f"Delete frames {first} to {last} of label {id}", DeleteFrames(id, first, last)
    if predicted is None or not isinstance(predicted.action, AcceptMasks):
        raise ValueError("there is no prediction to take masks from")
    return f"Take frames {first} to {last}", AcceptMasks(id, first, predicted.action.masks[first : last + 1])


def read_masks(data: Mapping[str, Any], size_hw: tuple[int, int], length: int) -> dict[int, Mask | None]:
    """The masks of a correction by frame; None where nothing is left of one: the object is not visible there.

    length: of the video. Raises: ValueError.
    """
    size, masks = data.get("size"), data.get("masks")
    if size != list(size_hw):
        raise ValueError(f"expected masks of {list(size_hw)} pixels (height, width), got {str(size)[:40]}")
    if not isinstance(masks, Mapping) or not masks:
        raise ValueError("expected a corrected mask for one frame at least")
    texts: dict[int, str] = {}
    for name, counts in masks.items():
        frame = int(name) if re.fullmatch(r"[0-9]{1,9}", str(name)) else -1
        if not 0 <= frame < length:
            raise ValueError(f"expected masks of frames 0 to {length - 1}, got frame {str(name)[:40]!r}")
        if not isinstance(counts, str) or not 0 < len(counts) <= MAX_COUNTS or not counts.isascii():
            raise ValueError(f"frame {frame}: expected a mask as COCO's run lengths")
        texts[frame] = counts
    height, width = size_hw
    checked = check_texts(list(texts.values()), [(height, width)] * len(texts))
    for place, fault in checked.faults.items():
        raise ValueError(f"frame {list(texts)[place]}: {fault}")
    filled = zip(texts.items(), checked.areas > 0, strict=True)
    return {frame: Mask((height, width), counts) if visible else None for (frame, counts), visible in filled}


def _replace_masks(masks: Mapping[int, Mask | None], id: TrackRef, present: Sequence[RLE | None]) -> Action:
    """One decision for all corrected frames; those between them keep the masks that the label has by now."""
    first, last = min(masks), max(masks)
    if first == last and (mask := masks[first]) is not None:
        return ReplaceMask(id, first, mask)
    frames = range(first, last + 1)
    return AcceptMasks(id, first, tuple(masks[at] if at in masks else to_mask(present[at]) for at in frames))


def frame_range(extra: Mapping[str, Any], info: VideoInfo) -> tuple[int, int]:
    """First and last frame of what the page describes. Raises: ValueError."""
    first = integer(extra, "first", 0, info.length)
    return first, integer(extra, "last", first, info.length)


def integer(fields: Mapping[str, Any], name: str, minimum: int, stop: float) -> int:
    """A number that the page sent. Raises: ValueError outside of `minimum` to `stop` - 1."""
    value = fields.get(name)
    if type(value) is not int or not minimum <= value < stop:
        end = "on" if stop == math.inf else f"to {stop - 1}"
        raise ValueError(f"expected {name} from {minimum} {end}, got {str(value)[:40]!r}")
    return value


TRUTH, CORRECTED, PREDICTION = "Ground truth", "Corrected", "Prediction"
OLD_VIEWS = 4  # of a page, that stay after it has moved on: its player may still be fetching from them
MIN_SCORE = 0.3  # of predictions that are shown besides the question's own


@dataclass
class ReviewPage:
    """State of one page.

    session: of its data set, as it was when the page was opened. source: model of its queue, or ALL_LABELS; None before
    the first queue. errors_filter: instead of it the filter of the tab Errors, in words. queues: number of queues
    started. keys: of the queue's questions. turn: number of updates sent, so that the page ignores older ones.
    decisions: number in the log at the last update. labels: which the player shows. view: in the player, of `video` and
    model; results: its original labels and predictions; corrected: its labels by the first `corrected_by` decisions on
    the video; drawn: whether the view shows these, and by how many decisions. old_tokens: of earlier views.
    importable: decisions of an uploaded log that can be taken over. comparison: computes AP. team: who reviews here.
    signed: the name of the sign-in, "" without one. reviewer: who the page says it is. visitor: as quotas count it.
    questions: of all reviewers.
    """

    session: ReviewSession
    registry: ViewRegistry
    team: Team = field(default_factory=Team)
    signed: str = ""
    reviewer: str = ""
    visitor: str = ""
    questions: tuple[Question, ...] = ()
    source: str | None = None
    errors_filter: str = ""
    queues: int = 0
    queue: tuple[Question, ...] = ()
    keys: tuple[Subject, ...] = ()
    place: int = 0
    turn: int = 0
    decisions: int = -1
    labels: Literal["original", "corrected"] = "original"
    view: PlayerView | None = None
    video: tuple[int, str] | None = None
    results: tuple[VideoResult | None, VideoResult | None] = (None, None)
    corrected: CorrectedVideo | None = None
    corrected_by: int = -1
    drawn: tuple[bool, int] = (False, 0)
    old_tokens: list[str] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    importable: tuple[Decision, ...] = ()
    comparison: Task | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def question(self) -> Question:
        """The current question."""
        return self.queue[self.place]

    @property
    def item(self) -> ReviewItem:
        """The current question's item."""
        return self.question.item

    @property
    def key(self) -> Subject:
        """The current question's subject."""
        return self.keys[self.place]

    @property
    def question_name(self) -> str:
        """Identifies the current question, in every queue and on every page."""
        return self._name(self.key)

    def _name(self, key: Subject) -> str:
        return f"{self.session.hash[:8]}:{':'.join(map(str, key))}"

    def place_of(self, name: str) -> int:
        """Place of a question by its name. Raises: ValueError where the queue does not have it."""
        place = next((place for place, key in enumerate(self.keys) if self._name(key) == name), None)
        if place is None:
            raise ValueError("This queue does not have that question: choose the one that it was in above.")
        return place

    # --- the queue

    def log(self) -> AbstractContextManager[IndexedLog]:
        """The log as far as this page's reviewer may see it, locked."""
        return self.session.log(self.team, self.reviewer)

    def change_reviewer(self, name: str) -> None:
        """Somebody else reviews on this page; a sign-in stays."""
        before, self.reviewer = self.reviewer, self.signed or name
        if self.reviewer != before:
            self.corrected_by = -1  # other decisions may be hidden from them

    def share_out(self) -> None:
        """Set the queue to the reviewer's part of all questions. Disagreements are everybody's."""
        keys = map(self.session.key, self.questions)
        shared = [
            (question, key) for question, key in zip(self.questions, keys, strict=True) if self._gets(question, key)
        ]
        self.queue, self.keys = tuple(question for question, _ in shared), tuple(key for _, key in shared)

    def _gets(self, question: Question, key: Subject) -> bool:
        everybody = not self.team.per_question or question.disagreement is not None
        return everybody or self.reviewer in self.team.assigned(key)

    def people(self) -> dict[str, Any]:
        """Who may review, and this page's part, as `review/people.js` expects it."""
        part, count = "", self.team.per_question
        if count and len(self.queue) < len(self.questions):
            part = f"Your part: {len(self.queue)} of {counted(len(self.questions), 'question')}"
            part += "; each is decided by two reviewers, who do not see each other's decision before." * (count == 2)
        names = list(self.team.names)
        return {"reviewer": self.reviewer, "signed": self.signed, "names": names, "part": part}

    def deciders(self, log: IndexedLog, place: int) -> tuple[str, ...]:
        """Who has decided a question, as far as the page may show it; of a disagreement: nobody, or who resolved it."""
        disagreement = self.queue[place].disagreement
        if disagreement is None:
            return log.reviewers(self.keys[place])
        ids = {d.id for d in disagreement.decisions}
        if any(d.id in ids for other in log.disagreements for d in other.decisions):
            return ()
        ended = (d.reviewer for d in reversed(log.log) if isinstance(d.action, Resolve) and ids & {*d.action.drop})
        return (next(ended, "changed since"),)

    def is_decided(self, log: IndexedLog, place: int) -> bool:
        """Of a queue that is shared out: by the page's reviewer; else by anybody."""
        names = self.deciders(log, place)
        if self.team.per_question and self.queue[place].disagreement is None:
            return self.reviewer in names
        return bool(names)

    def next_undecided(self, log: IndexedLog, start: int) -> int | None:
        """Place of the next question to decide, from `start` on and around the end; None: all are decided."""
        count = len(self.keys)
        places = ((start + step) % count for step in range(count))
        return next((place for place in places if not self.is_decided(log, place)), None)

    def queue_html(self, log: IndexedLog, decided: int) -> str:
        """The queue around the current question."""
        total = len(self.queue)
        rows = []
        for place in range(max(0, self.place - views.MAX_ROWS), min(total, self.place + views.MAX_ROWS + 1)):
            item = self.queue[place].item
            video = self.session.project.info(item.video_id).name
            rows.append(views.QueueRow(place, item, video, ", ".join(self.deciders(log, place))))
        return views.queue(rows, self.place, decided, total)

    # --- the player

    def update_view(self, log: IndexedLog) -> bool:
        """Set the view to the current question's video; returns whether the player has to load it."""
        video, model, project = self.item.video_id, self.question.model, self.session.project
        other_video = self.video != (video, model)
        if other_video:
            predictions = project.predictions(project.model_index(model), video) if model else None
            self.results, self.video, self.corrected_by = (project.ground_truth(video), predictions), (video, model), -1
        decisions = self.update_corrected(log)
        shows_corrected = self.labels == "corrected" and self.corrected is not None and self.corrected.changes > 0
        drawn = shows_corrected, decisions if shows_corrected else 0
        if not other_video and drawn == self.drawn:
            return False
        self.drawn = drawn
        if self.view is not None and not other_video:  # another version of the same view: frame and selection stay
            self.view = replace(self.view, layers=self._layers(), version=self.view.version + 1)
        else:
            if self.view is not None:
                self.old_tokens.append(self.view.token)
            while len(self.old_tokens) > OLD_VIEWS:
                self.registry.drop(self.old_tokens.pop(0))
            frames, length = dataset_frames(project, video), project.info(video).length
            self.view = PlayerView(secrets.token_hex(16), frames, 0, length, self._layers())
        self.registry.put(self.view, self.registry.folder(self.view.token), visitor=self.visitor)
        return True

    def update_corrected(self, log: IndexedLog) -> int:
        """Set `corrected` by all decisions on the question's video; returns how many there are."""
        video = self.item.video_id
        decisions = len(log.of_video(video))
        if self.corrected_by != decisions:
            self.corrected, self.corrected_by = self.session.labels.corrected(video, log), decisions
        return decisions

    def label_masks(self, log: IndexedLog) -> Sequence[RLE | None]:
        """The masks by now of the label that the question is about, one for each frame; of the one that was added where
        it is about a prediction; none before that. Raises: ValueError where the label is deleted."""
        self.update_corrected(log)
        added = log.added_track(self.key)
        if self.corrected is None or not (self.item.annotation_ids or added):
            return ()
        id = self.corrected.new_ids.get(added.id) if added else self.item.annotation_ids[0]
        track = next((track for track in self.corrected.result.tracks if track.id == id), None)
        if track is None:
            raise ValueError("This label has been deleted by now: undo that first.")
        return track.rles

    def _layers(self) -> tuple[Layer, ...]:
        labels, predictions = self.results
        layers = []
        if self.drawn[0] and self.corrected is not None:
            layers.append(Layer(CORRECTED, True, self.corrected.result))
        elif labels is not None:
            layers.append(Layer(TRUTH, True, labels))
        if predictions is not None:
            layers.append(Layer(PREDICTION, False, predictions))
        return tuple(layers)

    def selection(self, log: IndexedLog) -> list[list[int]]:
        """The question's tracks as [layer, track id] in the view, labels first."""
        assert self.view is not None
        selected = []
        added = log.added_track(self.key)
        new_id = self.corrected.new_ids.get(added.id) if added is not None and self.corrected is not None else None
        labels = (*self.item.annotation_ids, *([] if new_id is None else [new_id]))
        for place, layer in enumerate(self.view.layers):
            known = {track.id for track in layer.result.tracks}
            ids = labels if layer.truth else (self.item.prediction,)
            selected += [[place, id] for id in ids if id in known]
        return selected

    def shown_tracks(self) -> list[list[int] | None]:
        """Ids of each layer's tracks that are shown, None: all; of predictions the question's and high scores."""
        assert self.view is not None

        def visible(layer: Layer) -> list[int]:
            tracks = layer.result.tracks
            return [track.id for track in tracks if track.score >= MIN_SCORE or track.id == self.item.prediction]

        return [None if layer.truth else visible(layer) for layer in self.view.layers]

    # --- the question

    def question_value(self, log: IndexedLog) -> dict[str, Any]:
        """The current question as `player/review.js` expects it."""
        item, project = self.item, self.session.project
        names, info = project.dataset.categories, project.info(item.video_id)
        self.answers = answers_by_key(self.session.answers(self.question))
        several = len({question.model for question in self.queue}) > 1
        added, selected = log.added_track(self.key), self.selection(log)
        return {
            "turn": self.turn,
            "item": self.question_name,
            "place": self.place + 1,
            "of": len(self.queue),
            "question": item.question,
            "where": f"{info.name}, frame {item.frame}{f' · {self.question.model}' if several else ''}",
            "sides": views.sides(item, *self.results),
            "answers": [
                {"key": key, "label": answer.label, "verdict": answer.verdict} for key, answer in self.answers.items()
            ],
            "decided": [views.describe(decision, names) for decision in log.of_key(self.key)],
            "token": self.view.token if self.view else "",
            "size": list(info.size_hw),
            "isLabel": bool(item.annotation_ids or added),
            "takes": bool(item.annotation_ids and item.prediction),
            "classes": [[id, name.replace("_", " ")] for id, name in names.items()],
            "labels": self.labels,
            "changes": self.corrected.changes if self.corrected else 0,
            # A mask that is corrected by hand starts from `own`, and may be replaced by that of `taken`.
            "own": selected[0] if selected else None,
            "taken": selected[-1] if item.prediction and selected else None,
            "predictions": self._predictions(selected),
            "people": self.people(),
        }

    def _predictions(self, selected: Sequence[Sequence[int]]) -> list[list[Any]]:
        """[place, words] of every prediction that overlaps the question's first label, most first, its own in any case;
        of a question without label those that overlap its prediction.

        selected: as `selection` returns it.
        """
        if not selected or self.view is None or self.results[1] is None:
            return []
        layer = self.view.layers[selected[0][0]]
        track, names = next(t for t in layer.result.tracks if t.id == selected[0][1]), self.results[1].categories
        others = overlapping_predictions(track, self.results[1], self.item.prediction)
        if not layer.truth:
            others = [p for p in others if p.place != track.id]
        return [
            [p.place, f"{p.place} {class_name(names, p.category_id)} {p.score:.2f} · IoU {p.iou:.2f}"] for p in others
        ]
