"""Splitting a video into windows for the model, at hard cuts too; at most two windows of frames are in memory."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice, repeat

import numpy as np

from tevit.configs import PredictOptions
from tevit.inference.association import ONE_PASS, TrackAssociator
from tevit.progress import Progress
from tevit.video.cuts import mark_cuts
from tevit.video.reader import Video
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
