"""The components of the tab `Errors`, and its HTML: figures, charts, filter and list.

Bars and the confusion matrix are buttons. Lines, histograms and scatter plots are drawn by plotly.js from the figure
in `data-plot`; beside each stands a list of buttons or a table, for the keyboard and for screen readers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr
import numpy as np

from tevit.evaluation import charts
from tevit.evaluation.bootstrap import Interval
from tevit.evaluation.charts import ACCENT, MODEL_COLOURS, TYPE_COLOURS, Bars, ConfusionMatrix, Histogram, Line, Points
from tevit.evaluation.error_table import ERROR_GROUPS, OUTCOME_WORDS, OUTCOMES
from tevit.evaluation.filmstrip import HEIGHT, WIDTH
from tevit.evaluation.identity import NUMBERS
from tevit.evaluation.matching import LENGTHS

from ...analysis.comparison import IDENTITY_NAMES, Comparison, FigureRow
from ...analysis.error_list import ORDERS, ViewSettings, in_words, to_query
from ...analysis.filter import Selection, as_json, chips
from ...analysis.thumbnails import filmstrip_frames
from ...rendering import on_change, on_load, render

NO_MODEL = "(none)"  # chosen as B
SHOW_ADDRESS = on_change("errors/answers.js", "showAddress")
# Answers to quick presses can arrive in another order: the page keeps the one of the highest turn.
_NEWEST = '${{window.tevitErrors ? window.tevitErrors.newestAnswer("{elem_id}", turn, value) : value}}'


@dataclass(frozen=True)
class ErrorsComponents:
    """state: progress and messages. types, groups: the charts of errors by type and by oracle gap. The others are
    filled after the evaluation. address: the settings as a query, for the page's address."""

    state: gr.HTML
    figures: gr.HTML
    controls: gr.Row
    a: gr.Dropdown
    b: gr.Dropdown
    positive: gr.Slider
    background: gr.Slider
    cutoff: gr.Slider
    types: gr.HTML
    groups: gr.HTML
    bar: gr.HTML
    plots: gr.HTML
    ordering: gr.Row
    search: gr.Textbox
    order: gr.Dropdown
    rows: gr.HTML
    address: gr.Textbox

    def html(self) -> Iterator[gr.HTML]:
        """Those with buttons of their own."""
        yield from (getattr(self, item.name) for item in fields(self) if isinstance(getattr(self, item.name), gr.HTML))


def build_layout() -> ErrorsComponents:
    """Create the components in the Blocks that is open."""
    script = on_load("errors/errors.js", 'module.mount(element, root, (event) => trigger("select", event));')

    def place(elem_id: str) -> gr.HTML:
        return gr.HTML(
            "",
            html_template=_NEWEST.format(elem_id=elem_id),
            js_on_load=script,
            apply_default_css=False,
            elem_id=elem_id,
            turn=0,
        )

    parts: dict[str, Any] = {}
    with gr.Column(elem_id="errors"):
        parts |= {"state": place("errors-state"), "figures": place("errors-figures")}
        with gr.Row(elem_id="errors-controls", visible=False) as parts["controls"]:
            parts["a"] = gr.Dropdown([], label="A", visible=False)
            parts["b"] = gr.Dropdown([NO_MODEL], value=NO_MODEL, label="B", visible=False)
            parts["positive"] = gr.Slider(0.1, 1, 0.5, step=0.05, label="Match IoU ≥")
            parts["background"] = gr.Slider(0.05, 0.5, 0.1, step=0.05, label="Background IoU")
            parts["cutoff"] = gr.Slider(0, 1, 0, step=0.01, label="Lowest score")
        with gr.Row(elem_id="errors-kinds"):
            parts |= {"types": place("errors-types"), "groups": place("errors-lenses")}
        parts |= {"bar": place("errors-bar"), "plots": place("errors-plots")}
        with gr.Row(elem_id="errors-order", visible=False) as parts["ordering"]:
            parts["search"] = gr.Textbox(label="Search", placeholder="video, type or class", max_lines=1)
            orders = [(words, name) for name, words in ORDERS.items()]
            parts["order"] = gr.Dropdown(orders, value="cost", label="Order")
        parts["rows"] = place("errors-rows")
        parts["address"] = gr.Textbox(visible=False)
    return ErrorsComponents(**parts)


Chart = dict[str, Any]
"""The values of `errors/chart.html`."""

ROUTES = "studio/errors"  # without a leading slash: relative to wherever the page is served
NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
_SIDES = ("var(--accent)", "var(--faint)")
_MANY = 16  # classes: from here on the cells of the confusion matrix are too small for numbers
_TABLE_STEP = 10  # of the points of a line, every tenth stands in its table


# --- kinds of charts


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
    """Stacked bars of right and wrong predictions by score.

    band: the chosen range. more: what every filter contains beside its range.
    """
    if not any((*data.right, *data.wrong)):
        message = "No prediction is left by this filter."
        return {"kind": "message", "name": name, "title": title, "hint": hint, "message": message}
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
    return {"kind": "plot", "name": name, "title": title, "hint": hint, "figure": figure, "points": points}


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


# --- figures


def figures(comparison: Comparison, every: Comparison | None = None) -> str:
    """The figures that no filter changes. every: all models, for the table; the charts are of A and B."""
    table = every or comparison
    return render(
        "errors/figures.html",
        hint=f"95 % of {comparison.samples} samples of the videos",
        names=[model.name for model in table.models],
        rows=[(row.name, _figure_cells(row)) for row in table.figures]
        + [(name, _identity_cells(name, [m.identity[name] for m in table.models])) for name in IDENTITY_NAMES],
        curves=[
            precision_recall(comparison),
            ap_by_threshold(comparison),
            hota_by_score(comparison),
            ap_by_class(comparison),
        ],
        parts=[ap_by_size(comparison), ap_by_length(comparison)],
    )


def precision_recall(comparison: Comparison) -> Chart:
    """Precision by recall at IoU 0.50 and 0.75, the mean of all classes."""
    series = [
        (f"{model.name}, IoU {at}", i, line, dash)
        for i, model in enumerate(comparison.models)
        for threshold, at, dash in ((0, "0.50", "solid"), (5, "0.75", "dot"))
        if (line := charts.precision_by_recall(model.precision, threshold)) is not None
    ]
    titles, ranges = ("recall", "precision"), ((0, 1.01), (0, 1.03))
    return lines("recall", "Precision by recall", series, titles, hint="dotted: IoU 0.75", ranges=ranges)


def ap_by_threshold(comparison: Comparison) -> Chart:
    """AP by IoU threshold."""
    series = [(m.name, i, charts.ap_by_threshold(m.precision), "markers") for i, m in enumerate(comparison.models)]
    titles, ranges = ("IoU threshold", "AP"), (None, (0, None))
    return lines("thresholds", "AP by IoU threshold", series, titles, digits=1, ranges=ranges)


def hota_by_score(comparison: Comparison) -> Chart:
    """HOTA of the predictions of at least each score; the hint has the best threshold of each model."""
    series, best = [], []
    for i, model in enumerate(comparison.models):
        thresholds, values = model.stored.summary.hota_by_score
        points = tuple(None if model.ap < 0 else round(100 * value, 2) for value in values)
        series.append((model.name, i, Line(tuple(thresholds), points), "markers"))
        place = int(np.argmax(values))
        best.append(f"{'AB'[i]} {thresholds[place]:.2f}")
    hint = f"highest at {', '.join(best)}" if any(model.ap >= 0 for model in comparison.models) else ""
    titles, ranges = ("score threshold", "HOTA"), (None, (0, None))
    return lines("identity", "HOTA by score", series, titles, digits=1, hint=hint, ranges=ranges)


def ap_by_class(comparison: Comparison) -> Chart:
    """AP of every class that has ground truth, A's lowest first."""
    first = comparison.models[0].per_class
    places = {id: place for place, id in enumerate(comparison.categories)}
    ids = sorted((id for id in first if first[id]["AP"] >= 0), key=lambda id: first[id]["AP"])
    names = [comparison.class_name(places[id]) for id in ids]
    series = {m.name: charts.ap_bars(names, [m.per_class[id]["AP"] for id in ids]) for m in comparison.models}
    filters = [{"category": places[id]} for id in ids]
    return bars("classes", "AP by class", series, filters, f"{len(ids)} classes" if len(ids) > 1 else "")


def ap_by_size(comparison: Comparison) -> Chart:
    """AP of small, medium and large tracks."""
    parts = {m.name: dict(list(m.by_size.items())[1:]) for m in comparison.models}  # without that of all tracks
    series = {name: charts.ap_by_part(own) for name, own in parts.items()}
    return bars("sizes", "AP by size", series, hint="tracks")


def ap_by_length(comparison: Comparison) -> Chart:
    """AP of short, medium and long tracks."""
    parts = comparison.models[0].by_length
    filters = [
        {"lengths": [low, None if np.isinf(high) else high]}
        for name, (low, high) in LENGTHS.items()
        if parts[name].truths
    ]
    series = {model.name: charts.ap_by_part(model.by_length) for model in comparison.models}
    return bars("track lengths", "AP by track length", series, filters, "tracks")


def _figure_cells(row: FigureRow) -> list[dict[str, Any]]:
    """Cells in the order of the columns: A, B, B - A, then each other model and its difference to A."""

    def cell(value: float, spread: Interval | None, form: str, words: str = "", sure: bool = False) -> dict[str, Any]:
        if spread is None:
            return {"value": None, "number": NONE, "range": "", "title": "", "sure": False}
        limits = f"{100 * spread.low:.1f} to {100 * spread.high:.1f}".replace("-", MINUS)
        number = f"{100 * value:{form}}".replace("-", MINUS)
        return {"value": repr(value), "number": number, "range": limits, "title": words, "sure": sure}

    values, changes = [], []
    for value, spread, change in zip(row.values, row.spreads, row.differences, strict=True):
        known = spread if value >= 0 else None
        values.append(cell(value, known, ".1f") | ({} if known else {"value": "-1"}))
        words = f"better than A in {change.better:.0%} of the samples" if change else ""
        sure = change is not None and (change.low > 0 or change.high < 0)
        changes.append(cell(value - row.values[0], change, "+.1f", words, sure))
    others = [own for pair in zip(values[2:], changes[2:], strict=True) for own in pair]
    return [*values[:2], *changes[1:2], *others]


def _identity_cells(name: str, values: Sequence[float]) -> list[dict[str, Any]]:
    """As `_figure_cells`, of a figure without intervals."""
    scale, digits = (1, 0) if name in NUMBERS else (100, 1)
    base = values[0]

    def cell(value: float, form: str) -> dict[str, Any]:
        known = min(value, base) >= 0 or name in NUMBERS
        number = f"{scale * (value - base if '+' in form else value):{form}}" if known else NONE
        return {"value": repr(value), "number": number.replace("-", MINUS), "range": "", "title": "", "sure": False}

    shown = [cell(value, f".{digits}f") for value in values]
    changes = [cell(value, f"+.{digits}f") | {"value": None} for value in values]
    others = [own for pair in zip(shown[2:], changes[2:], strict=True) for own in pair]
    return [*shown[:2], *changes[1:2], *others]


def error_types(comparison: Comparison) -> str:
    """What each type of error costs; and what became of A's tracks in B."""
    series = {model.name: charts.error_costs(model.dap, model.ap) for model in comparison.models}
    types = next(iter(series.values())).names
    hint = f"dAP{round(100 * comparison.limits.positive)}: AP gained by fixing one type"
    filters, colours = [{"types": [type]} for type in types], [TYPE_COLOURS[type] for type in types]
    costs = bars("types", "Types of error", series, filters, hint, by_model=True, colours=colours)
    return draw(costs, outcomes(comparison)) if len(comparison.models) > 1 else draw(costs)


def error_groups(comparison: Comparison) -> str:
    """AP lost to tracking, classes and masks."""
    series = {model.name: charts.oracle_gaps(model.gap) for model in comparison.models}
    filters = [{"lens": group} for group in ERROR_GROUPS]
    return draw(bars("lenses", "Oracle gaps", series, filters, "AP gained if it were perfect", by_model=True))


def outcomes(comparison: Comparison) -> Chart:
    """Ground truth by its outcome in A and B."""
    t = comparison.table
    counts = np.bincount(t.outcome[t.truth & (t.model == 0) & ~t.is_type("ignored")], minlength=len(OUTCOMES))
    names = [name for name in OUTCOMES if name]
    series = {
        "B after A": Bars(
            tuple(OUTCOME_WORDS[name] for name in names), tuple(int(counts[OUTCOMES.index(name)]) for name in names)
        )
    }
    special = {"fixed": TYPE_COLOURS["correct"], "broken": TYPE_COLOURS["missed"]}
    colours = [special.get(name, "var(--faint)") for name in names]
    filters = [{"outcome": name} for name in names]
    return bars("outcomes", "B after A", series, filters, "tracks of the ground truth", colours=colours, digits=0)


# --- charts of the tracks that the filter lets through


def confusion_matrix(comparison: Comparison, selection: Selection, model: int) -> ConfusionMatrix:
    """Which classes are taken for which. model: its index."""
    t = comparison.table
    return charts.confusion_matrix(t, selection.pool & t.confused & (t.model == model), len(comparison.categories))


def score_histogram(comparison: Comparison, selection: Selection, model: int) -> Histogram:
    """Right and wrong predictions by score. model: its index."""
    t = comparison.table
    every = (t.model == model) & ~t.truth
    return charts.score_histogram(t, every & selection.pool & ~t.is_type("ignored"), every)


def iou_by_length(comparison: Comparison, selection: Selection, model: int) -> Chart:
    """Ground truth by length and IoU; a click opens a track, selecting filters by both. model: its index."""
    t, f, videos = comparison.table, selection.filter, comparison.overlaps.inputs.videos

    def text(row: int) -> tuple[str, str]:
        name = f"{videos[t.video[row]].name}, {comparison.class_name(int(t.truth_class[row]))} {t.truth_id[row]}"
        return name, f"{model}t{t.truth_row[row]}"

    data = charts.iou_by_length(t, selection.pool & (t.model == model) & t.truth)
    texts = {type: list(map(text, points.rows)) for type, points in data.items()}
    hint = "ground truth" + (f", {comparison.models[model].name}" if len(comparison.models) > 1 else "")
    return scatter("lengths", "IoU by length", data, texts, hint, (f.lengths, f.ious))


def below(comparison: Comparison, selection: Selection, model: int) -> str:
    """The charts of the tracks that the filter lets through. model: index of the one that is shown."""
    several, name = len(comparison.models) > 1, comparison.models[model].name
    suffix, more = (f", {name}", {"model": name}) if several else ("", {})
    counts = confusion_matrix(comparison, selection, model)
    names = [comparison.class_name(place) for place in counts.classes]
    scores = score_histogram(comparison, selection, model)
    return draw(
        matrix("confusion", "Class confusion", counts, names, f"tracks{suffix}", more),
        histogram("scores", "Scores", scores, f"right and wrong{suffix}", selection.filter.scores, more),
        iou_by_length(comparison, selection, model),
    )


# --- filter and count


def bar(comparison: Comparison, selection: Selection, settings: ViewSettings) -> str:
    """The filter as chips, the count, the model whose charts are shown, downloads."""
    return render(
        "errors/bar.html",
        filter=as_json(selection.filter),
        count=count(comparison, selection),
        points=f"{100 * selection.share:.1f}",
        chips=chips(comparison, selection.filter),
        models=[model.name for model in comparison.models],
        side=shown_side(comparison, settings),
        listed=len(selection.rows) > 0,
        address=f"{ROUTES}/{comparison.project.id}",
        query=to_query(settings),
    )


def count(comparison: Comparison, selection: Selection) -> str:
    """The number of errors that pass the filter."""
    rows = selection.rows
    wrong = int(comparison.table.error[rows].sum())
    words = f"{wrong} of {selection.every} errors" if wrong < selection.every else f"{wrong} errors"
    return words + (f", {len(rows) - wrong} tracks without" if wrong < len(rows) else "")


def shown_side(comparison: Comparison, settings: ViewSettings) -> int:
    """Index of the model whose charts are shown: the filter's, where it names one."""
    names = [model.name for model in comparison.models]
    model = settings.filter.model
    return names.index(model) if model in names else min(settings.side, len(names) - 1)


# --- the list


def rows(
    comparison: Comparison, selection: Selection, settings: ViewSettings, current: str = "", reveal: bool = False
) -> str:
    """The list of errors, and buttons for more of them. current: key of the row that is marked. reveal: whether the
    page scrolls to it."""
    skipped = settings.skipped
    items = [_row(comparison, index) for index in selection.rows[skipped : skipped + settings.shown].tolist()]
    marked = current if any(item["key"] == current for item in items) else ""
    left, size = len(selection.rows) - skipped - len(items), {"width": WIDTH, "height": HEIGHT}
    return render("errors/rows.html", rows=items, earlier=skipped, left=left, current=marked, reveal=reveal, **size)


def _row(comparison: Comparison, index: int) -> dict[str, Any]:
    row, project = comparison.table.record(index), comparison.project
    sides = "/".join("-" if id is None else str(id) for id in (row.truth_id, row.prediction_id))
    model = project.models[project.model_index(row.model)].file.sha256[:12]
    pictures = []
    for picture in filmstrip_frames(comparison, index):
        iou = None if picture.iou is None else f"IoU {picture.iou:.2f}"
        words = ", ".join(filter(None, [f"frame {picture.frame}", iou, picture.role]))
        address = f"{ROUTES}/{project.id}/picture/{model}/{row.video_id}/{sides}/{picture.frame}.jpg"
        pictures.append({"role": picture.role, "frame": picture.frame, "words": words, "address": address})
    more = {
        row.model: len(comparison.models) > 1,
        "identity switch": row.identity_switch,
        "fragmented": row.fragmentation,
        row.outcome: bool(row.outcome),
    }
    type, classes = in_words(row)
    return {
        "key": row.key,
        "type": type,
        "classes": classes,
        "video": row.video,
        "colour": TYPE_COLOURS.get(row.type, "var(--faint)"),
        "more": [words for words, shown in more.items() if shown],
        "numbers": [
            ("score", NONE if row.score is None else f"{row.score:.2f}"),
            ("IoU", f"{row.iou:.2f}"),
            ("frames", str(row.length)),
            ("cost", f"{100 * row.share:.2f}"),
        ],
        "pictures": pictures,
    }
