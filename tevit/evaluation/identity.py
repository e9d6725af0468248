"""How well identities are kept: HOTA, IDF1, identity switches and fragments of mask tracks, over the score threshold.

A detection is a track's mask in one frame; an empty mask is none. Two detections of one class are compared by the IoU
that AP adds up over the frames, from `VideoPairs`, so that no mask is read for it. Crowds are tracks like all others.
Source: Luiten et al., HOTA (IJCV 2021); Ristani et al., IDF1 (2016); Voigtlaender et al., MOTS (CVPR 2019); in every
detail, of order and of equal values, as TrackEval 1.3 with its data set YouTubeVIS.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tevit.evaluation.matching import assign
from tevit.evaluation.overlaps import Overlaps, VideoPairs
from tevit.progress import parallel_map

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""The 19 IoU thresholds of HOTA."""
IDENTITY_FIGURES = {
    "hota": ("HOTA", "DetA", "AssA", "LocA"),
    "id": ("IDF1", "IDP", "IDR", "switches", "fragments"),
}
"""Name of a group for `evaluate(metrics=…)` -> its figures."""
METRICS = ("ap", *IDENTITY_FIGURES)
"""Names for `evaluate(metrics=…)`; "ap" is always there."""
NUMBERS = ("switches", "fragments")
"""Figures that are numbers of events; all others are in [0, 1]."""
MAX_THRESHOLDS = 40  # of the curve over the score
_MATCH_IOU = 0.5  # of IDF1, switches and fragments
_EPS = np.finfo(float).eps


class Switch(NamedTuple):
    """A ground truth's identity passes from one prediction to another.

    frame: position in the video at which the new one is first there. truth, before, after: rows of Inputs' tables.
    """

    frame: int
    truth: int
    before: int
    after: int


class Fragment(NamedTuple):
    """A ground truth is matched again after frames in which it was not.

    frame: position in the video at which it is matched again. truth, prediction: rows of Inputs' tables.
    """

    frame: int
    truth: int
    prediction: int


@dataclass(frozen=True, eq=False)
class IdentityCounts:
    """Sums over detections, added up over groups of one video and one class. The arrays may have leading axes.

    matches, association, location: float64 (…, 19), for each of ALPHAS the matched detections, and the sums over them
    of the association score and of the IoU. truths, predictions: (…), detections. identical: those whose track is
    assigned to their track (IDTP). switches, fragments: numbers of events.
    """

    matches: np.ndarray
    association: np.ndarray
    location: np.ndarray
    truths: np.ndarray
    predictions: np.ndarray
    identical: np.ndarray
    switches: np.ndarray
    fragments: np.ndarray

    @classmethod
    def of_values(cls, values: np.ndarray) -> "IdentityCounts":
        """values: (…, _WIDTH), as `_count_group` makes them."""
        count = len(ALPHAS)
        arrays = (values[..., k * count : (k + 1) * count] for k in range(3))
        return cls(*arrays, *np.moveaxis(values[..., 3 * count :], -1, 0))

    def figures(self) -> dict[str, np.ndarray]:
        """All of IDENTITY_FIGURES, each (…); in place of a share -1 where there are no detections on either side."""
        truths, predictions = self.truths[..., None], self.predictions[..., None]
        detection = self.matches / np.maximum(1, truths + predictions - self.matches)
        association = self.association / np.maximum(1, self.matches)
        values = {
            "HOTA": np.sqrt(detection * association).mean(axis=-1),
            "DetA": detection.mean(axis=-1),
            "AssA": association.mean(axis=-1),
            # Without matches 1, as TrackEval has it.
            "LocA": (np.maximum(1e-10, self.location) / np.maximum(1e-10, self.matches)).mean(axis=-1),
            "IDF1": self.identical / np.maximum(1, 0.5 * (self.truths + self.predictions)),
            "IDP": self.identical / np.maximum(1, self.predictions),
            "IDR": self.identical / np.maximum(1, self.truths),
        }
        values = {name: np.where(self.truths + self.predictions > 0, value, -1.0) for name, value in values.items()}
        return values | {name: getattr(self, name).astype(np.int64) for name in NUMBERS}


def figure_names(metrics: str | Sequence[str]) -> tuple[str, ...]:
    """The identity figures of METRICS' names, which may be one text with commas.

    Raises: ValueError for another name.
    """
    parts = metrics.split(",") if isinstance(metrics, str) else metrics
    wanted = [part.strip().lower() for part in parts]
    other = [name for name in wanted if name not in METRICS]
    if other:
        raise ValueError(f"metrics: expected names of {', '.join(METRICS)}, got {', '.join(other) or 'none'}")
    return tuple(name for group, names in IDENTITY_FIGURES.items() if group in wanted for name in names)


_WIDTH = 3 * len(ALPHAS) + 5


@dataclass(frozen=True, eq=False)
class Identity:
    """figures: of all detections, whatever their class. class_means: of shares, over the classes with detections.
    per_class: position in Inputs' categories -> figures. per_video: position in Inputs' videos -> figures.

    thresholds: float64 (S,), scores, ascending; the first leaves no prediction out. curve: name -> (S,), the figures of
    the predictions of at least each score. switches: position of a video -> all of them, in the order of the frames.
    """

    figures: Mapping[str, float]
    class_means: Mapping[str, float]
    per_class: Mapping[int, Mapping[str, float]]
    per_video: Mapping[int, Mapping[str, float]]
    thresholds: np.ndarray
    curve: Mapping[str, np.ndarray]
    switches: Mapping[int, Sequence[Switch]]

    def best(self, name: str = "HOTA") -> tuple[float, float]:
        """The score threshold at which a figure is highest, the lowest of several, and the figure there."""
        place = int(np.argmax(self.curve[name]))
        return float(self.thresholds[place]), float(self.curve[name][place])


def measure_identity(overlaps: Overlaps, processes: int = 1, thresholds: np.ndarray | None = None) -> Identity:
    """Measure how well identities are kept.

    overlaps: with all pairs, as `compute_overlaps(all_pairs=True)` gives them. thresholds: of the curve, ascending;
    MAX_THRESHOLDS of the predictions' scores otherwise. processes: as in `parallel_map`.
    Raises: ValueError where the overlaps of all pairs were not kept.
    """
    videos = overlaps.inputs.videos
    if len(overlaps.pairs) != len(videos):
        raise ValueError("identity metrics need the overlaps of all pairs: measure with all_pairs=True")
    if thresholds is None:
        thresholds = score_thresholds(overlaps)
    classes = 1 if overlaps.agnostic else len(overlaps.inputs.categories)
    total = np.zeros((len(thresholds), classes, _WIDTH))
    of_video = np.zeros((len(videos), _WIDTH))
    switches = {}
    work = parallel_map(lambda pairs: _measure_video(overlaps, pairs, thresholds), overlaps.pairs, processes)
    for pairs, (counts, video_switches) in zip(overlaps.pairs, work, strict=True):
        for category, values in counts.items():
            total[:, category] += values
            of_video[pairs.video] += values[0]
        switches[pairs.video] = video_switches
    return _identity(total, of_video, thresholds, switches)


def video_events(overlaps: Overlaps, pairs: VideoPairs) -> tuple[list[Switch], list[Fragment]]:
    """The switches and fragments of one video that `measure_identity` counts, of all predictions, by frame."""
    switches: list[Switch] = []
    fragments: list[Fragment] = []
    for _, rows_t, rows_p, group in _groups(overlaps, pairs):
        matched = _match_frames(group)
        switches += _switch_rows(matched, rows_t, rows_p)
        for frame, g in zip(*map(np.ndarray.tolist, _fragments(group, matched)), strict=True):
            fragments.append(Fragment(frame, int(rows_t[g]), int(rows_p[matched[frame, g]])))
    return sorted(switches), sorted(fragments)


def score_thresholds(overlaps: Overlaps) -> np.ndarray:
    """float64 (S,), at least one: the lowest score and up to MAX_THRESHOLDS - 1 others at even ranks, ascending."""
    rows = np.concatenate([np.zeros(0, np.int64), *(pairs.predictions for pairs in overlaps.pairs)])
    scores = np.unique(overlaps.inputs.predictions.scores[rows])
    if not len(scores):
        return np.zeros(1)
    return scores[np.unique(np.linspace(0, len(scores) - 1, MAX_THRESHOLDS).round().astype(int))]


def _identity(
    total: np.ndarray, of_video: np.ndarray, thresholds: np.ndarray, switches: Mapping[int, Sequence[Switch]]
) -> Identity:
    """total: (S, K, _WIDTH). of_video: (V, _WIDTH)."""
    curve = IdentityCounts.of_values(total.sum(axis=1)).figures()
    classes, videos = (IdentityCounts.of_values(values).figures() for values in (total[0], of_video))
    known = classes["HOTA"] >= 0
    means = {name: float(values[known].mean()) if known.any() else -1.0 for name, values in classes.items()}

    def rows(figures: Mapping[str, np.ndarray]) -> dict[int, dict[str, float]]:
        return {k: {name: values[k].item() for name, values in figures.items()} for k in range(len(figures["HOTA"]))}

    return Identity(
        figures={name: values[0].item() for name, values in curve.items()},
        class_means={name: value for name, value in means.items() if name not in NUMBERS},
        per_class=rows(classes),
        per_video=rows(videos),
        thresholds=thresholds,
        curve=curve,
        switches=switches,
    )


# --- one video


class _Group(NamedTuple):
    """The detections of one video and one class; tracks in the order of their file.

    similarity: float64 (T, G, D), IoU. truths, predictions: bool (T, G) and (T, D), where a track has a mask.
    """

    similarity: np.ndarray
    truths: np.ndarray
    predictions: np.ndarray

    def keep(self, chosen: np.ndarray) -> "_Group":
        """chosen: bool (D,), the predictions to keep."""
        return self if chosen.all() else _Group(self.similarity[..., chosen], self.truths, self.predictions[:, chosen])


def _measure_video(
    overlaps: Overlaps, pairs: VideoPairs, thresholds: np.ndarray
) -> tuple[dict[int, np.ndarray], list[Switch]]:
    """Position of a class -> float64 (S, _WIDTH), the sums at each threshold; the switches at the first one."""
    counts: dict[int, np.ndarray] = {}
    switches: list[Switch] = []
    for category, rows_t, rows_p, group in _groups(overlaps, pairs):
        counted = overlaps.inputs.predictions.scores[rows_p] >= thresholds[:, None]
        _, first, places = np.unique(counted.sum(axis=1), return_index=True, return_inverse=True)
        parts = [group.keep(counted[place]) for place in first]
        matched = [_match_frames(part) for part in parts]
        counts[category] = np.array([_count_group(*part) for part in zip(parts, matched, strict=True)])[places]
        switches += _switch_rows(matched[-1], rows_t, rows_p[counted[0]])
    return counts, sorted(switches)


def _groups(overlaps: Overlaps, pairs: VideoPairs) -> Iterator[tuple[int, np.ndarray, np.ndarray, _Group]]:
    """Each class of a video: its position, rows of the ground truth and of the predictions, and the detections.

    Frames behind the video's end do not count.
    """
    inputs = overlaps.inputs
    length = inputs.videos[pairs.video].length
    order = np.argsort(pairs.predictions)
    rows_t, rows_p = pairs.ground_truth, pairs.predictions[order]
    kinds_t = inputs.ground_truth.categories[rows_t] * (not overlaps.agnostic)
    kinds_p = inputs.predictions.categories[rows_p] * (not overlaps.agnostic)
    for category in np.unique(np.concatenate([kinds_t, kinds_p])).tolist():
        of_t, of_p = np.flatnonzero(kinds_t == category), np.flatnonzero(kinds_p == category)
        own = np.ix_(order[of_p], of_t, np.arange(min(length, pairs.intersection.shape[2])))
        similarity = (pairs.intersection[own] / np.maximum(pairs.union[own], 1)).transpose(2, 1, 0)
        group = _Group(
            np.ascontiguousarray(similarity),
            pairs.ground_truth_areas[of_t, :length].T > 0,
            pairs.prediction_areas[order[of_p], :length].T > 0,
        )
        yield category, rows_t[of_t], rows_p[of_p], group


def _count_group(group: _Group, matched: np.ndarray) -> np.ndarray:
    """float64 (_WIDTH,): matches, association and location of ALPHAS, then the other fields of IdentityCounts."""
    values = np.zeros(_WIDTH)
    values[-5:-3] = group.truths.sum(), group.predictions.sum()
    if values[-5] and values[-4]:
        values[:-5] = _hota_sums(group).ravel()
        pairs = (group.similarity >= _MATCH_IOU).sum(axis=0)
        values[-3] = pairs.max() if 1 in pairs.shape else pairs[assign(pairs)].sum()
        values[-2:] = len(_switches(matched)[0]), len(_fragments(group, matched)[0])
    return values


# --- HOTA


def _hota_sums(group: _Group) -> np.ndarray:
    """float64 (3, 19): matched detections, the sums of their association scores and of their IoUs."""
    similarity = group.similarity
    truths, predictions = group.truths.sum(axis=0)[:, None], group.predictions.sum(axis=0)
    shared = similarity.sum(axis=1, keepdims=True) + similarity.sum(axis=2, keepdims=True) - similarity
    common = np.divide(similarity, shared, out=np.zeros_like(similarity), where=shared > _EPS).sum(axis=0)
    total = truths + predictions - common
    alignment = np.divide(common, total, out=np.zeros_like(common), where=total > 0)
    frames, g, d = _assign(alignment * similarity, group)
    ious = similarity[frames, g, d]
    levels = np.searchsorted(ALPHAS - _EPS, ious, side="right")  # how many of ALPHAS each match reaches
    size = len(ALPHAS) + 1
    places = (g * similarity.shape[2] + d) * size + levels
    sums = []
    for weights in (None, ious):
        reached = np.bincount(places, weights, similarity[0].size * size).reshape(*similarity.shape[1:], size)
        sums.append(np.cumsum(reached[..., ::-1], axis=-1)[..., -2::-1])
    matches, location = sums
    association = matches**2 / np.maximum(1, (truths + predictions)[..., None] - matches)
    return np.stack([sum.sum(axis=(0, 1)) for sum in (matches, association, location)])


def _assign(scores: np.ndarray, group: _Group) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best one-to-one assignment of every frame: frames, tracks of ground truth, predictions; only scores above 0.

    scores: float64 (T, G, D), 0 where a track is absent.
    """
    highest = scores.max(axis=2, keepdims=True)
    # Where no prediction is the best of two tracks and none is equally good, every track has its best one.
    wanted = scores == np.maximum(highest, np.finfo(float).tiny)
    clear = (wanted.sum(axis=1) <= 1).all(axis=1) & (wanted.sum(axis=2) <= 1).all(axis=1)
    frames, g, d = np.nonzero(wanted & clear[:, None, None])
    matched = [(frames, g, d)]
    unclear = np.flatnonzero(~clear)
    if scores.shape[1] == 1:  # the first of equally good predictions, as `assign` has it
        matched.append((unclear, np.zeros(len(unclear), np.int64), scores[unclear, 0].argmax(axis=1)))
        unclear = unclear[:0]
    for frame in unclear.tolist():
        g, d = _solve(scores[frame], group, frame)
        matched.append((np.full(len(g), frame), g, d))
    frames, g, d = (np.concatenate(parts) for parts in zip(*matched, strict=True))
    return frames, g, d


# --- switches and fragments


def _counted_frames(group: _Group) -> np.ndarray:
    """bool (T,): frames with detections of both sides; all others leave the state of the tracks as it was."""
    return np.logical_and(group.truths.any(axis=1), group.predictions.any(axis=1))


def _match_frames(group: _Group) -> np.ndarray:
    """int64 (T, G): the prediction matched in each frame, -1 for none.

    Pairs from IoU 0.5 on; one that was matched in the frame before is kept, otherwise the sum of the IoUs is highest.
    """
    near = group.similarity >= _MATCH_IOU - _EPS
    matched = np.where(near.any(axis=2), near.argmax(axis=2), -1) if near.size else np.full(near.shape[:2], -1)
    ambiguous = (near.sum(axis=1) > 1).any(axis=1) | (near.sum(axis=2) > 1).any(axis=1)
    if not ambiguous.any():
        return matched
    counted = np.flatnonzero(_counted_frames(group)).tolist()
    if near.shape[1] == 1:
        matched[ambiguous, 0] = np.where(near, group.similarity, 0)[ambiguous, 0].argmax(axis=1)
        _keep_matches(matched[:, 0], near[:, 0], ambiguous, counted)
        return matched
    scores = np.where(near, group.similarity, 0)
    before = None
    for frame in counted:
        if ambiguous[frame]:
            own = scores[frame]
            if before is not None:
                g = np.flatnonzero(matched[before] >= 0)
                own[g, matched[before, g]] += 1000 * near[frame, g, matched[before, g]]
            g, d = _solve(own, group, frame)
            matched[frame] = -1
            matched[frame, g] = d
        before = frame
    return matched


def _keep_matches(matched: np.ndarray, near: np.ndarray, ambiguous: np.ndarray, counted: Sequence[int]) -> None:
    """Of a single track: where several predictions are near, match that of the frame before, if it is one of them.

    matched: int64 (T,), changed in place. near: bool (T, D). ambiguous: bool (T,). counted: frames.
    """
    before = -1
    for frame, several, prediction in zip(counted, ambiguous[counted].tolist(), matched[counted].tolist(), strict=True):
        if several and before >= 0 and near[frame, before]:
            matched[frame] = before
        else:
            before = prediction


def _solve(scores: np.ndarray, group: _Group, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """The best one-to-one assignment of a frame's tracks: positions of both sides, of pairs with scores above 0.

    scores: float64 (G, D). Absent tracks are taken out, because they affect which of equally good ones is found.
    """
    rows, columns = np.flatnonzero(group.truths[frame]), np.flatnonzero(group.predictions[frame])
    g, d = assign(scores[rows[:, None], columns])
    g, d = rows[g], columns[d]
    positive = scores[g, d] > 0
    return g[positive], d[positive]


def _switches(matched: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where a track is matched by another prediction than the last time: frames, tracks, predictions before and after.

    matched: as of `_match_frames`.
    """
    g, frames = np.nonzero(matched.T >= 0)
    predictions = matched[frames, g]
    changed = np.flatnonzero((g[1:] == g[:-1]) & (predictions[1:] != predictions[:-1]))
    return frames[changed + 1], g[changed + 1], predictions[changed], predictions[changed + 1]


def _switch_rows(matched: np.ndarray, rows_t: np.ndarray, rows_p: np.ndarray) -> list[Switch]:
    """The switches with rows of Inputs' tables. rows_t, rows_p: of the group's tracks."""
    switches = zip(*map(np.ndarray.tolist, _switches(matched)), strict=True)
    return [Switch(frame, int(rows_t[g]), int(rows_p[a]), int(rows_p[b])) for frame, g, a, b in switches]


def _fragments(group: _Group, matched: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a track is matched again after counted frames in which it was not: frames, tracks."""
    counted = np.flatnonzero(_counted_frames(group))
    begins = matched[counted] >= 0
    begins[1:] &= ~begins[:-1]
    places, g = np.nonzero(begins & (begins.cumsum(axis=0) > 1))
    return counted[places], g
