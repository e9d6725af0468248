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
from app.tasks import TaskStatus
from tests.app.fakes import WINDOW, FakePredictor, make_video
from tevit.results import VideoResult

Open = Callable[..., ModelWorker]
FAST = Settings("fast")


def until(wanted: Callable[[], object], seconds: float = 10.0) -> float:
    """Wait until it holds; returns how long that took."""
    start = time.monotonic()
    while not wanted():
        assert time.monotonic() - start < seconds, "it did not come true in time"
        time.sleep(0.005)
    return time.monotonic() - start


def at(runs: ModelWorker, token: str) -> TaskStatus[VideoResult]:
    now = runs.status(token)
    assert now is not None
    return now


def ended(runs: ModelWorker, token: str) -> TaskStatus[VideoResult]:
    until(lambda: at(runs, token).over)
    return at(runs, token)


@pytest.fixture
def source(clip: Path) -> VideoSource:
    return VideoSource("clip.mp4", clip)


def test_a_run_gives_the_tracks_of_all_frames(open_runs: Open, source: VideoSource):
    runs = open_runs(lambda model: FakePredictor())
    end = ended(runs, runs.submit(source, FAST))
    assert (end.state, end.message) == ("done", "")
    assert end.result is not None and end.result.length == 18 and len(end.result.tracks) == 2


def test_the_settings_reach_the_model(open_runs: Open, source: VideoSource):
    runs = open_runs(lambda model: FakePredictor())
    end = ended(runs, runs.submit(source, Settings("fast", score_threshold=0.5, max_tracks=5)))
    assert end.result is not None and [track.score for track in end.result.tracks] == [0.93]
    end = ended(runs, runs.submit(source, Settings("fast", max_tracks=1)))
    assert end.result is not None and len(end.result.tracks) == 1


@pytest.mark.parametrize(("first", "stop", "length"), [(4, 9, 5), (4, None, 14), (0, 3, 3), (10, 99, 8)])
def test_a_range_of_frames_can_be_chosen(
    open_runs: Open, source: VideoSource, first: int, stop: int | None, length: int
):
    runs = open_runs(lambda model: FakePredictor())
    token = runs.submit(source, Settings("fast", first=first, stop=stop))
    end = ended(runs, token)
    assert end.result is not None and (end.state, end.total, end.result.length) == ("done", length, length)
    assert end.result.times[0] == 0
    run = runs.find(token)
    assert run is not None and len(list(run.open_video().frames())) == length


def test_a_range_beyond_the_end_says_how_many_frames_there_are(open_runs: Open, source: VideoSource):
    runs = open_runs(lambda model: FakePredictor())
    end = ended(runs, runs.submit(source, Settings("fast", first=18, stop=20)))
    assert (end.state, end.message) == ("failed", "clip: expected a frame 18, but the video holds 18 frames")


def test_tracks_are_shown_while_the_rest_is_computed(open_runs: Open, source: VideoSource):
    runs = open_runs(lambda model: FakePredictor(0.05))
    token = runs.submit(source, FAST)
    until(lambda: at(runs, token).result)
    now = at(runs, token)
    assert now.state == "running" and now.result is not None and now.result.length == WINDOW


def test_it_reports_frames_rate_and_time_left(open_runs: Open, source: VideoSource):
    runs = open_runs(lambda model: FakePredictor(0.05))
    token = runs.submit(source, FAST)
    until(lambda: at(runs, token).done >= 4)
    now = at(runs, token)
    assert (now.state, now.stage, now.total) == ("running", "segmenting", 18)
    assert now.rate is not None and 2 < now.rate <= 20
    assert now.seconds_left is not None and 0 < now.seconds_left < 14 / 2


def test_cancel_keeps_the_windows_that_are_done(open_runs: Open, source: VideoSource):
    runs = open_runs(lambda model: FakePredictor(0.1))
    token = runs.submit(source, FAST)
    until(lambda: at(runs, token).done > WINDOW)
    runs.cancel(token)
    assert at(runs, token).stopping
    assert until(lambda: at(runs, token).over) < 2
    end = at(runs, token)
    assert (end.state, end.message) == ("cancelled", "The first 6 of 18 frames are kept: Run resumes there.")
    assert end.result is not None and end.result.length == WINDOW


def test_the_same_again_goes_on_behind_what_a_cancel_has_kept(open_runs: Open, source: VideoSource):
    model = FakePredictor(0.05)
    runs = open_runs(lambda name: model)
    token = runs.submit(source, FAST)
    assert not runs.resume(token, source, FAST)
    until(lambda: at(runs, token).done > WINDOW)
    runs.cancel(token)
    until(lambda: at(runs, token).over)
    model.seen = 0
    assert not runs.resume(token, source, replace(FAST, max_tracks=3)) and not runs.resume("another", source, FAST)
    assert runs.resume(token, source, FAST)
    shown = at(runs, token).result
    assert shown is not None and shown.length == WINDOW  # it stays
    until(lambda: at(runs, token).over)
    end = at(runs, token)
    assert (end.state, end.message) == ("done", "") and end.result is not None and end.result.length == 18
    assert model.seen == 18 - WINDOW
    assert not runs.resume(token, source, FAST)


def test_cancel_before_the_first_window_leaves_nothing(open_runs: Open, source: VideoSource):
    runs = open_runs(lambda model: FakePredictor(0.1))
    token = runs.submit(source, FAST)
    until(lambda: at(runs, token).done == 1)
    runs.cancel(token)
    end = ended(runs, token)
    assert (end.state, end.result) == ("cancelled", None) and "before the first frames" in end.message


def test_cancel_while_a_model_loads_does_not_wait_for_it(open_runs: Open, source: VideoSource):
    loaded = threading.Event()

    def load(model: str) -> FakePredictor:
        loaded.wait(10)
        return FakePredictor()

    runs = open_runs(load)
    token = runs.submit(source, FAST)
    until(lambda: at(runs, token).stage == LOADING)
    runs.cancel(token)
    assert at(runs, token).state == "cancelled"
    loaded.set()
    assert ended(runs, runs.submit(source, FAST)).state == "done"
    assert at(runs, token).result is None


def test_one_works_and_the_others_wait_in_line(open_runs: Open, source: VideoSource):
    working: set[int] = set()
    most = []

    class Counting(FakePredictor):
        def stream(self, source, **options):
            working.add(id(source))
            most.append(len(working))
            yield from super().stream(source, **options)
            working.remove(id(source))

    runs = open_runs(lambda model: Counting(0.01))
    line = [runs.submit(source, Settings(name)) for name in "abc"]
    assert [at(runs, token).ahead for token in line[1:]] == [1, 2]
    assert at(runs, line[2]).state == "queued"
    assert [ended(runs, token).state for token in line] == ["done"] * 3
    assert most == [1, 1, 1]


def test_a_waiting_run_is_cancelled_at_once_and_no_longer_counted(open_runs: Open, source: VideoSource):
    runs = open_runs(lambda model: FakePredictor(0.05))
    first, second, third = (runs.submit(source, FAST) for _ in "abc")
    runs.cancel(second)
    assert at(runs, second).state == "cancelled"
    assert at(runs, third).ahead == 1
    assert [ended(runs, token).state for token in (first, third)] == ["done", "done"]
    assert at(runs, second).result is None


def test_a_run_is_found_by_its_token_alone(open_runs: Open, source: VideoSource):
    runs = open_runs(lambda model: FakePredictor(0.01))
    mine, other = runs.submit(source, FAST), runs.submit(source, FAST)
    assert mine != other and all(len(token) == 32 for token in (mine, other))
    assert runs.status("") is None and runs.find("nobody") is None and not runs.join("nobody")
    runs.cancel("nobody")
    runs.leave("nobody")
    runs.cancel(mine)
    assert ended(runs, other).state == "done"
    found = runs.find(other)
    assert found is not None and found.token == other and found.folder.name == other and found.folder.is_dir()


# --- pages come and go


def test_a_run_without_a_page_is_cancelled_after_the_time_of_grace(open_runs: Open, source: VideoSource):
    runs = open_runs(lambda model: FakePredictor(0.1), grace=0.3)
    token = runs.submit(source, FAST)
    runs.leave(token)
    assert 0.2 < until(lambda: at(runs, token).over) < 1.5
    assert at(runs, token).state == "cancelled"


def test_a_page_that_comes_back_in_time_keeps_its_run(open_runs: Open, source: VideoSource):
    runs = open_runs(lambda model: FakePredictor(0.04), grace=0.2)
    token = runs.submit(source, FAST)
    runs.leave(token)
    assert runs.join(token)
    assert ended(runs, token).state == "done"


def test_a_run_goes_on_as_long_as_one_of_its_pages_is_open(open_runs: Open, source: VideoSource):
    runs = open_runs(lambda model: FakePredictor(0.1), grace=0.1)
    token = runs.submit(source, FAST)
    runs.join(token)
    runs.leave(token)
    time.sleep(0.3)
    assert not at(runs, token).over
    runs.leave(token)
    runs.leave(token)
    assert ended(runs, token).state == "cancelled"


# --- memory


def test_out_of_memory_halves_the_window_and_says_so(open_runs: Open, source: VideoSource):
    predictor = FakePredictor(fits=6)
    runs = open_runs(lambda model: predictor)
    end = ended(runs, runs.submit(source, FAST))
    assert predictor.windows == [None, 24, 12, 6]
    assert (end.state, end.message) == (
        "done",
        "Memory was short: 6 frames at once were segmented, fewer than usual.",
    )
    assert end.result is not None and end.result.length == 18


def test_what_fits_in_no_window_fails_with_the_models_sentence(open_runs: Open, source: VideoSource):
    predictor = FakePredictor(fits=2)
    runs = open_runs(lambda model: predictor)
    end = ended(runs, runs.submit(source, FAST))
    assert predictor.windows[-1] == 3
    assert (end.state, end.message) == ("failed", "out of memory with 3 frames at once")


def test_a_pass_that_begins_again_takes_nothing_away(open_runs: Open, source: VideoSource):
    lengths: list[int] = []
    predictor = FakePredictor(0.01, fails_at=13, error=MemoryError("late"))

    def once(window: int | None) -> None:
        predictor.error = None if window == 24 else predictor.error

    predictor.begins = once
    runs = open_runs(lambda model: predictor)
    token = runs.submit(source, FAST)

    def look() -> bool:
        now = at(runs, token)
        lengths.append(now.result.length if now.result else 0)
        return now.over

    until(look)
    assert lengths == sorted(lengths) and lengths[-1] == 18 and 12 in lengths


def test_out_of_memory_lets_the_other_models_go(open_runs: Open, source: VideoSource):
    loads: list[str] = []

    def load(model: str) -> FakePredictor:
        loads.append(model)
        return FakePredictor(fits=24 if model == "large" else 99)

    runs = open_runs(load)
    for model in ("small", "large", "large", "small"):
        ended(runs, runs.submit(source, Settings(model)))
    assert loads == ["small", "large", "small"]


# --- failures


@pytest.mark.parametrize("error", [ValueError, OSError])
def test_an_expected_error_is_its_sentence_without_the_servers_folders(
    open_runs: Open, source: VideoSource, error: type
):
    runs = open_runs(lambda model: FakePredictor(fails_at=2, error=error(f"{source.path}: something is wrong")))
    end = ended(runs, runs.submit(source, FAST))
    assert (end.state, end.message, end.result) == ("failed", "clip.mp4: something is wrong", None)


def test_an_unexpected_error_ends_one_run_and_not_the_worker(open_runs: Open, source: VideoSource):
    models = {"bad": FakePredictor(fails_at=2, error=RuntimeError("index out of bounds")), "good": FakePredictor()}
    runs = open_runs(models.__getitem__)
    end = ended(runs, runs.submit(source, Settings("bad")))
    assert (end.state, end.message) == ("failed", "clip.mp4: unexpected RuntimeError; the server's log says where.")
    assert ended(runs, runs.submit(source, Settings("good"))).state == "done"


def test_a_cut_off_video_says_how_much_of_it_there_was(open_runs: Open, tmp_path: Path):
    whole = make_video(tmp_path / "whole.mkv", frames=60)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    runs = open_runs(lambda model: FakePredictor())
    end = ended(runs, runs.submit(VideoSource("cut.mkv", cut), FAST))
    assert end.state == "done" and "cut.mkv is cut off" in end.message


# --- what is left afterwards


def test_finished_runs_are_handed_on_and_a_mistake_there_does_no_harm(open_runs: Open, source: VideoSource):
    told: list[tuple[str, str]] = []

    def finished(run: Run) -> None:
        told.append((run.token, run.status().state))
        raise RuntimeError("a mistake of ours")

    models = {"good": FakePredictor(), "bad": FakePredictor(fails_at=2, error=ValueError("no"))}
    runs = open_runs(models.__getitem__, finished=finished)
    tokens = [runs.submit(source, Settings(name)) for name in ("good", "bad", "good")]
    ended(runs, tokens[2])
    until(lambda: len(told) == 2)
    assert told == [(tokens[0], "done"), (tokens[2], "done")]


def test_a_run_is_measured_for_the_next_estimate(open_runs: Open, source: VideoSource):
    runs = open_runs(lambda model: FakePredictor(0.01))
    assert runs.speeds.estimate("tevit_demo", (96, 160), 100).seconds is None
    ended(runs, runs.submit(source, Settings("tevit_demo")))
    until(lambda: runs.speeds.estimate("tevit_demo", (96, 160), 100).seconds)
    seconds = runs.speeds.estimate("tevit_demo", (96, 160), 100).seconds
    assert seconds is not None and 0.9 < seconds < 20


def test_old_runs_leave_the_disk_and_close_leaves_nothing(open_runs: Open, source: VideoSource):
    runs = open_runs(lambda model: FakePredictor())
    old = runs.submit(source, FAST)
    ended(runs, old)
    long_ago = time.time() - KEEP_SECONDS - 60
    os.utime(runs.folder / old, (long_ago, long_ago))
    new = runs.submit(source, FAST)
    ended(runs, new)
    assert runs.find(old) is None and not (runs.folder / old).exists() and (runs.folder / new).exists()
    runs.close()
    assert not runs.folder.exists()


def test_close_stops_the_run_that_goes_on(open_runs: Open, source: VideoSource):
    runs = open_runs(lambda model: FakePredictor(0.1))
    token = runs.submit(source, FAST)
    until(lambda: at(runs, token).done == 2)
    start = time.monotonic()
    runs.close()
    assert time.monotonic() - start < 2 and at(runs, token).over
