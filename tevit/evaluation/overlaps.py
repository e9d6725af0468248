"""Overlaps of predictions and ground truth: IoUs within each class of each video, areas and lengths of the tracks.

`pack` and `unpack` convert overlaps to plain arrays and back, to be stored in a file and loaded without reading a mask.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import msgspec
import numpy as np

from tevit.evaluation.inputs import LABELS, EvaluatedVideo, Inputs, LeftOutTrack, Tracks
from tevit.masks.ops import MAX_PIXELS, BadMaskError, Spans, decode_spans, frame_overlaps, max_extent, track_ious
from tevit.progress import parallel_map

if TYPE_CHECKING:
    from tevit.progress import Progress

MAX_PREDICTIONS = 100  # of one video and one class
_TRACKS = 48  # measured at once, but for a video with more: numpy's calls cost more than the work for a small video


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
    orders = _orders(inputs, agnostic)
    classes = _class_groups(inputs, orders, agnostic)
    parts = []
    work = partial(_measure_videos, inputs, orders, classes, all_pairs)
    for part in parallel_map(work, _chunks(orders), processes):
        parts.append(part)
        if progress:
            progress("measuring masks", part.stop, len(inputs.videos))
    sides = zip((inputs.ground_truth, inputs.predictions), orders, strict=True)
    tables = [_with_areas(*both, [(part.areas[i], part.frames[i]) for part in parts]) for i, both in enumerate(sides)]
    counts = sum((part.mismatches for part in parts), np.zeros(4, np.int64))
    return Overlaps(
        inputs=replace(inputs, ground_truth=tables[0][0], predictions=tables[1][0]),
        groups=classes.with_ious(np.concatenate([np.zeros(0), *(part.ious for part in parts)])),
        ground_truth_frames=tables[0][1],
        prediction_frames=tables[1][1],
        agnostic=agnostic,
        pairs=[pairs for part in parts for pairs in part.pairs],
        warnings=(*inputs.warnings, *_mismatch_warnings(counts.tolist())),
    )


def _with_areas(
    table: Tracks, order: "_Order", parts: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[Tracks, np.ndarray]:
    """One side with all areas, and the frames of each track. parts: areas and frames of consecutive videos."""
    areas, frames = np.zeros(len(table.ids)), np.zeros(len(table.ids), np.int64)
    areas[order.rows] = np.concatenate([np.zeros(0), *(own for own, _ in parts)])
    frames[order.rows] = np.concatenate([np.zeros(0, np.int64), *(own for _, own in parts)])
    return replace(table, areas=np.where(np.isnan(table.areas), areas, table.areas)), frames


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


class _Order(NamedTuple):
    """One side's tracks by video. rows: int64 (N,), of the table. first: int64 (V + 1,), video v has the rows first[v]
    to first[v + 1]. places: int64 (N,), the inverse of rows."""

    rows: np.ndarray
    first: np.ndarray
    places: np.ndarray

    def of_videos(self, videos: range) -> np.ndarray:
        """The rows of consecutive videos."""
        return self.rows[self.first[videos.start] : self.first[videos.stop]]


def _orders(inputs: Inputs, agnostic: bool) -> tuple[_Order, _Order]:
    """Of ground truth, in file order, and of predictions, best first, equal ones in file order."""
    ground_truth, predictions = inputs.ground_truth, inputs.predictions
    # Pooled classes come in the order of their ids, which settles ties.
    of_class = predictions.categories if agnostic else np.zeros(len(predictions.ids))
    rows_t = np.lexsort((ground_truth.categories if agnostic else ground_truth.videos, ground_truth.videos))
    rows_p = np.lexsort((of_class, -predictions.scores, predictions.videos))
    orders = []
    for table, rows in ((ground_truth, rows_t), (predictions, rows_p)):
        first = np.searchsorted(table.videos[rows], np.arange(len(inputs.videos) + 1))
        orders.append(_Order(rows, first, np.argsort(rows)))
    return orders[0], orders[1]


def _chunks(orders: tuple[_Order, _Order]) -> list[range]:
    """Consecutive videos that are measured at once."""
    sizes = sum(np.diff(order.first) for order in orders)
    chunks, start, size = [], 0, 0
    for video, count in enumerate(np.asarray(sizes).tolist()):
        if video > start and size + count > _TRACKS:
            chunks.append(range(start, video))
            start, size = video, 0
        size += count
    return [*chunks, range(start, len(orders[0].first) - 1)] if len(orders[0].first) > 1 else []


class _ClassGroups(NamedTuple):
    """The tracks of all N groups of one video and one class, by video, then by class.

    videos, categories: int64 (N,). rows_t, rows_p: rows of the tables, group after group, of predictions the first
    MAX_PREDICTIONS. first_t, first_p: int64 (N + 1,), group n has rows_t[first_t[n]] to rows_t[first_t[n + 1]].
    """

    videos: np.ndarray
    categories: np.ndarray
    rows_t: np.ndarray
    rows_p: np.ndarray
    first_t: np.ndarray
    first_p: np.ndarray

    def pairs(self, videos: range) -> tuple[np.ndarray, np.ndarray]:
        """Rows of predictions and of ground truth, int64 (n,): all pairs within the groups of these videos."""
        start, stop = np.searchsorted(self.videos, (videos.start, videos.stop))
        sizes_p, sizes_t = (np.diff(first[start : stop + 1]) for first in (self.first_p, self.first_t))
        repeats = np.repeat(sizes_t, sizes_p)  # of each prediction: with how much ground truth
        rows_p = np.repeat(self.rows_p[self.first_p[start] : self.first_p[stop]], repeats)
        begins = np.repeat(self.first_t[start:stop], sizes_p) - (np.cumsum(repeats) - repeats)
        return rows_p, self.rows_t[np.repeat(begins, repeats) + np.arange(len(rows_p))]

    def with_ious(self, ious: np.ndarray) -> list[VideoClassPairs]:
        """By category, then by video. ious: of all pairs, in the order of `pairs`."""
        groups, stop = [], 0
        first_t, first_p = self.first_t.tolist(), self.first_p.tolist()
        for n, (video, category) in enumerate(zip(self.videos.tolist(), self.categories.tolist(), strict=True)):
            of_t, of_p = self.rows_t[first_t[n] : first_t[n + 1]], self.rows_p[first_p[n] : first_p[n + 1]]
            start, stop = stop, stop + len(of_t) * len(of_p)
            groups.append(VideoClassPairs(video, category, of_t, of_p, ious[start:stop].reshape(len(of_p), len(of_t))))
        return sorted(groups, key=lambda group: (group.category, group.video))


def _class_groups(inputs: Inputs, orders: tuple[_Order, _Order], agnostic: bool) -> _ClassGroups:
    classes = 1 if agnostic else max(len(inputs.categories), 1)
    rows, keys = [], []
    for table, order in zip((inputs.ground_truth, inputs.predictions), orders, strict=True):
        own = (table.videos * classes + table.categories * (not agnostic))[order.rows]
        by_key = np.argsort(own, kind="stable")
        rows.append(order.rows[by_key])
        keys.append(own[by_key])
    best = np.arange(len(keys[1])) - np.searchsorted(keys[1], keys[1]) < MAX_PREDICTIONS
    rows[1], keys[1] = rows[1][best], keys[1][best]
    every = np.union1d(*keys)
    firsts = (np.append(np.searchsorted(own, every), len(own)) for own in keys)
    return _ClassGroups(every // classes, every % classes, *rows, *firsts)


class _MeasuredVideos(NamedTuple):
    """Consecutive videos' part of Overlaps. stop: the first video after them. areas, frames: of ground truth and
    predictions in _Order's order; areas: mean over the frames in which a track is present. ious: of
    `_ClassGroups.pairs`. mismatches: annotations of another length than the video, those with masks of another size,
    and the same of predictions.
    """

    stop: int
    areas: list[np.ndarray]
    frames: list[np.ndarray]
    ious: np.ndarray
    pairs: list[VideoPairs]
    mismatches: np.ndarray


def _measure_videos(
    inputs: Inputs, orders: tuple[_Order, _Order], classes: _ClassGroups, all_pairs: bool, videos: range
) -> _MeasuredVideos:
    rows = [order.of_videos(videos) for order in orders]
    sides = read_spans(inputs, *rows)
    rows_p, rows_t = classes.pairs(videos)
    places = [
        order.places[own] - order.first[videos.start] for order, own in zip(orders, (rows_t, rows_p), strict=True)
    ]
    pairs = _measure_pairs(orders, rows, sides, videos) if all_pairs else []
    if all_pairs:
        sizes = [own.intersection.shape[0] * own.intersection.shape[1] for own in pairs]
        first_t, first_p = ([order.first[video] - order.first[videos.start] for video in videos] for order in orders)
        video = inputs.predictions.videos[rows_p] - videos.start
        index = (places[1] - np.array(first_p, np.int64)[video]) * np.diff(orders[0].first)[videos.start + video]
        index += places[0] - np.array(first_t, np.int64)[video] + (np.cumsum(sizes) - sizes)[video]
        ious = np.concatenate([own.ious().ravel() for own in pairs])[index]
    else:
        ious = track_ious(*frame_overlaps(sides[1], sides[0], np.stack(places[::-1], axis=1)))
    frames = [(side.areas > 0).sum(axis=1) for side in sides]
    areas = [side.areas.sum(axis=1) / np.maximum(own, 1) for side, own in zip(sides, frames, strict=True)]
    return _MeasuredVideos(videos.stop, areas, frames, ious, pairs, _count_mismatches(inputs, rows, sides))


def _count_mismatches(inputs: Inputs, rows: Sequence[np.ndarray], sides: Sequence[Spans]) -> np.ndarray:
    """As `_MeasuredVideos.mismatches`. rows: of the tables, for the tracks of each side."""
    counts = []
    for table, own, side in zip((inputs.ground_truth, inputs.predictions), rows, sides, strict=True):
        infos = [inputs.videos[video] for video in table.videos[own].tolist()]
        lengths = np.array([info.length for info in infos], np.int64)
        sizes = np.array([info.size_hw[0] * MAX_PIXELS + info.size_hw[1] for info in infos], np.int64)
        other_size = ((side.sizes != sizes[:, None]) & (side.sizes > 0)).any(axis=1)
        counts += [np.count_nonzero(side.lengths != lengths), np.count_nonzero(other_size)]
    return np.array(counts)


def _measure_pairs(
    orders: tuple[_Order, _Order], rows: Sequence[np.ndarray], sides: tuple[Spans, Spans], videos: range
) -> list[VideoPairs]:
    """All pairs of each video. rows: of the tables, for the tracks of each side."""
    own = [
        [slice(*(order.first[[video, video + 1]] - order.first[videos.start])) for video in videos] for order in orders
    ]
    every = [
        np.indices((d.stop - d.start, g.stop - g.start)).reshape(2, -1).T + np.array([d.start, g.start])
        for g, d in zip(*own, strict=True)
    ]
    intersections, unions = frame_overlaps(sides[1], sides[0], np.concatenate(every))
    results, stop = [], 0
    for video, g, d, of_video in zip(videos, *own, every, strict=True):
        length = max(side.lengths[part].max(initial=0) for side, part in zip(sides, (g, d), strict=True))
        start, stop = stop, stop + len(of_video)
        shape = (d.stop - d.start, g.stop - g.start, length)
        results.append(
            VideoPairs(
                video=video,
                ground_truth=rows[0][g],
                predictions=rows[1][d],
                intersection=intersections[start:stop, :length].astype(np.int32).reshape(shape),
                union=unions[start:stop, :length].astype(np.int32).reshape(shape),
                ground_truth_areas=sides[0].areas[g, :length].astype(np.int32),
                prediction_areas=sides[1].areas[d, :length].astype(np.int32),
            )
        )
    return results


def read_spans(inputs: Inputs, rows_t: np.ndarray, rows_p: np.ndarray) -> tuple[Spans, Spans]:
    """The masks of some ground truth and predictions of one or several videos, checked.

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
            row = own[error.track]
            name = f"{table.label} {table.ids[row]} (video {inputs.videos[table.videos[row]].id})"
            raise ValueError(f"{name}, frame {error.frame}: {error.reason}") from None
    return result[0], result[1]


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
    ground_truth, predictions = read_spans(inputs, np.array([row_t]), np.array([row_p]))
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

    def count_kept(item: VideoClassPairs | VideoPairs) -> int:
        return int(np.count_nonzero(scores[item.predictions] >= min_score))

    groups = [
        replace(group, predictions=group.predictions[: count_kept(group)], ious=group.ious[: count_kept(group)])
        for group in overlaps.groups
    ]
    names = ("predictions", "intersection", "union", "prediction_areas")
    pairs = [replace(own, **{name: getattr(own, name)[: count_kept(own)] for name in names}) for own in overlaps.pairs]
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
