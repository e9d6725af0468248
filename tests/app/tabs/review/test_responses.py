"""Answers that need more than a key: of a label, of a prediction that is none yet, and of one that has become one."""

from typing import Any

import pytest

from app.tabs.review import responses as answers
from tevit.review.decisions import AddTrack, ChangeClass, Mask, PredictionRef, ReplaceMask
from tevit.review.queue import Answer, ReviewItem

ITEM = ReviewItem(1, "missing", 0.5, 1, (), 4, "Is a label missing?")
FULL, EMPTY = Mask((2, 3), "06"), Mask((2, 3), "6")
TAKEN = Answer("Add", ITEM, "label is wrong", AddTrack(2, (FULL, FULL, None)), PredictionRef("a.json", "b" * 64, 4))


class _Info:
    size_hw, length = (2, 3), 3


def answer(extra: dict[str, Any], made: str | None = None) -> Answer:
    return answers.other(extra, ITEM, _Info(), TAKEN, made)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("extra", "track"),
    [
        ({"do": "class", "category": 3}, AddTrack(3, (FULL, FULL, None))),
        ({"do": "take frames", "first": 1, "last": 2}, AddTrack(2, (None, FULL, None))),
        ({"do": "delete frames", "first": 1, "last": 1}, AddTrack(2, (FULL, None, None))),
        ({"do": "mask", "frame": 2, "size": [2, 3], "counts": "24"}, AddTrack(2, (FULL, FULL, Mask((2, 3), "24")))),
    ],
)
def test_a_prediction_is_added_with_changes(extra: dict[str, Any], track: AddTrack):
    found = answer(extra)
    assert found.action == track and found.prediction == TAKEN.prediction and found.verdict == "label is wrong"


def test_what_was_added_is_a_label():
    mask = {"do": "mask", "frame": 0, "size": [2, 3], "counts": "24"}
    assert answer(mask, "d1").action == ReplaceMask("d1", 0, Mask((2, 3), "24"))
    assert answer({"do": "class", "category": 3}, "d1").action == ChangeClass("d1", 3)


def test_what_only_a_label_can_be_done_to_says_so():
    for extra in ({"do": "crowd"}, {"do": "split", "frame": 1}):
        with pytest.raises(ValueError, match="add the prediction first"):
            answer(extra)
    with pytest.raises(ValueError, match="a mask in one frame at least"):
        answer({"do": "take frames", "first": 2, "last": 2})
