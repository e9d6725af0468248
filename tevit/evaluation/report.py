"""The report on one model's errors as one HTML file that works offline."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tevit.display import render
from tevit.evaluation import charts
from tevit.evaluation.api import Evaluation
from tevit.evaluation.error_table import ErrorRecord, Errors, ErrorTable
from tevit.evaluation.errors import TYPES
from tevit.evaluation.filmstrip import COLOURS, ErrorFilmstrips
from tevit.evaluation.matching import percent
from tevit.evaluation.oracle import UNMATCHABLE, Gap, Gaps
from tevit.io.files import atomic

MAX_ERRORS = 10  # of each type, in the table of the most expensive ones
MAX_FILMSTRIPS = 100
PIXELS = {"agreed": "in both", "missed": "ground truth alone", "invented": "prediction alone"}
FIGURE_NAMES = ("AP", "AP50", "AP75", "AR1", "AR10", "APs", "APm", "APl")
MEANINGS = {
    "classification": "in place, wrong class",
    "spatial": "right class, near the object in most frames, masks too poor",
    "temporal": "right class, on the object in some frames only",
    "both": "wrong class and out of place",
    "duplicate": "a better prediction matches the object already",
    "background": "on nothing",
    "missed": "ground truth that no prediction comes near",
    UNMATCHABLE: "fits annotation 0, which the official evaluation can never match",
}


def write_report(
    path: str | os.PathLike,
    title: str,
    evaluation: Evaluation,
    errors: Errors,
    gaps: Gaps,
    filmstrips: ErrorFilmstrips | None = None,
) -> None:
    """Write the page; it contains plotly's script, which draws the figures, and pictures of the worst errors.

    filmstrips: None lists the first errors of each type without pictures.
    """
    from plotly.offline import get_plotlyjs

    limits, counts = errors.limits, Counter(record.type for record in errors.records)
    worst = _worst(errors, filmstrips is not None)
    strips = [filmstrips.pictures(record) for record in worst] if filmstrips else []
    footer = [
        f"A prediction matches ground truth from IoU {limits.positive:g}.",
        f"Below {limits.background:g} a prediction is on nothing.",
        "The types are TIDE's and TIVE's; AP is the official one of YouTube-VIS.",
        *(f"Note: {warning}." for warning in (*evaluation.warnings, *(filmstrips.missing if filmstrips else ()))),
    ]
    page = render(
        "errors.html",
        title=title,
        subtitle=evaluation.heading,
        cards=[*((name, percent(evaluation.figures[name])) for name in FIGURE_NAMES), *_identity_cards(evaluation)],
        footer=" ".join(footer),
        at=f"AP{round(100 * limits.positive)}",
        colours=charts.TYPE_COLOURS,
        types=[(type, MEANINGS[type], counts[type], errors.gain(type)) for type in errors.dap],
        worst=[_cells(evaluation, record) for record in worst],
        strips=strips,
        pixels=[(word, "#" + bytes(COLOURS[kind]).hex()) for kind, word in PIXELS.items()],
        data=page_data(evaluation, errors, gaps),
        plotly=get_plotlyjs(),
    )
    with atomic(path) as temporary:
        temporary.write_text(page, "utf-8")


def _identity_cards(evaluation: Evaluation) -> list[tuple[str, str]]:
    """HOTA at its best score threshold, and without one the figures beside AP that the evaluation has."""
    if evaluation.identity is None or evaluation.figures["AP"] < 0:
        return []
    figures, (threshold, best) = evaluation.identity.figures, evaluation.identity.best()
    names = [name for name in ("HOTA", "DetA", "AssA", "IDF1") if name in evaluation.figures]
    cards = [*((name, percent(figures[name])) for name in names), ("switches", str(figures["switches"]))]
    return [*cards, (f"HOTA, score ≥ {threshold:.2g}", percent(best))]


def _worst(errors: Errors, of_all_types: bool) -> list[ErrorRecord]:
    """The most expensive errors, of all types together or the first of each."""
    errors_only = [record for record in errors.records if record.type in TYPES]
    ranked = sorted(errors_only, key=lambda record: (-record.share, -(record.score or 1.0)))
    if of_all_types:
        return ranked[:MAX_FILMSTRIPS]
    costly = [record for record in ranked if record.share > 0]
    first = [record for type in TYPES for record in [r for r in costly if r.type == type][:MAX_ERRORS]]
    return sorted(first, key=lambda record: -record.share)


def _cells(evaluation: Evaluation, record: ErrorRecord) -> tuple[str, ...]:
    """The cells of a row of the table of errors."""

    def name(id: int | None) -> str:
        return "" if id is None else evaluation.names.get(id, str(id))

    return (
        record.type,
        record.video,
        name(record.truth_category_id),
        name(record.category_id),
        "" if record.score is None else f"{record.score:.2f}",
        f"{record.iou:.2f}",
        "" if record.worst_frame is None else str(record.worst_frame),
        f"{100 * record.share:.2f}",
    )


def page_data(evaluation: Evaluation, errors: Errors, gaps: Gaps) -> dict[str, Any]:
    """The data of the page's charts as of `tevit.evaluation.charts`, ready for JSON; None without ground truth."""
    precision, names = evaluation.curves.precision[..., 0, 2], list(evaluation.names.values())
    parts = {**gaps.by_length, **{"1 object" if n == "1" else f"{n} objects": p for n, p in gaps.by_instances.items()}}
    known = errors.ap >= 0
    curves = [{"name": name, **_recall(precision, k)} for k, name in enumerate(names)]
    return {
        "costs": asdict(charts.error_costs(errors.dap, errors.ap)) if known else None,
        "gap": _gap(gaps.whole) if known else None,
        "parts": [{"name": name, **_gap(gap)} for name, gap in parts.items() if gap.truths],
        "thresholds": asdict(charts.ap_by_threshold(precision)) if known else None,
        "identity": _identity(evaluation) if known else None,
        "recall": [curve for curve in curves if curve["at50"] is not None],
        "mean": _recall(precision, None),
        "confusion": _confusion(names, errors.table),
        "scores": _scores(errors.table),
        "lengths": _lengths(names, errors.table),
        "colours": {**charts.TYPE_COLOURS, "model": charts.ACCENT},
    }


def _identity(evaluation: Evaluation) -> dict[str, Any] | None:
    """Identity figures in points over the score threshold; None where they were not measured."""
    if evaluation.identity is None:
        return None
    curve, thresholds = evaluation.identity.curve, evaluation.identity.thresholds.tolist()
    names = ("HOTA", "DetA", "AssA", "IDF1")
    return {"x": thresholds, "best": evaluation.identity.best()[0], **{n: (100 * curve[n]).tolist() for n in names}}


def _gap(gap: Gap) -> dict[str, Any]:
    """AP and what perfect tracking, classes and masks would add, in points."""
    return {"ap": round(100 * gap.ap, 3), "gaps": charts.oracle_gaps(gap).values}


def _recall(precision: np.ndarray, category: int | None) -> dict[str, Any]:
    lines = {f"at{at}": charts.precision_by_recall(precision, k, category) for at, k in ((50, 0), (75, 5))}
    return {name: line and {"x": line.x, "y": line.y} for name, line in lines.items()}  # asdict copies each number


def _confusion(names: Sequence[str], table: ErrorTable) -> dict[str, Any] | None:
    """names: of the classes, "nothing" last. counts and shares as of `ConfusionMatrix`. None: no track counts."""
    matrix = charts.confusion_matrix(table, table.confused, len(names))
    shown = [*(names[place] for place in matrix.classes[:-1]), "nothing"]
    return {"names": shown, "counts": matrix.counts, "shares": matrix.shares} if table.confused.any() else None


def _scores(table: ErrorTable) -> dict[str, Any] | None:
    """The histogram with the centres of its bins; None without predictions."""
    rows = ~table.truth & ~table.is_type("ignored")
    histogram = charts.score_histogram(table, rows, rows)
    width = histogram.edges[1] - histogram.edges[0]
    return {**asdict(histogram), "centres": histogram.centres, "width": width} if rows.any() else None


def _lengths(names: Sequence[str], table: ErrorTable) -> dict[str, Any]:
    """Type -> points of ground truth with their descriptions."""
    videos = table.overlaps[0].inputs.videos

    def text(row: int) -> str:
        return f"{videos[table.video[row]].name}, {names[table.truth_class[row]]} {table.truth_id[row]}"

    data = charts.iou_by_length(table, table.truth)
    return {type: {**asdict(points), "text": list(map(text, points.rows))} for type, points in data.items()}
