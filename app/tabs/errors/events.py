"""The callbacks of the tab `Errors`: evaluate, filter, change thresholds and models, open an error in Compare."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import gradio as gr

from ...analysis.filter import (
    NONE,
    ORDERS,
    PAGE,
    ErrorsPage,
    ViewSettings,
    all_models,
    error_view,
    from_address,
    merged,
    selected_models,
    sorted_selection,
    to_address,
    to_query,
    without,
)
from ...page import View, problem, render
from ...page import to_query as view_query
from ...workspace import QUIET, TICK, Pages, TabLinks, Updates, Workspace, only_another, project_notices
from . import views
from .views import NO_MODEL, SHOW_ADDRESS, ErrorsComponents, build_layout

BRUSHES: Mapping[str, Mapping[str, str]] = {"scores": {"x": "scores"}, "lengths": {"x": "lengths", "y": "ious"}}
"""Plot -> axis -> the filter's range that selecting along it sets."""
PAUSE = 0.1  # seconds in which a slider that still moves sends its next value


def error_pages(workspace: Workspace) -> Callable[[gr.Request], ErrorsPage]:
    """The list of errors of each page, which begins with the settings of the page's address."""

    def new_page(request: gr.Request) -> ErrorsPage:
        project, query = workspace.of(request), str(dict(request.query_params).get("errors", ""))
        return ErrorsPage(project, from_address(query, tuple(model.name for model in project.models)))

    return Pages(new_page).of


def build(page: gr.Blocks, workspace: Workspace, pages: Callable[[gr.Request], ErrorsPage], links: TabLinks) -> None:
    """Create the tab in the Blocks that is open."""
    del page  # nothing happens when it is loaded: the evaluation starts when the tab is first seen
    _ErrorsTab(build_layout(), workspace, pages, links).connect()


class _ErrorsTab:
    def __init__(
        self,
        components: ErrorsComponents,
        workspace: Workspace,
        pages: Callable[[gr.Request], ErrorsPage],
        links: TabLinks,
    ):
        self.components, self.workspace, self.links = components, workspace, links
        self._page = pages
        self._counter = itertools.count(1)  # makes a query that is the same again a new value
        self._unchanged: Updates = {components.rows: gr.skip()}

    def connect(self) -> None:
        """Connect every event; none is a public endpoint."""
        components, links = self.components, self.links
        filtered = [components.bar, components.plots, components.rows, components.address]
        clicked = [*filtered, components.search, links.jump, links.picked, links.tabs]
        everything = [getattr(components, item.name) for item in fields(components)]
        evaluated = [*components.html(), components.address]
        components.state.select(self.start, None, everything, **QUIET)
        for html in components.html():
            if html is not components.state:
                html.select(self.on_click, None, clicked, trigger_mode="multiple", **QUIET)
        components.search.change(self.search, components.search, filtered, trigger_mode="always_last", **QUIET)
        components.order.input(
            self.order, components.order, [components.rows, components.address], trigger_mode="always_last", **QUIET
        )
        links.back.change(
            self.return_to, links.back, [components.rows, links.tabs], trigger_mode="always_last", **QUIET
        )
        components.address.change(None, components.address, None, js=SHOW_ADDRESS)
        sliders = [components.positive, components.background, components.cutoff]
        for slider in sliders:
            slider.change(self.set_limits, sliders, evaluated, trigger_mode="multiple", **QUIET)
        for model in (components.a, components.b):
            model.input(self.set_models, [components.a, components.b], evaluated, trigger_mode="multiple", **QUIET)

    # --- the evaluation

    async def start(self, request: gr.Request) -> AsyncIterator[Updates]:
        """Evaluate when the tab is first seen, or again after a failure."""
        page, state = self._page(request), self.components.state
        page.project = self.workspace.find(page.project.id)
        task = await asyncio.to_thread(self.workspace.evaluations.open, page.project)
        try:
            while not (now := task.status()).over:
                yield {state: render("errors/state.html", kind="progress", task=now)}
                await asyncio.sleep(TICK)
        finally:
            task.leave()
        if now.result is None:
            again = now.state == "cancelled"
            html = render("errors/state.html", kind="sentence", message=now.message, again=again)
            yield {state: problem(now.message) if now.state == "failed" else html}
            return
        page.evaluated = now.result
        await asyncio.to_thread(page.errors, self.workspace.evaluations)  # corrects settings that do not suit the data
        await asyncio.to_thread(self._revealed, page)  # so that the first rows to come have the one that Compare shows
        async for updates in self._limited(page):
            page.listed = True
            yield updates | {state: gr.skip(), **self._controls(page)}
        yield {state: await asyncio.to_thread(project_notices, page.project, page.evaluated)}

    def _controls(self, page: ErrorsPage) -> Updates:
        """The controls as the settings say."""
        components, settings, names = self.components, page.settings, [model.name for model in page.project.models]
        a, b = _shown_models(page)
        return {
            components.controls: gr.Row(visible=True),
            components.ordering: gr.Row(visible=True),
            components.a: gr.Dropdown(names, value=a, visible=len(names) > 1),
            components.b: gr.Dropdown([*names, NO_MODEL], value=b, visible=len(names) > 1),
            components.positive: settings.limits.positive,
            components.background: settings.limits.background,
            components.cutoff: settings.cutoff,
            components.search: settings.filter.text,
            components.order: settings.order,
        }

    async def _limited(self, page: ErrorsPage) -> AsyncIterator[Updates]:
        """After a change of limits or models: first the errors, then what takes longer. After another change this one
        stops, since the other sends everything again."""
        components, evaluations, settings, turn = self.components, self.workspace.evaluations, page.settings, page.turn
        whole = page.evaluated
        assert whole is not None

        def first() -> Updates:
            types = views.error_types(selected_models(evaluations, whole, settings))
            return self._filtered(page) | {components.types: gr.HTML(types, turn=turn)}

        def figures() -> Updates:
            every = all_models(evaluations, whole, settings)  # in the table; the charts are of A and B
            html = views.figures(selected_models(evaluations, whole, settings), every)
            return {components.figures: gr.HTML(html, turn=turn)}

        def groups() -> Updates:
            html = views.error_groups(selected_models(evaluations, whole, settings))
            return {components.groups: gr.HTML(html, turn=turn)}

        try:
            for part in (first, figures, groups):
                updates = await asyncio.to_thread(part)
                if page.settings.evaluation != settings.evaluation:
                    return
                yield updates
        except ValueError as error:
            yield {components.state: problem(str(error))}

    def _filtered(self, page: ErrorsPage) -> Updates:
        """What depends on the filter. Raises: ValueError."""
        components, settings, turn = self.components, page.settings, page.turn
        assert page.evaluated is not None
        comparison = selected_models(self.workspace.evaluations, page.evaluated, settings)
        selection = sorted_selection(comparison, settings)
        names = tuple(model.name for model in page.project.models)
        plots = views.below(comparison, selection, views.shown_side(comparison, settings))
        return {
            components.bar: gr.HTML(views.bar(comparison, selection, settings), turn=turn),
            components.plots: gr.HTML(plots, turn=turn),
            components.rows: gr.HTML(
                views.rows(comparison, selection, settings, page.opened, None if page.listed else turn), turn=turn
            ),
            components.address: f"{turn}?{to_address(page.project.id, settings, names)}",
        }

    # --- controls

    async def set_limits(
        self, positive: float, background: float, cutoff: float, request: gr.Request
    ) -> AsyncIterator[Updates]:
        """Change the limits and the score threshold."""
        async for updates in self._change_limits(request, lambda old: old.with_limits(positive, background, cutoff)):
            yield updates

    @only_another(lambda tab, request: _shown_models(tab._page(request)), lambda tab: tab._unchanged)
    async def set_models(self, a: str, b: str, request: gr.Request) -> AsyncIterator[Updates]:
        """Change the models; parts of the filter that name another model go."""
        names = (a,) if b in (NO_MODEL, a) else (a, b)

        def change(old: ViewSettings) -> ViewSettings:
            model = old.filter.model if old.filter.model in names else None
            left = replace(old.filter, model=model, outcome=old.filter.outcome if len(names) > 1 else None)
            return replace(old.with_filter(left), names=names, side=min(old.side, len(names) - 1))

        async for updates in self._change_limits(request, change):
            yield updates

    async def _change_limits(
        self, request: gr.Request, change: Callable[[ViewSettings], ViewSettings]
    ) -> AsyncIterator[Updates]:
        page = self._page(request)
        try:
            with page.lock:
                before, page.settings = page.settings, change(page.settings)
                page.turn += 1
                settings = page.settings
        except (TypeError, ValueError) as error:
            yield {self.components.state: problem(str(error))}
            return
        yield self._unchanged  # a generator without any value would empty every component
        await asyncio.sleep(PAUSE)
        if page.evaluated is not None and settings != before and settings.evaluation == page.settings.evaluation:
            async for updates in self._limited(page):
                yield updates

    def search(self, text: str, request: gr.Request) -> Updates:
        """Filter by words in video, type or class. Also called after Python itself has emptied the field."""
        if text == self._page(request).settings.filter.text:
            return self._unchanged
        return self._change_filter(
            request, lambda old: old.with_filter(merged(replace(old.filter, text=""), {"text": text}))
        )

    @only_another(lambda tab, request: (tab._page(request).settings.order,), lambda tab: tab._unchanged)
    async def order(self, order: str, request: gr.Request) -> AsyncIterator[Updates]:
        """Sort the list."""
        order = order if order in ORDERS else "cost"
        updates = await asyncio.to_thread(
            self._change_filter, request, lambda old: replace(old, order=order).from_the_top()
        )
        sorted_ = {self.components.rows, self.components.address}
        yield {component: update for component, update in updates.items() if component in sorted_}

    def _change_filter(self, request: gr.Request, change: Callable[[ViewSettings], ViewSettings]) -> Updates:
        """Apply a change and show it; one that is invalid changes nothing."""
        page = self._page(request)
        with page.lock:
            before = page.settings
            try:
                page.settings = change(before)
                page.turn += 1
                return self._filtered(page) if page.evaluated is not None else self._unchanged
            except (IndexError, KeyError, TypeError, ValueError):
                page.settings = before
                return self._unchanged

    # --- clicks

    def on_click(self, request: gr.Request, event: gr.EventData) -> Updates:
        """A click or a selection in a plot. The event's data comes from the browser and may be anything."""
        data = event._data if isinstance(event._data, Mapping) else {}
        page, action = self._page(request), str(data.get("do"))
        if action == "review":
            query = to_query(page.settings)
            return {self.links.picked: f"{query}&n={next(self._counter)}", self.links.tabs: gr.Tabs(selected="review")}
        if action == "open":
            view = self._view(page, data)
            if view is None:
                return self._unchanged
            query = view_query(view)
            return {self.links.jump: f"{query}&n={next(self._counter)}", self.links.tabs: gr.Tabs(selected="compare")}
        change = _CHANGES.get(action)
        if change is None:
            return self._unchanged
        updates = self._change_filter(request, lambda old: change(old, data))
        if action in ("more", "earlier"):
            return {self.components.rows: updates[self.components.rows]}
        return updates | ({self.components.search: ""} if not page.settings.filter.text else {})

    def _view(self, page: ErrorsPage, data: Mapping) -> View | None:
        """The error that was clicked, for Compare, at its worst frame or the frame that was clicked."""
        if page.evaluated is None:
            return None
        comparison = selected_models(self.workspace.evaluations, page.evaluated, page.settings)
        index = comparison.table.find(str(data.get("row")))
        if index is None:
            return None
        row, frame = comparison.table.record(index), data.get("frame")
        length = comparison.project.info(row.video_id).length
        return error_view(comparison, row, frame if type(frame) is int and 0 <= frame < length else None)

    async def return_to(self, key: str, request: gr.Request) -> Updates:
        """Show the list at a row, from the tab Compare. key: of the row and a number, with a blank between them."""
        page = self._page(request)
        tabs = {self.links.tabs: gr.Tabs(selected="errors")}
        page.opened = key.split()[0]
        if not page.listed:  # the evaluation begins when the tab is seen, and shows the row then
            return tabs
        return tabs | await asyncio.to_thread(self._revealed, page)

    def _revealed(self, page: ErrorsPage) -> Updates:
        """The list with the row that Compare has shown, which the page scrolls to; nothing before the evaluation or
        where the filter leaves the row out."""
        errors = page.errors(self.workspace.evaluations)
        place = None if errors is None else errors.place(page.opened)
        if errors is None or place is None:
            return self._unchanged
        with page.lock:
            page.settings = page.settings.with_row(place)
            page.turn += 1
        selection = sorted_selection(errors.comparison, page.settings)
        html = views.rows(errors.comparison, selection, page.settings, page.opened, reveal=page.turn)
        return {self.components.rows: gr.HTML(html, turn=page.turn)}


def _shown_models(page: ErrorsPage) -> tuple[str, str]:
    """A and B as the controls show them."""
    a, b = (*page.settings.names, NO_MODEL, NO_MODEL)[:2]
    return a, b


# --- what clicks do to the settings


def _select_side(old: ViewSettings, data: Mapping) -> ViewSettings:
    side = data["side"]
    if side not in (0, 1):
        raise ValueError(f"expected side 0 or 1, got {str(side)[:40]!r}")
    model = None if old.filter.model is None else old.names[side]
    return replace(old, side=int(side), filter=replace(old.filter, model=model))


def brushed(plot: str, ranges: Mapping[str, Sequence[float]]) -> Mapping[str, Any]:
    """What selecting a range in a plot adds to the filter: for `merged`.

    ranges: "x" and perhaps "y" -> both ends. Raises: ValueError for a plot without such ranges.
    """
    axes = BRUSHES.get(plot, {})
    if not axes or not any(axis in axes for axis in ranges):
        raise ValueError(f"expected to brush one of {', '.join(BRUSHES)}, got {plot[:40]!r}")
    return {axes[axis]: list(limits) for axis, limits in ranges.items() if axis in axes}


def _brush(old: ViewSettings, data: Mapping) -> ViewSettings:
    added = brushed(str(data["plot"]), data["ranges"])
    model = {"model": old.filter.model or old.names[old.side]} if len(old.names) > 1 else {}
    return old.with_filter(merged(old.filter, {**added, **model}))


_CHANGES: Mapping[str, Callable[[ViewSettings, Mapping], ViewSettings]] = {
    "filter": lambda old, data: old.with_filter(merged(old.filter, data["filter"])),
    "brush": _brush,
    "without": lambda old, data: old.with_filter(without(old.filter, str(data["chip"]))),
    "clear": lambda old, data: old.with_filter(NONE),
    "earlier": lambda old, data: old.with_earlier(),
    "more": lambda old, data: replace(old, shown=old.shown + PAGE),
    "side": _select_side,
}
