"""Background work of the studio: a `Task`, the `TaskStatus` that pages read of it, and the `Runner` that executes it.

    runner = Runner(workers=1)
    task = runner.submit(Task("clip.mp4", lambda progress: make(source, path, progress)))
    while not (now := task.status()).over:       # in a page: every TICK seconds
        panel = app.page.progress(now)      # one template for all tasks: templates/progress.html
    now.state, now.message, now.result

The work is called with the task's own `progress(stage, done, total)`, which raises `Cancelled` once `cancel()` was
called; what it returns is the task's result. `Cancelled`, ValueError, OSError and MemoryError end the task with their
sentence as message; any other exception is logged and ends it with a sentence that names its class. Work that is shared
by several pages counts them with `join()` and `leave()`, and is cancelled when the last one has left. A task that is
needed at once may be run in the calling thread: `task.run()`, or `await asyncio.to_thread(task.run)`. One that has
nothing to do is ended before it is returned: `task.finish("done", "There is nothing to evaluate.")`.

Work that publishes partial results, or that takes several turns so that other tasks come in between, is a subclass that
overrides `work`: it calls `publish(result)` and, in its last turn, `finish(state, message)`.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from tevit.progress import Cancelled, Progress

log = logging.getLogger(__name__)

MIN_SHARE = 0.04  # of a stage, done before its time left is estimated: the first units are slower
CLOSE_SECONDS = 3.0  # how long `Runner.close` waits for its tasks
AFTER_SECONDS = 1.0  # and, within that, for what is called after each

State = Literal["queued", "running", "done", "cancelled", "failed"]
Unit = Literal["frames", "bytes", "share"]
Result = TypeVar("Result")


@dataclass(frozen=True)
class TaskStatus(Generic[Result]):
    """A task at one moment.

    stage: what is being done, in words. done, total: in `unit`s; total None where unknown. unit: "share" where only the
    quotient has a meaning. rate: units per second in this stage; seconds_left: of this stage; None while unknown.
    seconds: since the task was made, until it ended. ahead: tasks before it in the queue. stopping: cancelled, and not
    yet over. message: why it failed, or what is to be known of its result. result: partial while it runs.
    """

    state: State
    stage: str = ""
    done: int = 0
    total: int | None = None
    unit: Unit = "frames"
    rate: float | None = None
    seconds_left: float | None = None
    seconds: float = 0.0
    ahead: int = 0
    stopping: bool = False
    message: str = ""
    result: Result | None = None

    @property
    def over(self) -> bool:
        """True once nothing more will change."""
        return self.state in ("done", "cancelled", "failed")

    @property
    def share(self) -> float:
        """Done of the total, 0 to 1; 0 where the total is unknown."""
        return min(1.0, self.done / self.total) if self.total else 0.0


class QueueFullError(ValueError):
    """A task that was not queued, for the number of those that are; the message says which number."""


@dataclass(frozen=True)
class Quota:
    """How many tasks may be in a queue, running ones included. waiting: of all visitors. per_visitor: of one."""

    waiting: int = 32
    per_visitor: int = 2

    def check(self, visitors: Sequence[str], visitor: str, kind: str) -> None:
        """visitors: of the tasks in the queue, in its order. visitor: of one more. kind: what the tasks are called.

        Raises: QueueFullError.
        """
        places = [place for place, other in enumerate(visitors, 1) if other == visitor]
        if len(places) >= self.per_visitor:
            own = f"{len(places)} {kind} of yours are in the queue, the first at place {places[0]} of {len(visitors)}"
            raise QueueFullError(f"{own}; at most {self.per_visitor} of one visitor: try again when one has ended.")
        if len(visitors) >= self.waiting:
            place = f"{len(visitors)} {kind} are in the queue already, yours would be at place {len(visitors) + 1}"
            raise QueueFullError(f"{place}; at most {self.waiting} may wait: try again in a minute.")


class Places:
    """What visitors have at work at the same time, within a quota. kind: what it is called. Thread-safe."""

    def __init__(self, quota: Quota, kind: str):
        self._quota, self._kind = quota, kind
        self._visitors: list[str] = []
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, visitor: str) -> Iterator[None]:
        """While a visitor's work goes on; "" is not counted. Raises: QueueFullError, also of the page's own events."""
        if not visitor:
            yield
            return
        with self._lock:
            self._quota.check(self._visitors, visitor, self._kind)
            self._visitors.append(visitor)
        try:
            yield
        finally:
            with self._lock:
                self._visitors.remove(visitor)


class Meter:
    """Rate and time left of the current stage. clock: seconds."""

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
        """Units per second since the stage began; None before the first is done."""
        began, first = self._first
        if self.done <= first or self._last <= began:
            return None
        return (self.done - first) / (self._last - began)

    @property
    def seconds_left(self) -> float | None:
        """Of this stage, counting down between reports; None while too little of it is done."""
        rate = self.rate
        if rate is None or self.total is None or self.done - self._first[1] < MIN_SHARE * self.total:
            return None
        return max(0.0, (self.total - self.done) / rate - (self._clock() - self._last))


class Task(Generic[Result]):
    """Work in the background. One thread runs it; any thread may read `status()`, `wait()` and `cancel()`.

    name: of what is worked on, for messages. function: the work, called with `progress`. unit: of the progress.
    hide: removes from a sentence what users must not see, such as the server's folders. cancel_message: the message
    after a cancel; may be set anew while the task runs. visitor: who started it, as a `Quota` counts it; "" for none.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[Progress], Result] | None = None,
        *,
        unit: Unit = "frames",
        hide: Callable[[str], str] = str,
        cancel_message: str = "",
        visitor: str = "",
    ):
        self.name, self.cancel_message, self.visitor = name, cancel_message, visitor
        self._function, self._hide = function, hide
        self._unit: Unit = unit
        self._context = copy_context()  # of the page's request: ZeroGPU charges its user
        self._lock = threading.RLock()
        self._stop, self._ended = threading.Event(), threading.Event()
        self._watchers = 0
        self._leaving: threading.Timer | None = None
        self._result: Result | None = None
        self._reset()

    def _reset(self) -> None:
        """Back to the queued state; a partial result stays."""
        self._state: State = "queued"
        self._message, self._seconds = "", 0.0
        self._meter, self._began = Meter(), time.monotonic()
        self._stop.clear()
        self._ended.clear()

    @property
    def over(self) -> bool:
        """True once it is done, cancelled or failed."""
        return self._ended.is_set()

    @property
    def stopping(self) -> bool:
        """True once it was cancelled."""
        return self._stop.is_set()

    def status(self, ahead: int = 0) -> TaskStatus[Result]:
        """The task now. ahead: tasks before it in the queue."""
        with self._lock:
            meter = self._meter
            return TaskStatus(
                state=self._state,
                stage=meter.stage,
                done=meter.done,
                total=meter.total,
                unit=self._unit,
                rate=meter.rate,
                seconds_left=None if self.over else meter.seconds_left,
                seconds=self._seconds if self.over else time.monotonic() - self._began,
                ahead=ahead,
                stopping=self.stopping and not self.over,
                message=self._message,
                result=self._result,
            )

    def wait(self, seconds: float | None = None) -> TaskStatus[Result]:
        """Block until it is over, at most so long; returns the status then."""
        self._ended.wait(seconds)
        return self.status()

    def join(self) -> None:
        """One more page watches."""
        with self._lock:
            self._watchers += 1
            if self._leaving is not None:
                self._leaving.cancel()

    def leave(self, grace: float = 0.0) -> None:
        """A page no longer watches. Without any other the task is cancelled, after `grace` seconds."""
        with self._lock:
            self._watchers = max(0, self._watchers - 1)
            if self._watchers or self.over:
                return
            if not grace:
                self.cancel()
                return
            if self._leaving is not None:
                self._leaving.cancel()
            self._leaving = threading.Timer(grace, self._abandon)
            self._leaving.daemon = True
            self._leaving.start()

    @contextmanager
    def watched(self, grace: float = 0.0) -> Iterator[None]:
        """Between `join()` and `leave(grace)`."""
        self.join()
        try:
            yield
        finally:
            self.leave(grace)

    def _abandon(self) -> None:
        with self._lock:
            if not self._watchers:
                self.cancel()

    def cancel(self) -> None:
        """Stop at the next report of progress, at once where it has not begun; partial results stay."""
        with self._lock:
            if not self.over:
                self._stop.set()
            if self._state == "queued":
                self.finish("cancelled", self.cancel_message)

    def check(self) -> None:
        """To be called where the work waits. Raises: Cancelled after `cancel()`."""
        if self.stopping:
            raise Cancelled

    def progress(self, stage: str, done: int, total: int | None) -> None:
        """The progress callback of the work. Raises: Cancelled after `cancel()`."""
        self.check()
        with self._lock:
            if not self.over:
                self._state = "running"
            self._meter(stage, done, total)

    def publish(self, result: Result) -> None:
        """Show a partial result."""
        with self._lock:
            self._result = result

    def finish(self, state: State, message: str = "") -> None:
        """End the task; a second call changes nothing."""
        with self._lock:
            if not self.over:
                self._state, self._message = state, message
                self._seconds = time.monotonic() - self._began
                self._ended.set()

    def work(self) -> None:
        """One turn. A task that is not over afterwards is queued again, behind all others."""
        assert self._function is not None
        self.publish(self._function(self.progress))
        self.finish("done")

    def run(self) -> None:
        """Work in the calling thread; every exception ends the task."""
        with self._lock:
            if self.over:
                return
            self._state = "running"
        try:
            self._context.run(self.work)
        except Cancelled:
            self.finish("cancelled", self.cancel_message)
        except (ValueError, OSError, MemoryError) as error:
            self.finish("failed", self._hide(str(error)) or "not enough memory")
        except Exception as error:
            log.exception("%s", self.name)
            self.finish("failed", f"{self.name}: unexpected {type(error).__name__}; the server's log says where.")


TaskType = TypeVar("TaskType", bound=Task)


class Runner:
    """A queue of tasks and the threads that work through it, first come, first served.

    workers: tasks that run at the same time. after: called in the worker's thread after every turn of a task; what it
    raises is logged.
    """

    def __init__(self, workers: int, name: str = "tasks", after: Callable[[Task], None] = lambda task: None):
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._after = after
        self._queue: list[Task] = []  # running ones too
        self._turns: set[Future] = set()
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, task: TaskType) -> TaskType:
        """Append a task to the queue; one that is in it already stays where it is. After `close` it is cancelled.

        Returns the task.
        """
        with self._lock:
            if self._closed:
                task.cancel()
            elif task not in self._queue:
                self._start_turn(task)
        return task

    def _start_turn(self, task: Task) -> None:
        self._queue.append(task)
        turn = self._pool.submit(self._turn, task)
        self._turns.add(turn)
        turn.add_done_callback(self._turns.discard)

    def ahead(self, task: Task) -> int:
        """Number of tasks before it in the queue that are not over."""
        with self._lock:
            before = self._queue[: self._queue.index(task)] if task in self._queue else []
        return sum(not other.over for other in before)

    def visitors(self) -> list[str]:
        """Who started the tasks that are not over, in the queue's order; those of no visitor are left out."""
        with self._lock:
            tasks = list(self._queue)
        return [task.visitor for task in tasks if task.visitor and not task.over]

    def close(self) -> None:
        """Cancel everything and wait until it has stopped, CLOSE_SECONDS at most."""
        end = time.monotonic() + CLOSE_SECONDS
        with self._lock:
            self._closed = True
            tasks = list(self._queue)
        for task in tasks:
            task.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for task in tasks:
            task.wait(max(0.0, end - time.monotonic()))
        # Also for what follows a task's end; a thread that loads a model cannot be stopped and is left alone.
        wait(self._turns, min(AFTER_SECONDS, max(0.0, end - time.monotonic())))

    def _turn(self, task: Task) -> None:
        task.run()
        with self._lock:
            self._queue.remove(task)
            if not task.over and not self._closed:
                self._start_turn(task)
        try:
            self._after(task)
        except Exception:
            log.exception("after %s", task.name)
