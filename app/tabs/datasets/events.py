"""The place `data set` in the page's head: its components, opening, predicting all videos, category mappings.

All videos of a data set are predicted with one turn of the model worker for each. Between two turns the worker runs
other tasks, so that a single video waits for one video, not for the whole data set. The finished videos are kept in a
folder of the project named after everything that they depend on: the same request continues, also after a restart of
the server, and different requests never share results.
"""

import asyncio
import hashlib
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr
import msgspec

from tevit.inference.dataset import PartialResults, in_file_order, match_classes, open_frames
from tevit.io.categories import format_ids
from tevit.io.files import atomic
from tevit.io.ytvis import open_dataset
from tevit.results import VideoResult

from ...page import hint, on_change, on_load, problem, progress, render
from ...player.proxy import PlaceholderFrames, dataset_frames
from ...projects.project import PREDICTIONS, AllowedFolders, Project, guess_frames, with_categories, with_predictions
from ...workspace import QUIET, TICK, Pages, Updates, Workspace, toast
from ..segment.models import (
    ModelCache,
    Parameters,
    VideoPredictor,
    find_model,
    form,
    model_file,
    model_options,
    read_form,
)
from ..segment.run import ModelTask, ModelWorker
from ..segment.views import build_parameters, with_errors

MAX_TRACKS = 100
GO = on_change("datasets/datasets.js", "openDataset")
FOLDER = "predicting"  # in the project's folder
TRACKS = 10  # per video, as in `tevit predict`
_REQUEST_FILE = "request.json"


class PredictionRequest(msgspec.Struct, frozen=True):
    """What to predict. truth: sha256 of the data set's file. model: a published name or a checkpoint's path. weights:
    identifies a checkpoint's content, "" for a published model. tracks: maximum per video. parameters: of the model,
    those that are not the defaults."""

    truth: str
    model: str
    weights: str = ""
    tracks: int = TRACKS
    parameters: dict[str, str | float | bool | None] = {}

    @classmethod
    def of(cls, project: Project, model: str, tracks: int = TRACKS, parameters: Parameters = ()) -> "PredictionRequest":
        """Raises: ValueError for a project without a file that lists its videos."""
        if project.truth is None:
            raise ValueError("Predicting needs a data set that lists its videos: open one.")
        file = model_file(model)
        stat = file.stat() if file else None
        weights = f"{stat.st_size}-{stat.st_mtime_ns}" if stat else ""
        plain = {name: value.name if isinstance(value, Enum) else value for name, value in parameters}
        return cls(project.truth.sha256, model, weights, tracks, plain)

    @property
    def key(self) -> str:
        """16 hexadecimal digits that identify the request."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]

    @property
    def name(self) -> str:
        """The name of the predictions: the model's, with what is not as usual: the number of tracks, parameters."""
        terms = [Path(self.model).stem, *(f"{name}={value}" for name, value in self.parameters.items())]
        terms += [f"{self.tracks} tracks"] if self.tracks != TRACKS else []
        return re.sub(r"[^\w .=,+-]", "_", " ".join(terms))[:100]


class PartialPredictions(PartialResults):
    """The finished videos of one request. target: the results.json that they become."""

    def __init__(self, project: Project, request: PredictionRequest):
        super().__init__(project.folder / FOLDER / request.key)
        self.request = request
        self.target = project.folder / PREDICTIONS / f"{request.name}.json"

    def create(self) -> None:
        """Make the folder. Raises: OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic(self.folder / _REQUEST_FILE) as part:
            part.write_bytes(msgspec.json.encode(self.request))


def resumable(project: Project) -> Iterator[PartialPredictions]:
    """Unfinished predictions whose weights are still the same."""
    for file in sorted((project.folder / FOLDER).glob(f"*/{_REQUEST_FILE}")):
        try:
            request = msgspec.json.decode(file.read_bytes(), type=PredictionRequest)
            current = PredictionRequest.of(project, request.model, request.tracks, tuple(request.parameters.items()))
        except (OSError, ValueError):  # half removed, or of another version
            continue
        if request == current:
            yield PartialPredictions(project, request)


class DatasetTask(ModelTask):
    """Predicts all videos of a data set. Thread-safe.

    finished: called with the results.json at the end; raises OSError, ValueError. total: number of videos.
    failed: video id -> error. notes: how the model's classes were matched with the data set's, and what was unexpected
    of frames, with the ids of their videos.
    """

    def __init__(
        self, project: Project, request: PredictionRequest, models: ModelCache, finished: Callable[[Path], object]
    ):
        super().__init__(project.name, request.model, models, parameters=tuple(request.parameters.items()))
        self.project, self.request = project, request
        self.partial = PartialPredictions(project, request)
        self.failed: dict[int, str] = {}
        self.notes: dict[str, list[int]] = {}
        self._finished = finished
        self._predicting = threading.Lock()
        self._lengths = {id: video.length for id, video in project.dataset.videos.items()}
        self._done = self.partial.finished & self._lengths.keys()
        self.total = len(self._lengths)
        self._update_message()

    @property
    def done(self) -> int:
        """Number of finished videos."""
        return len(self._done)

    def _update_message(self) -> None:
        self.cancel_message = f"{self.done} of {self.total} videos are kept: the same request resumes there."

    def cancel(self) -> None:
        """Stop and keep the finished videos."""
        super().cancel()
        if self._predicting.acquire(blocking=False):  # between two turns: ends at once
            self._predicting.release()
            self.finish("cancelled", self.cancel_message)

    def predict(self, predictor: VideoPredictor) -> None:
        """Predict the next video; after the last one write the results."""
        with self._predicting:
            remaining = [id for id in self._lengths if id not in self._done and id not in self.failed]
            if remaining:
                self.partial.create()
                self._report(0)
                self._predict_next(remaining[0], predictor)
            if len(remaining) <= 1:
                self._write_results()

    def _report(self, frames: int) -> None:
        """frames: done of the current video."""
        over = sum(self._lengths[id] for id in (*self._done, *self.failed))
        self.progress("predicting", over + frames, sum(self._lengths.values()))

    def _predict_next(self, id: int, predictor: VideoPredictor) -> None:
        result: VideoResult | None = None
        try:
            # Not within `except`: there the exception would hold the memory that is to be freed.
            with suppress(MemoryError):
                result = self._predict_video(id, predictor)
            if result is None:
                self.models.keep_only(self.model)
                result = self._predict_video(id, predictor)
        except (ValueError, OSError, MemoryError) as error:
            self.failed[id] = str(error) or "not enough memory"
            return
        numbered = getattr(predictor, "numbered", True)
        classes = match_classes(result.categories, self.project.dataset.categories, numbered=numbered)
        self.notes |= {note: [] for note in classes.notes}
        self.partial.add(replace(classes.apply(result), video_id=id))
        self._done.add(id)
        self._update_message()
        self._report(0)

    def _predict_video(self, id: int, predictor: VideoPredictor) -> VideoResult:
        """All frames at once, in the order of their names, as `tevit predict --dataset` and the original."""
        frames = dataset_frames(self.project, id)
        if isinstance(frames, PlaceholderFrames):
            raise FileNotFoundError(frames.reason)
        video = open_frames(frames.files, id, self.project.dataset.videos[id].size_hw)
        for note in video.notes:
            self.notes.setdefault(note, []).append(id)
        results: Iterator[VideoResult] = predictor.stream(
            video,
            window=0,
            max_tracks=self.request.tracks,
            score_threshold=0.0,
            progress=lambda stage, done, total: self._report(done if stage == "segmenting" else 0),
        )
        *_, last = results
        return in_file_order(last, frames.files)

    def _write_results(self) -> None:
        error = next(iter(self.failed.values()), "the data set has no videos")
        if not self._done:
            self.finish("failed", f"No video could be predicted: {error}")
            return
        self._finished(self.partial.merge(self.partial.target, self._lengths))
        if self.failed:
            message = f"{len(self.failed)} of {self.total} videos failed (ids {format_ids(list(self.failed))}): {error}"
            self.finish("done", f"{message} The same request tries them again.")
            return
        self.partial.remove()
        of_videos = {note: f" (videos {format_ids(ids)})" if ids else "" for note, ids in self.notes.items()}
        notes = "".join(f" Note: {note}{ids}." for note, ids in of_videos.items())
        self.finish("done", f"{self.request.name} has predicted all {self.total} videos.{notes}")


class DatasetTasks:
    """The latest task of each data set, shared by all pages. Thread-safe."""

    def __init__(self, worker: ModelWorker):
        self._worker = worker
        self._tasks: dict[str, DatasetTask] = {}
        self._lock = threading.Lock()

    def of(self, project: Project) -> DatasetTask | None:
        """The task that runs, or was the last."""
        return self._tasks.get(project.id)

    def ahead(self, task: DatasetTask) -> int:
        """Number of tasks before it in the queue."""
        return self._worker.runner.ahead(task)

    def start(self, project: Project, request: PredictionRequest, finished: Callable[[Path], object]) -> DatasetTask:
        """Queue a task. Raises: ValueError where one of this data set runs, or frames are missing."""
        if project.frames is None or not project.frames.is_dir():
            raise ValueError(f"Predicting needs the frames of {project.name}: name their folder.")
        with self._lock:
            running = self._tasks.get(project.id)
            if running is not None and not running.over:
                raise ValueError(f"{running.request.name} is predicting this data set already.")
            task = self._tasks[project.id] = DatasetTask(project, request, self._worker.models, finished)
        return self._worker.runner.submit(task)


@dataclass(frozen=True)
class DatasetsComponents:
    """button: opens and closes the place. clicks: sends the notices' buttons, anywhere in the page. address: query of
    the address to open."""

    button: gr.Button
    clicks: gr.HTML
    opened: gr.HTML
    folders: gr.HTML
    form: gr.Column
    truth: gr.Dropdown
    frames: gr.Dropdown
    predictions: gr.Dropdown
    open: gr.Button
    model: gr.Dropdown
    parameters: gr.HTML
    tracks: gr.Number
    predict: gr.Button
    stop: gr.Button
    progress: gr.HTML
    message: gr.HTML
    address: gr.Textbox


def build_layout() -> DatasetsComponents:
    """Add the components to the Blocks that is open."""
    built: dict[str, Any] = {}
    script = on_load("datasets/datasets.js", 'module.mount(element, (event) => trigger("select", event));')
    path: dict[str, Any] = {"value": None, "allow_custom_value": True}
    built["button"] = gr.Button("data set ▾", elem_id="datasets-button", size="sm", min_width=0)
    built["clicks"] = gr.HTML("", js_on_load=script, elem_id="datasets-clicks")
    with gr.Column(elem_id="datasets"):
        built["opened"] = gr.HTML(elem_id="datasets-open")
        built["message"] = gr.HTML(elem_id="datasets-message")
        with gr.Row(elem_id="datasets-columns", equal_height=False):
            with gr.Column(min_width=260):
                text = "Without a ground truth file, predictions are added to the current data set."
                gr.HTML(render("heading.html", title="Open", hint=text))
                with gr.Column(visible=False) as built["form"]:
                    built["truth"] = gr.Dropdown([], label="Ground truth file", **path)
                    built["frames"] = gr.Dropdown([], label="Folder of frames", **path)
                    built["predictions"] = gr.Dropdown(
                        [], label="Predictions files", multiselect=True, allow_custom_value=True
                    )
                    built["open"] = gr.Button("Open", size="md")
                built["folders"] = gr.HTML()
            with gr.Column(min_width=260):
                text = "All videos of this data set; continues when the page is closed."
                gr.HTML(render("heading.html", title="Predict", hint=text))
                built["model"] = gr.Dropdown([], label="Predict with")
                built["parameters"] = build_parameters("datasets-parameters")
                built["tracks"] = gr.Number(TRACKS, label="Tracks a video", precision=0, minimum=1, maximum=MAX_TRACKS)
                with gr.Row():
                    built["predict"] = gr.Button("Predict all videos", size="md", min_width=80)
                    built["stop"] = gr.Button("Stop predicting", size="md", min_width=80, interactive=False)
                built["progress"] = gr.HTML(elem_id="datasets-progress")
        built["address"] = gr.Textbox(visible=False)
    return DatasetsComponents(**built)


def prediction(task: DatasetTask | None, ahead: int, partial: Iterable[PartialPredictions], total: int) -> str:
    """The state of the data set's task; without one what can be resumed. total: videos of the data set."""
    status = task.status(ahead) if task else None
    return render(
        "datasets/prediction.html",
        task=task,
        status=progress(status) if status else "",
        done=status is not None and status.state == "done",
        partial=[(results.request.name, len(results.finished)) for results in partial],
        total=total,
    )


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
        return prediction(task, ahead, resumable(project), len(project.dataset.videos))

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
