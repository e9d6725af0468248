"""COCO JSON, one image per frame, for tools that work on single images; identities are in additional keys."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import PurePosixPath

import msgspec
import numpy as np

from tevit.boxes import xywh_to_xyxy, xyxy_to_xywh
from tevit.io import json as jsonfile
from tevit.io.files import atomic, files_inside, forward_slashes, natural_key, order_note
from tevit.io.formats.tracks import FrameMask, find_image, image_index, make_track, make_video
from tevit.io.json import Coordinate, FrameNumber, Side, WholeNumber
from tevit.io.ytvis import Category, VideoInfo, frame_names, merge_categories
from tevit.masks import json as mask_json
from tevit.masks import ops
from tevit.results import Track, VideoResult

_SUBSET = re.compile(r"instances_(.+?)\.json(\.gz)?")
"""Name of an annotation file of CVAT and Datumaro, below `annotations`; images are below `images/<subset>`."""


def write(path: str | os.PathLike, results: Iterable[VideoResult], tao: bool = False) -> list[str]:
    """Write videos as COCO, one in memory at a time: masks as run-length text, one annotation per track and frame.

    Images have video_id and frame_id (from 0), annotations track_id (also as an attribute, where CVAT and Datumaro look
    for it), those of predictions score. tao: with TAO's lists of videos and tracks, whose ids are unique in the file.
    Returns notes on what was changed.

    Raises: ValueError where two videos name one category differently.
    """
    categories: dict[int, str] = {}
    images: list[dict] = []
    videos: list[dict] = []
    tracks: list[dict] = []
    used: set[int] = set()
    count = renumbered = 0
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write(b'{"annotations":[')
        for result in results:
            merge_categories(categories, result.categories)
            first = len(images) + 1
            images.extend(_images(result, first))
            ids = {track.id: track.id for track in result.tracks}
            if tao:
                for id in ids:
                    ids[id] = id if id and id not in used else max(used, default=0) + 1
                    used.add(ids[id])
                    renumbered += ids[id] != id
                height, width = result.size_hw
                videos.append({"id": result.video_id, "name": result.name, "width": width, "height": height})
                entries = [(ids[track.id], track.category_id) for track in result.tracks]
                tracks += [{"id": id, "category_id": c, "video_id": result.video_id} for id, c in entries]
            for annotation in _annotations(result, first, ids):
                count += 1
                file.write((b",\n" if count > 1 else b"\n") + jsonfile.encode({"id": count} | annotation))
        names = [{"id": id, "name": name, "supercategory": "object"} for id, name in categories.items()]
        file.write(b'],\n"images":' + jsonfile.encode(images))
        if tao:
            file.write(b',\n"videos":' + jsonfile.encode(videos) + b',\n"tracks":' + jsonfile.encode(tracks))
        file.write(b',\n"categories":' + jsonfile.encode(names) + b"}\n")
    return [f"{renumbered} track ids that are 0 or that an earlier video has were renumbered"] if renumbered else []


def _images(result: VideoResult, first: int) -> Iterator[dict]:
    height, width = result.size_hw
    for frame, name in enumerate(frame_names(result)):
        yield {
            "id": first + frame,
            "file_name": name,
            "height": height,
            "width": width,
            "video_id": result.video_id,
            "frame_id": frame,
            "frame_index": frame,
        }


def _annotations(result: VideoResult, first: int, ids: dict[int, int]) -> Iterator[dict]:
    for track in result.tracks:
        boxes = xyxy_to_xywh(track.boxes_xyxy.astype(float))
        for frame, rle in enumerate(track.rles):
            if rle is not None:
                yield {
                    "image_id": first + frame,
                    "video_id": result.video_id,
                    "category_id": track.category_id,
                    "track_id": ids[track.id],
                    "attributes": {"track_id": ids[track.id]},
                    "segmentation": ops.to_json(rle),
                    "area": float(track.areas[frame]),
                    "bbox": boxes[frame].tolist(),
                    "iscrowd": int(track.iscrowd),
                } | ({} if track.score == 1 else {"score": track.score})


class _CocoImage(msgspec.Struct):
    id: WholeNumber
    width: Side
    height: Side
    file_name: str = ""
    video_id: WholeNumber | None = None
    frame_id: FrameNumber | None = None
    frame_index: FrameNumber | None = None  # TAO's name of frame_id

    def __post_init__(self) -> None:
        self.file_name = forward_slashes(self.file_name)
        self.frame_id = self.frame_index if self.frame_id is None else self.frame_id


_Identity = int | str | None
"""What marks the annotations of one track; None: a track of its own."""


def _identity(value: int | float | str | None) -> _Identity:
    """3, 3.0 and "3" mark the same track; an attribute that nobody has filled in, "", marks none."""
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    if value is None or not text:
        return None
    return int(text) if text.removeprefix("-").isdecimal() else text


class _CocoAttributes(msgspec.Struct):
    track_id: WholeNumber | float | str | None = None


class _CocoAnnotation(msgspec.Struct):
    id: WholeNumber
    image_id: WholeNumber
    category_id: WholeNumber
    segmentation: msgspec.Raw = msgspec.Raw(b"null")
    bbox: tuple[Coordinate, Coordinate, Coordinate, Coordinate] | None = None
    area: float | None = None
    iscrowd: WholeNumber | bool = 0
    track_id: WholeNumber | float | str | None = None
    instance_id: WholeNumber | float | str | None = None
    score: float = 1.0
    attributes: msgspec.Raw = msgspec.Raw(b"{}")

    def identity(self) -> _Identity:
        """The value of track_id, instance_id or CVAT's and Datumaro's attribute track_id, the first that is stated."""
        try:
            attribute = msgspec.json.decode(self.attributes, type=_CocoAttributes).track_id
        except msgspec.ValidationError:
            attribute = None
        identities = map(_identity, (self.track_id, self.instance_id, attribute))
        return next((identity for identity in identities if identity is not None), None)


class _CocoVideo(msgspec.Struct):
    id: WholeNumber
    name: str = ""


class _CocoFile(msgspec.Struct):
    images: list[_CocoImage]
    categories: list[Category]
    annotations: list[_CocoAnnotation] = []
    videos: list[_CocoVideo] = []


def members(path: str | os.PathLike) -> list[str]:
    """The annotation files, instances_<subset>.json, in a folder or archive as CVAT and Datumaro lay it out."""
    return [name for name in files_inside(path) if _SUBSET.fullmatch(PurePosixPath(name).name)]


def read(path: str | os.PathLike) -> tuple[Iterator[VideoResult], list[str]]:
    """The videos of a COCO file, or of all in a folder or archive, one in memory at a time, and notes.

    Images without video_id belong to the video of their folder; frames are in the order of frame_id (TAO: frame_index),
    else in natural order of their names. Identities are track_id, instance_id or the attribute track_id (CVAT,
    Datumaro); an annotation without any is a track of one frame. Of several files the videos are kept apart, under the
    names of their subsets, and categories are one by their names. Notes are complete after the last video.

    Raises: OSError or ValueError where the file cannot be read; faulty masks raise when their video is iterated.
    """
    categories: dict[int, str] = {}
    counts, notes = Counter[str](), list[str]()
    readers: list[_CocoReader] = []
    used: set[int] = set()
    for where, content in _contents(path):
        _unite_categories(content, categories, where, notes)
        videos = _videos(content, used, notes)
        used |= videos.keys()
        readers.append(_CocoReader(where, content, videos, counts))
    notes.extend(f"{count} {text}" for text, count in counts.items() if count)
    counts.clear()

    def results() -> Iterator[VideoResult]:
        for reader in readers:
            yield from reader.results(categories)
        notes.extend(f"{count} {text}" for text, count in counts.items())
        annotations = sum(len(reader.content.annotations) for reader in readers)
        if annotations and not any(reader.masks for reader in readers):
            raise ValueError(f"{path}: none of its {annotations} annotations has a mask")

    return results(), notes


def _contents(path: str | os.PathLike) -> Iterator[tuple[str, _CocoFile]]:
    """Each annotation file, and its place for messages; file names of its images are those below `images`."""
    names = members(path)
    if not names:
        yield str(path), jsonfile.decode(jsonfile.read(path), _CocoFile, path)
        return
    index = image_index(files_inside(path))
    for name in names:
        where = f"{path}, {name}"
        content: _CocoFile = jsonfile.decode(jsonfile.read_inside(path, name), _CocoFile, where)
        match = _SUBSET.fullmatch(PurePosixPath(name).name)
        subset, folder = match[1] if match else "", PurePosixPath(name).parent
        folder = folder.parent if folder.name == "annotations" else folder
        for image in content.images:
            place = find_image(index, "" if str(folder) == "." else str(folder), subset, image.file_name)
            image.file_name = place or (f"{subset}/{image.file_name}" if len(names) > 1 else image.file_name)
        yield where, content


def _unite_categories(content: _CocoFile, categories: dict[int, str], where: str, notes: list[str]) -> None:
    """Add the file's categories to those of the files before, which are the same where they have the same name.

    Raises: ValueError for an annotation of a category that the file does not list.
    """
    numbers = {}
    earlier = {name: id for id, name in categories.items()}
    for category in content.categories:
        id = earlier.get(category.name, category.id)
        if categories.get(id, category.name) != category.name:
            id = max(categories) + 1
        if id != category.id:
            notes.append(f"{where}: category {category.id} ({category.name!r}) became {id}, as files before count")
        numbers[category.id] = id
        categories[id] = category.name
    for annotation in content.annotations:
        if annotation.category_id not in numbers:
            raise ValueError(
                f"{where}: annotation {annotation.id}: expected one of the {len(numbers)} categories of the file, got "
                f"{annotation.category_id}"
            )
        annotation.category_id = numbers[annotation.category_id]


def _videos(content: _CocoFile, used: set[int], notes: list[str]) -> dict[int, list[_CocoImage]]:
    """Video id -> its images in order; a note where natural and alphabetical order differ. used: ids of other files."""
    stated = {image.video_id for image in content.images if image.video_id is not None}
    free = (id for id in count(1) if id not in used and id not in stated)
    ids = {id: next(free) if id in used else id for id in sorted(stated)}
    folders: dict[str, int] = {}
    videos: dict[int, list[_CocoImage]] = {}
    for image in content.images:
        folder = str(PurePosixPath(image.file_name).parent)
        if image.video_id is None and folder not in folders:
            folders[folder] = next(free)
        videos.setdefault(folders[folder] if image.video_id is None else ids[image.video_id], []).append(image)
    for video in content.videos:
        video.id = ids.get(video.id, video.id)
    renumbered = sum(new != old for old, new in ids.items())
    notes.extend([f"{renumbered} videos have ids of videos in files before and got new ones"] if renumbered else [])
    for group in videos.values():
        group.sort(key=lambda image: (image.frame_id is None, image.frame_id or 0, natural_key(image.file_name)))
        numbers = Counter(image.frame_id for image in group if image.frame_id is not None)
        if (twice := numbers.total() - len(numbers)) > 0:
            notes.append(f"{twice} images have the frame_id of another one of their video: their names order them")
        unnumbered = [image.file_name for image in group if image.frame_id is None]
        note = order_note(unnumbered)
        if note and not any(other.startswith("frames are in natural order") for other in notes):
            notes.append(note)
    return videos


class _CocoReader:
    """Makes videos of one file's annotations. counts: of notes on what was changed or left out.
    masks: number of masks so far.
    """

    def __init__(self, where: str, content: _CocoFile, videos: dict[int, list[_CocoImage]], counts: Counter[str]):
        self.where, self.content, self.counts, self.masks = where, content, counts, 0
        self._videos = videos
        if len({image.id for image in content.images}) < len(content.images):
            twice = Counter(image.id for image in content.images).most_common(1)[0][0]
            raise ValueError(f"{where}: expected every image id once, got {twice} twice")
        self._places = {image.id: (id, frame) for id, group in videos.items() for frame, image in enumerate(group)}
        self._by_video: dict[int, list[tuple[_CocoAnnotation, _Identity]]] = {video: [] for video in videos}
        for annotation in content.annotations:
            identity = annotation.identity()
            orphaned = annotation.image_id not in self._places
            counts["annotations of images that are not in the file were left out"] += orphaned
            counts["annotations have no track_id: each became a track of one frame"] += identity is None
            if not orphaned:
                self._by_video[self._places[annotation.image_id][0]].append((annotation, identity))

    def results(self, categories: dict[int, str]) -> Iterator[VideoResult]:
        """The file's videos, one in memory at a time."""
        names = {video.id: video.name for video in self.content.videos}
        for id, images in self._videos.items():
            yield self._video(id, names.get(id, ""), images, categories, self._by_video[id])

    def _video(
        self,
        id: int,
        name: str,
        images: list[_CocoImage],
        categories: dict[int, str],
        annotations: list[tuple[_CocoAnnotation, _Identity]],
    ) -> VideoResult:
        """One video; its annotations are grouped to tracks."""
        first = images[0]
        other = next((image for image in images if (image.height, image.width) != (first.height, first.width)), None)
        if other is not None:
            sizes = " and ".join(f"{image.height} x {image.width} ({image.file_name})" for image in (first, other))
            raise ValueError(f"{self.where}: expected images of one size in a video, got {sizes}")
        info = VideoInfo(id, first.width, first.height, len(images), tuple(image.file_name for image in images))
        groups: dict[int | str, list[_CocoAnnotation]] = {}
        free = max((identity for _, identity in annotations if isinstance(identity, int)), default=0)
        for annotation, identity in annotations:
            if identity is None:
                identity = free = free + 1
            groups.setdefault(identity, []).append(annotation)
        ids: dict[int | str, int] = {}
        for identity in groups:
            free += not isinstance(identity, int)
            ids[identity] = identity if isinstance(identity, int) else free
        tracks = tuple(self._track(ids[identity], group, info) for identity, group in groups.items())
        return make_video(id, name or info.name, info.size_hw, info.file_names, categories, tracks)

    def _track(self, id: int, group: list[_CocoAnnotation], info: VideoInfo) -> Track:
        first = group[0]
        masks: dict[int, list[FrameMask]] = {}
        for annotation in group:
            if annotation.category_id != first.category_id:
                both = f"{first.category_id} and {annotation.category_id}"
                raise ValueError(f"{self.where}: track {id} of video {info.id}: expected one category, got {both}")
            mask = self._mask(annotation, info)
            if mask is not None:
                masks.setdefault(self._places[annotation.image_id][1], []).append(mask)
        parts = sum(len(group) - 1 for group in masks.values())
        if parts:
            self.counts["further annotations of a track in the same frame were united with the first"] += parts
        return make_track(id, first.category_id, info.length, masks, first.score, bool(first.iscrowd))

    def _mask(self, annotation: _CocoAnnotation, info: VideoInfo) -> FrameMask | None:
        segmentation = msgspec.json.decode(annotation.segmentation)
        if isinstance(segmentation, list) and segmentation and all(isinstance(part, list) for part in segmentation):
            polygons = [part for part in segmentation if len(part) >= 6]
            if len(polygons) < len(segmentation):
                self.counts["polygons of less than three points were left out"] += len(segmentation) - len(polygons)
            segmentation = polygons
        box = None
        if annotation.bbox is not None:
            box = xywh_to_xyxy(np.array(annotation.bbox)).astype(np.float32)
        if not segmentation:
            if box is not None:
                self.counts["annotations have a box but no mask, and were left out"] += 1
            return None
        try:
            rle = mask_json.from_json(segmentation, info.size_hw)
        except ValueError as error:
            raise ValueError(f"{self.where}: annotation {annotation.id}: {error}") from None
        self.masks += rle is not None
        return None if rle is None else FrameMask(rle, box, annotation.area)
