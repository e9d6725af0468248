"""The tab `Compare`: one video, ground truth and models in step; matches, their IoU, and a link to just this view."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from app.analysis import matches
from app.analysis.comparison import Comparison
from app.analysis.matches import COLOURS, KINDS, VideoRow, filter_videos, neighbour_video, tracks_above, video_rows
from app.analysis.thumbnails import differences, filmstrip_frames
from app.deep_link import View, from_query, to_query
from app.player.component import Layer, Layout, Pane, PlayerView, payload, read_event
from app.player.proxy import dataset_frames
from app.player.routes import ViewRegistry
from app.projects.project import Project
from app.rendering import notices as marked
from app.rendering import progress
from app.tabs.compare import views as panels
from app.tabs.compare.layout import ADDRESS, NONE, CompareComponents, build_layout
from app.tabs.datasets.views import notices
from app.workspace import QUIET, TICK, Pages, Updates, Workspace, toast
from tevit.evaluation.error_table import ErrorRecord

TRUTH = "Ground truth"
TABS = ("segment", "compare", "errors", "review")
_LAYOUTS: dict[str, Layout] = {"side": "side", "stacked": "stacked", "swipe": "swipe"}


@dataclass
class ComparePage:
    """What one page compares, in a data set as it was when the view was opened. key: of the chosen match. token: of
    what is shown; wanted: what it was made for. arrives: by a link to this tab.
    missing: the data set that its link named and that is not open."""

    project: Project
    missing: str = ""
    view: View = field(default_factory=View)
    cutoff: float = 0.0
    sort: str = "file"
    key: str | None = None
    show: PlayerView | None = None
    comparison: Comparison | None = None
    token: str = ""
    wanted: tuple | None = None
    arrives: bool = False


def build(
    page: gr.Blocks, tab: gr.Tab, tabs: gr.Tabs, jump: gr.Textbox, workspace: Workspace, shows: ViewRegistry
) -> None:
    """Lay the tab out and tie its events. jump: a view's query, set by the tab Errors."""
    _CompareTab(build_layout(), workspace, shows).tie(page, tab, tabs, jump)


class _CompareTab:
    def __init__(self, components: CompareComponents, workspace: Workspace, shows: ViewRegistry):
        self.components, self.workspace, self.shows = components, workspace, shows
        self._page = Pages(lambda request: ComparePage(workspace.of(request), workspace.missing(request))).of

    def tie(self, page: gr.Blocks, tab: gr.Tab, tabs: gr.Tabs, jump: gr.Textbox) -> None:
        """Every event; none is a public endpoint."""
        components, everything = self.components, list(self.components.all())
        page.load(self.arrive, None, [tabs, components.notices], **QUIET).then(self.linked, None, everything, **QUIET)
        tab.select(self.opened, None, everything, **QUIET)
        jump.change(self.jumped, jump, everything, **QUIET)
        components.video.input(self.choose_video, components.video, everything, **QUIET)
        components.sort.input(self.sorted, components.sort, components.video, **QUIET)
        for button, step in ((components.previous, -1), (components.next, 1)):
            button.click(self.stepper(step), None, everything, trigger_mode="multiple", **QUIET)
        looks = [components.a, components.b, components.layout, components.cutoff]
        for component in looks:
            component.input(self.choose_look, looks, everything, trigger_mode="always_last", **QUIET)
        told = [components.matches, components.pair, components.address, components.player]
        components.player.select(self.heard, None, told, trigger_mode="multiple", **QUIET)
        for html in (components.matches, components.pair):
            html.select(self.pressed, None, told, trigger_mode="multiple", **QUIET)
        components.address.change(None, components.address, None, js=ADDRESS)

    # --- the tab opens

    def arrive(self, request: gr.Request) -> tuple[Any, Any]:
        """A link to a view opens its tab; one that names a tab, that."""
        found = request.query_params
        items = found.multi_items() if hasattr(found, "multi_items") else list(dict(found).items())
        named = next((value for name, value in items if name == "tab" and value in TABS), "")
        try:
            view = from_query(urlencode(items))
        except ValueError as error:
            return gr.skip(), marked([str(error)])
        page = self._page(request)
        page.view = page.view if view.video is None else view
        wanted = named or ("compare" if view.video is not None else "errors" if dict(items).get("errors") else "")
        page.arrives = wanted == "compare"
        return gr.Tabs(selected=wanted) if wanted else gr.skip(), gr.skip()

    async def linked(self, request: gr.Request) -> AsyncIterator[Updates]:
        """Show what the link names."""
        if not self._page(request).arrives:
            yield self._nothing()
            return
        async for updates in self.opened(request):
            yield updates

    async def opened(self, request: gr.Request) -> AsyncIterator[Updates]:
        """The video at once, the matches when they are known."""
        page = self._page(request)
        yield {self.components.notices: _notices(page)}
        if (page.show is not None and page.show.token == _token(page)) or not page.project.dataset.videos:
            return
        if page.missing and page.show is None:
            page.view = View()  # its videos are others
        async for updates in self._go(replace(page.view, project=""), page):
            yield updates

    async def jumped(self, query: str, request: gr.Request) -> AsyncIterator[Updates]:
        """The tab Errors asks for a view."""
        page = self._page(request)
        try:
            view = from_query(query)
        except ValueError as error:
            raise toast(str(error)) from error
        async for updates in self._go(replace(view, layout=page.view.layout), page):
            yield updates

    async def _go(self, view: View, page: ComparePage) -> AsyncIterator[Updates]:
        """Show a view: pictures first."""
        try:
            page.project = self.workspace.find(page.project.id)
            page.view, page.key = _valid(page.project, view), None
            yield await asyncio.to_thread(self._shown, page)
        except (ValueError, OSError) as error:
            yield {self.components.notices: marked([str(error)])}
            raise toast(str(error)) from error
        opening = self.workspace.evaluations.open(page.project)
        try:
            while not (now := opening.status()).over:
                yield {self.components.matches: progress(now)}
                await asyncio.sleep(TICK)
        finally:
            opening.leave()
        page.comparison = now.result
        if page.comparison is None:
            yield {self.components.matches: marked([now.message])}
            return
        yield await asyncio.to_thread(self._measured, page)

    # --- what is shown

    def _shown(self, page: ComparePage) -> Updates:
        """The player, without what has to be measured first."""
        self._replace(page, self._show(page))
        components, view = self.components, page.view
        names = [model.name for model in page.project.models]
        return {
            components.notices: _notices(page),
            components.player: gr.HTML(value=_payload(page), command=None),
            components.a: gr.Dropdown(names, value=view.models[0] if view.models else None),
            components.b: gr.Dropdown([NONE, *names], value=view.models[1] if len(view.models) > 1 else NONE),
            components.layout: view.layout,
            components.video: self._list(page),
            components.pair: panels.NOTHING,
            components.address: to_query(replace(view, project=page.project.id)),
        }

    def _replace(self, page: ComparePage, show: PlayerView) -> None:
        page.show = show  # the one before goes in its turn: its last pictures may be on their way to the page
        self.shows.put(show)

    def _show(self, page: ComparePage) -> PlayerView:
        view, project = page.view, page.project
        assert view.video is not None
        layers = self._layers(page, view.video)
        frames = dataset_frames(project, view.video)
        version = 1 if page.show is None else page.show.version + 1
        return PlayerView(_token(page), frames, 0, project.info(view.video).length, tuple(layers), version)

    def _layers(self, page: ComparePage, video: int) -> list[Layer]:
        """Ground truth where there is any, the models; for the difference also that."""
        project, view = page.project, page.view
        truth = project.ground_truth(video)
        layers = [] if truth is None else [Layer(TRUTH, True, truth)]
        for name in view.models:
            found = tracks_above(project.predictions(project.model_index(name), video), page.cutoff)
            layers.append(Layer(name, False, found))
        if view.layout == "difference" and view.models:
            layers.append(self._difference(page, video))
        return layers

    def _difference(self, page: ComparePage, video: int) -> Layer:
        project, view = page.project, page.view
        found = differences(project, project.model_index(view.models[view.side]), video, page.cutoff)
        if found is None:
            raise ValueError("The difference needs ground truth: this data set has none.")
        return Layer("difference", True, found, colours={id: COLOURS[kind] for id, kind in KINDS.items()})

    def _marked(self, page: ComparePage) -> PlayerView:
        """What is shown, with identity switches and fragments on the lanes; those of the truths are by model A."""
        view, found, show = page.view, page.comparison, page.show
        assert found is not None and view.video is not None and show is not None
        if not view.models:
            return show
        names = [item.name for item in found.models]
        marks = {name: matches.timeline_marks(found, names.index(name), view.video) for name in view.models}
        known = {TRUTH: marks[view.models[0]][0], **{name: own for name, (_, own) in marks.items()}}
        layers = tuple(replace(layer, marks=known.get(layer.name, {})) for layer in show.layers)
        return replace(show, layers=layers, version=show.version + 1)

    def _list(self, page: ComparePage) -> Any:
        rows = self._rows(page)
        model = page.project.model_index(page.view.models[0]) if page.view.models else 0
        return gr.Dropdown([(panels.label(row, model), row.id) for row in rows], value=page.view.video)

    def _rows(self, page: ComparePage) -> list[VideoRow]:
        sort: Any = page.sort if page.comparison is not None or page.sort in ("file", "name", "length") else "file"
        return filter_videos(video_rows(page.project, page.comparison), "", sort)

    def _measured(self, page: ComparePage) -> Updates:
        """Matches, marks and the list with figures; the pair that a link names is chosen."""
        view, lines = page.view, self._lines(page)
        self._replace(page, self._marked(page))
        updates: Updates = {
            self.components.player: gr.HTML(value=_payload(page)),
            self.components.video: self._list(page),
        }
        wanted = [item for item in lines if (item.truth_id, item.prediction_id) == (view.truth, view.prediction)]
        if not wanted or (view.truth, view.prediction) == (None, None):
            return updates | {self.components.matches: self._table(page, lines)}
        pair = _keys(page, wanted[0])
        player = gr.HTML(value=_payload(page) | {"pair": pair}, command=_select(pair))
        return updates | self._chosen(page, wanted[0], lines) | {self.components.player: player}

    def _side(self, page: ComparePage) -> int:
        """The model of the table, among the comparison'."""
        assert page.comparison is not None
        name = page.view.models[min(page.view.side, len(page.view.models) - 1)]
        return [model.name for model in page.comparison.models].index(name)

    def _lines(self, page: ComparePage) -> list[ErrorRecord]:
        if page.comparison is None or page.view.video is None or not page.view.models:
            return []
        rows = matches.match_rows(page.comparison, self._side(page), page.view.video)
        return [record for record, _ in rows]

    def _table(self, page: ComparePage, lines: list[ErrorRecord]) -> str:
        name = page.view.models[min(page.view.side, len(page.view.models) - 1)]
        return panels.matches(f"{TRUTH} ↔ {name}", lines, page.key)

    def _chosen(self, page: ComparePage, line: ErrorRecord, lines: list[ErrorRecord]) -> Updates:
        """A match: selected in every pane, its curve and its pictures."""
        components, found, view = self.components, page.comparison, page.view
        assert found is not None and view.video is not None and page.show is not None
        page.key = line.key
        page.view = replace(view, truth=line.truth_id, prediction=line.prediction_id)
        curve = matches.iou_curve(found, self._side(page), view.video, line.truth_id, line.prediction_id)
        return {
            components.matches: self._table(page, lines),
            components.pair: panels.curve(curve) + self._strip(found, line.key),
            components.player: gr.HTML(command=_select(_keys(page, line))),
            components.address: to_query(replace(page.view, project=page.project.id)),
        }

    def _strip(self, found: Comparison, key: str) -> str:
        index = found.table.find(key)
        if index is None:
            return ""
        pictures = [item for item in filmstrip_frames(found, index) if item.role]
        draw = self.workspace.thumbnails.picture
        return panels.filmstrip([(p.role, p.frame, p.iou, draw(found, index, p.frame)) for p in pictures])

    # --- what people do

    async def choose_video(self, video: int | None, request: gr.Request) -> AsyncIterator[Updates]:
        """From the list."""
        page = self._page(request)
        async for updates in self._go(replace(page.view, video=video, frame=0, truth=None, prediction=None), page):
            yield updates

    def sorted(self, sort: str, request: gr.Request) -> Any:
        """The list in another order."""
        page = self._page(request)
        page.sort = sort
        return self._list(page)

    def stepper(self, step: int) -> Any:
        """Makes the handler of a button."""

        async def go(request: gr.Request) -> AsyncIterator[Updates]:
            page = self._page(request)
            video = neighbour_video(self._rows(page), page.view.video or 0, step)
            if video is None:
                yield self._nothing()
                return
            async for updates in self.choose_video(video, request):
                yield updates

        return go

    async def choose_look(
        self, a: str | None, b: str | None, layout: str, cutoff: float, request: gr.Request
    ) -> AsyncIterator[Updates]:
        """Other models, another layout, another cut-off; the frame stays."""
        page = self._page(request)
        models = tuple(name for name in (a, b) if name and name != NONE)
        page.cutoff = cutoff
        view = replace(page.view, models=tuple(dict.fromkeys(models)), layout=layout, side=0)
        async for updates in self._go(view, page):
            yield updates

    def heard(self, request: gr.Request, event: gr.EventData) -> Updates:
        """The player says where it rests and what was selected in it."""
        page = self._page(request)
        if page.show is None:
            return self._nothing()
        said = read_event(event._data, page.show)
        if said.kind == "frame":
            page.view = replace(page.view, frame=said.frame)
            return {self.components.address: to_query(replace(page.view, project=page.project.id))}
        if said.kind != "track" or said.layer is None or page.comparison is None:
            return self._nothing()
        layer = page.show.layers[said.layer]
        if layer.name in page.view.models:
            page.view = replace(page.view, side=page.view.models.index(layer.name))
        lines = self._lines(page)
        ours = [line for line in lines if said.track == (line.truth_id if layer.truth else line.prediction_id)]
        return self._chosen(page, ours[0], lines) if ours else self._nothing()

    def pressed(self, request: gr.Request, event: gr.EventData) -> Updates:
        """A row of the table, a picture of the strip, a place of the curve."""
        page, data = self._page(request), event._data if isinstance(event._data, dict) else {}
        if isinstance(data.get("frame"), int):
            return {self.components.player: gr.HTML(command={"seek": data["frame"], "at": time.monotonic()})}
        if isinstance(data.get("part"), int | float) and 0 <= data["part"] <= 1:
            return {self.components.player: gr.HTML(command={"part": float(data["part"]), "at": time.monotonic()})}
        lines = self._lines(page)
        ours = [line for line in lines if line.key == data.get("key")]
        return self._chosen(page, ours[0], lines) if ours else self._nothing()

    def _nothing(self) -> Updates:
        """What yields nothing at all would empty every component."""
        return {self.components.address: gr.skip()}


def _payload(page: ComparePage) -> dict[str, Any]:
    """For the player. The frame each time: of updates that come at once a busy page takes the last alone."""
    assert page.show is not None
    return payload(page.show, *_panes(page.show, page.view)) | {"at": page.view.frame}


def _select(pair: list[list[int]]) -> dict[str, Any]:
    """The player's command. The time makes the same pair a new command."""
    return {"pair": pair, "at": time.monotonic()}


def _panes(show: PlayerView, view: View) -> tuple[list[Pane], Layout]:
    """Which pictures stand beside one another, and how."""
    if view.layout == "difference":
        return [Pane("difference", (len(show.layers) - 1,))], "side"
    panes = [Pane(layer.name, (place,)) for place, layer in enumerate(show.layers)]
    if view.layout == "swipe":  # of two: ground truth, where there is any, and the model that is looked at
        panes = [panes[0], panes[-1 if view.side or len(panes) < 3 else 1]] if len(panes) > 1 else panes
    return panes, _LAYOUTS[view.layout]


def _token(page: ComparePage) -> str:
    """The same as long as the same video is shown with the same tracks."""
    view, models = page.view, page.project.models
    wanted = (view.video, view.models, models, view.layout == "difference", page.cutoff)
    if page.wanted != wanted:
        page.wanted, page.token = wanted, secrets.token_hex(16)
    return page.token


def _keys(page: ComparePage, line: ErrorRecord) -> list[list[int]]:
    """[layer, track] of both sides of a match."""
    assert page.show is not None
    name = page.view.models[min(page.view.side, len(page.view.models) - 1)]
    found = []
    for place, layer in enumerate(page.show.layers):
        id = line.prediction_id if layer.name == name else line.truth_id if layer.name == TRUTH else None
        if id is not None and any(track.id == id for track in layer.result.tracks):
            found.append([place, id])
    return found


def _notices(page: ComparePage) -> str:
    """What there is to know; also that a link is for another data set."""
    missing = f"This link is for the data set {page.missing}, which is not open here: open it under “data set”."
    return marked([missing] if page.missing else []) + notices(page.project)


def _valid(project: Project, view: View) -> View:
    """With a video and models that are there. Raises: ValueError."""
    names = [model.name for model in project.models]
    wanted = view.models or tuple(names[:2])
    for name in wanted:
        project.model_index(name)
    video = next(iter(project.dataset.videos)) if view.video is None else view.video
    last = max(0, project.info(video).length - 1)
    return replace(view, video=video, models=wanted, frame=min(view.frame, last))
