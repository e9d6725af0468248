"""The plots of errors as plotly's plain figures: greys and one accent, other colours for kinds of errors alone.

Everything is transparent and of middle brightness, so that one figure serves the light and the dark page. A point's
`customdata` is what a click on it adds to the filter, see `clicked`; `layout.meta` says what a brush does, see
`brushed`, or which row a point is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app.analysis.comparison import LENSES, Comparison
from app.analysis.filter import Selection
from tevit.evaluation.curves import LENGTHS, RECALL_POINTS, BreakdownRow, mean_of_known
from tevit.evaluation.errors import TYPES
from tevit.evaluation.matching import IOU_THRESHOLDS

Figure = dict[str, Any]

TEXT, LINE, ACCENT, GREY = "#808a99", "rgba(128, 138, 153, 0.22)", "#4a80e8", "#99a3b1"
COLOURS: Mapping[str, str] = {
    "classification": "#8f72f5",
    "spatial": "#2f9fe0",
    "temporal": "#20b5a3",
    "both": "#8a94a2",
    "duplicate": "#d9a520",
    "background": "#e37048",
    "missed": "#d94a70",
    "correct": "#3bae6d",
    "explained": "#7f8a98",
}
MODELS = (ACCENT, GREY, "#c0924a", "#6c9a8b")
BINS = 25
MOST_CLASSES = 60
BRUSHES: Mapping[str, Mapping[str, str]] = {"scores": {"x": "scores"}, "lengths": {"x": "lengths", "y": "ious"}}
"""Plot -> axis -> the filter's range that brushing along it sets."""


def clicked(customdata: object) -> Mapping[str, Any]:
    """What a click on a point adds to the filter: for `merged`. Raises: ValueError where the point filters nothing."""
    said = customdata.get("filter") if isinstance(customdata, Mapping) else None
    if not isinstance(said, Mapping):
        raise ValueError("this point filters nothing")
    return said


def brushed(plot: str, ranges: Mapping[str, Sequence[float]]) -> Mapping[str, Any]:
    """What brushing adds to the filter: for `merged`. ranges: "x" and perhaps "y" -> both ends.

    Raises: ValueError where that plot cannot be brushed.
    """
    axes = BRUSHES.get(plot, {})
    if not axes or not any(axis in axes for axis in ranges):
        raise ValueError(f"expected to brush one of {', '.join(BRUSHES)}, got {plot[:40]!r}")
    return {axes[axis]: list(limits) for axis, limits in ranges.items() if axis in axes}


def above(comparison: Comparison) -> dict[str, Figure]:
    """The figures that no filter changes, by name."""
    return {
        "types": types(comparison),
        "lenses": lenses(comparison),
        "recall": recall(comparison),
        "thresholds": thresholds(comparison),
        "classes": classes(comparison),
        "sizes": sizes(comparison),
        "track lengths": track_lengths(comparison),
    }


def below(comparison: Comparison, selection: Selection, model: int = 0) -> dict[str, Figure]:
    """The figures of what a filter lets through, of one model, by name."""
    return {
        "confusion": confusion(comparison, selection, model),
        "scores": scores(comparison, selection, model),
        "lengths": lengths(comparison, selection, model),
    }


# --- of everything


def types(comparison: Comparison) -> Figure:
    """dAP by type of error, bars side by side for the models."""
    data = []
    for i, model in enumerate(comparison.models):
        data.append(
            {
                **_bar(model.name, list(TYPES), [_points(model.dap[type], model.ap) for type in TYPES], True),
                "marker": {"color": [COLOURS[type] for type in TYPES], "opacity": 1 - 0.45 * min(i, 1)},
                "customdata": [{"filter": {"types": [type], "model": model.name}} for type in TYPES],
            }
        )
    at = round(100 * comparison.limits.positive)
    return _figure(data, x=f"dAP{at}, points", reversed_y=True, legend=False)


def lenses(comparison: Comparison) -> Figure:
    """What tracking, classes and masks cost."""
    data = []
    for i, model in enumerate(comparison.models):
        gap = model.gap
        values = [_points(value, gap.ap) for value in (gap.tracking, gap.classification, gap.masks)]
        data.append(
            {
                **_bar(model.name, ["tracking", "classes", "masks and misses"], values, True),
                "marker": {"color": MODELS[i % len(MODELS)]},
                "customdata": [{"filter": {"lens": lens, "model": model.name}} for lens in LENSES],
            }
        )
    return _figure(data, x="AP, points", reversed_y=True)


def recall(comparison: Comparison, category: int | None = None) -> Figure:
    """Precision by recall at IoU 0.50 (whole) and 0.75 (dashed). category: position of one class; None: their mean."""
    data = []
    for i, model in enumerate(comparison.models):
        for threshold, dash in ((0, "solid"), (5, "dot")):
            curve = _precision(model.precision[threshold], category)
            if curve is not None:
                name = f"{model.name}, IoU {IOU_THRESHOLDS[threshold]:.2f}"
                data.append(_line(name, RECALL_POINTS, curve, i, dash))
    return _figure(data, x="recall", y="precision", x_range=(0, 1.01), y_range=(0, 1.03), legend=False)


def _precision(precision: np.ndarray, category: int | None) -> list[float] | None:
    """precision: (R, K). None where there is no ground truth."""
    known = np.flatnonzero(precision[0] > -1)
    chosen = known if category is None else known[known == category]
    return precision[:, chosen].mean(axis=1).round(4).tolist() if len(chosen) else None


def thresholds(comparison: Comparison) -> Figure:
    """AP by IoU threshold."""
    data = []
    for i, model in enumerate(comparison.models):
        values = [_percent(mean_of_known(row)) for row in model.precision]
        data.append({**_line(model.name, IOU_THRESHOLDS.round(2), values, i), "mode": "lines+markers"})
    return _figure(data, x="IoU threshold", y="AP", y_range=(0, None), legend=False)


def classes(comparison: Comparison) -> Figure:
    """AP by class, those with the most to gain first: of all classes that have ground truth."""
    ids = [id for id, found in comparison.models[0].per_class.items() if found["AP"] >= 0]
    ids.sort(key=lambda id: comparison.models[0].per_class[id]["AP"])
    places = {id: place for place, id in enumerate(comparison.categories)}
    names = [comparison.class_name(places[id]) for id in ids]
    data = []
    for i, model in enumerate(comparison.models):
        bar = _bar(model.name, names, [_percent(model.per_class[id]["AP"]) for id in ids], True)
        clicks = [{"filter": {"category": places[id]}} for id in ids]
        data.append({**bar, "marker": {"color": MODELS[i % len(MODELS)]}, "customdata": clicks})
    return _figure(data, x="AP", reversed_y=True, rows=len(ids))


def sizes(comparison: Comparison) -> Figure:
    """AP by the tracks' size."""
    return _parts(comparison, [dict(list(model.by_size.items())[1:]) for model in comparison.models], {})


def track_lengths(comparison: Comparison) -> Figure:
    """AP by the tracks' length."""
    clicks = {
        name: {"filter": {"lengths": [low, None if np.isinf(high) else high]}} for name, (low, high) in LENGTHS.items()
    }
    return _parts(comparison, [model.by_length for model in comparison.models], clicks)


def _parts(comparison: Comparison, parts: Sequence[Mapping[str, BreakdownRow]], clicks: Mapping[str, dict]) -> Figure:
    names = [name for name, part in parts[0].items() if part.truths]
    data = []
    for i, (model, own) in enumerate(zip(comparison.models, parts, strict=True)):
        bar = _bar(model.name, [f"{name} ({own[name].truths})" for name in names], [_percent(own[n].AP) for n in names])
        data.append({**bar, "marker": {"color": MODELS[i % len(MODELS)]}, "customdata": [clicks.get(n) for n in names]})
    return _figure(data, y="AP", y_range=(0, None))


# --- of what a filter lets through


def confusion_counts(comparison: Comparison, selection: Selection, model: int) -> tuple[list[int], np.ndarray]:
    """Positions of classes, -1 for nothing last; and int64 (n, n), tracks: rows truths, columns predictions.

    Of very many classes those that are mistaken most often.
    """
    t = comparison.table
    chosen = selection.pool & t.confused & (t.model == model)
    size = len(comparison.categories) + 1
    a, b = t.truth_class[chosen] % size, t.predicted_class[chosen] % size  # -1 goes last
    counts = np.bincount(a * size + b, minlength=size * size).reshape(size, size)
    wrong = counts - np.diag(np.diag(counts))
    mistaken = (wrong.sum(axis=0) + wrong.sum(axis=1))[:-1]
    present = np.flatnonzero((counts.sum(axis=0) + counts.sum(axis=1))[:-1])
    kept = np.sort(present[np.lexsort((present, -mistaken[present]))][:MOST_CLASSES])
    places = [*kept.tolist(), size - 1]
    return [*kept.tolist(), -1], counts[np.ix_(places, places)]


def confusion(comparison: Comparison, selection: Selection, model: int = 0) -> Figure:
    """Which classes are taken for which."""
    places, counts = confusion_counts(comparison, selection, model)
    names = [comparison.class_name(place) for place in places]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    heat = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": shares.round(4).tolist(),
        "text": [[str(count) if count else "" for count in row] for row in counts.tolist()],
        "texttemplate": "%{text}" if len(places) <= 25 else "",
        "customdata": [[{"filter": {"classes": [a, b]}} for b in places] for a in places],
        "colorscale": [[0, "rgba(74, 128, 232, 0)"], [1, ACCENT]],
        "zmin": 0,
        "zmax": 1,
        "xgap": 1,
        "ygap": 1,
        "showscale": False,
        "hovertemplate": "truth %{y}<br>prediction %{x}<br>%{text} tracks<extra></extra>",
    }
    figure = _figure([heat], x="prediction", y="truth", reversed_y=True, rows=len(places))
    figure["layout"]["xaxis"] |= {"type": "category", "tickangle": -60, "showgrid": False}
    figure["layout"]["yaxis"] |= {"type": "category", "showgrid": False}
    return figure


def scores(comparison: Comparison, selection: Selection, model: int = 0) -> Figure:
    """Where right and wrong predictions lie; brushing filters by score."""
    t = comparison.table
    own = selection.pool & (t.model == model) & ~t.truth & ~t.is_type("ignored")
    every = t.score[(t.model == model) & ~t.truth]
    edges = np.linspace(min(0.0, every.min(initial=0)), max(1.0, every.max(initial=1)), BINS + 1)
    middles = ((edges[1:] + edges[:-1]) / 2).round(4).tolist()
    clicks = [
        {"filter": {"scores": [low, high]}} for low, high in zip(edges.tolist(), edges[1:].tolist(), strict=False)
    ]
    data = []
    for name, rows, colour in (("right", ~t.error, "correct"), ("wrong", t.error, "background")):
        counts = np.histogram(t.score[own & rows], edges)[0].tolist()
        width = float(edges[1] - edges[0])
        data.append(
            {**_bar(name, middles, counts), "width": width, "marker": {"color": COLOURS[colour]}, "customdata": clicks}
        )
    ends = float(edges[0]), float(edges[-1])
    figure = _figure(data, x="score", y="predictions", x_range=ends, brush="scores")
    figure["layout"] |= {"barmode": "stack", "bargap": 0.06}
    return figure


def lengths(comparison: Comparison, selection: Selection, model: int = 0) -> Figure:
    """Truths: IoU with what found or best overlaps them, by length; a click opens one, brushing filters by both."""
    t = comparison.table
    own = selection.pool & (t.model == model) & t.truth
    data = []
    for type in ("correct", "explained", "missed"):
        rows = np.flatnonzero(own & t.is_type(type))
        if len(rows):
            data.append(_points_of(comparison, type, rows))
    longest = max((x for trace in data for x in trace["x"]), default=1)
    title = "frames in which it is there"
    return _figure(data, x=title, y="IoU", x_range=(0, 1.04 * longest), y_range=(0, 1), brush="lengths")


def _points_of(comparison: Comparison, type: str, rows: np.ndarray) -> dict:
    t = comparison.table
    videos = [comparison.overlaps.inputs.videos[video].name for video in t.video[rows].tolist()]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": type,
        "x": t.length[rows].tolist(),
        "y": t.iou[rows].round(4).tolist(),
        "text": [
            f"{video}, {comparison.class_name(place)} {id}"
            for video, place, id in zip(videos, t.truth_class[rows].tolist(), t.truth_id[rows].tolist(), strict=True)
        ],
        "customdata": [{"row": f"{t.model[row]}t{t.truth_row[row]}"} for row in rows.tolist()],
        "marker": {"color": COLOURS[type], "size": 7, "opacity": 0.7},
        "cliponaxis": False,
        "hovertemplate": "%{text}<br>%{x} frames, IoU %{y:.2f}<extra></extra>",
    }


# --- forms


def _percent(value: float) -> float | None:
    return None if value < 0 else round(100 * value, 2)


def _points(value: float, ap: float) -> float | None:
    return None if ap < 0 else round(100 * value, 3)


def _bar(name: str, names: Sequence, values: Sequence, lying: bool = False) -> dict:
    along, across = ("y", "x") if lying else ("x", "y")
    number = "%{" + across + ":.1f}" if lying else "%{y}"
    bar = {"type": "bar", "name": name, along: list(names), across: list(values)}
    return {
        **bar,
        "orientation": "h" if lying else "v",
        "hovertemplate": "%{" + along + "}: " + number + "<extra></extra>",
    }


def _line(name: str, x: np.ndarray, y: Sequence, index: int, dash: str = "solid") -> dict:
    line = {"color": MODELS[index % len(MODELS)], "width": 2.5 if dash == "solid" else 1.5, "dash": dash}
    return {"type": "scatter", "mode": "lines", "name": name, "x": x.tolist(), "y": list(y), "line": line}


def _axis(title: str, limits: tuple[float, float | None] | None = None) -> dict:
    axis: dict[str, Any] = {
        "title": {"text": title, "standoff": 8},
        "gridcolor": LINE,
        "zerolinecolor": LINE,
        "linecolor": LINE,
        "automargin": True,
    }
    return axis | ({"range": list(limits)} if limits else {})


def _figure(
    data: list[dict],
    x: str = "",
    y: str = "",
    *,
    x_range: tuple[float, float | None] | None = None,
    y_range: tuple[float, float | None] | None = None,
    reversed_y: bool = False,
    legend: bool = True,
    brush: str = "",
    rows: int = 0,
) -> Figure:
    """rows: how many classes stand below each other, for the height that the page gives it."""
    layout: dict[str, Any] = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"size": 12, "color": TEXT},
        "margin": {"l": 48, "r": 14, "t": 28, "b": 40},
        "xaxis": _axis(x, x_range),
        "yaxis": _axis(y, y_range) | ({"autorange": "reversed"} if reversed_y else {}),
        "bargap": 0.3,
        "showlegend": legend and len(data) > 1,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "dragmode": "select" if brush else "zoom",
        "hovermode": "closest" if brush == "lengths" else "x unified",
        "meta": {"brush": brush, "rows": rows},
    }
    if brush and "y" not in BRUSHES[brush]:
        layout["selectdirection"] = "h"
    return {"data": data, "layout": layout}
