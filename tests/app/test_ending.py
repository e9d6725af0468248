"""SIGTERM ends a real server in under eight seconds, whatever it is doing, and finished frames are kept."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

from app.app import END_SECONDS
from app.player.proxy import VideoSource
from app.storage.results import ResultStore, Settings
from app.tabs.segment.run import open_studio
from tests.app.fakes import WINDOW, FakePredictor, make_video
from tests.browser.servers import start_studio
from tests.processes import ForkedProgram

LIMIT = 8.0  # seconds
HTTP = httpx.Client(timeout=60)  # for all requests: each client reads the system's certificates, 20 ms


@contextmanager
def studio(
    folder: Path, *arguments: str, before: Callable[[], object] | None = None
) -> Iterator[tuple[ForkedProgram, str]]:
    """A server's process and address; killed at the end. before: as for `start_python`."""
    model = folder / "slow.pth"
    model.touch()
    with start_studio("--checkpoint", model, *arguments, home=folder / "home", before=before) as (url, process):
        yield process, url
        process.kill()


def seconds_to_end(process: ForkedProgram) -> float:
    began = time.monotonic()
    process.terminate()
    process.wait(timeout=30)
    return time.monotonic() - began


def upload(url: str, file: Path) -> dict:
    """The uploaded file in gradio's form."""
    with file.open("rb") as content:
        (path,) = HTTP.post(f"{url}gradio_api/upload", files={"files": content}).json()
    return {"path": path, "orig_name": file.name, "meta": {"_type": "gradio.FileData"}}


def call_segment(url: str, video: dict, model: Path) -> str:
    """Start the endpoint as a program does; returns the event's id. Nobody listens to it yet."""
    answer = HTTP.post(f"{url}gradio_api/call/segment", json={"data": [video, str(model), 0.0, 10]})
    assert answer.status_code == 200, answer.text
    return answer.json()["event_id"]


def listen(url: str, event: str) -> Future[str]:
    """Keep the stream of an event open until it has ended or the server ends it."""
    text: Future[str] = Future()

    def read() -> None:
        try:
            text.set_result(HTTP.get(f"{url}gradio_api/call/segment/{event}").text)
        except httpx.HTTPError:
            text.set_result("")

    threading.Thread(target=read, daemon=True).start()
    return text


def test_a_call_that_holds_the_interpreter_lock_does_not_delay_the_end():
    program = """if True:
        import ctypes, signal, time
        import app.app
        app.app.END_SECONDS = 1.0
        signal.signal(signal.SIGTERM, app.app._end)
        try:
            print("ready", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            ctypes.PyDLL(None).sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        began = time.monotonic()
        process.terminate()
        process.wait(timeout=30)
        assert 1.0 < time.monotonic() - began < 1.0 + LIMIT - END_SECONDS


def test_with_a_run_and_an_open_stream(tmp_path: Path):
    video = make_video(tmp_path / "street.mp4", frames=100)
    with studio(tmp_path) as (process, url):
        listen(url, call_segment(url, upload(url, video), tmp_path / "slow.pth"))
        time.sleep(2)  # frames are segmented
        assert seconds_to_end(process) < LIMIT


def test_finished_frames_of_a_run_are_stored_when_the_studio_closes(tmp_path: Path):
    video, settings = VideoSource("s.mp4", make_video(tmp_path / "s.mp4", frames=100)), Settings("slow")
    studio = open_studio(tmp_path / "server", tmp_path / "home", lambda *_: FakePredictor(0.1), [], 30.0)
    token = studio.worker.submit(video, settings)
    end = time.monotonic() + 60
    while (now := studio.worker.status(token)) is None or now.result is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    studio.close()
    stored = ResultStore(tmp_path / "home" / "results").open(token)
    assert 0 < stored.result.length < 100 and stored.result.length % WINDOW == 0


def test_with_150_calls_waiting(tmp_path: Path):
    video = make_video(tmp_path / "street.mp4", frames=18)
    with studio(tmp_path, "--queue", "200", "--queue-per-visitor", "200", "--calls-per-minute", "0") as (process, url):
        sent = upload(url, video)
        with ThreadPoolExecutor(8) as pool:
            events = list(pool.map(lambda _: call_segment(url, sent, tmp_path / "slow.pth"), range(150)))
        for event in events[:20]:
            listen(url, event)
        assert seconds_to_end(process) < LIMIT
