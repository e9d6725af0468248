"""The callbacks of the tab `Compare`: a video with ground truth and models in step, its matches, a link to the view."""

import asyncio
import itertools
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from tevit.evaluation.error_table import ErrorRecord
from tevit.evaluation.report import COLOURS, TYPE_COLOURS

from ...access import visitor_of_event
from ...analysis.comparison import (
    KINDS,
    Comparison,
    VideoRow,
    filter_videos,
    iou_curve,
    match_rows,
    neighbour_video,
    timeline_marks,
    tracks_above,
    video_rows,
)
from ...analysis.filter import ErrorsPage, all_models, error_view, in_words
from ...analysis.service import differences, filmstrip_frames
from ...page import View, from_query, hint, notices, progress, to_query
from ...player.component import Layer, Layout, Pane, PlayerView, ViewRegistry, payload, read_event
from ...player.proxy import dataset_frames
from ...projects.project import Project
from ...workspace import QUIET, TICK, Pages, TabLinks, Updates, Workspace, only_another, project_notices, toast
from . import views
from .views import ADDRESS, NO_MODEL, CompareComponents, build_layout

GROUND_TRUTH = "Ground truth"
NO_ROW = "-"  # in place of a row's key
TABS = ("segment", "compare", "errors", "review")
KEYS = (
    ("e shift-e", "next, previous error of the list"), ("z", "the whole picture, the error again"),
    ("n p", "next, previous video"),
)  # fmt: skip
_LAYOUTS: dict[str, Layout] = {"side": "side", "stacked": "stacked", "swipe": "swipe"}


@dataclass
class ComparePage:
    """The state of one page.

    project: the data set as of when the view was opened. missing: id of the data set that the page's link names and
    that is not open. visitor: as quotas count it. selected: key of the selected match. player_view: what the player
    shows. token: of it; token_key: what the token stands for. linked: opened by a link to this tab. errors: the page's
    list of errors. comparison: all models at its limits. listed: key of the list's row that is shown, or will be once
    its matches are there; "" for none.
    framed: whether errors of the list are framed when they are shown. opened_views: how many: what remains to be shown
    of an earlier one is left out. lock: held while a view changes.
    """

    project: Project
    errors: ErrorsPage
    missing: str = ""
    visitor: str = ""
    view: View = field(default_factory=View)
    cutoff: float = 0.0
    sort: str = "file"
    selected: str | None = None
    player_view: PlayerView | None = None
    comparison: Comparison | None = None
    token: str = ""
    token_key: tuple | None = None
    linked: bool = False
    listed: str = ""
    framed: bool = False
    opened_views: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def model(self) -> str:
        """Name of the model whose matches are listed; there must be one."""
        return self.view.models[min(self.view.side, len(self.view.models) - 1)]

    @property
    def address(self) -> str:
        """The view as a query."""
        return to_query(replace(self.view, project=self.project.id))

    def current_token(self) -> str:
        """Of the player's view: the same as long as the video and its tracks are the same."""
        key = (self.view.video, self.view.models, self.project.models, self.view.layout == "difference", self.cutoff)
        if self.token_key != key:
            self.token_key, self.token = key, secrets.token_hex(16)
        return self.token

    def open_error(self, key: str) -> None:
        """Frame an error of the list, at the list's score threshold; its neighbours are those of the list."""
        self.framed, self.cutoff = True, self.errors.settings.cutoff
        self.listed = self.errors.opened = key

    def model_index(self, name: str) -> int:
        """Of a model, in the comparison."""
        assert self.comparison is not None
        return [model.name for model in self.comparison.models].index(name)

    def matches(self) -> list[ErrorRecord]:
        """The rows of the table of matches; empty before the evaluation."""
        if self.comparison is None or self.view.video is None or not self.view.models:
            return []
        rows = match_rows(self.comparison, self.model_index(self.model), self.view.video)
        return [record for record, _ in rows]

    def matches_html(self, records: list[ErrorRecord]) -> str:
        """The table of matches."""
        return views.matches(f"{GROUND_TRUTH} ↔ {self.model}", records, self.selected)

    def videos(self) -> list[VideoRow]:
        """The list of videos, in the chosen order where its figures are known."""
        sort: Any = self.sort if self.comparison is not None or self.sort in ("file", "name", "length") else "file"
        return filter_videos(video_rows(self.project, self.comparison), "", sort)

    def player_value(self) -> dict[str, Any]:
        """The player's payload: the panes of the layout, and the frame."""
        view, shown = self.view, self.player_view
        assert shown is not None
        layout = _LAYOUTS.get(view.layout, "side")
        panes = [Pane(layer.name, (place,)) for place, layer in enumerate(shown.layers)]
        if view.layout == "difference":
            panes = [Pane("difference", (len(shown.layers) - 1,))]
        elif view.layout == "swipe" and len(panes) > 1:  # ground truth, where there is any, and the model of the table
            panes = [panes[0], panes[-1 if view.side or len(panes) < 3 else 1]]
        # The frame each time: of updates that arrive together a busy page takes only the last.
        value = payload(shown, panes, layout) | {"at": view.frame, "range": view.range, "keys": KEYS}
        return value | {"pair": self.pair, "focus": self.framed, "zoom": self.framed}

    @property
    def pair(self) -> list[list[int]]:
        """[layer, track] of both sides of the view's match, where the player shows them."""
        assert self.player_view is not None
        result = []
        for place, layer in enumerate(self.player_view.layers):
            id = {GROUND_TRUTH: self.view.truth, self.model: self.view.prediction}.get(layer.name)
            if id is not None and any(track.id == id for track in layer.result.tracks):
                result.append([place, id])
        return result


def build(
    page: gr.Blocks,
    tab: gr.Tab,
    workspace: Workspace,
    registry: ViewRegistry,
    pages: Callable[[gr.Request], ErrorsPage],
    links: TabLinks,
) -> None:
    """Create the tab in the Blocks that is open. pages: the list of errors of each page."""
    _CompareTab(build_layout(), workspace, registry, pages, links).connect(page, tab)


class _CompareTab:
    def __init__(
        self,
        components: CompareComponents,
        workspace: Workspace,
        registry: ViewRegistry,
        pages: Callable[[gr.Request], ErrorsPage],
        links: TabLinks,
    ):
        self.components, self.workspace, self.registry, self.links = components, workspace, registry, links
        self._counter = itertools.count(1)  # makes a key that is the same again a new value

        def new_page(request: gr.Request) -> ComparePage:
            missing, visitor = workspace.missing(request), visitor_of_event(request)
            return ComparePage(workspace.of(request), pages(request), missing, visitor)

        self._page = Pages(new_page).of
        # A callback that yields nothing at all would empty every component.
        self._unchanged: Updates = {components.address: gr.skip()}

    def connect(self, page: gr.Blocks, tab: gr.Tab) -> None:
        """Connect every event; none is a public endpoint."""
        components, links, everything = self.components, self.links, list(self.components.all())
        load = page.load(self.read_link, None, [links.tabs, components.notices], **QUIET)
        load.then(self.open_link, None, everything, **QUIET)
        tab.select(self.open_tab, None, everything, **QUIET)
        links.jump.change(self.jump, links.jump, everything, **QUIET)
        components.steps.select(self.step_error, None, [*everything, links.back], trigger_mode="multiple", **QUIET)
        components.video.input(self.choose_video, components.video, everything, **QUIET)
        components.sort.input(self.sort_videos, components.sort, components.video, **QUIET)
        for button, step in ((components.previous, -1), (components.next, 1)):
            button.click(self.video_step(step), None, everything, trigger_mode="multiple", **QUIET)
        controls = [components.a, components.b, components.layout, components.cutoff]
        for component in controls:
            component.input(self.set_layout, controls, everything, trigger_mode="always_last", **QUIET)
        selection = [components.matches, components.pair, components.address, components.player, components.steps]
        components.player.select(self.on_player_event, None, selection, trigger_mode="multiple", **QUIET)
        for html in (components.matches, components.pair):
            html.select(self.on_click, None, selection, trigger_mode="multiple", **QUIET)
        components.address.change(None, components.address, None, js=ADDRESS)

    # --- opening the tab

    def read_link(self, request: gr.Request) -> tuple[Any, Any]:
        """Select the tab that the page's address names: by `tab`, by a view of Compare, or by a filter of Errors."""
        params = request.query_params
        items = params.multi_items() if hasattr(params, "multi_items") else list(dict(params).items())
        named = next((value for name, value in items if name == "tab" and value in TABS), "")
        try:
            view = from_query(urlencode(items))
        except ValueError as error:
            return gr.skip(), notices([str(error)])
        page = self._page(request)
        page.view = page.view if view.video is None else view
        if page.view.error:
            page.open_error(page.view.error)
        tab = named or ("compare" if view.video is not None else "errors" if dict(items).get("errors") else "")
        page.linked = tab == "compare"
        return gr.Tabs(selected=tab) if tab else gr.skip(), gr.skip()

    async def open_link(self, request: gr.Request) -> AsyncIterator[Updates]:
        """Show the view of the page's address."""
        if not self._page(request).linked:
            yield self._unchanged
            return
        async for updates in self.open_tab(request):
            yield updates

    async def open_tab(self, request: gr.Request) -> AsyncIterator[Updates]:
        """Show the video at once, the matches after the evaluation."""
        page = self._page(request)
        yield {self.components.notices: _notices(page)}
        if not page.project.dataset.videos:
            return

        def change(now: View) -> View | Updates:
            if page.player_view is not None and page.player_view.token == page.current_token():
                return {self.components.steps: self._steps(page)}  # the list may have been filtered meanwhile
            of_another = page.missing and page.player_view is None  # then the link's ids are those of another data set
            return View() if of_another else replace(now, project="")

        async for updates in self._show(change, page):
            yield updates

    async def jump(self, query: str, request: gr.Request) -> AsyncIterator[Updates]:
        """Show an error that was opened in the tab Errors."""
        page = self._page(request)
        try:
            view = from_query(query)
        except ValueError as error:
            raise toast(str(error)) from error

        def change(now: View) -> View:
            page.open_error(view.error)
            page.token_key = None  # the player begins anew, with the error's frame, even in the video that it shows
            return replace(view, layout=now.layout)

        async for updates in self._show(change, page):
            yield updates

    async def _show(self, change: Callable[[View], View | Updates], page: ComparePage) -> AsyncIterator[Updates]:
        """Show another view: the video first, then the matches, unless another one was opened meanwhile.

        change: returns the view from the one before, or updates where it stays; called while the page's lock is held.
        """
        components = self.components
        try:
            number, updates = await asyncio.to_thread(self._begin, change, page)
        except (ValueError, OSError) as error:
            yield {components.notices: notices([str(error)])}
            raise toast(str(error)) from error
        yield updates
        if not number:
            return
        task = self.workspace.evaluations.open(page.project)
        try:
            while not (now := task.status()).over:
                yield {components.matches: progress(now)}
                await asyncio.sleep(TICK)
        finally:
            task.leave()
        if now.result is None:
            yield {components.matches: notices([now.message])}
            return
        page.errors.evaluated = now.result
        yield await asyncio.to_thread(self._show_matches, page, number)

    # --- what is shown

    def _begin(self, change: Callable[[View], View | Updates], page: ComparePage) -> tuple[int, Updates]:
        """Change the page's view and show its video; the view's number among those that were opened, 0: it stays.
        Raises: ValueError, OSError."""
        with page.lock:
            view = change(page.view)
            if not isinstance(view, View):
                return 0, view
            page.opened_views += 1
            page.project = self.workspace.find(page.project.id)
            models = view.models or tuple(model.name for model in page.project.models[:2])
            for name in models:
                page.project.model_index(name)  # raises ValueError for an unknown one
            video = next(iter(page.project.dataset.videos)) if view.video is None else view.video
            length = page.project.info(video).length
            frame = min(view.frame, max(0, length - 1))
            frames = page.view.range if view.range is None and video == page.view.video else view.range
            frames = frames if frames is not None and frames[1] < length else None
            page.view, page.selected = replace(view, video=video, models=models, frame=frame, range=frames), None
            return page.opened_views, self._show_video(page)

    def _show_video(self, page: ComparePage) -> Updates:
        """The player and the controls, as far as they need no evaluation."""
        components, view, project = self.components, page.view, page.project
        assert view.video is not None
        version = 1 if page.player_view is None else page.player_view.version + 1
        frames, length = dataset_frames(project, view.video), project.info(view.video).length
        layers = tuple(_layers(project, view, view.video, page.cutoff))
        self._set_player(page, PlayerView(page.current_token(), frames, 0, length, layers, version))
        names, (a, b, layout, cutoff) = [model.name for model in project.models], _controls(page)
        return {
            components.notices: _notices(page),
            components.player: gr.HTML(value=page.player_value(), command=None),
            components.a: gr.Dropdown(names, value=a),
            components.b: gr.Dropdown([NO_MODEL, *names], value=b),
            components.layout: layout,
            components.cutoff: cutoff,
            components.video: self._video_list(page),
            components.steps: self._steps(page, complete=False),
            components.pair: hint(views.NO_PAIR),
            components.address: page.address,
        }

    def _set_player(self, page: ComparePage, player_view: PlayerView) -> None:
        # The registry drops the one before later: its last frames may still be requested.
        page.player_view = player_view
        self.registry.put(player_view, visitor=page.visitor)

    def _video_list(self, page: ComparePage) -> Any:
        index = page.project.model_index if page.comparison is None else page.model_index
        model = index(page.view.models[0]) if page.view.models else 0
        return gr.Dropdown([(views.label(row, model), row.id) for row in page.videos()], value=page.view.video)

    def _show_matches(self, page: ComparePage, number: int) -> Updates:
        """What needs the evaluation. number: of the view among those that were opened; nothing of an earlier one."""
        with page.lock:
            return self._matches(page) if number == page.opened_views else self._unchanged

    def _matches(self, page: ComparePage) -> Updates:
        """Matches, marks and the list of videos with figures; the pair of the view is selected."""
        components, view, shown, evaluations = self.components, page.view, page.player_view, self.workspace.evaluations
        errors, evaluated = page.errors.errors(evaluations), page.errors.evaluated
        assert evaluated is not None and view.video is not None and shown is not None
        comparison = evaluated if errors is None else all_models(evaluations, evaluated, page.errors.settings)
        page.comparison = comparison
        if view.models:
            marks = {name: timeline_marks(comparison, page.model_index(name), view.video) for name in view.models}
            # Those of the ground truth are by model A.
            by_layer = {GROUND_TRUTH: marks[view.models[0]][0], **{name: own for name, (_, own) in marks.items()}}
            layers = tuple(replace(layer, marks=by_layer.get(layer.name, {})) for layer in shown.layers)
            shown = replace(shown, layers=layers, version=shown.version + 1)
        self._set_player(page, shown)
        updates: Updates = {components.notices: _notices(page), components.video: self._video_list(page)}
        record = self._viewed(page)
        page.framed = page.framed and record is not None
        updates |= self._nothing_selected(page) if record is None else self._select_match(page, record)
        # The time makes the same pair a new command.
        command = None if record is None else {"pair": page.pair, "reframe": True, "at": time.monotonic()}
        return updates | {components.player: gr.HTML(value=page.player_value(), command=command)}

    def _viewed(self, page: ComparePage) -> ErrorRecord | None:
        """The error or match that the view names, None where it names none or there is none such."""
        view, errors = page.view, page.errors.errors(self.workspace.evaluations)
        place = errors.place(view.error) if errors is not None else None
        if errors is not None and place is not None:
            record = errors.record(place)
            if record.video_id == view.video and record.model == page.model:
                return record
        sides = view.truth, view.prediction
        return next((r for r in page.matches() if (r.truth_id, r.prediction_id) == sides), None)

    def _nothing_selected(self, page: ComparePage) -> Updates:
        page.listed = ""
        html = page.matches_html(page.matches())
        return {self.components.matches: html, self.components.steps: self._steps(page)}

    def _select_match(self, page: ComparePage, record: ErrorRecord, **command: object) -> Updates:
        """A match or an error: selected in every pane, with its curve and its pictures, and its place in the list.

        command: to the player beside the selection.
        """
        components, comparison, view = self.components, page.comparison, page.view
        assert comparison is not None and view.video is not None
        records, errors = page.matches(), page.errors.errors(self.workspace.evaluations)
        sides = record.truth_id, record.prediction_id
        same = [r for r in records if r.key == record.key] or [
            r for r in records if (r.truth_id, r.prediction_id) == sides
        ]
        page.selected = same[0].key if same else None
        page.listed = record.key if errors is not None and errors.place(record.key) is not None else ""
        page.errors.opened = page.listed or page.errors.opened
        error = page.listed if page.framed else ""
        page.view = replace(view, truth=record.truth_id, prediction=record.prediction_id, error=error)
        model, index = page.model_index(page.model), comparison.table.find(record.key)
        curve = iou_curve(comparison, model, view.video, *sides)
        pictures = [
            (named.role, named.frame, named.iou, self.workspace.thumbnails.picture(comparison, index, named.frame))
            for named in (filmstrip_frames(comparison, index) if index is not None else ())
            if named.role and index is not None
        ]
        return {
            components.matches: page.matches_html(records),
            components.pair: views.pair(curve, pictures),
            components.player: gr.HTML(command={"pair": page.pair, "at": time.monotonic(), **command}),
            components.steps: self._steps(page),
            components.address: page.address,
        }

    def _steps(self, page: ComparePage, complete: bool = True) -> gr.HTML:
        """The bar above the player: the place of the shown error in the list, and which neighbours there are; nothing
        without a list. complete: whether the matches are there, which come last."""
        errors = page.errors.errors(self.workspace.evaluations)
        if errors is None:
            return gr.HTML(value=None)
        with page.lock:  # what is read later is sent later
            place, opened = errors.place(page.listed), page.errors.opened
        record = None if place is None else errors.record(place)
        type, classes = ("", "") if record is None else in_words(record)
        steps = {
            "place": place,
            "of": len(errors),
            "complete": complete,
            "previous": errors.neighbour(opened, -1) is not None,
            "next": errors.neighbour(opened, 1) is not None,
            "type": type,
            "classes": classes,
            "colour": "" if record is None else TYPE_COLOURS.get(record.type, ""),
        }
        return gr.HTML(value=steps)

    # --- the list of errors

    async def step_error(self, request: gr.Request, event: gr.EventData) -> AsyncIterator[Updates]:
        """The next or the previous error of the list, or back to the list. The event's data comes from the browser."""
        page, data = self._page(request), event._data if isinstance(event._data, dict) else {}
        errors = await asyncio.to_thread(page.errors.errors, self.workspace.evaluations)
        if data.get("do") == "back":
            yield {self.links.back: f"{page.errors.opened or NO_ROW} {next(self._counter)}"}
            return
        step = {"next": 1, "previous": -1}.get(str(data.get("do")), 0)
        if errors is None or not step:
            yield self._unchanged
            return

        def change(now: View) -> View | Updates:
            place = errors.neighbour(page.errors.opened, step)
            if place is None:
                return self._unchanged
            record = errors.record(place)
            page.framed, page.listed = True, record.key
            page.errors.opened = record.key
            view = replace(error_view(errors.comparison, record), layout=now.layout)
            if page.comparison is None or (view.video, view.models) != (now.video, now.models):
                return view
            page.view = replace(view, range=now.range)
            return self._select_match(page, record, seek=view.frame, focus=True)

        async for updates in self._show(change, page):
            yield updates

    # --- controls

    @only_another(lambda tab, request: (tab._page(request).view.video,), lambda tab: tab._unchanged)
    async def choose_video(self, video: int | None, request: gr.Request) -> AsyncIterator[Updates]:
        """Show another video."""
        page = self._page(request)
        async for updates in self._show(lambda now: _of_video(page, now, video), page):
            yield updates

    def video_step(self, step: int) -> Callable[[gr.Request], AsyncIterator[Updates]]:
        """The callback of the button for the next or the previous video. step: 1 or -1."""

        async def callback(request: gr.Request) -> AsyncIterator[Updates]:
            page = self._page(request)

            def change(now: View) -> View | Updates:
                video = neighbour_video(page.videos(), now.video or 0, step)
                return self._unchanged if video is None else _of_video(page, now, video)

            async for updates in self._show(change, page):
                yield updates

        return callback

    def sort_videos(self, sort: str, request: gr.Request) -> Any:
        """Sort the list of videos."""
        page = self._page(request)
        page.sort = sort
        return self._video_list(page)

    @only_another(lambda tab, request: _controls(tab._page(request)), lambda tab: tab._unchanged)
    async def set_layout(
        self, a: str | None, b: str | None, layout: str, cutoff: float, request: gr.Request
    ) -> AsyncIterator[Updates]:
        """Change models, layout and score threshold; the frame stays."""
        page = self._page(request)
        models = tuple(dict.fromkeys(name for name in (a, b) if name and name != NO_MODEL))

        def change(now: View) -> View:
            page.cutoff = cutoff
            side = models.index(page.model) if now.models and page.model in models else 0
            return replace(now, models=models, layout=layout, side=side)

        async for updates in self._show(change, page):
            yield updates

    def on_player_event(self, request: gr.Request, event: gr.EventData) -> Updates:
        """The player rests at another frame, or a track was selected in it."""
        page = self._page(request)
        with page.lock:
            return self._on_player_event(page, event)

    def _on_player_event(self, page: ComparePage, event: gr.EventData) -> Updates:
        # While another video is prepared the page has the former one's player, whose late events are void.
        if page.player_view is None or page.player_view.token != page.current_token():
            return self._unchanged
        action = read_event(event._data, page.player_view)
        if action is None:
            return self._unchanged
        if action.kind == "frame":
            page.view = replace(page.view, frame=action.frame)
            return {self.components.address: page.address}
        if action.kind == "range":
            ends = action.first, action.last
            page.view = replace(page.view, range=None if ends[0] is None or ends[1] is None else ends)
            return {self.components.address: page.address}
        if action.kind != "track" or action.layer is None or page.comparison is None:
            return self._unchanged
        layer = page.player_view.layers[action.layer]
        if layer.name in page.view.models:
            page.view = replace(page.view, side=page.view.models.index(layer.name))
        records = page.matches()
        own = [r for r in records if action.track == (r.truth_id if layer.truth else r.prediction_id)]
        return self._select_match(page, own[0]) if own else self._unchanged

    def on_click(self, request: gr.Request, event: gr.EventData) -> Updates:
        """A click on a match, a picture, or a place of the curve. The event's data comes from the browser."""
        page, data = self._page(request), event._data if isinstance(event._data, dict) else {}
        if isinstance(data.get("frame"), int):
            return {self.components.player: gr.HTML(command={"seek": data["frame"], "at": time.monotonic()})}
        if isinstance(data.get("part"), int | float) and 0 <= data["part"] <= 1:
            return {self.components.player: gr.HTML(command={"part": float(data["part"]), "at": time.monotonic()})}
        with page.lock:
            own = [record for record in page.matches() if record.key == data.get("key")]
            return self._select_match(page, own[0], reframe=True) if own else self._unchanged


def _controls(page: ComparePage) -> tuple[str | None, str, str, float]:
    """A, B, layout and score threshold as the controls show them."""
    a, b = (*page.view.models, None, None)[:2]
    return a, b or NO_MODEL, page.view.layout, page.cutoff


def _of_video(page: ComparePage, view: View, video: int | None) -> View:
    """Another video, from its first frame; errors are not framed any more."""
    page.framed, page.listed = False, ""
    return replace(view, video=video, frame=0, truth=None, prediction=None, error="")


def _layers(project: Project, view: View, video: int, cutoff: float) -> list[Layer]:
    """Ground truth where there is any, then the models; in the layout "difference" also that. Raises: ValueError."""
    truth = project.ground_truth(video)
    layers = [] if truth is None else [Layer(GROUND_TRUTH, True, truth)]
    for name in view.models:
        result = project.predictions(project.model_index(name), video)
        layers.append(Layer(name, False, tracks_above(result, cutoff)))
    if view.layout == "difference" and view.models:
        difference = differences(project, project.model_index(view.models[view.side]), video, cutoff)
        if difference is None:
            raise ValueError("The difference needs ground truth: this data set has none.")
        colours = {id: COLOURS[kind] for id, kind in KINDS.items()}
        layers.append(Layer("difference", True, difference, colours=colours))
    return layers


def _notices(page: ComparePage) -> str:
    """Notices about the data set; also that a link is for another one."""
    missing = f"This link is for the data set {page.missing}, which is not open here: open it under “data set”."
    return notices([missing] if page.missing else []) + project_notices(page.project, page.comparison)
