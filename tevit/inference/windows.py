"""Splitting a video into windows for the model, at hard cuts too; at most two windows of frames are in memory."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice, repeat

import cv2
import numpy as np

from tevit.configs import PredictOptions
from tevit.inference.association import ONE_PASS, TrackAssociator
from tevit.progress import Progress
from tevit.video.reader import Frame, Video
from tevit.video.transforms import Geometry, preprocess

WINDOW = 24  # frames in a window of a video that is longer than ONE_PASS
PREFETCH = 24  # frames that are decoded in advance
SKIPPING = "finding the place"  # progress stage: frames predicted before a stop are skipped


@dataclass(frozen=True, eq=False)
class InputFrame:
    """A frame as the network's input. index: from 0. time: seconds. pixels: float32 (3, Hp, Wp). cut: the first frame
    of a scene."""

    index: int
    time: float
    pixels: np.ndarray
    cut: bool = False


def network_inputs(
    video: Video, sizes: Geometry, associator: TrackAssociator, options: PredictOptions, progress: Progress | None
) -> Generator[InputFrame]:
    """All frames; of a resumed video the keyframes and those from one window before the first new frame on."""
    first, keyframes = associator.length - (options.window or WINDOW), set(associator.keyframes)
    cuts = options.cuts and options.window != 0
    for frame, cut in mark_cuts(video.frames()) if cuts else zip(video.frames(), repeat(False), strict=False):
        if frame.index >= first or frame.index in keyframes:
            yield InputFrame(frame.index, frame.time, preprocess(frame.rgb, sizes), cut)
        elif progress:
            progress(SKIPPING, frame.index + 1, first)


def prefetch(inputs: Iterator[InputFrame]) -> Generator[InputFrame]:
    """The same frames, computed in a thread in advance."""
    with ThreadPoolExecutor(1, "decoder") as thread:
        pending = deque(thread.submit(next, inputs, None) for _ in range(PREFETCH))
        try:
            while (frame := pending.popleft().result()) is not None:
                pending.append(thread.submit(next, inputs, None))
                yield frame
        finally:
            for future in pending:
                future.cancel()


def split_windows(
    inputs: Iterator[InputFrame], window: int | None, associator: TrackAssociator, keyframes: dict[int, np.ndarray]
) -> Iterator[list[InputFrame]]:
    """The frames of each window.

    A video that fits into one window is one. Otherwise no window contains a cut. The last window of a scene begins
    earlier, so that it is as long as the others, if the scene is. window: as in `PredictOptions`. keyframes: pixels
    by index; cleared at a cut; filled here where prediction is resumed.
    """
    size, clip, new = window or WINDOW, [], []
    if associator.length:
        # Resumed: the frames before the first new one. If the scene has fewer, the next frame is a cut.
        first, indices = associator.length - size, set(associator.keyframes)
        for frame in islice(inputs, len(indices | set(range(max(0, first), associator.length)))):
            if frame.index in indices:
                keyframes[frame.index] = frame.pixels
            if frame.index >= first:
                clip.append(frame)
    else:
        whole = ONE_PASS if window is None else window
        head = deque(islice(inputs, whole + 1) if whole else inputs)
        if not whole or len(head) <= whole:
            yield list(head)
            return
        inputs = chain((head.popleft() for _ in range(len(head))), inputs)  # frees each frame when it is used
    for frame in inputs:
        if frame.cut:
            if new:
                yield (clip + new)[-size:]
            associator.cut()
            keyframes.clear()
            clip, new = [], []
        new.append(frame)
        if len(new) == size - (associator.overlap if clip else 0):
            clip, new = (clip + new)[-size:], []
            yield clip
    if new:
        yield (clip + new)[-size:]


# --- hard cuts

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
