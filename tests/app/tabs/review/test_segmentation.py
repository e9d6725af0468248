"""The routes that compute masks for a correction."""

import asyncio
import json
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.testclient import TestClient

from app.player.component import Layer, PlayerView, ViewRegistry
from app.player.proxy import BrowserVideo, FrameSource, PlaceholderFrames
from app.tabs.review import segmentation
from app.tabs.review.segmentation import Segmentation, routes
from app.tasks import QueueFullError, Runner, Task
from tevit.masks import ops
from tevit.progress import Cancelled
from tevit.results import Track, VideoResult
from tevit.review.propagate import Propagation
from tevit.review.segmenter import GrabCutSegmenter

TOKEN, SIZE, LENGTH = "0123456789abcdef", (48, 64), 8


def mask_at(t: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[16:32, 8 + 2 * t : 24 + 2 * t] = True
    return mask


def text(mask: np.ndarray) -> str:
    return ops.encode(mask)["counts"].decode()


class RecordingSegmenter(GrabCutSegmenter):
    """Keeps what it was called with. begin: what it waits for."""

    name = "a test's"
    calls: list[dict[str, Any]]

    def __init__(self) -> None:
        self.calls, self.begin = [], threading.Event()
        self.begin.set()

    def propagate(self, frames: Any, keys: Any, **options: Any) -> Propagation:
        assert self.begin.wait(60)
        self.calls.append({"frames": len(frames), "keys": sorted(keys)} | options)
        return super().propagate(frames, keys, **options)


@dataclass(frozen=True)
class Site:
    client: TestClient
    segmenter: RecordingSegmenter
    views: ViewRegistry

    def post(self, name: str, data: object) -> Any:
        return self.client.post(f"/studio/review/{TOKEN}/{name}", content=json.dumps(data))

    def lines(self, data: Mapping[str, Any]) -> list[dict[str, Any]]:
        response = self.post("propagate", data)
        assert response.status_code == 200, response.text
        return [json.loads(line) for line in response.text.splitlines()]


def view_of(frames: FrameSource) -> PlayerView:
    rles = tuple(ops.encode(mask_at(t)) for t in range(LENGTH))
    track = Track(7, 1, 0.9, rles, ops.to_boxes_xyxy(rles), ops.areas(rles))
    result = VideoResult(1, "v", SIZE, np.arange(LENGTH) / 6, {1: "square"}, (track,))
    layers = (Layer("Ground truth", True, result), Layer("Prediction", False, result))
    return PlayerView(TOKEN, frames, 0, LENGTH, layers)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A textured square that moves to the right."""
    rng = np.random.default_rng(0)
    background, texture = (cv2.GaussianBlur(rng.integers(0, 255, (*SIZE, 3), np.uint8), (0, 0), 1) for _ in range(2))
    files = []
    for t in range(LENGTH):
        picture = np.where(mask_at(t)[..., None], np.roll(texture, 2 * t, 1) // 2 + 120, background // 2)
        files.append(tmp_path / f"{t}.png")
        cv2.imwrite(str(files[-1]), picture.astype(np.uint8))
    views, segmenter = ViewRegistry(), RecordingSegmenter()
    views.put(view_of(BrowserVideo("v", SIZE, tuple(range(LENGTH)), files=tuple(files))))
    return Site(TestClient(Starlette(routes=routes(views, Segmentation(segmenter)))), segmenter, views)


def correction(*frames: int, first: int, last: int, **others: Any) -> dict[str, Any]:
    masks = {str(t): text(mask_at(t)) for t in frames}
    return {"size": list(SIZE), "masks": masks, "first": first, "last": last} | others


def test_masks_of_a_range_are_propagated(site: Site):
    masks = site.lines(correction(0, 7, first=0, last=7))[-1]["masks"]
    assert [proposal["frame"] for proposal in masks] == [1, 2, 3, 4, 5, 6], "not the key frames"
    for proposal in masks:
        mask = ops.decode({"size": list(SIZE), "counts": proposal["counts"].encode()}).astype(bool)
        expected = mask_at(proposal["frame"])
        assert (mask & expected).sum() / (mask | expected).sum() > 0.8
        assert 0 < proposal["confidence"] <= 1


def test_only_the_frames_between_the_nearest_key_frames_are_read(site: Site):
    masks = site.lines(correction(0, 1, 6, 7, first=3, last=4))[-1]["masks"]
    assert [mask["frame"] for mask in masks] == [3, 4]
    (call,) = site.segmenter.calls
    assert (call["frames"], call["keys"], call["first"], call["last"]) == (6, [0, 5], 2, 3)


def test_masks_of_the_prediction_are_used(site: Site):
    site.lines(correction(0, first=0, last=3, prediction=[1, 7]))
    (call,) = site.segmenter.calls
    assert {t: mask.tolist() for t, mask in call["predictions"].items()} == {t: mask_at(t).tolist() for t in range(4)}


def test_progress_comes_first_and_a_failure_is_one_sentence(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(segmentation, "_TICK", 0.001)
    ahead, asked = Runner.ahead, []

    def noted(runner: Runner, task: Task) -> int:
        asked.append(task)
        if len(asked) == 2:  # the first line has been sent
            site.segmenter.begin.set()
        return ahead(runner, task)

    monkeypatch.setattr(Runner, "ahead", noted)
    site.segmenter.begin.clear()
    lines = site.lines(correction(0, first=0, last=7))
    assert {"stage", "done", "total", "ahead"} == set(lines[0]) and "masks" in lines[-1]
    view = site.views.get(TOKEN)
    assert view is not None and isinstance(view.frames, BrowserVideo)
    view.frames.files[3].unlink()
    assert "3.png" in site.lines(correction(0, first=0, last=7))[-1]["error"]


def test_a_closed_connection_cancels(site: Site):
    def work(progress: Any) -> list:
        while True:
            progress("propagating", 1, 2)

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    runner = Segmentation(site.segmenter).runner
    task = runner.submit(Task("propagation", work))

    async def read() -> list[str]:
        lines = segmentation._progress_lines(task, runner, Request({"type": "http"}, receive))
        return [line async for line in lines]

    # In this thread playwright's event loop runs once a browser test has begun.
    with ThreadPoolExecutor(1) as other:
        assert len(other.submit(asyncio.run, read()).result(30)) == 1
    assert task.wait(10).state == "cancelled"
    with pytest.raises(Cancelled):
        task.progress("propagating", 1, 2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"masks": {}}, "expected a corrected mask for one frame at least"),
        ({"masks": {"9": "0"}}, "expected masks of frames 0 to 7, got frame '9'"),
        ({"masks": {"0": "??"}}, "frame 0: "),
        ({"size": [4, 4]}, "expected masks of [48, 64] pixels"),
        ({"first": 5, "last": 3}, "expected a range of frames, got 5 to 3"),
        ({"last": 8}, "expected last from 0 to 7, got '8'"),
        ({"prediction": [0, 7]}, "there is no prediction [0, 7] in this video"),
        ({"prediction": "x"}, "there is no prediction x in this video"),
    ],
)
def test_what_cannot_be_propagated_is_named(site: Site, change: dict[str, Any], sentence: str):
    response = site.post("propagate", correction(0, first=0, last=7) | change)
    assert response.status_code == 422 and sentence in response.text and not site.segmenter.calls


def test_a_point_or_a_box_proposes_a_mask(site: Site):
    response = site.post("propose", {"frame": 2, "points": [], "box": [8, 12, 34, 36]})
    assert response.status_code == 200
    mask = ops.decode({"size": list(SIZE), "counts": response.json()["counts"].encode()}).astype(bool)
    assert (mask & mask_at(2)).sum() / (mask | mask_at(2)).sum() > 0.6
    for data, sentence in (
        ({"frame": 2, "points": [[1, 2]]}, "expected a point as [x, y, true or false]"),
        ({"frame": 2, "points": [[1, "2", True]]}, "expected 2 numbers"),
        ({"frame": 2, "points": [[99, 2, True]]}, "expected points within 64 x 48 pixels"),
        ({"frame": 2, "box": [1, 2, 3]}, "expected 4 numbers"),
        ({"frame": 8, "points": []}, "expected frame from 0 to 7"),
        ({"frame": 2}, "expected a point on the object or a box, got neither"),
    ):
        response = site.post("propose", data)
        assert response.status_code == 422 and sentence in response.text


def test_requests_that_are_not_a_correction_are_refused(site: Site, monkeypatch: pytest.MonkeyPatch):
    assert site.client.get("/studio/segmenter").json() == {"name": "a test's"}
    assert site.client.post("/studio/review/none/propose", content="{}").status_code == 404
    assert site.post("propose", []).status_code == 422
    assert site.client.post(f"/studio/review/{TOKEN}/propose", content="{").status_code == 422
    monkeypatch.setattr(segmentation, "MAX_REQUEST", 10)
    assert "at most 10 bytes" in site.post("propagate", correction(0, first=0, last=7)).text


@pytest.mark.parametrize("name", ["propagate", "propose"])
def test_values_that_are_nested_deep_or_too_many_are_refused(site: Site, name: str):
    for content, sentence in (
        (b"[" * 50_000, "expected values that are not nested so deep"),
        (b"[" + b"1," * 200_001 + b"1]", "expected fewer values"),
    ):
        answer = site.client.post(f"/studio/review/{TOKEN}/{name}", content=content)
        assert (answer.status_code, answer.text) == (422, sentence)


def test_corrections_of_one_visitor_in_the_queue_are_limited():
    queue, end = Segmentation(RecordingSegmenter()), threading.Event()
    try:
        tasks = [queue.submit(Task("t", lambda progress: end.wait(20), visitor="ann")) for _ in range(4)]
        with pytest.raises(QueueFullError, match="4 masks of yours are in the queue"):
            queue.submit(Task("t", lambda progress: None, visitor="ann"))
        tasks.append(queue.submit(Task("t", lambda progress: True, visitor="bob")))
        end.set()
        assert all(task.wait(20).state == "done" for task in tasks)
    finally:
        end.set()
        queue.close()


@pytest.mark.parametrize("name", ["propagate", "propose"])
def test_a_correction_is_counted_as_its_visitors(site: Site, name: str, monkeypatch: pytest.MonkeyPatch):
    seen = []

    def submit(queue: Segmentation, task: Task) -> Task:
        seen.append(task.visitor)
        raise QueueFullError("full")

    monkeypatch.setattr(Segmentation, "submit", submit)
    site = replace(site, client=TestClient(counted_as("ann", site.client.app)))
    answer = site.post(
        name, correction(0, 7, first=0, last=7) if name == "propagate" else {"frame": 2, "box": [8, 8, 40, 40]}
    )
    assert (answer.status_code, answer.text, seen) == (422, "full", ["ann"])


def counted_as(visitor: str, app: Any) -> Any:
    """As `FairQueue` marks a request."""

    async def marked(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["counted_as"] = visitor
        await app(scope, receive, send)

    return marked


def test_a_video_without_frames_or_of_too_many_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(segmentation, "MAX_FRAMES_BYTES", 3 * 48 * 64 * 3)
    (line,) = (line for line in site.lines(correction(0, first=0, last=7)) if "error" in line)
    assert line["error"] == "8 frames are too many at this size: choose a range of 3 at most."
    site.views.put(view_of(PlaceholderFrames("v", SIZE, tuple(range(LENGTH)), reason="gone")))
    response = site.post("propose", {"frame": 2, "points": [[1, 2, True]]})
    assert response.status_code == 422 and "The frames of this video are not there" in response.text
