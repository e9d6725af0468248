"""Videos whose files are opened and decoded in a worker process, see `app.isolation`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from tevit.limits import input_limits
from tevit.video.reader import Frame, Video

from ..isolation import isolated, isolated_items


class Readable(Protocol):
    """name: for messages."""

    @property
    def name(self) -> str: ...

    def read(self) -> Video:
        """Open it in this process. Raises: ValueError, OSError."""
        ...


def open_isolated(source: Readable) -> Video:
    """`source.read()` in a worker process; frames are decoded in one, too. Raises: as `isolated`."""
    facts = isolated(_read_facts, source, returns=_Facts, subject=source.name)
    input_limits().check_size(facts.size_hw[1], facts.size_hw[0], source.name)
    return _IsolatedVideo(**{name: getattr(facts, name) for name in facts.__struct_fields__}, source=source)


class _Facts(msgspec.Struct):
    """Of a `Video`."""

    name: str
    path: Path
    size_hw: tuple[int, int]
    length: int | None
    fps: Fraction | None
    duration: float | None
    file_names: tuple[str, ...]
    has_audio: bool
    pixel_aspect: Fraction
    warnings: list[str]
    notes: list[str]


class _FrameInfo(msgspec.Struct):
    """Of a `Frame`. shape: of its picture."""

    index: int
    time: float
    shape: tuple[int, ...]


def _read_facts(source: Readable) -> _Facts:
    video = source.read()
    return _Facts(**{name: getattr(video, name) for name in _Facts.__struct_fields__})


def _read_frames(source: Readable) -> Any:
    """Yields each frame's facts and picture; returns the warnings."""
    video = source.read()
    for frame in video.frames():
        yield _FrameInfo(frame.index, frame.time, frame.rgb.shape), frame.rgb
    return video.warnings


@dataclass(eq=False)
class _IsolatedVideo(Video):
    source: Readable = field(kw_only=True)

    def frames(self) -> Iterator[Frame]:
        self.warnings[:] = self.notes
        self.warnings[:] = yield from self._frames()

    def _frames(self) -> Any:
        frames = isolated_items(
            _read_frames,
            self.source,
            info=_FrameInfo,
            returns=list[str],
            buffer=self._picture,
            subject=self.source.name,
        )
        while True:
            try:
                info, rgb = next(frames)
            except StopIteration as end:
                return end.value
            yield Frame(info.index, info.time, rgb)

    def _picture(self, info: _FrameInfo) -> np.ndarray:
        """Raises: ValueError where the file has changed since it was opened."""
        shape = (*self.size_hw, 3)
        if info.shape != shape:
            raise ValueError(f"{self.source.name}: expected frames of shape {shape}, got {info.shape}")
        return np.empty(shape, np.uint8)
