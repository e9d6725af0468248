"""The ground truth and the predictions of a data set as two tables, their masks not read yet."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from tevit.io.categories import NO_CLASS, describe_indices, format_ids, index_mappings
from tevit.io.ytvis import NO_ANNOTATIONS, Dataset, Results, open_dataset, read_results
from tevit.masks import json as segmentations
from tevit.masks.ops import EncodedMasks
from tevit.results import RLE, VideoResult

GroundTruth = str | os.PathLike | Dataset | Sequence[VideoResult]
"""A file in YouTube-VIS form, an opened one, or videos in memory."""
LABELS = "labels: "
"""Begins a warning on the ground truth; others are on the predictions."""
UNLISTED = "left out: the ground truth does not list their category"
"""In the warnings on tracks of such categories."""
Predictions = str | os.PathLike | Results | Sequence[VideoResult]
"""A results.json (or the zip that holds it), an opened one, or videos in memory."""


@dataclass(frozen=True, eq=False)
class Tracks:
    """N tracks of a data set, in the order of the file.

    label: what messages call a track, with its file. ids: int64 (N,), annotation ids, or the predictions' places in
    the file from 1. videos, categories: int64 (N,), positions in Inputs' lists. scores: float64 (N,). areas: float64
    (N,), pixels: the mean stated area over the frames that state one, NaN where it must come from the masks. crowd:
    bool (N,). read_masks: rows of one video -> their masks.
    """

    label: str
    ids: np.ndarray
    videos: np.ndarray
    categories: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    read_masks: Callable[[Sequence[int]], list[EncodedMasks]]


@dataclass(frozen=True)
class EvaluatedVideo:
    """size_hw: height and width in pixels. length: frames."""

    id: int
    name: str
    size_hw: tuple[int, int]
    length: int


@dataclass(frozen=True)
class LeftOutTrack:
    """A track whose category the ground truth does not list. kind: "annotation" or "prediction"."""

    kind: str
    id: int
    video_id: int
    category_id: int
    score: float


@dataclass(frozen=True, eq=False)
class Inputs:
    """videos, categories (id -> name): ascending by id. left_out: tracks that are in neither table.
    warnings: what does not count and why, a sentence each."""

    videos: list[EvaluatedVideo]
    categories: dict[int, str]
    ground_truth: Tracks
    predictions: Tracks
    left_out: tuple[LeftOutTrack, ...]
    warnings: tuple[str, ...]


def read_inputs(gt: GroundTruth, results: Predictions) -> Inputs:
    """Open both sides and put them together.

    Raises: OSError or ValueError where a file cannot be read; ValueError where predictions are for videos that the
    ground truth does not have.
    """
    if isinstance(gt, str | os.PathLike):
        gt = open_dataset(gt)
    if isinstance(results, str | os.PathLike):
        results = read_results(results)
    videos, categories, ground_truth = _from_dataset(gt) if isinstance(gt, Dataset) else _from_memory(gt, stated=True)
    if isinstance(results, Results):
        predictions = [
            _Row(i, item.video_id, item.category_id, item.score, np.nan, False, item.segmentations)
            for i, item in enumerate(results.predictions, start=1)
        ]
    else:
        predictions = _from_memory(results, stated=False)[2]
    sizes = {video.id: video.size_hw for video in videos}
    _check_videos(predictions, sizes)
    left_out = tuple(
        LeftOutTrack(kind, row.id, row.video, row.category, row.score)
        for kind, rows in (("annotation", ground_truth), ("prediction", predictions))
        for row in rows
        if row.category not in categories
    )
    warnings = [
        *([] if predictions else ["the results hold no prediction at all"]),
        *_left_out_warnings(left_out, ground_truth, predictions, categories),
    ]
    return Inputs(
        videos=sorted(videos, key=lambda video: video.id),
        categories=dict(sorted(categories.items())),
        ground_truth=_table(ground_truth, f"{_file(gt)}annotation", sizes, sorted(categories)),
        predictions=_table(predictions, f"{_file(results)}prediction", sizes, sorted(categories)),
        left_out=left_out,
        warnings=(*(_odd_annotations(gt) if isinstance(gt, Dataset) else ()), *warnings),
    )


def _check_videos(predictions: "Sequence[_Row]", videos: Mapping[int, object]) -> None:
    other = sorted({row.video for row in predictions} - videos.keys())
    if other:
        raise ValueError(
            f"the results are for {len(other)} videos that the ground truth does not have (ids {format_ids(other)}); "
            f"the ground truth has {len(videos)} videos"
        )


def _left_out_warnings(
    left_out: Sequence[LeftOutTrack], ground_truth: "list[_Row]", predictions: "list[_Row]", categories: dict[int, str]
) -> list[str]:
    """What was left out for its category, and how the predictions' ids can be read."""
    hint = ""
    if any(track.kind == "prediction" for track in left_out):
        predicted = Counter((row.video, row.category) for row in predictions)
        annotated = {(row.video, row.category) for row in ground_truth}
        hint = describe_indices(index_mappings(predicted, categories, annotated))
    warnings = []
    for kind, side, more in (("annotation", LABELS, ""), ("prediction", "", hint and f"; {hint}")):
        ids = [track.category_id for track in left_out if track.kind == kind]
        missing = sorted({id for id in ids if id != NO_CLASS})
        shown = f" (ids {format_ids(missing)})" if missing else ""
        warnings += [f"{side}{len(ids)} {kind}s {UNLISTED}{shown}{more}"] if ids else []
    return warnings


def named_warnings(gt: str, warnings: Mapping[str, Iterable[str]]) -> list[str]:
    """Each warning once, after the name of the file that it is about.

    gt: what the ground truth is called. warnings: what each model's predictions are called -> its warnings.
    """
    lines = (
        f"{gt}: {warning.removeprefix(LABELS)}" if warning.startswith(LABELS) else f"{name}: {warning}"
        for name, own in warnings.items()
        for warning in own
    )
    return list(dict.fromkeys(lines))


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
    rows = []
    for a in (by_id[annotation.id] for annotation in dataset.annotations):
        if a.video_id in dataset.videos:
            area = np.nan if a.areas is None else mean_area(a.areas)
            rows.append(_Row(a.id, a.video_id, a.category_id, 1.0, area, bool(a.iscrowd), a.segmentations))
    return videos, dict(dataset.categories), rows


def _odd_annotations(dataset: Dataset) -> list[str]:
    every = dataset.annotations
    counts = {
        "annotations have one id with another; of these the last counts, as often": len(every)
        - len({a.id for a in every}),
        "annotations have the id 0, which the official evaluation can never match, so that they count as missed "
        "(`tevit validate --fix` renumbers them)": sum(a.id == 0 for a in every),
        "annotations left out: their video is not in the file": sum(a.video_id not in dataset.videos for a in every),
        "annotations state no areas; those of their masks count": sum(a.areas is None for a in every),
    }
    missing = [] if dataset.has_annotations else [f"{LABELS}{NO_ANNOTATIONS} to evaluate by"]
    return missing + [f"{LABELS}{count} {text}" for text, count in counts.items() if count]


def mean_area(areas: Sequence[float | None] | np.ndarray) -> float:
    """Mean over the frames that have an area, pixels; 0 where none has."""
    stated = [area for area in areas if area]
    return float(np.mean(stated)) if stated else 0.0


def _from_memory(results: Sequence[VideoResult], stated: bool) -> _Side:
    """stated: whether the tracks' areas count, as in ground truth, or those of their masks, as in predictions."""
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


def _table(rows: list[_Row], label: str, sizes: dict[int, tuple[int, int]], categories: list[int]) -> Tracks:
    places = {id: place for place, id in enumerate(categories)}
    rows = [row for row in rows if row.category in places]
    video_places = {id: place for place, id in enumerate(sorted(sizes))}
    return Tracks(
        label=label,
        ids=np.array([row.id for row in rows], np.int64),
        videos=np.array([video_places[row.video] for row in rows], np.int64),
        categories=np.array([places[row.category] for row in rows], np.int64),
        scores=np.array([row.score for row in rows], np.float64),
        areas=np.array([row.area for row in rows], np.float64),
        crowd=np.array([row.crowd for row in rows], bool),
        read_masks=lambda chosen: [_masks(rows[i], sizes[rows[i].video], label) for i in chosen],
    )


def _masks(row: _Row, size_hw: tuple[int, int], label: str) -> EncodedMasks:
    rles = row.masks
    if isinstance(rles, msgspec.Raw):
        track = segmentations.read_encoded(bytes(rles))
        if track is not None:
            return EncodedMasks(track.length, track.frames, track.sizes_hw, track.joined, track.digits)
        # Polygons, and whatever is damaged.
        tracks, faults = segmentations.read([rles], size_hw)
        for fault in faults:
            place = "" if fault.frame is None else f", frame {fault.frame}"
            raise ValueError(f"{label} {row.id} (video {row.video}){place}: {fault.text}")
        rles = tracks[0].rles
    return EncodedMasks.of_frames([None if rle is None else (rle["size"], rle["counts"]) for rle in rles])
