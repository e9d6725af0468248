"""The synthetic "moving shapes" data set in YouTube-VIS form: seeded, endless, exact, the same on every machine.

Textured shapes of eight classes move, turn, grow, leave the picture, return and cross one another over textured,
drifting backgrounds. Video `index` of a seed does not depend on how many videos are made.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tevit.io.files import atomic
from tevit.io.json import dump_pretty
from tevit.masks import ops as masks
from tevit.progress import Progress
from tevit.results import Track, VideoResult
from tevit.synthetic import render as painting
from tevit.synthetic.scenes import INSTANCES, NAMES, SIZE_HW, Scene, plan

CATEGORIES = dict(enumerate(NAMES, 1))
FPS = 6.0
HIDDEN = 0.8
"""The share of an object's pixels inside the picture from which on it counts as hidden."""
SLIVER = 16
"""An object of which fewer pixels are visible in a frame is not annotated there, as no annotator would see it."""

_CLEAR = 64  # pixels: what an object must show to count as seen before and after it was hidden


@dataclass(frozen=True, eq=False)
class ShapesVideo:
    """A video with its truth.

    scene: what was planned. outlines: per frame and shape. result: ground truth; track ids are unique in the data set.
    visible: int (T, N), pixels seen of each shape; whole: int (T, N), pixels that it would show if none were before it.
    """

    scene: Scene
    outlines: list[list[painting.Patch | None]]
    result: VideoResult
    visible: np.ndarray
    whole: np.ndarray

    def frames(self) -> Iterator[np.ndarray]:
        """uint8 (H, W, 3) RGB, one after the other."""
        return painting.frames(self.scene, self.outlines)

    @property
    def crossing(self) -> bool:
        """Is an object hidden by HIDDEN or more in some frame, and plain to see before and after?"""
        hidden = (self.whole >= _CLEAR) & (self.visible <= (1 - HIDDEN) * self.whole)
        clear = (self.visible >= _CLEAR) & (2 * self.visible >= self.whole)
        return bool((hidden & _before(clear) & _before(clear[::-1])[::-1]).any())

    @property
    def returning(self) -> bool:
        """Is an object annotated, absent for two frames or more, and annotated again?"""
        seen = self.visible >= SLIVER
        gone = ~seen[:-1] & ~seen[1:]
        return bool((gone & _before(seen)[:-1] & _before(seen[::-1])[::-1][1:]).any())


def _before(flags: np.ndarray) -> np.ndarray:
    """Was it so in this frame or in an earlier one?"""
    return np.logical_or.accumulate(flags, axis=0)


def video(seed: int, index: int) -> ShapesVideo:
    """Video `index` of the data set of this seed: 320x192, 12 to 36 frames, 2 to 5 objects.

    Videos with an even index hold a crossing, every third one a return after an absence; others may by chance.
    """
    for attempt in range(200):
        made = _make(seed, index, plan(seed, index, attempt))
        good = bool(((made.visible >= SLIVER).sum(0) >= 4).all())
        if good and (made.crossing or index % 2) and (made.returning or index % 3):
            return made
    raise AssertionError(f"shapes: seed {seed}, video {index}: no scene came out as planned")


def _make(seed: int, index: int, scene: Scene) -> ShapesVideo:
    outlines = painting.patches(scene)
    owned = np.stack([painting.owners(frame) for frame in outlines])
    whole = np.array([[0 if patch is None else int(patch.inside.sum()) for patch in frame] for frame in outlines])
    visible = np.stack([(owned == k).sum((1, 2)) for k in range(len(scene.shapes))], 1)
    tracks = tuple(_track(index, k, shape.name, owned == k) for k, shape in enumerate(scene.shapes))
    name = f"shapes-{seed}-{index:04d}"
    times = np.arange(scene.length) / FPS
    files = tuple(f"{name}/{t:05d}.jpg" for t in range(scene.length))
    result = VideoResult(index + 1, name, SIZE_HW, times, CATEGORIES, tracks, files)
    return ShapesVideo(scene, outlines, result, visible, whole)


def _track(index: int, number: int, name: str, seen: np.ndarray) -> Track:
    areas = seen.sum((1, 2))
    rles = [rle if area >= SLIVER else None for rle, area in zip(masks.encode_batch(seen), areas.tolist(), strict=True)]
    id = INSTANCES[1] * index + number + 1
    boxes = masks.to_boxes_xyxy(rles)
    return Track(id, NAMES.index(name) + 1, 1.0, tuple(rles), boxes, np.where(areas >= SLIVER, areas, 0).astype(float))


# --- on disk


@dataclass
class Summary:
    """What was written. crossings, returns: videos with one, see `ShapesVideo`."""

    videos: int = 0
    frames: int = 0
    tracks: int = 0
    crossings: int = 0
    returns: int = 0
    label_errors: int = 0


def write(
    out: str | os.PathLike,
    videos: int,
    seed: int,
    split: str = "valid",
    label_errors: int = 0,
    progress: Progress | None = None,
) -> Summary:
    """Make a data set: OUT/JPEGImages/<video>/<frame>.jpg and OUT/<split>.json, which comes last.

    Names of videos hold the seed, so that two splits of different seeds fit in one folder.
    label_errors: how many faulty tracks OUT/<split>_with_errors.json holds, see `label_errors`; 0: no such file.

    Raises: ValueError for impossible numbers; FileExistsError where OUT/<split>.json is there already; OSError.
    """
    from tevit.io.ytvis import save_dataset
    from tevit.synthetic.label_errors import corrupt

    target = Path(out, f"{split}.json")
    _check(videos, seed, label_errors, target)
    summary, results = Summary(), []
    for index in range(videos):
        made = video(seed, index)
        _write_frames(made, Path(out, "JPEGImages"))
        _count(summary, made)
        results.append(made.result)
        if progress:
            progress("drawing", index + 1, videos)
    if label_errors:
        faulty, errors = corrupt(results, label_errors, seed)
        save_dataset(target.with_stem(f"{split}_with_errors"), faulty)
        with atomic(Path(out, "label_errors.json")) as file:
            file.write_text(dump_pretty(errors) + "\n")
        summary.label_errors = len(errors)
    save_dataset(target, results)
    return summary


def _check(videos: int, seed: int, label_errors: int, target: Path) -> None:
    if videos < 1 or seed < 0 or label_errors < 0:
        raise ValueError(
            "shapes: expected at least one video, and a seed and a number of label errors that are not negative, "
            f"got {videos} videos, seed {seed}, {label_errors} label errors"
        )
    if target.exists():
        raise FileExistsError(f"{target} is there already: choose another folder")


def _write_frames(made: ShapesVideo, folder: Path) -> None:
    for name, rgb in zip(made.result.file_names, made.frames(), strict=True):
        with atomic(folder / name) as file:
            file.write_bytes(_jpeg(rgb))


def _jpeg(rgb: np.ndarray) -> bytes:
    import cv2

    good, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    assert good
    return data.tobytes()


def _count(summary: Summary, made: ShapesVideo) -> None:
    summary.videos += 1
    summary.frames += made.scene.length
    summary.tracks += len(made.result.tracks)
    summary.crossings += made.crossing
    summary.returns += made.returning
