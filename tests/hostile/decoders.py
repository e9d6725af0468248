"""Sources whose decoder takes too much, hangs or crashes, as a damaged file may make FFmpeg do; read in a worker."""

import errno
import os
import resource
import signal
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from app.player.proxy import VideoSource
from tevit.io.files import reading_archive
from tevit.video.reader import Frame, Video


def take_memory() -> None:
    """More than `worker_bytes`, without end."""
    arrays = []
    while True:
        arrays.append(np.ones(50_000_000, np.uint8))


def hang() -> None:
    """For longer than `worker_stall_seconds`."""
    time.sleep(600)


def compute() -> None:
    """Never ends, in one call of the interpreter's own code."""
    pow(3, 10**9)


def crash() -> None:
    """As an access to memory that is not there."""
    os.kill(os.getpid(), signal.SIGSEGV)


def leave() -> None:
    """As C code that calls exit()."""
    os._exit(3)


def fail() -> None:
    """As a fault of ours."""
    raise KeyError("a key")


@dataclass(frozen=True)
class FaultySource(VideoSource):
    """fault: what reading it does; at the frame `frame`, None: already when it is opened."""

    fault: Callable[[], None] = crash
    frame: int | None = None

    def read(self) -> Video:
        """The video of the path."""
        video = super().read()
        if self.frame is None:
            self.fault()
        return _FaultyVideo(video, self.fault, self.frame or 0)


class _FaultyVideo(Video):
    def __init__(self, video: Video, fault: Callable[[], None], frame: int):
        vars(self).update(vars(video))
        self._video, self._fault, self._frame = video, fault, frame

    def frames(self) -> Iterator[Frame]:
        for frame in self._video.frames():
            if frame.index == self._frame:
                self._fault()
            yield frame


@dataclass(frozen=True)
class GrowingSource(VideoSource):
    """Of which frames arrive in another size than was stated."""

    def read(self) -> Video:
        """The video of the path."""
        return _GrowingVideo(super().read(), crash, 0)


class _GrowingVideo(_FaultyVideo):
    def frames(self) -> Iterator[Frame]:
        for frame in self._video.frames():
            yield Frame(frame.index, frame.time, np.zeros((4000, 4000, 3), np.uint8))


def raise_shortage(shortage: type[Exception]) -> None:
    """As this library says that memory is short."""
    message = {
        zlib.error: "Error -4 while decompressing data",
        cv2.error: "OpenCV(5.0.0) error: (-4:Insufficient memory) Failed to allocate 9437184 bytes",
        ImportError: "libx.so.5: failed to map segment from shared object",
    }
    with reading_archive("results.json"):
        if shortage is OSError:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        raise shortage(message.get(shortage, ""))


def trickle() -> Iterator[tuple[int, bytes]]:
    """Items without end."""
    while True:
        time.sleep(0.02)
        yield 1, b"1234"


def say_and_hang(file: str) -> None:
    """file: where the number of the process is written."""
    Path(file).write_text(str(os.getpid()))
    hang()


def processor_seconds() -> tuple[int, int]:
    """Of a worker: its limits."""
    return resource.getrlimit(resource.RLIMIT_CPU)


def hang_with_progress(progress: object) -> None:
    """As `hang`, called with where to report progress."""
    hang()
