"""Does a model keep the interface of `tevit.inference.external`? `tevit models check` runs these checks."""

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from tevit.inference.external import ExternalPredictor, Observed
from tevit.limits import resident_memory
from tevit.masks import ops
from tevit.video.reader import Frame, Video

SHORT = 48  # frames of the clips
LONG = 300  # frames over which memory may not grow
WARM = 100  # frames after which memory is measured first
NOISE = 4_000_000  # bytes by which memory may grow however few frames there are
MIN_IOU = 0.5  # of the masks of one object in two successive frames
MAX_CHANGES = 0.1  # share of successive masks that may have different ids
CLOSE_SECONDS = 5.0  # that a cancelled model may take to stop

Observations = list[list[Observed]]


@dataclass(frozen=True)
class Check:
    """The outcome of one check. passed: None where there was nothing to check. text: one sentence."""

    name: str
    passed: bool | None
    text: str


@dataclass(eq=False)
class CheckClip(Video):
    """Two discs on a textured ground. read: frames taken from it in the last pass."""

    read: int = 0

    def frames(self) -> Iterator[Frame]:
        """The frames, computed anew."""
        height, width = self.size_hw
        ground = cv2.resize(np.random.default_rng(0).integers(60, 140, (9, 12, 3), np.uint8), (width, height))
        self.read = 0
        for index in range(self.length or 0):
            rgb, place = ground.copy(), index % 96
            x = width // 8 + min(place, 96 - place) * width // 72
            cv2.circle(rgb, (x, height // 3), height // 8, (230, 60, 40), -1)
            cv2.circle(rgb, (width - x, 3 * height // 4), height // 10, (40, 80, 230), -1)
            self.read += 1
            yield Frame(index, index / 25, rgb)


def check_clip(length: int, size_hw: tuple[int, int] = (240, 320)) -> CheckClip:
    """A clip of `length` frames."""
    return CheckClip("check", Path("check"), size_hw, length, Fraction(25), length / 25)


def check_model(predictor: ExternalPredictor, video: Video | None = None, frames: int = LONG) -> Iterator[Check]:
    """Run all checks, one after the other; where the first one fails, the others are left out.

    video: replaces the discs where a model would not find them, in all checks but that of memory. frames: of the check
    of memory.
    """
    clip, began = video or check_clip(SHORT), time.perf_counter()
    try:
        first = [instances for _, instances in predictor.frames(clip)]
        rate = len(first) / (time.perf_counter() - began)
        for size_hw in () if video else ((96, 128), (120, 90)):
            for _ in predictor.frames(check_clip(8, size_hw)):
                pass
    except (ValueError, OSError, MemoryError) as error:
        yield Check("shapes", False, str(error))
        return
    count = len({item.id for instances in first for item in instances})
    sizes = "" if video else ", and of two other sizes"
    yield Check("shapes", True, f"{len(first)} frames, {count} tracks{sizes}: one result a frame, masks of its size")
    yield _check_ids(predictor.name, first)
    checks: tuple[Callable[[], Check], ...] = (
        lambda: _check_deterministic(predictor, clip, first),
        lambda: _check_cancel(predictor, clip, first),
        lambda: _check_memory(predictor, frames),
    )
    for check in checks:
        try:
            yield check()
        except (ValueError, OSError, MemoryError) as error:
            yield Check("later runs", False, str(error))
    yield Check("speed", None, f"{rate:.1f} frames a second of {clip.size_hw[1]}x{clip.size_hw[0]}, the first run")


def _check_ids(name: str, observed: Observations) -> Check:
    """Masks that overlap in successive frames are one object, and must have one id.

    Where the box overlaps several ones of the other frame, which of them is the object is not clear: left out.
    """
    pairs = changes = 0
    example = ""
    for number, (before, after) in enumerate(pairwise(observed), 1):
        near = _box_ious(before, after) >= MIN_IOU
        clear = near & (near.sum(0) == 1) & (near.sum(1, keepdims=True) == 1)
        for old, new in zip(*np.nonzero(clear), strict=True):
            if _iou(before[old], after[new]) < MIN_IOU:
                continue
            pairs += 1
            if before[old].id != after[new].id:
                changes += 1
                example = example or (
                    f"the object of track {before[old].id} is track {after[new].id} in frame {number}"
                )
    if not pairs:
        text = "no object was found in two successive frames, apart from others: give a --video in which there are some"
        return Check("ids", None, text)
    if changes > MAX_CHANGES * pairs:
        sentence = f"expected one id for one object, but {changes} of {pairs} successive masks changed it: {example}"
        return Check("ids", False, f"{name}: {sentence}")
    return Check("ids", True, f"{pairs - changes} of {pairs} masks have the id of the frame before")


def _box_ious(before: Sequence[Observed], after: Sequence[Observed]) -> np.ndarray:
    """float64 (before, after)."""
    a, b = (ops.to_boxes_xyxy([item.rle for item in items]).reshape(-1, 4) for items in (before, after))
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.prod(np.maximum(0, high - low), axis=2)
    areas = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b))
    return common / (np.add.outer(*areas) - common)


def _iou(a: Observed, b: Observed) -> float:
    return ops.track_iou([a.rle], [b.rle])


def _check_deterministic(predictor: ExternalPredictor, clip: Video, first: Observations) -> Check:
    again = [instances for _, instances in predictor.frames(clip)]
    if (difference := _difference(first, again)) is not None:
        return Check("deterministic", False, f"{predictor.name}: expected equal results of two runs, but {difference}")
    return Check("deterministic", True, "two runs give equal results")


def _difference(first: Observations, again: Observations) -> str | None:
    for frame, (before, after) in enumerate(zip(first, again, strict=True)):
        if sorted(item.id for item in before) != sorted(item.id for item in after):
            return f"frame {frame} has other track ids in the second"
        pairs = zip(sorted(before, key=_id), sorted(after, key=_id), strict=True)
        for old, new in pairs:
            if old.rle != new.rle:
                return f"track {old.id} has another mask in frame {frame}"
            if old != new:
                return f"track {old.id} has another class or score in frame {frame}"
    return None


def _id(item: Observed) -> int:
    return item.id


def _check_cancel(predictor: ExternalPredictor, clip: Video, first: Observations) -> Check:
    """Close the generator after some frames; the next run must not be affected."""
    began, name = 0.0, predictor.name
    try:
        with closing(predictor.frames(clip)) as outputs:
            for _ in zip(range(SHORT // 4), outputs, strict=False):
                pass
            began = time.perf_counter()
    except RuntimeError as error:  # "generator ignored GeneratorExit"
        return Check("cancel", False, f"{name}: expected predict to end where it is closed, but: {error}")
    seconds = time.perf_counter() - began
    if seconds > CLOSE_SECONDS:
        return Check(
            "cancel", False, f"{name}: expected it to stop within {CLOSE_SECONDS:.0f} s, it took {seconds:.1f} s"
        )
    again = [instances for _, instances in predictor.frames(clip)]
    if (difference := _difference(first, again)) is not None:
        reason = "expected equal results after a cancelled run"
        return Check("cancel", False, f"{name}: {reason}, but {difference}: its state outlives predict")
    return Check("cancel", True, "it stops, and the next run is not affected")


def _check_memory(predictor: ExternalPredictor, frames: int) -> Check:
    """The process, and what Python and numpy have allocated in it, may grow by a fraction of what the frames take."""
    clip, used, latest = check_clip(frames), list[tuple[int, int]](), 0
    warm = min(WARM, frames // 3)
    # Resident memory alone misses frames that are kept in memory which the process had freed before.
    tracemalloc.start()
    try:
        for done, _ in enumerate(predictor.frames(clip), 1):
            latest = max(latest, clip.read - done)
            if done in (warm, frames):
                gc.collect()
                used.append((resident_memory(), tracemalloc.get_traced_memory()[0]))
    finally:
        tracemalloc.stop()
    height, width = clip.size_hw
    limit = NOISE + (frames - warm) * height * width * 3 // 2
    if latest >= frames - 1:
        return Check("memory", None, "it reads the whole video first: memory grows with the video's length")
    grown = max(after - before for before, after in zip(used[0], used[-1], strict=True))
    if grown > limit:
        where = f"from frame {warm} to {frames} of {width}x{height}"
        expected = f"expected the memory of a model that streams not to grow by more than {limit / 1e6:.0f} MB {where}"
        return Check("memory", False, f"{predictor.name}: {expected}, it grew by {grown / 1e6:.0f} MB")
    late = f"results are at most {latest} frames late"
    return Check("memory", True, f"grew by {max(0, grown) / 1e6:.1f} MB from frame {warm} to {frames}; {late}")
