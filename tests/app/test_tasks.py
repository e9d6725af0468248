"""Tasks and the runner: states, messages, watchers, turns and the queue."""

import queue
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from app.tasks import Meter, Places, QueueFullError, Quota, Runner, Task
from tevit.progress import Progress


@pytest.fixture
def runner() -> Iterator[Runner]:
    opened = Runner(1)
    yield opened
    opened.close()


def blocked(gate: threading.Event) -> Callable[[Progress], str]:
    """Work that reports once and then until the gate opens."""

    def work(progress: Progress) -> str:
        while not gate.wait(0.005):
            progress("waiting", 1, 4)
        progress("waiting", 2, 4)
        return "result"

    return work


def test_task_runs_and_has_a_result(runner: Runner):
    gate = threading.Event()
    task = runner.submit(Task("clip", blocked(gate), unit="bytes"))
    while task.status().done == 0:
        time.sleep(0.002)
    now = task.status(ahead=3)
    assert (now.state, now.stage, now.done, now.total, now.unit) == ("running", "waiting", 1, 4, "bytes")
    assert (now.share, now.ahead, now.over, now.result) == (0.25, 3, False, None)
    gate.set()
    end = task.wait(10)
    assert (end.state, end.result, end.message, end.done) == ("done", "result", "", 2)
    time.sleep(0.02)
    assert task.status() == end, "its seconds stand still"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("/srv/x: not a video"), "clip: not a video"),
        (FileNotFoundError("no such file: /srv/x"), "no such file: clip"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("/srv/x"), "clip: unexpected RuntimeError; the server's log says where."),
    ],
)
def test_every_exception_is_a_message(runner: Runner, error: Exception, message: str):
    def fail(progress: Progress) -> None:
        raise error

    end = runner.submit(Task("clip", fail, hide=lambda text: text.replace("/srv/x", "clip"))).wait(10)
    assert (end.state, end.message) == ("failed", message)
    assert runner.submit(Task("next", lambda progress: 1)).wait(10).result == 1, "the runner goes on"


def test_cancel_stops_running_and_queued_tasks(runner: Runner):
    running = runner.submit(Task("a", blocked(threading.Event()), cancel_message="Nothing was written."))
    queued = runner.submit(Task("b", blocked(threading.Event())))
    last = runner.submit(Task("c", lambda progress: "last"))
    assert (runner.ahead(queued), runner.ahead(last)) == (1, 2)
    queued.cancel()
    assert queued.status().state == "cancelled" and runner.ahead(last) == 1
    while running.status().state != "running":
        time.sleep(0.002)
    running.cancel()
    assert running.status().stopping or running.over
    assert (running.wait(10).state, running.status().message) == ("cancelled", "Nothing was written.")
    assert last.wait(10).result == "last"
    last.cancel()
    assert last.status().state == "done" and not last.stopping


def test_task_may_take_several_turns(runner: Runner):
    turns: list[str] = []

    class Turns(Task[int]):
        def work(self) -> None:
            turns.append(self.name)
            self.publish(turns.count(self.name))
            if turns.count(self.name) == 3:
                self.finish("done", "three turns")

    gate = threading.Event()
    runner.submit(Task("first", blocked(gate)))
    tasks = [runner.submit(Turns(name)) for name in "ab"]
    gate.set()
    assert [task.wait(10).message for task in tasks] == ["three turns"] * 2
    assert turns == ["a", "b"] * 3 and tasks[0].status().result == 3


def test_task_without_watchers_is_cancelled():
    task = Task("a", lambda progress: 1)
    task.join()
    task.join()
    task.leave()
    assert not task.stopping
    task.leave(1.0)
    task.join()
    assert not task.wait(1.2).over
    task.leave(0.02)
    assert task.wait(5).state == "cancelled"
    task.leave()
    task.run()
    assert task.status().result is None


def test_failure_after_a_turn_is_logged():
    names: queue.Queue[str] = queue.Queue()

    def after(task: Task) -> None:
        names.put(task.name)
        raise RuntimeError("a mistake")

    runner = Runner(2, after=after)
    for name in "ab":
        runner.submit(Task(name, lambda progress: None)).wait(10)
    assert sorted(names.get(timeout=10) for _ in "ab") == ["a", "b"]
    runner.close()


def test_close_ends_everything():
    runner = Runner(1)
    tasks = [runner.submit(Task(name, blocked(threading.Event()))) for name in "ab"]
    start = time.monotonic()
    runner.close()
    assert time.monotonic() - start < 2 and [task.status().state for task in tasks] == ["cancelled"] * 2


def test_meter_counts_down_between_reports():
    now = [100.0]
    meter = Meter(lambda: now[0])
    meter("segmenting", 0, 40)
    assert meter.rate is None and meter.seconds_left is None
    now[0] = 105.0
    meter("segmenting", 10, 40)
    assert meter.rate == 2.0 and meter.seconds_left == 15.0
    now[0] = 109.0
    assert meter.seconds_left == 11.0
    now[0] = 200.0
    assert meter.seconds_left == 0.0
    meter("segmenting", 0, 40)
    now[0] = 201.0
    meter("segmenting", 4, 40)
    assert meter.rate == 4.0, "a stage that begins again is measured anew"
    meter("another", 5, 1000)
    now[0] = 202.0
    meter("another", 35, 1000)
    assert meter.rate == 30.0 and meter.seconds_left is None
    meter("stage", 5, None)
    now[0] = 203.0
    meter("stage", 9, None)
    assert meter.rate == 4.0 and meter.seconds_left is None


def test_what_visitors_have_at_work_at_the_same_time_is_limited():
    places = Places(Quota(waiting=3, per_visitor=2), "videos")
    with places.taken("ann"), places.taken("ann"), places.taken("bob"), places.taken(""), places.taken(""):
        with pytest.raises(QueueFullError, match="2 videos of yours are in the queue"), places.taken("ann"):
            pass
        with pytest.raises(QueueFullError, match="3 videos are in the queue already"), places.taken("carl"):
            pass
    with pytest.raises(ZeroDivisionError), places.taken("ann"):
        raise ZeroDivisionError
    with places.taken("ann"), places.taken("ann"):
        pass
