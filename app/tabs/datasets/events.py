"""The place `data set` in the page's head: which are open, opening another, predictions of all videos, classes."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from app.projects.opening import with_categories, with_predictions
from app.projects.partial import request as asked_for
from app.projects.partial import unfinished
from app.projects.project import Project
from app.rendering import problem
from app.tabs.datasets import views as panels
from app.tabs.datasets.layout import GO, DatasetsComponents, build_layout
from app.tabs.datasets.predicting import Predicting, Predictions
from app.tabs.segment.models import find_model, model_options
from app.workspace import QUIET, TICK, Pages, Updates, Workspace, toast

MOST_TRACKS = 100


class _Following:
    """Of one page. turn: counts its looks at a prediction, so that an older one ends."""

    turn = 0


def build(page: gr.Blocks, workspace: Workspace, predictions: Predictions, checkpoints: Sequence[Path]) -> None:
    """Lay it out and tie its events. checkpoints: models given at the start."""
    _Place(build_layout(), workspace, predictions, checkpoints).tie(page)


class _Place:
    def __init__(
        self, parts: DatasetsComponents, workspace: Workspace, predictions: Predictions, checkpoints: Sequence[Path]
    ):
        self.parts, self.workspace, self.predictions, self.checkpoints = parts, workspace, predictions, checkpoints
        self._following = Pages(lambda request: _Following()).of

    def tie(self, page: gr.Blocks) -> None:
        """Every event; none is a public endpoint."""
        parts = self.parts
        running = [parts.progress, parts.predict, parts.stop]
        lists = [parts.opened, parts.places, parts.form, parts.truth, parts.frames, parts.predictions, parts.model]
        page.load(self.arrive, None, [parts.button], **QUIET)
        looked = parts.button.click(self.looked, parts.model, lists, **QUIET)
        looked.then(self.follow, None, running, **QUIET)
        files = [parts.truth, parts.frames, parts.predictions]
        parts.open.click(self.open, files, [parts.said, parts.open, parts.go], **QUIET)
        began = parts.predict.click(self.predict, [parts.model, parts.tracks], parts.progress, **QUIET)
        began.success(self.follow, None, running, **QUIET)
        parts.stop.click(self.stop, None, None, **QUIET)
        parts.heard.select(self.heard, None, parts.go, trigger_mode="multiple", **QUIET)
        parts.go.change(None, parts.go, None, js=GO)

    def arrive(self, request: gr.Request) -> Any:
        """The data set's name."""
        return gr.Button(f"{self.workspace.of(request).name} ▾")

    # --- opening

    async def looked(self, model: str | None, request: gr.Request) -> Updates:
        """What there is to choose from, looked for anew at every press."""
        parts, workspace = self.parts, self.workspace
        found = await asyncio.to_thread(workspace.allowed.listing)
        offered = model_options(self.checkpoints)
        values = [choice.value for choice in offered]
        return {
            parts.opened: panels.opened(workspace.projects, workspace.of(request)),
            parts.places: panels.places(found.complete, workspace.allowed.folders),
            parts.form: gr.Column(visible=bool(workspace.allowed.folders)),
            parts.truth: gr.Dropdown(self._named(found.truths)),
            parts.frames: gr.Dropdown(self._named(found.folders)),
            parts.predictions: gr.Dropdown(self._named(found.predictions)),
            parts.model: gr.Dropdown(
                [(choice.label, choice.value) for choice in offered], value=model if model in values else values[0]
            ),
        }

    def _named(self, paths: Sequence[str]) -> list[tuple[str, str]]:
        """Short, and what they are: the allowed folder is said once."""
        return [(self._short(path), path) for path in paths]

    def _short(self, path: str) -> str:
        roots = [folder for folder in self.workspace.allowed.folders if Path(path).is_relative_to(folder)]
        return str(Path(path).relative_to(roots[0].parent)) if roots else path

    async def open(
        self, truth: str | None, frames: str | None, predictions: list[str] | None, request: gr.Request
    ) -> AsyncIterator[Updates]:
        """Another data set; or predictions for the one that is open."""
        parts, project = self.parts, self.workspace.of(request)
        yield {parts.open: gr.Button(interactive=False), parts.said: '<p class="hint">Opening …</p>'}
        try:
            opened = await asyncio.to_thread(self._opened, project, truth, frames, predictions or [])
        except (ValueError, OSError) as error:
            yield {parts.said: problem(str(error)), parts.open: gr.Button(interactive=True)}
            raise toast(str(error)) from error
        yield {parts.said: "", parts.open: gr.Button(interactive=True), parts.go: _to(opened)}

    def _opened(self, project: Project, truth: str | None, frames: str | None, predictions: Sequence[str]) -> Project:
        if not truth and not predictions:
            raise ValueError("Choose a ground truth file, or predictions for the data set that is open.")
        if truth or frames:
            return self.workspace.open(str(truth or ""), str(frames or ""), list(map(str, predictions)))
        files = [self.workspace.allowed.file(str(path)) for path in predictions]
        return self.workspace.change(project.id, lambda now: with_predictions(now, files))

    # --- predicting

    def predict(self, model: str | None, tracks: float | None, request: gr.Request) -> Any:
        """Put it in line, or go on with what is kept of it."""
        project = self.workspace.of(request)
        try:
            if tracks is None or not 1 <= tracks <= MOST_TRACKS:
                raise ValueError(f"Tracks a video: expected 1 to {MOST_TRACKS}, got {tracks}.")
            wanted = asked_for(project, find_model(model, self.checkpoints).value, int(tracks))
            self.predictions.start(project, wanted, partial(self._predicted, project.id))
        except (ValueError, OSError) as error:
            raise toast(str(error)) from error
        return self._progress(project)

    def _predicted(self, id: str, path: Path) -> None:
        self.workspace.change(id, lambda project: with_predictions(project, [path]))

    async def follow(self, request: gr.Request) -> AsyncIterator[Updates]:
        """How far it is, until it is over; whoever looks sees the same."""
        mine, project = self._following(request), self.workspace.of(request)
        mine.turn += 1
        turn, over = mine.turn, False
        while not over and turn == mine.turn:
            over = not self._goes_on(project)
            yield {
                self.parts.progress: self._progress(project),
                self.parts.predict: gr.Button(interactive=over),
                self.parts.stop: gr.Button(interactive=not over),
            }
            await asyncio.sleep(0 if over else TICK)

    def _goes_on(self, project: Project) -> Predicting | None:
        job = self.predictions.of(project)
        return None if job is None or job.over else job

    def _progress(self, project: Project) -> str:
        job = self.predictions.of(project)
        ahead = self.predictions.ahead(job) if job else 0
        return panels.predicting(job, ahead, unfinished(project), len(project.dataset.videos))

    def stop(self, request: gr.Request) -> None:
        """What is finished stays."""
        if job := self._goes_on(self.workspace.of(request)):
            job.cancel()

    # --- classes

    async def heard(self, request: gr.Request, event: gr.EventData) -> Any:
        """A button of a notice. What the browser says is whatever it likes."""
        said = event._data if isinstance(event._data, Mapping) else {}
        change = {"map": _map, "unmap": _unmap}.get(str(said.get("do")))
        if change is None:
            return gr.skip()
        try:
            work = partial(change, model=str(said.get("model")))
            return _to(await asyncio.to_thread(self.workspace.change, self.workspace.of(request).id, work))
        except (ValueError, OSError) as error:
            raise toast(str(error)) from error


def _map(project: Project, model: str) -> Project:
    if project.models[project.model_index(model)].categories is not None:
        return project
    offer = panels.offer_of(project, model)
    if offer is None:
        raise ValueError(f"No known category list has all classes of {model}.")
    return with_categories(project, model, offer.categories)


def _unmap(project: Project, model: str) -> Project:
    return with_categories(project, model, None)


def _to(project: Project) -> str:
    """The time makes the same address a new one."""
    return urlencode({"data": project.id, "t": time.monotonic()})
