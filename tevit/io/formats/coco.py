"""COCO JSON, one image per frame, for tools that work on single images; identities are in additional keys."""

import os
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import msgspec
import numpy as np

from tevit.boxes import xywh_to_xyxy, xyxy_to_xywh
from tevit.io import json as jsonfile
from tevit.io.files import atomic
from tevit.io.ytvis import FPS, Category, VideoInfo, frame_names, merge_categories
from tevit.masks import json as segmentations
from tevit.masks import ops as masks
from tevit.results import RLE, Track, VideoResult


def write(path: str | os.PathLike, results: Iterable[VideoResult]) -> None:
    """Write videos as COCO, one in memory at a time: masks as run-length text, one annotation per track and frame.

    Images have video_id and frame_id (from 0), annotations track_id, those of predictions score.

    Raises: ValueError where two videos name one category differently.
    """
    categories: dict[int, str] = {}
    images: list[dict] = []
    count = 0
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write(b'{"annotations":[')
        for result in results:
            merge_categories(categories, result.categories)
            first = len(images) + 1
            (height, width), video = result.size_hw, result.video_id
            for frame, name in enumerate(frame_names(result)):
                image = {"id": first + frame, "file_name": name, "height": height, "width": width}
                images.append(image | {"video_id": video, "frame_id": frame})
            for annotation in _annotations(result, first):
                count += 1
                file.write((b",\n" if count > 1 else b"\n") + jsonfile.encode({"id": count} | annotation))
        names = [{"id": id, "name": name, "supercategory": "object"} for id, name in categories.items()]
        file.write(b'],\n"images":' + jsonfile.encode(images))
        file.write(b',\n"categories":' + jsonfile.encode(names) + b"}\n")


def _annotations(result: VideoResult, first: int) -> Iterator[dict]:
    for track in result.tracks:
        boxes = xyxy_to_xywh(track.boxes_xyxy.astype(float))
        for frame, rle in enumerate(track.rles):
            if rle is not None:
                yield {
                    "image_id": first + frame,
                    "category_id": track.category_id,
                    "track_id": track.id,
                    "segmentation": masks.to_json(rle),
                    "area": float(track.areas[frame]),
                    "bbox": boxes[frame].tolist(),
                    "iscrowd": int(track.iscrowd),
                } | ({} if track.score == 1 else {"score": track.score})


class _CocoImage(msgspec.Struct):
    id: int
    width: int
    height: int
    file_name: str = ""
    video_id: int | None = None
    frame_id: int | None = None


class _CocoAnnotation(msgspec.Struct):
    id: int
    image_id: int
    category_id: int
    segmentation: msgspec.Raw = msgspec.Raw(b"null")
    bbox: tuple[float, float, float, float] | None = None
    area: float | None = None
    iscrowd: int | bool = 0
    track_id: int | None = None
    instance_id: int | None = None
    score: float = 1.0


class _CocoFile(msgspec.Struct):
    images: list[_CocoImage]
    categories: list[Category]
    annotations: list[_CocoAnnotation] = []


def read(path: str | os.PathLike) -> tuple[Iterator[VideoResult], list[str]]:
    """The videos of a COCO file, and notes on what was left out or added.

    Images without video_id belong to the video of their folder, in the order of their names; an annotation without
    track_id (or instance_id) is a track of one frame.

    Raises: OSError or ValueError where the file cannot be read; faulty masks raise when their video is iterated.
    """
    content = jsonfile.decode(jsonfile.read(path), _CocoFile, path)
    categories = {category.id: category.name for category in content.categories}
    videos = _videos(content.images)
    places = {image.id: (video, frame) for video, images in videos.items() for frame, image in enumerate(images)}
    orphaned = sum(annotation.image_id not in places for annotation in content.annotations)
    untracked = sum(
        annotation.track_id is None and annotation.instance_id is None for annotation in content.annotations
    )
    notes = [f"{orphaned} annotations of images that are not in the file were left out"] if orphaned else []
    notes += [f"{untracked} annotations have no track_id: each became a track of one frame"] if untracked else []
    by_video: dict[int, list[_CocoAnnotation]] = {video: [] for video in videos}
    for annotation in content.annotations:
        if annotation.image_id in places:
            by_video[places[annotation.image_id][0]].append(annotation)
    frames = {image: frame for image, (_, frame) in places.items()}
    return (_video(path, id, videos[id], categories, by_video[id], frames) for id in videos), notes


def _videos(images: list[_CocoImage]) -> dict[int, list[_CocoImage]]:
    """Video id -> its images in order."""
    taken = {image.video_id for image in images if image.video_id is not None}
    free = (id for id in range(1, len(images) + len(taken) + 1) if id not in taken)
    folders: dict[str, int] = {}
    videos: dict[int, list[_CocoImage]] = {}
    for image in images:
        folder = str(PurePosixPath(image.file_name).parent)
        if image.video_id is None and folder not in folders:
            folders[folder] = next(free)
        videos.setdefault(folders[folder] if image.video_id is None else image.video_id, []).append(image)
    for group in videos.values():
        group.sort(key=lambda image: (image.frame_id is None, image.frame_id or 0, image.file_name))
    return videos


def _video(
    path: str | os.PathLike,
    id: int,
    images: list[_CocoImage],
    categories: dict[int, str],
    annotations: list[_CocoAnnotation],
    frames: dict[int, int],
) -> VideoResult:
    first = images[0]
    other = next((image for image in images if (image.height, image.width) != (first.height, first.width)), None)
    if other is not None:
        sizes = " and ".join(f"{image.height} x {image.width} ({image.file_name})" for image in (first, other))
        raise ValueError(f"{path}: expected images of one size in a video, got {sizes}")
    info = VideoInfo(id, first.width, first.height, len(images), tuple(image.file_name for image in images))
    groups: dict[int, list[_CocoAnnotation]] = {}
    free = max((a.track_id or a.instance_id or 0 for a in annotations), default=0)
    for annotation in annotations:
        track = annotation.track_id if annotation.track_id is not None else annotation.instance_id
        if track is None:
            track = free = free + 1
        groups.setdefault(track, []).append(annotation)
    tracks = tuple(_track(path, track, group, info, frames) for track, group in groups.items())
    return VideoResult(id, info.name, info.size_hw, np.arange(info.length) / FPS, categories, tracks, info.file_names)


def _track(
    path: str | os.PathLike, id: int, group: list[_CocoAnnotation], info: VideoInfo, frames: dict[int, int]
) -> Track:
    first = group[0]
    rles: list[RLE | None] = [None] * info.length
    boxes, areas = np.full((info.length, 4), np.nan, np.float32), np.zeros(info.length)
    for annotation in group:
        frame = frames[annotation.image_id]
        if annotation.category_id != first.category_id:
            both = f"{first.category_id} and {annotation.category_id}"
            raise ValueError(f"{path}: track {id} of video {info.id}: expected one category, got {both}")
        if rles[frame] is not None:
            raise ValueError(
                f"{path}: track {id} of video {info.id}: expected one annotation in frame {frame}, got two"
            )
        try:
            rle = segmentations.from_json(msgspec.json.decode(annotation.segmentation), info.size_hw)
        except ValueError as error:
            raise ValueError(f"{path}: annotation {annotation.id}: {error}") from None
        if rle is None:
            continue
        rles[frame] = rle
        boxes[frame] = masks.to_box_xyxy(rle) if annotation.bbox is None else xywh_to_xyxy(np.array(annotation.bbox))
        areas[frame] = masks.areas([rle])[0] if annotation.area is None else annotation.area
    return Track(id, first.category_id, first.score, tuple(rles), boxes, areas, bool(first.iscrowd))
