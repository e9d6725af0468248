"""A map over several processes that share what was read: each is a copy of this one, so nothing is read twice."""

import os
import pickle
import select
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_LEAST = 8  # items for each process that are worth a copy
_MOST_CHUNKS = 256  # a chunk's number is one byte
_HEAD = 8  # bytes before an answer that say how many follow
_NO_ANSWER = "a process that shared the work ended without an answer; was it killed, or short of memory?"

_Do = Callable[[int], "list[Any] | Exception"]
"""Number of a chunk -> its results, or what was raised."""


def parallel_map(work: Callable[[Item], Result], items: Sequence[Item], processes: int) -> Iterator[Result]:
    """The results in order; what `work` raises is raised here. In this process for few items or where it cannot fork.

    This process works, too. Whoever is free takes the next chunk, so that one slow core does not hold up the others.
    Only for a process without other threads: a copy has none of them, but whatever locks they held.
    Raises: ChildProcessError where another process ends before its work does.
    """
    if processes < 2 or len(items) < processes * _LEAST or not hasattr(os, "fork"):
        yield from map(work, items)
        return
    chunks = min(_MOST_CHUNKS, len(items))

    def do(number: int) -> list[Result] | Exception:
        chunk = items[len(items) * number // chunks : len(items) * (number + 1) // chunks]
        try:
            return [work(item) for item in chunk]
        except Exception as error:
            return error

    for found in _answers(do, chunks, processes - 1):
        if isinstance(found, Exception):
            raise found
        yield from found


def usable_cores() -> int:
    """Cores of the processor that this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _answers(do: _Do, chunks: int, others: int) -> Iterator[Any]:
    """What `do` says of every chunk, in order, `others` processes helping."""
    numbers = _pipe_of(bytes(range(chunks)))
    children: dict[int, int] = {}  # where its answers come from -> process
    found: dict[int, Any] = {}
    try:
        for _ in range(others):
            children.update([_start(do, numbers)])
        for number in range(chunks):
            while number not in found:
                own = os.read(numbers, 1)
                found.update((mine, do(mine)) for mine in own)
                found.update(_arrived(children, wait=not own))
            yield found.pop(number)
    finally:
        os.close(numbers)
        for pipe, process in children.items():
            os.close(pipe)
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def _pipe_of(data: bytes) -> int:
    """The end of a pipe that holds a few bytes, for several processes to read from in turn."""
    end, other = os.pipe()
    os.write(other, data)
    os.close(other)
    return end


def _start(do: _Do, numbers: int) -> tuple[int, int]:
    """A child: where its answers come from, and its process."""
    answers, other = os.pipe()
    process = os.fork()
    if process == 0:
        _serve(do, numbers, other)
    os.close(other)
    return answers, process


def _serve(do: _Do, numbers: int, answers: int) -> NoReturn:
    """All that a child ever does. Ctrl-C is the first process's to answer; it ends the others."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with open(answers, "wb") as file:
            while number := os.read(numbers, 1):
                data = pickle.dumps((number[0], do(number[0])), pickle.HIGHEST_PROTOCOL)
                file.write(len(data).to_bytes(_HEAD, "big") + data)
                file.flush()
        code = 0
    finally:
        os._exit(code)  # not sys.exit: what the first process is to do when it ends is not done here


def _arrived(children: dict[int, int], wait: bool) -> Iterator[tuple[int, Any]]:
    """Answers that are there, one a child; wait: for at least one. Children that have ended are taken out."""
    poll = select.poll()
    for pipe in children:
        poll.register(pipe, select.POLLIN)
    for pipe, _ in poll.poll(None if wait else 0):
        size = int.from_bytes(_read(pipe, _HEAD), "big")
        data = _read(pipe, size)
        if size and len(data) == size:
            yield pickle.loads(data)
        else:
            os.close(pipe)
            if os.waitpid(children.pop(pipe), 0)[1]:  # else it has answered all that it took
                raise ChildProcessError(_NO_ANSWER)


def _read(pipe: int, size: int) -> bytes:
    """So many bytes; fewer where the other side is gone."""
    data = b""
    while len(data) < size and (more := os.read(pipe, size - len(data))):
        data += more
    return data
