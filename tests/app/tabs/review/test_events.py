"""Handlers of the tab Review without a browser: AP before and after can be cancelled; a mapped model; the benchmark."""

import asyncio
import json
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from app import benchmark
from app.analysis.service import EvaluationService
from app.page import hint
from app.player.component import ViewRegistry
from app.projects.project import BUNDLED, Project, open_project, with_categories
from app.tabs.review import views
from app.tabs.review.events import ReviewTab
from app.tabs.review.session import ALL_LABELS
from app.tabs.review.views import build_layout
from tevit.review.decisions import AddTrack
from tevit.review.labels import predicted_masks
from tevit.review.reviewers import Team

REQUEST: Any = SimpleNamespace(session_hash="page")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    results = BUNDLED / "predictions" / "tevit_demo.json"
    return open_project(BUNDLED / "valid_with_errors.json", BUNDLED, [results], tmp_path / "project")


def open_tab(project: Project, folder: Path) -> ReviewTab:
    with gr.Blocks():
        service = EvaluationService(folder / "cache", in_process=True)
        return ReviewTab(build_layout(), lambda request: project, ViewRegistry(), service)


def run_in_thread(coroutine: Coroutine[Any, Any, list[Any]]) -> list[Any]:
    """Its result; in this thread playwright's event loop runs once a browser test has begun."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def compare(tab: ReviewTab, cancel: bool) -> list[Any]:
    async def run() -> list[Any]:
        received = []
        async for updates in tab.compare(REQUEST):
            received.append(updates)
            if cancel:
                tab.cancel(REQUEST)
        return received

    return run_in_thread(run())


def test_ap_before_and_after_can_be_cancelled(project: Project, tmp_path: Path):
    tab = open_tab(project, tmp_path)
    c = tab.components
    received = compare(tab, cancel=True)
    assert "%" in received[0][c.comparison] and received[0][c.cancel].visible and not received[0][c.compare].visible
    assert received[-1][c.comparison] == hint(views.CANCELLED)
    assert received[-1][c.compare].visible and not received[-1][c.cancel].visible
    again = compare(tab, cancel=False)[-1]
    assert "<table" in again[c.comparison] and "tevit_demo" in again[c.comparison]


def test_of_two_queues_that_start_together_the_player_gets_its_video(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A dropdown may send its change twice: the player must have the view that the page regards as shown."""
    tab = open_tab(project, tmp_path)
    first_question, shown = tab.first_question, threading.Event()

    def observed(*args: Any) -> Any:
        updates = first_question(*args)
        shown.set()
        return updates

    async def run() -> list[Any]:
        first = tab.change_source("tevit_demo", REQUEST)
        received = [await anext(first)]
        await asyncio.to_thread(shown.wait, 0.5)
        received += [updates async for updates in tab.change_source("tevit_demo", REQUEST)]
        return received + [updates async for updates in first]

    monkeypatch.setattr(tab, "first_question", observed)
    players = [updates[tab.components.player] for updates in run_in_thread(run()) if tab.components.player in updates]
    view = tab.page(REQUEST).view
    assert view is not None and view.token in {player.value["token"] for player in players if player.value}


def test_the_queue_that_is_open_does_not_begin_anew(project: Project, tmp_path: Path):
    """A list that is only left, and each choice once more, is sent as a choice."""
    tab = open_tab(project, tmp_path)
    page, prompt = tab.page(REQUEST), tab.components.prompt

    async def choose(source: str) -> list[Any]:
        return [updates async for updates in tab.choose_source(source, REQUEST)]

    assert prompt in run_in_thread(choose("tevit_demo"))[-1]
    page.place = 3
    assert run_in_thread(choose("tevit_demo")) == [{prompt: gr.skip()}] and page.place == 3
    assert run_in_thread(choose(ALL_LABELS))[-1][prompt].value["place"] == 1
    page.errors_filter = "Errors: missed"
    assert run_in_thread(choose(ALL_LABELS)) == [{prompt: gr.skip()}] and page.errors_filter, "the list was only left"


def decide(tab: ReviewTab, request: Any, name: str) -> dict[str, str]:
    """The first question's first answer, saved by a page that gives this name; returns the message."""
    event: Any = SimpleNamespace(_data={"kind": "reviewer", "reviewer": name})
    tab.on_event(request, event)
    page = tab.page(request)
    event._data = {"kind": "save", "reviewer": name, "item": page.question_name, "key": "1"}
    return tab.on_event(request, event)[tab.components.prompt].value["message"]


def signed_in(project: Project, folder: Path, name: str, team: Team) -> tuple[ReviewTab, Any]:
    """The tab, opened by somebody who has signed in, and their request."""
    with gr.Blocks():
        service = EvaluationService(folder / "cache", in_process=True)
        tab = ReviewTab(build_layout(), lambda request: project, ViewRegistry(), service, team)
    request: Any = SimpleNamespace(session_hash="page", username=name)
    page = tab.page(request)
    tab.first_question(page, (page.session.queue(ALL_LABELS), ""), ())
    return tab, request


def test_the_name_of_the_sign_in_counts_whatever_the_page_sends(project: Project, tmp_path: Path):
    tab, request = signed_in(project, tmp_path, "ann", Team(("ann", "ben")))
    assert tab.page(request).people() == {"reviewer": "ann", "signed": "ann", "names": ["ann", "ben"], "part": ""}
    assert decide(tab, request, "ben")["text"] == "saved"
    with tab.page(request).log() as log:
        assert [decision.reviewer for decision in log.log] == ["ann"]


def test_a_sign_in_that_is_not_among_the_reviewers_saves_nothing(project: Project, tmp_path: Path):
    tab, request = signed_in(project, tmp_path, "eve", Team(("ann", "ben")))
    message = decide(tab, request, "ann")
    assert message["kind"] == "error" and "'eve' is not among the reviewers here: ann, ben." in message["text"]
    with tab.page(request).log() as log:
        assert not log.log


def test_a_missing_label_is_added_with_the_masks_of_another_prediction(project: Project, tmp_path: Path):
    """Of every prediction that overlaps the question's, in the selected frames; the class stays."""
    with gr.Blocks():
        service = EvaluationService(tmp_path / "cache", in_process=True)
        tab = ReviewTab(build_layout(), lambda request: project, ViewRegistry(), service)
    page = tab.page(REQUEST)
    missing = [q for q in page.session.queue("tevit_demo") if not q.item.annotation_ids]
    values = (tab.first_question(page, ([question], ""), ())[tab.components.prompt].value for question in missing)
    value = next(value for value in values if value["predictions"])
    places = [place for place, _ in value["predictions"]]
    assert places and page.item.prediction not in places and not value["isLabel"]
    extra = {"do": "take", "prediction": places[0], "first": 0, "last": 3}
    event: Any = SimpleNamespace(_data={"kind": "save", "reviewer": "ann", "item": page.question_name, "extra": extra})
    assert "all 1 are decided" in tab.on_event(REQUEST, event)[tab.components.prompt].value["message"]["text"]
    with page.log() as log:
        (decision,) = log.log
    project_results = project.results[project.model_index("tevit_demo")]
    own, other = (
        predicted_masks(project.dataset, project_results, page.item.video_id, place)
        for place in (page.item.prediction or 0, places[0])
    )
    assert isinstance(decision.action, AddTrack) and decision.action.masks == (*other[:4], *own[4:]) != own
    assert decision.prediction is not None and decision.prediction.place == page.item.prediction
    message = tab.on_event(REQUEST, event)[tab.components.prompt].value["message"]
    assert message["kind"] == "error" and "it may have been added by now" in message["text"]


def test_predictions_with_mapped_categories_are_reviewed(project: Project, tmp_path: Path):
    mapped = with_categories(project, "tevit_demo", {id: id for id in project.dataset.categories})
    assert open_tab(mapped, tmp_path).page(REQUEST).session.queue("tevit_demo")


def test_the_benchmark_measures(capsys: pytest.CaptureFixture):
    benchmark.main(["review", "--videos", "4", "--decisions", "30"])
    measured = json.loads(capsys.readouterr().out)
    assert measured["decisions"] == 30
    for event in ("decision", "next", "undo", "redo"):
        assert 0 < measured[f"{event}_seconds"] <= measured[f"slowest_{event}_seconds"]
