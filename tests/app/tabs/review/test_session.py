"""What the pages of Review share: the indexed log, panels, corrected videos, imported logs, the list of errors."""

import json
import time
from pathlib import Path

import pytest

from app.analysis.filter import Filter, ViewSettings, to_query
from app.analysis.service import EvaluationService
from app.projects.project import BUNDLED, open_project
from app.tabs.review import session as reviews
from app.tabs.review import views
from app.tabs.review.session import IndexedLog, Question, ReviewSession
from tests.tevit.review.test_queue import corrections
from tevit.io.ytvis import parse_dataset
from tevit.review import LogState, correct
from tevit.review.decisions import (
    AddTrack,
    ChangeClass,
    Decision,
    DeleteTrack,
    Keep,
    Redo,
    Undo,
    Verdict,
    decide,
    subject_of,
    to_line,
)
from tevit.review.queue import ReviewItem

HASH = "a" * 64
ITEM = ReviewItem(1, "class", 0.5, 3, (7,), None, "Is label 7 <a> disc?")


def decision_on(track: int, reviewer: str = "anna", verdict: Verdict = "label is wrong") -> Decision:
    action = DeleteTrack(track) if verdict == "label is wrong" else Keep()
    return decide(HASH, track % 7, verdict, action, reviewer, tracks=(track,))


def switch(action: Undo | Redo, reviewer: str = "anna") -> Decision:
    return decide(HASH, 0, None, action, reviewer)


def test_a_log_indexed_step_by_step_equals_the_state_of_the_whole_log():
    one, two, other = decision_on(1), decision_on(2), decision_on(1, "ben", "label is right")
    log = [one, two, other, switch(Undo(two.id)), switch(Undo(two.id)), switch(Redo(two.id)), switch(Undo(one.id))]
    state = IndexedLog()
    for end in range(len(log)):
        state.add(log[end : end + 1])
        replayed = LogState(log[: end + 1])
        assert {k: +v for k, v in state.verdict_counts.items()} == {k: +v for k, v in replayed.verdict_counts.items()}
        assert state.undone == replayed.undone
        assert len(state.disagreements) == len(replayed.disagreements)
    assert state.redoable("anna") == one and state.undoable("anna") == two and state.undoable("ben") == other
    assert state.reviewers(subject_of(one)) == ("ben",)


def test_ten_thousand_decisions_cost_no_more_than_the_new_ones():
    log = IndexedLog()
    log.add([decision_on(track) for track in range(10_000)])
    assert log.disagreements == ()
    begin = time.perf_counter()
    log.add([decision_on(10_001)])
    assert log.reviewers(subject_of(decision_on(10_001))) and len(log.disagreements) == 0 and log.undoable("anna")
    assert time.perf_counter() - begin < 0.5


def test_panels_escape_and_count():
    page = views.queue([views.QueueRow(4, ITEM, "a&b", "<b>")], 4, 1, 9)
    assert "Is label 7 &lt;a&gt; disc?" in page and "a&amp;b" in page and "&lt;b&gt;" in page and "1 of 9" in page
    log = IndexedLog()
    log.add([decision_on(1), decision_on(1, "<i>", "label is right")])
    progress = views.progress(log, 1, 2, {})
    assert "&lt;i&gt;" in progress and "Keep this one" in progress


# --- one project's review, on the bundled set


@pytest.fixture
def session(tmp_path: Path) -> ReviewSession:
    predictions = BUNDLED / "predictions" / "tevit_demo.json"
    return ReviewSession(open_project(BUNDLED / "valid_with_errors.json", BUNDLED, [predictions], tmp_path / "project"))


def test_a_corrected_video_equals_the_export(session: ReviewSession):
    """Also the ids of new tracks: they follow the highest of all videos, in the order of the whole log."""
    log = [*corrections(), decision_on(3)]
    for decision in [*log, decide(log[0].dataset, log[3].video_id, None, Undo(log[3].id), "ann")]:
        session.store.append(decision)
    exported = parse_dataset(correct(session.original, session.store.decisions(), only_fitting=True).data, "exported")
    with session.log() as state:
        for video in exported.videos:
            corrected = session.labels.corrected(video, state)
            assert [(t.id, t.category_id, t.rles) for t in corrected.result.tracks] == [
                (t.id, t.category_id, t.rles) for t in exported.video(video).tracks
            ]
        added = [d for d in log if isinstance(d.action, AddTrack)]
        assert len(added) >= 2 and all(d.id in session.labels.corrected(d.video_id, state).new_ids for d in added)
        assert (
            session.labels.corrected(log[3].video_id, state).changes
            == sum(d.video_id == log[3].video_id for d in log) - 1
        )


def test_annotation_0_keeps_its_id_on_the_page_and_gets_another_in_the_export(tmp_path: Path):
    labels = json.loads((BUNDLED / "valid_with_errors.json").read_text())
    first = labels["annotations"][0]
    first["id"], video = 0, first["video_id"]
    gt = tmp_path / "gt.json"
    gt.write_text(json.dumps(labels))
    predictions = BUNDLED / "predictions" / "tevit_demo.json"
    session = ReviewSession(open_project(gt, BUNDLED, [predictions], tmp_path / "project"))
    add = next(d for d in corrections() if isinstance(d.action, AddTrack))
    log = [decide(session.hash, video, "label is wrong", ChangeClass(0, 3), "ann"),
           decide(session.hash, add.video_id, "label is wrong", add.action, "ann")]  # fmt: skip
    for decision in log:
        session.store.append(decision)
    corrected = correct(session.original, session.store.decisions(), only_fitting=True)
    with session.log() as state:
        track = next(t for t in session.labels.corrected(video, state).result.tracks if t.id == 0)
        assert track.category_id == 3
        assert session.labels.corrected(add.video_id, state).new_ids[log[1].id] == corrected.new_ids[log[1].id]
    notes = reviews.write_file("corrected.json", session, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "corrected.json").read_text())["annotations"]
    assert written[0]["id"] == corrected.renumbered[0] and all(a["id"] for a in written)
    assert notes == [f"Annotation 0 became {written[0]['id']}: the official evaluation can never match the id 0"]


def test_an_added_prediction_is_found_by_its_question(session: ReviewSession):
    question = Question(ReviewItem(1, "missing", 0.5, 0, (), 1, "?"), "tevit_demo")
    add = session.answers(question)[0].decision(session.hash, "anna")
    session.store.append(add)
    changed = decide(session.hash, 1, "label is wrong", ChangeClass(add.id, 3), "anna", prediction=add.prediction)
    session.store.append(changed)
    with session.log() as log:
        key = session.key(question)
        assert log.added_track(key) == add and log.of_key(key) == (add, changed)
        number = session.labels.corrected(1, log).new_ids[add.id]
        assert next(t for t in session.labels.corrected(1, log).result.tracks if t.id == number).category_id == 3
    assert [session.undo_or_redo("anna", undo=True) for _ in range(2)] == [changed, add]
    with session.log() as log:
        assert log.added_track(key) is None


def test_of_an_imported_log_what_fits_is_applicable(session: ReviewSession):
    first, second = session.project.dataset.annotations_of(1)[:2]
    good, bad, undone = (decide(HASH, 1, "label is wrong", DeleteTrack(id), "ann") for id in (first.id, 999, second.id))
    more = [decide(HASH, 1, None, action, "ann") for action in (Undo(bad.id), Redo(bad.id), Undo(undone.id))]
    log = [good, bad, *more[:2], undone, more[2]]
    imported = reviews.read_import(session, "\n".join(map(to_line, log)).encode(), "log.jsonl")
    assert imported.needs_confirmation and imported.new == tuple(log) and imported.other_versions == {HASH: 6}
    assert imported.applicable == (good, undone, log[-1]), "an undo of what is left out has nothing to work on"
    assert len(imported.not_applicable) == 3 and session.store.count() == 0


def test_of_an_imported_log_unreadable_lines_are_listed(session: ReviewSession):
    good = decide(HASH, 1, "label is wrong", DeleteTrack(session.project.dataset.annotations_of(1)[0].id), "ann")
    imported = reviews.read_import(session, b'{"id":"\\xff"}\n' + to_line(good).encode(), "log.jsonl")
    assert imported.applicable == (good,) and imported.needs_confirmation
    assert [text.partition(":")[0] for text in imported.not_applicable] == ["log.jsonl, line 1"]


def test_the_list_of_errors_is_a_queue(session: ReviewSession, tmp_path: Path):
    service = EvaluationService(tmp_path / "findings", in_process=True)
    types = ("background", "classification", "correct")
    query = to_query(ViewSettings(filter=Filter(types=types), order="score"))
    queue, words = session.queue_of_errors(service, query)
    assert words == "Errors: background, classification, correct"
    kinds = {question.item.kind for question in queue}
    assert kinds == set(types)
    keys = [session.key(question) for question in queue]
    assert len(set(keys)) == len(keys) > 30
    results = session.project.results[0]
    scores = [results.predictions[question.item.prediction - 1].score for question in queue if question.item.prediction]
    assert len(scores) == len(queue) and scores == sorted(scores, reverse=True)
    for question in queue:
        assert session.answers(question) and "{" not in question.item.question
    with pytest.raises(ValueError):
        session.queue_of_errors(service, "filter=[]")
