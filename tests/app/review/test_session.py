"""What pages of Review share: the log brought up to date, keys of answers, what browsers may say, the panels."""

import time
from typing import Any

import pytest

from app.review import answers
from app.review import panels as review_panels
from app.review.ledger import Ledger, about
from tevit.review import standing, tally
from tevit.review.choices import Choice
from tevit.review.decisions import (
    ChangeClass,
    Decision,
    DeleteFrames,
    DeleteTrack,
    Keep,
    MarkCrowd,
    Redo,
    ReplaceMask,
    SplitTrack,
    Undo,
    Verdict,
    decide,
)
from tevit.review.queue import Item

HASH = "a" * 64
ITEM = Item(1, "class", 0.5, 3, (7,), None, "Is label 7 <a> disc?")


class _Info:
    size_hw, length = (2, 3), 5


def said(track: int, reviewer: str = "anna", verdict: Verdict = "label is wrong") -> Decision:
    action = DeleteTrack(track) if verdict == "label is wrong" else Keep()
    return decide(HASH, track % 7, verdict, action, reviewer, tracks=(track,))


def switch(action: Undo | Redo, reviewer: str = "anna") -> Decision:
    return decide(HASH, 0, None, action, reviewer)


def test_the_ledger_says_what_the_whole_log_says():
    one, two, other = said(1), said(2), said(1, "ben", "label is right")
    log = [one, two, other, switch(Undo(two.id)), switch(Undo(two.id)), switch(Redo(two.id)), switch(Undo(one.id))]
    ledger = Ledger()
    for end in range(len(log)):
        ledger.add(log[end : end + 1])
        assert {k: +v for k, v in ledger.counts.items()} == {k: +v for k, v in tally(log[: end + 1]).items()}
        assert ledger.undone == standing(log[: end + 1]).undone
        assert len(ledger.disagreements) == len(standing(log[: end + 1]).disagreements)
    assert ledger.next("anna") == one and ledger.last("anna") == two and ledger.last("ben") == other
    done = ledger.done(about(one))
    assert done is not None and done.reviewers == ("ben",)


def test_ten_thousand_decisions_cost_no_more_than_the_new_ones():
    ledger = Ledger()
    ledger.add([said(track) for track in range(10_000)])
    assert ledger.disagreements == ()
    begin = time.perf_counter()
    ledger.add([said(10_001)])
    assert ledger.done(about(said(10_001))) is not None and len(ledger.disagreements) == 0 and ledger.last("anna")
    assert time.perf_counter() - begin < 0.5


def test_keys_of_answers_are_always_the_same():
    actions = [DeleteTrack(8), DeleteTrack(7), ChangeClass(7, 2)]
    found = [Choice(str(action), ITEM, "label is wrong", action, None) for action in actions]
    kept = [Choice(verdict, ITEM, verdict, Keep(), None) for verdict in ("label is right", "both wrong", "unclear")]
    assert list(answers.by_key([*found, *kept])) == ["1", "3", "4", "5", "7", "0"]


@pytest.mark.parametrize(
    ("extra", "action"),
    [
        ({"do": "class", "category": 3}, ChangeClass(7, 3)),
        ({"do": "crowd"}, MarkCrowd(7)),
        ({"do": "split", "frame": 2}, SplitTrack(7, 2)),
        ({"do": "delete frames", "first": 1, "last": 4}, DeleteFrames(7, 1, 4)),
    ],
)
def test_other_answers(extra: dict[str, Any], action: object):
    assert answers.other(extra, ITEM, _Info(), None).action == action  # type: ignore[arg-type]


def test_a_mask_from_a_browser_is_checked():
    right = {"do": "mask", "frame": 1, "size": [2, 3], "counts": "06"}
    assert isinstance(answers.other(right, ITEM, _Info(), None).action, ReplaceMask)  # type: ignore[arg-type]
    for wrong in ({"size": [3, 2]}, {"counts": "zz"}, {"counts": "05"}, {"counts": ""}, {"counts": 7}, {"frame": 5}):
        with pytest.raises(ValueError):
            answers.other(right | wrong, ITEM, _Info(), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data", [None, [], {}, {"kind": "drop"}, {"kind": "save", "note": 3}, {"kind": "save", "reviewer": "x" * 61}]
)
def test_what_is_no_answer_is_refused(data: object):
    with pytest.raises(ValueError, match="expected"):
        answers.read(data)
    assert answers.read({"kind": "next"}).place == -1


def test_panels_escape_and_count():
    page = review_panels.queue([(4, ITEM, "a&b", "<b>")], 4, 1, 9, (4, 4))
    assert "Is label 7 &lt;a&gt; disc?" in page and "a&amp;b" in page and "&lt;b&gt;" in page and "1 of 9" in page
    ledger = Ledger()
    ledger.add([said(1), said(1, "<i>", "label is right")])
    assert "&lt;i&gt;" in review_panels.progress(ledger, 1, 2)
    assert "Keep this one" in review_panels.disagreements(ledger.disagreements, {})
