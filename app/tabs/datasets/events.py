"""The event handlers of the place `data set` in the page's head: opening, predicting all videos, category mappings."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from tevit.io.ytvis import open_dataset

from ...projects.opening import AllowedFolders, guess_frames, with_categories, with_predictions
from ...projects.project import Project
from ...rendering import hint, problem, render
from ...workspace import QUIET, TICK, Pages, Updates, Workspace, toast
from ..segment.models import find_model, model_options
from ..segment.parameters import form, read_form
from ..segment.views import with_errors
from . import views
from .predicting import DatasetTasks, PredictionRequest, resumable
from .views import GO, MAX_TRACKS, DatasetsComponents, build_layout


@dataclass
class DatasetsPage:
    """State of one page. followers: number of `follow` handlers started; only the latest continues."""

    followers: int = 0


def build(page: gr.Blocks, workspace: Workspace, tasks: DatasetTasks, checkpoints: Sequence[Path]) -> None:
    """Lay the place out and connect its events. checkpoints: models named at the start."""
    DatasetsPlace(build_layout(), workspace, tasks, checkpoints).connect(page)


class DatasetsPlace:
    """Handlers of the place's events."""

    def __init__(
        self, components: DatasetsComponents, workspace: Workspace, tasks: DatasetTasks, checkpoints: Sequence[Path]
    ):
        self.components, self.workspace, self.tasks, self.checkpoints = components, workspace, tasks, checkpoints
        self._page = Pages(lambda request: DatasetsPage()).of

    def connect(self, page: gr.Blocks) -> None:
        """Connect every event; none is a public endpoint."""
        c = self.components
        running = [c.progress, c.predict, c.stop]
        lists = [c.opened, c.folders, c.form, c.truth, c.frames, c.predictions, c.model]
        page.load(self.load, None, [c.button], **QUIET)
        c.button.click(self.list_files, c.model, lists, **QUIET).then(self.follow, None, running, **QUIET)
        c.truth.change(self.offer_frames, c.truth, c.frames, **QUIET)
        c.open.click(self.open, [c.truth, c.frames, c.predictions], [c.message, c.open, c.address], **QUIET)
        c.model.change(self.show_parameters, c.model, c.parameters, **QUIET)
        c.parameters.select(self.check_parameters, [c.model, c.parameters], c.parameters, **QUIET)
        request = [c.model, c.tracks, c.parameters]
        started = c.predict.click(self.predict, request, c.progress, **QUIET)
        started.failure(self.check_parameters, [c.model, c.parameters], c.parameters, **QUIET)
        started.success(self.follow, None, running, **QUIET)
        c.stop.click(self.stop, None, None, **QUIET)
        c.clicks.select(self.map_categories, None, c.address, trigger_mode="multiple", **QUIET)
        c.address.change(None, c.address, None, js=GO)

    def load(self, request: gr.Request) -> gr.Button:
        """The name of the page's data set."""
        return gr.Button(f"{self.workspace.of(request).name} ▾")

    # --- opening

    async def list_files(self, model: str | None, request: gr.Request) -> Updates:
        """The files and models that can be chosen now."""
        c, workspace = self.components, self.workspace
        allowed = workspace.allowed if workspace.access.is_host(request) else AllowedFolders()
        listing = await asyncio.to_thread(allowed.listing)
        models = [(option.label, option.value) for option in model_options(self.checkpoints)]
        values = [value for _, value in models]
        return {
            c.opened: render("datasets/open.html", projects=workspace.projects, current=workspace.of(request)),
            c.folders: render("datasets/folders.html", complete=listing.complete, folders=allowed.folders),
            c.form: gr.Column(visible=bool(allowed.folders)),
            c.truth: gr.Dropdown(self._named(listing.truths)),
            c.frames: gr.Dropdown(self._named(listing.folders)),
            c.predictions: gr.Dropdown(self._named(listing.predictions)),
            c.model: gr.Dropdown(models, value=model if model in values else values[0]),
        }

    async def offer_frames(self, truth: str | None, request: gr.Request) -> Any:
        """The folder with the frames of the chosen ground truth, where one is found."""

        def guess() -> Path | None:
            with suppress(OSError, ValueError):
                allowed = self.workspace.allowed
                return guess_frames(open_dataset(allowed.file(truth or "")), allowed.listing().folders)
            return None

        folder = await asyncio.to_thread(guess) if self.workspace.access.is_host(request) else None
        return gr.skip() if folder is None else gr.Dropdown(value=str(folder))

    def _named(self, paths: Sequence[str]) -> list[tuple[str, str]]:
        """Each path after its label, which begins with the name of the allowed folder."""
        named = []
        for path in paths:
            roots = [folder for folder in self.workspace.allowed.folders if Path(path).is_relative_to(folder)]
            named.append((str(Path(path).relative_to(roots[0].parent)) if roots else path, path))
        return named

    async def open(
        self, truth: str | None, frames: str | None, predictions: list[str] | None, request: gr.Request
    ) -> AsyncIterator[Updates]:
        """Open another data set, or add predictions to the current one."""
        c, project = self.components, self.workspace.of(request)
        yield {c.open: gr.Button(interactive=False), c.message: hint("Opening …")}

        def open_files() -> Project:
            self.workspace.access.check_host("opening data sets", request)
            files = [str(path) for path in predictions or []]
            if not truth and not files:
                raise ValueError("Choose a ground truth file, or predictions for the data set that is open.")
            if truth or frames:
                return self.workspace.open(str(truth or ""), str(frames or ""), files)
            allowed = [self.workspace.allowed.file(path) for path in files]
            return self.workspace.change(project.id, lambda current: with_predictions(current, allowed))

        try:
            opened = await asyncio.to_thread(open_files)
        except (ValueError, OSError) as error:
            yield {c.message: problem(str(error)), c.open: gr.Button(interactive=True)}
            raise toast(str(error)) from error
        yield {c.message: "", c.open: gr.Button(interactive=True), c.address: _address(opened)}

    # --- predicting

    async def show_parameters(self, model: str | None) -> gr.HTML:
        """The fields of the model's parameters."""
        return gr.HTML(value=await asyncio.to_thread(form, model))

    def check_parameters(self, model: str | None, values: Any) -> gr.HTML:
        """What is wrong with the values, beside their fields."""
        return with_errors(read_form(model, values)[1] if model else {})

    def predict(self, model: str | None, tracks: float | None, values: Any, request: gr.Request) -> str:
        """Queue a prediction of all videos, or continue one."""
        project = self.workspace.of(request)

        try:
            self.workspace.access.check_host("predicting a whole data set", request)
            if tracks is None or not 1 <= tracks <= MAX_TRACKS:
                raise ValueError(f"Tracks a video: expected 1 to {MAX_TRACKS}, got {tracks}.")
            name = find_model(model, self.checkpoints).value
            parameters, errors = read_form(name, values)
            for field, error in errors.items():
                raise ValueError(f"{field}: {error}")
            prediction = PredictionRequest.of(project, name, int(tracks), parameters)
            change = self.workspace.change
            self.tasks.start(
                project, prediction, lambda path: change(project.id, lambda now: with_predictions(now, [path]))
            )
        except (ValueError, OSError) as error:
            raise toast(str(error)) from error
        return self._prediction(project)

    async def follow(self, request: gr.Request) -> AsyncIterator[Updates]:
        """Show the data set's task until it is over; all pages show the same."""
        c, page, project = self.components, self._page(request), self.workspace.of(request)
        page.followers += 1
        follower, over = page.followers, False
        while not over and follower == page.followers:
            task = self.tasks.of(project)
            over = task is None or task.over
            yield {
                c.progress: self._prediction(project),
                c.predict: gr.Button(interactive=over),
                c.stop: gr.Button(interactive=not over),
            }
            await asyncio.sleep(0 if over else TICK)

    def _prediction(self, project: Project) -> str:
        task = self.tasks.of(project)
        ahead = self.tasks.ahead(task) if task else 0
        return views.prediction(task, ahead, resumable(project), len(project.dataset.videos))

    def stop(self, request: gr.Request) -> None:
        """Cancel the data set's task; finished videos are kept."""
        self._check_host("stopping what runs here", request)
        task = self.tasks.of(self.workspace.of(request))
        if task is not None and not task.over:
            task.cancel()

    def _check_host(self, action: str, request: gr.Request) -> None:
        try:
            self.workspace.access.check_host(action, request)
        except PermissionError as error:
            raise toast(str(error)) from error

    # --- categories

    async def map_categories(self, request: gr.Request, event: gr.EventData) -> object:
        """Use or undo a category mapping. The event's data is untrusted."""
        data = event._data if isinstance(event._data, Mapping) else {}
        if data.get("do") not in ("map", "unmap"):
            return gr.skip()
        self._check_host("mapping classes", request)
        change = partial(with_categories, model=str(data.get("model")))
        if data["do"] == "map":
            change = partial(_use_mapping, model=str(data.get("model")), source=str(data.get("source")))
        try:
            return _address(await asyncio.to_thread(self.workspace.change, self.workspace.of(request).id, change))
        except (ValueError, OSError) as error:
            raise toast(str(error)) from error


def _use_mapping(project: Project, model: str, source: str) -> Project:
    if project.models[project.model_index(model)].categories is not None:
        return project
    mapping = next((mapping for mapping in project.category_mappings(model) if mapping.source == source), None)
    if mapping is None:
        raise ValueError(f"The category ids of {model} cannot be read as {source[:80]}.")
    return with_categories(project, model, mapping.categories)


def _address(project: Project) -> str:
    # The time makes a repeated address a new one.
    return urlencode({"data": project.id, "t": time.monotonic()})
