"""Hard cuts in a video, told while its frames come in: a picture that has little in common with the one before."""

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from tevit.video.reader import Frame

CUT = 0.25  # change of a picture from which it may begin a scene
TIMES = 3  # how much more that must be than the changes near it, or it is haste, a flash or noise
NEAR = 2  # pictures before and after that are near
LEVELS, SHARE = 16, 0.5  # half of a picture must differ by more than this: an object that jumps is no cut
_SIDES, _SEEN = (32, 18), (256, 144)


def marked(frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Every frame, and whether a scene begins with it; `NEAR` frames late."""
    changes, waiting = deque([0.0] * NEAR, maxlen=2 * NEAR + 1), deque[tuple[Frame, bool]]()
    before: np.ndarray | None = None
    for frame in frames:
        seen = thumbnail(frame.rgb)
        changes.append(0.0 if before is None else change(before, seen))
        waiting.append((frame, before is not None and everywhere(before, seen)))
        before = seen
        if len(waiting) > NEAR:
            yield _told(*waiting.popleft(), changes)
    while waiting:
        changes.append(0.0)
        if len(changes) == changes.maxlen:
            yield _told(*waiting.popleft(), changes)


def _told(frame: Frame, other: bool, changes: "deque[float]") -> tuple[Frame, bool]:
    here, near = changes[NEAR], [value for place, value in enumerate(changes) if place != NEAR]
    return frame, other and here >= CUT and here >= TIMES * max(near)


def thumbnail(rgb: np.ndarray) -> np.ndarray:
    """float32 (18 * 32, 3), mean 0: what a picture looks like from afar. rgb: uint8 (H, W, 3)."""
    some = cv2.resize(rgb, _SEEN, interpolation=cv2.INTER_NEAREST)  # of a large picture enough, in a tenth of the time
    small = cv2.resize(some, _SIDES, interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float32)
    return small - small.mean(0)


def change(before: np.ndarray, after: np.ndarray) -> float:
    """1 - the correlation of two thumbnails: 0 for the same picture, also lighter or darker, 1 for two that have
    nothing in common. Of pictures without anything in them 0."""
    sizes = float(np.linalg.norm(before) * np.linalg.norm(after))
    return 1 - float((before * after).sum()) / sizes if sizes else 0.0


def everywhere(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two thumbnails differ in most of their places."""
    return float((np.abs(after - before).max(1) > LEVELS).mean()) >= SHARE
