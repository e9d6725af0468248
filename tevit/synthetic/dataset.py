"""The synthetic "moving shapes" data set in YouTube-VIS form: seeded, exact, the same on every machine.

Textured shapes of eight classes move, rotate, grow, leave the frame, return and cross one another over textured,
drifting backgrounds. Video `index` of a seed does not depend on the number of videos. Beside it: label errors planted
in ground truth, and a data set as large as YouTube-VIS with results of a synthetic model, for benchmarks of speed.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, cycle, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tevit.io.files import atomic
from tevit.io.json import dump_pretty
from tevit.io.ytvis import save_dataset
from tevit.masks import ops as masks
from tevit.masks.rle import check_runs, encode_runs
from tevit.progress import Progress
from tevit.results import RLE, Track, VideoResult
from tevit.synthetic import scenes
from tevit.synthetic.scenes import INSTANCES, NAMES, SIZE_HW, Rng, Scene, random_scene

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
    outlines: list[list[scenes.Patch | None]]
    result: VideoResult
    visible: np.ndarray
    whole: np.ndarray

    def frames(self) -> Iterator[np.ndarray]:
        """uint8 (H, W, 3) RGB."""
        return scenes.frames(self.scene, self.outlines)

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
    outlines = scenes.patches(scene)
    shown = np.stack([scenes.visible_shapes(frame) for frame in outlines])
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
    from tevit.synthetic.dataset import corrupt

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


# --- label errors

LABEL_ERROR_KINDS = ("class", "missing", "duplicate", "shifted", "identity")
"""Another class; a removed track; a track twice; masks beside the object; two tracks that swap midway."""


def corrupt(results: Sequence[VideoResult], count: int, seed: int) -> tuple[list[VideoResult], list[dict]]:
    """Put `count` errors into tracks that are long and large, each kind in turn, spread over the videos.

    No track gets two. Returns: the videos in the same order, and for each error its kind, video_id, video (name),
    track_ids (for a duplicate the original and the copy) and frames (first and last index with wrong labels).

    Raises: ValueError where there are too few tracks.
    """
    rng, changed = Rng(seed, count), list(results)
    used: dict[int, set[int]] = {result.video_id: set() for result in results}  # track ids with an error
    new_ids = iter(range(1 + max((track.id for result in results for track in result.tracks), default=0), 1 << 31))
    errors = []
    for kind in islice(cycle(LABEL_ERROR_KINDS), count):
        index, tracks = _choose_tracks(rng, kind, changed, used)
        result = changed[index]
        new_tracks, details = _apply_error(rng, kind, result, tracks, next(new_ids))
        changed[index] = replace(result, tracks=new_tracks)
        used[result.video_id].update(details["track_ids"])
        errors.append({"kind": kind, "video_id": result.video_id, "video": result.name, **details})
    return changed, errors


def _choose_tracks(
    rng: Rng, kind: str, results: Sequence[VideoResult], used: Mapping[int, set[int]]
) -> tuple[int, tuple[Track, ...]]:
    """Index of a video with as few errors as possible, and the track to change, or two, of one class if possible."""
    candidates = []
    for index, result in enumerate(results):
        free = []
        for track in result.tracks:
            seen = track.present
            if track.id not in used[result.video_id] and seen.mean() >= 0.7 and track.areas[seen].mean() >= 600:
                free.append(track)
        groups = [(track,) for track in free]
        if kind == "identity":
            half = result.length // 2  # both must be present in 3 frames or more of each half
            groups = []
            for a, b in combinations(free, 2):
                both = a.present & b.present
                if both[:half].sum() >= 3 and both[half:].sum() >= 3:
                    groups.append((a, b))
        errors = len(used[result.video_id])
        candidates += [(len({track.category_id for track in group}), errors, index, group) for group in groups]
    if not candidates:
        raise ValueError(f"label errors: no track is left for another error of the kind {kind!r}; make more videos")
    best = min(rank for *rank, _, _ in candidates)
    return rng.choice([(index, group) for *rank, index, group in candidates if rank == best])


def _apply_error(
    rng: Rng, kind: str, result: VideoResult, tracks: tuple[Track, ...], new_id: int
) -> tuple[tuple[Track, ...], dict]:
    """The video's tracks with one error, and its entry in the list of errors. new_id: of a duplicate."""
    track = tracks[0]
    seen = np.flatnonzero(track.present)
    details = {"track_ids": [track.id], "frames": [int(seen[0]), int(seen[-1])]}
    if kind == "class":
        wrong = rng.choice([id for id in result.categories if id != track.category_id])
        names = {"was": result.categories[track.category_id], "now": result.categories[wrong]}
        return _replace_tracks(result, [replace(track, category_id=wrong)]), details | names
    if kind == "missing":
        return tuple(other for other in result.tracks if other.id != track.id), details
    if kind == "duplicate":
        copy = replace(_move(track, rng.integer(1, 2), rng.integer(-2, 2)), id=new_id)
        return (*result.tracks, copy), details | {"track_ids": [track.id, copy.id]}
    if kind == "shifted":  # by about half the object's size, towards the centre of the frame
        boxes = track.boxes_xyxy[track.present].astype(float)
        width, height = (boxes[:, 2:] - boxes[:, :2]).mean(0).tolist()
        centre_x, centre_y = ((boxes[:, 2:] + boxes[:, :2]) / 2).mean(0).tolist()
        dx = round(rng.uniform(0.4, 0.55) * width) * (1 if centre_x < result.size_hw[1] / 2 else -1)
        dy = round(rng.uniform(0.25, 0.4) * height) * (1 if centre_y < result.size_hw[0] / 2 else -1)
        return _replace_tracks(result, [_move(track, dx, dy)]), details | {"pixels_xy": [dx, dy]}
    a, b = tracks
    start = result.length // 2
    swapped = [_join(a, b, start), _join(b, a, start)]
    return _replace_tracks(result, swapped), {"track_ids": [a.id, b.id], "frames": [start, result.length - 1]}


def _replace_tracks(result: VideoResult, changed: Iterable[Track]) -> tuple[Track, ...]:
    new = {track.id: track for track in changed}
    return tuple(new.get(track.id, track) for track in result.tracks)


def _join(track: Track, other: Track, start: int) -> Track:
    """`track` before frame `start`, then the masks of `other`."""
    return replace(
        track,
        rles=(*track.rles[:start], *other.rles[start:]),
        boxes_xyxy=np.concatenate([track.boxes_xyxy[:start], other.boxes_xyxy[start:]]),
        areas=np.concatenate([track.areas[:start], other.areas[start:]]),
    )


def _move(track: Track, dx: int, dy: int) -> Track:
    """The track with its masks moved by dx, dy pixels, cropped to the frame."""
    rles: list[RLE | None] = []
    for rle in track.rles:
        if rle is None:
            rles.append(None)
            continue
        mask = masks.decode(rle)
        height, width = mask.shape
        moved = np.zeros_like(mask)
        moved[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = mask[
            max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)
        ]
        rles.append(masks.encode(moved) if moved.any() else None)
    return replace(track, rles=tuple(rles), boxes_xyxy=masks.to_boxes_xyxy(rles), areas=masks.areas(rles))


# --- results as large as those of YouTube-VIS

RESULTS_SIZE_HW = 360, 640
RESULTS_CLASSES = 40


def write_sets(folder: Path, videos: int = 300, seed: int = 0) -> tuple[Path, Path]:
    """Write gt.json and results.json: videos of 20 to 36 frames of 360 x 640, with 2 tracks and 10 predictions each.

    As in the real files, ground truth has plain run lengths, results have compressed text. Returns: the two paths.
    """
    rng = np.random.default_rng(seed)
    gt, results = folder / "gt.json", folder / "results.json"
    entries, annotations = [], []
    with atomic(results) as path, path.open("w") as file:
        for video in range(1, videos + 1):
            length = int(rng.integers(20, 37))
            names = [f"{video:05d}/{5 * t:05d}.jpg" for t in range(length)]
            size = {"height": RESULTS_SIZE_HW[0], "width": RESULTS_SIZE_HW[1]}
            entries.append({"id": video, **size, "length": length, "file_names": names})
            tracks = [(int(rng.integers(1, RESULTS_CLASSES + 1)), _random_ellipse(rng)) for _ in range(2)]
            for category, ellipse in tracks:
                runs = [_runs(ellipse, t) for t in range(length)]
                keys = {"id": len(annotations) + 1, "video_id": video, "category_id": category, "iscrowd": 0}
                masks = [{"size": list(RESULTS_SIZE_HW), "counts": item.tolist()} for item in runs]
                areas = [int(item[1::2].sum()) for item in runs]
                annotations.append({**keys, "segmentations": masks, "bboxes": [None] * length, "areas": areas})
            for item in _predictions(rng, video, length, tracks):
                file.write(("[" if file.tell() == 0 else ",\n") + json.dumps(item))
        file.write("]")
    categories = [{"id": id, "name": f"class {id}"} for id in range(1, RESULTS_CLASSES + 1)]
    with atomic(gt) as path:
        path.write_text(json.dumps({"videos": entries, "categories": categories, "annotations": annotations}))
    return gt, results


def _predictions(
    rng: np.random.Generator, video: int, length: int, tracks: list[tuple[int, np.ndarray]]
) -> Iterator[dict]:
    """Ten copies of the tracks with more or less noise; some of the wrong class, some of no object."""
    for _ in range(10):
        category, ellipse = tracks[rng.integers(2)]
        noise = rng.choice([0.0, 0.01, 0.03, 0.1, 0.3])
        ellipse = ellipse * rng.normal(1, noise, ellipse.shape) if rng.random() < 0.85 else _random_ellipse(rng)
        category = category if rng.random() < 0.85 else int(rng.integers(1, RESULTS_CLASSES + 1))
        frames = [_runs(ellipse, t) for t in range(length)]
        runs, lengths = np.concatenate(frames), np.array([len(frame) for frame in frames])
        sizes = np.array([RESULTS_SIZE_HW] * length)
        texts = encode_runs(runs, lengths, sizes, check_runs(runs, lengths, sizes))
        masks = [{"size": list(RESULTS_SIZE_HW), "counts": text.decode()} for text in texts]
        score = float(np.clip(rng.normal(0.8 - 2 * noise, 0.2), 0, 1))
        yield {"video_id": video, "category_id": category, "score": score, "segmentations": masks}


def _random_ellipse(rng: np.random.Generator) -> np.ndarray:
    """(6,): centre x and y, their steps per frame, half axes x and y, in pixels."""
    height, width = RESULTS_SIZE_HW
    centre = rng.uniform(0.2, 0.8, 2) * (width, height)
    return np.concatenate([centre, rng.normal(0, 3, 2), rng.uniform(0.1, 0.4, 2) * height])


def _runs(ellipse: np.ndarray, t: int) -> np.ndarray:
    """Run lengths, int64, of an ellipse with a wavy edge in frame t."""
    x, y, step_x, step_y, a, b = ellipse.tolist()
    x, y, a, b = x + step_x * t, y + step_y * t, max(a, 2.0), max(b, 2.0)
    height, width = RESULTS_SIZE_HW
    columns = np.arange(max(0, int(x - a) + 1), min(width, int(x + a) + 1))
    half = b * np.sqrt(np.maximum(1 - ((columns - x) / a) ** 2, 0)) * (1 + 0.05 * np.sin(columns / 3))
    top = np.clip(np.rint(y - half), 0, height - 1).astype(np.int64)
    bottom = np.clip(np.rint(y + half), 0, height - 1).astype(np.int64)
    filled = bottom > top
    edges = np.stack([columns * height + top, columns * height + bottom], axis=1)[filled].ravel()
    return np.diff(edges, prepend=0, append=height * width)
