"""Hard cuts between the scenes of a video."""

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from tevit.video.reader import Frame

MIN_CHANGE = 0.25  # change of a frame that may begin a scene
MIN_RATIO = 3  # to the changes of the frames near it; below, it is fast motion, a flash or noise
NEAR = 2  # frames before and after that count as near
MIN_DIFFERENCE, MIN_AREA = 16, 0.5  # levels by which half of the frame must differ: an object that jumps is no cut
_SAMPLED_SIZE, _THUMBNAIL_SIZE = (256, 144), (32, 18)  # width, height


def mark_cuts(frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Every frame, and whether a scene begins with it; `NEAR` frames late."""
    changes = deque([0.0] * NEAR, maxlen=2 * NEAR + 1)
    waiting = deque[tuple[Frame, bool]]()
    before: np.ndarray | None = None

    def decided() -> tuple[Frame, bool]:
        frame, differs = waiting.popleft()
        near = [change for place, change in enumerate(changes) if place != NEAR]
        return frame, differs and changes[NEAR] >= MIN_CHANGE and changes[NEAR] >= MIN_RATIO * max(near)

    for frame in frames:
        small = _thumbnail(frame.rgb)
        changes.append(0.0 if before is None else _change(before, small))
        differing = 0.0 if before is None else float((np.abs(small - before).max(1) > MIN_DIFFERENCE).mean())
        waiting.append((frame, differing >= MIN_AREA))
        before = small
        if len(waiting) > NEAR:
            yield decided()
    while waiting:
        changes.append(0.0)
        if len(changes) == changes.maxlen:
            yield decided()


def _thumbnail(rgb: np.ndarray) -> np.ndarray:
    """float32 (18 * 32, 3) of mean 0. rgb: uint8 (H, W, 3)."""
    # Sampling a large frame first takes a tenth of the time.
    sampled = cv2.resize(rgb, _SAMPLED_SIZE, interpolation=cv2.INTER_NEAREST)
    small = cv2.resize(sampled, _THUMBNAIL_SIZE, interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float32)
    return small - small.mean(0)


def _change(before: np.ndarray, after: np.ndarray) -> float:
    """1 - the correlation of two thumbnails: 0 for equal ones up to brightness, 1 for unrelated ones; 0 if uniform."""
    norms = float(np.linalg.norm(before) * np.linalg.norm(after))
    return 1 - float((before * after).sum()) / norms if norms else 0.0
