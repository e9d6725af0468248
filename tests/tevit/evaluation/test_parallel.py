"""Several processes give what one gives: the same values in the same order, the same error."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tevit.evaluation.api import evaluate
from tevit.progress import in_background, parallel_map
from tevit.synthetic.dataset import write_sets

HERE = os.getpid()


class Met:
    """Processes that work: each waits for so many of them, so that every one gets a share."""

    def __init__(self, folder: Path, processes: int):
        self._folder, self._processes = folder, processes

    def wait(self) -> None:
        (self._folder / str(os.getpid())).touch()
        end = time.monotonic() + 60
        while len(os.listdir(self._folder)) < self._processes:
            assert time.monotonic() < end, "not all of the processes work"
            time.sleep(0.001)


def in_workers(act: Callable[[], object], met: Met) -> Callable[[int], int]:
    """Work that is `act` in other processes than this one, which all take part."""

    def work(number: int) -> int:
        met.wait()
        if os.getpid() != HERE:
            act()
        return number

    return work


@pytest.fixture(autouse=True)
def nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch):
    """Neither a process that was forked nor a file that is open."""
    files, fork = os.listdir("/dev/fd"), os.fork
    forked: list[int] = []

    def noted() -> int:
        forked.append(fork())
        return forked[-1]

    monkeypatch.setattr(os, "fork", noted)
    yield
    assert os.listdir("/dev/fd") == files
    for process in forked:
        with pytest.raises(ChildProcessError):
            os.waitpid(process, os.WNOHANG)


@pytest.mark.parametrize("count", [100, 1000])
def test_the_results_are_those_of_one_process_in_order(count, tmp_path):
    met = Met(tmp_path, 3)

    def work(number: int) -> tuple[np.ndarray, int]:
        met.wait()
        return number + np.arange(3), os.getpid()

    results = list(parallel_map(work, range(count), 3))
    assert [values.tolist() for values, _ in results] == [[n, n + 1, n + 2] for n in range(count)]
    assert HERE in {process for _, process in results} and len({process for _, process in results}) == 3


def test_results_larger_than_a_pipe_holds_arrive_whole(tmp_path):
    met = Met(tmp_path, 2)

    def work(number: int) -> np.ndarray:
        met.wait()
        return np.full(300_000, number)

    for number, values in enumerate(parallel_map(work, range(40), 2)):
        assert values.tolist() == [number] * 300_000


@pytest.mark.parametrize(("items", "processes"), [(100, 1), (5, 2)])
def test_few_items_are_not_shared(items, processes):
    assert set(parallel_map(lambda number: os.getpid(), range(items), processes)) == {os.getpid()}


def test_of_several_errors_the_first_in_order_is_raised_here():
    def work(number: int) -> int:
        time.sleep(0.005 if number < 90 else 0)
        if number >= 70:
            raise ValueError(f"mask {number} is none")
        return number

    results = parallel_map(work, range(100), 2)
    with pytest.raises(ValueError, match="mask 70 is none"):
        for place, number in enumerate(results):
            assert place == number


@pytest.mark.parametrize("end", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(3)])
def test_a_worker_that_dies_is_an_error(end, tmp_path):
    with pytest.raises(OSError, match="ended without an answer; was it killed"):
        list(parallel_map(in_workers(end, Met(tmp_path, 2)), range(100), 2))


def test_results_that_cannot_be_pickled_are_an_error(tmp_path):
    met = Met(tmp_path, 2)
    with pytest.raises(OSError, match="ended without an answer"):
        list(parallel_map(lambda number: met.wait() or (lambda: number), range(100), 2))


def test_ctrl_c_ends_the_workers(tmp_path):
    interrupt = in_workers(lambda: os.kill(os.getpid(), signal.SIGINT), Met(tmp_path, 2))
    results = parallel_map(interrupt, range(100), 2)
    assert list(results) == list(range(100))

    def work(number: int) -> int:
        if os.getpid() != HERE:
            time.sleep(60)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(parallel_map(work, range(100), 2))


def test_the_results_need_not_all_be_taken(tmp_path):
    for number in parallel_map(in_workers(lambda: time.sleep(0.2), Met(tmp_path, 3)), range(100), 3):
        assert number == 0
        break


def test_a_call_in_the_background():
    with in_background(lambda: (os.getpid(), b"x" * 300_000), 2) as result:
        process, data = result()
    assert process != HERE and data == b"x" * 300_000
    with in_background(os.getpid, 1) as result:
        assert result() == HERE
    with in_background(lambda: time.sleep(60), 2):
        pass  # without the result


@pytest.mark.parametrize("end", [lambda: os._exit(0), lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: 1 / 0])
def test_a_call_in_the_background_that_fails(end: Callable[[], object]):
    with (
        in_background(end, 2) as result,
        pytest.raises((ChildProcessError, ZeroDivisionError), match=r"ended without an answer|division by zero"),
    ):
        result()


def test_an_evaluation_is_the_same_with_several_processes(tmp_path):
    paths = write_sets(tmp_path, 40)
    one, two = evaluate(*paths), evaluate(*paths, processes=2)
    assert one.figures == two.figures and one.per_class == two.per_class
    np.testing.assert_array_equal(one.overlaps.prediction_frames, two.overlaps.prediction_frames)


def test_a_mask_that_is_none_is_named_with_several_processes(tmp_path):
    gt, results = write_sets(tmp_path, 40)
    damaged = results.read_text().replace('"counts": "', '"counts": "0', 1)
    results.write_text(damaged)
    with pytest.raises(ValueError, match=r"results.json: prediction 1 \(video \d+\), frame \d+: "):
        evaluate(gt, results, processes=2)
