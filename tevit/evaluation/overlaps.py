"""From a data set's masks to what the metric works with: IoUs within each class of each video, areas, lengths."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tevit.evaluation.inputs import Inputs, Masks, Tracks
from tevit.evaluation.matching import MOST_PREDICTIONS, VideoClassPairs
from tevit.evaluation.parallel import parallel_map
from tevit.masks.rle import RleError, Runs, decode_lists, decode_runs, decode_texts, parse_numbers

if TYPE_CHECKING:  # it imports a progress bar, which takes a while
    from tevit.progress import Progress


_MOST_PIXELS = 1 << 31


class BadMaskError(ValueError):
    """A mask that is none. track, frame: positions from 0; reason: what is wrong, in words."""

    def __init__(self, track: int, frame: int, reason: str):
        super().__init__(f"track {track}, frame {frame}: {reason}")
        self.track, self.frame, self.reason = track, frame, reason


@dataclass(frozen=True, eq=False)
class Spans:
    """N tracks of one video as stretches of foreground on one axis, frame after frame and pixel after pixel.

    edges: float64 (R, 2), where each stretch begins and ends. masks: int64 (N + 1,): track i has the masks masks[i] to
    masks[i + 1]. rows: int64 (M + 1,): mask m has the stretches rows[m] to rows[m + 1]. frames: int64 (M,).
    areas: float64 (N, T), pixels, 0 where there is no mask. sizes: int64 (N, T), a number that stands for the mask's
    height and width, 0 where there is no mask. lengths: int64 (N,), the frames that each track has.
    """

    edges: np.ndarray
    masks: np.ndarray
    rows: np.ndarray
    frames: np.ndarray
    areas: np.ndarray
    sizes: np.ndarray
    lengths: np.ndarray

    def of_track(self, track: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Its edges in a row, the frame of each of its masks, and where in the edges' pairs each mask begins."""
        masks = slice(self.masks[track], self.masks[track + 1])
        rows = slice(self.rows[masks.start], self.rows[masks.stop])
        return self.edges[rows].ravel(), self.frames[masks], self.rows[masks] - rows.start


def spans(tracks: Sequence[Masks], length: int, stride: int) -> Spans:
    """Decode and check the masks of N tracks of one video.

    length: T, the most frames that a track of the video has. stride: the most pixels that a mask of the video has.
    Raises: BadMaskError.
    """
    owner = np.repeat(np.arange(len(tracks)), [len(track.counts) for track in tracks])
    frames = np.concatenate([np.zeros(0, np.int64), *(track.frames for track in tracks)])
    sizes_hw = np.concatenate([np.zeros((0, 2), np.int64), *(track.sizes_hw for track in tracks)])
    try:
        decoded = _decode(tracks, sizes_hw)
    except RleError as error:
        raise BadMaskError(int(owner[error.index]), int(frames[error.index]), error.reason) from None
    areas, sizes = np.zeros((len(tracks), length)), np.zeros((len(tracks), length), np.int64)
    areas[owner, frames], sizes[owner, frames] = decoded.areas, sizes_hw[:, 0] * _MOST_PIXELS + sizes_hw[:, 1]
    return Spans(
        edges=_edges(decoded, frames * stride, sizes_hw.prod(axis=1)),
        masks=np.searchsorted(owner, np.arange(len(tracks) + 1)),
        rows=decoded.first,
        frames=frames,
        areas=areas,
        sizes=sizes,
        lengths=np.array([track.length for track in tracks], np.int64),
    )


def _decode(tracks: Sequence[Masks], sizes_hw: np.ndarray) -> Runs:
    """sizes_hw: of all masks."""
    counts = list(chain.from_iterable(track.counts for track in tracks))
    if not counts:
        none = np.zeros(0, np.int64)
        return Runs(none.reshape(0, 2), np.zeros(1, np.int64), none)
    pixels = sizes_hw.prod(axis=1)
    wrong = (sizes_hw < 1).any(axis=1) | (sizes_hw >= _MOST_PIXELS).any(axis=1) | (pixels >= _MOST_PIXELS)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise RleError(index, f"a mask of {sizes_hw[index, 0]} x {sizes_hw[index, 1]} (height x width) cannot be", "")
    texts = [found for found in counts if isinstance(found, bytes)]
    kinds = {track.digits for track in tracks if len(track.counts)}
    if len(texts) == len(counts) and len(kinds) == 1:
        return decode_runs(*parse_numbers(texts), pixels) if kinds == {True} else decode_texts(texts, pixels)
    digits = chain.from_iterable([track.digits] * len(track.counts) for track in tracks)
    return decode_lists(
        [_plain(*item, pixels) for item in zip(range(len(counts)), counts, digits, strict=True)], pixels
    )


def _plain(index: int, counts: bytes | list[int], digits: bool, pixels: np.ndarray) -> list[int] | np.ndarray:
    """Several forms side by side are rare, and then all are taken as run lengths."""
    if not isinstance(counts, bytes):
        return counts
    if digits:
        return parse_numbers([counts])[0]
    try:
        return decode_texts([counts], pixels[index : index + 1]).lengths.ravel()
    except RleError as error:
        raise RleError(index, error.reason, error.detail) from None


def _edges(decoded: Runs, begins: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """float64 (R, 2). begins: where on the axis each mask begins; pixels: how many it takes."""
    ends = begins + pixels
    decoded.lengths[decoded.first[:-1], 0] += begins - np.concatenate([[0], ends[:-1]])
    steps = decoded.lengths.ravel().copy()
    steps[1:] += decoded.lengths.ravel()[:-1]
    steps = steps.reshape(-1, 2)  # from begin to begin and from end to end: numpy sums columns up far faster than rows
    return np.cumsum(steps, axis=0, out=steps).astype(np.float64)


def frame_overlaps(a: Spans, b: Spans, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intersections and unions of pairs of tracks of one video, frame by frame.

    pairs: int64 (n, 2), tracks of a and of b. Returns two float64 (n, T), pixels, whole numbers. Frames that only one
    of the two tracks has are 0 in both, and so are frames in which their masks differ in size.
    """
    first, second = pairs.T
    common = np.zeros((len(pairs), a.areas.shape[1]))
    rows: dict[int, list[int]] = {}
    for row, track in enumerate(second.tolist()):
        rows.setdefault(track, []).append(row)
    for track, own in rows.items():
        _fill(common, a, b.of_track(track)[0], first[own].tolist(), own)
    shorter = np.minimum(a.lengths[first], b.lengths[second])
    counts = np.arange(common.shape[1]) < shorter[:, None]
    size_a, size_b = a.sizes[first], b.sizes[second]
    counts &= (size_a == size_b) | (size_a == 0) | (size_b == 0)
    common *= counts
    return common, (a.areas[first] + b.areas[second]) * counts - common


def _fill(common: np.ndarray, a: Spans, knots: np.ndarray, tracks: list[int], rows: list[int]) -> None:
    """Rows of `common`: of those tracks of a with the one whose edges are `knots`.

    The pixels covered before a knot grow, up to the next one, by one a pixel or not at all: so they can be
    interpolated, exactly.
    """
    if not len(knots):
        return
    covered = np.zeros(len(knots))
    covered[1::2] = np.cumsum(knots[1::2] - knots[0::2])
    covered[2::2] = covered[1:-1:2]
    for row, track in zip(rows, tracks, strict=True):
        edges, frames, begins = a.of_track(track)
        if len(frames):
            inside = np.interp(edges, knots, covered)
            common[row, frames] = np.add.reduceat(inside[1::2] - inside[0::2], begins)


def track_ious(common: np.ndarray, union: np.ndarray) -> np.ndarray:
    """float64 (n,): the sums over frames divided, 0 where there is nothing to unite."""
    total = union.sum(axis=1)
    return np.divide(common.sum(axis=1), total, out=np.zeros(len(total)), where=total > 0)


@dataclass(frozen=True, eq=False)
class VideoPairs:
    """How every prediction of a video overlaps every truth of it, whatever their classes, in every frame.

    video: position in Inputs.videos. truths, predictions: int64 (G,) and (D,), rows of the tables: file order, best
    score first. common, union: int32 (D, G, T), pixels; 0 in frames that do not count (see `frame_overlaps`).
    truth_areas, prediction_areas: int32 (G, T) and (D, T), pixels of the masks.
    """

    video: int
    ground_truth: np.ndarray
    predictions: np.ndarray
    common: np.ndarray
    union: np.ndarray
    truth_areas: np.ndarray
    prediction_areas: np.ndarray

    def ious(self) -> np.ndarray:
        """float64 (D, G): of the whole tracks."""
        total = self.union.sum(axis=2, dtype=np.float64)
        return np.divide(self.common.sum(axis=2, dtype=np.float64), total, out=np.zeros(total.shape), where=total > 0)

    def frame_ious(self) -> np.ndarray:
        """float32 (D, G, T), 0 where there is nothing."""
        return (self.common / np.maximum(self.union, 1)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Overlaps:
    """inputs: with every area known. groups: by category and then by video. truth_frames, prediction_frames: int64
    (N,), in how many frames each track is there. agnostic: whether all classes are taken for one.
    pairs: of each video, if they were asked for. warnings: Inputs' and what the masks showed."""

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
    """Read all masks, a video at a time.

    agnostic: one class for all. all_pairs: keep how tracks of different classes overlap, too. processes: share the
    work among so many, see `parallel_map`.
    Raises: ValueError that names the track and the frame of a mask that is none.
    """
    _keep_freed_memory()
    truths, predictions = inputs.ground_truth, inputs.predictions
    truth_areas, areas = truths.areas.copy(), predictions.areas.copy()
    truth_frames, frames = np.zeros(len(truths.ids), np.int64), np.zeros(len(predictions.ids), np.int64)
    groups: list[VideoClassPairs] = []
    pairs: list[VideoPairs] = []
    oddities = np.zeros(2, np.int64)
    videos = _by_video(inputs, agnostic)
    for found in parallel_map(lambda rows: _measure_video(inputs, rows, agnostic, all_pairs), videos, processes):
        for table, rows, own in (
            (truth_areas, found.rows.truths, found.truth_areas),
            (areas, found.rows.predictions, found.areas),
        ):
            table[rows] = np.where(np.isnan(table[rows]), own, table[rows])
        truth_frames[found.rows.truths], frames[found.rows.predictions] = found.truth_frames, found.frames
        groups.extend(found.groups)
        pairs.extend(found.pairs)
        oddities += found.oddities
        if progress:
            progress("measuring masks", found.rows.video + 1, len(inputs.videos))
    groups.sort(key=lambda group: (group.category, group.video))
    known = replace(
        inputs, ground_truth=replace(truths, areas=truth_areas), predictions=replace(predictions, areas=areas)
    )
    return Overlaps(known, groups, truth_frames, frames, agnostic, pairs, inputs.warnings + _warnings(oddities))


def _keep_freed_memory() -> None:
    """Every video takes and frees a few megabytes. The C library (glibc) gives such memory back at once and has to
    have it made anew, zeroed, for the next video; after one large block was freed, it keeps so much."""
    np.empty(31 << 20, np.uint8)


class _Rows(NamedTuple):
    """One video: rows of its truths, in file order, and of its predictions, best first."""

    video: int
    truths: np.ndarray
    predictions: np.ndarray


def _by_video(inputs: Inputs, agnostic: bool) -> list[_Rows]:
    truths, predictions = inputs.ground_truth, inputs.predictions
    # Pooled classes come in the order of their ids, which settles ties.
    first = predictions.categories if agnostic else np.zeros(len(predictions.ids))
    rows_t = np.lexsort((truths.categories if agnostic else truths.videos, truths.videos))
    rows_p = np.lexsort((first, -predictions.scores, predictions.videos))
    places = np.arange(1, len(inputs.videos))
    parts_t = np.split(rows_t, np.searchsorted(truths.videos[rows_t], places))
    parts_p = np.split(rows_p, np.searchsorted(predictions.videos[rows_p], places))
    return [_Rows(v, *parts) for v, parts in enumerate(zip(parts_t, parts_p, strict=True)) if v < len(inputs.videos)]


@dataclass(frozen=True, eq=False)
class _Found:
    """What one video's masks say. areas: mean area of each track, over the frames in which it is there; frames: how
    many these are. oddities: predictions of another length than the video, and with masks of another size."""

    rows: _Rows
    truth_areas: np.ndarray
    areas: np.ndarray
    truth_frames: np.ndarray
    frames: np.ndarray
    groups: list[VideoClassPairs]
    pairs: list[VideoPairs]
    oddities: np.ndarray


def _measure_video(inputs: Inputs, rows: _Rows, agnostic: bool, all_pairs: bool) -> _Found:
    spans_t, spans_p = read_video(inputs, rows.video, rows.truths, rows.predictions)
    members, wanted = _members(inputs, rows.truths, rows.predictions, agnostic)
    pairs = [_all_pairs(rows, spans_t, spans_p)] if all_pairs else []
    if all_pairs:
        ious = pairs[0].ious()[wanted[:, 0], wanted[:, 1]]
    else:
        ious = track_ious(*frame_overlaps(spans_p, spans_t, wanted))
    truth_frames, frames = ((found.areas > 0).sum(axis=1) for found in (spans_t, spans_p))
    return _Found(
        rows=rows,
        truth_areas=spans_t.areas.sum(axis=1) / np.maximum(truth_frames, 1),
        areas=spans_p.areas.sum(axis=1) / np.maximum(frames, 1),
        truth_frames=truth_frames,
        frames=frames,
        groups=_groups(rows.video, members, ious),
        pairs=pairs,
        oddities=_oddities(inputs, rows.video, spans_p),
    )


def read_video(inputs: Inputs, video: int, rows_t: np.ndarray, rows_p: np.ndarray) -> tuple[Spans, Spans]:
    """The masks of one video's truths and predictions, checked.

    Raises: ValueError that names the track and the frame of a mask that is none.
    """
    masks_t, masks_p = inputs.ground_truth.masks(rows_t.tolist()), inputs.predictions.masks(rows_p.tolist())
    length, stride = extent([*masks_t, *masks_p])
    sides = ((inputs.ground_truth, rows_t, masks_t), (inputs.predictions, rows_p, masks_p))
    found = [_spans(inputs, table, rows, masks, length, stride) for table, rows, masks in sides]
    return found[0], found[1]


def _spans(inputs: Inputs, table: Tracks, rows: np.ndarray, masks: list[Masks], length: int, stride: int) -> Spans:
    try:
        return spans(masks, length, stride)
    except BadMaskError as error:
        row = rows[error.track]
        video = inputs.videos[table.videos[row]].id
        raise ValueError(
            f"{table.what} {table.ids[row]} (video {video}), frame {error.frame}: {error.reason}"
        ) from None


def extent(tracks: Sequence[Masks]) -> tuple[int, int]:
    """The most frames of a track and the most pixels of a mask."""
    length = max((track.length for track in tracks), default=0)
    sizes_hw = np.concatenate([np.zeros((0, 2), np.int64), *(track.sizes_hw for track in tracks)])
    return length, int(sizes_hw.prod(axis=1).max(initial=0))


class _Members(NamedTuple):
    """One class of a video: rows of truths and of predictions."""

    category: int
    truths: np.ndarray
    predictions: np.ndarray


def _members(
    inputs: Inputs, rows_t: np.ndarray, rows_p: np.ndarray, agnostic: bool
) -> tuple[list[_Members], np.ndarray]:
    """The classes of a video, and the pairs within them: int64 (n, 2), positions in rows_p and rows_t."""
    kinds_t, kinds_p = inputs.ground_truth.categories[rows_t], inputs.predictions.categories[rows_p]
    if agnostic:
        kinds_t, kinds_p = kinds_t * 0, kinds_p * 0
    of_kind: dict[int, tuple[list[int], list[int]]] = {}
    for place, kind in enumerate(kinds_t.tolist()):
        of_kind.setdefault(kind, ([], []))[0].append(place)
    for place, kind in enumerate(kinds_p.tolist()):
        of_kind.setdefault(kind, ([], []))[1].append(place)
    members, pairs = [], []
    for kind, (of_t, of_p) in sorted(of_kind.items()):
        of_p = of_p[:MOST_PREDICTIONS]
        members.append(_Members(kind, rows_t[of_t], rows_p[of_p]))
        pairs += [(p, t) for p in of_p for t in of_t]
    return members, np.array(pairs, np.int64).reshape(-1, 2)


def _groups(video: int, members: list[_Members], ious: np.ndarray) -> list[VideoClassPairs]:
    """ious: of the pairs, in their order."""
    groups, stop = [], 0
    for category, truths, predictions in members:
        start, stop = stop, stop + len(truths) * len(predictions)
        own = ious[start:stop].reshape(len(predictions), len(truths))
        groups.append(VideoClassPairs(video, category, truths, predictions, own))
    return groups


def _all_pairs(rows: _Rows, truths: Spans, predictions: Spans) -> VideoPairs:
    pairs = np.indices((len(rows.predictions), len(rows.truths))).reshape(2, -1).T
    common, union = frame_overlaps(predictions, truths, pairs)
    shape = (len(rows.predictions), len(rows.truths), predictions.areas.shape[1])
    return VideoPairs(
        video=rows.video,
        ground_truth=rows.truths,
        predictions=rows.predictions,
        common=common.astype(np.int32).reshape(shape),
        union=union.astype(np.int32).reshape(shape),
        truth_areas=truths.areas.astype(np.int32),
        prediction_areas=predictions.areas.astype(np.int32),
    )


def _oddities(inputs: Inputs, video: int, found: Spans) -> np.ndarray:
    """Predictions of another length than their video's, and predictions with a mask of another size."""
    facts = inputs.videos[video]
    own = facts.size_hw[0] << 31 | facts.size_hw[1]
    other_size = ((found.sizes != own) & (found.sizes > 0)).any(axis=1)
    return np.array([np.count_nonzero(found.lengths != facts.length), np.count_nonzero(other_size)])


def _warnings(oddities: np.ndarray) -> tuple[str, ...]:
    lengths, sizes = oddities.tolist()
    found = []
    if lengths:
        found.append(f"{lengths} predictions have more or fewer frames than their video; only common frames count")
    if sizes:
        found.append(f"{sizes} predictions have masks of another size than their video; such frames do not count")
    return tuple(found)


def frame_ious(inputs: Inputs, prediction_id: int, truth_id: int) -> np.ndarray:
    """float64 (T,): IoU in every frame that both tracks have, NaN where neither has a mask or their sizes differ.

    Raises: ValueError where there is no such track, or the two are of different videos.
    """
    row_t = _row(inputs.ground_truth, truth_id, "annotation")
    row_p = _row(inputs.predictions, prediction_id, "prediction")
    video = int(inputs.ground_truth.videos[row_t])
    if inputs.predictions.videos[row_p] != video:
        raise ValueError(f"prediction {prediction_id} and annotation {truth_id} are of different videos")
    spans_t, spans_p = read_video(inputs, video, np.array([row_t]), np.array([row_p]))
    common, union = frame_overlaps(spans_p, spans_t, np.zeros((1, 2), np.int64))
    shared = min(spans_t.lengths[0], spans_p.lengths[0])
    return np.divide(common[0], union[0], out=np.full(len(union[0]), np.nan), where=union[0] > 0)[:shared]


def _row(table: Tracks, id: int, what: str) -> int:
    rows = np.flatnonzero(table.ids == id)
    if not len(rows):
        raise ValueError(f"there is no {what} {id}")
    return int(rows[0])


def above(measured: Overlaps, least: float) -> Overlaps:
    """The predictions of at least this score alone; the tables keep all, so that rows and ids stay what they were.

    Equal to measuring a file without the others, because everywhere the best come first.
    """
    scores = measured.inputs.predictions.scores
    if not len(scores) or least <= scores.min():
        return measured
    left_out = tuple(x for x in measured.inputs.left_out if x.what == "annotation" or x.score >= least)
    return replace(
        measured,
        inputs=replace(measured.inputs, left_out=left_out),
        groups=[_group(group, _count(scores, group.predictions, least)) for group in measured.groups],
        pairs=[_pairs(pairs, _count(scores, pairs.predictions, least)) for pairs in measured.pairs],
    )


def _count(scores: np.ndarray, rows: np.ndarray, least: float) -> int:
    return int(np.count_nonzero(scores[rows] >= least))


def _group(group: VideoClassPairs, count: int) -> VideoClassPairs:
    return replace(group, predictions=group.predictions[:count], ious=group.ious[:count])


def _pairs(pairs: VideoPairs, count: int) -> VideoPairs:
    return replace(
        pairs,
        predictions=pairs.predictions[:count],
        common=pairs.common[:count],
        union=pairs.union[:count],
        prediction_areas=pairs.prediction_areas[:count],
    )
