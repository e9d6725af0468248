"""The components of the tab `Errors`, and its HTML: figures, charts, filter and list."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from tevit.evaluation import report as charts
from tevit.evaluation.api import Interval
from tevit.evaluation.error_table import ERROR_GROUPS, OUTCOME_WORDS, OUTCOMES
from tevit.evaluation.identity import NUMBERS
from tevit.evaluation.matching import LENGTHS
from tevit.evaluation.report import HEIGHT, TYPE_COLOURS, WIDTH, Bars, ConfusionMatrix, Histogram, Line

from ...analysis.comparison import IDENTITY_NAMES, Comparison, FigureRow
from ...analysis.filter import (
    ORDERS,
    Filter,
    Selection,
    ViewSettings,
    as_csv,
    as_json,
    as_json_text,
    chips,
    from_query,
    in_words,
    report,
    selected_models,
    sorted_selection,
    to_query,
)
from ...analysis.service import filmstrip_frames
from ...page import counted, on_change, on_load, render
from ...player.component import attachment
from ...workspace import Workspace
from .charts import MINUS, NONE, Chart, bars, draw, histogram, lines, matrix, scatter

NO_MODEL = "(none)"  # chosen as B
SHOW_ADDRESS = on_change("errors/answers.js", "showAddress")
# Answers to quick presses can arrive in another order: the page keeps the one of the highest turn.
_NEWEST = '${{window.tevitErrors ? window.tevitErrors.newestAnswer("{elem_id}", turn, value) : value}}'
_MOUNT = """
  const part = module.mount(element, root, (event) => trigger("select", event));
  watch("value", () => part.onReplaced());
"""


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
    script = on_load("errors/errors.js", _MOUNT)

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


ROUTES = "studio/errors"  # without a leading slash: relative to wherever the page is served


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
    words = f"{wrong} of {selection.every} errors" if wrong < selection.every else counted(wrong, "error")
    return words + (f", {counted(len(rows) - wrong, 'track')} without" if wrong < len(rows) else "")


def shown_side(comparison: Comparison, settings: ViewSettings) -> int:
    """Index of the model whose charts are shown: the filter's, where it names one."""
    names = [model.name for model in comparison.models]
    model = settings.filter.model
    return names.index(model) if model in names else min(settings.side, len(names) - 1)


# --- the list


def rows(
    comparison: Comparison, selection: Selection, settings: ViewSettings, current: str = "", reveal: int | None = None
) -> str:
    """The list of errors, and buttons for more of them. current: key of the row that is marked. reveal: the page goes
    to that row, once for each such number; None: it stays where it is."""
    skipped = settings.skipped
    items = [_row(comparison, index) for index in selection.rows[skipped : skipped + settings.shown].tolist()]
    marked = current if any(item["key"] == current for item in items) else ""
    return render(
        "errors/rows.html",
        rows=items,
        earlier=skipped,
        left=len(selection.rows) - skipped - len(items),
        current=marked,
        reveal=reveal,
        filtered=settings.filter != Filter(),
        positive=settings.limits.positive,
        width=WIDTH,
        height=HEIGHT,
    )


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


# --- addresses: each holds everything that its answer depends on, so that the server stores nothing for it

_CACHED = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
_NOT_CACHED = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_FILES = {"errors.csv": "text/csv", "errors.json": "application/json", "report.html": "text/html"}
_THUMBNAIL = "/studio/errors/{project}/picture/{model}/{video}/{truth}/{prediction}/{frame}.jpg"
_TIMEOUT = 60.0  # seconds that a file waits for an evaluation to end


def routes(workspace: Workspace) -> list[BaseRoute]:
    """The routes of the tab."""

    def route(path: str, answer: Callable[[Workspace, Request], Response]) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                return await run_in_threadpool(answer, workspace, request)
            except (IndexError, LookupError, OSError, ValueError):  # their sentences may name folders of the server
                return PlainTextResponse("There is no such file, or not any more.", 404, _NOT_CACHED)

        return Route(path, endpoint, methods=["GET"])

    return [
        Route("/studio/errors/plotly.min.js", _plotly, methods=["GET"]),
        route(_THUMBNAIL, _thumbnail),
        route("/studio/errors/{project}/{name}", _file),
    ]


def _plotly(request: Request) -> Response:
    """plotly.js, 5 MB, as the package plotly ships it."""
    package = find_spec("plotly")
    assert package is not None and package.origin is not None
    file = Path(package.origin).parent / "package_data" / "plotly.min.js"
    return FileResponse(file, media_type="text/javascript", headers=_CACHED)


def _thumbnail(workspace: Workspace, request: Request) -> Response:
    def whole(text: str) -> int:
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 16):
            raise ValueError(f"expected a whole number, got {text[:40]!r}")
        return int(text)

    path = request.path_params
    project = workspace.find(path["project"])
    model = [model.file.sha256[:12] for model in project.models].index(path["model"])
    truth, prediction = (None if path[side] == "-" else whole(path[side]) for side in ("truth", "prediction"))
    frame = whole(path["frame"])
    if frame < 0:
        raise IndexError(frame)
    jpeg = workspace.thumbnails.cut(project, model, whole(path["video"]), (truth, prediction), frame)
    return Response(jpeg, media_type="image/jpeg", headers=_CACHED)


def _file(workspace: Workspace, request: Request) -> Response:
    name = request.path_params["name"]
    project, settings = workspace.find(request.path_params["project"]), from_query(request.url.query)
    if name not in _FILES:
        raise LookupError(name)
    task = workspace.evaluations.open(project)
    try:
        evaluated = task.wait(_TIMEOUT).result
    finally:
        task.leave()
    if evaluated is None:
        raise LookupError(name)
    comparison = selected_models(workspace.evaluations, evaluated, settings)
    if name == "report.html":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            report(comparison, path, min(settings.side, len(comparison.models) - 1))
            content = path.read_text()
    else:
        write = as_csv if name == "errors.csv" else as_json_text
        content = write(comparison, sorted_selection(comparison, settings))
    headers = _NOT_CACHED | attachment(project.name, name)
    return Response(content, media_type=_FILES[name], headers=headers)
