"""Frames that are copied to a device late: a buffer is not filled again before it was copied, and windows are whole."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.fakes import FakeModel, squares, write_frames
from tevit.inference import predictor as module
from tevit.inference.predictor import Predictor, Upload

CPU = torch.device("cpu")


class FakeStream:
    """Work that is queued and done only when somebody waits for it."""

    def __init__(self, device: torch.device):
        self.queue: deque[Callable[[], object]] = deque()
        self.lock = threading.Lock()
        self.waited = 0

    def run(self, unfinished: Callable[[], object]) -> None:
        with self.lock:
            while unfinished():
                self.queue.popleft()()

    def wait_stream(self, other: "FakeStream") -> None:
        self.waited += 1
        other.run(lambda: other.queue)


class FakeEvent:
    """Happens in the stream where it was recorded, when the work before it is done."""

    def __init__(self) -> None:
        self.stream, self.pending = FakeStream(CPU), 0

    def record(self) -> None:
        self.stream, self.pending = current[-1], self.pending + 1
        self.stream.queue.append(self._happen)

    def _happen(self) -> None:
        self.pending -= 1

    def synchronize(self) -> None:
        self.stream.run(lambda: self.pending)


current: list[FakeStream] = []


class FakeUpload(Upload):
    """To "the device" of a CPU, with copies that are done late."""

    def _pinned(self, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(shape)

    def _send(self, buffer: Tensor) -> Tensor:
        frame = torch.full(buffer.shape, torch.nan)

        def copy() -> None:
            frame.copy_(buffer)

        current[-1].queue.append(copy)
        return frame


@pytest.fixture(autouse=True)
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def stream(entered: FakeStream) -> Iterator[None]:
        current.append(entered)
        yield
        current.pop()

    main = FakeStream(CPU)
    current[:] = [main]
    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: main)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: None)


def test_frames_arrive_as_they_were_though_buffers_are_used_again():
    upload = FakeUpload(CPU, (2, 3))
    frames = [upload(np.full((2, 3), number, np.float32)) for number in range(7)]
    assert torch.isnan(frames[-1]).all(), "the last copies are not done yet"
    assert [frame.unique().tolist() for frame in upload.stack(frames)] == [[number] for number in range(7)]
    assert current[0].waited == 1
    assert len({buffer.data_ptr() for buffer, _ in upload._buffers}) == module.BUFFERS == 2


def test_a_video_that_is_uploaded_has_the_same_tracks(tmp_path):
    video = squares(60, (96, 160), (lambda t: (5 + t, 10), lambda t: (120, 5 + t), lambda t: None))
    folder = write_frames(tmp_path / "v", video)
    expected = Predictor(FakeModel())(folder, window=12)
    predictor = Predictor(FakeModel())
    predictor.overlap, predictor.make_upload = True, partial(FakeUpload, CPU)
    result = predictor(folder, window=12)
    assert [track.rles for track in result.tracks] == [track.rles for track in expected.tracks]
    assert current[0].waited == 7, "once for each window"


def test_a_full_device_is_an_error_that_says_what_to_lower():
    class Full(FakeUpload):
        def _send(self, buffer: Tensor) -> Tensor:
            raise torch.OutOfMemoryError

    with pytest.raises(MemoryError, match="out of memory with the next frames: lower the window or the size"):
        Full(CPU, (1,))(np.zeros(1, np.float32))
