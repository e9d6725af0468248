"""Videos whose files are opened and decoded in a worker process, see `app.isolation`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, get_type_hints

import msgspec
import numpy as np

from tevit.limits import input_limits
from tevit.video.reader import Frame, Video

from ..isolation import Check, isolated, isolated_items


class Readable(Protocol):
    """name: for messages."""

    @property
    def name(self) -> str: ...

    def read(self) -> Video:
        """Open it in this process. Raises: ValueError, OSError."""
        ...


def open_isolated(source: Readable, check: Check | None = None) -> Video:
    """`source.read()` in a worker process; frames are decoded in one, too, and `check` is called while they are waited
    for. Raises: as `isolated`."""
    facts = msgspec.structs.asdict(isolated(_read_facts, source, returns=_Facts, subject=source.name, check=check))
    height, width = facts["size_hw"]
    input_limits().check_size(width, height, source.name)
    return _IsolatedVideo(**facts, source=source, check=check)


# The fields of `Video`, as a worker answers with them.
_Facts = msgspec.defstruct("_Facts", list(get_type_hints(Video).items()))


class _FrameInfo(msgspec.Struct):
    """Of a `Frame`. shape: of its picture."""

    index: int
    time: float
    shape: tuple[int, ...]


def _read_facts(source: Readable) -> msgspec.Struct:
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
    check: Check | None = field(kw_only=True)

    def __getstate__(self) -> dict[str, Any]:
        """Without `check`, for another process, as where GPUs are lent: it cannot be stopped there."""
        return vars(self) | {"check": None}

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
            check=self.check,
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
