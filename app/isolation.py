"""Functions that run in worker processes: decoding of what strangers send, with limits on memory and time; evaluations.

    facts = isolated(read_facts, source, returns=Facts, subject="a.mp4")          # its errors are raised here
    for info, rgb in isolated_items(read_frames, source, info=FrameInfo, ...):    # of a generator function

A worker that exceeds a limit, crashes or is left in the middle of a call is killed, and the call ends in one sentence;
the next call gets another process. One is always started ahead; at most `workers` and AT_ONCE short calls are at work.
Workers get their requests as pickle; what they answer is parsed as typed messages, never as pickle.
"""

import errno
import importlib
import logging
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from tevit.limits import VARIABLE, InputLimits, LimitError, input_limits
from tevit.progress import Progress

log = logging.getLogger(__name__)

PRELOADED = "tevit.video.reader"  # what most calls need
AT_ONCE = 2  # short calls, such as those of a page's many pictures, beside `workers` others
LONG_SECONDS = 5.0  # after which a call does not count as short any more, so that files that hang hold up no others
WAIT_SECONDS = 60.0  # for a place among those at work
MAX_IDLE = 2  # workers that wait for a call
MAX_CALLS = 200  # of one worker
START_SECONDS = 60.0  # until a new process has begun with its first call, on a machine that is busy
TICK = 0.05  # seconds between two reports while a worker has nothing to say
ORPHAN_SECONDS = 1.0  # between two looks of a worker whether its studio is still there
PIPE_BYTES = 1 << 20  # the most that Linux grants everybody
MAX_ANSWER = 256_000_000  # bytes of a message; pictures of a video are no part of it
_ROOT = Path(__file__).resolve().parents[1]
_COMMAND = f"from {__name__} import serve; serve({{studio}})"

Result = TypeVar("Result")
Info = TypeVar("Info")
Limits = InputLimits | None
"""Of a worker: `worker_bytes`, `worker_seconds`, `worker_stall_seconds`; None for a call that has none."""
Check = Callable[[], None]
"""Called while a worker is waited for; an exception that it raises stops the call."""


# --- messages of a worker


class _Progress(msgspec.Struct, tag="progress"):
    stage: str
    done: int
    total: int | None


class _Item(msgspec.Struct, tag="item"):
    """size: of the bytes that follow."""

    info: msgspec.Raw
    size: int


class _Returned(msgspec.Struct, tag="returned"):
    value: msgspec.Raw


class _Raised(msgspec.Struct, tag="raised"):
    """kind: one of `_KINDS`, else "" with the traceback as `trace`."""

    kind: str
    sentence: str
    trace: str = ""


_Message = _Progress | _Item | _Returned | _Raised
_KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (LimitError, ValueError, FileNotFoundError, PermissionError, OSError, MemoryError)
}


def _encode(value: object) -> bytes:
    return msgspec.msgpack.encode(value, enc_hook=_as_text)


def _as_text(value: object) -> str:
    if isinstance(value, Path | Fraction):
        return str(value)
    raise NotImplementedError(f"a worker cannot answer with {type(value).__name__}")


def _decode(raw: bytes, kind: Any) -> Any:
    return msgspec.msgpack.decode(raw, type=kind, dec_hook=lambda type, text: type(text))


# --- calls


def isolated(
    function: Callable[..., Result],
    *args: Any,
    returns: Any,
    subject: str,
    work: str = "decoding",
    progress: Progress | None = None,
    check: Check | None = None,
    limited: bool = True,
) -> Result:
    """`function(*args)` in a worker process; a plain call where this process is one.

    function: of a module, by its name; its last argument is a progress callback where `progress` is given, which is
    called often, also without anything new, so that it can stop the call. check: may stop it as well. returns: the type
    of the value: what msgspec encodes, paths and fractions. subject: the file's name, which messages begin with. work:
    what is done with it, for messages. limited: False for work that the studio's owner has chosen, with a worker of its
    own.
    Raises: ValueError, OSError, MemoryError of the function; LimitError, ValueError where the worker was killed or has
    crashed, or where all are at work; and what `progress` and `check` raise.
    """
    if _in_worker:
        return function(*args, *([progress] if progress else []))
    reports, watch = progress is not None, progress or _as_progress(check)
    with _call(function, args, subject, work, watch, limited, short=not reports, reports=reports) as call:
        message = call.receive()
        if not isinstance(message, _Returned):
            raise call.malformed()
        return call.parse(message.value, returns)


def isolated_items(
    function: Callable[..., Any],
    *args: Any,
    info: type[Info],
    returns: Any,
    buffer: Callable[[Info], Any],
    subject: str,
    check: Check | None = None,
) -> Generator[tuple[Info, Any], None, Any]:
    """The items of a generator function, which yields (info, bytes), from a worker process; returns what it returns.

    info: its type. buffer: makes the array that the bytes of an item are read into; it may raise. check: called while
    there is no item. Others as `isolated`, which has the errors too. An iteration that ends early kills the worker.
    """
    if _in_worker:
        return (yield from function(*args))
    with _call(function, args, subject, "decoding", _as_progress(check)) as call:
        while isinstance(message := call.receive(), _Item):
            header = call.parse(message.info, info)
            array = buffer(header)
            if memoryview(array).nbytes != message.size:
                raise call.malformed()
            call.read_into(array)
            yield header, array
        if not isinstance(message, _Returned):
            raise call.malformed()
        return call.parse(message.value, returns)


def start_worker() -> None:
    """Start a process ahead of the first call."""
    _pool(os.getpid()).start_spare()


def _as_progress(check: Check | None) -> Progress | None:
    return None if check is None else lambda stage, done, total: check()


@contextmanager
def _call(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    subject: str,
    work: str,
    progress: Progress | None = None,
    limited: bool = True,
    short: bool = False,
    reports: bool = False,
) -> Iterator["_Call"]:
    pool, limits = _pool(os.getpid()), input_limits() if limited else None
    place = _Place(pool, short, limits.workers if limits else None)
    place.take(f"{subject}: {work}", progress)
    try:
        worker = pool.take(limits)
        call = _Call(worker, subject, work, limits, progress, place)
        try:
            worker.send((os.environ.get(VARIABLE, ""), limits, function, args, reports))
            yield call
        finally:
            if call.over and limited:
                pool.give_back(worker)
            else:
                worker.kill()
    finally:
        place.leave()


class _Place:
    """A call's place among those at work: of AT_ONCE short ones, or of `most` others. most: None: any number."""

    def __init__(self, pool: "_WorkerPool", short: bool, most: int | None):
        self._pool, self._short, self._most = pool, short, most

    def take(self, what: str, progress: Progress | None) -> None:
        """Wait for it. what: begins the message. Raises: LimitError; what `progress` raises."""
        end = time.monotonic() + WAIT_SECONDS
        while not self._pool.enter(self._short, AT_ONCE if self._short else self._most, TICK if progress else 0.5):
            if progress is not None:  # whose caller may stop it
                progress("waiting", 0, None)
            elif time.monotonic() > end:
                most = f"{AT_ONCE if self._short else self._most} at a time (workers in {VARIABLE})"
                raise LimitError(f"{what} has to wait for others, at most {most}: try again in a minute")

    def lengthen(self) -> None:
        """Of a call that takes long: make room for a short one, where the others have room for this one."""
        if self._short and self._pool.enter(False, self._most, 0):
            self._pool.leave(True)
            self._short = False

    def leave(self) -> None:
        """After the call."""
        self._pool.leave(self._short)


class _Call:
    """One call of a worker. over: all is sent, and the worker waits for the next."""

    def __init__(
        self,
        worker: "_Worker",
        subject: str,
        work: str,
        limits: Limits,
        progress: Progress | None,
        place: _Place,
    ):
        self._worker, self._subject, self._work = worker, subject, work
        self._limits, self._progress, self._place = limits, progress, place
        self._last: tuple[str, int, int | None] = ("starting", 0, None)
        self._waited = 0.0  # seconds for the worker; not those in which nobody reads what it has sent
        self._begun = False
        self.over = False

    def receive(self) -> _Message:
        """The next message that is no progress. Raises: what the function has raised; see `isolated`."""
        while True:
            size = int.from_bytes(self.read_into(bytearray(8)), "big")
            self._begun = True
            if size > MAX_ANSWER:
                raise self.malformed()
            message = self.parse(self.read_into(bytearray(size)), _Message)
            if isinstance(message, _Raised):
                self.over = message.kind not in ("", "MemoryError")
                raise self._error(message)
            if not isinstance(message, _Progress):
                self.over = isinstance(message, _Returned)
                return message
            self._last = (message.stage, message.done, message.total)
            if self._progress is not None:
                self._progress(*self._last)

    def read_into(self, buffer: Any) -> Any:
        """Fill it and return it. Raises: LimitError, ValueError; what the progress callback raises."""
        view = memoryview(buffer).cast("B")
        while view:
            self._wait()
            try:
                count = self._worker.answers.readinto(view)
            except ValueError:  # it was killed
                count = 0
            if not count:
                raise self._ended()
            view = view[count:]
        return buffer

    def parse(self, raw: Any, kind: Any) -> Any:
        """Raises: ValueError for what is not of that type."""
        try:
            return _decode(raw, kind)
        except (msgspec.MsgspecError, TypeError, ValueError, ArithmeticError):
            raise self.malformed() from None

    def malformed(self) -> ValueError:
        """Of an answer that no function gives."""
        self.over = False
        return ValueError(f"{self._subject}: {self._work} ended with an answer that cannot be read")

    def _wait(self) -> None:
        """Until there is something to read. Raises: LimitError where that takes too long; see `read_into`."""
        began, before, limits = time.monotonic(), self._waited, self._limits
        most = limits.worker_stall_seconds if limits is not None and self._begun else START_SECONDS
        while True:
            ready = self._worker.poll(TICK if self._progress else 0.2)
            waited = time.monotonic() - began
            self._waited = before + waited if self._begun else 0.0
            if limits is not None and self._waited > limits.worker_seconds:
                raise self._exceeded("worker_seconds", "seconds")
            if ready:
                return
            if waited > LONG_SECONDS:
                self._place.lengthen()
            if limits is not None and waited > most:
                raise self._exceeded("worker_stall_seconds", "seconds without progress")
            if self._progress is not None:
                self._progress(*self._last)

    def _exceeded(self, name: str, unit: str) -> LimitError:
        limit = getattr(self._limits, name)
        return LimitError(f"{self._subject}: {self._work} took more than {limit:,} {unit} ({name} in {VARIABLE})")

    def _error(self, raised: _Raised) -> Exception:
        if raised.kind == "MemoryError" and self._limits is not None:
            return self._exceeded("worker_bytes", "bytes of memory")
        if raised.kind in _KINDS:
            return _KINDS[raised.kind](raised.sentence)
        log.error("%s: %s", self._subject, raised.trace)
        return ValueError(f"{self._subject}: unexpected {raised.sentence} in {self._work}; the server's log says where")

    def _ended(self) -> Exception:
        """Why there is no more answer."""
        code = self._worker.end()
        reason = f"code {code}" if code >= 0 else signal.Signals(-code).name
        log.warning("%s: the worker process ended with %s", self._subject, reason)
        if code == -getattr(signal, "SIGXCPU", 0) and self._limits is not None:
            return self._exceeded("worker_seconds", "seconds")
        limit = f" or needs more than {self._limits.worker_bytes:,} bytes of memory" if self._limits else ""
        return ValueError(f"{self._subject}: {self._work} crashed ({reason}): the file is damaged{limit}")


# --- processes


class _Worker:
    """A process that executes one call at a time. limits: those that it was given with its first call."""

    def __init__(self) -> None:
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _COMMAND.format(studio=os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pipesize=PIPE_BYTES,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests: IO[bytes] = self._process.stdin
        self.answers: Any = self._process.stdout
        self._poll = select.poll()
        self._poll.register(self.answers, select.POLLIN)
        self.limits: Limits = None
        self.calls = 0

    def send(self, request: tuple[str, Limits, Callable[..., Any], tuple[Any, ...], bool]) -> None:
        """The text of TEVIT_LIMITS, the limits, a function, its arguments and whether it reports progress."""
        data = pickle.dumps(request, pickle.HIGHEST_PROTOCOL)
        self.limits, self.calls = request[1], self.calls + 1
        view = memoryview(len(data).to_bytes(8, "big") + data)
        with suppress(BrokenPipeError):  # it has ended: reading its answer says why
            while view:
                view = view[self._requests.write(view) or 0 :]

    def poll(self, seconds: float) -> bool:
        """Whether there is something to read, the end too; waits for it so long."""
        return bool(self._poll.poll(seconds * 1000))

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> int:
        """Its exit code: a signal's number, negative, where one has ended it."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self.kill()
        return self._process.returncode

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._requests.close()
        self.answers.close()


class _WorkerPool:
    """The workers of this process that wait for a call, and the number of those at work. Thread-safe."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []
        self._at_work = {True: 0, False: 0}  # short calls and others
        self._lock = threading.Lock()
        self._left = threading.Condition()

    def enter(self, short: bool, most: int | None, seconds: float) -> bool:
        """Count a call as soon as fewer than `most` of its kind are at work; False where it is not within so long."""
        with self._left:
            free = most is None or self._left.wait_for(lambda: self._at_work[short] < most, seconds)
            self._at_work[short] += free
        return free

    def leave(self, short: bool) -> None:
        """A call has ended."""
        with self._left:
            self._at_work[short] -= 1
            self._left.notify_all()

    def take(self, limits: Limits) -> _Worker:
        """A worker that had these limits, or no call; another one is started ahead."""
        with self._lock:
            idle = [worker for worker in self._idle if worker.alive]
            fitting = [worker for worker in idle if not worker.calls or (limits and worker.limits == limits)]
            worker = fitting[-1] if fitting else _Worker()
            self._idle = [other for other in idle if other is not worker and other in fitting]
            others = [other for other in idle if other not in fitting]
        for other in others:
            other.kill()
        self.start_spare()
        return worker

    def start_spare(self) -> None:
        with self._lock:
            if not self._idle:
                self._idle.append(_Worker())

    def give_back(self, worker: _Worker) -> None:
        """After a call that has ended as it should."""
        with self._lock:
            reusable = worker.calls < MAX_CALLS and len(self._idle) < MAX_IDLE
            if reusable:
                self._idle.append(worker)
        if not reusable:
            worker.kill()


@cache
def _pool(process: int) -> _WorkerPool:
    """Of the process with that id: after a fork, as where GPUs are lent, the pipes are those of the other one."""
    return _WorkerPool()


# --- in the worker

_in_worker = False


def serve(studio: int) -> None:
    """Execute the calls that arrive at standard input until it ends, or the process with the id `studio` does."""
    global _in_worker
    _in_worker = True
    threading.Thread(target=_end_with, args=[studio], daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the studio, which ends the others
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    _prepare()
    importlib.import_module(PRELOADED)
    base, limited = _address_space(), False
    while head := sys.stdin.buffer.read(8):
        text, limits, function, args, reports = pickle.loads(sys.stdin.buffer.read(int.from_bytes(head, "big")))
        os.environ[VARIABLE] = text
        if limits is not None:
            _limit(limits, None if limited else base)
            limited = True
        _execute(function, args, reports, _Answers(answers))


def _end_with(studio: int) -> None:
    """End this process when the studio is not its parent any more, whatever a decoder is in the middle of."""
    while os.getppid() == studio:
        time.sleep(ORPHAN_SECONDS)
    os._exit(1)


class _Answers:
    """The pipe to the studio."""

    def __init__(self, pipe: int):
        self._pipe = pipe

    def send(self, message: _Message, data: Any = b"") -> None:
        """A message and the bytes that follow it."""
        encoded = _encode(message)
        for part in (len(encoded).to_bytes(8, "big") + encoded, data):
            view = memoryview(part).cast("B")
            while view:
                try:
                    view = view[os.write(self._pipe, view) :]
                except OSError:  # the studio has ended
                    os._exit(1)

    def send_items(self, items: Generator[tuple[Any, Any], None, Any]) -> Any:
        """All items, in a thread, so that the next one is decoded meanwhile; returns what the generator returns."""
        with ThreadPoolExecutor(1) as thread:
            sent: Future[None] | None = None
            while True:
                try:
                    info, data = next(items)
                except StopIteration as end:
                    return end.value
                finally:
                    if sent is not None:
                        sent.result()
                message = _Item(msgspec.Raw(_encode(info)), memoryview(data).nbytes)
                sent = thread.submit(self.send, message, data)


def _execute(function: Callable[..., Any], args: tuple[Any, ...], reports: bool, answers: _Answers) -> None:
    def report(stage: str, done: int, total: int | None) -> None:
        answers.send(_Progress(stage, done, total))

    report("starting", 0, None)
    try:
        value = function(*args, *([report] if reports else []))
        if isinstance(value, Generator):
            value = answers.send_items(value)
        answers.send(_Returned(msgspec.Raw(_encode(value))))
    except Exception as error:
        answers.send(_raised(error))


def _raised(error: Exception) -> _Raised:
    """The message of what a function has raised."""
    if _is_out_of_memory(error):
        return _Raised("MemoryError", str(error))
    if isinstance(error, ValueError | OSError):
        kind = next(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in _KINDS)
        return _Raised(kind, str(error))
    return _Raised("", type(error).__name__, traceback.format_exc())


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory is what was missing: for this error, or one that it was raised in place of."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        # zlib, OpenCV and the dynamic linker have no exception of their own for it.
        if any(text in str(error) for text in ("Error -4 while", "Insufficient memory", "failed to map segment")):
            return True
        error = error.__cause__ or error.__context__
    return False


def _prepare() -> None:
    """No core dumps; and the first to be killed where memory is short."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(ImportError, OSError, ValueError):
        resource = importlib.import_module("resource")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit(limits: InputLimits, base: int | None) -> None:
    """Limit this process: processor time of a call, and with `base`, what it takes now, its address space."""
    with suppress(ImportError):  # Windows
        resource = importlib.import_module("resource")
        if base is not None:
            most = base + limits.worker_bytes
            with suppress(ValueError, OSError):  # macOS
                resource.setrlimit(resource.RLIMIT_AS, (most, most))
        # Whoever waits for the call measures time; this ends a worker whose studio has died, and whose decoder lets no
        # other thread find that out.
        most = int(time.process_time() + limits.worker_seconds * (os.cpu_count() or 1)) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def _address_space() -> int:
    """Bytes, 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
