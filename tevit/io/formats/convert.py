"""Conversion between YouTube-VIS JSON and the formats of other tools, each through `VideoResult`."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec

from tevit.io import json as jsonfile
from tevit.io import ytvis
from tevit.io.categories import NO_CLASS, MapClasses, format_ids, with_known_classes
from tevit.io.formats import burst, coco, cvat, cvat_writer, davis, label_studio, mots
from tevit.masks import json as segmentations
from tevit.results import VideoResult

Format = Literal["ytvis", "coco", "cvat", "cvat-video", "davis", "mots", "burst", "tao", "label-studio"]
Source = Literal["ytvis", "results", "coco", "cvat", "davis", "mots", "burst", "label-studio"]

NO_EMPTY = "tracks without a mask in any frame"
NO_IDS = "ids of videos and categories (--like brings them back), areas and boxes of the file (computed from the masks)"
CANNOT_HOLD: dict[Format, tuple[str, ...]] = {
    "ytvis": ("scores, where predictions are written as a data set",),
    "coco": (
        "videos and identities: they go into keys of their own (images: video_id, frame_id; annotations: track_id), "
        "which other tools may drop",
        NO_EMPTY,
    ),
    "cvat": ("identities across images: they go into the attribute track_id of each mask", NO_IDS, NO_EMPTY),
    "cvat-video": (
        NO_IDS,
        "several videos in one file (one file is written per video; a folder or zip of them is read as one data set)",
        "masks over time in CVAT itself, which imports the first mask of a track only (--to cvat has all of them)",
        NO_EMPTY,
    ),
    "davis": (
        "classes, scores, crowds and ids of videos",
        "overlapping masks (the earlier track gets the pixels)",
        "areas and boxes of the file (computed from the masks)",
        NO_EMPTY,
    ),
    "mots": (
        "names of classes, scores and ids of videos",
        "frames after the last mask, and videos without masks",
        "the number of the first frame (0 is written; where no video has a mask in frame 0, 1 is read)",
        "areas and boxes of the file (computed from the masks)",
        NO_EMPTY,
    ),
    "burst": ("crowds, areas and boxes of the file (computed from the masks)",),
    "tao": ("track ids that are not unique over all videos (they are renumbered)", NO_EMPTY),
    "label-studio": ("masks (only boxes)", "scores and crowds", "ids of categories", NO_EMPTY),
}
"""What each format loses, or stores in keys that are specific to this project."""


def detect(path: str | os.PathLike) -> Source:
    """The format of a file or folder, from its content.

    Raises: OSError where it cannot be read; ValueError where it is none of these.
    """
    if mots.is_mots(path):
        return "mots"
    if coco.members(path):
        return "coco"
    if cvat.is_cvat(path):
        return "cvat"
    if Path(path).is_dir():
        if davis.is_davis(path):
            return "davis"
        raise ValueError(
            f"{path}: expected a folder of PNG masks (DAVIS), of text files (MOTS), of CVAT's XML or with "
            "annotations/instances_SUBSET.json (COCO), found none of them"
        )
    with open(path, "rb") as file:
        beginning = file.read(4096).lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n")  # marks of UTF-8 and UTF-16
    if beginning[:1] == b"<":
        return "cvat"
    data = jsonfile.read(path, ytvis.RESULTS_NAME)
    if data.lstrip()[:1] == b"[":
        if b'"annotations"' not in data and b'"predictions"' not in data:
            return "results"
        items = jsonfile.decode(data, list[dict[str, msgspec.Raw]], path)
        return "label-studio" if items and items[0].keys() & {"annotations", "predictions"} else "results"
    keys = jsonfile.decode(data, dict[str, msgspec.Raw], path)
    kinds: dict[str, Source] = {"images": "coco", "videos": "ytvis", "sequences": "burst"}
    for key, kind in kinds.items():
        if key in keys:
            return kind
    raise ValueError(f"{path}: expected results, or a data set with videos (YouTube-VIS), images (COCO) or sequences")


def read(
    path: str | os.PathLike,
    gt: ytvis.Dataset | None = None,
    like: ytvis.Dataset | None = None,
    map_classes: MapClasses | None = None,
    class_map: Mapping[str, str | int] | None = None,
) -> tuple[Iterator[VideoResult], list[str]]:
    """The videos of a file in any of the formats, and notes on what was left out, complete after the last video.

    gt: the data set that results are for. like: a data set with the ids that a CVAT file cannot hold. map_classes,
    class_map: how to read category ids of results, see `with_known_classes`.

    Raises: OSError or ValueError where the file cannot be read; faulty masks raise when their video is iterated.
    """
    kind = detect(path)
    if kind == "results":
        if gt is None:
            raise ValueError(f"{path} holds results: the data set that they are for is needed (--gt)")
        return _read_results(ytvis.read_results(path), gt, map_classes, class_map)
    if kind == "ytvis":
        return _read_dataset(ytvis.open_dataset(path))
    if kind == "cvat":
        return cvat.read(path, like)
    readers = {"coco": coco, "davis": davis, "mots": mots, "burst": burst, "label-studio": label_studio}
    return readers[kind].read(path)


def _read_results(
    results: ytvis.Results,
    gt: ytvis.Dataset,
    map_classes: MapClasses | None,
    class_map: Mapping[str, str | int] | None,
) -> tuple[Iterator[VideoResult], list[str]]:
    other = sorted(results.by_video.keys() - gt.videos.keys())
    if other:
        raise ValueError(f"{results.path} is for videos that {gt.path} does not have (ids {format_ids(other)})")
    results, notes = with_known_classes(results, gt, map_classes, class_map)
    lengths = ((segmentations.extent(p.segmentations)[1], gt.videos[p.video_id].length) for p in results.predictions)
    if count := sum(own != expected for own, expected in lengths):
        notes.append(
            f"{count} predictions have more or fewer frames than their video, which they were cut or filled to"
        )
    videos = (results.video(info, gt.categories) for info in gt.videos.values())
    return _with_listed_classes(videos, "predictions", notes), notes


def _read_dataset(dataset: ytvis.Dataset) -> tuple[Iterator[VideoResult], list[str]]:
    notes = [] if dataset.has_annotations else [ytvis.NO_ANNOTATIONS]
    if count := sum(annotation.video_id not in dataset.videos for annotation in dataset.annotations):
        notes.append(f"{count} annotations left out: their video is not in the file")
    return _with_listed_classes(dataset.results(), "annotations", notes), notes


def _with_listed_classes(videos: Iterator[VideoResult], subject: str, notes: list[str]) -> Iterator[VideoResult]:
    """Videos without the tracks of categories that the file does not list, which are counted in a note at the end.

    Raises: ValueError after the last video where no track is left.
    """
    count, listed, missing = 0, 0, set[int]()
    for video in videos:
        tracks = tuple(track for track in video.tracks if track.category_id in video.categories)
        count, listed = count + len(video.tracks) - len(tracks), listed + len(tracks)
        missing |= {track.category_id for track in video.tracks} - video.categories.keys() - {NO_CLASS}
        yield replace(video, tracks=tracks) if len(tracks) < len(video.tracks) else video
    if count:
        shown = f" (ids {format_ids(sorted(missing))})" if missing else ""
        if not listed:
            raise ValueError(f"none of the {count} {subject} has a category that is listed{shown}")
        notes.append(f"{count} {subject} left out: their category is not listed{shown}")


def write(path: str | os.PathLike, to: Format, results: Iterator[VideoResult]) -> tuple[list[Path], list[str]]:
    """Write videos in one of the formats; returns the written files and notes on what was lost.

    CVAT for images: also its labels, for a new task. DAVIS and MOTS: `path` is a folder.
    Raises: ValueError, OSError where the videos cannot be written; nothing is then.
    """
    if to == "cvat":
        return cvat_writer.write(path, results), []
    if to == "cvat-video":
        return cvat_writer.write_video(path, results), []
    if to == "ytvis":
        return [Path(path)], ytvis.save_dataset(path, results)
    if to in ("coco", "tao"):
        return [Path(path)], coco.write(path, results, tao=to == "tao")
    writers = {"davis": davis, "mots": mots, "burst": burst, "label-studio": label_studio}
    return [Path(path)], writers[to].write(path, results)
