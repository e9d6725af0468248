"""Reading CVAT's XML, version 1.1: of a job, a task or a project, for images or for video, as XML, zip or folder.

In the XML for video every track states all frames from its first to its last one, interpolated ones with keyframe="0";
frames are numbers of the video file (start_frame, and frame_filter's step). In a project's XML, tracks and images name
their task and subset, and frames count on over the tasks of a subset. Source: the exporter of CVAT,
dataset_manager/formats/cvat.py and bindings.py.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from tevit.io.files import files_inside, forward_slashes, open_inside
from tevit.io.formats.cvat_writer import CROWD, SCORE, TRACK
from tevit.io.formats.tracks import FrameMask, find_image, image_index, make_track, make_video, rectangle
from tevit.io.ytvis import Dataset, VideoInfo
from tevit.masks import json as mask_json
from tevit.masks import ops
from tevit.results import RLE, Track, VideoResult


class _CvatShape(NamedTuple):
    """One shape of one image or frame. track: its attribute track_id, None if it has none; outside: CVAT's absence.

    points: of a box its corners before the rotation (degrees, about its centre), of a polygon x, y alternating; None
    for a mask, whose pixels are `rle`.
    """

    label: str
    rle: RLE | None
    points: tuple[float, ...] | None
    is_box: bool
    rotation: float
    track: str | None
    iscrowd: bool
    score: float
    outside: bool


class _CvatImage(NamedTuple):
    id: int
    name: str
    size_hw: tuple[int, int]
    shapes: list[_CvatShape]


class _CvatTrack(NamedTuple):
    """One track of CVAT for video. shapes: frame -> shapes, also those that CVAT has interpolated itself."""

    id: int
    label: str
    shapes: dict[int, list[_CvatShape]]


@dataclass(frozen=True, eq=False)
class _CvatTask:
    """A task or job. folder: of its file in the archive. length: frames, 0 where it is not stated. start, step: the
    number of its first frame and the step between frames. before: frames of earlier tasks of the subset in a project.
    """

    name: str
    folder: str = ""
    subset: str = ""
    length: int = 0
    start: int = 0
    step: int = 1
    before: int = 0
    size_hw: tuple[int, int] | None = None
    images: list[_CvatImage] = field(default_factory=list)
    tracks: list[_CvatTrack] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _CvatExport:
    """What was read so far. files: `image_index` of the folder or archive. left_out: number of shapes of each kind.
    counts: of other notes.
    """

    path: str | os.PathLike
    like: Dataset | None
    files: Mapping[str, str]
    labels: list[str] = field(default_factory=list)
    tasks: list[_CvatTask] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def note_counts(self) -> None:
        """Make notes of the counts so far."""
        self.notes.extend(f"{count} {text}" for text, count in self.counts.items() if count)
        self.counts.clear()


def is_cvat(path: str | os.PathLike) -> bool:
    """Whether a folder or zip archive holds XML."""
    return bool(_members(path))


def _members(path: str | os.PathLike) -> list[str]:
    return [name for name in files_inside(path) if name.lower().endswith(".xml")]


def read(path: str | os.PathLike, like: Dataset | None = None) -> tuple[Iterator[VideoResult], list[str]]:
    """The videos of a CVAT file, or of all in a zip archive or folder, and notes on what was left out or added.

    Masks, polygons and boxes (as masks of the whole rectangle) are read. For images: images of one task and folder are
    one video, in the order of their ids; shapes of one track_id in one image are united. For video: a task is a video;
    between keyframes boxes and polygons of equal length are interpolated. like: a data set whose videos, frames and
    categories, found by name, give ids and places.

    Raises: OSError or ValueError where a file cannot be read or a mask does not fit its image.
    """
    export = _CvatExport(path, like, image_index(files_inside(path)))
    for member in _members(path) or [""]:
        with open_inside(path, member) as file:
            _parse(file, member, export)
    if export.left_out:
        kinds = ", ".join(f"{count} {tag}" for tag, count in export.left_out.items())
        total = export.left_out.total()
        export.notes.append(f"{total} shapes were left out ({kinds}): only masks, polygons and boxes are read")
    export.note_counts()
    categories = dict(enumerate(export.labels, 1)) if like is None else dict(like.categories)
    for name in export.labels:
        if name not in categories.values():
            number = max(categories, default=0) + 1
            categories[number] = name
            where = like and like.path
            export.notes.append(f"the label {name!r} is no category of {where}: it became number {number}")
    tracked = _tracked_videos(export, categories)
    export.note_counts()
    pictures = _image_videos(export, categories, len(tracked))
    return chain(tracked, pictures), export.notes


# --- the XML


def _parse(file: IO[bytes], member: str, export: _CvatExport) -> None:
    """Add the tasks and labels of one XML to the export."""
    where = f"{export.path}, {member}" if member else f"{export.path}"
    folder = str(PurePosixPath(member).parent) if "/" in member else ""
    tasks: dict[str, _CvatTask] = {}
    images = False
    for element in _elements(file, where):
        if element.tag == "label" and (label := element.findtext("name")):
            _add_label(label, export)
        elif element.tag == "meta":
            tasks = _stated_tasks(element, folder)
        elif element.tag in ("track", "image"):
            task = _task_of(element, tasks, folder, export)
            if element.tag == "track":
                task.tracks.append(_track(element, task, where, export))
            else:
                task.images.append(_image(element, where, export))
                images = True
            element.clear()
    # A task for video without tracks is a video without objects.
    used = [task for task in tasks.values() if task.images or task.tracks or (task.size_hw and not images)]
    if not used:
        raise ValueError(f"{where}: expected an export of CVAT with image or track elements, found neither")
    export.tasks.extend(_counted_from_0(used, where))


def _elements(file: IO[bytes], where: str) -> Iterator[ElementTree.Element]:
    """Raises: ValueError where the XML is malformed or of an encoding that is unknown or not supported."""
    try:
        for _, element in ElementTree.iterparse(file):
            yield element
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"{where}: malformed XML: {error}") from None


def _add_label(name: str, export: _CvatExport) -> None:
    if name not in export.labels:
        export.labels.append(name)


def _stated_tasks(meta: ElementTree.Element, folder: str) -> dict[str, _CvatTask]:
    """Id -> task, of a project; else the only task or job."""
    project = meta.findall("project/tasks/task")
    only = [element for tag in ("task", "job") if (element := meta.find(tag)) is not None] or [meta]
    before = Counter[str]()
    tasks = {}
    for element in project or only[:1]:
        # Of a job the size of the frames stands beside it.
        sizes = [size for place in (element, meta) if (size := place.find("original_size")) is not None]
        size_hw = (_stated(sizes[0], "height"), _stated(sizes[0], "width")) if sizes else (0, 0)
        name = PurePosixPath(forward_slashes(element.findtext("name") or element.findtext("source") or "")).name
        subset = element.findtext("subset") or ""
        length, start = _stated(element, "size"), _stated(element, "start_frame")
        step = re.search(r"step\s*=\s*([1-9]\d*)", element.findtext("frame_filter") or "")
        tasks[element.findtext("id") or ""] = task = _CvatTask(
            name, folder, subset, length, start, int(step[1]) if step else 1, before[subset],
            size_hw if all(size_hw) else None,
        )  # fmt: skip
        before[subset] += start + task.step * length
    return tasks


def _stated(element: ElementTree.Element, key: str) -> int:
    text = (element.findtext(key) or "").strip()
    return int(text) if text.isdecimal() else 0


def _task_of(element: ElementTree.Element, tasks: dict[str, _CvatTask], folder: str, export: _CvatExport) -> _CvatTask:
    """The task of a track or image; of a track with the size of its frames, which is stated for videos only."""
    id = element.get("task_id", "")
    if not id and len(tasks) == 1:
        id = next(iter(tasks))
    if id and id not in tasks and element.tag == "track":
        raise ValueError(f"{export.path}: a track is of task {id}, which the file's meta does not list")
    if id not in tasks:
        tasks[id] = _CvatTask(f"task {id}" if id else "", folder, element.get("subset", ""))
    task = tasks[id]
    if element.tag == "track" and task.size_hw is None:
        tasks[id] = task = replace(task, size_hw=_size_of_frames(task, export))
    return task


def _size_of_frames(task: _CvatTask, export: _CvatExport) -> tuple[int, int]:
    """Of the data set's video of the same name, else of the first image in the archive. Raises: ValueError."""
    if export.like is not None and (info := _video_like(task, export.like)) is not None:
        return info.size_hw
    places = ("/".join(part for part in (task.folder, "images", inner) if part) for inner in (task.subset, ""))
    suffixes = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
    for place in places:
        for name in export.files.values():
            if name.startswith(f"{place}/") and name.lower().endswith(suffixes):
                with open_inside(export.path, name) as file, Image.open(file) as image:
                    return image.height, image.width
    raise ValueError(
        f"{export.path}: expected meta/task/original_size before the tracks, found none: export with the images, or "
        "name the data set (--like)"
    )


def _image(element: ElementTree.Element, path: str, export: _CvatExport) -> _CvatImage:
    name = forward_slashes(element.get("name", ""))
    where = f"{path}, image {name!r}"
    id, height, width = (_whole(element, key, where) for key in ("id", "height", "width"))
    shapes = [_shape(child, (height, width), where, export) for child in element]
    shapes = [shape for shape in shapes if shape is not None and shape.rle is not None]
    untracked = sum(shape.track is None for shape in shapes)
    export.counts[f"masks have no {TRACK}: each became a track of one frame"] += untracked
    return _CvatImage(id, name, (height, width), shapes)


def _track(element: ElementTree.Element, task: _CvatTask, path: str, export: _CvatExport) -> _CvatTrack:
    id = _whole(element, "id", f"{path}, a track")
    shapes: dict[int, list[_CvatShape]] = {}
    for child in element:
        frame = _whole(child, "frame", f"{path}, track {id}")
        shape = _shape(child, task.size_hw or (0, 0), f"{path}, track {id}, frame {frame}", export)
        if shape is not None:
            shapes.setdefault(frame, []).append(shape)
    label = element.get("label", "")
    _add_label(label, export)
    return _CvatTrack(id, label, dict(sorted(shapes.items())))


def _shape(
    element: ElementTree.Element, size_hw: tuple[int, int], where: str, export: _CvatExport
) -> _CvatShape | None:
    """A shape, without a mask where it has no pixel in the image; None for one that is left out, which is counted."""
    if element.tag not in ("mask", "polygon", "box"):
        export.left_out[element.tag] += 1
        return None
    is_box, points, rotation = element.tag == "box", None, 0.0
    export.counts["boxes became masks of their whole rectangle"] += is_box
    try:
        if element.tag == "mask":
            rle = _mask_rle(element, size_hw, where)
        else:
            points, rotation = _points(element), float(element.get("rotation") or 0)
            if not is_box and len(points) < 6:
                export.counts["polygons of less than three points were left out"] += 1
                return None
            rle = _points_rle(points, is_box, rotation, size_hw)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    values = {child.get("name"): (child.text or "").strip() for child in element.iter("attribute")}
    outside = element.get("outside") == "1"
    export.counts["shapes have no pixel inside the image"] += rle is None and not outside
    if label := element.get("label", ""):
        _add_label(label, export)
    return _CvatShape(
        label, rle, points, is_box, rotation, values.get(TRACK) or None,
        values.get(CROWD, "").lower() in ("1", "true"), float(values.get(SCORE) or 1), outside,
    )  # fmt: skip


def _whole(element: ElementTree.Element, key: str, where: str) -> int:
    text = element.get(key, "")
    if not text.strip().lstrip("-").isdigit():
        raise ValueError(f"{where}: expected {key} as a whole number, got {text!r}")
    return int(text)


def _mask_rle(element: ElementTree.Element, size_hw: tuple[int, int], where: str) -> RLE | None:
    left, top, width, height = (_whole(element, key, where) for key in ("left", "top", "width", "height"))
    if min(left, top) < 0 or min(width, height) < 1 or left + width > size_hw[1] or top + height > size_hw[0]:
        raise ValueError(f"a mask of {height} x {width} at row {top}, column {left} leaves the image of {size_hw}")
    try:
        runs = np.array([int(run) for run in element.get("rle", "").split(",")])
    except (ValueError, OverflowError):
        raise ValueError(f"expected rle as whole numbers with commas, got {element.get('rle', '')[:40]!r}") from None
    if runs.min() < 0 or runs.max() > width * height or runs.sum() != width * height:
        raise ValueError(f"the runs of a mask sum to {runs.sum()} pixels, expected {height} x {width}")
    full = np.zeros(size_hw, bool)
    full[top : top + height, left : left + width] = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width)
    return ops.encode(full) if full.any() else None


def _points(element: ElementTree.Element) -> tuple[float, ...]:
    """x, y alternating: two corners of a box, all points of a polygon."""
    if element.tag == "box":
        text = ";".join(",".join(element.get(key, "") for key in pair) for pair in (("xtl", "ytl"), ("xbr", "ybr")))
    else:
        text = element.get("points", "")
    try:
        return tuple(float(side) for point in text.split(";") for side in point.split(","))
    except ValueError:
        raise ValueError(f"expected points as x,y;x,y, got {text[:40]!r}") from None


def _points_rle(points: Sequence[float], is_box: bool, rotation: float, size_hw: tuple[int, int]) -> RLE | None:
    if is_box and not rotation:
        rle = rectangle(points, size_hw)
    else:
        rle = mask_json.from_polygons([_corners(points, rotation) if is_box else list(points)], size_hw)
    return rle if ops.areas([rle])[0] else None


def _corners(box_xyxy: Sequence[float], rotation: float) -> list[float]:
    """The corners of a box that is turned about its centre, clockwise in the image, as a polygon."""
    x1, y1, x2, y2 = box_xyxy
    x, y, w, h = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2
    cos, sin = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    corners = [(a * w, b * h) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    return [side for a, b in corners for side in (x + a * cos - b * sin, y + a * sin + b * cos)]


# --- numbers of frames


def _counted_from_0(tasks: Sequence[_CvatTask], where: str) -> list[_CvatTask]:
    """The tasks of one file with the frames of their tracks counted from 0.

    Raises: ValueError where the frames are neither numbers as CVAT counts nor counted from 0 in each task.
    """
    cvat = [(task.before + task.start, task.step) for task in tasks]
    of_task = [(task.start, task.step) for task in tasks]
    for rule in (cvat, of_task, [(0, 1)] * len(tasks)):
        wrong = [_unexpected_frame(task, *numbers) for task, numbers in zip(tasks, rule, strict=True)]
        if all(frame is None for frame in wrong):
            return [_renumbered(task, *numbers) for task, numbers in zip(tasks, rule, strict=True)]
    faults = ((task, *numbers, _unexpected_frame(task, *numbers)) for task, numbers in zip(tasks, cvat, strict=True))
    task, first, step, frame = next(fault for fault in faults if fault[3] is not None)
    last = f" to {first + step * (task.length - 1)}" if task.length else " on"
    steps = f" in steps of {step}" if step > 1 else ""
    raise ValueError(f"{where}: expected frames from {first}{last}{steps} of task {task.name!r}, got {frame}")


def _unexpected_frame(task: _CvatTask, first: int, step: int) -> int | None:
    """A visible frame that is not among the task's; CVAT may state an end, outside, just behind the last one."""
    stop = first + step * task.length if task.length else None
    for track in task.tracks:
        for frame, shapes in track.shapes.items():
            inside = frame >= first and (frame - first) % step == 0 and (stop is None or frame < stop)
            if not inside and not all(shape.outside for shape in shapes):
                return frame
    return None


def _renumbered(task: _CvatTask, first: int, step: int) -> _CvatTask:
    tracks = []
    for track in task.tracks:
        shapes = {(frame - first) // step: group for frame, group in track.shapes.items() if frame >= first}
        tracks.append(track._replace(shapes=shapes))
    last = max((frame for track in tracks for frame in track.shapes), default=0)
    return replace(task, tracks=tracks, length=task.length or last + 1, start=first, step=step, before=0)


# --- videos


def _label_of(task: _CvatTask, export: _CvatExport) -> str:
    """A name for the task's video."""
    return task.name or PurePosixPath(task.folder).name or Path(export.path).stem


def _video_like(task: _CvatTask, like: Dataset) -> VideoInfo | None:
    names = (task.name, PurePosixPath(task.name).stem)
    return next((video for video in like.videos.values() if video.name in names), None)


def _tracked_videos(export: _CvatExport, categories: dict[int, str]) -> list[VideoResult]:
    """The tasks for video, in the order of the files."""
    tasks = [task for task in export.tasks if task.size_hw and not task.images]
    names, videos = Counter[str](), []
    for task in tasks:
        name, size_hw = _label_of(task, export), task.size_hw or (0, 0)
        names[name] += 1
        name = f"{name}-{names[name]}" if names[name] > 1 else name
        files = [_frame_name(task, t, name, export) for t in range(task.length)]
        info = VideoInfo(len(videos) + 1, size_hw[1], size_hw[0], task.length, tuple(files))
        if export.like is not None:
            info = _video_like(task, export.like)
            if info is None:
                export.counts[f"videos that {export.like.path} does not have were left out"] += 1
                continue
            if (info.size_hw, info.length) != (size_hw, task.length):
                raise ValueError(
                    f"{export.path}: expected {info.length} frames of {info.size_hw} as {export.like.path} has, got "
                    f"{task.length} of {size_hw}"
                )
            name = info.name
        tracks = _tracks(task, export, categories)
        videos.append(make_video(info.id, name, info.size_hw, info.file_names, categories, tracks))
    if tasks and not videos and export.like is not None:
        raise ValueError(f"{export.path}: {export.like.path} has no video of the task's name {tasks[0].name!r}")
    return videos


def _frame_name(task: _CvatTask, frame: int, name: str, export: _CvatExport) -> str:
    stated = f"frame_{task.start + frame * task.step:06d}"
    return find_image(export.files, task.folder, task.subset, stated) or f"{name}/frame_{frame:06d}.jpg"


def _tracks(task: _CvatTask, export: _CvatExport, categories: dict[int, str]) -> list[Track]:
    tracks, used = [], {track.id for track in task.tracks}
    seen: set[int] = set()
    for track in task.tracks:
        id = track.id
        if id in seen:
            id = max(used) + 1
            used.add(id)
            export.counts["tracks with the id of another one got a new id"] += 1
        seen.add(id)
        frames = _with_interpolated(track, task, export.counts)
        if frames:
            tracks.append(_make_track(id, track.label, frames, task.length, categories))
        else:
            export.counts["tracks without a visible shape were left out"] += 1
    return tracks


def _with_interpolated(track: _CvatTrack, task: _CvatTask, counts: Counter[str]) -> dict[int, list[_CvatShape]]:
    """Frame -> visible shapes, with those between keyframes."""
    visible = {t: [shape for shape in group if not shape.outside] for t, group in track.shapes.items()}
    # A shape that has left the image is still a keyframe.
    inside = {t: [shape for shape in group if shape.rle is not None] for t, group in visible.items()}
    frames = {t: group for t, group in inside.items() if group and t < task.length}
    parts = sum(len(group) - 1 for group in frames.values())
    counts["further shapes of a track in the same frame were united with the first"] += parts
    for start, end in pairwise(visible):
        missing = (end - start - 1) if visible[start] else 0
        if not missing:
            continue
        between = _interpolate(track.shapes[start], track.shapes[end], end - start, task.size_hw or (0, 0))
        frames |= {start + t: [shape] for t, shape in enumerate(between, 1) if shape.rle is not None}
        if between:
            counts["boxes and polygons between keyframes were interpolated linearly"] += missing
        else:
            counts["frames between keyframes of masks or unequal polygons were left empty"] += missing
    last = max(visible, default=0)
    if frames and visible[last] and last < task.length - 1:
        counts['tracks end before the video without outside="1": nothing was added behind their last shape'] += 1
    return dict(sorted(frames.items()))


def _interpolate(
    start: Sequence[_CvatShape], end: Sequence[_CvatShape], distance: int, size_hw: tuple[int, int]
) -> list[_CvatShape]:
    """The shapes between two keyframes: of a box or of polygons of equal length; none for anything else."""
    (first, *more), (second, *others) = start, end
    a, b = first.points, second.points
    if more or others or a is None or b is None or len(a) != len(b) or first.is_box != second.is_box:
        return []
    turn = (second.rotation - first.rotation + 180) % 360 - 180
    shapes = []
    for t in range(1, distance):
        share = t / distance
        points = tuple((1 - share) * x + share * y for x, y in zip(a, b, strict=True))
        rotation = first.rotation + share * turn
        rle = _points_rle(points, first.is_box, rotation, size_hw)
        shapes.append(first._replace(points=points, rotation=rotation, rle=rle))
    return shapes


def _image_videos(export: _CvatExport, categories: dict[int, str], tracked: int) -> Iterator[VideoResult]:
    """The tasks for images. tracked: number of the videos before them.

    Raises: ValueError, before the first video, for an image that stands there twice, or if `like` has none of them.
    """
    groups, images = _image_groups(export)
    if not images:
        return iter(())
    if export.like is None:
        videos = []
        for id, (name, files) in enumerate(groups.values(), tracked + 1):
            height, width = images[files[0]].size_hw
            videos.append((VideoInfo(id, width, height, len(files), tuple(files)), name))
    else:
        like = export.like
        videos = [(info, info.name) for info in like.videos.values()]
        unknown = images.keys() - {name for info in like.videos.values() for name in info.file_names}
        if unknown:
            export.notes.append(f"{len(unknown)} images that {like.path} does not have were left out")
        if len(unknown) == len(images):
            example = next(iter(images))
            raise ValueError(f"{export.path}: none of its {len(images)} images ({example}, …) is in {like.path}")
    return (_image_video(export.path, info, name, images, categories) for info, name in videos)


def _image_groups(export: _CvatExport) -> tuple[dict[tuple[int, str], tuple[str, list[str]]], dict[str, _CvatImage]]:
    """(task, folder) -> name of the video and names of its files, and the image of each file."""
    tasks = [task for task in export.tasks if task.images]
    known = {name for info in (export.like.videos.values() if export.like else ()) for name in info.file_names}
    images: dict[str, _CvatImage] = {}
    groups: dict[tuple[int, str], tuple[str, list[str]]] = {}
    for number, task in enumerate(tasks):
        for image in sorted(task.images, key=lambda image: image.id):
            # Images of several tasks may have the same name: those of videos have the frame's number only.
            apart = image.name if len(tasks) == 1 else f"{_label_of(task, export)}/{image.name}"
            file = find_image(export.files, task.folder, task.subset, image.name) or apart
            file = image.name if image.name in known and file not in known else file
            if file in images:
                raise ValueError(f"{export.path}: expected every image once, got {file!r} twice")
            images[file] = image
            folder = str(PurePosixPath(image.name).parent)
            name = _label_of(task, export) if folder == "." else PurePosixPath(folder).name
            groups.setdefault((number, folder), (name, []))[1].append(file)
    return groups, images


def _image_video(
    path: str | os.PathLike, info: VideoInfo, name: str, images: dict[str, _CvatImage], categories: dict[int, str]
) -> VideoResult:
    tracks: dict[str, dict[int, list[_CvatShape]]] = {}
    untracked = 0
    for frame, file in enumerate(info.file_names):
        image = images.get(file)
        if image is not None and image.size_hw != info.size_hw:
            raise ValueError(f"{path}, image {file!r}: expected {info.size_hw} as its video has, got {image.size_hw}")
        for shape in image.shapes if image else ():
            untracked += shape.track is None
            key = f"untracked {untracked}" if shape.track is None else shape.track
            tracks.setdefault(key, {}).setdefault(frame, []).append(shape)
    # the number in track_id, else the next free one
    ids = {key: int(key) for key in tracks if key.isdecimal()}
    last_id = max(ids.values(), default=0)
    for key in tracks:
        if key not in ids:
            ids[key] = last_id = last_id + 1
    results = []
    for key, frames in tracks.items():
        labels = list(dict.fromkeys(shape.label for group in frames.values() for shape in group))
        if len(labels) > 1:
            where = f"{path}: track {ids[key]} of video {name!r}"
            raise ValueError(f"{where}: expected one label, got {labels[0]!r} and {labels[1]!r}")
        results.append(_make_track(ids[key], labels[0], frames, info.length, categories))
    return make_video(info.id, name, info.size_hw, info.file_names, categories, results)


def _make_track(
    id: int, label: str, frames: Mapping[int, Sequence[_CvatShape]], length: int, categories: dict[int, str]
) -> Track:
    category = next(number for number, name in categories.items() if name == label)
    first = next(shape for group in frames.values() for shape in group)
    masks = {t: [FrameMask(shape.rle) for shape in group if shape.rle is not None] for t, group in frames.items()}
    return make_track(id, category, length, masks, first.score, first.iscrowd)
