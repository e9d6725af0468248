"""Predicting all videos of a data set with a model, one turn of the model worker for each video.

Between two turns the worker runs other tasks, so that a single video waits for one video, not for the whole data set.
The finished videos are kept in a folder of the project named after everything that they depend on: the same request
continues, also after a restart of the server, and different requests never share results.
"""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from pathlib import Path

import msgspec

from tevit.inference.dataset import PartialResults, in_file_order, match_classes, open_frames
from tevit.io.categories import format_ids
from tevit.io.files import atomic
from tevit.results import VideoResult

from ...player.proxy import PlaceholderFrames, dataset_frames
from ...projects.opening import PREDICTIONS
from ...projects.project import Project
from ..segment.models import ModelCache, Parameters, VideoPredictor, model_file
from ..segment.run import ModelTask, ModelWorker

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
