"""Conversion between YouTube-VIS JSON, COCO per frame and CVAT's XML for images, each through `VideoResult`."""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from tevit.io import json as jsonfile
from tevit.io import ytvis
from tevit.io.formats import coco, cvat
from tevit.results import VideoResult

Format = Literal["ytvis", "coco", "cvat"]

CANNOT_HOLD: dict[Format, tuple[str, ...]] = {
    "ytvis": ("scores, where predictions are written as a data set",),
    "coco": (
        "videos and identities: they go into keys of their own (images: video_id, frame_id; annotations: track_id), "
        "which other tools may drop",
        "tracks without a mask in any frame",
    ),
    "cvat": (
        "identities across images: they go into the attribute track_id of each mask",
        "ids of videos and categories (--like brings them back), areas and boxes of the file (computed from the masks)",
        "tracks without a mask in any frame",
    ),
}
"""What each format loses, or stores in keys that are specific to this project."""


def detect(path: str | os.PathLike) -> Literal["ytvis", "coco", "cvat", "results"]:
    """The format of a file, from its content.

    Raises: OSError where it cannot be read; ValueError where it is none of these.
    """
    with open(path, "rb") as file:
        beginning = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if beginning[:1] == b"<":
        return "cvat"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if cvat.MEMBER in archive.namelist():
                return "cvat"
    data = jsonfile.read(path, ytvis.RESULTS_NAME)
    if data.lstrip()[:1] == b"[":
        return "results"
    keys = jsonfile.decode(data, dict[str, msgspec.Raw], path)
    if "images" in keys:
        return "coco"
    if "videos" in keys:
        return "ytvis"
    raise ValueError(f"{path}: expected results, or a data set with videos (YouTube-VIS) or images (COCO)")


def read(
    path: str | os.PathLike, gt: ytvis.Dataset | None = None, like: ytvis.Dataset | None = None
) -> tuple[Iterator[VideoResult], list[str]]:
    """The videos of a file in any of the formats, and notes on what was left out.

    gt: the data set that results are for. like: a data set with the ids that a CVAT file cannot hold.

    Raises: OSError or ValueError where the file cannot be read; faulty masks raise when their video is iterated.
    """
    kind = detect(path)
    if kind == "results":
        if gt is None:
            raise ValueError(f"{path} holds results: the data set that they are for is needed (--gt)")
        results = ytvis.read_results(path)
        return (results.video(info, gt.categories) for info in gt.videos.values()), []
    if kind == "ytvis":
        return ytvis.open_dataset(path).results(), []
    return coco.read(path) if kind == "coco" else cvat.read(path, like)


def write(path: str | os.PathLike, to: Format, results: Iterator[VideoResult]) -> list[Path]:
    """Write videos in one of the formats; returns the written files. CVAT: also its labels, for a new task."""
    if to == "ytvis":
        ytvis.save_dataset(path, results)
    elif to == "coco":
        coco.write(path, results)
    else:
        return cvat.write(path, results)
    return [Path(path)]
