"""A model over all videos of a data set, in the line of the one model worker: a turn for each video.

So whoever wants a single video segmented meanwhile waits for one video, not for all of them.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from app.player.proxy import PlaceholderFrames, dataset_frames
from app.projects.partial import PartialPredictions, Request
from app.projects.project import Project, format_ids
from app.tabs.segment.models import ModelCache, VideoPredictor
from app.tabs.segment.run import ModelTask, ModelWorker
from tevit.inference.dataset import open_frames
from tevit.results import VideoResult

STAGE = "predicting"


class Predicting(ModelTask):
    """finished: called with the results.json when all is done; raises OSError, ValueError. May be used from any thread.

    total: videos of the data set. failed: id -> sentence.
    """

    def __init__(self, project: Project, request: Request, models: ModelCache, finished: Callable[[Path], None]):
        super().__init__(project.name, request.model, models)
        self.project, self.request = project, request
        self.parts = PartialPredictions(project, request)
        self.failed: dict[int, str] = {}
        self._finished = finished
        self._at_work = threading.Lock()
        self._lengths = {id: video.length for id, video in project.dataset.videos.items()}
        self._done = self.parts.finished & self._lengths.keys()
        self.total = len(self._lengths)
        self._count()

    @property
    def done(self) -> int:
        """Videos that are finished."""
        return len(self._done)

    def predict(self, predictor: VideoPredictor) -> None:
        """The next video; after the last one the file."""
        with self._at_work:
            left = self._left()
            if left:
                self.parts.begin()
                self._say(0)
                self._video(left[0], predictor)
            if len(left) <= 1:
                self._end()

    def cancel(self) -> None:
        """What is finished stays; between two turns there is nothing to wait for."""
        super().cancel()
        if self._at_work.acquire(blocking=False):
            self._at_work.release()
            self.finish("cancelled", self.cancel_message)

    def _count(self) -> None:
        self.cancel_message = f"{self.done} of {self.total} videos are kept: the same again goes on there."

    def _left(self) -> list[int]:
        return [id for id in self._lengths if id not in self._done and id not in self.failed]

    def _say(self, frames: int) -> None:
        over = sum(self._lengths[id] for id in (*self._done, *self.failed))
        self.progress(STAGE, over + frames, sum(self._lengths.values()))

    def _video(self, id: int, predictor: VideoPredictor) -> None:
        try:
            result = self._predicted(id, predictor)
        except (ValueError, OSError, MemoryError) as error:
            self.failed[id] = str(error) or "not enough memory"
            return
        self.parts.add(replace(result, video_id=id))
        self._done.add(id)
        self._count()
        self._say(0)

    def _predicted(self, id: int, predictor: VideoPredictor) -> VideoResult:
        """Out of memory, once more when the other models are gone."""
        # Not within `except`: there the exception would hold the memory that is to be given back.
        with suppress(MemoryError):
            return self._pass(id, predictor)
        self.models.keep_only(self.model)
        return self._pass(id, predictor)

    def _pass(self, id: int, predictor: VideoPredictor) -> VideoResult:
        """In one pass, frames in the order of their names, as `tevit predict --dataset` and the original do it."""
        frames = dataset_frames(self.project, id)
        if isinstance(frames, PlaceholderFrames):
            raise FileNotFoundError(frames.reason)
        parts: Iterator[VideoResult] = predictor.stream(
            open_frames(frames.files, id),
            window=0,
            max_tracks=self.request.tracks,
            score_threshold=0.0,
            progress=lambda stage, done, total: self._say(done if stage == "segmenting" else 0),
        )
        *_, result = parts
        return result

    def _end(self) -> None:
        if not self._done:
            why = next(iter(self.failed.values()), "the data set has no videos")
            self.finish("failed", f"No video could be predicted: {why}")
            return
        self._finished(self.parts.merge(self.parts.target, self._lengths))
        if self.failed:
            why = f"{len(self.failed)} of {self.total} videos failed (ids {format_ids(list(self.failed))})"
            self.finish("done", f"{why}: {next(iter(self.failed.values()))} The same again tries them anew.")
            return
        self.parts.remove()
        self.finish("done", f"{self.request.name} has predicted all {self.total} videos.")


class Predictions:
    """Of all data sets: one at a time each, whoever asked for it. May be used from any thread."""

    def __init__(self, runs: ModelWorker):
        self._runs = runs
        self._jobs: dict[str, Predicting] = {}
        self._lock = threading.Lock()

    def of(self, project: Project) -> Predicting | None:
        """The one that goes on, or was the last."""
        return self._jobs.get(project.id)

    def ahead(self, job: Predicting) -> int:
        """How many are before it in line."""
        return self._runs.runner.ahead(job)

    def start(self, project: Project, request: Request, finished: Callable[[Path], None]) -> Predicting:
        """Put it in line. Raises: ValueError where one of this data set goes on, or there is nothing to look at."""
        if project.frames is None or not project.frames.is_dir():
            raise ValueError(f"Predicting needs the frames of {project.name}: name their folder.")
        with self._lock:
            before = self._jobs.get(project.id)
            if before is not None and not before.over:
                raise ValueError(f"{before.request.name} is predicting this data set already.")
            job = self._jobs[project.id] = Predicting(project, request, self._runs.models, finished)
        self._runs.runner.submit(job)
        return job
