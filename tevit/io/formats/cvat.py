"""CVAT's XML for images, version 1.1, with masks: CVAT imports masks image by image, so identities are an attribute.

A <mask> holds the mask's box (left, top, width, height) and, in `rle`, the lengths of the runs inside that box, row by
row, background first. Source: CVAT's documentation of the format and its issue 6487.
"""

import os
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from tevit.io import json as jsonfile
from tevit.io.files import atomic
from tevit.io.ytvis import FPS, Dataset, VideoInfo, frame_names
from tevit.masks import json as segmentations
from tevit.masks import ops as masks
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
                label, crowd = quoteattr(result.categories[track.category_id]), int(track.iscrowd)
                left, top, right, bottom = (int(edge) for edge in masks.to_box_xyxy(rle))
                runs = ", ".join(map(str, run_lengths(masks.decode_within(rle, (left, top, right, bottom))).tolist()))
                yield (
                    f'<mask label={label} source="manual" occluded="0" rle="{runs}" left="{left}" top="{top}" '
                    f'width="{right - left}" height="{bottom - top}" z_order="0">'
                )
                for name, value in zip((TRACK, CROWD, SCORE), (track.id, crowd, track.score), strict=True):
                    yield f'<attribute name="{name}">{value}</attribute>'
                yield "</mask>\n"
        yield "</image>\n"


def run_lengths(mask: np.ndarray) -> np.ndarray:
    """int64: run lengths of a mask, (H, W), row by row, background first."""
    flat = np.concatenate([[0], mask.ravel() != 0])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], edges, [mask.size]]))


class _CvatMask(NamedTuple):
    """One mask of one image. track: the value of its attribute, None if it has none."""

    label: str
    rle: RLE
    track: str | None
    iscrowd: bool
    score: float


class _CvatImage(NamedTuple):
    id: int
    name: str
    size_hw: tuple[int, int]
    shapes: list[_CvatMask]


class _CvatFile(NamedTuple):
    labels: list[str]
    images: list[_CvatImage]
    notes: list[str]


def read(path: str | os.PathLike, like: Dataset | None = None) -> tuple[Iterator[VideoResult], list[str]]:
    """The videos of a CVAT file, or of the zip archive that CVAT exports, and notes on what was left out or added.

    Images of one folder are one video, in the order of their ids. Masks and polygons are read; those of one track_id in
    one image are united. like: a data set whose videos, frames and categories, found by name, give ids and places.

    Raises: OSError or ValueError where the file cannot be read or a mask does not fit its image.
    """
    content = _parse(path)
    if like is None:
        folders: dict[str, list[_CvatImage]] = {}
        for image in sorted(content.images, key=lambda image: image.id):
            folders.setdefault(str(PurePosixPath(image.name).parent), []).append(image)
        videos = [
            VideoInfo(id, group[0].size_hw[1], group[0].size_hw[0], len(group), tuple(image.name for image in group))
            for id, group in enumerate(folders.values(), 1)
        ]
        categories = dict(enumerate(content.labels, 1))
    else:
        videos = like.videos.values()
        categories = dict(like.categories)
        for name in content.labels:
            if name not in categories.values():
                number = max(categories, default=0) + 1
                categories[number] = name
                content.notes.append(f"the label {name!r} is no category of {like.path}: it became number {number}")
    images = {image.name: image for image in content.images}
    known = {name for info in videos for name in info.file_names}
    if unknown := images.keys() - known:
        content.notes.append(f"{len(unknown)} images that {like.path if like else path} does not have were left out")
    return (_video(path, info, images, categories) for info in videos), content.notes


def _parse(path: str | os.PathLike) -> _CvatFile:
    content, left_out = _CvatFile([], [], []), Counter[str]()
    try:
        with ExitStack() as stack:
            if zipfile.is_zipfile(path):
                file = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(MEMBER))
            else:
                file = stack.enter_context(open(path, "rb"))
            for _, element in ElementTree.iterparse(file):
                if element.tag == "label" and element.findtext("name"):
                    content.labels.append(element.findtext("name", ""))
                elif element.tag == "track":
                    left_out["track"] += 1
                elif element.tag == "image":
                    content.images.append(_image(element, path, left_out))
                    element.clear()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: malformed XML: {error}") from None
    if not content.images:
        export = "CVAT for video" if left_out["track"] else "something else"
        raise ValueError(f"{path}: expected an export as CVAT for images, with image elements, found {export}")
    shapes = [shape for image in content.images for shape in image.shapes]
    content.labels.extend(dict.fromkeys(shape.label for shape in shapes if shape.label not in content.labels))
    untracked = sum(shape.track is None for shape in shapes)
    for tag, count in left_out.items():
        content.notes.append(f"{count} {tag} elements were left out: only masks and polygons are read")
    content.notes.extend([f"{untracked} masks have no {TRACK}: each became a track of one frame"] if untracked else [])
    return content


def _image(element: ElementTree.Element, path: str | os.PathLike, left_out: Counter[str]) -> _CvatImage:
    name = element.get("name", "")
    where = f"{path}, image {name!r}"
    id, height, width = (_whole(element, key, where) for key in ("id", "height", "width"))
    shapes: list[_CvatMask] = []
    for child in element:
        if child.tag not in ("mask", "polygon"):
            left_out[child.tag] += 1
            continue
        try:
            rle = (_mask_rle if child.tag == "mask" else _polygon_rle)(child, (height, width), where)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if rle is not None:
            values = {item.get("name"): (item.text or "").strip() for item in child.iter("attribute")}
            crowd, score = values.get(CROWD, "").lower() in ("1", "true"), float(values.get(SCORE) or 1)
            shapes.append(_CvatMask(child.get("label", ""), rle, values.get(TRACK) or None, crowd, score))
    return _CvatImage(id, name, (height, width), shapes)


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
    return masks.encode(full) if full.any() else None


def _polygon_rle(element: ElementTree.Element, size_hw: tuple[int, int], where: str) -> RLE | None:
    try:
        points = [float(side) for point in element.get("points", "").split(";") for side in point.split(",")]
    except ValueError:
        raise ValueError(f"expected points as x,y;x,y, got {element.get('points', '')[:40]!r}") from None
    rle = segmentations.from_polygons([points], size_hw)
    return rle if masks.areas([rle])[0] else None


def _video(
    path: str | os.PathLike, info: VideoInfo, images: dict[str, _CvatImage], categories: dict[int, str]
) -> VideoResult:
    tracks: dict[str, dict[int, list[_CvatMask]]] = {}
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
    names = {name: id for id, name in reversed(categories.items())}
    results = tuple(_track(path, ids[key], frames, info, names) for key, frames in tracks.items())
    times = np.arange(info.length) / FPS
    return VideoResult(info.id, info.name, info.size_hw, times, categories, results, info.file_names)


def _track(
    path: str | os.PathLike, id: int, frames: dict[int, list[_CvatMask]], info: VideoInfo, names: dict[str, int]
) -> Track:
    shapes = [shape for group in frames.values() for shape in group]
    labels = list(dict.fromkeys(shape.label for shape in shapes))
    if len(labels) > 1:
        where = f"{path}: track {id} of video {info.name!r}"
        raise ValueError(f"{where}: expected one label, got {labels[0]!r} and {labels[1]!r}")
    rles = [masks.union([shape.rle for shape in frames[t]]) if t in frames else None for t in range(info.length)]
    return Track(
        id=id,
        category_id=names[labels[0]],
        score=shapes[0].score,
        rles=tuple(rles),
        boxes_xyxy=masks.to_boxes_xyxy(rles),
        areas=masks.areas(rles),
        iscrowd=shapes[0].iscrowd,
    )
