"""What is evaluated: the truths and the predictions of a data set as two tables, their masks left unread."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from tevit.io.ytvis import Annotation, Dataset, Prediction, Results, open_dataset, read_results
from tevit.masks import json as segmentations
from tevit.results import RLE, VideoResult

Source = str | os.PathLike | Dataset | Sequence[VideoResult]
"""Ground truth: a file in YouTube-VIS form, one that is open already, or videos in memory."""
Found = str | os.PathLike | Results | Sequence[VideoResult]
"""Predictions: a results.json (or the zip that holds it), one that is open already, or videos in memory."""


class Masks(NamedTuple):
    """One track's masks, not checked yet.

    length: frames of the track, T. frames: int64 (M,), those that have a mask. sizes_hw: int64 (M, 2), pixels.
    counts: M, as COCO's text or as plain run lengths; digits: the latter as JSON has them, for `rle.parse_numbers`.
    """

    length: int
    frames: np.ndarray
    sizes_hw: np.ndarray
    counts: Sequence[bytes | list[int]]
    digits: bool = False


def together(masks: Sequence[tuple[Sequence[int], bytes | list[int]] | None]) -> Masks:
    """A track of (size, counts) a frame, None where the object is absent; see Masks."""
    frames = np.array([frame for frame, mask in enumerate(masks) if mask], np.int64)
    sizes = np.array([mask[0] for mask in masks if mask], np.int64).reshape(-1, 2)
    return Masks(len(masks), frames, sizes, [mask[1] for mask in masks if mask])


@dataclass(frozen=True, eq=False)
class Tracks:
    """N tracks of a data set, in the order of the file.

    ids: int64 (N,): annotation ids, or the predictions' places in the file from 1. videos, categories: int64 (N,),
    positions in Inputs' lists. scores: float64 (N,). areas: float64 (N,), pixels: the mean stated area over the frames
    that state one, NaN where only the masks know. crowd: bool (N,). masks: rows of one video -> their masks.
    what: how a message calls one, with its file.
    """

    what: str
    ids: np.ndarray
    videos: np.ndarray
    categories: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    masks: Callable[[Sequence[int]], list[Masks]]


@dataclass(frozen=True)
class EvaluatedVideo:
    """id, name, height and width in pixels, frames."""

    id: int
    name: str
    size_hw: tuple[int, int]
    length: int


@dataclass(frozen=True)
class LeftOutTrack:
    """A track whose category the ground truth does not list. what: "annotation" or "prediction"."""

    what: str
    id: int
    video_id: int
    category_id: int
    score: float


@dataclass(frozen=True, eq=False)
class Inputs:
    """videos, categories (id -> name): ascending by id. left_out: what is in neither table.
    warnings: what does not count and why, a sentence each."""

    videos: list[EvaluatedVideo]
    categories: dict[int, str]
    ground_truth: Tracks
    predictions: Tracks
    left_out: tuple[LeftOutTrack, ...]
    warnings: tuple[str, ...]


def read_inputs(gt: Source, results: Found) -> Inputs:
    """Open both sides and put them together.

    Raises: OSError or ValueError where a file cannot be read; ValueError where predictions are for videos that the
    ground truth does not have.
    """
    if isinstance(gt, str | os.PathLike):
        gt = open_dataset(gt)
    if isinstance(results, str | os.PathLike):
        results = read_results(results)
    videos, categories, truths = _from_dataset(gt) if isinstance(gt, Dataset) else _from_memory(gt, stated=True)
    found = _from_results(results) if isinstance(results, Results) else _from_memory(results, stated=False)[2]
    _refuse_other_videos({video.id for video in videos}, found)
    sizes = {video.id: video.size_hw for video in videos}
    left_out = (*_left_out(truths, "annotation", categories), *_left_out(found, "prediction", categories))
    return Inputs(
        videos=sorted(videos, key=lambda video: video.id),
        categories=dict(sorted(categories.items())),
        ground_truth=_table(truths, f"{_file(gt)}annotation", sizes, sorted(categories)),
        predictions=_table(found, f"{_file(results)}prediction", sizes, sorted(categories)),
        left_out=left_out,
        warnings=(*(_odd_annotations(gt) if isinstance(gt, Dataset) else ()), *_warnings(left_out, found)),
    )


def _file(source: object) -> str:
    return f"{source.path}: " if isinstance(source, Dataset | Results) else ""


class _Row(msgspec.Struct, gc=False):
    """One track of either side. masks: the JSON of its segmentations, or RLEs in memory."""

    id: int
    video: int
    category: int
    score: float
    area: float
    crowd: bool
    masks: msgspec.Raw | tuple[RLE | None, ...]


_Side = tuple[list[EvaluatedVideo], dict[int, str], list[_Row]]


def _from_dataset(dataset: Dataset) -> _Side:
    videos = [EvaluatedVideo(video.id, video.name, video.size_hw, video.length) for video in dataset.videos.values()]
    by_id = {annotation.id: annotation for annotation in dataset.annotations}
    rows = [_annotation(by_id[annotation.id]) for annotation in dataset.annotations]
    return videos, dict(dataset.categories), [row for row in rows if row.video in dataset.videos]


def _odd_annotations(dataset: Dataset) -> list[str]:
    every = dataset.annotations
    counts = {
        "annotations have one id with another; of these the last counts, as often": len(every)
        - len({a.id for a in every}),
        "annotations left out: their video is not in the file": sum(a.video_id not in dataset.videos for a in every),
        "annotations state no areas; those of their masks count": sum(a.areas is None for a in every),
    }
    return [f"{count} {story}" for story, count in counts.items() if count]


def _annotation(annotation: Annotation) -> _Row:
    area = np.nan if annotation.areas is None else mean_area(annotation.areas)
    crowd = bool(annotation.iscrowd)
    return _Row(annotation.id, annotation.video_id, annotation.category_id, 1.0, area, crowd, annotation.segmentations)


def mean_area(areas: Sequence[float | None] | np.ndarray) -> float:
    """Mean over the frames that have an area, pixels; 0 where none has."""
    stated = [area for area in areas if area]
    return float(np.mean(stated)) if stated else 0.0


def _from_results(results: Results) -> list[_Row]:
    return [_prediction(i, prediction) for i, prediction in enumerate(results.predictions, start=1)]


def _prediction(place: int, item: Prediction) -> _Row:
    return _Row(place, item.video_id, item.category_id, item.score, np.nan, False, item.segmentations)


def _from_memory(results: Sequence[VideoResult], stated: bool) -> _Side:
    """stated: whether the tracks' areas count, as a truth's do, or those of their masks, as a prediction's."""
    videos = [EvaluatedVideo(result.video_id, result.name, result.size_hw, result.length) for result in results]
    categories = {id: name for result in results for id, name in result.categories.items()}
    tracks = [(result.video_id, track) for result in results for track in result.tracks]
    rows = [
        _Row(
            id=place,
            video=video,
            category=track.category_id,
            score=track.score,
            area=mean_area(track.areas.tolist()) if stated else np.nan,
            crowd=track.iscrowd,
            masks=track.rles,
        )
        for place, (video, track) in enumerate(tracks, start=1)
    ]
    return videos, categories, rows


def _refuse_other_videos(known: set[int], found: list[_Row]) -> None:
    other = sorted({row.video for row in found} - known)
    if other:
        shown = ", ".join(map(str, other[:10])) + (", …" if len(other) > 10 else "")
        raise ValueError(
            f"the results are for {len(other)} videos that the ground truth does not have (ids {shown}); "
            f"the ground truth has {len(known)} videos"
        )


def _left_out(rows: list[_Row], what: str, categories: dict[int, str]) -> list[LeftOutTrack]:
    return [LeftOutTrack(what, r.id, r.video, r.category, r.score) for r in rows if r.category not in categories]


def _warnings(left_out: tuple[LeftOutTrack, ...], found: list[_Row]) -> tuple[str, ...]:
    warnings = [] if found else ["the results hold no prediction at all"]
    for what in ("annotation", "prediction"):
        items = [item for item in left_out if item.what == what]
        ids = sorted({item.category_id for item in items})
        shown = ", ".join(map(str, ids[:10])) + (", …" if len(ids) > 10 else "")
        if items:
            warnings.append(
                f"{len(items)} {what}s left out: the ground truth does not list their category (ids {shown})"
            )
    return tuple(warnings)


def _table(rows: list[_Row], what: str, sizes: dict[int, tuple[int, int]], categories: list[int]) -> Tracks:
    places = {id: place for place, id in enumerate(categories)}
    rows = [row for row in rows if row.category in places]
    video_places = {id: place for place, id in enumerate(sorted(sizes))}
    return Tracks(
        what=what,
        ids=np.array([row.id for row in rows], np.int64),
        videos=np.array([video_places[row.video] for row in rows], np.int64),
        categories=np.array([places[row.category] for row in rows], np.int64),
        scores=np.array([row.score for row in rows], np.float64),
        areas=np.array([row.area for row in rows], np.float64),
        crowd=np.array([row.crowd for row in rows], bool),
        masks=lambda wanted: [_masks(rows[i], sizes[rows[i].video], what) for i in wanted],
    )


def _masks(row: _Row, size_hw: tuple[int, int], what: str) -> Masks:
    if not isinstance(row.masks, msgspec.Raw):
        return _from_rles(row.masks)
    track = segmentations.read_encoded(bytes(row.masks))
    if track is None:
        return _other_forms(row, size_hw, what)
    return Masks(track.length, np.array(track.frames, np.int64), track.sizes_hw, track.counts, track.digits)


def _from_rles(rles: Sequence[RLE | None]) -> Masks:
    return together([None if rle is None else (rle["size"], rle["counts"]) for rle in rles])


def _other_forms(row: _Row, size_hw: tuple[int, int], what: str) -> Masks:
    """Polygons, and whatever is wrong."""
    assert isinstance(row.masks, msgspec.Raw)
    tracks, faults = segmentations.read([row.masks], size_hw)
    for fault in faults:
        place = "" if fault.frame is None else f", frame {fault.frame}"
        raise ValueError(f"{what} {row.id} (video {row.video}){place}: {fault.text}")
    return _from_rles(tracks[0].rles)
