"""A map over several processes that share what was read: each is a copy of this one, so nothing is read twice."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_CHUNKS = 8  # for each process: large enough to be worth sending, small enough to end together

_work: Callable[[Any], Any] | None = None  # of a child


def forked_map(work: Callable[[Item], Result], items: Sequence[Item], processes: int) -> Iterator[Result]:
    """The results in order; what `work` raises is raised here. In this process for few items or where it cannot fork.

    Only for a process without other threads: a copy has none of them, but whatever locks they held.
    """
    if processes < 2 or len(items) < processes * _CHUNKS or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(work, items)
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, context, initializer=_adopt, initargs=(work,)) as pool:
        yield from pool.map(_do, items, chunksize=-(-len(items) // (processes * _CHUNKS)) or 1)


def usable_cores() -> int:
    """Cores of the processor that this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _adopt(work: Callable[[Any], Any]) -> None:
    """Ctrl-C is the first process's to answer; it ends the others."""
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _do(item: Any) -> Any:
    assert _work is not None
    return _work(item)
