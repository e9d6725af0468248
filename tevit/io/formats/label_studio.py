"""Label Studio's JSON of video tasks: boxes as keyframes, in per cent, with linear interpolation between them.

A result of type `videorectangle` is one track; its `sequence` lists keyframes with `frame` (from 1), `enabled` (whether
the object is there up to the next keyframe), x, y, width, height (per cent) and rotation (degrees, around the upper
left corner). Source: Label Studio's documentation of the VideoRectangle tag.
"""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

import msgspec
import numpy as np

from tevit.io import json as jsonfile
from tevit.io.files import atomic
from tevit.io.formats.tracks import FrameMask, check_rate, frame_rate, make_track, make_video, rectangle
from tevit.io.json import FrameNumber, Side, WholeNumber
from tevit.io.ytvis import FPS, frame_names
from tevit.masks import json as mask_json
from tevit.results import RLE, Track, VideoResult


class _Keyframe(msgspec.Struct):
    frame: FrameNumber
    x: float
    y: float
    width: float
    height: float
    enabled: bool = True
    rotation: float = 0.0


class _RectangleTrack(msgspec.Struct, rename={"frames_count": "framesCount"}):
    sequence: list[_Keyframe]
    labels: list[str] = []
    frames_count: FrameNumber = 0
    duration: float = 0.0


class _TrackResult(msgspec.Struct):
    type: str
    value: msgspec.Raw
    id: str = ""
    original_width: Side | None = None
    original_height: Side | None = None
    meta: dict[str, object] | None = None


class _ResultList(msgspec.Struct):
    result: list[_TrackResult]
    was_cancelled: bool = False


class _VideoTask(msgspec.Struct):
    annotations: list[_ResultList] = []
    predictions: list[_ResultList] = []
    data: dict[str, object] = {}
    id: WholeNumber | None = None

    def submitted(self) -> list[_ResultList]:
        """The annotations that were not cancelled, else the predictions."""
        return [each for each in self.annotations if not each.was_cancelled] or self.predictions


def read(path: str | os.PathLike) -> tuple[Iterator[VideoResult], list[str]]:
    """The videos of a Label Studio export, and notes.

    Boxes become masks (the whole rectangle). The first annotation of a task is read; a task without boxes is left out.

    Raises: OSError or ValueError where the file cannot be read or states no size.
    """
    tasks: list[_VideoTask] = jsonfile.decode(jsonfile.read(path), list[_VideoTask], path)
    labels: dict[str, int] = {}
    notes: list[str] = []
    videos = [_video(path, n, task, labels, notes) for n, task in enumerate(tasks, 1) if _rectangles(task)]
    if tasks and not videos:
        raise ValueError(f"{path}: none of its {len(tasks)} tasks has a box")
    if len(videos) < len(tasks):
        notes.append(f"{len(tasks) - len(videos)} tasks without boxes, which state no size, were left out")
    categories = {number: name for name, number in labels.items()}
    boxes = sum(int(track.present.sum()) for video in videos for track in video.tracks)
    if boxes:
        notes.insert(0, f"{boxes} boxes became masks of their whole rectangle: this format has no masks")
    return (replace(video, categories=categories) for video in videos), notes


def _rectangles(task: _VideoTask) -> list[_TrackResult]:
    """The results of the first annotation that are tracks of boxes."""
    lists = task.submitted()
    return [result for result in lists[0].result if result.type == "videorectangle"] if lists else []


def _video(
    path: str | os.PathLike, number: int, task: _VideoTask, labels: dict[str, int], notes: list[str]
) -> VideoResult:
    """labels: name -> category id, of all tasks so far; extended here, as are notes."""
    where = f"{path}: task {task.id if task.id is not None else number}"
    lists = task.submitted()
    if len(lists) > 1:
        notes.append(f"{where}: {len(lists)} annotations, of which only the first was read")
    results, rectangles = (lists[0].result if lists else []), _rectangles(task)
    if len(rectangles) < len(results):
        notes.append(f"{where}: {len(results) - len(rectangles)} results that are not boxes were left out")
    sizes = [(result.original_height, result.original_width) for result in rectangles]
    size_hw = next(((height, width) for height, width in sizes if height and width), None)
    if size_hw is None:
        raise ValueError(f"{where}: expected original_width and original_height in a result, found none")
    values = [jsonfile.decode(bytes(result.value), _RectangleTrack, where) for result in rectangles]
    last = max((frame.frame for value in values for frame in value.sequence), default=1)
    length = max([last, *(value.frames_count for value in values)])
    tracks = []
    for id, value in enumerate(values, 1):
        name = value.labels[0] if value.labels else "object"
        category = labels.setdefault(name, len(labels) + 1)
        masks = {frame: [FrameMask(rle)] for frame, rle in _masks(value.sequence, length, size_hw)}
        stated = (rectangles[id - 1].meta or {}).get("track_id")
        tracks.append(make_track(stated if isinstance(stated, int) else id, category, length, masks))
    name = PurePosixPath(str(next(iter(task.data.values()), f"video {number}"))).stem
    duration = next((value.duration for value in values if value.duration), 0.0)
    fps = length / duration if duration else FPS
    check_rate(fps, where)
    names = [f"{name}/{frame:05d}.jpg" for frame in range(length)]
    return make_video(number if task.id is None else task.id, name, size_hw, names, {}, tracks, fps)


def _masks(keyframes: list[_Keyframe], length: int, size_hw: tuple[int, int]) -> Iterator[tuple[int, RLE]]:
    """(frame from 0, mask) of every frame in which the object is there."""
    frames = sorted(keyframes, key=lambda keyframe: keyframe.frame)
    for index, start in enumerate(frames):
        end = frames[index + 1] if index + 1 < len(frames) else None
        # An enabled keyframe lasts until the next one, or to the end of the video; a disabled one is a single frame.
        stop = (end.frame if end else length + 1) if start.enabled else start.frame + 1
        for frame in range(start.frame, stop):
            share = (frame - start.frame) / (end.frame - start.frame) if end else 0.0
            sides = [
                getattr(start, side) + share * (getattr(end or start, side) - getattr(start, side))
                for side in ("x", "y", "width", "height", "rotation")
            ]
            yield frame - 1, _mask(sides, size_hw)


def _mask(sides: list[float], size_hw: tuple[int, int]) -> RLE:
    height, width = size_hw
    x, y, w, h = (side / 100 * full for side, full in zip(sides[:4], (width, height, width, height), strict=True))
    if not sides[4]:
        return rectangle((x, y, x + w, y + h), size_hw)
    cos, sin = math.cos(math.radians(sides[4])), math.sin(math.radians(sides[4]))
    corners = [(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in ((0, 0), (w, 0), (w, h), (0, h))]
    return mask_json.from_polygons([[side for corner in corners for side in corner]], size_hw)


def write(path: str | os.PathLike, results: Iterable[VideoResult]) -> list[str]:
    """Write the boxes of all tracks as Label Studio tasks with one annotation each; returns notes on what was lost."""
    masks = 0
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write(b"[")
        for number, result in enumerate(results):
            masks += sum(int(track.present.sum()) for track in result.tracks)
            file.write((b",\n" if number else b"\n") + jsonfile.encode(_task(result)))
        file.write(b"]\n")
    return [f"{masks} masks became their boxes"] if masks else []


def _task(result: VideoResult) -> dict:
    height, width = result.size_hw
    results = [
        {
            "id": f"track{track.id}",
            "type": "videorectangle",
            "from_name": "box",
            "to_name": "video",
            "original_width": width,
            "original_height": height,
            "meta": {"track_id": track.id},
            "value": {
                "framesCount": result.length,
                "duration": result.length / frame_rate(result),
                "sequence": _sequence(track, result),
                "labels": [result.categories[track.category_id]],
            },
        }
        for track in result.tracks
    ]
    names = frame_names(result)
    video = str(PurePosixPath(names[0]).parent) if names else result.name
    return {"id": result.video_id, "data": {"video": video}, "annotations": [{"result": results}]}


def _sequence(track: Track, result: VideoResult) -> list[dict]:
    """A keyframe per frame with a box; the last one before a gap is disabled."""
    height, width = result.size_hw
    frames = np.flatnonzero(track.present & np.isfinite(track.boxes_xyxy).all(1)).tolist()
    following = set(frames)
    keyframes = []
    for frame in frames:
        x1, y1, x2, y2 = (float(side) for side in track.boxes_xyxy[frame])
        keyframes.append(
            {
                "frame": frame + 1,
                "time": float(result.times[frame]),
                "enabled": frame + 1 in following,
                "rotation": 0,
                "x": 100 * x1 / width,
                "y": 100 * y1 / height,
                "width": 100 * (x2 - x1) / width,
                "height": 100 * (y2 - y1) / height,
            }
        )
    return keyframes
