"""What decoding strangers' files does to a worker process costs that worker, one sentence, and nothing else."""

import json
import os
import re
import shutil
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import nullcontext, suppress
from itertools import islice
from pathlib import Path

import cv2
import pytest
from PIL import Image

from app.isolation import AT_ONCE, isolated, isolated_items
from app.player.proxy import BrowserVideo, PosterFrame, ProxyBuilder, VideoSource
from app.storage.results import Settings
from app.tabs.segment.models import Speeds
from app.tabs.segment.page_state import export
from app.tabs.segment.run import Footage, ModelWorker
from app.tasks import Task
from app.ui import _evaluate
from tests.app.fakes import FakePredictor, walking_squares
from tests.hostile import files
from tests.hostile.decoders import (
    FaultySource,
    GrowingSource,
    compute,
    crash,
    fail,
    hang,
    hang_with_progress,
    leave,
    processor_seconds,
    raise_shortage,
    take_memory,
    trickle,
)
from tests.processes import start_python
from tevit.limits import LimitError
from tevit.progress import Cancelled

FAULTS = {
    take_memory: r"decoding took more than 400,000,000 bytes of memory \(worker_bytes in TEVIT_LIMITS\)",
    hang: r"decoding took more than 1 seconds without progress \(worker_stall_seconds in TEVIT_LIMITS\)",
    compute: r"decoding took more than 1 seconds without progress \(worker_stall_seconds in TEVIT_LIMITS\)",
    crash: r"decoding crashed \(SIGSEGV\): the file is damaged or needs more than 400,000,000 bytes of memory",
    leave: r"decoding crashed \(code 3\): the file is damaged or needs more than 400,000,000 bytes of memory",
    fail: r"unexpected KeyError in decoding; the server's log says where",
}


def each(*faults: Callable[[], None]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fault", faults or [*FAULTS], ids=lambda fault: fault.__name__)


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    stalls = getattr(request.node, "callspec", None) and request.node.callspec.params.get("fault") in (hang, compute)
    monkeypatch.setenv("TEVIT_LIMITS", f"worker_bytes=400e6,worker_stall_seconds={1 if stalls else 60}")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.video(tmp_path_factory.mktemp("clips") / "clip.mp4", (64, 96), frames=12)


def check(sentence: str, fault: Callable[[], None]) -> None:
    assert re.fullmatch(rf"hostile\.mp4: {FAULTS[fault]}", sentence)


@each()
def test_opening_ends_in_one_sentence(fault: Callable[[], None], clip: Path):
    with pytest.raises(ValueError) as error:
        FaultySource("hostile.mp4", clip, fault=fault).open()
    check(str(error.value), fault)
    assert VideoSource("clip.mp4", clip).open().size_hw == (64, 96), "the next file has another worker"


@each(take_memory, crash)
def test_frames_before_the_fault_are_there(fault: Callable[[], None], clip: Path):
    video, seen = FaultySource("hostile.mp4", clip, fault=fault, frame=5).open(), []
    with pytest.raises(ValueError) as error:
        seen.extend(frame.index for frame in video.frames())
    check(str(error.value), fault)
    assert seen == list(range(len(seen))) and len(seen) >= 4
    assert len(list(VideoSource("clip.mp4", clip).open().frames())) == 12


@each(hang, crash)
def test_preparing_for_the_player_leaves_no_file(fault: Callable[[], None], clip: Path, tmp_path: Path):
    proxies = ProxyBuilder(tmp_path / "proxies")
    decoded = clip.with_suffix(".mkv")  # not served as it is
    shutil.copyfile(clip, decoded)
    failed = proxies.start(FaultySource("hostile.mp4", decoded, fault=fault, frame=5))
    good = proxies.start(VideoSource("clip.mp4", clip))
    assert failed.wait(20).state == "failed"
    check(failed.status().message, fault)
    result = good.wait(20).result
    assert result is not None and [*proxies.folder.iterdir()] == [result.video]


def test_a_run_fails_and_the_next_one_does_not(clip: Path, tmp_path: Path):
    worker = ModelWorker(tmp_path / "runs", lambda model: FakePredictor(), Speeds(tmp_path / "speeds.json"))
    try:
        sources = FaultySource("hostile.mp4", clip, fault=crash, frame=5), VideoSource("clip.mp4", clip)
        runs = [worker.find(worker.submit(source, Settings("fast"))) for source in sources]
        failed, good = (run.wait(20) for run in runs if run is not None)
    finally:
        worker.close()
    check(failed.message, crash)
    assert failed.state == "failed" and good.result is not None and good.result.length == 12


def test_an_overlay_and_a_poster_end_in_one_sentence(clip: Path, tmp_path: Path):
    source = FaultySource("hostile.mp4", clip, fault=crash, frame=0)
    result = walking_squares("clip", (64, 96), [frame / 10 for frame in range(12)], 10, 0.0)
    for work in (
        lambda: export("overlay.mp4", result, tmp_path, footage=Footage(source)),
        lambda: PosterFrame.from_video(source.open(), source.name),
    ):
        with pytest.raises(ValueError) as error:
            work()
        check(str(error.value), crash)
    assert not [*tmp_path.iterdir()]


def test_memory_that_a_real_file_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.new("RGB", (6000, 6000)).save(tmp_path / "large.png")
    source = VideoSource("large.png", tmp_path / "large.png")
    frames = BrowserVideo("large.png", (6000, 6000), (0.0,), files=(tmp_path / "large.png",))
    assert source.open().size_hw == (6000, 6000) and frames.picture(0)[:3] == b"\xff\xd8\xff"
    monkeypatch.setenv("TEVIT_LIMITS", "worker_bytes=60e6")
    for work in (source.open, lambda: frames.picture(0)):
        with pytest.raises(LimitError, match=r"^large\.png: decoding took more than 60,000,000 bytes of memory"):
            work()


@pytest.mark.parametrize(
    "shortage", [zlib.error, cv2.error, OSError, ImportError, MemoryError], ids=lambda kind: kind.__name__
)
def test_libraries_say_in_many_ways_that_memory_is_short(shortage: type[Exception]):
    with pytest.raises(LimitError, match=r"^r\.zip: decoding took more than 400,000,000 bytes of memory"):
        isolated(raise_shortage, shortage, returns=None, subject="r.zip")


def test_time_in_all_is_limited(clip: Path, monkeypatch: pytest.MonkeyPatch):
    """Though there is progress all the time; a pause of the reader does not count."""
    monkeypatch.setenv("TEVIT_LIMITS", "worker_seconds=1")
    frames = VideoSource("clip.mp4", clip).open().frames()
    next(frames)
    time.sleep(1.2)
    assert len(list(frames)) == 11
    items = isolated_items(trickle, info=int, returns=None, buffer=lambda info: bytearray(4), subject="hostile.mp4")
    with pytest.raises(LimitError, match=r"took more than 1 seconds \(worker_seconds in TEVIT_LIMITS\)"):
        for _ in islice(items, 200):  # four seconds of them
            pass


def test_a_worker_that_computes_has_a_limit_of_processor_time(clip: Path, monkeypatch: pytest.MonkeyPatch):
    """By which it ends where its studio was killed, and no other thread of it gets a turn."""
    monkeypatch.setenv("TEVIT_LIMITS", "worker_seconds=5")
    soft, hard = isolated(processor_seconds, returns=tuple[int, int], subject="")
    assert 5 <= soft <= 5 * (os.cpu_count() or 1) + 30 and hard == -1


STUDIO = """
import sys
from app.isolation import isolated
from tests.hostile.decoders import say_and_hang
isolated(say_and_hang, sys.argv[1], returns=None, subject="")
"""


def test_a_worker_that_hangs_ends_after_its_studio_was_killed(tmp_path: Path):
    file = tmp_path / "worker"
    studio = start_python("-c", STUDIO, file, folder=tmp_path)
    wait_for(lambda: file.exists() and file.read_text())
    studio.kill()
    studio.wait()
    wait_for(lambda: not Path("/proc", file.read_text()).exists())


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_beyond_the_number_of_workers_calls_wait(monkeypatch: pytest.MonkeyPatch, clip: Path):
    monkeypatch.setenv("TEVIT_LIMITS", "workers=1")
    monkeypatch.setattr("app.isolation.WAIT_SECONDS", 0.1)
    frames = isolated_items(trickle, info=int, returns=None, buffer=lambda info: bytearray(4), subject="first.mp4")
    next(frames)
    assert VideoSource("clip.mp4", clip).open().size_hw == (64, 96), "a short call has another place"
    other = VideoSource("second.mp4", clip).open().frames()
    sentence = r"^second\.mp4: decoding has to wait for others, at most 1 at a time \(workers in TEVIT_LIMITS\)"
    with pytest.raises(LimitError, match=sentence):
        next(other)
    task = Task("third.mp4", lambda progress: isolated(hang_with_progress, returns=None, subject="", progress=progress))
    thread = threading.Thread(target=task.run)
    thread.start()
    wait_for(lambda: task.status().stage == "waiting")
    task.cancel()
    thread.join()
    assert task.status().state == "cancelled"
    frames.close()
    assert len(list(VideoSource("second.mp4", clip).open().frames())) == 12


@pytest.mark.parametrize("hanging", [AT_ONCE, AT_ONCE + 1])
def test_short_calls_that_hang_make_room_but_have_no_more_places_than_there_are(
    hanging: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TEVIT_LIMITS", "workers=1,worker_stall_seconds=60")
    wait = 1.0 if hanging > AT_ONCE else 20.0
    for name, seconds in (("WAIT_SECONDS", wait), ("LONG_SECONDS", 0.1)):
        monkeypatch.setattr(f"app.isolation.{name}", seconds)
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Cancelled

    def call() -> None:
        with suppress(Cancelled):
            isolated(hang, returns=None, subject="", check=check)

    threads = [threading.Thread(target=call) for _ in range(hanging)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    refused = pytest.raises(LimitError, match=r"^last\.mp4: decoding has to wait")
    with refused if hanging > AT_ONCE else nullcontext():
        isolated(processor_seconds, returns=tuple[int, int], subject="last.mp4")
    stop.set()
    for thread in threads:
        thread.join()
    assert isolated(processor_seconds, returns=tuple[int, int], subject="")[1] == -1


def test_cancelling_kills_the_worker(clip: Path):
    def cancel(*_: object) -> None:
        raise Cancelled

    began = time.monotonic()
    with pytest.raises(Cancelled):
        isolated(hang_with_progress, returns=None, subject="", progress=cancel)
    assert time.monotonic() - began < 0.9


@pytest.mark.parametrize("frame", [None, 5])
def test_a_run_is_cancelled_though_its_decoder_hangs(frame: int | None, clip: Path, tmp_path: Path):
    worker = ModelWorker(tmp_path / "runs", lambda model: FakePredictor(), Speeds(tmp_path / "speeds.json"))
    try:
        source = FaultySource("hostile.mp4", clip, fault=hang, frame=frame)
        run = worker.find(worker.submit(source, Settings("fast")))
        assert run is not None
        wait_for(lambda: run.status().state == "running")
        time.sleep(0.5)
        began = time.monotonic()
        run.cancel()
        good = worker.find(worker.submit(VideoSource("clip.mp4", clip), Settings("fast")))
        assert good is not None and good.wait(20).state == "done", "the next run need not wait for the limit"
        assert run.status().state == "cancelled" and time.monotonic() - began < 5
    finally:
        worker.close()


@pytest.mark.parametrize("answer", ["shape", "size", "type"])
def test_a_worker_that_was_taken_over_is_not_believed(answer: str, clip: Path):
    video = GrowingSource("hostile.mp4", clip).open() if answer == "shape" else None
    items = isolated_items(trickle, info=int, returns=None, buffer=lambda info: bytearray(2), subject="hostile.mp4")
    with pytest.raises(ValueError, match=r"^hostile\.mp4: "):
        if video is not None:
            list(video.frames())
        elif answer == "size":
            pytest.fail(f"an item of half the size is {next(items)}")
        else:
            isolated(processor_seconds, returns=list[str], subject="hostile.mp4")


def test_evaluations_of_what_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    predictions, labels = files.tiny_predictions(tmp_path / "r.zip", 20_000), tmp_path / "gt.json"
    labels.write_text(json.dumps({"videos": [], "categories": [], "annotations": []}))
    monkeypatch.setenv("TEVIT_LIMITS", "worker_bytes=1e6")
    with pytest.raises(ValueError, match=r"^r\.zip: evaluation (took more than 1,000,000 bytes|crashed)"):
        _evaluate(str(labels), str(predictions), "")
