"""Progress of long operations: the callback type, cancelling, a bar on a terminal; and their parts in parallel."""

import os
import pickle
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm  # takes a while to import

Progress = Callable[[str, int, int | None], None]
"""Called as progress(stage, done, total): the stage's name, `done` of `total` units; total None where unknown.
An exception that it raises, such as `Cancelled`, stops the work and is raised by the function that called it."""


@dataclass(eq=False)
class ResumeState:
    """The state of a call of `Predictor.stream` that was cancelled; passed to the next call, prediction is resumed.

    length: frames predicted so far. state: private to `Predictor`.
    """

    length: int = 0
    state: Any = None


class Cancelled(Exception):
    """Raised by a progress callback to stop the work; results so far stay valid."""


class TerminalProgress(AbstractContextManager):
    """A bar on standard error with rate and remaining time; silent where standard error is no terminal."""

    def __init__(self, unit: str = "frame", quiet: bool | None = None):
        """unit: what is counted; "B" is shown as kB, MB. quiet: default: whether standard error is no terminal."""
        self._unit = unit
        self._quiet = not sys.stderr.isatty() if quiet is None else quiet
        self._bar: tqdm | None = None

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if self._quiet:
            return  # a disabled tqdm lacks the attributes used below
        if self._bar is not None and self._bar.desc != stage:
            self._close()  # rate and remaining time belong to one stage
        if self._bar is None:
            from tqdm import tqdm

            scale = self._unit == "B"
            self._bar = tqdm(
                None, stage, total, leave=False, unit=self._unit, unit_scale=scale, dynamic_ncols=True, initial=done
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __exit__(self, *exc: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


# --- a map over processes, and a call in another one: they are forked from this one and share what it has read

Item = TypeVar("Item")
Result = TypeVar("Result")
_MIN_ITEMS = 8  # for each process: fewer are not worth a fork
_MAX_CHUNKS = 256  # a chunk's number is one byte
_SIZE_BYTES = 8  # before each result, its length
_NO_ANSWER = "a process that shared the work ended without an answer; was it killed, or short of memory?"

_RunChunk = Callable[[int], "list[Any] | Exception"]
"""Number of a chunk -> its results, or the error."""


# Not concurrent.futures.ProcessPoolExecutor: with it `tevit evaluate` took 0.587 s against 0.506 s, 16 % more (best of
# three runs of `python -m tevit benchmark evaluate --rounds 3`, 2026-11-29, commits 8c9e9fd and 4dc4440 in turns, on 2
# cores of an AMD EPYC without other programs).
def parallel_map(work: Callable[[Item], Result], items: Sequence[Item], processes: int) -> Iterator[Result]:
    """The results in order; the first error of `work` is raised here. In this process for few items or without fork.

    This process works, too. Only for a process without other threads: a fork copies the locks that they hold.
    Raises: ChildProcessError where another process ends before its work does.
    """
    if processes < 2 or len(items) < processes * _MIN_ITEMS or not hasattr(os, "fork"):
        yield from map(work, items)
        return
    count = min(_MAX_CHUNKS, len(items))  # many, so that one slow core does not hold up the others

    def run_chunk(number: int) -> list[Result] | Exception:
        chunk = items[len(items) * number // count : len(items) * (number + 1) // count]
        try:
            return [work(item) for item in chunk]
        except Exception as error:
            return error

    for result in _run_chunks(run_chunk, count, processes - 1):
        if isinstance(result, Exception):
            raise result
        yield from result


def _run_chunks(run_chunk: _RunChunk, count: int, workers: int) -> Iterator[Any]:
    """The results of all chunks, in order."""
    results: dict[int, Any] = {}
    with _workers(run_chunk, count, workers) as (numbers, children):
        for number in range(count):
            while number not in results:
                own = os.read(numbers, 1)
                results.update((mine, run_chunk(mine)) for mine in own)
                results.update(_receive(children, wait=not own))
            yield results.pop(number)


@contextmanager
def in_background(function: Callable[[], Result], processes: int) -> Iterator[Callable[[], Result]]:
    """Call `function` in a forked process meanwhile; yields a function that waits for its result or raises its error.

    In this process, when the result is asked for, with less than two processes or without fork. As for `parallel_map`,
    only for a process without other threads.
    Raises: ChildProcessError where the other process ends before it has the result.
    """
    if processes < 2 or not hasattr(os, "fork"):
        yield function
        return

    def run(number: int) -> list[Result] | Exception:
        try:
            return [function()]
        except Exception as error:
            return error

    with _workers(run, 1, 1) as (_, children):

        def result() -> Result:
            for _, value in _receive(children, wait=True):
                if isinstance(value, Exception):
                    raise value
                return value[0]
            raise ChildProcessError(_NO_ANSWER)

        yield result


@contextmanager
def _workers(run_chunk: _RunChunk, count: int, workers: int) -> Iterator[tuple[int, dict[int, int]]]:
    """Processes that run the chunks 0 to `count` - 1: the pipe of the next chunks' numbers, from which all processes
    take them, and pipe of its results -> process."""
    numbers, other = os.pipe()
    os.write(other, bytes(range(count)))
    os.close(other)
    children: dict[int, int] = {}
    try:
        for _ in range(workers):
            pipe, process = _fork(run_chunk, numbers)
            children[pipe] = process
        yield numbers, children
    finally:
        os.close(numbers)
        for pipe, process in children.items():
            os.close(pipe)
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def _fork(run_chunk: _RunChunk, numbers: int) -> tuple[int, int]:
    """A child process: the pipe of its results, and its id."""
    pipe, other = os.pipe()
    process = os.fork()
    if process == 0:
        _work_in_child(run_chunk, numbers, other)
    os.close(other)
    return pipe, process


def _work_in_child(run_chunk: _RunChunk, numbers: int, pipe: int) -> NoReturn:
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process, which ends the others
        with open(pipe, "wb") as file:
            while number := os.read(numbers, 1):
                data = pickle.dumps((number[0], run_chunk(number[0])), pickle.HIGHEST_PROTOCOL)
                file.write(len(data).to_bytes(_SIZE_BYTES, "big") + data)
                file.flush()
        code = 0
    finally:
        os._exit(code)  # sys.exit would run the first process's exit handlers


def _receive(children: dict[int, int], wait: bool) -> Iterator[tuple[int, Any]]:
    """The results that have arrived, at most one a child; wait: for at least one. Children that ended are removed."""
    poll = select.poll()
    for pipe in children:
        poll.register(pipe, select.POLLIN)
    for pipe, _ in poll.poll(None if wait else 0):
        size = int.from_bytes(_read(pipe, _SIZE_BYTES), "big")
        data = _read(pipe, size)
        if size and len(data) == size:
            yield pickle.loads(data)
        else:
            os.close(pipe)
            if os.waitpid(children.pop(pipe), 0)[1]:  # otherwise it has sent all results
                raise ChildProcessError(_NO_ANSWER)


def _read(pipe: int, size: int) -> bytes:
    """`size` bytes; fewer where the other side is closed."""
    data = b""
    while len(data) < size and (more := os.read(pipe, size - len(data))):
        data += more
    return data


def usable_cores() -> int:
    """Cores of the processor that this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
