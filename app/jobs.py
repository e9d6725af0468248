"""One model worker: runs wait in line, one thread works through them, and each says how far it is.

A run belongs to one page (its `owner`); no page is ever given another's. Knows neither gradio nor, before the first
run, torch: models load on first use and stay.
"""

import logging
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from tevit.progress import Cancelled, Progress
from tevit.tracks import VideoResult

log = logging.getLogger(__name__)

LOADING = "loading the model"
DRAWING = "drawing the overlay"
KEEP_SECONDS = 24 * 3600  # how long a run's files stay
FORETELL = 0.04  # part of the frames after which the time left is worth saying: the first ones are slower
NOTHING_DONE = "It was cancelled before the first frames were done."

State = Literal["waiting", "running", "done", "cancelled", "failed"]


class Predictor(Protocol):
    """What is asked of a model here; tevit.predict.Predictor has it."""

    def stream(
        self, source: Any, *, max_tracks: int, score_threshold: float, progress: Progress | None
    ) -> Iterator[VideoResult]: ...


Load = Callable[[str], Predictor]


@dataclass(frozen=True)
class Settings:
    """model: a published name or a checkpoint's path. score_threshold: in [0, 1]. max_tracks: at least 1."""

    model: str
    score_threshold: float = 0.0
    max_tracks: int = 10


@dataclass(frozen=True)
class Files:
    """What a run has made so far: the tracks, results.json, and, once it is drawn, the overlay."""

    result: VideoResult
    results_json: Path
    overlay: Path | None = None


@dataclass(frozen=True)
class Snapshot:
    """How far a run is at one moment.

    ahead: runs before it in line. rate: frames a second in this stage; seconds_left: of this stage; None while unknown.
    seconds: since it was submitted, until it was over. stopping: cancelled, and not yet over. sentence: why it failed,
    or what is missing from its files.
    """

    state: State
    ahead: int
    stage: str
    done: int
    total: int | None
    rate: float | None
    seconds_left: float | None
    seconds: float
    stopping: bool
    sentence: str
    files: Files | None

    @property
    def over(self) -> bool:
        """True once nothing more will change."""
        return self.state in ("done", "cancelled", "failed")


class Meter:
    """Rate and time left of the stage that is under way."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.stage, self.done, self.total = "", 0, None
        self._clock = clock
        self._first = (0.0, 0)
        self._last = 0.0

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = self._clock()
        if stage != self.stage:
            self.stage, self._first = stage, (now, done)
        self.done, self.total, self._last = done, total, now

    @property
    def rate(self) -> float | None:
        """Frames a second since the stage began; None before the first is done."""
        began, first = self._first
        if self.done <= first or self._last <= began:
            return None
        return (self.done - first) / (self._last - began)

    @property
    def seconds_left(self) -> float | None:
        """Of this stage, counting down between reports; None while too little is done to foretell it."""
        rate = self.rate
        if rate is None or self.total is None or self.done - self._first[1] < FORETELL * self.total:
            return None
        return max(0.0, (self.total - self.done) / rate - (self._clock() - self._last))


class Run:
    """One video on its way through one model. The worker writes; pages read `snapshot()` and may `cancel()`."""

    def __init__(self, source: Path, settings: Settings, folder: Path):
        self.source = source
        self.settings = settings
        self.folder = folder
        self._state: State = "waiting"
        self._sentence = ""
        self._files: Files | None = None
        self._meter = Meter()
        self._began = time.monotonic()
        self._ended: float | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        """True once it is done, cancelled or failed."""
        return self._ended is not None

    def snapshot(self, ahead: int = 0) -> Snapshot:
        """How far it is now, with `ahead` runs before it in line."""
        with self._lock:
            return Snapshot(
                state=self._state,
                ahead=ahead,
                stage=self._meter.stage,
                done=self._meter.done,
                total=self._meter.total,
                rate=self._meter.rate,
                seconds_left=self._meter.seconds_left,
                seconds=(self._ended or time.monotonic()) - self._began,
                stopping=self._stop.is_set() and self._ended is None,
                sentence=self._sentence,
                files=self._files,
            )

    def cancel(self) -> None:
        """Stop within about a second and keep what is done; while the overlay is drawn, do without the overlay."""
        self._stop.set()
        # Loading a model cannot be stopped half way: the page need not wait for it, the worker ends it alone.
        if self._meter.stage in ("", LOADING):
            self.finish("cancelled", NOTHING_DONE)

    def finish(self, state: State, sentence: str = "") -> None:
        """The first end counts; a later one changes nothing."""
        with self._lock:
            if self._ended is None:
                self._state, self._sentence, self._ended = state, sentence, time.monotonic()

    def note(self, stage: str, done: int, total: int | None) -> None:
        """The progress callback of everything that works for this run.

        Raises: Cancelled once the run was cancelled.
        """
        if self._stop.is_set():
            raise Cancelled
        with self._lock:
            if self._ended is None:
                self._state = "running"
            self._meter(stage, done, total)

    def work(self, predictor: Predictor) -> None:
        """Segment, write results.json, draw the overlay; each is shown as soon as it is there.

        Raises: Cancelled before the first frames are done; ValueError, OSError, MemoryError with a sentence.
        """
        from tevit.video import open_video

        video = open_video(self.source)
        result, cut = self._segment(predictor, video)
        self._write(result)
        if not self._draw(video):
            self.finish("cancelled", f"There is no overlay; results.json holds {result.length} frames.")
        sentence = _cut(result.length, video.length) if cut else " ".join(video.warnings)
        self.finish("cancelled" if cut else "done", sentence)

    def _segment(self, predictor: Predictor, video: Any) -> tuple[VideoResult, bool]:
        """The result, and whether a Cancel cut it short."""
        wanted = self.settings
        latest: VideoResult | None = None
        try:
            for part in predictor.stream(
                video, max_tracks=wanted.max_tracks, score_threshold=wanted.score_threshold, progress=self.note
            ):
                latest = part
        except Cancelled:
            if latest is None:
                raise
            self._stop.clear()  # from here on a second Cancel means the overlay
            return latest, True
        assert latest is not None
        return latest, False

    def _write(self, result: VideoResult) -> None:
        from tevit.ytvis import write_results

        path = self.folder / "results.json"
        write_results(path, [result])
        with self._lock:
            self._files = Files(result, path)

    def _draw(self, video: Any) -> bool:
        from tevit.render import write_overlay

        assert self._files is not None
        path = self.folder / "overlay.mp4"
        try:
            write_overlay(video, self._files.result, path, progress=self._note_drawing)
        except Cancelled:
            return False
        with self._lock:
            self._files = replace(self._files, overlay=path)
        return True

    def _note_drawing(self, stage: str, done: int, total: int | None) -> None:
        self.note(DRAWING, done, total)


def _cut(done: int, length: int | None) -> str:
    return f"The first {done} of {length} frames are kept." if length else f"The first {done} frames are kept."


class Runs:
    """The line, the worker, and the folder in which every run has its own. One latest run an owner."""

    def __init__(self, folder: Path, load: Load):
        self.folder = folder
        self._load = load
        self._models: dict[tuple[str, int], Predictor] = {}
        self._line: deque[Run] = deque()
        self._latest: dict[str, Run] = {}
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="model worker", daemon=True)
        self._thread.start()

    def submit(self, owner: str, source: Path, settings: Settings) -> Run:
        """Put a video at the end of the line; an earlier run of the same owner is cancelled.

        Raises: OSError where the run's folder cannot be made.
        """
        self.cancel(owner)
        self._sweep()
        # An unguessable name: whoever knows a file's path may fetch it.
        folder = self.folder / secrets.token_hex(16)
        folder.mkdir(parents=True)
        run = Run(source, settings, folder)
        with self._change:
            self._latest[owner] = run
            self._line.append(run)
            self._change.notify()
        return run

    def snapshot(self, run: Run) -> Snapshot:
        """How far the run is, and how many are before it."""
        with self._change:
            before = list(self._line)
        ahead = before.index(run) if run in before else 0
        return run.snapshot(sum(not other.over for other in before[:ahead]))

    def cancel(self, owner: str) -> None:
        """Cancel the owner's run, if one goes on."""
        run = self._latest.get(owner)
        if run is not None:
            run.cancel()

    def forget(self, owner: str) -> None:
        """The owner's page is gone: nobody could fetch what its run would give."""
        self.cancel(owner)
        self._latest.pop(owner, None)

    def close(self) -> None:
        """Cancel everything, let the worker end, remove the files."""
        with self._change:
            self._closed = True
            left = list(self._line)
            self._change.notify()
        for run in left:
            run.cancel()
        self._thread.join(timeout=5)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _serve(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._line or self._closed)
                if self._closed:
                    return
                run = self._line[0]
            self._attempt(run)
            with self._change:
                self._line.popleft()

    def _attempt(self, run: Run) -> None:
        """Whatever goes wrong in one run ends that run alone."""
        try:
            run.note(LOADING, 0, None)
            run.work(self._predictor(run.settings.model))
        except Cancelled:
            run.finish("cancelled", NOTHING_DONE)
        except (ValueError, OSError, MemoryError) as error:
            run.finish("failed", str(error).replace(str(run.source), run.source.name))
        except Exception as error:
            log.exception("%s through %s", run.source.name, run.settings.model)
            run.finish("failed", f"{run.source.name}: unexpected {type(error).__name__}; the server's log says where.")

    def _predictor(self, model: str) -> Predictor:
        """Loaded on first use, and again when its file has changed."""
        path = Path(model)
        key = (model, path.stat().st_mtime_ns if path.is_file() else 0)
        if key not in self._models:
            self._models[key] = self._load(model)
        return self._models[key]

    def _sweep(self) -> None:
        """Remove the files of runs of long ago."""
        oldest = time.time() - KEEP_SECONDS
        for folder in self.folder.glob("*/"):
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)
