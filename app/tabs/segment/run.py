"""Work for a model on its way through it: what was asked, how far it is, what is done so far."""

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.player.proxy import VideoSource
from app.storage.results import Settings
from app.tabs.segment.models import Predictor
from tevit.progress import Cancelled, ResumeState
from tevit.results import VideoResult

if TYPE_CHECKING:
    from tevit.video.reader import Video

LOADING = "loading the model"
FORETELL = 0.04  # part of the frames after which the time left is worth saying: the first ones are slower
NOTHING_DONE = "It was cancelled before the first frames were done."
# Frames at once, each tried where memory ran out with the one before; None is as the predictor chooses: 24, and all of
# a short video. 24 comes again since by then the other models are gone.
WINDOWS = (None, 24, 12, 6, 3)

State = Literal["waiting", "running", "done", "cancelled", "failed"]


@dataclass(frozen=True)
class Snapshot:
    """How far a run is at one moment.

    ahead: runs before it in line. rate: frames a second in this stage; seconds_left: of this stage; None while unknown.
    seconds: since it was submitted, until it was over. stopping: cancelled, and not yet over. sentence: why it failed,
    or what there is to know of what it made. result: the tracks of the frames done so far, None before the first.
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
    result: VideoResult | None

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
        if stage != self.stage or done < self.done:  # a stage that begins again has a rate of its own
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


class ModelTask(ABC):
    """The worker writes; pages read `snapshot()` and may `cancel()`. name: of what the model is to look at, for people.
    model: a published name or a checkpoint's path."""

    def __init__(self, name: str, model: str):
        self.name = name
        self.model = model
        self.context = copy_context()  # of the page's request: whose GPU time it is, where that is counted
        self._state: State = "waiting"
        self._sentence = ""
        self._result: VideoResult | None = None
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
                result=self._result,
            )

    def cancel(self) -> None:
        """Stop within about a second and keep the frames that are done."""
        self._stop.set()
        # Loading a model cannot be stopped half way: the page need not wait for it, the worker ends it alone.
        if self._meter.stage in ("", LOADING):
            self.finish("cancelled", self.left())

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

    def begin(self) -> None:
        """Its turn has come; the model is loaded next. Raises: Cancelled."""
        self.note(LOADING, 0, None)

    @abstractmethod
    def work(self, predictor: Predictor, relieve: Callable[[], None] = lambda: None) -> None:
        """Do it, or a part of it: what is not finished then has its next turn after all others that wait.

        relieve: gives memory back. Raises: Cancelled; ValueError, OSError, MemoryError with a sentence.
        """

    @abstractmethod
    def left(self) -> str:
        """What a Cancel leaves, a sentence."""

    def plain(self, sentence: str) -> str:
        """A sentence for people who need not know the server's folders."""
        return sentence


class Run(ModelTask):
    """One video. token: names it, and cannot be guessed. folder: the run's own, for what is made of it later."""

    def __init__(self, token: str, source: VideoSource, settings: Settings, folder: Path):
        super().__init__(source.name, settings.model)
        self.token = token
        self.source = source
        self.settings = settings
        self.folder = folder
        self._window: int | None = None
        self._resume = ResumeState()

    def opened(self) -> "Video":
        """The frames that were asked for, as a video of its own; for the worker, and to draw an overlay later.

        Raises: ValueError, OSError where the source cannot be read (any more).
        """
        from tevit.video.reader import video_slice

        video, settings = self.source.open(), self.settings
        if settings.first == 0 and settings.stop is None:
            return video
        return video_slice(video, settings.first, sys.maxsize if settings.stop is None else settings.stop)

    def again(self) -> bool:
        """After a Cancel: ready to go on behind the frames that are done; False where there are none."""
        with self._lock:
            if self._state != "cancelled" or not self._resume.length:
                return False
            self._state, self._sentence, self._ended = "waiting", "", None
            self._meter, self._began = Meter(), time.monotonic()
            self._stop.clear()
            return True

    def left(self) -> str:
        """Frames that are done are kept by `work`: here there are none."""
        return NOTHING_DONE

    def plain(self, sentence: str) -> str:
        """With the video's name in the place of its path."""
        return self.source.redact(sentence)

    def work(self, predictor: Predictor, relieve: Callable[[], None] = lambda: None) -> None:
        """Segment; every window's tracks are shown as soon as they are there. relieve: gives memory back.

        Raises: Cancelled before the first frames are done; ValueError, OSError, MemoryError with a sentence.
        """
        video = self.opened()
        cut = self._segment(predictor, video, relieve)
        assert self._result is not None
        said = [self._cut(video.length)] if cut else list(video.warnings)
        if self._window is not None:
            said.append(f"Memory was short: {self._window} frames at once were segmented, fewer than usual.")
        if not cut:
            self._resume = ResumeState()
        self.finish("cancelled" if cut else "done", " ".join(said))

    def _segment(self, predictor: Predictor, video: "Video", relieve: Callable[[], None]) -> bool:
        """True where a Cancel cut it short. Out of memory, it goes on with fewer frames at once."""
        for self._window in WINDOWS[:-1]:
            # Not within `except`: there the exception would hold the memory that is to be given back.
            with suppress(MemoryError):
                return self._pass(predictor, video)
            relieve()
        self._window = WINDOWS[-1]
        return self._pass(predictor, video)

    def _pass(self, predictor: Predictor, video: "Video") -> bool:
        wanted = self.settings
        try:
            for result in predictor.stream(
                video,
                window=self._window,
                max_tracks=wanted.max_tracks,
                score_threshold=wanted.score_threshold,
                progress=self.note,
                resume=self._resume,
            ):
                self._show(result)
        except Cancelled:
            if self._result is None:
                raise
            return True
        return False

    def _show(self, result: VideoResult) -> None:
        with self._lock:
            # A pass that began again does not take away what the one before has shown.
            if self._result is None or result.length >= self._result.length:
                self._result = result

    def _cut(self, length: int | None) -> str:
        assert self._result is not None
        kept = f"The first {self._result.length}{f' of {length}' if length else ''} frames are kept"
        return f"{kept}: Run goes on there." if self._resume.length else f"{kept}."
