import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from app.player.proxy import VideoSource
from app.storage.results import Settings
from app.tabs.segment.run import KEEP_SECONDS, LOADING, ModelWorker, Run
from app.tasks import QueueFullError, Quota, TaskStatus
from tests.app.fakes import WINDOW, FakePredictor, make_video
from tevit.results import VideoResult

Open = Callable[..., ModelWorker]
FAST = Settings("fast")


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> float:
    """Wait until the condition is true; returns how long that took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "the condition stayed false"
        time.sleep(0.005)
    return time.monotonic() - start


def at(worker: ModelWorker, token: str) -> TaskStatus[VideoResult]:
    now = worker.status(token)
    assert now is not None
    return now


def held_at(frames: int, gate: threading.Event | None = None, seconds: float = 0.0) -> FakePredictor:
    """A model that waits after so many frames until the gate opens, or until it is cancelled."""
    return FakePredictor(seconds, held=lambda seen: seen >= frames and not (gate and gate.is_set()))


def wait_until_over(worker: ModelWorker, token: str) -> TaskStatus[VideoResult]:
    wait_until(lambda: at(worker, token).over)
    return at(worker, token)


@pytest.fixture
def source(clip: Path) -> VideoSource:
    return VideoSource("clip.mp4", clip)


def test_run_returns_tracks_of_all_frames(open_worker: Open, source: VideoSource):
    worker = open_worker(lambda model: FakePredictor())
    end = wait_until_over(worker, worker.submit(source, FAST))
    assert (end.state, end.message) == ("done", "")
    assert end.result is not None and end.result.length == 18 and len(end.result.tracks) == 2


def test_settings_are_passed_to_the_model(open_worker: Open, source: VideoSource):
    worker = open_worker(lambda model: FakePredictor())
    end = wait_until_over(worker, worker.submit(source, Settings("fast", score_threshold=0.5, max_tracks=5)))
    assert end.result is not None and [track.score for track in end.result.tracks] == [0.93]
    end = wait_until_over(worker, worker.submit(source, Settings("fast", max_tracks=1)))
    assert end.result is not None and len(end.result.tracks) == 1


@pytest.mark.parametrize(("first", "stop", "length"), [(4, 9, 5), (4, None, 14), (0, 3, 3), (10, 99, 8)])
def test_range_of_frames(open_worker: Open, source: VideoSource, first: int, stop: int | None, length: int):
    worker = open_worker(lambda model: FakePredictor())
    token = worker.submit(source, Settings("fast", first=first, stop=stop))
    end = wait_until_over(worker, token)
    assert end.result is not None and (end.state, end.total, end.result.length) == ("done", length, length)
    assert end.result.times[0] == 0
    run = worker.find(token)
    assert run is not None and len(list(run.footage.open().frames())) == length


def test_range_beyond_the_end_reports_the_length(open_worker: Open, source: VideoSource):
    worker = open_worker(lambda model: FakePredictor())
    end = wait_until_over(worker, worker.submit(source, Settings("fast", first=18, stop=20)))
    assert (end.state, end.message) == ("failed", "clip: expected a frame 18, but the video holds 18 frames")


def test_partial_tracks_are_published(open_worker: Open, source: VideoSource):
    worker = open_worker(lambda model: held_at(WINDOW + 2))
    token = worker.submit(source, FAST)
    wait_until(lambda: at(worker, token).result)
    now = at(worker, token)
    assert now.state == "running" and now.result is not None and now.result.length == WINDOW


def test_status_has_frames_rate_and_time_left(open_worker: Open, source: VideoSource):
    worker = open_worker(lambda model: held_at(6, seconds=0.1))
    token = worker.submit(source, FAST)
    statuses: list[TaskStatus[VideoResult]] = []
    wait_until(lambda: statuses.append(at(worker, token)) or statuses[-1].done >= 4)
    now = statuses[-1]
    assert (now.state, now.stage, now.total) == ("running", "segmenting", 18)
    assert now.rate is not None and 2 < now.rate <= 20
    assert now.seconds_left is not None and 0 < now.seconds_left < 14 / 2


def test_cancel_keeps_finished_windows(open_worker: Open, source: VideoSource):
    worker = open_worker(lambda model: held_at(WINDOW + 1))
    token = worker.submit(source, FAST)
    wait_until(lambda: at(worker, token).done > WINDOW)
    worker.cancel(token)
    assert at(worker, token).stopping
    assert wait_until(lambda: at(worker, token).over) < 2
    end = at(worker, token)
    assert (end.state, end.message) == ("cancelled", "The first 6 of 18 frames are kept: Run resumes there.")
    assert end.result is not None and end.result.length == WINDOW


def test_resume_continues_after_the_kept_frames(open_worker: Open, source: VideoSource):
    gate = threading.Event()
    model = held_at(WINDOW + 1, gate)
    worker = open_worker(lambda name: model)
    token = worker.submit(source, FAST)
    assert not worker.resume(token, source, FAST)
    wait_until(lambda: at(worker, token).done > WINDOW)
    worker.cancel(token)
    wait_until(lambda: at(worker, token).over)
    model.seen, model.held = 0, lambda seen: not gate.is_set()
    assert not worker.resume(token, source, replace(FAST, max_tracks=3)) and not worker.resume("another", source, FAST)
    assert worker.resume(token, source, FAST, "ann") and worker.runner.visitors() == ["ann"]
    shown = at(worker, token).result
    assert shown is not None and shown.length == WINDOW  # it stays
    gate.set()
    wait_until(lambda: at(worker, token).over)
    end = at(worker, token)
    assert (end.state, end.message) == ("done", "") and end.result is not None and end.result.length == 18
    assert model.seen == 18 - WINDOW
    assert not worker.resume(token, source, FAST)


def test_cancel_before_the_first_window_has_no_result(open_worker: Open, source: VideoSource):
    worker = open_worker(lambda model: held_at(1))
    token = worker.submit(source, FAST)
    wait_until(lambda: at(worker, token).done == 1)
    worker.cancel(token)
    end = wait_until_over(worker, token)
    assert (end.state, end.result) == ("cancelled", None)
    assert end.message.startswith(f"It was at frame {end.done} of 18: frames are segmented in groups") and end.done


def test_cancel_while_a_model_loads_does_not_wait_for_it(open_worker: Open, source: VideoSource):
    loaded = threading.Event()

    def load(model: str) -> FakePredictor:
        loaded.wait(10)
        return FakePredictor()

    worker = open_worker(load)
    token = worker.submit(source, FAST)
    wait_until(lambda: at(worker, token).stage == LOADING)
    worker.cancel(token)
    assert at(worker, token).state == "cancelled"
    loaded.set()
    assert wait_until_over(worker, worker.submit(source, FAST)).state == "done"
    assert at(worker, token).result is None


def test_runs_are_executed_one_at_a_time(open_worker: Open, source: VideoSource):
    working: set[int] = set()
    most = []
    gate = threading.Event()

    class Counting(FakePredictor):
        def stream(self, source, **options):
            working.add(id(source))
            most.append(len(working))
            yield from super().stream(source, **options)
            working.remove(id(source))

    worker = open_worker(lambda model: Counting(held=lambda seen: not gate.is_set()))
    queue = [worker.submit(source, Settings(name)) for name in "abc"]
    assert [at(worker, token).ahead for token in queue[1:]] == [1, 2]
    assert at(worker, queue[2]).state == "queued"
    gate.set()
    assert [wait_until_over(worker, token).state for token in queue] == ["done"] * 3
    assert most == [1, 1, 1]


def test_queued_run_is_cancelled_at_once_and_not_counted(open_worker: Open, source: VideoSource):
    gate = threading.Event()
    worker = open_worker(lambda model: held_at(1, gate))
    first, second, third = (worker.submit(source, FAST) for _ in "abc")
    worker.cancel(second)
    assert at(worker, second).state == "cancelled"
    assert at(worker, third).ahead == 1
    gate.set()
    assert [wait_until_over(worker, token).state for token in (first, third)] == ["done", "done"]
    assert at(worker, second).result is None


def test_run_is_found_by_its_token(open_worker: Open, source: VideoSource):
    worker = open_worker(lambda model: FakePredictor(0.01))
    mine, other = worker.submit(source, FAST), worker.submit(source, FAST)
    assert mine != other and all(len(token) == 32 for token in (mine, other))
    assert worker.status("") is None and worker.find("nobody") is None and not worker.join("nobody")
    worker.cancel("nobody")
    worker.leave("nobody")
    worker.cancel(mine)
    assert wait_until_over(worker, other).state == "done"
    run = worker.find(other)
    assert run is not None and run.token == other and run.folder.name == other and run.folder.is_dir()


# --- pages join and leave


def test_run_without_a_page_is_cancelled_after_the_grace_period(open_worker: Open, source: VideoSource):
    worker = open_worker(lambda model: held_at(2), grace=0.3)
    token = worker.submit(source, FAST)
    began = time.monotonic()
    worker.leave(token)
    wait_until(lambda: at(worker, token).over)
    assert 0.2 < time.monotonic() - began and at(worker, token).state == "cancelled"


def test_page_that_returns_in_time_keeps_its_run(open_worker: Open, source: VideoSource):
    gate = threading.Event()
    worker = open_worker(lambda model: held_at(2, gate), grace=1.0)
    token = worker.submit(source, FAST)
    worker.leave(token)
    assert worker.join(token)
    time.sleep(1.2)
    gate.set()
    assert wait_until_over(worker, token).state == "done"


def test_run_continues_while_one_of_its_pages_is_open(open_worker: Open, source: VideoSource):
    worker = open_worker(lambda model: held_at(2), grace=0.1)
    token = worker.submit(source, FAST)
    with worker.followed(token):
        with worker.followed(token):
            pass
        time.sleep(0.3)
        assert not at(worker, token).over
    worker.leave(token)
    assert wait_until_over(worker, token).state == "cancelled"


def test_run_that_no_page_ever_follows_is_cancelled(
    open_worker: Open, source: VideoSource, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.tabs.segment.run.FOLLOW_SECONDS", 0.2)
    worker = open_worker(lambda model: held_at(2), grace=0.1)
    assert wait_until_over(worker, worker.submit(source, FAST)).state == "cancelled"


# --- limits of one visitor


def test_two_runs_of_one_visitor_wait_or_run_and_32_of_all(open_worker: Open, source: VideoSource):
    worker = open_worker(lambda model: held_at(1), quota=Quota(waiting=3))
    first = worker.submit(source, FAST, "ann")
    worker.submit(source, FAST, "ann")
    with pytest.raises(
        QueueFullError, match=r"^2 runs of yours are in the queue, the first at place 1 of 2; at most 2"
    ):
        worker.submit(source, FAST, "ann")
    worker.submit(source, FAST, "bob")
    with pytest.raises(QueueFullError, match="yours would be at place 4; at most 3 may wait"):
        worker.submit(source, FAST, "carl")
    assert len(list(worker.folder.iterdir())) == 3
    worker.cancel(first)
    wait_until_over(worker, first)
    worker.submit(source, FAST, "ann")


def test_a_continued_run_counts_as_one_of_the_visitor(open_worker: Open, source: VideoSource):
    gate = threading.Event()
    worker = open_worker(lambda model: held_at(WINDOW + 1, gate))
    stopped = worker.submit(source, FAST, "ann")
    wait_until(lambda: at(worker, stopped).result)
    worker.cancel(stopped)
    wait_until_over(worker, stopped)
    others = [worker.submit(source, Settings("other"), "ann") for _ in "ab"]
    with pytest.raises(QueueFullError):
        worker.resume(stopped, source, FAST, "ann")
    gate.set()
    worker.cancel(others[1])
    assert worker.resume(stopped, source, FAST, "ann") and wait_until_over(worker, stopped).state == "done"


def test_ended_runs_of_the_visitor_who_has_most_are_forgotten_first(
    open_worker: Open, source: VideoSource, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.tabs.segment.run.MAX_ENDED", 3)
    worker = open_worker(lambda model: FakePredictor())
    bobs = worker.submit(source, FAST, "bob")
    wait_until_over(worker, bobs)
    anns = []
    for _ in range(4):
        anns.append(worker.submit(source, FAST, "ann"))
        wait_until_over(worker, anns[-1])
    wait_until(lambda: worker.find(anns[1]) is None)
    assert worker.find(bobs) and [worker.find(token) is not None for token in anns] == [False, False, True, True]
    assert not (worker.folder / anns[0]).exists()


# --- memory


def test_out_of_memory_halves_the_window_with_a_message(open_worker: Open, source: VideoSource):
    predictor = FakePredictor(fits=6)
    worker = open_worker(lambda model: predictor)
    end = wait_until_over(worker, worker.submit(source, FAST))
    assert predictor.windows == [None, 24, 12, 6]
    assert (end.state, end.message) == (
        "done",
        "Memory was short: 6 frames at once were segmented, fewer than usual.",
    )
    assert end.result is not None and end.result.length == 18


def test_out_of_memory_in_every_window_fails_with_the_models_message(open_worker: Open, source: VideoSource):
    predictor = FakePredictor(fits=2)
    worker = open_worker(lambda model: predictor)
    end = wait_until_over(worker, worker.submit(source, FAST))
    assert predictor.windows[-1] == 3
    assert (end.state, end.message) == ("failed", "out of memory with 3 frames at once")


def test_repeated_pass_does_not_shorten_the_result(open_worker: Open, source: VideoSource):
    lengths: list[int] = []
    predictor = FakePredictor(0.01, fails_at=13, error=MemoryError("late"))

    def once(window: int | None) -> None:
        predictor.error = None if window == 24 else predictor.error

    predictor.begins = once
    worker = open_worker(lambda model: predictor)
    token = worker.submit(source, FAST)

    def observe() -> bool:
        now = at(worker, token)
        lengths.append(now.result.length if now.result else 0)
        return now.over

    wait_until(observe)
    assert lengths == sorted(lengths) and lengths[-1] == 18 and 12 in lengths


def test_out_of_memory_drops_other_models(open_worker: Open, source: VideoSource):
    loads: list[str] = []

    def load(model: str) -> FakePredictor:
        loads.append(model)
        return FakePredictor(fits=24 if model == "large" else 99)

    worker = open_worker(load)
    for model in ("small", "large", "large", "small"):
        wait_until_over(worker, worker.submit(source, Settings(model)))
    assert loads == ["small", "large", "small"]


# --- failures


@pytest.mark.parametrize("error", [ValueError, OSError])
def test_expected_error_is_a_message_without_the_servers_folders(open_worker: Open, source: VideoSource, error: type):
    worker = open_worker(lambda model: FakePredictor(fails_at=2, error=error(f"{source.path}: something is wrong")))
    end = wait_until_over(worker, worker.submit(source, FAST))
    assert (end.state, end.message, end.result) == ("failed", "clip.mp4: something is wrong", None)


def test_unexpected_error_ends_only_its_run(open_worker: Open, source: VideoSource):
    models = {"bad": FakePredictor(fails_at=2, error=RuntimeError("index out of bounds")), "good": FakePredictor()}
    worker = open_worker(models.__getitem__)
    end = wait_until_over(worker, worker.submit(source, Settings("bad")))
    assert (end.state, end.message) == ("failed", "clip.mp4: unexpected RuntimeError; the server's log says where.")
    assert wait_until_over(worker, worker.submit(source, Settings("good"))).state == "done"


def test_truncated_video_has_a_warning(open_worker: Open, tmp_path: Path):
    whole = make_video(tmp_path / "whole.mkv", frames=60)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    worker = open_worker(lambda model: FakePredictor())
    end = wait_until_over(worker, worker.submit(VideoSource("cut.mkv", cut), FAST))
    assert end.state == "done" and "cut.mkv is cut off" in end.message


# --- after the run


def test_finished_callback_may_fail(open_worker: Open, source: VideoSource):
    calls: list[tuple[str, str]] = []

    def finished(run: Run) -> None:
        calls.append((run.token, run.status().state))
        raise RuntimeError("a mistake of ours")

    models = {"good": FakePredictor(), "bad": FakePredictor(fails_at=2, error=ValueError("no"))}
    worker = open_worker(models.__getitem__, finished=finished)
    tokens = [worker.submit(source, Settings(name)) for name in ("good", "bad", "good")]
    wait_until_over(worker, tokens[2])
    wait_until(lambda: len(calls) == 2)
    assert calls == [(tokens[0], "done"), (tokens[2], "done")]


def test_speed_of_a_run_is_recorded_for_estimates(open_worker: Open, source: VideoSource):
    worker = open_worker(lambda model: FakePredictor(0.01))
    assert worker.speeds.estimate("tevit_demo", (96, 160), 100).seconds is None
    wait_until_over(worker, worker.submit(source, Settings("tevit_demo")))
    wait_until(lambda: worker.speeds.estimate("tevit_demo", (96, 160), 100).seconds)
    seconds = worker.speeds.estimate("tevit_demo", (96, 160), 100).seconds
    assert seconds is not None and 0.9 < seconds < 20


def test_old_runs_are_removed_and_close_removes_all(open_worker: Open, source: VideoSource):
    worker = open_worker(lambda model: FakePredictor())
    old = worker.submit(source, FAST)
    wait_until_over(worker, old)
    long_ago = time.time() - KEEP_SECONDS - 60
    os.utime(worker.folder / old, (long_ago, long_ago))
    new = worker.submit(source, FAST)
    wait_until_over(worker, new)
    assert worker.find(old) is None and not (worker.folder / old).exists() and (worker.folder / new).exists()
    worker.close()
    assert not worker.folder.exists()


def test_close_stops_the_current_run(open_worker: Open, source: VideoSource):
    worker = open_worker(lambda model: held_at(2))
    token = worker.submit(source, FAST)
    wait_until(lambda: at(worker, token).done == 2)
    start = time.monotonic()
    worker.close()
    assert time.monotonic() - start < 2 and at(worker, token).over
