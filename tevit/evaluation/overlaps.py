"""Overlaps of predictions and ground truth: IoUs within each class of each video, areas and lengths of the tracks.

Masks are compared as run lengths on one axis per video (frame after frame, pixel after pixel), never as pixels. `pack`
and `unpack` convert overlaps to plain arrays and back, to be stored in a file and loaded without reading a mask.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import msgspec
import numpy as np

from tevit.evaluation.inputs import LABELS, EncodedMasks, EvaluatedVideo, Inputs, LeftOutTrack, Tracks
from tevit.evaluation.parallel import parallel_map
from tevit.masks.rle import (
    LIST_END,
    TEXT_END,
    RleError,
    Runs,
    decode_joined,
    decode_lists,
    decode_texts,
    parse_numbers,
)

if TYPE_CHECKING:
    from tevit.progress import Progress

MAX_PREDICTIONS = 100  # of one video and one class
_MAX_PIXELS = 1 << 31


# --- masks as spans


class BadMaskError(ValueError):
    """A mask that is none. track, frame: positions from 0; reason: what is wrong, in words."""

    def __init__(self, track: int, frame: int, reason: str):
        super().__init__(f"track {track}, frame {frame}: {reason}")
        self.track, self.frame, self.reason = track, frame, reason


@dataclass(frozen=True, eq=False)
class Spans:
    """The foreground of N tracks of one video, as spans on the video's axis.

    edges: float64 (R, 2), begin and end of each span. masks: int64 (N + 1,), track i has the masks masks[i] to
    masks[i + 1]. rows: int64 (M + 1,), mask m has the spans rows[m] to rows[m + 1]. frames: int64 (M,). areas: float64
    (N, T), pixels, 0 without mask. sizes: int64 (N, T), a number for the mask's height and width, 0 without mask.
    lengths: int64 (N,), frames of each track.
    """

    edges: np.ndarray
    masks: np.ndarray
    rows: np.ndarray
    frames: np.ndarray
    areas: np.ndarray
    sizes: np.ndarray
    lengths: np.ndarray

    def of_track(self, track: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Its edges in one row, the frame of each of its masks, and the position of each mask's first span."""
        masks = slice(self.masks[track], self.masks[track + 1])
        rows = slice(self.rows[masks.start], self.rows[masks.stop])
        return self.edges[rows].ravel(), self.frames[masks], self.rows[masks] - rows.start


def decode_spans(tracks: Sequence[EncodedMasks], length: int, stride: int) -> Spans:
    """Decode and check the masks of N tracks of one video.

    length: T, the largest number of frames of a track of the video. stride: the largest number of pixels of a mask.
    Raises: BadMaskError.
    """
    owner = np.repeat(np.arange(len(tracks)), [len(track.frames) for track in tracks])
    frames = np.concatenate([np.zeros(0, np.int64), *(track.frames for track in tracks)])
    sizes_hw = np.concatenate([np.zeros((0, 2), np.int64), *(track.sizes_hw for track in tracks)])
    pixels = sizes_hw.prod(axis=1)
    try:
        runs = _decode(tracks, sizes_hw, pixels)
    except RleError as error:
        raise BadMaskError(int(owner[error.index]), int(frames[error.index]), error.reason) from None
    areas, sizes = np.zeros((len(tracks), length)), np.zeros((len(tracks), length), np.int64)
    areas[owner, frames], sizes[owner, frames] = runs.areas, sizes_hw[:, 0] * _MAX_PIXELS + sizes_hw[:, 1]
    # The first run of a mask reaches from the end of the mask before it. numpy sums up 32 bits twice as fast.
    steps = runs.lengths.astype(np.int32 if length * stride < 1 << 31 else np.int64, copy=False)
    begins = frames * stride
    steps[runs.first[:-1], 0] += (begins - np.concatenate([[0], (begins + pixels)[:-1]])).astype(steps.dtype)
    return Spans(
        edges=np.cumsum(steps.ravel(), dtype=steps.dtype).reshape(-1, 2).astype(np.float64),
        masks=np.searchsorted(owner, np.arange(len(tracks) + 1)),
        rows=runs.first,
        frames=frames,
        areas=areas,
        sizes=sizes,
        lengths=np.array([track.length for track in tracks], np.int64),
    )


def _decode(tracks: Sequence[EncodedMasks], sizes_hw: np.ndarray, pixels: np.ndarray) -> Runs:
    """sizes_hw, pixels: of all masks."""
    if not len(pixels):
        none = np.zeros(0, np.int64)
        return Runs(none.reshape(0, 2), np.zeros(1, np.int64), none)
    wrong = (sizes_hw < 1).any(axis=1) | (sizes_hw >= _MAX_PIXELS).any(axis=1) | (pixels >= _MAX_PIXELS)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise RleError(index, f"a mask of {sizes_hw[index, 0]} x {sizes_hw[index, 1]} (height x width) cannot be", "")
    present = [track for track in tracks if len(track.frames)]
    joined, digits = [track.counts for track in present], {track.digits for track in present}
    texts = [item for item in joined if isinstance(item, bytes)]
    if len(texts) == len(joined) and len(digits) == 1:
        return (
            decode_joined(LIST_END.join(texts), pixels)
            if digits == {True}
            else decode_texts(TEXT_END.join(texts), pixels)
        )
    # Several forms side by side are rare: all are decoded as plain run lengths.
    counts = [item for track in present for item in _separate(track)]
    texts = [item for item in counts if isinstance(item, bytes)]
    if len(texts) == len(counts):
        return decode_texts(texts, pixels)
    return decode_lists([_plain(i, item, pixels) for i, item in enumerate(counts)], pixels)


def _separate(track: EncodedMasks) -> Sequence[bytes | list[int] | np.ndarray]:
    """The counts mask by mask, those that are digits as run lengths."""
    if not isinstance(track.counts, bytes):
        return track.counts
    return (
        [parse_numbers([item])[0] for item in track.counts.split(LIST_END)]
        if track.digits
        else track.counts.split(TEXT_END)
    )


def _plain(index: int, counts: bytes | list[int] | np.ndarray, pixels: np.ndarray) -> list[int] | np.ndarray:
    if not isinstance(counts, bytes):
        return counts
    try:
        return decode_texts([counts], pixels[index : index + 1]).lengths.ravel()
    except RleError as error:
        raise RleError(index, error.reason, error.detail) from None


def max_extent(tracks: Sequence[EncodedMasks]) -> tuple[int, int]:
    """The largest number of frames of a track, and of pixels of a mask."""
    length = max((track.length for track in tracks), default=0)
    sizes_hw = np.concatenate([np.zeros((0, 2), np.int64), *(track.sizes_hw for track in tracks)])
    return length, int(sizes_hw.prod(axis=1).max(initial=0))


def frame_overlaps(a: Spans, b: Spans, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intersection and union of pairs of tracks of one video in each frame.

    pairs: int64 (n, 2), tracks of a and of b. Returns two float64 (n, T), whole numbers of pixels; both are 0 in frames
    that only one of the two tracks has, and in frames in which their masks differ in size.
    """
    first, second = pairs.T
    intersection = np.zeros((len(pairs), a.areas.shape[1]))
    of_track: dict[int, list[int]] = {}
    for row, track in enumerate(second.tolist()):
        of_track.setdefault(track, []).append(row)
    for track, rows in of_track.items():
        _fill_intersection(intersection, a, b.of_track(track)[0], first[rows].tolist(), rows)
    shorter = np.minimum(a.lengths[first], b.lengths[second])
    counts = np.arange(intersection.shape[1]) < shorter[:, None]
    size_a, size_b = a.sizes[first], b.sizes[second]
    counts &= (size_a == size_b) | (size_a == 0) | (size_b == 0)
    intersection *= counts
    return intersection, (a.areas[first] + b.areas[second]) * counts - intersection


def _fill_intersection(result: np.ndarray, a: Spans, knots: np.ndarray, tracks: list[int], rows: list[int]) -> None:
    """Fill in rows of `result`: of tracks of `a` with the track whose edges are `knots`."""
    if not len(knots):
        return
    # The number of covered pixels before a point grows by one a pixel or not at all between two knots, so that linear
    # interpolation of it is exact.
    covered = np.zeros(len(knots))
    covered[1::2] = np.cumsum(knots[1::2] - knots[0::2])
    covered[2::2] = covered[1:-1:2]
    for row, track in zip(rows, tracks, strict=True):
        edges, frames, begins = a.of_track(track)
        if len(frames):
            inside = np.interp(edges, knots, covered)
            result[row, frames] = np.add.reduceat(inside[1::2] - inside[0::2], begins)


def track_ious(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    """float64 (n,): the sums over frames divided, 0 where the union is empty. intersection, union: (n, T)."""
    total = union.sum(axis=-1, dtype=np.float64)
    area = intersection.sum(axis=-1, dtype=np.float64)
    return np.divide(area, total, out=np.zeros(total.shape), where=total > 0)


# --- a data set


@dataclass(frozen=True, eq=False)
class VideoClassPairs:
    """The ground truth and the predictions of one video and one class.

    video, category: positions in Inputs' lists. ground_truth: int64 (G,), rows of Inputs' table in file order.
    predictions: int64 (D,), rows of the table, best score first, equal ones in file order. ious: float64 (D, G).
    """

    video: int
    category: int
    ground_truth: np.ndarray
    predictions: np.ndarray
    ious: np.ndarray


@dataclass(frozen=True, eq=False)
class VideoPairs:
    """How every prediction of a video overlaps every track of its ground truth, whatever their classes, frame by frame.

    video: position in Inputs.videos. ground_truth, predictions: int64 (G,) and (D,), rows of Inputs' tables: file
    order, best score first. intersection, union: int32 (D, G, T), pixels; see `frame_overlaps`. ground_truth_areas,
    prediction_areas: int32 (G, T) and (D, T), pixels.
    """

    video: int
    ground_truth: np.ndarray
    predictions: np.ndarray
    intersection: np.ndarray
    union: np.ndarray
    ground_truth_areas: np.ndarray
    prediction_areas: np.ndarray

    def ious(self) -> np.ndarray:
        """float64 (D, G): of the whole tracks."""
        return track_ious(self.intersection, self.union)

    def frame_ious(self) -> np.ndarray:
        """float32 (D, G, T), 0 where both are empty."""
        return (self.intersection / np.maximum(self.union, 1)).astype(np.float32)

    def track_ious(self, d: int | None, g: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Whether either track is present, bool (T,), and their frame IoUs, float32 (T,).

        d, g: positions of a prediction and of ground truth; None: of one track alone the highest IoU with any other.
        """
        own = slice(None) if d is None else slice(d, d + 1), slice(None) if g is None else slice(g, g + 1)
        ious = (self.intersection[own] / np.maximum(self.union[own], 1)).astype(np.float32)
        present = np.zeros(ious.shape[2], bool)
        if d is not None:
            present |= self.prediction_areas[d] > 0
        if g is not None:
            present |= self.ground_truth_areas[g] > 0
        return present, ious.max(axis=(0, 1), initial=0)


@dataclass(frozen=True, eq=False)
class Overlaps:
    """inputs: with all areas filled in. groups: by category, then by video. ground_truth_frames, prediction_frames:
    int64 (N,), frames in which each track is present. agnostic: whether all classes are pooled. pairs: of each video,
    if requested. warnings: of Inputs, and of what the masks showed."""

    inputs: Inputs
    groups: list[VideoClassPairs]
    ground_truth_frames: np.ndarray
    prediction_frames: np.ndarray
    agnostic: bool
    pairs: list[VideoPairs]
    warnings: tuple[str, ...]


def compute_overlaps(
    inputs: Inputs,
    agnostic: bool = False,
    progress: "Progress | None" = None,
    all_pairs: bool = False,
    processes: int = 1,
) -> Overlaps:
    """Read all masks, one video at a time.

    agnostic: pool all classes. all_pairs: also keep the overlaps of tracks of different classes. processes: see
    `parallel_map`.
    Raises: ValueError that names the track and the frame of a damaged mask.
    """
    # A large block that is freed makes the C library (glibc) keep as much freed memory, instead of returning the few
    # megabytes of each video and requesting them again, zeroed, for the next.
    np.empty(31 << 20, np.uint8)
    tables = inputs.ground_truth, inputs.predictions
    areas = [table.areas.copy() for table in tables]
    frames = [np.zeros(len(table.ids), np.int64) for table in tables]
    groups: list[VideoClassPairs] = []
    pairs: list[VideoPairs] = []
    counts = np.zeros(4, np.int64)
    videos = _rows_by_video(inputs, agnostic)
    for result in parallel_map(lambda rows: _measure_video(inputs, rows, agnostic, all_pairs), videos, processes):
        for side, rows in enumerate((result.rows.ground_truth, result.rows.predictions)):
            areas[side][rows] = np.where(np.isnan(areas[side][rows]), result.areas[side], areas[side][rows])
            frames[side][rows] = result.frames[side]
        groups.extend(result.groups)
        pairs.extend(result.pairs)
        counts += result.mismatches
        if progress:
            progress("measuring masks", result.rows.video + 1, len(inputs.videos))
    groups.sort(key=lambda group: (group.category, group.video))
    ground_truth, predictions = (replace(table, areas=own) for table, own in zip(tables, areas, strict=True))
    known = replace(inputs, ground_truth=ground_truth, predictions=predictions)
    warnings = _mismatch_warnings(counts.tolist())
    return Overlaps(known, groups, frames[0], frames[1], agnostic, pairs, (*inputs.warnings, *warnings))


def _mismatch_warnings(counts: list[int]) -> list[str]:
    """counts: as `_VideoOverlaps.mismatches`."""
    warnings = []
    for side, (lengths, sizes) in (f"{LABELS}{{}} annotations", counts[:2]), ("{} predictions", counts[2:]):
        if lengths:
            warnings.append(
                f"{side.format(lengths)} have more or fewer frames than their video; only common frames count"
            )
        if sizes:
            warnings.append(
                f"{side.format(sizes)} have masks of another size than their video; such frames do not count"
            )
    return warnings


class _VideoRows(NamedTuple):
    """One video: rows of its ground truth, in file order, and of its predictions, best first."""

    video: int
    ground_truth: np.ndarray
    predictions: np.ndarray


def _rows_by_video(inputs: Inputs, agnostic: bool) -> list[_VideoRows]:
    ground_truth, predictions = inputs.ground_truth, inputs.predictions
    # Pooled classes come in the order of their ids, which settles ties.
    first = predictions.categories if agnostic else np.zeros(len(predictions.ids))
    rows_t = np.lexsort((ground_truth.categories if agnostic else ground_truth.videos, ground_truth.videos))
    rows_p = np.lexsort((first, -predictions.scores, predictions.videos))
    places = np.arange(1, len(inputs.videos))
    of_t = np.split(rows_t, np.searchsorted(ground_truth.videos[rows_t], places))
    of_p = np.split(rows_p, np.searchsorted(predictions.videos[rows_p], places))
    return [_VideoRows(v, *rows) for v, rows in enumerate(zip(of_t, of_p, strict=True)) if v < len(inputs.videos)]


class _VideoOverlaps(NamedTuple):
    """One video's part of Overlaps. areas, frames: of ground truth and predictions; areas: mean over the frames in
    which a track is present. mismatches: annotations of another length than the video, those with masks of another
    size, and the same of predictions.
    """

    rows: _VideoRows
    areas: tuple[np.ndarray, np.ndarray]
    frames: tuple[np.ndarray, np.ndarray]
    groups: list[VideoClassPairs]
    pairs: list[VideoPairs]
    mismatches: np.ndarray


def _measure_video(inputs: Inputs, rows: _VideoRows, agnostic: bool, all_pairs: bool) -> _VideoOverlaps:
    video, rows_t, rows_p = rows
    ground_truth, predictions = read_video(inputs, video, rows_t, rows_p)
    classes, within = _classes(inputs, rows, agnostic)
    pairs = []
    if all_pairs:
        shape = (len(rows_p), len(rows_t), predictions.areas.shape[1])
        intersection, union = frame_overlaps(predictions, ground_truth, np.indices(shape[:2]).reshape(2, -1).T)
        pairs.append(
            VideoPairs(
                video=video,
                ground_truth=rows_t,
                predictions=rows_p,
                intersection=intersection.astype(np.int32).reshape(shape),
                union=union.astype(np.int32).reshape(shape),
                ground_truth_areas=ground_truth.areas.astype(np.int32),
                prediction_areas=predictions.areas.astype(np.int32),
            )
        )
        ious = pairs[0].ious()[within[:, 0], within[:, 1]]
    else:
        ious = track_ious(*frame_overlaps(predictions, ground_truth, within))
    groups, stop = [], 0
    for category, of_t, of_p in classes:
        start, stop = stop, stop + len(of_t) * len(of_p)
        groups.append(VideoClassPairs(video, category, of_t, of_p, ious[start:stop].reshape(len(of_p), len(of_t))))
    frames = (ground_truth.areas > 0).sum(axis=1), (predictions.areas > 0).sum(axis=1)
    areas = (
        ground_truth.areas.sum(axis=1) / np.maximum(frames[0], 1),
        predictions.areas.sum(axis=1) / np.maximum(frames[1], 1),
    )
    info = inputs.videos[video]
    size = info.size_hw[0] * _MAX_PIXELS + info.size_hw[1]
    mismatches = []
    for side in (ground_truth, predictions):
        other_size = ((side.sizes != size) & (side.sizes > 0)).any(axis=1)
        mismatches += [np.count_nonzero(side.lengths != info.length), np.count_nonzero(other_size)]
    return _VideoOverlaps(rows, areas, frames, groups, pairs, np.array(mismatches))


def read_video(inputs: Inputs, video: int, rows_t: np.ndarray, rows_p: np.ndarray) -> tuple[Spans, Spans]:
    """The masks of some ground truth and predictions of one video, checked.

    Raises: ValueError that names the track and the frame of a damaged mask.
    """
    tables, rows = (inputs.ground_truth, inputs.predictions), (rows_t, rows_p)
    masks = [table.read_masks(own.tolist()) for table, own in zip(tables, rows, strict=True)]
    length, stride = max_extent([*masks[0], *masks[1]])
    result = []
    for table, own, tracks in zip(tables, rows, masks, strict=True):
        try:
            result.append(decode_spans(tracks, length, stride))
        except BadMaskError as error:
            name = f"{table.label} {table.ids[own[error.track]]} (video {inputs.videos[video].id})"
            raise ValueError(f"{name}, frame {error.frame}: {error.reason}") from None
    return result[0], result[1]


def _classes(
    inputs: Inputs, rows: _VideoRows, agnostic: bool
) -> tuple[list[tuple[int, np.ndarray, np.ndarray]], np.ndarray]:
    """The classes of a video with rows of ground truth and of predictions, and all pairs within the classes.

    The pairs: int64 (n, 2), positions in rows.predictions and in rows.ground_truth.
    """
    of_class: dict[int, tuple[list[int], list[int]]] = {}
    tables = inputs.ground_truth, inputs.predictions
    for side, own in enumerate((rows.ground_truth, rows.predictions)):
        categories = tables[side].categories[own] * (not agnostic)
        for place, category in enumerate(categories.tolist()):
            of_class.setdefault(category, ([], []))[side].append(place)
    classes, pairs = [], []
    for category, (of_t, of_p) in sorted(of_class.items()):
        of_p = of_p[:MAX_PREDICTIONS]
        classes.append((category, rows.ground_truth[of_t], rows.predictions[of_p]))
        pairs += [(p, t) for p in of_p for t in of_t]
    return classes, np.array(pairs, np.int64).reshape(-1, 2)


def frame_ious(inputs: Inputs, prediction_id: int, truth_id: int) -> np.ndarray:
    """float64 (T,): IoU in every frame that both tracks have, NaN where neither has a mask or their sizes differ.

    Raises: ValueError where there is no such track, or the two are of different videos.
    """

    def row(table: Tracks, id: int, kind: str) -> int:
        rows = np.flatnonzero(table.ids == id)
        if not len(rows):
            raise ValueError(f"there is no {kind} {id}")
        return int(rows[0])

    row_t = row(inputs.ground_truth, truth_id, "annotation")
    row_p = row(inputs.predictions, prediction_id, "prediction")
    video = int(inputs.ground_truth.videos[row_t])
    if inputs.predictions.videos[row_p] != video:
        raise ValueError(f"prediction {prediction_id} and annotation {truth_id} are of different videos")
    ground_truth, predictions = read_video(inputs, video, np.array([row_t]), np.array([row_p]))
    intersection, union = frame_overlaps(predictions, ground_truth, np.zeros((1, 2), np.int64))
    common = min(ground_truth.lengths[0], predictions.lengths[0])
    return np.divide(intersection[0], union[0], out=np.full(len(union[0]), np.nan), where=union[0] > 0)[:common]


def filter_scores(overlaps: Overlaps, min_score: float) -> Overlaps:
    """Only the predictions of at least this score; the tables keep all, so that rows and ids stay the same.

    Equal to measuring a file without the others, because predictions are sorted by score everywhere.
    """
    scores = overlaps.inputs.predictions.scores
    if not len(scores) or min_score <= scores.min():
        return overlaps

    def kept(item: VideoClassPairs | VideoPairs) -> int:
        return int(np.count_nonzero(scores[item.predictions] >= min_score))

    groups = [
        replace(group, predictions=group.predictions[: kept(group)], ious=group.ious[: kept(group)])
        for group in overlaps.groups
    ]
    names = ("predictions", "intersection", "union", "prediction_areas")
    pairs = [replace(own, **{name: getattr(own, name)[: kept(own)] for name in names}) for own in overlaps.pairs]
    left_out = tuple(x for x in overlaps.inputs.left_out if x.kind == "annotation" or x.score >= min_score)
    return replace(overlaps, inputs=replace(overlaps.inputs, left_out=left_out), groups=groups, pairs=pairs)


_SIDES = ("ground_truth", "predictions")
_COLUMNS = ("ids", "videos", "categories", "scores", "areas", "crowd")
_GROUP_ARRAYS = (*_SIDES, "ious")
_PAIR_ARRAYS = (*_SIDES, "intersection", "union", "ground_truth_areas", "prediction_areas")


class _OverlapsHead(msgspec.Struct):
    videos: list[EvaluatedVideo]
    categories: dict[int, str]
    left_out: list[LeftOutTrack]
    input_warnings: list[str]
    warnings: list[str]
    agnostic: bool
    labels: list[str]


def pack(overlaps: Overlaps) -> dict[str, np.ndarray]:
    """Everything but the access to the masks, as arrays of numbers; "head": uint8, JSON."""

    def joined(items: Sequence[VideoClassPairs] | Sequence[VideoPairs], name: str, dtype: type) -> np.ndarray:
        return np.concatenate([np.zeros(0, dtype), *(getattr(item, name).ravel() for item in items)])

    inputs, groups, pairs = overlaps.inputs, overlaps.groups, overlaps.pairs
    head = _OverlapsHead(
        videos=inputs.videos,
        categories=inputs.categories,
        left_out=list(inputs.left_out),
        input_warnings=list(inputs.warnings),
        warnings=list(overlaps.warnings),
        agnostic=overlaps.agnostic,
        labels=[inputs.ground_truth.label, inputs.predictions.label],
    )
    group_shapes = [(g.video, g.category, len(g.ground_truth), len(g.predictions)) for g in groups]
    dtypes = {"ious": np.float64, **dict.fromkeys(_PAIR_ARRAYS, np.int32), **dict.fromkeys(_SIDES, np.int64)}
    return {
        "head": np.frombuffer(msgspec.json.encode(head), np.uint8),
        **{f"{side}.{name}": getattr(getattr(inputs, side), name) for side in _SIDES for name in _COLUMNS},
        "ground_truth.frames": overlaps.ground_truth_frames,
        "predictions.frames": overlaps.prediction_frames,
        "groups.shapes": np.array(group_shapes, np.int64).reshape(-1, 4),
        **{f"groups.{name}": joined(groups, name, dtypes[name]) for name in _GROUP_ARRAYS},
        "pairs.shapes": np.array([(p.video, *p.intersection.shape) for p in pairs], np.int64).reshape(-1, 4),
        **{f"pairs.{name}": joined(pairs, name, dtypes[name]) for name in _PAIR_ARRAYS},
    }


def unpack(arrays: Mapping[str, np.ndarray]) -> Overlaps:
    """The inverse of `pack`; the masks cannot be read."""
    head = msgspec.json.decode(arrays["head"].tobytes(), type=_OverlapsHead)
    sides = {
        side: Tracks(label, *(arrays[f"{side}.{name}"] for name in _COLUMNS), read_masks=_no_masks)
        for side, label in zip(_SIDES, head.labels, strict=True)
    }
    inputs = Inputs(
        videos=head.videos,
        categories=head.categories,
        **sides,
        left_out=tuple(head.left_out),
        warnings=tuple(head.input_warnings),
    )
    of_groups = [_Reader(arrays[f"groups.{name}"]) for name in _GROUP_ARRAYS]
    groups = []
    for video, category, g, d in arrays["groups.shapes"].tolist():
        shapes = (g,), (d,), (d, g)
        own = (read(*shape) for read, shape in zip(of_groups, shapes, strict=True))
        groups.append(VideoClassPairs(video, category, *own))
    of_pairs = [_Reader(arrays[f"pairs.{name}"]) for name in _PAIR_ARRAYS]
    pairs = []
    for video, d, g, t in arrays["pairs.shapes"].tolist():
        shapes = (g,), (d,), (d, g, t), (d, g, t), (g, t), (d, t)
        pairs.append(VideoPairs(video, *(read(*shape) for read, shape in zip(of_pairs, shapes, strict=True))))
    return Overlaps(
        inputs=inputs,
        groups=groups,
        ground_truth_frames=arrays["ground_truth.frames"],
        prediction_frames=arrays["predictions.frames"],
        agnostic=head.agnostic,
        pairs=pairs,
        warnings=tuple(head.warnings),
    )


def _no_masks(rows: Sequence[int]) -> NoReturn:
    raise ValueError("the masks were not kept with what was measured: read the files")


class _Reader:
    """Returns consecutive parts of one array."""

    def __init__(self, array: np.ndarray):
        self._array, self._place = array, 0

    def __call__(self, *shape: int) -> np.ndarray:
        start, self._place = self._place, self._place + int(np.prod(shape))
        return self._array[start : self._place].reshape(shape)
