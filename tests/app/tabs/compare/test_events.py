"""Events of the tab Compare that arrive while it changes."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.deep_link import View
from app.player.component import PlayerView
from app.projects.opening import bundled
from app.tabs.compare.events import ComparePage, _CompareTab


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
    assert tab._begin(lambda now: None, page) == (0, {}) and tab._show_matches(page, second) == {"matches of": 3}
