"""Cutting a video into windows for the model: frames of the network's size, no more of them held than a window has."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice, repeat
from typing import NamedTuple

import numpy as np

from tevit.inference.association import ONE_PASS, Linker
from tevit.inference.shots import marked
from tevit.progress import Progress
from tevit.video.reader import Geometry, Video, preprocess

WINDOW = 24  # frames of the windows of a longer one
AHEAD = 24  # frames that are decoded before they are asked for
PASSING = "finding the place"  # frames that are known are passed over


class Input(NamedTuple):
    """A frame for the network. number: from 0. time: seconds. pixels: float32 (3, Hp, Wp). cut: a scene begins."""

    number: int
    time: float
    pixels: np.ndarray
    cut: bool = False


def network_inputs(
    video: Video, sizes: Geometry, linker: Linker, window: int, cuts: bool, progress: Progress | None
) -> Generator[Input]:
    """All frames, or where it goes on from a stop keyframes and as far back as a window reaches. cuts: look for
    them."""
    first, keyframes = linker.length - window, set(linker.keyframes)
    for frame, cut in marked(video.frames()) if cuts else zip(video.frames(), repeat(False), strict=False):
        if frame.index >= first or frame.index in keyframes:
            yield Input(frame.index, frame.time, preprocess(frame.rgb, sizes), cut)
        elif progress:
            progress(PASSING, frame.index + 1, first)


def ahead(inputs: Iterator[Input]) -> Generator[Input]:
    """The same, made in a thread while the model is at work on those before."""
    with ThreadPoolExecutor(1, "decoder") as thread:
        coming = deque(thread.submit(next, inputs, None) for _ in range(AHEAD))
        try:
            while (frame := coming.popleft().result()) is not None:
                coming.append(thread.submit(next, inputs, None))
                yield frame
        finally:
            for future in coming:
                future.cancel()


def windows(
    inputs: Iterator[Input], window: int | None, linker: Linker, overlap: int, memory: dict[int, np.ndarray]
) -> Iterator[list[Input]]:
    """The frames of each window; at most two windows of frames are held. memory: the keyframes; gets those of an
    earlier stop.

    What fits into one window is one. Else none reaches over a cut: behind it, all begins anew. The last window of a
    scene is as long as the others, where the scene is: it begins earlier instead.
    """
    size, clip, new = window or WINDOW, [], []
    if linker.length:
        clip = _behind(inputs, linker, size, memory)
    else:
        whole = ONE_PASS if window is None else window
        head = deque(islice(inputs, whole + 1) if whole else inputs)
        if not whole or len(head) <= whole:
            yield list(head)
            return
        inputs = chain((head.popleft() for _ in range(len(head))), inputs)  # a frame is let go as soon as it is used
    for frame in inputs:
        if frame.cut:
            if new:
                yield (clip + new)[-size:]
            linker.cut()
            memory.clear()
            clip, new = [], []
        new.append(frame)
        if len(new) == size - (overlap if clip else 0):
            clip, new = (clip + new)[-size:], []
            yield clip
    if new:
        yield (clip + new)[-size:]


def _behind(inputs: Iterator[Input], linker: Linker, size: int, memory: dict[int, np.ndarray]) -> list[Input]:
    """The frames just before the linker's length; keyframes go to `memory`. Where the scene has fewer, it is over: the
    next frame is a cut."""
    keyframes, clip = set(linker.keyframes), []
    for frame in islice(inputs, len(keyframes | set(range(max(0, linker.length - size), linker.length)))):
        if frame.number in keyframes:
            memory[frame.number] = frame.pixels
        if frame.number >= linker.length - size:
            clip.append(frame)
    return clip
