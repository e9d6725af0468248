"""What the tabs of a public studio leave to those who run it, whatever an event's caller sends."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from app.access import Access
from app.analysis.service import EvaluationService, ThumbnailCache
from app.projects.project import BUNDLED, AllowedFolders, open_project
from app.tabs.datasets.events import DatasetsPlace
from app.tabs.datasets.events import build_layout as datasets_layout
from app.tabs.segment.events import _SegmentEvents
from app.tabs.segment.views import build_layout as segment_layout
from app.workspace import Workspace

PUBLIC = Access(public=True)
REQUEST: Any = SimpleNamespace(session_hash="page", username=None, query_params={})


def in_thread(work: Any) -> Any:
    """In this thread playwright's event loop runs once a browser test has begun."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def first(generator: Any) -> list[Any]:
    return [updates async for updates in generator]


@pytest.fixture
def place(tmp_path: Path) -> DatasetsPlace:
    results = [BUNDLED / "predictions" / "tevit_demo.json"]
    project = open_project(BUNDLED / "valid.json", BUNDLED, results, tmp_path / "project")
    service = EvaluationService(tmp_path / "cache", in_process=True)
    workspace = Workspace(project, service, ThumbnailCache(), AllowedFolders.of([BUNDLED]), access=PUBLIC)
    tasks: Any = SimpleNamespace(of=lambda project: SimpleNamespace(over=False, cancel=lambda: pytest.fail("stopped")))
    with gr.Blocks():
        return DatasetsPlace(datasets_layout(), workspace, tasks, [])


def test_no_data_set_is_opened_predicted_mapped_or_stopped(place: DatasetsPlace):
    file = str(BUNDLED / "valid.json")
    event: Any = SimpleNamespace(_data={"do": "unmap", "model": "tevit_demo"})
    for work in (
        lambda: in_thread(first(place.open(file, None, None, REQUEST))),
        lambda: place.predict("motion", 5, {}, REQUEST),
        lambda: place.stop(REQUEST),
        lambda: in_thread(place.map_categories(REQUEST, event)),
    ):
        with pytest.raises(gr.Error, match="is left to those who run it"):
            work()


def test_no_path_is_listed(place: DatasetsPlace):
    updates, c = in_thread(place.list_files(None, REQUEST)), place.components
    assert updates[c.truth].choices == [] and updates[c.form].visible is False
    assert str(BUNDLED) not in str(updates[c.folders])


@pytest.fixture
def cancelled() -> list[str]:
    """Tokens of the runs that were cancelled."""
    return []


@pytest.fixture
def segment(cancelled: list[str]) -> _SegmentEvents:
    worker = SimpleNamespace(cancel=cancelled.append)
    studio: Any = SimpleNamespace(worker=worker, downloads=SimpleNamespace(start=lambda model: pytest.fail("fetched")))
    with gr.Blocks():
        return _SegmentEvents(segment_layout([]), studio, PUBLIC)


def test_no_weights_are_downloaded(segment: _SegmentEvents):
    with pytest.raises(gr.Error, match="downloading weights is left to those who run it"):
        in_thread(first(segment.get_weights("tevit_r50", REQUEST)))


def test_only_the_page_that_started_a_run_stops_it(segment: _SegmentEvents, cancelled: list[str]):
    session = segment._session(REQUEST)
    session.token = session.own = "mine"
    segment.cancel(REQUEST)
    session.token = "somebody's"
    with pytest.raises(gr.Error, match="was started on another page"):
        segment.cancel(REQUEST)
    assert cancelled == ["mine"]
