"""CVAT's XML, version 1.1: for images, where identities are an attribute, and for video, where they are tracks.

A <mask> holds the mask's box (left, top, width, height) and, in `rle`, the lengths of the runs inside that box, row by
row, background first. Source: CVAT's documentation of the format and its issue 6487.
"""

import os
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, islice, pairwise
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from tevit.io import json as jsonfile
from tevit.io.files import atomic
from tevit.io.formats.tracks import FrameMask, make_track, make_video, rectangle, unique_name
from tevit.io.ytvis import Dataset, VideoInfo, forward_slashes, frame_names
from tevit.masks import json as mask_json
from tevit.masks import ops
from tevit.results import RLE, Track, VideoResult

MEMBER = "annotations.xml"
"""The file's name in the zip archives that CVAT exports."""
TRACK, CROWD, SCORE = "track_id", "iscrowd", "score"


def write(path: str | os.PathLike, results: Iterable[VideoResult]) -> list[Path]:
    """Write videos as CVAT's XML for images, one in memory at a time, and NAME.labels.json in the same folder.

    The labels, with attributes for track, crowd and score, are for the "Raw" tab of a new CVAT task's label editor:
    CVAT imports only masks whose labels the task has. All videos' frames are images of one task.
    """
    labels: dict[str, None] = {}
    target = Path(path)
    labels_file = target.with_name(f"{target.stem}.labels.json")
    count = 0
    with atomic(target) as temporary, open(temporary, "w+", encoding="utf-8") as file:
        # The labels stand before the images but are known only after the last one, so images go to a second file.
        with tempfile.TemporaryFile("w+", encoding="utf-8", dir=temporary.parent) as images:
            for result in results:
                labels |= dict.fromkeys(result.categories.values())
                images.writelines(_images(result, count))
                count += result.length
            file.write(f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n{_meta(list(labels), count)}')
            images.seek(0)
            shutil.copyfileobj(images, file)
        file.write("</annotations>\n")
    with atomic(labels_file) as temporary:
        attribute = {"mutable": False, "input_type": "text", "default_value": "", "values": [""]}
        attributes = [{"name": name} | attribute for name in (TRACK, CROWD, SCORE)]
        content = [{"name": name, "attributes": attributes} for name in labels]
        temporary.write_text(jsonfile.dump_pretty(content) + "\n", encoding="utf-8")
    return [target, labels_file]


def _meta(labels: list[str], count: int) -> str:
    inner = "".join(
        f"<label><name>{escape(name)}</name><type>mask</type><attributes>"
        + "".join(
            f"<attribute><name>{attribute}</name><mutable>False</mutable><input_type>text</input_type>"
            "<default_value></default_value><values></values></attribute>"
            for attribute in (TRACK, CROWD, SCORE)
        )
        + "</attributes></label>\n"
        for name in labels
    )
    return (
        f"<version>1.1</version>\n<meta><task><size>{count}</size><mode>annotation</mode>"
        f"<labels>\n{inner}</labels></task></meta>\n"
    )


def _images(result: VideoResult, first: int) -> Iterator[str]:
    height, width = result.size_hw
    for frame, name in enumerate(frame_names(result)):
        yield f'<image id="{first + frame}" name={quoteattr(name)} width="{width}" height="{height}">\n'
        for track in result.tracks:
            if (rle := track.rles[frame]) is not None:
                label = quoteattr(result.categories[track.category_id])
                yield _mask_element(rle, track, f'label={label} source="manual"')
        yield "</image>\n"


def _mask_element(rle: RLE, track: Track, head: str) -> str:
    left, top, right, bottom = (int(edge) for edge in ops.to_box_xyxy(rle))
    runs = run_lengths(ops.decode_within(rle, (left, top, right, bottom)))
    values = {TRACK: track.id, CROWD: int(track.iscrowd), SCORE: track.score}
    attributes = "".join(f'<attribute name="{name}">{value}</attribute>' for name, value in values.items())
    return (
        f'<mask {head} occluded="0" rle="{", ".join(map(str, runs.tolist()))}" left="{left}" top="{top}" '
        f'width="{right - left}" height="{bottom - top}" z_order="0">{attributes}</mask>\n'
    )


def run_lengths(mask: np.ndarray) -> np.ndarray:
    """int64: run lengths of a mask, (H, W), row by row, background first."""
    flat = np.concatenate([[0], mask.ravel() != 0])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], edges, [mask.size]]))


class _CvatShape(NamedTuple):
    """One shape of one image or frame. track: its attribute track_id, None if it has none; outside: CVAT's absence.

    points: of a box its corners, of a polygon x, y alternating; None for a mask, whose pixels are `rle`.
    """

    label: str
    rle: RLE | None
    points: tuple[float, ...] | None
    is_box: bool
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
    """One track of CVAT for video. keyframes: frame -> shape, also of the frames that CVAT has interpolated itself."""

    id: int
    label: str
    keyframes: dict[int, _CvatShape]


class _CvatFile(NamedTuple):
    """meta: the task's name, size (frames), start_frame, width and height, as far as they are stated."""

    labels: list[str]
    images: list[_CvatImage]
    tracks: list[_CvatTrack]
    meta: dict[str, str]
    notes: list[str]


def read(path: str | os.PathLike, like: Dataset | None = None) -> tuple[Iterator[VideoResult], list[str]]:
    """The videos of a CVAT file, or of the zip archive that CVAT exports, and notes on what was left out or added.

    Masks, polygons and boxes (as masks of the whole rectangle) are read. For images: images of one folder are one
    video, in the order of their ids; shapes of one track_id in one image are united. For video: one video; between
    keyframes boxes and polygons of equal length are interpolated, as CVAT does. like: a data set whose videos, frames
    and categories, found by name, give ids and places.

    Raises: OSError or ValueError where the file cannot be read or a mask does not fit its image.
    """
    content = _parse(path)
    categories = dict(enumerate(content.labels, 1)) if like is None else dict(like.categories)
    for name in content.labels:
        if name not in categories.values():
            number = max(categories, default=0) + 1
            categories[number] = name
            content.notes.append(
                f"the label {name!r} is no category of {like and like.path}: it became number {number}"
            )
    if not content.images:
        return iter([_tracked_video(path, content, categories, like)]), content.notes
    videos = _by_folder(content.images) if like is None else like.videos.values()
    images = {image.name: image for image in content.images}
    known = {name for info in videos for name in info.file_names}
    if unknown := images.keys() - known:
        content.notes.append(f"{len(unknown)} images that {like.path if like else path} does not have were left out")
    if len(unknown) == len(images):
        example = next(iter(images))
        raise ValueError(f"{path}: none of its {len(images)} images ({example}, …) is in {like.path if like else path}")
    return (_video(path, info, images, categories) for info in videos), content.notes


def _by_folder(images: list[_CvatImage]) -> list[VideoInfo]:
    folders: dict[str, list[_CvatImage]] = {}
    for image in sorted(images, key=lambda image: image.id):
        folders.setdefault(str(PurePosixPath(image.name).parent), []).append(image)
    return [
        VideoInfo(id, group[0].size_hw[1], group[0].size_hw[0], len(group), tuple(image.name for image in group))
        for id, group in enumerate(folders.values(), 1)
    ]


def _parse(path: str | os.PathLike) -> _CvatFile:
    content, counts = _CvatFile([], [], [], {}, []), Counter[str]()
    try:
        with _opened(path) as file:
            for _, element in ElementTree.iterparse(file):
                if element.tag == "label" and element.findtext("name"):
                    content.labels.append(element.findtext("name", ""))
                elif element.tag == "meta":
                    content.meta.update(_meta_values(element))
                elif element.tag == "track":
                    content.tracks.append(_track_element(element, path, content.meta, counts))
                    element.clear()
                elif element.tag == "image":
                    content.images.append(_image(element, path, counts))
                    element.clear()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: malformed XML: {error}") from None
    if not content.images and not content.tracks and "width" not in content.meta:
        raise ValueError(f"{path}: expected an export of CVAT with image or track elements, found neither")
    shapes = [shape for image in content.images for shape in image.shapes]
    used = [shape.label for shape in shapes] + [track.label for track in content.tracks]
    content.labels.extend(dict.fromkeys(label for label in used if label not in content.labels))
    untracked = sum(shape.track is None for shape in shapes)
    boxes = counts.pop("box", 0)
    for tag, count in counts.items():
        content.notes.append(f"{count} {tag} elements were left out: only masks, polygons and boxes are read")
    content.notes.extend([f"{boxes} boxes became masks of their whole rectangle"] if boxes else [])
    content.notes.extend([f"{untracked} masks have no {TRACK}: each became a track of one frame"] if untracked else [])
    return content


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive, archive.open(member_of(archive) or MEMBER) as file:
        yield file


def member_of(archive: zipfile.ZipFile) -> str | None:
    """The archive's annotations.xml, in whatever folder; None if there is none.

    Raises: ValueError for several, as in an archive of several tasks, of which only one would be read.
    """
    names = [name for name in archive.namelist() if PurePosixPath(name).name == MEMBER]
    if len(names) > 1:
        more = ", …" if len(names) > 3 else ""
        raise ValueError(
            f"{archive.filename}: expected one {MEMBER}, found {len(names)} ({', '.join(names[:3])}{more}): "
            "unpack the archive and convert each file"
        )
    return names[0] if names else None


def _image(element: ElementTree.Element, path: str | os.PathLike, counts: Counter[str]) -> _CvatImage:
    name = forward_slashes(element.get("name", ""))
    where = f"{path}, image {name!r}"
    id, height, width = (_whole(element, key, where) for key in ("id", "height", "width"))
    shapes = [_shape(child, (height, width), where, counts) for child in element]
    return _CvatImage(id, name, (height, width), [shape for shape in shapes if shape is not None])


def _shape(
    element: ElementTree.Element, size_hw: tuple[int, int], where: str, counts: Counter[str]
) -> _CvatShape | None:
    """A shape; None for one of another kind, counted in `counts`, and for one without pixels."""
    if element.tag not in ("mask", "polygon", "box"):
        counts[element.tag] += 1
        return None
    counts["box"] += element.tag == "box"
    points = None
    try:
        if element.tag == "mask":
            rle = _mask_rle(element, size_hw, where)
        else:
            points = _points(element)
            rle = _points_rle(points, element.tag == "box", size_hw)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    values = {child.get("name"): (child.text or "").strip() for child in element.iter("attribute")}
    outside = element.get("outside") == "1"
    if rle is None and not outside:
        return None
    return _CvatShape(
        element.get("label", ""), rle, points, element.tag == "box", values.get(TRACK) or None,
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


def _points_rle(points: Sequence[float], is_box: bool, size_hw: tuple[int, int]) -> RLE | None:
    rle = rectangle(points, size_hw) if is_box else mask_json.from_polygons([list(points)], size_hw)
    return rle if ops.areas([rle])[0] else None


def _video(
    path: str | os.PathLike, info: VideoInfo, images: dict[str, _CvatImage], categories: dict[int, str]
) -> VideoResult:
    tracks: dict[str, dict[int, list[_CvatShape]]] = {}
    untracked = 0
    for frame, name in enumerate(info.file_names):
        image = images.get(name)
        if image is not None and image.size_hw != info.size_hw:
            raise ValueError(f"{path}, image {name!r}: expected {info.size_hw} as its video has, got {image.size_hw}")
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
            where = f"{path}: track {ids[key]} of video {info.name!r}"
            raise ValueError(f"{where}: expected one label, got {labels[0]!r} and {labels[1]!r}")
        results.append(_make_track(ids[key], labels[0], frames, info.length, categories))
    return make_video(info.id, info.name, info.size_hw, info.file_names, categories, results)


def _make_track(
    id: int, label: str, frames: Mapping[int, Sequence[_CvatShape]], length: int, categories: dict[int, str]
) -> Track:
    category = next(number for number, name in categories.items() if name == label)
    first = next(shape for group in frames.values() for shape in group)
    masks = {t: [FrameMask(shape.rle) for shape in group if shape.rle is not None] for t, group in frames.items()}
    return make_track(id, category, length, masks, first.score, first.iscrowd)


# --- CVAT for video


def _meta_values(meta: ElementTree.Element) -> dict[str, str]:
    """The task's name, size (frames), start_frame, width and height, as far as they are stated."""
    keys = ("name", "size", "start_frame", "original_size/width", "original_size/height", "source")
    values = {key.rpartition("/")[2]: text for key in keys if (text := meta.findtext(f".//{key}"))}
    name = meta.findtext("task/name") or meta.findtext("job/name") or values.get("source")
    return values | ({"name": name} if name else {})


def _track_element(
    element: ElementTree.Element, path: str | os.PathLike, meta: dict[str, str], counts: Counter[str]
) -> _CvatTrack:
    id = _whole(element, "id", f"{path}, a track")
    where = f"{path}, track {id}"
    if not meta.get("width", "").isdigit() or not meta.get("height", "").isdigit():
        raise ValueError(f"{path}: expected meta/task/original_size before the tracks, found none")
    size_hw = (int(meta["height"]), int(meta["width"]))
    keyframes: dict[int, _CvatShape] = {}
    for child in element:
        frame = _whole(child, "frame", where) - int(meta.get("start_frame", 0))
        shape = _shape(child, size_hw, f"{where}, frame {frame}", counts)
        if shape is not None:
            keyframes[frame] = shape
    return _CvatTrack(id, element.get("label", ""), dict(sorted(keyframes.items())))


def _tracked_video(
    path: str | os.PathLike, content: _CvatFile, categories: dict[int, str], like: Dataset | None
) -> VideoResult:
    size_hw = (int(content.meta["height"]), int(content.meta["width"]))
    last = max((frame for track in content.tracks for frame in track.keyframes), default=0)
    length = max(int(content.meta.get("size", 0)), last + 1)
    name = PurePosixPath(forward_slashes(content.meta.get("name", Path(path).stem))).name
    info = VideoInfo(1, size_hw[1], size_hw[0], length, tuple(f"{name}/frame_{t:06d}.jpg" for t in range(length)))
    if like is not None:
        info = next((video for video in like.videos.values() if video.name in (name, PurePosixPath(name).stem)), None)
        if info is None:
            raise ValueError(f"{path}: {like.path} has no video of the task's name {name!r}")
        if (info.size_hw, info.length) != (size_hw, length):
            raise ValueError(
                f"{path}: expected {info.length} frames of {info.size_hw} as {like.path} has, got {length} of {size_hw}"
            )
    tracks, interpolated, gaps = [], 0, 0
    for track in content.tracks:
        frames = {t: [shape] for t, shape in track.keyframes.items() if not shape.outside}
        for start, end in pairwise(track.keyframes):
            between = _interpolate(track.keyframes[start], track.keyframes[end], end - start, size_hw)
            frames |= {start + t: [shape] for t, shape in enumerate(between, 1)}
            interpolated += len(between)
            gaps += (end - start - 1 - len(between)) * (not track.keyframes[start].outside)
        if frames:
            tracks.append(_make_track(track.id, track.label, dict(sorted(frames.items())), length, categories))
    if interpolated:
        content.notes.append(f"{interpolated} boxes and polygons between keyframes were interpolated linearly")
    if gaps:
        content.notes.append(f"{gaps} frames between keyframes of masks or unequal polygons were left empty")
    return make_video(info.id, info.name, size_hw, info.file_names, categories, tracks)


def _interpolate(start: _CvatShape, end: _CvatShape, distance: int, size_hw: tuple[int, int]) -> list[_CvatShape]:
    """The shapes between two keyframes: of a box or of polygons of equal length; none for anything else."""
    a, b = start.points, end.points
    if start.outside or a is None or b is None or len(a) != len(b) or start.is_box != end.is_box:
        return []
    shapes = []
    for t in range(1, distance):
        points = tuple((1 - t / distance) * x + t / distance * y for x, y in zip(a, b, strict=True))
        shapes.append(start._replace(points=points, rle=_points_rle(points, start.is_box, size_hw)))
    return shapes


def write_video(path: str | os.PathLike, results: Iterable[VideoResult]) -> list[Path]:
    """Write each video as CVAT's XML for video; several videos get NAME.<video>.xml each. Returns the files."""
    target, results = Path(path), iter(results)
    pending, names, files = list(islice(results, 2)), set[str](), list[Path]()
    with ExitStack() as stack:  # all files are renamed at the end, or none
        for result in chain(pending, results):
            file = target
            if len(pending) > 1:
                file = target.with_name(f"{target.stem}.{unique_name(result, names)}{target.suffix}")
            with open(stack.enter_context(atomic(file)), "w", encoding="utf-8") as out:
                out.writelines(_task_lines(result))
            files.append(file)
    return files


def _task_lines(result: VideoResult) -> Iterator[str]:
    height, width = result.size_hw
    labels = "".join(f"<label><name>{escape(name)}</name></label>\n" for name in result.categories.values())
    yield (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task>'
        f"<name>{escape(result.name)}</name><size>{result.length}</size><mode>interpolation</mode>"
        f"<start_frame>0</start_frame><stop_frame>{result.length - 1}</stop_frame><labels>\n{labels}</labels>"
        f"<original_size><width>{width}</width><height>{height}</height></original_size></task></meta>\n"
    )
    for track in result.tracks:
        yield from _track_lines(track, result.categories[track.category_id])
    yield "</annotations>\n"


def _track_lines(track: Track, label: str) -> Iterator[str]:
    yield f'<track id="{track.id}" label={quoteattr(label)} source="manual">\n'
    previous: RLE | None = None
    for frame, rle in enumerate(track.rles):
        # An absence is written as the last mask once more, outside.
        if (shown := rle or previous) is not None:
            yield _mask_element(shown, track, f'frame="{frame}" keyframe="1" outside="{int(rle is None)}"')
        previous = rle
    yield "</track>\n"
