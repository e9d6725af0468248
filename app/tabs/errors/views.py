"""The HTML of the tab Errors: figures, charts, filter and list. No gradio, no state.

Bars and the confusion matrix are buttons. Lines, histograms and scatter plots are drawn by plotly.js from the figure
in `data-plot`; beside each stands a list of buttons or a table, for the keyboard and for screen readers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app.analysis import plots
from app.analysis.comparison import OUTCOME_WORDS, OUTCOMES, Comparison, ErrorRow, FigureRow
from app.analysis.filter import Selection, as_json, chips
from app.analysis.plots import COLOURS, Figure
from app.analysis.thumbnails import HEIGHT, WIDTH, filmstrip_frames
from app.rendering import render
from app.tabs.errors.routes import ViewSettings, to_query
from tevit.evaluation.bootstrap import Interval

ADDRESS = "studio/errors"  # without a slash before it: from wherever the page is served
NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
_NOUNS = {"correct": "right", "explained": "explained by an error"}
_SIDES = ("var(--accent)", "var(--faint)")
_MANY = 16  # classes: from here on the cells of the confusion matrix are too small for numbers
_TABLE_STEP = 10  # of the points of a line, every tenth stands in its table


def progress(share: float, message: str) -> str:
    """How far the evaluation is. share: in [0, 1]."""
    return render("errors/state.html", kind="progress", percent=round(100 * share), message=message)


def sentence(message: str, again: bool = False) -> str:
    """Why there is nothing to see. again: with a button that evaluates once more."""
    return render("errors/state.html", kind="sentence", message=message, again=again)


def problem(message: str) -> str:
    """What failed."""
    return render("errors/state.html", kind="problem", message=message)


# --- charts


def chart(kind: str, name: str, title: str, hint: str = "", **values: object) -> str:
    """A figure with its title. kind: "bars", "plot", "matrix", "message" or "body"."""
    return render("errors/chart.html", chart={"kind": kind, "name": name, "title": title, "hint": hint, **values})


def bars(name: str, title: str, figure: Figure, hint: str = "", digits: int = 1) -> str:
    """Horizontal bars, those of the models below each other for every name."""
    series, several = figure["data"], len(figure["data"]) > 1
    horizontal = series[0].get("orientation") == "h"
    values = [trace["x" if horizontal else "y"] for trace in series]
    largest = max((abs(value) for row in values for value in row if value is not None), default=0) or 1

    def bar(side: int, i: int, label: str) -> dict[str, Any]:
        trace, value = series[side], values[side][i]
        click = trace["customdata"][i] if trace.get("customdata") else None
        colours = trace["marker"]["color"]
        number = NONE if value is None else f"{value:.{digits}f}"
        return {
            "value": "" if value is None else value,
            "side": "AB"[side % 2],
            "number": number,
            "words": f"{label}, {trace['name']}: {number}",
            "part": 0 if value is None else max(0.0, value) / largest,
            "colour": colours[i] if isinstance(colours, list) else _SIDES[side % 2],
            # The only model is not named by a filter.
            "filter": click and {k: v for k, v in click["filter"].items() if several or k != "model"},
        }

    names = series[0]["y" if horizontal else "x"]
    rows = [(label, [bar(side, i, label) for side in range(len(series))]) for i, label in enumerate(names)]
    return chart("bars", name, title, hint, models=len(series), rows=rows)


def lines(name: str, title: str, figure: Figure, digits: int = 2, hint: str = "") -> str:
    """Lines over one axis, and a table of some of their values."""
    series = [trace for trace in figure["data"] if any(value is not None for value in trace["y"])]
    if not series:
        return chart("message", name, title, message="There is no ground truth to measure by.")
    step = _TABLE_STEP if len(series[0]["x"]) > 2 * _TABLE_STEP else 1
    rows = [
        (f"{x:.2f}", [NONE if t["y"][i] is None else f"{t['y'][i]:.{digits}f}" for t in series])
        for i, x in list(enumerate(series[0]["x"]))[::step]
    ]
    names, x = [trace["name"] for trace in series], figure["layout"]["xaxis"]["title"]["text"]
    return chart("plot", name, title, hint, figure=figure, points=[], names=names, rows=rows, x=x)


def histogram(
    name: str,
    title: str,
    figure: Figure,
    hint: str = "",
    band: Sequence[float] | None = None,
    more: Mapping[str, Any] | None = None,
) -> str:
    """A stacked histogram. band: the chosen range. more: what every filter contains beside its range."""
    series = figure["data"]
    width = series[0]["width"]
    points = []
    for i, middle in enumerate(series[0]["x"]):
        counts = [(place, trace["y"][i]) for place, trace in enumerate(series) if trace["y"][i]]
        if counts:
            words = ", ".join(f"{trace['y'][i]} {trace['name']}" for trace in series)
            points.append(
                {
                    "words": f"score {middle - width / 2:.2f} to {middle + width / 2:.2f}: {words}",
                    "at": [counts[0][0], i],
                    "filter": {**(more or {}), **series[0]["customdata"][i]["filter"]},
                }
            )
    return chart("plot", name, title, hint, figure=_marked(figure, band, None, more), points=points)


def scatter(
    name: str,
    title: str,
    figure: Figure,
    hint: str = "",
    bands: tuple[Sequence[float] | None, Sequence[float] | None] = (None, None),
) -> str:
    """Points that open the error they stand for. bands: the chosen ranges along x and y."""
    points = [
        {"words": f"{text}, {trace['name']}\n{x} frames, IoU {y:.2f}", "at": [k, i], "row": custom["row"], "xy": (x, y)}
        for k, trace in enumerate(figure["data"])
        for i, (x, y, text, custom) in enumerate(
            zip(trace["x"], trace["y"], trace["text"], trace["customdata"], strict=True)
        )
    ]
    if not points:
        return chart("message", name, title, message="No ground truth is left by this filter.")
    points.sort(key=lambda point: point["xy"])  # the order of the arrow keys
    points = [{key: value for key, value in point.items() if key != "xy"} | {"filter": None} for point in points]
    return chart("plot", name, title, hint, figure=_marked(figure, *bands), points=points)


def _marked(
    figure: Figure,
    x: Sequence[float] | None,
    y: Sequence[float] | None,
    more: Mapping[str, Any] | None = None,
) -> Figure:
    """The figure with a rectangle over the chosen ranges, whose open ends reach the edge. more: see `histogram`."""
    layout = figure["layout"]
    shape: dict[str, Any] = {"type": "rect", "layer": "below", "line": {"width": 0}, "fillcolor": plots.ACCENT}
    for axis, band in (("x", x), ("y", y)):
        ends, reference = ((0, 1), "paper") if band is None else (band, axis)
        low, high = ends if band is None else np.clip(ends, *layout[f"{axis}axis"]["range"]).tolist()
        shape |= {f"{axis}0": low, f"{axis}1": high, f"{axis}ref": reference}
    shapes = [shape | {"opacity": 0.16}] if x or y else []
    meta = layout["meta"] | {"filter": dict(more or {})}
    return figure | {"layout": layout | {"shapes": shapes, "selections": [], "meta": meta}}


def matrix(name: str, title: str, figure: Figure, hint: str = "", more: Mapping[str, Any] | None = None) -> str:
    """The confusion matrix: ground truth down, predictions across; cells with tracks are buttons."""
    heat = figure["data"][0]
    names, size = heat["y"], len(heat["y"])
    cells = []
    for row, column in ((r, c) for r in range(size) for c in range(size) if heat["text"][r][c]):
        count = heat["text"][row][column]
        noun = "track" if count == "1" else "tracks"
        kind = "correct" if row == column else "background" if row == size - 1 else "classification"
        cells.append(
            {
                "row": row,
                "column": column,
                "count": count,
                "words": f"truth {names[row]}, prediction {heat['x'][column]}: {count} {noun}",
                "share": heat["z"][row][column],
                "colour": COLOURS["missed" if column == size - 1 else kind],
                "filter": {**(more or {}), **heat["customdata"][row][column]["filter"]},
            }
        )
    if not cells:
        return chart("message", name, title, hint, message="No track that this filter lets through counts here.")
    return chart("matrix", name, title, hint, names=names, cells=cells, many=size > _MANY)


# --- figures


def figures(comparison: Comparison, every: Comparison | None = None) -> str:
    """The figures that no filter changes. every: all models, for the table; the plots are of A and B."""
    models = every or comparison
    table = render(
        "errors/figures.html",
        names=[model.name for model in models.models],
        rows=[(row.name, _figure_cells(row)) for row in models.figures],
    )
    drawn = (
        chart("body", "figures", "Figures", f"95 % of {comparison.samples} samples of the videos", body=table),
        lines("recall", "Precision by recall", plots.recall(comparison), hint="dotted: IoU 0.75"),
        lines("thresholds", "AP by IoU threshold", plots.thresholds(comparison), digits=1),
        bars("classes", "AP by class", plots.classes(comparison)),
        f'<div class="pair-of">{bars("sizes", "AP by size", plots.sizes(comparison), "tracks")}'
        f"{bars('track lengths', 'AP by track length', plots.track_lengths(comparison), 'tracks')}</div>",
    )
    return "".join(drawn)


def _figure_cells(row: FigureRow) -> list[dict[str, Any]]:
    """Cells in the order of the columns: A, B, B - A, then each other model and its difference to A."""
    values, changes = [], []
    for value, spread, change in zip(row.values, row.spreads, row.differences, strict=True):
        cell = {"value": "-1", "number": NONE, "range": "", "title": "", "sure": False}
        if value >= 0 and spread is not None:
            cell |= {"value": repr(value), "number": f"{100 * value:.1f}", "range": _range(spread)}
        values.append(cell)
        gained = value - row.values[0]
        cell = {"value": None, "number": NONE, "range": "", "title": "", "sure": False}
        if change is not None:
            cell |= {
                "value": repr(gained),
                "number": f"{100 * gained:+.1f}".replace("-", MINUS),
                "range": _range(change),
                "title": f"better than A in {change.better:.0%} of the samples",
                "sure": change.low > 0 or change.high < 0,
            }
        changes.append(cell)
    others = [cell for pair in zip(values[2:], changes[2:], strict=True) for cell in pair]
    return [*values[:2], *changes[1:2], *others]


def _range(spread: Interval) -> str:
    return f"{100 * spread.low:.1f} to {100 * spread.high:.1f}".replace("-", MINUS)


def kinds(comparison: Comparison) -> str:
    """What each type of error costs; and what became of A's tracks in B."""
    hint = f"dAP{round(100 * comparison.limits.positive)}: AP gained by mending one type"
    return bars("types", "Types of error", plots.types(comparison), hint) + outcomes(comparison)


def lenses(comparison: Comparison) -> str:
    """AP lost to tracking, classes and masks."""
    return bars("lenses", "Oracle gaps", plots.lenses(comparison), "AP gained were it perfect")


def outcomes(comparison: Comparison) -> str:
    """Ground truth by what A and B make of it."""
    if len(comparison.models) < 2:
        return ""
    t = comparison.table
    counted = np.bincount(t.outcome[t.truth & (t.model == 0) & ~t.is_type("ignored")], minlength=len(OUTCOMES))
    names = [name for name in OUTCOMES if name]
    colours = {"fixed": COLOURS["correct"], "broken": COLOURS["missed"]}
    trace = {
        "name": "B after A",
        "orientation": "h",
        "y": [OUTCOME_WORDS[name] for name in names],
        "x": [int(counted[OUTCOMES.index(name)]) for name in names],
        "customdata": [{"filter": {"outcome": name}} for name in names],
        "marker": {"color": [colours.get(name, "var(--faint)") for name in names]},
    }
    return bars("outcomes", "B after A", {"data": [trace]}, "tracks of the ground truth", digits=0)


def below(comparison: Comparison, selection: Selection, side: int) -> str:
    """The plots of what the filter lets through."""
    drawn, f = plots.below(comparison, selection, side), selection.filter
    several, name = len(comparison.models) > 1, comparison.models[side].name
    model, more = (f", {name}", {"model": name}) if several else ("", {})
    return "".join(
        (
            matrix("confusion", "Class confusion", drawn["confusion"], f"tracks{model}", more),
            histogram("scores", "Scores", drawn["scores"], f"right and wrong{model}", f.scores, more),
            scatter("lengths", "IoU by length", drawn["lengths"], f"ground truth{model}", (f.lengths, f.ious)),
        )
    )


# --- filter and count


def bar(comparison: Comparison, selection: Selection, settings: ViewSettings) -> str:
    """Chips, the count, whose plots are shown, downloads."""
    return render(
        "errors/bar.html",
        filter=as_json(selection.filter),
        count=count(comparison, selection),
        points=f"{100 * selection.share:.1f}",
        chips=chips(comparison, selection.filter),
        models=[model.name for model in comparison.models],
        side=shown_side(comparison, settings),
        review=len(selection.rows) > 0,
        address=f"{ADDRESS}/{comparison.project.id}",
        query=to_query(settings),
    )


def count(comparison: Comparison, selection: Selection) -> str:
    """How many of how many errors."""
    rows = selection.rows
    wrong = int(comparison.table.error[rows].sum())
    words = f"{wrong} of {selection.every} errors" if wrong < selection.every else f"{wrong} errors"
    return words + (f", {len(rows) - wrong} tracks without" if wrong < len(rows) else "")


def shown_side(comparison: Comparison, settings: ViewSettings) -> int:
    """Whose plots are shown: the filter's model's, where it names one."""
    names = [model.name for model in comparison.models]
    model = settings.filter.model
    return names.index(model) if model in names else min(settings.side, len(names) - 1)


# --- the list


def rows(comparison: Comparison, selection: Selection, settings: ViewSettings) -> str:
    """The errors, and a button for more of them."""
    shown = selection.rows[: settings.shown].tolist()
    items = [_row(comparison, index) for index in shown]
    left = len(selection.rows) - len(shown)
    return render("errors/rows.html", rows=items, left=left, width=WIDTH, height=HEIGHT)


def _row(comparison: Comparison, index: int) -> dict[str, Any]:
    row, project = comparison.row(index), comparison.project
    sides = "/".join("-" if id is None else str(id) for id in (row.truth_id, row.prediction_id))
    model = project.models[project.model_index(row.model)].file.sha256[:12]
    base = f"{ADDRESS}/{project.id}/picture/{model}/{row.video_id}/{sides}"
    pictures = []
    for picture in filmstrip_frames(comparison, index):
        iou = "" if picture.iou is None else f", IoU {picture.iou:.2f}"
        words = f"frame {picture.frame}{iou}{', ' + picture.role if picture.role else ''}"
        address = f"{base}/{picture.frame}.jpg"
        pictures.append({"role": picture.role, "frame": picture.frame, "words": words, "address": address})
    more = {
        row.model: len(comparison.models) > 1,
        "identity switch": row.identity_switch,
        "fragmented": row.fragmentation,
        row.outcome: bool(row.outcome),
    }
    numbers = {
        "score": NONE if row.score is None else f"{row.score:.2f}",
        "IoU": f"{row.iou:.2f}",
        "frames": str(row.length),
        "cost": f"{100 * row.share:.2f}",
    }
    return {
        "key": row.key,
        "type": _NOUNS.get(row.type, row.type),
        "classes": classes(row),
        "video": row.video,
        "colour": COLOURS.get(row.type, "var(--faint)"),
        "more": [words for words, shown in more.items() if shown],
        "numbers": list(numbers.items()),
        "pictures": pictures,
    }


def classes(row: ErrorRow) -> str:
    """`dog → cat`, `nothing → cat`, `dog → nothing`, or the one class of both."""
    if row.truth_class == row.predicted_class:
        return row.truth_class or ""
    return f"{row.truth_class or 'nothing'} → {row.predicted_class or 'nothing'}"
