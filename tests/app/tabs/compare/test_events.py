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
