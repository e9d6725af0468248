import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app import jobs
from app.jobs import DRAWING, LOADING, Load, Meter, Run, Runs, Settings, Snapshot
from tests.app.fakes import WINDOW, FakePredictor, make_video
from tevit.video import open_video

Open = Callable[[Load], Runs]
FAST = Settings("fast")


def until(wanted: Callable[[], bool], seconds: float = 10.0) -> float:
    """Wait until it holds; returns how long that took."""
    start = time.monotonic()
    while not wanted():
        assert time.monotonic() - start < seconds, "it did not come true in time"
        time.sleep(0.005)
    return time.monotonic() - start


def ended(runs: Runs, run: Run) -> Snapshot:
    until(lambda: runs.snapshot(run).over)
    return runs.snapshot(run)


def submitted_objects(path: Path) -> list[dict]:
    return json.loads(path.read_text())


def test_a_run_gives_results_json_and_an_overlay_of_all_frames(open_runs: Open, clip: Path):
    runs = open_runs(lambda model: FakePredictor())
    end = ended(runs, runs.submit("me", clip, FAST))
    assert (end.state, end.sentence) == ("done", "")
    assert end.files is not None and end.files.overlay is not None
    objects = submitted_objects(end.files.results_json)
    assert [item["category_id"] for item in objects] == [2, 1]
    assert {len(item["segmentations"]) for item in objects} == {18}
    overlay = open_video(end.files.overlay)
    assert (overlay.length, overlay.size_hw) == (18, (96, 160))


def test_the_settings_reach_the_model(open_runs: Open, clip: Path):
    runs = open_runs(lambda model: FakePredictor())
    end = ended(runs, runs.submit("me", clip, Settings("fast", score_threshold=0.5, max_tracks=5)))
    assert end.files is not None and [track.score for track in end.files.result.tracks] == [0.93]
    end = ended(runs, runs.submit("me", clip, Settings("fast", max_tracks=1)))
    assert end.files is not None and len(end.files.result.tracks) == 1


def test_it_reports_frames_rate_and_time_left(open_runs: Open, clip: Path):
    runs = open_runs(lambda model: FakePredictor(0.05))
    run = runs.submit("me", clip, FAST)
    until(lambda: runs.snapshot(run).done >= 4)
    now = runs.snapshot(run)
    assert (now.state, now.stage, now.total) == ("running", "segmenting", 18)
    assert now.rate is not None and 2 < now.rate <= 20
    assert now.seconds_left is not None and 0 < now.seconds_left < 14 / 2


def test_cancel_keeps_the_windows_that_are_done(open_runs: Open, clip: Path):
    runs = open_runs(lambda model: FakePredictor(0.1))
    run = runs.submit("me", clip, FAST)
    until(lambda: runs.snapshot(run).done > WINDOW)
    runs.cancel("me")
    assert runs.snapshot(run).stopping
    assert until(lambda: runs.snapshot(run).files is not None) < 2
    end = ended(runs, run)
    assert (end.state, end.sentence) == ("cancelled", "The first 6 of 18 frames are kept.")
    assert end.files is not None and end.files.overlay is not None
    assert len(submitted_objects(end.files.results_json)[0]["segmentations"]) == WINDOW
    assert open_video(end.files.overlay).length == WINDOW


def test_cancel_before_the_first_window_leaves_nothing(open_runs: Open, clip: Path):
    runs = open_runs(lambda model: FakePredictor(0.1))
    run = runs.submit("me", clip, FAST)
    until(lambda: runs.snapshot(run).done == 1)
    runs.cancel("me")
    end = ended(runs, run)
    assert (end.state, end.files) == ("cancelled", None)
    assert "before the first frames" in end.sentence
    assert list(run.folder.iterdir()) == []


def test_cancel_while_the_overlay_is_drawn_keeps_results_json(open_runs: Open, tmp_path: Path):
    long = make_video(tmp_path / "long.mp4", frames=200)
    runs = open_runs(lambda model: FakePredictor())
    run = runs.submit("me", long, FAST)
    until(lambda: runs.snapshot(run).stage == DRAWING)
    runs.cancel("me")
    end = ended(runs, run)
    assert end.state == "cancelled" and "no overlay" in end.sentence
    assert end.files is not None and end.files.overlay is None
    assert [path.name for path in run.folder.iterdir()] == ["results.json"]


def test_cancel_while_a_model_loads_does_not_wait_for_it(open_runs: Open, clip: Path):
    loaded = threading.Event()

    def load(model: str) -> FakePredictor:
        loaded.wait(10)
        return FakePredictor()

    runs = open_runs(load)
    run = runs.submit("me", clip, FAST)
    until(lambda: runs.snapshot(run).stage == LOADING)
    runs.cancel("me")
    assert runs.snapshot(run).state == "cancelled"
    loaded.set()
    assert ended(runs, runs.submit("me", clip, FAST)).state == "done"
    assert runs.snapshot(run).files is None


def test_one_works_and_the_others_wait_in_line(open_runs: Open, clip: Path):
    working: set[int] = set()
    most = []

    class Counting(FakePredictor):
        def stream(self, source, **options):
            working.add(id(source))
            most.append(len(working))
            yield from super().stream(source, **options)
            working.remove(id(source))

    runs = open_runs(lambda model: Counting(0.01))
    line = [runs.submit(name, clip, Settings(name)) for name in "abc"]
    assert [runs.snapshot(run).ahead for run in line[1:]] == [1, 2]
    assert runs.snapshot(line[2]).state == "waiting"
    assert [ended(runs, run).state for run in line] == ["done"] * 3
    assert most == [1, 1, 1]


def test_a_waiting_run_is_cancelled_at_once_and_no_longer_counted(open_runs: Open, clip: Path):
    runs = open_runs(lambda model: FakePredictor(0.05))
    first, second, third = (runs.submit(name, clip, FAST) for name in "abc")
    runs.cancel("b")
    assert runs.snapshot(second).state == "cancelled"
    assert runs.snapshot(third).ahead == 1
    assert [ended(runs, run).state for run in (first, third)] == ["done", "done"]
    assert runs.snapshot(second).files is None


def test_an_owner_touches_no_run_but_the_own(open_runs: Open, clip: Path):
    runs = open_runs(lambda model: FakePredictor(0.02))
    mine, other = runs.submit("me", clip, FAST), runs.submit("you", clip, FAST)
    runs.cancel("nobody")
    again = runs.submit("me", clip, FAST)
    runs.forget("me")
    runs.cancel("me")
    assert ended(runs, other).state == "done"
    assert ended(runs, mine).state == ended(runs, again).state == "cancelled"
    assert len({mine.folder, other.folder, again.folder}) == 3


@pytest.mark.parametrize("error", [ValueError, OSError, MemoryError])
def test_an_expected_error_is_its_sentence_without_the_servers_folders(open_runs: Open, clip: Path, error: type):
    runs = open_runs(lambda model: FakePredictor(fails_at=2, error=error(f"{clip}: something is wrong")))
    end = ended(runs, runs.submit("me", clip, FAST))
    assert (end.state, end.sentence, end.files) == ("failed", "clip.mp4: something is wrong", None)


def test_an_unexpected_error_ends_one_run_and_not_the_worker(open_runs: Open, clip: Path):
    models = {"bad": FakePredictor(fails_at=2, error=RuntimeError("index out of bounds")), "good": FakePredictor()}
    runs = open_runs(models.__getitem__)
    end = ended(runs, runs.submit("me", clip, Settings("bad")))
    assert (end.state, end.sentence) == ("failed", "clip.mp4: unexpected RuntimeError; the server's log says where.")
    assert ended(runs, runs.submit("me", clip, Settings("good"))).state == "done"


def test_a_cut_off_video_says_how_much_of_it_there_was(open_runs: Open, clip: Path, tmp_path: Path):
    whole = make_video(tmp_path / "whole.mkv", frames=60)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    runs = open_runs(lambda model: FakePredictor())
    end = ended(runs, runs.submit("me", cut, FAST))
    assert end.state == "done" and "cut.mkv is cut off" in end.sentence


def test_a_model_loads_once_until_its_file_changes(open_runs: Open, clip: Path, tmp_path: Path):
    file = tmp_path / "model.pth"
    file.touch()
    loads: list[str] = []

    def load(model: str) -> FakePredictor:
        loads.append(model)
        return FakePredictor()

    runs = open_runs(load)
    for time_written, expected in ((1, 1), (1, 1), (2, 2)):
        os.utime(file, (time_written, time_written))
        ended(runs, runs.submit("me", clip, Settings(str(file))))
        assert len(loads) == expected


def test_old_runs_leave_the_disk_and_close_leaves_nothing(open_runs: Open, clip: Path):
    runs = open_runs(lambda model: FakePredictor())
    old = runs.submit("me", clip, FAST)
    ended(runs, old)
    long_ago = time.time() - jobs.KEEP_SECONDS - 60
    os.utime(old.folder, (long_ago, long_ago))
    new = runs.submit("you", clip, FAST)
    ended(runs, new)
    assert not old.folder.exists() and new.folder.exists()
    runs.close()
    assert not runs.folder.exists()


def test_close_stops_the_run_that_goes_on(open_runs: Open, clip: Path):
    runs = open_runs(lambda model: FakePredictor(0.1))
    run = runs.submit("me", clip, FAST)
    until(lambda: runs.snapshot(run).done == 2)
    start = time.monotonic()
    runs.close()
    assert time.monotonic() - start < 2 and run.over


def test_the_meter_counts_down_between_reports():
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
    meter("drawing", 5, 1000)
    now[0] = 201.0
    meter("drawing", 35, 1000)
    assert meter.rate == 30.0 and meter.seconds_left is None
    meter("stage", 5, None)
    now[0] = 202.0
    meter("stage", 9, None)
    assert meter.rate == 4.0 and meter.seconds_left is None
