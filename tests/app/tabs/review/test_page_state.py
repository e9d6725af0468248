"""Answers by key; answers without one, for a label, a prediction and an added prediction; checked events."""

from typing import Any

import pytest

from app.tabs.review.page_state import answers_by_key, custom_answer, read_event
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
    PredictionRef,
    ReplaceMask,
    SplitTrack,
)
from tevit.review.queue import Answer, ReviewItem

LABEL = ReviewItem(1, "class", 0.5, 3, (7,), None, "Is label 7 a disc?")
ITEM = ReviewItem(1, "missing", 0.5, 1, (), 4, "Is a label missing?")
FULL, PART = Mask((2, 3), "06"), Mask((2, 3), "24")
TAKEN = Answer("Add", ITEM, "label is wrong", AddTrack(2, (FULL, FULL, None)), PredictionRef("a.json", "b" * 64, 4))


class _Info:
    size_hw, length = (2, 3), 3


class _LongInfo:
    size_hw, length = (2, 3), 5


def answer(extra: dict[str, Any], added: str | None = None) -> Answer:
    return custom_answer(extra, ITEM, _Info(), TAKEN, added)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("extra", "track"),
    [
        ({"do": "class", "category": 3}, AddTrack(3, (FULL, FULL, None))),
        ({"do": "take frames", "first": 1, "last": 2}, AddTrack(2, (None, FULL, None))),
        ({"do": "delete frames", "first": 1, "last": 1}, AddTrack(2, (FULL, None, None))),
        ({"do": "masks", "size": [2, 3], "masks": {"2": "24", "1": "6"}}, AddTrack(2, (FULL, None, PART))),
    ],
)
def test_a_prediction_is_added_with_changes(extra: dict[str, Any], track: AddTrack):
    parsed = answer(extra)
    assert parsed.action == track and parsed.prediction == TAKEN.prediction and parsed.verdict == "label is wrong"


def test_an_added_prediction_is_a_label():
    mask = {"do": "masks", "size": [2, 3], "masks": {"0": "24"}}
    assert answer(mask, "d1").action == ReplaceMask("d1", 0, PART)
    assert answer({"do": "class", "category": 3}, "d1").action == ChangeClass("d1", 3)


def test_changes_that_need_a_label_are_refused():
    for extra in ({"do": "crowd"}, {"do": "split", "frame": 1}):
        with pytest.raises(ValueError, match="add the prediction first"):
            answer(extra)
    with pytest.raises(ValueError, match="a mask in one frame at least"):
        answer({"do": "take frames", "first": 2, "last": 2})


def test_keys_of_answers_have_no_gaps_and_always_the_same_order():
    actions = [DeleteTrack(8), DeleteTrack(7), ChangeClass(7, 2)]
    corrections = [Answer(str(action), LABEL, "label is wrong", action, None) for action in actions]
    remaining = [
        Answer(verdict, LABEL, verdict, Keep(), None) for verdict in ("label is right", "both wrong", "unclear")
    ]
    by_key = answers_by_key([*corrections, *remaining])
    assert list(by_key) == ["1", "2", "3", "4", "5", "6"]
    assert [by_key[key].verdict for key in "156"] == ["label is right", "both wrong", "unclear"]
    assert [by_key[key].action for key in "234"] == [DeleteTrack(8), DeleteTrack(7), ChangeClass(7, 2)]
    assert len(answers_by_key([corrections[0]] * 12)) == 9, "there are nine keys"


@pytest.mark.parametrize(
    ("extra", "action"),
    [
        ({"do": "class", "category": 3}, ChangeClass(7, 3)),
        ({"do": "crowd"}, MarkCrowd(7)),
        ({"do": "split", "frame": 2}, SplitTrack(7, 2)),
        ({"do": "delete frames", "first": 1, "last": 4}, DeleteFrames(7, 1, 4)),
    ],
)
def test_custom_answers(extra: dict[str, Any], action: object):
    assert custom_answer(extra, LABEL, _LongInfo(), None).action == action  # type: ignore[arg-type]


def corrected(masks: object, size: object = (2, 3)) -> Action:
    """The action for masks by frame, of a label that is present in frames 0, 2 and 3 of 5."""
    extra = {"do": "masks", "masks": masks, "size": list(size) if isinstance(size, tuple) else size}
    present = (FULL.rle, None, PART.rle, FULL.rle, None)
    return custom_answer(extra, LABEL, _LongInfo(), None, None, present).action  # type: ignore[arg-type]


def test_corrected_masks_of_many_frames_are_one_decision():
    assert corrected({"1": "24"}) == ReplaceMask(7, 1, PART)
    assert corrected({"1": "24", "4": "06"}) == AcceptMasks(7, 1, (PART, PART, FULL, FULL))
    assert corrected({"3": "24", "0": "24"}) == AcceptMasks(7, 0, (PART, None, PART, PART))
    assert corrected({"0": "6", "1": "06"}) == AcceptMasks(7, 0, (None, FULL)), "nothing is left of the first mask"
    assert corrected({"2": "6"}) == AcceptMasks(7, 2, (None,))


@pytest.mark.parametrize(
    "masks", [None, [], {}, {"5": "06"}, {"-1": "06"}, {"x": "06"}, {"1": "zz"}, {"1": "05"}, {"1": ""}, {"1": 7}]
)
def test_masks_from_a_browser_are_checked(masks: object):
    with pytest.raises(ValueError, match=r"expected|pixels|frame"):
        corrected(masks)


def test_masks_of_another_size_are_refused():
    for size in ((3, 2), None, "23"):
        with pytest.raises(ValueError, match=r"expected masks of \[2, 3\] pixels"):
            corrected({"1": "06"}, size)


@pytest.mark.parametrize(
    "data", [None, [], {}, {"kind": "drop"}, {"kind": "save", "note": 3}, {"kind": "save", "reviewer": "x" * 61}]
)
def test_invalid_events_are_refused(data: object):
    with pytest.raises(ValueError, match="expected"):
        read_event(data)
    assert read_event({"kind": "next"}).place == -1
