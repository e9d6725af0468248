"""What came out of a run: its tracks in the player, the table and the plots; choices among them; files."""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gradio as gr

from app import panels
from app.player.component import Event, PlayerView, payload, read_event
from app.session import QUIET, Session, Updates, toast, work
from app.tabs.segment.exports import NAMES, Choices, OverlayStyle, chosen, export
from app.tabs.segment.layout import DOWNLOAD, SegmentComponents
from app.tabs.segment.studio import Studio
from tevit.results import VideoResult


class Outcome:
    """The right-hand side of the tab. session: of the page that asks."""

    def __init__(self, parts: SegmentComponents, studio: Studio, session: Callable[[gr.Request], Session]):
        self.parts = parts
        self.studio = studio
        self._session = session

    def tie(self) -> None:
        """Its events."""
        parts = self.parts
        views = [parts.player, parts.tracks, parts.plot]
        filters = [parts.score, parts.classes, parts.most, parts.shortest]
        for component in filters:
            component.change(self.choose, filters, views, trigger_mode="always_last", **QUIET)
        told = [*views, parts.first, parts.last]
        parts.player.select(self.heard, None, told, trigger_mode="multiple", **QUIET)
        parts.tracks.select(self.pick, None, views, trigger_mode="multiple", **QUIET)
        parts.plot.select(self.go, None, parts.player, trigger_mode="always_last", **QUIET)
        for name, button in zip(NAMES, parts.files, strict=True):
            made = button.click(self._exporter(name), None, [parts.panel, parts.cancel, parts.fetch], **QUIET)
            made.success(None, parts.fetch, None, js=DOWNLOAD)

    def show(self, show: PlayerView, session: Session) -> Updates:
        """Put a show with tracks on the page."""
        parts, result = self.parts, show.layers[0].result
        session.show = show
        seen = {track.category_id for track in result.tracks}
        names = [(name.replace("_", " "), id) for id, name in sorted(result.categories.items()) if id in seen]
        return {
            parts.player: gr.HTML(value=payload(show), shown=[_ids(result, session)]),
            parts.classes: gr.Dropdown(names),
            parts.tracks: self._table(result, session),
            parts.plot: self._plots(result, session),
            **{button: gr.Button(interactive=True) for button in parts.files},
        }

    def _table(self, result: VideoResult, session: Session) -> str:
        return panels.tracks(chosen(result, session.picked), len(result.tracks), session.selected)

    def _plots(self, result: VideoResult, session: Session) -> str:
        return panels.plots(chosen(result, session.picked), session.selected)

    def _views(self, session: Session, player: Any = None) -> Updates:
        if session.result is None:
            return {self.parts.plot: gr.skip()}
        found = {
            self.parts.tracks: self._table(session.result, session),
            self.parts.plot: self._plots(session.result, session),
        }
        return found if player is None else {self.parts.player: player, **found}

    def choose(
        self,
        score: float,
        classes: list[int] | None,
        most: float | None,
        shortest: float | None,
        request: gr.Request,
    ) -> Updates:
        """Show other tracks, without a run."""
        session, kinds = self._session(request), frozenset(classes) if classes else None
        session.picked = Choices(score, kinds, max(1, int(most or 1)), max(1, int(shortest or 1)))
        result = session.result
        return self._views(session, None if result is None else gr.HTML(shown=[_ids(result, session)]))

    def heard(self, request: gr.Request, event: gr.EventData) -> Updates:
        """The player says what was done in it."""
        session = self._session(request)
        if session.show is None:
            return {self.parts.plot: gr.skip()}
        said = read_event(event._data, session.show)
        if said.kind == "look":
            session.look = OverlayStyle(said.opacity, said.contours, said.labels)
        if said.kind == "range":
            return self._range(said, session.show)
        if said.kind != "track":
            return {self.parts.plot: gr.skip()}
        session.selected = said.track
        return self._views(session)

    def _range(self, said: Event, show: PlayerView) -> Updates:
        """The frames that the next run is to segment."""
        first, last = (0, show.length - 1) if said.first is None or said.last is None else (said.first, said.last)
        return {self.parts.first: show.first + first, self.parts.last: show.first + last}

    def pick(self, request: gr.Request, event: gr.EventData) -> Updates:
        """A row of the table was pressed."""
        session = self._session(request)
        track, tracks = _said(event, "track"), session.result.tracks if session.result else ()
        if not isinstance(track, int) or track not in {item.id for item in tracks}:
            return {self.parts.plot: gr.skip()}
        session.selected = None if track == session.selected else track
        command = {"select": None if session.selected is None else [0, track], "at": time.monotonic()}
        return self._views(session, gr.HTML(command=command))

    def go(self, event: gr.EventData) -> Any:
        """A place of a plot was pressed: that part of the way through the video."""
        part = _said(event, "part")
        if not isinstance(part, int | float) or not 0 <= part <= 1:
            return gr.skip()
        return gr.HTML(command={"part": float(part), "at": time.monotonic()})

    # --- files

    def _exporter(self, name: str) -> Callable[..., AsyncIterator[Updates]]:
        async def make(request: gr.Request) -> AsyncIterator[Updates]:
            async for updates in self._export(name, self._session(request)):
                yield updates

        return make

    async def _export(self, name: str, session: Session) -> AsyncIterator[Updates]:
        result, token, parts = session.result, session.token, self.parts
        folder = self.studio.shows.folder(token)
        if result is None or folder is None:
            raise toast("This result is not kept any more: run it again.")
        left, opened = chosen(result, session.picked), self.studio.opener(token)

        def task(note: Callable[[str, int, int | None], None]) -> Path:
            return export(name, left, folder, opened=opened, look=session.look, progress=note)

        async for updates in work(parts.panel, parts.cancel, session.stop, task, "frames"):
            yield updates
        yield {parts.fetch: f"/studio/shows/{token}/files/{name}?{time.monotonic()}"}


def _ids(result: VideoResult, session: Session) -> list[int]:
    return [track.id for track in chosen(result, session.picked).tracks]


def _said(event: gr.EventData, name: str) -> object:
    """What the browser says is whatever it likes."""
    return event._data.get(name) if isinstance(event._data, dict) else None
