"""BURST JSON: a list of sequences, each with per-frame objects of track id -> RLE text, and categories.

Source: ANNOTATION_FORMAT.md of BURST-benchmark. TAO's JSON is COCO with videos and tracks and is read by `coco`.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import msgspec

from tevit.io import json as jsonfile
from tevit.io.files import atomic
from tevit.io.formats.tracks import FrameMask, check_rate, frame_rate, make_track, make_video
from tevit.io.json import Side, WholeNumber
from tevit.io.ytvis import FPS, Category, frame_names, merge_categories
from tevit.masks import json as mask_json
from tevit.results import VideoResult


class _BurstMask(msgspec.Struct, omit_defaults=True):
    rle: str
    is_gt: bool = True
    score: float = 1.0


class _BurstSequence(msgspec.Struct):
    width: Side
    height: Side
    seq_name: str
    annotated_image_paths: list[str]
    segmentations: list[dict[str, _BurstMask]]
    track_category_ids: dict[str, WholeNumber]
    id: WholeNumber | None = None
    dataset: str = ""
    fps: float = FPS


class _BurstFile(msgspec.Struct):
    sequences: list[_BurstSequence]
    categories: list[Category]


def read(path: str | os.PathLike) -> tuple[Iterator[VideoResult], list[str]]:
    """The videos of a BURST file, one in memory at a time; frames are the annotated ones.

    Raises: OSError or ValueError where the file cannot be read; faulty masks raise when their video is iterated.
    """
    content = jsonfile.decode(jsonfile.read(path), _BurstFile, path)
    categories = {category.id: category.name for category in content.categories}
    return (_video(path, n, sequence, categories) for n, sequence in enumerate(content.sequences, 1)), []


def _video(path: str | os.PathLike, number: int, sequence: _BurstSequence, categories: dict[int, str]) -> VideoResult:
    where, size_hw = f"{path}: sequence {sequence.seq_name!r}", (sequence.height, sequence.width)
    names = sequence.annotated_image_paths
    check_rate(sequence.fps, where)
    if len(names) != len(sequence.segmentations):
        raise ValueError(
            f"{where}: expected {len(names)} segmentations, one an annotated image, got {len(sequence.segmentations)}"
        )
    masks: dict[str, dict[int, list[FrameMask]]] = {track: {} for track in sequence.track_category_ids}
    scores: dict[str, float] = {}
    for frame, objects in enumerate(sequence.segmentations):
        for track, entry in objects.items():
            if track not in masks or not track.isdecimal():
                raise ValueError(f"{where}, frame {frame}: track {track!r} is not in track_category_ids")
            try:
                rle = mask_json.from_json({"size": list(size_hw), "counts": entry.rle}, size_hw)
            except ValueError as error:
                raise ValueError(f"{where}, frame {frame}, track {track}: {error}") from None
            scores.setdefault(track, entry.score)
            if rle is not None:
                masks[track][frame] = [FrameMask(rle)]
    tracks = [
        make_track(int(track), category, len(names), masks[track], scores.get(track, 1.0))
        for track, category in sequence.track_category_ids.items()
    ]
    folder = "/".join(part for part in (sequence.dataset, sequence.seq_name) if part)
    files = [name if PurePosixPath(name).parent.name else f"{folder}/{name}" for name in names]
    id = number if sequence.id is None else sequence.id
    return make_video(id, sequence.seq_name, size_hw, files, categories, tracks, sequence.fps)


def write(path: str | os.PathLike, results: Iterable[VideoResult]) -> list[str]:
    """Write videos as BURST JSON, one in memory at a time. Raises: ValueError as `merge_categories`."""
    categories: dict[int, str] = {}
    crowds = 0
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write(b'{"sequences":[')
        for number, result in enumerate(results):
            merge_categories(categories, result.categories)
            crowds += sum(track.iscrowd for track in result.tracks)
            file.write((b",\n" if number else b"\n") + jsonfile.encode(_sequence(result)))
        entries = [{"id": id, "name": name} for id, name in categories.items()]
        file.write(b'],\n"categories":' + jsonfile.encode(entries) + b',\n"split":""}\n')
    return [f"{crowds} crowd tracks became ordinary tracks"] if crowds else []


def _sequence(result: VideoResult) -> _BurstSequence:
    objects = [
        {
            str(track.id): _BurstMask(rle["counts"].decode(), score=track.score)
            for track in result.tracks
            if (rle := track.rles[frame]) is not None
        }
        for frame in range(result.length)
    ]
    height, width = result.size_hw
    names = list(frame_names(result))
    ids = {str(track.id): track.category_id for track in result.tracks}
    return _BurstSequence(width, height, result.name, names, objects, ids, result.video_id, "", frame_rate(result))
