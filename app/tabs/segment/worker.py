"""One model worker: runs wait in line, and one thread works through them.

A run belongs to its token, which cannot be guessed: a page that was reloaded finds its run by it, and no page is ever
given another's. Knows neither gradio nor, before the first run, torch.
"""

import logging
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from app.player.proxy import VideoSource
from app.storage.results import Settings
from app.tabs.segment.estimates import Estimate, Speeds
from app.tabs.segment.models import MOST, Load, Models
from app.tabs.segment.run import ModelTask, Run, Snapshot
from tevit.progress import Cancelled

log = logging.getLogger(__name__)

GRACE = 30.0  # seconds that a run goes on without a page: as long as a reload, or a phone's way through a tunnel, takes
KEEP_SECONDS = 24 * 3600  # how long a run and its files stay once it is over
LEAST_FRAMES = 12  # that tell a model's speed


class ModelWorker:
    """The line, the worker, and the folder in which every run has its own.

    finished: called by the worker with every run that is over and has a result; what it raises is logged.
    """

    def __init__(
        self,
        folder: Path,
        load: Load,
        speeds: Speeds,
        *,
        finished: Callable[[Run], None] | None = None,
        grace: float = GRACE,
        models: int = MOST,
    ):
        self.folder = folder
        self._models = Models(load, models)
        self._speeds = speeds
        self._finished = finished
        self._grace = grace
        self._line: deque[ModelTask] = deque()
        self._runs: dict[str, Run] = {}
        self._pages: dict[str, int] = {}
        self._leaving: dict[str, threading.Timer] = {}
        self._change = threading.Condition(threading.RLock())
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="model worker", daemon=True)
        self._thread.start()

    def submit(self, source: VideoSource, settings: Settings) -> str:
        """Put a video at the end of the line; returns the run's token. The page that asks counts as its first.

        Raises: OSError where the run's folder cannot be made.
        """
        self._sweep()
        token = secrets.token_hex(16)
        folder = self.folder / token
        folder.mkdir(parents=True)
        run = Run(token, source, settings, folder)
        with self._change:
            self._runs[token], self._pages[token] = run, 1
            self._line.append(run)
            self._change.notify()
        return token

    def again(self, token: str, source: VideoSource, settings: Settings) -> bool:
        """Go on with a cancelled run, if it was of the same video with the same settings; the page counts as its own.
        False where there is nothing to go on with: then it has to be submitted."""
        run = self._runs.get(token)
        with self._change:
            if run is None or (run.source, run.settings) != (source, settings) or not run.again():
                return False
            self._pages[token] += 1
            self._stay(token)
            if run not in self._line:  # else the worker has not let go of it yet, and puts what is not over back itself
                self._line.append(run)
                self._change.notify()
            return True

    def enter(self, job: ModelTask) -> None:
        """Put any other work at the end of the line. It belongs to no page: it goes on when all are closed."""
        with self._change:
            self._line.append(job)
            self._change.notify()

    def ahead(self, job: ModelTask) -> int:
        """How many are before it in line."""
        with self._change:
            before = list(self._line)
        return sum(not other.over for other in before[: before.index(job)]) if job in before else 0

    def find(self, token: str) -> Run | None:
        """The run of a token, as long as it is kept."""
        return self._runs.get(token)

    def snapshot(self, token: str) -> Snapshot | None:
        """How far the run is, and how many are before it; None for a run that is not known (any more)."""
        run = self._runs.get(token)
        return None if run is None else run.snapshot(self.ahead(run))

    def estimate(self, model: str, size_hw: tuple[int, int], frames: int) -> Estimate:
        """What a run of so many frames will take; see `Speeds.estimate`."""
        return self._speeds.estimate(model, size_hw, frames)

    def cancel(self, token: str) -> None:
        """Cancel a run, if it goes on."""
        run = self._runs.get(token)
        if run is not None:
            run.cancel()

    def join(self, token: str) -> bool:
        """A page looks at the run (again); False where it is not known (any more)."""
        with self._change:
            if token not in self._runs:
                return False
            self._pages[token] += 1
            self._stay(token)
            return True

    def leave(self, token: str) -> None:
        """A page was closed. Without any other the run is cancelled after the time of grace."""
        with self._change:
            if token not in self._runs:
                return
            self._pages[token] = max(0, self._pages[token] - 1)
            if self._pages[token] == 0 and not self._closed:
                self._stay(token)
                timer = self._leaving[token] = threading.Timer(self._grace, self._abandon, [token])
                timer.daemon = True
                timer.start()

    def close(self) -> None:
        """Cancel everything, let the worker end, remove the files."""
        with self._change:
            self._closed = True
            left = list(self._line)
            for token in list(self._leaving):
                self._stay(token)
            self._change.notify()
        for run in left:
            run.cancel()
        self._thread.join(timeout=5)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _stay(self, token: str) -> None:
        timer = self._leaving.pop(token, None)
        if timer is not None:
            timer.cancel()

    def _abandon(self, token: str) -> None:
        with self._change:
            if self._pages.get(token) == 0:
                self.cancel(token)

    def _serve(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._line or self._closed)
                if self._closed:
                    return
                job = self._line[0]
            self._attempt(job)
            with self._change:
                self._line.popleft()
                if not job.over:
                    self._line.append(job)
            if isinstance(job, Run):
                self._tell(job)

    def _attempt(self, job: ModelTask) -> None:
        """Whatever goes wrong in one job ends that job alone."""
        model = job.model
        try:
            job.begin()
            job.context.run(job.work, self._models.get(model), lambda: self._models.keep_only(model))
        except Cancelled:
            job.finish("cancelled", job.left())
        except (ValueError, OSError, MemoryError) as error:
            job.finish("failed", job.plain(str(error)))
        except Exception as error:
            log.exception("%s through %s", job.name, model)
            job.finish("failed", f"{job.name}: unexpected {type(error).__name__}; the server's log says where.")

    def _tell(self, run: Run) -> None:
        """Remember the speed, and hand a result on."""
        end = run.snapshot()
        if end.result is None:
            return
        if end.state == "done" and end.rate and end.result.length >= LEAST_FRAMES:
            self._speeds.note(run.settings.model, end.rate)
        try:
            if self._finished is not None:
                self._finished(run)
        except Exception:
            log.exception("after the run of %s", run.source.name)

    def _sweep(self) -> None:
        """Forget what has been over for long, with its files."""
        oldest = time.time() - KEEP_SECONDS
        for folder in self.folder.glob("*/"):
            run = self._runs.get(folder.name)
            if folder.stat().st_mtime < oldest and (run is None or run.over):
                with self._change:
                    self._runs.pop(folder.name, None)
                    self._pages.pop(folder.name, None)
                shutil.rmtree(folder, ignore_errors=True)
