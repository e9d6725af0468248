"""The tab `Errors`: from figures to kinds of errors, to the list of errors, to the frame in Compare."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import gradio as gr

from app import deep_link as view
from app.analysis.comparison import Comparison
from app.analysis.filter import NONE, merged, without
from app.projects.project import Project
from app.rendering import problem
from app.tabs.datasets.views import notices
from app.tabs.errors import views as panels
from app.tabs.errors.layout import ADDRESS, NOBODY, ErrorsComponents, build_layout
from app.tabs.errors.routes import (
    ORDERS,
    PAGE,
    ViewSettings,
    all_models,
    from_address,
    selected_models,
    sorted_selection,
    to_address,
    to_query,
)
from app.tasks import Task
from app.workspace import QUIET, TICK, Pages, Updates, Workspace

BRUSHES: Mapping[str, Mapping[str, str]] = {"scores": {"x": "scores"}, "lengths": {"x": "lengths", "y": "ious"}}
"""Plot -> axis -> the filter's range that selecting along it sets."""
PAUSE = 0.1  # seconds in which a slider that is still moving says so


@dataclass
class ErrorsPage:
    """What one page looks at: the data set as it was when it asked; everything worked out, all models at the usual
    thresholds; what it chose."""

    project: Project
    chosen: ViewSettings
    whole: Comparison | None = None
    turn: int = 0  # counts changes of what is chosen; answers carry it, so that the page drops one that arrives late
    lock: threading.Lock = field(default_factory=threading.Lock)


def build(page: gr.Blocks, workspace: Workspace, jump: gr.Textbox, picked: gr.Textbox, tabs: gr.Tabs) -> None:
    """Lay the tab out in the Blocks that is open and tie its events. jump: where Compare is told what to show; picked:
    Review."""
    del page  # nothing happens when it is loaded: the evaluation begins at the first look at the tab
    _ErrorsTab(build_layout(), workspace, jump, picked, tabs).tie()


class _ErrorsTab:
    """What happens in the tab."""

    def __init__(
        self, components: ErrorsComponents, workspace: Workspace, jump: gr.Textbox, picked: gr.Textbox, tabs: gr.Tabs
    ):
        self.components, self.workspace, self.jump, self.picked, self.tabs = components, workspace, jump, picked, tabs
        self._page = Pages(lambda request: _begun(workspace.of(request), request)).of
        self._counter = itertools.count(1)

    def tie(self) -> None:
        """Every event and what it may change; none is a public endpoint."""
        components = self.components
        views = [components.bar, components.plots, components.rows, components.address]
        told = [*views, components.search, self.jump, self.picked, self.tabs]
        everything = [getattr(components, item.name) for item in fields(components)]
        measured = [*components.heard(), components.address]
        components.state.select(self.begin, None, everything, **QUIET)
        for place in components.heard():
            if place is not components.state:
                place.select(self.heard, None, told, trigger_mode="multiple", **QUIET)
        components.search.change(self.search, components.search, views, trigger_mode="always_last", **QUIET)
        components.order.input(
            self.order, components.order, [components.rows, components.address], trigger_mode="always_last", **QUIET
        )
        components.address.change(None, components.address, None, js=ADDRESS)
        sliders = [components.positive, components.background, components.cutoff]
        for slider in sliders:
            slider.change(self.move, sliders, measured, trigger_mode="multiple", **QUIET)
        for model in (components.a, components.b):
            model.input(self.compare, [components.a, components.b], measured, trigger_mode="multiple", **QUIET)

    # --- the evaluation

    async def begin(self, request: gr.Request) -> AsyncIterator[Updates]:
        """The first look at the tab, or another try."""
        page = self._page(request)
        page.project = self.workspace.find(page.project.id)
        opening = await asyncio.to_thread(self.workspace.evaluations.open, page.project)
        try:
            async for updates in self._evaluating(opening):
                yield updates
            async for updates in self._evaluated(opening, page):
                yield updates
        finally:
            opening.leave()

    async def _evaluating(self, task: Task[Comparison]) -> AsyncIterator[Updates]:
        """Show the progress until it is over."""
        while not (now := task.status()).over:
            yield {self.components.state: panels.progress(now)}
            await asyncio.sleep(TICK)

    async def _evaluated(self, task: Task[Comparison], page: ErrorsPage) -> AsyncIterator[Updates]:
        now, components = task.status(), self.components
        if now.result is None:
            failed = now.state == "failed"
            message = problem(now.message) if failed else panels.sentence(now.message, now.state == "cancelled")
            yield {components.state: message}
            return
        page.whole = now.result
        if not await asyncio.to_thread(self._fits, page):
            page.chosen = from_address("", [model.name for model in page.project.models])
        async for updates in self._anew(page):
            yield updates | {components.state: gr.skip(), **self._controls(page)}
        yield {components.state: await asyncio.to_thread(notices, page.project)}

    def _fits(self, page: ErrorsPage) -> bool:
        """Whether what a link has chosen makes sense in this data set."""
        try:
            self._views(page)
        except (IndexError, KeyError, TypeError, ValueError):
            return False
        return True

    def _controls(self, page: ErrorsPage) -> Updates:
        """As they were chosen."""
        components, names = self.components, [model.name for model in page.project.models]
        a, b = (*page.chosen.names, NOBODY, NOBODY)[:2]
        return {
            components.controls: gr.Row(visible=True),
            components.ordering: gr.Row(visible=True),
            components.a: gr.Dropdown(names, value=a, visible=len(names) > 1),
            components.b: gr.Dropdown([*names, NOBODY], value=b, visible=len(names) > 1),
            components.positive: page.chosen.limits.positive,
            components.background: page.chosen.limits.background,
            components.cutoff: page.chosen.cutoff,
            components.search: page.chosen.filter.text,
            components.order: page.chosen.order,
        }

    async def _anew(self, page: ErrorsPage) -> AsyncIterator[Updates]:
        """After thresholds or models were changed: the errors first, what takes longer after that. Where they are
        changed again meanwhile, whoever did that goes on."""
        components, wanted, turn = self.components, page.chosen.measure, page.turn
        try:
            comparison = await asyncio.to_thread(self._comparison, page)
            drawn = await asyncio.to_thread(self._views, page)
            drawn |= {components.kinds: gr.HTML(await asyncio.to_thread(panels.error_types, comparison), turn=turn)}
            if page.chosen.measure == wanted:
                yield drawn
            for part, draw in (
                (components.figures, self._figures),
                (components.lenses, lambda page: panels.error_groups(comparison)),
            ):
                if page.chosen.measure != wanted:
                    return
                yield {part: gr.HTML(await asyncio.to_thread(draw, page), turn=turn)}
        except ValueError as error:
            yield {components.state: problem(str(error))}

    def _comparison(self, page: ErrorsPage) -> Comparison:
        assert page.whole is not None
        return selected_models(self.workspace.evaluations, page.whole, page.chosen)

    def _figures(self, page: ErrorsPage) -> str:
        """Of every model; the plots of A and B."""
        assert page.whole is not None
        return panels.figures(self._comparison(page), all_models(self.workspace.evaluations, page.whole, page.chosen))

    def _views(self, page: ErrorsPage) -> Updates:
        """What follows the filter. Raises: ValueError."""
        components, turn = self.components, page.turn
        comparison, chosen = self._comparison(page), page.chosen
        selection = sorted_selection(comparison, chosen)
        side = panels.shown_side(comparison, chosen)
        names = tuple(model.name for model in page.project.models)
        return {
            components.bar: gr.HTML(panels.bar(comparison, selection, chosen), turn=turn),
            components.plots: gr.HTML(panels.below(comparison, selection, side), turn=turn),
            components.rows: gr.HTML(panels.rows(comparison, selection, chosen), turn=turn),
            components.address: f"{turn}?{to_address(page.project.id, chosen, names)}",
        }

    # --- choices

    async def move(
        self, positive: float, background: float, cutoff: float, request: gr.Request
    ) -> AsyncIterator[Updates]:
        """Other thresholds."""
        async for updates in self._changed(request, lambda chosen: chosen.moved(positive, background, cutoff)):
            yield updates

    async def compare(self, a: str, b: str, request: gr.Request) -> AsyncIterator[Updates]:
        """Other models; those of the filter that name a model go with it."""
        names = (a,) if b in (NOBODY, a) else (a, b)

        def change(chosen: ViewSettings) -> ViewSettings:
            kept = replace(chosen.filter, model=chosen.filter.model if chosen.filter.model in names else None)
            kept = replace(kept, outcome=kept.outcome if len(names) > 1 else None)
            return replace(chosen.filtered(kept), names=names, side=min(chosen.side, len(names) - 1))

        async for updates in self._changed(request, change):
            yield updates

    async def _changed(
        self, request: gr.Request, change: Callable[[ViewSettings], ViewSettings]
    ) -> AsyncIterator[Updates]:
        page = self._page(request)
        before = page.chosen
        yield {self.components.state: gr.skip()}  # what yields nothing at all would empty every component
        try:
            with page.lock:
                page.chosen = change(page.chosen)
                page.turn += 1
        except (TypeError, ValueError) as error:
            yield {self.components.state: problem(str(error))}
            return
        mine = page.chosen
        await asyncio.sleep(PAUSE)
        if page.whole is not None and mine != before and mine.measure == page.chosen.measure:
            async for updates in self._anew(page):
                yield updates

    def search(self, text: str, request: gr.Request) -> Updates:
        """Words that video, type or class must have. Also told when Python itself has emptied the field."""
        if text == self._page(request).chosen.filter.text:
            return {self.components.rows: gr.skip()}
        return self._now(
            request, lambda chosen: chosen.filtered(merged(replace(chosen.filter, text=""), {"text": text}))
        )

    def order(self, order: str, request: gr.Request) -> Updates:
        """The list in another order."""
        order = order if order in ORDERS else "cost"
        updates = self._now(request, lambda chosen: replace(chosen, order=order, shown=PAGE))
        kept = {self.components.rows, self.components.address}
        return {part: update for part, update in updates.items() if part in kept}

    def _now(self, request: gr.Request, change: Callable[[ViewSettings], ViewSettings]) -> Updates:
        """Quick ones. Those that make no sense change nothing."""
        page = self._page(request)
        with page.lock:
            before = page.chosen
            try:
                page.chosen = change(before)
                page.turn += 1
                return self._views(page) if page.whole is not None else {self.components.rows: gr.skip()}
            except (IndexError, KeyError, TypeError, ValueError):
                page.chosen = before
                return {self.components.rows: gr.skip()}

    # --- presses

    def heard(self, request: gr.Request, event: gr.EventData) -> Updates:
        """Something in the tab was pressed or brushed. What the browser says is whatever it likes."""
        said = event._data if isinstance(event._data, Mapping) else {}
        if said.get("do") == "review":
            query = to_query(self._page(request).chosen)
            return {self.picked: f"{query}&n={next(self._counter)}", self.tabs: gr.Tabs(selected="review")}
        if said.get("do") == "open":
            return self._open(self._page(request), said)
        change = _CHANGES.get(str(said.get("do")))
        if change is None:
            return {self.components.rows: gr.skip()}
        updates = self._now(request, lambda chosen: change(chosen, said))
        if said["do"] == "more":
            return {self.components.rows: updates[self.components.rows]}
        return updates | ({self.components.search: ""} if not self._page(request).chosen.filter.text else {})

    def _open(self, page: ErrorsPage, said: Mapping) -> Updates:
        """Show an error in Compare, at its worst frame or the one that was pressed."""
        comparison = self._comparison(page) if page.whole is not None else None
        index = comparison.find_row(str(said.get("row"))) if comparison is not None else None
        if comparison is None or index is None:
            return {self.components.rows: gr.skip()}
        query = view.to_query(_view(comparison, index, said.get("frame")))
        return {self.jump: f"{query}&n={next(self._counter)}", self.tabs: gr.Tabs(selected="compare")}


def _begun(project: Project, request: gr.Request) -> ErrorsPage:
    """As the page's address says."""
    said = str(dict(request.query_params).get("errors", ""))
    return ErrorsPage(project, from_address(said, tuple(model.name for model in project.models)))


def _view(comparison: Comparison, index: int, frame: object) -> view.View:
    shown, names = comparison.row(index), tuple(model.name for model in comparison.models)
    length = comparison.project.info(shown.video_id).length
    wanted = frame if type(frame) is int and 0 <= frame < length else shown.worst
    return view.View(
        video=shown.video_id,
        frame=wanted or 0,
        models=names[:2],
        truth=shown.truth_id,
        prediction=shown.prediction_id,
        side=names.index(shown.model),
    )


def _side(chosen: ViewSettings, said: Mapping) -> ViewSettings:
    side = said["side"]
    if side not in (0, 1):
        raise ValueError(f"expected side 0 or 1, got {str(side)[:40]!r}")
    model = None if chosen.filter.model is None else chosen.names[side]
    return replace(chosen, side=int(side), filter=replace(chosen.filter, model=model))


def brushed(plot: str, ranges: Mapping[str, Sequence[float]]) -> Mapping[str, Any]:
    """What selecting a range in a plot adds to the filter: for `merged`.

    ranges: "x" and perhaps "y" -> both ends. Raises: ValueError for a plot without such ranges.
    """
    axes = BRUSHES.get(plot, {})
    if not axes or not any(axis in axes for axis in ranges):
        raise ValueError(f"expected to brush one of {', '.join(BRUSHES)}, got {plot[:40]!r}")
    return {axes[axis]: list(limits) for axis, limits in ranges.items() if axis in axes}


def _brush(chosen: ViewSettings, said: Mapping) -> ViewSettings:
    added = brushed(str(said["plot"]), said["ranges"])
    if len(chosen.names) < 2:
        return chosen.filtered(merged(chosen.filter, added))
    model = chosen.filter.model or chosen.names[chosen.side]
    return chosen.filtered(merged(chosen.filter, {**added, "model": model}))


_CHANGES: Mapping[str, Callable[[ViewSettings, Mapping], ViewSettings]] = {
    "filter": lambda chosen, said: chosen.filtered(merged(chosen.filter, said["filter"])),
    "brush": _brush,
    "without": lambda chosen, said: chosen.filtered(without(chosen.filter, str(said["chip"]))),
    "clear": lambda chosen, said: chosen.filtered(NONE),
    "more": lambda chosen, said: replace(chosen, shown=chosen.shown + PAGE),
    "side": _side,
}
