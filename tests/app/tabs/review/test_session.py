"""What pages of Review share: the log brought up to date, keys of answers, what browsers may say, the panels."""

import time
from pathlib import Path
from typing import Any

import pytest

from app.analysis.filter import Filter
from app.analysis.service import EvaluationService
from app.projects.opening import BUNDLED, open_project
from app.tabs.errors.routes import ViewSettings, to_query
from app.tabs.review import exports as files
from app.tabs.review import responses as answers
from app.tabs.review import views as review_panels
from app.tabs.review.from_errors import picked
from app.tabs.review.log_state import IndexedLog, decision_key
from app.tabs.review.session import Asked, Reviewing
from tests.tevit.review.test_queue import corrections
from tevit.io.ytvis import parse_dataset
from tevit.review import LogState, correct
from tevit.review.decisions import (
    AddTrack,
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
    to_line,
)
from tevit.review.queue import Answer, ReviewItem

HASH = "a" * 64
ITEM = ReviewItem(1, "class", 0.5, 3, (7,), None, "Is label 7 <a> disc?")


class _Info:
    size_hw, length = (2, 3), 5


def said(track: int, reviewer: str = "anna", verdict: Verdict = "label is wrong") -> Decision:
    action = DeleteTrack(track) if verdict == "label is wrong" else Keep()
    return decide(HASH, track % 7, verdict, action, reviewer, tracks=(track,))


def switch(action: Undo | Redo, reviewer: str = "anna") -> Decision:
    return decide(HASH, 0, None, action, reviewer)


def test_a_log_indexed_step_by_step_equals_the_state_of_the_whole_log():
    one, two, other = said(1), said(2), said(1, "ben", "label is right")
    log = [one, two, other, switch(Undo(two.id)), switch(Undo(two.id)), switch(Redo(two.id)), switch(Undo(one.id))]
    ledger = IndexedLog()
    for end in range(len(log)):
        ledger.add(log[end : end + 1])
        whole = LogState(log[: end + 1])
        assert {k: +v for k, v in ledger.verdict_counts.items()} == {k: +v for k, v in whole.verdict_counts.items()}
        assert ledger.undone == whole.undone
        assert len(ledger.disagreements) == len(whole.disagreements)
    assert ledger.redoable("anna") == one and ledger.undoable("anna") == two and ledger.undoable("ben") == other
    done = ledger.status(decision_key(one))
    assert done is not None and done.reviewers == ("ben",)


def test_ten_thousand_decisions_cost_no_more_than_the_new_ones():
    ledger = IndexedLog()
    ledger.add([said(track) for track in range(10_000)])
    assert ledger.disagreements == ()
    begin = time.perf_counter()
    ledger.add([said(10_001)])
    assert (
        ledger.status(decision_key(said(10_001))) is not None
        and len(ledger.disagreements) == 0
        and ledger.undoable("anna")
    )
    assert time.perf_counter() - begin < 0.5


def test_keys_of_answers_are_always_the_same():
    actions = [DeleteTrack(8), DeleteTrack(7), ChangeClass(7, 2)]
    found = [Answer(str(action), ITEM, "label is wrong", action, None) for action in actions]
    kept = [Answer(verdict, ITEM, verdict, Keep(), None) for verdict in ("label is right", "both wrong", "unclear")]
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
    ledger = IndexedLog()
    ledger.add([said(1), said(1, "<i>", "label is right")])
    assert "&lt;i&gt;" in review_panels.progress(ledger, 1, 2)
    assert "Keep this one" in review_panels.disagreements(ledger.disagreements, {})


# --- one project's review, on the bundled set


@pytest.fixture
def reviewing(tmp_path: Path) -> Reviewing:
    found = BUNDLED / "predictions" / "tevit_demo.json"
    return Reviewing(open_project(BUNDLED / "valid_with_errors.json", BUNDLED, [found], tmp_path / "project"))


def test_a_video_as_the_log_has_it_is_what_the_export_has(reviewing: Reviewing):
    """Also the ids of tracks that were made: they follow the highest of all videos, in the order of the whole log."""
    log = [*corrections(), said(3)]
    for decision in [*log, decide(log[0].dataset, log[3].video_id, None, Undo(log[3].id), "ann")]:
        reviewing.append(decision)
    whole = parse_dataset(correct(reviewing.original, reviewing.store.decisions(), only_fitting=True).data, "whole")
    with reviewing.ledger() as ledger:
        for video in whole.videos:
            now = reviewing.now(video, ledger)
            assert [(t.id, t.category_id, t.rles) for t in now.result.tracks] == [
                (t.id, t.category_id, t.rles) for t in whole.video(video).tracks
            ]
        made = [d for d in log if isinstance(d.action, AddTrack)]
        assert len(made) >= 2 and all(d.id in reviewing.now(d.video_id, ledger).made for d in made)
        assert reviewing.now(log[3].video_id, ledger).changes == sum(d.video_id == log[3].video_id for d in log) - 1


def test_what_was_added_of_a_prediction_is_found_by_it(reviewing: Reviewing):
    asked = Asked(ReviewItem(1, "missing", 0.5, 0, (), 1, "?"), "tevit_demo")
    add = reviewing.choices(asked)[0].decision(reviewing.hash, "anna")
    reviewing.append(add)
    changed = decide(reviewing.hash, 1, "label is wrong", ChangeClass(add.id, 3), "anna", prediction=add.prediction)
    reviewing.append(changed)
    with reviewing.ledger() as ledger:
        key = reviewing.key(asked)
        assert ledger.added_track(key) == add and ledger.of_key(key) == (add, changed)
        number = reviewing.now(1, ledger).made[add.id]
        assert next(t for t in reviewing.now(1, ledger).result.tracks if t.id == number).category_id == 3
    assert [reviewing.undo("anna"), reviewing.undo("anna")] == [changed, add]
    with reviewing.ledger() as ledger:
        assert ledger.added_track(key) is None


def test_a_log_is_taken_as_far_as_it_fits(reviewing: Reviewing):
    first, second = reviewing.project.dataset.annotations_of(1)[:2]
    good, bad, undone = (decide(HASH, 1, "label is wrong", DeleteTrack(id), "ann") for id in (first.id, 999, second.id))
    more = [decide(HASH, 1, None, action, "ann") for action in (Undo(bad.id), Redo(bad.id), Undo(undone.id))]
    log = [good, bad, *more[:2], undone, more[2]]
    found = files.read_import(reviewing, "\n".join(map(to_line, log)).encode(), "log.jsonl")
    assert found.doubtful and found.new == tuple(log) and found.others == {HASH: 6}
    assert found.fitting == (good, undone, log[-1]), "an undo of what is left out has nothing to work on"
    assert len(found.unfit) == 3 and reviewing.store.count() == 0


def test_the_list_of_errors_is_a_queue(reviewing: Reviewing, tmp_path: Path):
    desk = EvaluationService(tmp_path / "findings", in_process=True)
    types = ("background", "classification", "correct")
    query = to_query(ViewSettings(filter=Filter(types=types), order="score"))
    queue, words = picked(desk, reviewing, query)
    assert words == "Errors: background, classification, correct"
    kinds = {asked.item.kind for asked in queue}
    assert kinds == set(types)
    keys = [reviewing.key(asked) for asked in queue]
    assert len(set(keys)) == len(keys) > 30
    results = reviewing.project.results[0]
    scores = [results.predictions[asked.item.prediction - 1].score for asked in queue if asked.item.prediction]
    assert len(scores) == len(queue) and scores == sorted(scores, reverse=True)
    for asked in queue:
        assert reviewing.choices(asked) and "{" not in asked.item.question
    with pytest.raises(ValueError):
        picked(desk, reviewing, "filter=[]")
