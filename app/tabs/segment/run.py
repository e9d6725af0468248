"""Running models: a `Run` of one video, the worker that executes runs in turn, and the `Studio` that one server has.

A run is identified by an unguessable token: a reloaded page finds its run by it, and no page gets another's. Nothing
here imports gradio or, before the first run, torch.
"""

import importlib
import logging
import secrets
import shutil
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tevit.download import assets_folder
from tevit.progress import Cancelled, ResumeState
from tevit.results import VideoResult

from ...access import VisitorCache
from ...isolation import Check
from ...player.component import Layer, PlayerView, ViewRegistry
from ...player.proxy import LEFT_SECONDS, BrowserVideo, PosterFrame, ProxyBuilder, VideoSource, dataset_frames
from ...projects.project import Project
from ...storage.results import ResultStore, Settings, StoredResult
from ...tasks import Quota, Runner, Task, TaskStatus
from .models import (
    LOADING,
    MAX_MODELS,
    MEASURED_FRAMES,
    Load,
    ModelCache,
    Parameters,
    Speeds,
    VideoPredictor,
    WeightDownloads,
)

if TYPE_CHECKING:
    from tevit.video.reader import Video

log = logging.getLogger(__name__)

# Frames at once, each tried where memory ran out with the one before; None is the predictor's choice: 24, and all of a
# short video. 24 comes again since by then the other models are gone.
WINDOWS = (None, 24, 12, 6, 3)
SAVE_SECONDS = 2.5  # how long the results of cancelled runs may take to be stored when the studio ends
GRACE = 30.0  # seconds that a run continues without a page: enough for a reload or a short loss of connection
FOLLOW_SECONDS = 10.0  # until the page that has started a run follows it
MAX_ENDED = 200  # runs that stay in memory after their end; the results of all are stored
KEEP_SECONDS = 24 * 3600  # how long a finished run and its files stay
TIME_TOLERANCE = 1e-6  # seconds; less than a tick of any file's clock
RESUMES = ": Run resumes there"  # as long as the studio runs
NOT_BEGUN = "It was cancelled before the first frame."
CLIPS = assets_folder() / "clips"
PREDICTION = "Prediction"


class ModelTask(Task[VideoResult], ABC):
    """Work that needs a model. model: a published name or a checkpoint's path. models: loads it, with parameters."""

    def __init__(
        self,
        name: str,
        model: str,
        models: ModelCache,
        hide: Callable[[str], str] = str,
        cancel_message: str = "",
        parameters: Parameters = (),
        visitor: str = "",
    ):
        super().__init__(name, hide=hide, cancel_message=cancel_message, visitor=visitor)
        self.model, self.models, self.parameters = model, models, parameters

    def cancel(self) -> None:
        """Stop within about a second and keep the frames that are done."""
        super().cancel()
        # Loading a model cannot be interrupted: the page need not wait for it.
        if self._meter.stage in ("", LOADING):
            self.finish("cancelled", self.cancel_message)

    def work(self) -> None:
        """One turn: load the model, unless it is loaded, and call `predict`."""
        if not self._meter.stage:
            self.progress(LOADING, 0, None)
        self.predict(self.models.get(self.model, self.parameters))

    @abstractmethod
    def predict(self, predictor: VideoPredictor) -> None:
        """Do the work of one turn, and call `finish` in the last one.

        Raises: Cancelled; ValueError, OSError, MemoryError with a sentence.
        """


@dataclass(frozen=True)
class Footage:
    """The frames first..stop-1 of a video; stop None: all from `first` on."""

    source: VideoSource | BrowserVideo
    first: int = 0
    stop: int | None = None

    def open(self, check: Check | None = None) -> "Video":
        """check: called while frames are waited for; may raise to stop. Raises: ValueError, OSError where the source
        cannot be read."""
        from tevit.video.reader import video_slice

        video = self.source.open(check)
        if self.first == 0 and self.stop is None:
            return video
        return video_slice(video, self.first, sys.maxsize if self.stop is None else self.stop)


class Run(ModelTask):
    """Segments one video. token: identifies it. folder: the run's own, for exported files. visitor: who started it."""

    def __init__(
        self,
        token: str,
        source: VideoSource,
        settings: Settings,
        folder: Path,
        models: ModelCache,
        visitor: str = "",
    ):
        super().__init__(source.name, settings.model, models, source.redact, NOT_BEGUN, settings.parameters, visitor)
        self.token, self.source, self.settings, self.folder = token, source, settings, folder
        self._window: int | None = None
        self._resume = ResumeState()
        self._start = 0.0  # seconds, of the first selected frame
        self._whole = False  # whether all selected frames were decoded without a warning

    @property
    def footage(self) -> "Footage":
        """The selected range of frames."""
        return Footage(self.source, self.settings.first, self.settings.stop)

    def resume(self) -> bool:
        """After a cancel: back to the queued state, to continue after the finished frames. False where there are
        none."""
        with self._lock:
            if self._state != "cancelled" or not self._resume.length:
                return False
            self._reset()
            return True

    def publish(self, result: VideoResult) -> None:
        """Show the tracks of the frames so far; a pass that began again does not replace a longer result."""
        with self._lock:
            if self._result is None or result.length >= self._result.length:
                self._result = result

    def agrees(self, frames: BrowserVideo, now: TaskStatus[VideoResult]) -> bool:
        """Whether the player's frames are those decoded so far. now: the run's status."""
        if not frames.as_is or now.result is None:
            return True
        shown = np.array(frames.times[self.settings.first : self.settings.stop]) - self._start
        if now.state == "done" and not (self._whole and len(shown) == now.result.length):
            return False
        decoded, shown = now.result.times, shown[: now.result.length]
        return len(shown) == len(decoded) and bool(np.allclose(shown, decoded, rtol=0, atol=TIME_TOLERANCE))

    def predict(self, predictor: VideoPredictor) -> None:
        """Segment with as many frames at once as memory allows; the tracks of each window are published.

        Raises: Cancelled before the first frames are done; ValueError, OSError, MemoryError with a sentence.
        """
        video = self.footage.open(self.check)
        windows = WINDOWS if getattr(predictor, "windowed", True) else WINDOWS[:1]
        for self._window in windows[:-1]:
            # Not within `except`: there the exception would hold the memory that is to be freed.
            with suppress(MemoryError):
                complete = self._stream(predictor, video)
                break
            self.models.keep_only(self.model)
        else:
            self._window = windows[-1]
            complete = self._stream(predictor, video)
        assert self._result is not None
        messages = list(video.warnings)
        self._whole = complete and not messages
        if not complete:
            messages = [self._kept_sentence(video.length)]
        if self._window is not None:
            messages.append(f"Memory was short: {self._window} frames at once were segmented, fewer than usual.")
        if complete:
            self._resume = ResumeState()
        self.finish("done" if complete else "cancelled", " ".join(messages))

    def _stream(self, predictor: VideoPredictor, video: "Video") -> bool:
        """One pass over the video; False where a cancel ended it early."""
        try:
            for result in predictor.stream(
                video,
                window=self._window,
                max_tracks=self.settings.max_tracks,
                score_threshold=self.settings.score_threshold,
                progress=self.progress,
                resume=self._resume,
            ):
                self._start = video.start
                self.publish(result)
        except Cancelled:
            if self._result is None:
                self.cancel_message = self._no_tracks()
                raise
            return False
        return True

    def _kept_sentence(self, total: int | None) -> str:
        """What is there after a cancel. total: frames of the video."""
        assert self._result is not None
        resume = RESUMES if self._resume.length else ""
        return f"The first {self._result.length}{f' of {total}' if total else ''} frames are kept{resume}."

    def abandon(self) -> bool:
        """End a run whose window takes long, with the frames that are done; False where there are none, or it is
        over."""
        with self._lock:
            if self.over or self._result is None:
                return False
            self.finish("cancelled", self._kept_sentence(self._meter.total))
            return True

    def _no_tracks(self) -> str:
        """Why a run that was cancelled in its first group of frames has no tracks."""
        done, total = self._meter.done, self._meter.total
        if not done:
            return NOT_BEGUN
        of = f" of {total}" if total else ""
        return f"It was at frame {done}{of}: frames are segmented in groups, and the first one was not finished."


class ModelWorker:
    """The queue of model tasks, executed one at a time, and the folder that holds a folder for each run.

    Tasks that belong to no page are submitted to its `runner`. finished: called in the worker's thread with every run
    that has ended with a result; may start a thread, which `close` waits for. grace: seconds that a run continues after
    its last page was closed. quota: of runs.
    """

    def __init__(
        self,
        folder: Path,
        load: Load,
        speeds: Speeds,
        *,
        finished: Callable[[Run], threading.Thread | None] = lambda run: None,
        grace: float = GRACE,
        quota: Quota | None = None,
        max_models: int = MAX_MODELS,
    ):
        self.folder, self.speeds = folder, speeds
        self.models = ModelCache(load, max_models)
        self._finished, self.grace, self._quota = finished, grace, quota or Quota()
        self._runs: dict[str, Run] = {}
        self._ended: VisitorCache[Run] = VisitorCache(MAX_ENDED)
        self._saving: list[threading.Thread] = []
        self.runner = Runner(1, "model worker", self._after_turn)

    def submit(self, source: VideoSource, settings: Settings, visitor: str = "") -> str:
        """Append a run to the queue; returns its token. It is cancelled unless it is soon `followed`.

        visitor: who starts it, as a quota counts it; "": it is not counted. Raises: QueueFullError; OSError where the
        run's folder cannot be made.
        """
        self._check_quota(visitor)
        self._sweep()
        token = secrets.token_hex(16)
        folder = self.folder / token
        folder.mkdir(parents=True)
        run = self._runs[token] = Run(token, source, settings, folder, self.models, visitor)
        self._start(run)
        return token

    def resume(self, token: str, source: VideoSource, settings: Settings, visitor: str = "") -> bool:
        """Continue a cancelled run, provided that video and settings are the same, as one of the visitor's. False where
        there is nothing to continue. Raises: QueueFullError."""
        run = self._runs.get(token)
        if run is None or (run.source, run.settings) != (source, settings) or not run.over:
            return False
        self._check_quota(visitor)
        if not run.resume():
            return False
        run.visitor = visitor
        self._ended.drop(token)
        self._start(run)
        return True

    def _check_quota(self, visitor: str) -> None:
        if visitor:
            self._quota.check(self.runner.visitors(), visitor, "runs")

    def _start(self, run: Run) -> None:
        run.leave(max(self.grace, FOLLOW_SECONDS))
        self.runner.submit(run)

    def find(self, token: str) -> Run | None:
        """The run of a token; None where it is unknown, or no longer kept."""
        return self._runs.get(token)

    def status(self, token: str) -> TaskStatus[VideoResult] | None:
        """Progress of a run; None where it is unknown."""
        run = self._runs.get(token)
        return None if run is None else run.status(self.runner.ahead(run))

    def cancel(self, token: str) -> None:
        """Cancel a run, unless it is over or unknown."""
        if run := self._runs.get(token):
            run.cancel()

    def join(self, token: str) -> bool:
        """A page opens a run; False where it is unknown."""
        run = self._runs.get(token)
        if run is not None:
            run.join()
        return run is not None

    def leave(self, token: str) -> None:
        """A page was closed. After the last one the run is cancelled when the time of grace has passed."""
        if run := self._runs.get(token):
            run.leave(self.grace)

    @contextmanager
    def followed(self, token: str) -> Iterator[None]:
        """Between `join` and `leave`; of an unknown run too."""
        self.join(token)
        try:
            yield
        finally:
            self.leave(token)

    def close(self) -> None:
        """Cancel everything, wait until finished frames are stored, and remove the files."""
        self.runner.close()
        for run in list(self._runs.values()):
            if run.abandon():
                self._save(run)
        end = time.monotonic() + SAVE_SECONDS
        for thread in self._saving:
            thread.join(max(0.0, end - time.monotonic()))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _after_turn(self, run: Task) -> None:
        end = run.status()
        if not isinstance(run, Run):
            return
        for token in self._ended.put(run.token, run, run.visitor):
            self._remove(token)
        if end.result is None:
            return
        if end.state == "done" and end.rate and end.result.length >= MEASURED_FRAMES:
            self.speeds.record(run.settings.model, end.rate)
        self._save(run)

    def _save(self, run: Run) -> None:
        self._saving = [thread for thread in self._saving if thread.is_alive()]
        if (thread := self._finished(run)) is not None:
            self._saving.append(thread)

    def _sweep(self) -> None:
        """Remove runs that ended long ago, with their files."""
        oldest = time.time() - KEEP_SECONDS
        for folder in self.folder.glob("*/"):
            run = self._runs.get(folder.name)
            if folder.stat().st_mtime < oldest and (run is None or run.over):
                self._ended.drop(folder.name)
                self._remove(folder.name)

    def _remove(self, token: str) -> None:
        """Forget a run, and remove the files that were written of it."""
        self._runs.pop(token, None)
        shutil.rmtree(self.folder / token, ignore_errors=True)


@dataclass(frozen=True, eq=False)
class Studio:
    """What all pages of one server share. Thread-safe.

    folder: the server's own, removed at its end. checkpoints: named at the start. clips: sample clips, and the videos
    of the data set that was named at the start.
    """

    folder: Path
    worker: ModelWorker
    views: ViewRegistry
    proxies: ProxyBuilder
    results: ResultStore
    checkpoints: Sequence[Path]
    clips: tuple[VideoSource, ...]
    downloads: WeightDownloads = field(default_factory=WeightDownloads)

    def clip(self, name: str) -> VideoSource:
        """A sample clip by its name. Raises: ValueError for any other name."""
        for source in self.clips:
            if source.name == name:
                return source
        raise ValueError(f"expected one of {', '.join(source.name for source in self.clips)}, got {name[:80]!r}")

    def warm(self) -> None:
        """Import in the background what the first run needs."""
        if "torch" not in sys.modules:
            threading.Thread(target=importlib.import_module, args=["tevit.inference.predictor"], daemon=True).start()

    def video_view(self, frames: BrowserVideo | PosterFrame, visitor: str = "") -> PlayerView:
        """A view without tracks."""
        return self.views.put(PlayerView(secrets.token_hex(16), frames, 0, len(frames.times), ()), visitor=visitor)

    @contextmanager
    def followed(self, token: str) -> Iterator[None]:
        """While a page shows a run, neither it nor the proxy of its video is cancelled."""
        with ExitStack() as stack:
            stack.enter_context(self.worker.followed(token))
            if run := self.worker.find(token):
                stack.enter_context(self.proxies.last(run.source).watched(LEFT_SECONDS))
            yield

    def proxy_status(self, token: str) -> TaskStatus[BrowserVideo] | None:
        """Progress of the proxy of a run's video; None where there is no such run."""
        run = self.worker.find(token)
        return None if run is None else self.proxies.last(run.source).status()

    def run_view(self, token: str, visitor: str = "") -> PlayerView | None:
        """A view of a run with the tracks so far; None until the video is there, which is prepared anew where its
        frames are not those that were decoded."""
        run, proxy = self.worker.find(token), self.proxy_status(token)
        if run is None or proxy is None or proxy.result is None:
            return None
        frames, now = proxy.result, run.status()
        result = now.result
        if not run.agrees(frames, now):
            self.proxies.reject(run.source)
            return None
        first, stop = run.settings.first, min(run.settings.stop or frames.length, frames.length)
        layers = () if result is None else (Layer(PREDICTION, False, result),)
        version = 0 if result is None else result.length
        view = PlayerView(token, frames, first, max(1, stop - first), layers, version)
        return self.views.put(view, run.folder, frames.name, visitor)

    def stored_view(self, token: str, visitor: str = "") -> tuple[StoredResult, PlayerView]:
        """A stored result and its view. Raises: ValueError, one sentence, where there is none."""
        stored = self.results.open(token)
        folder = self.folder / "stored" / token
        folder.mkdir(parents=True, exist_ok=True)
        layers = (Layer(PREDICTION, False, stored.result),)
        view = PlayerView(token, stored.frames, stored.settings.first, stored.result.length, layers)
        return stored, self.views.put(view, folder, stored.name, visitor)

    def footage(self, token: str) -> Footage:
        """The frames of a result. Raises: ValueError where it is no longer kept."""
        run = self.worker.find(token)
        if run is not None:
            return run.footage
        stored = self.results.open(token)
        first = stored.settings.first
        return Footage(stored.frames, first, first + stored.result.length)

    def close(self) -> None:
        """Stop all background work."""
        self.downloads.close()
        self.worker.close()
        self.proxies.close()


def open_studio(
    folder: Path,
    home: Path,
    load: Load,
    checkpoints: Sequence[Path],
    grace: float,
    videos: Sequence[VideoSource] = (),
    quota: Quota | None = None,
) -> Studio:
    """folder: the server's own. home: of results and speeds, which stay. grace, quota: see `ModelWorker`. videos: of
    the data set that was named at the start."""
    proxies, results = ProxyBuilder(folder / "footage"), ResultStore(home / "results")
    proxies.folder.mkdir(parents=True, exist_ok=True)

    def save(run: Run) -> None:
        """Store a result once its video is there."""
        frames, end = _wait_for_video(proxies, run), run.status()
        if frames is None or end.result is None:
            return
        try:
            sentence = end.message.replace(RESUMES, "")
            results.save(run.token, run.source.name, run.settings, frames, end.result, sentence)
        except OSError as error:
            log.warning("the result of %s is not stored: %s", run.source.name, error)

    def start_saving(run: Run) -> threading.Thread:
        thread = threading.Thread(target=save, args=[run], daemon=True)  # the model need not wait
        thread.start()
        return thread

    speeds = Speeds(home / "speeds.json")
    worker = ModelWorker(folder / "runs", load, speeds, finished=start_saving, grace=grace, quota=quota)
    clips = [VideoSource(path.stem, path) for path in sorted(CLIPS.glob("*.mp4"))]
    return Studio(folder, worker, ViewRegistry(), proxies, results, checkpoints, (*clips, *videos))


def _wait_for_video(proxies: ProxyBuilder, run: Run) -> BrowserVideo | None:
    """The frames of a run's video; None where it cannot be prepared."""
    for _ in range(3):  # the last page that waits may leave, which cancels it, before this does
        proxy = proxies.start(run.source)
        with proxy.watched():
            frames = proxy.wait().result
        if frames is not None and run.agrees(frames, run.status()):
            return frames
        if frames is not None:
            proxies.reject(run.source)
    return None


def dataset_videos(project: Project) -> list[VideoSource]:
    """The videos of a data set whose frames are all present."""
    sources = []
    for video in project.dataset.videos.values():
        frames = dataset_frames(project, video.id)
        if isinstance(frames, BrowserVideo) and frames.files:
            sources.append(VideoSource(f"{video.name} ({Path(project.name).name})", files=frames.files))
    return sources
