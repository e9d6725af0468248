"""The official metric of YouTube-VIS for one set of predictions, and the confidence of its figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tevit.evaluation.inputs import GroundTruth, Predictions, read_inputs
from tevit.evaluation.matching import (
    FIGURES,
    PREDICTION_LIMITS,
    RECALL_POINTS,
    BreakdownRow,
    Curves,
    Matches,
    by_area,
    by_length,
    by_size,
    by_video,
    by_video_length,
    count_positives,
    curves,
    figure,
    match_all,
)
from tevit.evaluation.overlaps import Overlaps, compute_overlaps, filter_scores, frame_ious

if TYPE_CHECKING:  # scipy and pandas take a while to import
    import pandas

    from tevit.evaluation.identity import Identity
    from tevit.progress import Progress


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """The figures of one model.

    figures: AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl, in [0, 1]; -1: no ground truth; then those
    of the metrics that were requested beside AP. per_class: category id -> the same. names: category id -> name; one
    entry, -1 -> "all", where classes were pooled. warnings: what did not count, a sentence each. identity: HOTA and its
    relatives over the score threshold, by video and with every switch, where requested.
    """

    figures: Mapping[str, float]
    per_class: Mapping[int, Mapping[str, float]]
    names: Mapping[int, str]
    curves: Curves
    overlaps: Overlaps
    matches: Matches
    warnings: tuple[str, ...]
    identity: "Identity | None" = None

    def __repr__(self) -> str:
        shown = (f"{name} {100 * self.figures[name]:.1f}" for name in ("AP", "AP50", "AP75", "AR1", "AR10"))
        return f"Evaluation({'no ground truth' if self.figures['AP'] < 0 else ', '.join(shown)}; {self.heading})"

    def _repr_html_(self) -> str:
        from tevit.display import evaluation_html

        return evaluation_html(self)

    def to_dataframe(self) -> "pandas.DataFrame":
        """The figures as a table, in [0, 1], NaN without ground truth: "all", then each class; needs pandas."""
        import pandas

        rows = {"all": self.figures} | {self.names[id]: figures for id, figures in self.per_class.items()}
        table = pandas.DataFrame.from_dict(rows, orient="index", columns=list(self.figures))
        return table.mask(table < 0).rename_axis("class")

    @property
    def heading(self) -> str:
        """The numbers of videos, classes and tracks, in words."""
        inputs, crowd = self.overlaps.inputs, int(self.overlaps.inputs.ground_truth.crowd.sum())
        tracks = f"{len(inputs.ground_truth.ids) - crowd} tracks" + (f" and {crowd} crowds" if crowd else "")
        return f"{len(inputs.videos)} videos, {len(inputs.categories)} classes, {tracks}"

    def by_size(self) -> Mapping[str, BreakdownRow]:
        """Figures of small, medium and large tracks, by mean area."""
        return by_size(self.overlaps)

    def by_length(self) -> Mapping[str, BreakdownRow]:
        """Figures of short, medium and long tracks, by the frames in which they are present."""
        return by_length(self.overlaps)

    def by_video(self) -> Mapping[int, BreakdownRow]:
        """Video id -> figures of each video as if it were the whole data set."""
        return by_video(self.overlaps, self.matches)

    def by_video_length(self) -> Mapping[str, BreakdownRow]:
        """Figures of short and of long videos, as YouTube-VIS 2022 reports them."""
        return by_video_length(self.overlaps, self.matches)

    def frame_ious(self, prediction_id: int, truth_id: int) -> np.ndarray:
        """float64 (T,): IoU in every frame that both tracks have, NaN where neither has a mask (or sizes differ).

        prediction_id: its place in the file from 1. truth_id: the annotation's id.
        Raises: ValueError where there is no such track, or the two are of different videos.
        """
        return frame_ious(self.overlaps.inputs, prediction_id, truth_id)


def evaluate(
    gt: GroundTruth,
    results: Predictions,
    *,
    agnostic: bool = False,
    metrics: str | Sequence[str] = (),
    score_threshold: float | None = None,
    progress: "Progress | None" = None,
    processes: int = 1,
) -> Evaluation:
    """Evaluate predictions as the official evaluator of YouTube-VIS does.

    gt, results: paths, opened files or VideoResults. agnostic: pool all classes. metrics: beside AP "hota" (HOTA, DetA,
    AssA, LocA), "id" (IDF1, IDP, IDR, switches, fragments), or both. score_threshold: the predictions of lower scores
    are left out of all figures. processes: share the work among so many, in a program that has no threads.
    Raises: OSError or ValueError where something cannot be read or does not fit together.
    """
    names = _identity_names(metrics)
    inputs = read_inputs(gt, results)
    overlaps = compute_overlaps(inputs, agnostic, progress, all_pairs=bool(names), processes=processes)
    if score_threshold is not None:
        overlaps = filter_scores(overlaps, score_threshold)
    evaluation = accumulate(overlaps)
    if not names:
        return evaluation
    from tevit.evaluation.identity import measure_identity

    return add_identity(evaluation, names, measure_identity(overlaps, processes))


def _identity_names(metrics: str | Sequence[str]) -> tuple[str, ...]:
    """The figures to add; without any nothing is imported for them."""
    if not metrics:
        return ()
    from tevit.evaluation.identity import figure_names

    return figure_names(metrics)


def add_identity(evaluation: Evaluation, names: Sequence[str], identity: "Identity") -> Evaluation:
    """The evaluation with identity figures, too. names: of them, as in `identity.IDENTITY_FIGURES`."""
    per_class = {
        id: {**evaluation.per_class[id], **{name: identity.per_class[k][name] for name in names}}
        for k, id in enumerate(evaluation.names)
    }
    figures = {**evaluation.figures, **{name: identity.figures[name] for name in names}}
    return replace(evaluation, figures=figures, per_class=per_class, identity=identity)


def accumulate(overlaps: Overlaps) -> Evaluation:
    """The figures of a data set whose overlaps are known."""
    inputs = overlaps.inputs
    names = {-1: "all"} if overlaps.agnostic else inputs.categories
    ignore = by_area(inputs)
    matches = match_all(overlaps.groups, inputs.ground_truth, inputs.predictions, ignore)
    arrays = curves(matches, count_positives(inputs, ignore, overlaps.agnostic))
    return Evaluation(
        figures={name: figure(arrays, name) for name in FIGURES},
        per_class={id: {name: figure(arrays, name, k) for name in FIGURES} for k, id in enumerate(names)},
        names=names,
        curves=arrays,
        overlaps=overlaps,
        matches=matches,
        warnings=overlaps.warnings,
    )


_BATCH = 100  # samples
_ALL = tuple(FIGURES)


@dataclass(frozen=True)
class Interval:
    """low, high: the middle 95 % of the samples. better: the share of samples above 0, meaningful for differences."""

    low: float
    high: float
    better: float


Samples = Mapping[str, np.ndarray]
"""Figure -> float64 (S,), its value on each sample, NaN where a sample has no ground truth."""


def draw_weights(videos: int, samples: int, seed: int = 0) -> np.ndarray:
    """int64 (S, V): how often each video is in each sample."""
    return np.random.default_rng(seed).multinomial(videos, np.full(videos, 1 / videos), size=samples)


def resample(
    overlaps: Overlaps,
    matches: Matches,
    weights: np.ndarray,
    progress: "Progress | None" = None,
    names: Sequence[str] = _ALL,
) -> Samples:
    """The figures on samples of the videos.

    Two copies of a video count as two videos; in the order of scores the copies of a prediction stand together.

    matches: with the official IgnoreMasks, or with the first alone where `names` need no others. weights: int64 (S, V),
    as from `draw_weights`; the same ones for two models make their difference paired. names: of FIGURES; without the
    sizes it takes a quarter as long.
    """
    ignore = by_area(overlaps.inputs)
    counting = ~(ignore.ground_truth | overlaps.inputs.ground_truth.crowd)
    batches = []
    for start in range(0, len(weights), _BATCH):
        batches.append(_figures(overlaps, matches, weights[start : start + _BATCH], counting, names))
        if progress:
            progress("drawing samples", min(start + _BATCH, len(weights)), len(weights))
    return {name: np.concatenate([batch[name] for batch in batches]) for name in names}


def _figures(
    overlaps: Overlaps, matches: Matches, weights: np.ndarray, counting: np.ndarray, names: Sequence[str]
) -> Samples:
    inputs = overlaps.inputs
    kinds = inputs.ground_truth.categories * (not overlaps.agnostic)
    videos = inputs.predictions.videos[matches.predictions]
    classes = np.unique(kinds)
    shape = (len(classes), len(counting), len(weights), matches.correct.shape[1])
    precision, recall = np.full(shape, np.nan), np.full((len(PREDICTION_LIMITS), *shape), np.nan)
    for k, kind in enumerate(classes):
        rows = np.flatnonzero(matches.categories == kind)
        rows = rows[np.argsort(-matches.scores[rows], kind="stable")]
        for a in {FIGURES[name].area for name in names}:
            positives = weights[:, inputs.ground_truth.videos[counting[a] & (kinds == kind)]].sum(axis=1)
            known = positives > 0
            values = _class_figures(matches, rows, a, weights[known][:, videos[rows]], positives[known])
            precision[k, a, known], recall[:, k, a, known] = values
    result = {}
    for name in names:
        array, threshold, area, limit = FIGURES[name]
        values = precision[:, area] if array == "precision" else recall[limit, :, area]
        values = values.mean(axis=2) if threshold is None else values[..., threshold]  # (K, S)
        known = ~np.isnan(values)
        count = known.sum(axis=0)
        result[name] = np.where(count, np.where(known, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)
    return result


def _class_figures(
    matches: Matches, rows: np.ndarray, a: int, weights: np.ndarray, positives: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AP (S, T) and recall (M, S, T) of one class. rows: its predictions, best first; weights: (S, n), of these."""
    correct, ignored = matches.correct[a][:, rows], matches.ignored[a][:, rows]
    recall = [(weights * (matches.ranks[rows] < limit)) @ correct.T / positives[:, None] for limit in PREDICTION_LIMITS]
    hits_at = np.flatnonzero(correct.any(axis=0))  # recall grows nowhere else, and precision is highest there
    hits = np.cumsum(weights[:, None] * correct, axis=2)[..., hits_at]
    misses = np.cumsum(weights[:, None] * (~correct & ~ignored), axis=2)[..., hits_at]
    best = np.maximum.accumulate((hits / (hits + misses + np.spacing(1)))[..., ::-1], axis=2)[..., ::-1]
    reached = np.searchsorted(RECALL_POINTS, hits / positives[:, None, None], side="right")
    gained = np.diff(reached, axis=2, prepend=0)
    return (best * gained).sum(axis=2) / len(RECALL_POINTS), np.stack(recall)


def interval(value: float, samples: np.ndarray) -> Interval | None:
    """The spread of one figure's samples (or a difference's) around its value on the data set itself.

    Only the spread is taken: a sample has fewer different videos, and AP is higher the fewer there are, because it
    reads the best precision still to come. None where there is no ground truth.
    """
    known = samples[~np.isnan(samples)]
    if not len(known):
        return None
    centred = value + known - known.mean()
    low, high = np.percentile(centred, [2.5, 97.5])
    return Interval(float(low), float(high), float((centred > 0).mean()))


def intervals(figures: Mapping[str, float], samples: Samples) -> Mapping[str, Interval | None]:
    """Of all figures in `samples`, within [0, 1]. figures: their values on the data set itself."""
    spreads = {name: interval(figures[name], samples[name]) for name in samples}
    return {name: i and replace(i, low=max(i.low, 0.0), high=min(i.high, 1.0)) for name, i in spreads.items()}


def differences(
    figures: Mapping[str, float], samples: Samples, base: Mapping[str, float], base_samples: Samples
) -> Mapping[str, Interval | None]:
    """Of one model's figures minus those of another, `base`, on samples of the same videos."""
    return {name: interval(figures[name] - base[name], samples[name] - base_samples[name]) for name in samples}
