"""The kinds of charts of the tab `Errors`.

Bars and the confusion matrix are buttons. Lines, histograms and scatter plots are drawn by plotly.js from the figure
in `data-plot`; beside each stands a list of buttons or a table, for the keyboard and for screen readers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tevit.evaluation.report import ACCENT, MODEL_COLOURS, TYPE_COLOURS, Bars, ConfusionMatrix, Histogram, Line, Points

from ...page import render

Chart = dict[str, Any]
"""The values of `errors/chart.html`."""

NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
_SIDES = ("var(--accent)", "var(--faint)")
_MANY = 16  # classes: from here on the cells of the confusion matrix are too small for numbers
_TABLE_STEP = 10  # of the points of a line, every tenth stands in its table


def draw(*shown: Chart) -> str:
    """The HTML of charts, one after the other."""
    return render("errors/charts.html", charts=shown)


def bars(
    name: str,
    title: str,
    series: Mapping[str, Bars],
    filters: Sequence[Mapping[str, Any]] | None = None,
    hint: str = "",
    *,
    by_model: bool = False,
    colours: Sequence[str] | None = None,
    digits: int = 1,
) -> Chart:
    """Horizontal bars, those of the models below each other for every name.

    series: model -> its bars; all have the same names. filters: what a click on the bars of each name adds to the
    filter; by_model: together with the model. colours: of each name; None: of each model.
    """
    every = [value for own in series.values() for value in own.values if value is not None]
    lowest = min(0.0, *every) if every else 0.0  # bars of negative values end where the others begin
    span = max(0.0, *every) - lowest if every else 0.0
    rows = []
    for i, label in enumerate(next(iter(series.values())).names):
        row = []
        for side, (model, own) in enumerate(series.items()):
            value, added = own.values[i], filters[i] if filters else None
            number = NONE if value is None else f"{value:.{digits}f}".replace("-", MINUS)
            row.append(
                {
                    "value": "" if value is None else value,
                    "side": "AB"[side % 2],
                    "number": number,
                    "words": f"{label}, {model}: {number}",
                    "start": (min(0.0, value or 0.0) - lowest) / (span or 1),
                    "part": abs(value or 0.0) / (span or 1),
                    "colour": colours[i] if colours else _SIDES[side % 2],
                    # The only model is not named by a filter.
                    "filter": {**added, "model": model} if added and by_model and len(series) > 1 else added,
                }
            )
        rows.append((label, filters[i] if filters else None, row))
    return {"kind": "bars", "name": name, "title": title, "hint": hint, "models": len(series), "rows": rows}


def lines(
    name: str,
    title: str,
    series: Sequence[tuple[str, int, Line, str]],
    titles: tuple[str, str],
    *,
    digits: int = 2,
    hint: str = "",
    ranges: tuple[Sequence[float | None] | None, Sequence[float | None] | None] = (None, None),
) -> Chart:
    """Lines over one axis, and a table of some of their values.

    series: name, index of the model, line and dash ("solid", "dot", or "markers" with markers). titles, ranges: of x
    and y.
    """
    shown = [own for own in series if any(value is not None for value in own[2].y)]
    chart: Chart = {"name": name, "title": title, "hint": hint}
    if not shown:
        return chart | {"kind": "message", "message": "There is no ground truth to measure by."}
    traces, xs = [], sorted({x for own in shown for x in own[2].x})
    known = [dict(zip(own[2].x, own[2].y, strict=True)) for own in shown]
    for label, model, line, dash in shown:
        colour, width = MODEL_COLOURS[model % len(MODEL_COLOURS)], 1.5 if dash == "dot" else 2.5
        style = {"color": colour, "width": width, "dash": "dot" if dash == "dot" else "solid"}
        mode = "lines+markers" if dash == "markers" else "lines"
        traces.append({"type": "scatter", "mode": mode, "name": label, "x": line.x, "y": line.y, "line": style})
    rows = [
        (f"{xs[i]:.2f}", [NONE if (y := own.get(xs[i])) is None else f"{y:.{digits}f}" for own in known])
        for i in range(0, len(xs), _TABLE_STEP if len(xs) > 2 * _TABLE_STEP else 1)
    ]
    figure = {"data": traces, "layout": _layout(titles, ranges)}
    names = [own[0] for own in shown]
    return chart | {"kind": "plot", "figure": figure, "points": [], "names": names, "rows": rows, "x": titles[0]}


def histogram(
    name: str,
    title: str,
    data: Histogram,
    hint: str = "",
    band: Sequence[float] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Chart:
    """Stacked bars of right and wrong predictions by score. band: the chosen range. more: what every filter contains
    beside its range."""
    chart: Chart = {"name": name, "title": title, "hint": hint}
    if not any((*data.right, *data.wrong)):
        return chart | {"kind": "message", "message": "No prediction is left by this filter."}
    bins = [{"scores": list(ends)} for ends in zip(data.edges, data.edges[1:], strict=False)]
    traces = [
        {
            "type": "bar",
            "name": label,
            "x": data.centres,
            "y": counts,
            "width": data.edges[1] - data.edges[0],
            "marker": {"color": TYPE_COLOURS[colour]},
            "customdata": [{"filter": own} for own in bins],
            "hovertemplate": "%{x}: %{y}<extra></extra>",
        }
        for label, counts, colour in (("right", data.right, "correct"), ("wrong", data.wrong, "background"))
    ]
    points = [
        {
            "words": f"score {own['scores'][0]:.2f} to {own['scores'][1]:.2f}: {right} right, {wrong} wrong",
            "at": [0 if right else 1, i],
            "filter": {**(more or {}), **own},
        }
        for i, (right, wrong, own) in enumerate(zip(data.right, data.wrong, bins, strict=True))
        if right or wrong
    ]
    x_range = data.edges[0], data.edges[-1]
    layout = _layout(("score", "predictions"), (x_range, None), brush="scores", bands=(band, None), more=more)
    figure = {"data": traces, "layout": layout | {"barmode": "stack", "bargap": 0.06, "selectdirection": "h"}}
    return chart | {"kind": "plot", "figure": figure, "points": points}


def scatter(
    name: str,
    title: str,
    data: Mapping[str, Points],
    texts: Mapping[str, Sequence[tuple[str, str]]],
    hint: str = "",
    bands: tuple[Sequence[float] | None, Sequence[float] | None] = (None, None),
) -> Chart:
    """Points that open the error they stand for.

    texts: for each type, every point's description and the key of its row. bands: the chosen ranges along x and y.
    """
    chart: Chart = {"name": name, "title": title, "hint": hint}
    traces, points = [], []
    for k, (type, own) in enumerate(data.items()):
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": type,
                "x": own.lengths,
                "y": own.ious,
                "text": [text for text, _ in texts[type]],
                "customdata": [{"row": key} for _, key in texts[type]],
                "marker": {"color": TYPE_COLOURS[type], "size": 7, "opacity": 0.7},
                "cliponaxis": False,
                "hovertemplate": "%{text}<br>%{x} frames, IoU %{y:.2f}<extra></extra>",
            }
        )
        for i, (x, y, (text, key)) in enumerate(zip(own.lengths, own.ious, texts[type], strict=True)):
            words = f"{text}, {type}\n{x} frames, IoU {y:.2f}"
            points.append((x, y, {"words": words, "at": [k, i], "row": key, "filter": None}))
    if not points:
        return chart | {"kind": "message", "message": "No ground truth is left by this filter."}
    points.sort(key=lambda point: point[:2])  # the order of the arrow keys
    ranges = (0, 1.04 * points[-1][0]), (0, 1)
    layout = _layout(("length in frames", "IoU"), ranges, brush="lengths", bands=bands)
    figure = {"data": traces, "layout": layout | {"hovermode": "closest", "showlegend": len(traces) > 1}}
    return chart | {"kind": "plot", "figure": figure, "points": [point for _, _, point in points]}


def _layout(
    titles: tuple[str, str],
    ranges: tuple[Sequence[float | None] | None, Sequence[float | None] | None],
    brush: str = "",
    bands: tuple[Sequence[float] | None, Sequence[float] | None] = (None, None),
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """plotly's layout: transparent, so that it serves the light and the dark page; the script adds the theme's colours.

    brush: what selecting a range does, a key of `events.BRUSHES`. bands: ranges under a rectangle, whose open ends
    reach the edge. more: see `histogram`.
    """
    shape: dict[str, Any] = {"type": "rect", "layer": "below", "line": {"width": 0}, "fillcolor": ACCENT}
    axes: dict[str, Any] = {}
    for axis, title, limits, band in zip("xy", titles, ranges, bands, strict=True):
        axes[f"{axis}axis"] = {"title": {"text": title, "standoff": 8}, "automargin": True}
        if limits is not None:
            axes[f"{axis}axis"]["range"] = list(limits)
        lowest, highest = limits or (-np.inf, np.inf)
        low, high = (0, 1) if band is None else np.clip(band, lowest, highest).tolist()
        shape |= {f"{axis}0": low, f"{axis}1": high, f"{axis}ref": "paper" if band is None else axis}
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"size": 12},
        "margin": {"l": 48, "r": 14, "t": 28, "b": 40},
        **axes,
        "showlegend": bool(brush),
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "dragmode": "select" if brush else "zoom",
        "hovermode": "x unified",
        "meta": {"brush": brush, "filter": dict(more or {})},
        "shapes": [shape | {"opacity": 0.16}] if any(bands) else [],
        "selections": [],
    }


def matrix(
    name: str,
    title: str,
    data: ConfusionMatrix,
    names: Sequence[str],
    hint: str = "",
    more: Mapping[str, Any] | None = None,
) -> Chart:
    """The confusion matrix: ground truth down, predictions across; cells with tracks are buttons.

    names: of its classes. more: what every filter contains beside the classes.
    """
    chart: Chart = {"name": name, "title": title, "hint": hint}
    last = len(names) - 1
    cells = []
    for row, column in zip(*np.nonzero(np.array(data.counts)), strict=True):
        count = data.counts[row][column]
        kind = "correct" if row == column else "background" if row == last else "classification"
        words = f"truth {names[row]}, prediction {names[column]}: {count} {'track' if count == 1 else 'tracks'}"
        cells.append(
            {
                "row": int(row),
                "column": int(column),
                "count": count,
                "words": words,
                "share": data.shares[row][column],
                "colour": TYPE_COLOURS["missed" if column == last else kind],
                "filter": {**(more or {}), "classes": [data.classes[row], data.classes[column]]},
            }
        )
    if not cells:
        return chart | {"kind": "message", "message": "No track that this filter lets through counts here."}
    return chart | {"kind": "matrix", "names": names, "cells": cells, "many": len(names) > _MANY}
