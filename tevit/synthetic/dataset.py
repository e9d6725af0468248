"""The synthetic "moving shapes" data set in YouTube-VIS form: seeded, exact, the same on every machine.

Textured shapes of eight classes move, rotate, grow, leave the frame, return and cross one another over textured,
drifting backgrounds. Video `index` of a seed does not depend on the number of videos.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tevit.io.files import atomic
from tevit.io.json import dump_pretty
from tevit.io.ytvis import save_dataset
from tevit.masks import ops as masks
from tevit.progress import Progress
from tevit.results import Track, VideoResult
from tevit.synthetic import render
from tevit.synthetic.scenes import INSTANCES, NAMES, SIZE_HW, Scene, random_scene

CATEGORIES = dict(enumerate(NAMES, 1))
FPS = 6.0
HIDDEN = 0.8
"""Share of an object's pixels inside the frame from which on it counts as hidden."""
MIN_PIXELS = 16
"""An object with fewer visible pixels is not annotated in that frame, because no annotator would see it."""

_CLEAR = 64  # visible pixels from which on an object counts as seen before and after it was hidden


@dataclass(frozen=True, eq=False)
class ShapesVideo:
    """A video with its ground truth.

    scene: its description. outlines: for each frame and shape. result: ground truth; track ids are unique in the data
    set. visible: int (T, N), visible pixels of each shape. whole: int (T, N), its pixels without occlusion.
    """

    scene: Scene
    outlines: list[list[render.Patch | None]]
    result: VideoResult
    visible: np.ndarray
    whole: np.ndarray

    def frames(self) -> Iterator[np.ndarray]:
        """uint8 (H, W, 3) RGB."""
        return render.frames(self.scene, self.outlines)

    @property
    def crossing(self) -> bool:
        """Whether an object is hidden by HIDDEN or more in some frame, and clearly visible before and after."""
        hidden = (self.whole >= _CLEAR) & (self.visible <= (1 - HIDDEN) * self.whole)
        clear = (self.visible >= _CLEAR) & (2 * self.visible >= self.whole)
        return bool((hidden & _so_far(clear) & _so_far(clear[::-1])[::-1]).any())

    @property
    def returning(self) -> bool:
        """Whether an object is annotated, absent for two frames or more, and annotated again."""
        seen = self.visible >= MIN_PIXELS
        absent = ~seen[:-1] & ~seen[1:]
        return bool((absent & _so_far(seen)[:-1] & _so_far(seen[::-1])[::-1][1:]).any())


def _so_far(flags: np.ndarray) -> np.ndarray:
    """Whether a flag (T, N) is set in a frame or an earlier one."""
    return np.logical_or.accumulate(flags, axis=0)


def video(seed: int, index: int) -> ShapesVideo:
    """Video `index` of the data set of this seed: 320x192, 12 to 36 frames, 2 to 5 objects.

    Videos with an even index contain a crossing, every third one a return after an absence; others may by chance.
    """
    for attempt in range(200):
        candidate = _render_video(seed, index, random_scene(seed, index, attempt))
        seen_often = bool(((candidate.visible >= MIN_PIXELS).sum(0) >= 4).all())
        if seen_often and (candidate.crossing or index % 2) and (candidate.returning or index % 3):
            return candidate
    raise AssertionError(f"shapes: seed {seed}, video {index}: no scene came out as planned")


def _render_video(seed: int, index: int, scene: Scene) -> ShapesVideo:
    outlines = render.patches(scene)
    shown = np.stack([render.visible_shapes(frame) for frame in outlines])
    whole = np.array([[0 if patch is None else int(patch.inside.sum()) for patch in frame] for frame in outlines])
    visible = np.stack([(shown == k).sum((1, 2)) for k in range(len(scene.shapes))], 1)
    tracks = []
    for k, shape in enumerate(scene.shapes):
        areas = visible[:, k]
        pairs = zip(masks.encode_batch(shown == k), areas.tolist(), strict=True)
        rles = tuple(rle if area >= MIN_PIXELS else None for rle, area in pairs)
        id, category_id = INSTANCES[1] * index + k + 1, NAMES.index(shape.name) + 1
        areas = np.where(areas >= MIN_PIXELS, areas, 0).astype(float)
        tracks.append(Track(id, category_id, 1.0, rles, masks.to_boxes_xyxy(rles), areas))
    name = f"shapes-{seed}-{index:04d}"
    times = np.arange(scene.length) / FPS
    files = tuple(f"{name}/{t:05d}.jpg" for t in range(scene.length))
    result = VideoResult(index + 1, name, SIZE_HW, times, CATEGORIES, tuple(tracks), files)
    return ShapesVideo(scene, outlines, result, visible, whole)


class Summary(NamedTuple):
    """Counts of a written data set. crossings, returns: videos with one, see `ShapesVideo`."""

    videos: int
    frames: int
    tracks: int
    crossings: int
    returns: int
    label_errors: int


def write(
    out: str | os.PathLike,
    videos: int,
    seed: int,
    split: str = "valid",
    label_errors: int = 0,
    progress: Progress | None = None,
) -> Summary:
    """Write a data set: OUT/JPEGImages/<video>/<frame>.jpg and, last, OUT/<split>.json.

    Names of videos contain the seed, so that two splits of different seeds fit in one folder.
    label_errors: number of wrong tracks in OUT/<split>_with_errors.json, see `label_errors`; 0: no such file.
    Raises: ValueError for impossible numbers; FileExistsError where OUT/<split>.json exists; OSError.
    """
    from tevit.synthetic.label_errors import corrupt

    target = Path(out, f"{split}.json")
    if videos < 1 or seed < 0 or label_errors < 0:
        raise ValueError(
            "shapes: expected at least one video, and a seed and a number of label errors that are not negative, "
            f"got {videos} videos, seed {seed}, {label_errors} label errors"
        )
    if target.exists():
        raise FileExistsError(f"{target} is there already: choose another folder")
    results, errors, counts = [], [], np.zeros(4, int)
    for index in range(videos):
        sample = video(seed, index)
        _write_frames(sample, Path(out, "JPEGImages"))
        results.append(sample.result)
        counts += (sample.scene.length, len(sample.result.tracks), sample.crossing, sample.returning)
        if progress:
            progress("drawing", index + 1, videos)
    if label_errors:
        corrupted, errors = corrupt(results, label_errors, seed)
        save_dataset(target.with_stem(f"{split}_with_errors"), corrupted)
        with atomic(Path(out, "label_errors.json")) as file:
            file.write_text(dump_pretty(errors) + "\n")
    save_dataset(target, results)
    frames, tracks, crossings, returns = counts.tolist()
    return Summary(videos, frames, tracks, crossings, returns, len(errors))


def _write_frames(sample: ShapesVideo, folder: Path) -> None:
    import cv2

    for name, rgb in zip(sample.result.file_names, sample.frames(), strict=True):
        encoded, jpeg = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert encoded
        with atomic(folder / name) as file:
            file.write_bytes(jpeg.tobytes())
