"""Events of the tab Compare that arrive while it changes."""

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from app.analysis.filter import error_view
from app.analysis.service import EvaluationService, ThumbnailCache
from app.page import View, to_query
from app.player.component import PlayerView, ViewRegistry
from app.projects.project import bundled
from app.tabs.compare.events import ComparePage, _CompareTab
from app.tabs.compare.views import build_layout
from app.tabs.errors.events import error_pages
from app.workspace import TabLinks, Workspace


class _EventsOnly(_CompareTab):
    """The handlers, on one page without a user interface."""

    def __init__(self, page: Any):
        self._page = lambda request: page
        self.components: Any = SimpleNamespace(address="address")
        self._unchanged: Any = {}


def test_a_late_frame_of_the_former_video_is_void_while_the_next_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It set the frame at which the next error was shown, where it came between the choice and the new player."""
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path))
    frames: Any = None
    page = ComparePage(bundled(), errors=frames, view=View(video=1, models=("tevit_demo",)))
    page.player_view = PlayerView(page.current_token(), frames, 0, 30, ())
    event: Any = SimpleNamespace(_data={"kind": "frame", "frame": 25, "token": page.token})
    request: Any = None
    tab = _EventsOnly(page)
    tab.on_player_event(request, event)
    assert page.view.frame == 25
    page.view = replace(page.view, video=9, frame=11)  # the next error was chosen
    tab.on_player_event(request, event)
    assert page.view.frame == 11


def test_of_an_earlier_view_no_matches_are_shown_after_a_later_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """They replaced the player of the later one by that of the earlier one."""
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path))
    errors: Any = None
    page = ComparePage(bundled(), errors=errors, view=View(video=1, models=("tevit_demo",)))
    tab: Any = _EventsOnly(page)
    tab.workspace = SimpleNamespace(find=lambda id: page.project)
    tab._show_video = lambda page: {"video": page.view.video}
    tab._matches = lambda page: {"matches of": page.view.video}
    first, shown = tab._begin(lambda now: replace(now, video=2), page)
    assert shown == {"video": 2} and tab._show_matches(page, first) == {"matches of": 2}
    second, shown = tab._begin(lambda now: replace(now, video=3), page)
    assert shown == {"video": 3} and tab._show_matches(page, first) == {}
    assert tab._begin(lambda now: {}, page) == (0, {}) and tab._show_matches(page, second) == {"matches of": 3}


def open_tab(folder: Path) -> _CompareTab:
    """The tab on the bundled data set, and the list of errors, evaluated."""
    workspace = Workspace(bundled(), EvaluationService(folder / "cache", in_process=True), ThumbnailCache())
    with gr.Blocks():
        links = TabLinks(gr.Tabs(), *(gr.Textbox() for _ in range(3)))
        tab = _CompareTab(build_layout(), workspace, ViewRegistry(), error_pages(workspace), links)
    tab._page(REQUEST).errors.evaluated = workspace.evaluations.open(workspace.first).wait(60).result
    return tab


REQUEST: Any = SimpleNamespace(session_hash="page", query_params={}, username=None)
NEXT: Any = SimpleNamespace(_data={"do": "next"})


def test_the_place_in_the_list_is_that_of_the_error_whose_matches_are_still_to_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its neighbour follows it, and opened once more it is framed anew, at its frame."""
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path))
    tab = open_tab(tmp_path)
    page, c = tab._page(REQUEST), tab.components
    errors = page.errors.errors(tab.workspace.evaluations)
    assert errors is not None
    query = to_query(error_view(errors.comparison, errors.record(4)))

    async def opened() -> tuple[list[Any], list[Any]]:
        jump = tab.jump(query, REQUEST)
        shown = [await anext(jump)]
        step = [updates async for updates in tab.step_error(REQUEST, NEXT)]
        shown.append(step[0])
        rest = [updates async for updates in jump]
        return shown + [await anext(tab.jump(query, REQUEST)) for _ in range(2)], rest

    shown, rest = asyncio.run(opened())
    assert [updates[c.steps].value["place"] for updates in shown] == [4, 5, 4, 4]
    assert rest[-1] == tab._unchanged, "no matches of what is not shown any more"
    players = [updates[c.player].value for updates in shown]
    assert all(player["focus"] for player in players)
    assert players[2]["at"] == players[3]["at"] == errors.record(4).worst_frame
    assert len({player["token"] for player in players}) == 4
