"""Models on a GPU that is lent for one call at a time, with a fake of the package `spaces`."""

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.player.proxy import BrowserVideo, VideoSource
from app.storage.results import Settings
from app.tabs.segment import models
from app.tabs.segment.run import ModelWorker
from app.tasks import TaskStatus
from tests.app.fakes import WINDOW, FakePredictor
from tests.app.tabs.segment.test_run import FAST, at, wait_until, wait_until_over
from tevit.results import VideoResult

Open = Callable[..., ModelWorker]
VISITOR: ContextVar[str] = ContextVar("visitor", default="nobody")


@pytest.fixture
def spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The fake, on the path as a package would be."""
    shutil.copy(Path(__file__).parents[2] / "fake_spaces.py", tmp_path / "spaces.py")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(models, "_prepare", str)  # no weights, and no seconds for torch
    yield importlib.import_module("spaces")
    del sys.modules["spaces"]


@pytest.fixture
def source(clip: Path) -> VideoSource:
    return VideoSource("clip.mp4", clip)


def run(worker: ModelWorker, source: VideoSource, settings: Settings = FAST) -> TaskStatus[VideoResult]:
    return wait_until_over(worker, worker.submit(source, settings))


def test_without_the_package_the_loader_is_unchanged():
    def load(model: str) -> FakePredictor:
        return FakePredictor()

    assert models.with_gpu(load) is load


def test_folder_of_its_name_is_not_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "spaces").mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    def work() -> Iterator[int]:
        yield 1

    assert models.gpu(work, lambda: 1) is work


def test_package_that_changes_nothing_leaves_the_loader_unchanged(spaces: Any, monkeypatch: pytest.MonkeyPatch):
    """On a Space with a GPU of its own the real package returns its argument."""
    monkeypatch.setattr(spaces, "GPU", lambda *, duration: lambda task: task)

    def load(model: str) -> FakePredictor:
        return FakePredictor()

    assert models.with_gpu(load) is load


def test_run_uses_the_gpu_process(open_worker: Open, source: VideoSource, spaces: Any):
    worker = open_worker(models.with_gpu(lambda model: FakePredictor()))
    end = run(worker, source, Settings("fast", first=2, score_threshold=0.5))
    assert (end.state, end.message, end.stage, end.done, end.total) == ("done", "", "segmenting", 16, 16)
    assert end.result is not None and end.result.length == 16 and len(end.result.tracks) == 1
    assert spaces.durations == [models.duration(16)]


def test_the_start_of_a_range_is_known(open_worker: Open, source: VideoSource, spaces: Any):
    """By which a run is compared with the player's frames; of another start they would be others."""
    worker = open_worker(models.with_gpu(lambda model: FakePredictor()))
    token = worker.submit(source, Settings("fast", first=2, stop=9))
    end, run = wait_until_over(worker, token), worker.find(token)
    frames = BrowserVideo("clip", (96, 160), tuple(frame / 10 for frame in range(18)), as_is=True)
    assert run is not None and run.agrees(frames, end)
    assert not run.agrees(replace(frames, times=tuple(time + 0.1 for time in frames.times)), end)


def test_requested_time_grows_with_the_video_up_to_a_maximum():
    seconds = [models.duration(frames) for frames in (1, 300, 1200, 100_000)]
    assert seconds == sorted(seconds) and seconds[0] < seconds[1] < seconds[2] < seconds[3] == models.MAX_SECONDS
    assert 20 <= models.duration(None) <= models.MAX_SECONDS


@pytest.mark.parametrize("error", [ValueError("frame 3 is odd"), FileNotFoundError("no such file: x.pth")])
def test_remote_failure_has_its_message(open_worker: Open, source: VideoSource, spaces: Any, error: Exception):
    worker = open_worker(models.with_gpu(lambda model: FakePredictor(fails_at=8, error=error)))
    end = run(worker, source)
    assert (end.state, end.message) == ("failed", str(error))
    assert end.result is not None and end.result.length == WINDOW, "finished frames are kept"


def test_remote_out_of_memory_halves_the_window(open_worker: Open, source: VideoSource, spaces: Any):
    worker = open_worker(models.with_gpu(lambda model: FakePredictor(fits=12)))
    end = run(worker, source)
    assert end.state == "done" and end.message.startswith("Memory was short: 12 frames at once")
    assert len(spaces.durations) == 3


def test_refusal_is_a_message(open_worker: Open, source: VideoSource, spaces: Any):
    worker = open_worker(models.with_gpu(lambda model: FakePredictor()))
    importlib.import_module("gradio.exceptions")  # takes longer than the test waits for a run
    spaces.refusals.append("You have exceeded your quota")
    end = run(worker, source)
    assert (end.state, end.message) == ("failed", "ZeroGPU: You have exceeded your quota")
    assert run(worker, source).state == "done", "the next run succeeds"


def test_cancelled_run_keeps_its_windows(open_worker: Open, source: VideoSource, spaces: Any):
    worker = open_worker(models.with_gpu(lambda model: FakePredictor(seconds=0.05)))
    token = worker.submit(source, FAST)
    wait_until(lambda: at(worker, token).result)
    worker.cancel(token)
    end = wait_until_over(worker, token)
    assert end.state == "cancelled" and end.result is not None and 0 < end.result.length < 18


def test_call_runs_in_the_visitors_context(open_worker: Open, source: VideoSource, spaces: Any):
    seen: list[str] = []

    def load(model: str) -> FakePredictor:
        seen.append(VISITOR.get())
        return FakePredictor()

    worker = open_worker(models.with_gpu(load))
    VISITOR.set("somebody")
    assert run(worker, source).state == "done" and seen == ["somebody"]
