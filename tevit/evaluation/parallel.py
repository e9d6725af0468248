"""A map over several processes that share what this one has read: they are forked, so nothing is read or sent twice."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Set
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future
    from multiprocessing.process import BaseProcess

Item = TypeVar("Item")
Result = TypeVar("Result")
_MIN_ITEMS = 8  # for each process: fewer are not worth a fork
_MAX_CHUNKS = 256
_NO_ANSWER = "a process that shared the work ended without an answer; was it killed, or short of memory?"

_worker_job: tuple[Callable[[Any], Any], Sequence[Sequence[Any]]]
"""In a worker process alone: the function, and the chunks of items."""


def parallel_map(work: Callable[[Item], Result], items: Sequence[Item], processes: int) -> Iterator[Result]:
    """The results in order; the first error of `work` is raised here. In this process for few items or without fork.

    This process works, too. Only for a process without other threads: a fork copies the locks that they hold.
    Raises: ChildProcessError where another process ends before its work does.
    """
    if processes < 2 or len(items) < processes * _MIN_ITEMS or not hasattr(os, "fork"):
        yield from map(work, items)
        return
    # Imported where they are needed, as they take 20 ms.
    from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
    from multiprocessing import active_children, get_context

    count = min(_MAX_CHUNKS, len(items))  # many, so that one slow core does not hold up the others
    chunks = [items[len(items) * n // count : len(items) * (n + 1) // count] for n in range(count)]
    others, workers = set(active_children()), processes - 1
    pool = ProcessPoolExecutor(workers, get_context("fork"), _start_worker, (work, chunks))
    waiting, results, futures = deque(range(count)), {}, {}
    try:
        for number in range(count):
            while number not in results:
                # Few chunks at a time go to the workers, so that any process may take the next one.
                for _ in range(min(len(waiting), 2 * workers - sum(not f.done() for f in futures.values()))):
                    chunk = waiting.popleft()
                    futures[chunk] = pool.submit(_run_in_worker, chunk)
                if number in futures and (futures[number].done() or not waiting):
                    results[number] = _result(futures.pop(number))
                elif waiting:
                    chunk = waiting.popleft()
                    results[chunk] = _run(work, chunks[chunk])
            result = results.pop(number)
            if isinstance(result, Exception):
                raise result
            yield from result
    except BaseException as error:
        _kill_others(others)
        if isinstance(error, BrokenExecutor):
            raise ChildProcessError(_NO_ANSWER) from error
        raise
    finally:
        pool.shutdown()


def _kill_others(processes: "Set[BaseProcess]") -> None:
    """End all children of this process but these."""
    from multiprocessing import active_children

    for process in set(active_children()) - processes:
        process.kill()


def _run(work: Callable[[Item], Result], chunk: Sequence[Item]) -> list[Result] | Exception:
    try:
        return [work(item) for item in chunk]
    except Exception as error:
        return error


def _start_worker(work: Callable[[Any], Any], chunks: Sequence[Sequence[Any]]) -> None:
    global _worker_job
    _worker_job = work, chunks
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process, which ends the others


def _run_in_worker(number: int) -> list[Any] | Exception:
    work, chunks = _worker_job
    return _run(work, chunks[number])


def _result(future: "Future[Any]") -> Any:
    try:
        return future.result()
    except Exception as error:  # the errors of `work` are returned, not raised: this one is of the transport
        raise ChildProcessError(_NO_ANSWER) from error


def usable_cores() -> int:
    """Cores of the processor that this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
