"""The official metric of YouTube-VIS for one set of predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tevit.evaluation.inputs import GroundTruth, Predictions, read_inputs
from tevit.evaluation.matching import (
    FIGURES,
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

if TYPE_CHECKING:  # a progress bar, scipy and pandas take a while to import
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
