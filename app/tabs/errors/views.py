"""The words, tables and lists of the tab `Errors` as HTML. No gradio, no state."""

import json
from collections.abc import Sequence
from html import escape

import numpy as np

from app.analysis import plots
from app.analysis.comparison import OUTCOME_WORDS, OUTCOMES, Comparison, FigureRow, Row
from app.analysis.filter import Selection, as_json, chips
from app.analysis.plots import COLOURS
from app.analysis.thumbnails import HEIGHT, WIDTH, filmstrip_frames
from app.tabs.errors.charts import NONE, bars, columns, frame, lines, matrix, points, say
from app.tabs.errors.state import ViewSettings, to_query
from tevit.evaluation.bootstrap import Interval

ADDRESS = "studio/errors"  # without a slash before it: from wherever the page is served
MINUS = "\N{MINUS SIGN}"
_NOUNS = {"correct": "right", "explained": "explained by an error"}


# --- before there is anything


def progress(share: float, words: str) -> str:
    """How far the evaluation is, with a number."""
    percent = round(100 * share)
    label = (
        f'role="progressbar" aria-label="Evaluation" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}"'
    )
    return (
        f'<div class="working"><div class="line"><strong>Evaluating</strong><span>{percent} %</span></div>'
        f'<div class="bar" {label}><i style="width:{percent}%"></i></div><span>{escape(words)}</span></div>'
    )


def sentence(text: str, again: bool = False) -> str:
    """Why there is nothing to see. again: offer to try once more."""
    button = f' <button type="button" {say(do="begin")}>Evaluate</button>' if again else ""
    return f'<div class="empty" role="status"><span>{escape(text)}</span>{button}</div>'


def problem(text: str) -> str:
    """What failed."""
    return f'<div class="problem" role="alert">{escape(text)}</div>'


def notices(texts: Sequence[str]) -> str:
    """What a person should know about the files."""
    return "".join(f'<p class="notice">{escape(text)}</p>' for text in texts)


# --- figures


def figures(comparison: Comparison, every: Comparison | None = None) -> str:
    """The figures that no filter changes. every: all models, for the table; the plots are of A and B."""
    drawn = (
        frame(
            "figures", "Figures", _figures(every or comparison), f"95 % of {comparison.samples} samples of the videos"
        ),
        lines("recall", "Precision by recall", plots.recall(comparison), hint="dotted: IoU 0.75"),
        lines("thresholds", "AP by IoU threshold", plots.thresholds(comparison), digits=1),
        bars("classes", "AP by class", plots.classes(comparison)),
        f'<div class="pair-of">{bars("sizes", "AP by size", plots.sizes(comparison), "tracks")}'
        f"{bars('track lengths', 'AP by track length', plots.track_lengths(comparison), 'tracks')}</div>",
    )
    return "".join(drawn)


def _figures(comparison: Comparison) -> str:
    names = [model.name for model in comparison.models]
    heads = [
        f'<th scope="col" title="{escape(name, quote=True)}"><i data-side="{side}">{side}</i>{escape(name)}</th>'
        for side, name in zip("AB", names, strict=False)
    ]
    heads += [f'<th scope="col">B {MINUS} A</th>'] if len(names) > 1 else []
    for name in names[2:]:
        heads.append(f'<th scope="col" title="{escape(name, quote=True)}">{escape(name)}</th><th>{MINUS} A</th>')
    rows = "".join(_figure(found) for found in comparison.figures)
    head = f"<thead><tr><th></th>{''.join(heads)}</tr></thead>"
    return f'<div class="wide"><table class="figures">{head}<tbody>{rows}</tbody></table></div>'


def _figure(found: FigureRow) -> str:
    cells = [_value(value, spread) for value, spread in zip(found.values, found.spreads, strict=True)]
    changes = zip(found.values, found.differences, strict=True)
    gained = [_difference(value - found.values[0], spread) for value, spread in changes]
    others = [cell for pair in zip(cells[2:], gained[2:], strict=True) for cell in pair]
    cells = [*cells[:2], *gained[1:2], *others]
    return f'<tr data-figure="{found.name}"><th scope="row">{found.name}</th>{"".join(cells)}</tr>'


def _value(value: float, spread: Interval | None) -> str:
    if value < 0 or spread is None:
        return f'<td data-value="-1">{NONE}</td>'
    return f'<td data-value="{value!r}">{100 * value:.1f}<small>{_range(spread)}</small></td>'


def _difference(value: float, spread: Interval | None) -> str:
    if spread is None:
        return f"<td>{NONE}</td>"
    sure = spread.low > 0 or spread.high < 0
    title = f"better than A in {spread.better:.0%} of the samples"
    number = f"{100 * value:+.1f}".replace("-", MINUS)
    data = f'data-value="{value!r}" data-sure="{str(sure).lower()}" title="{title}"'
    return f"<td {data}>{number}<small>{_range(spread)}</small></td>"


def _range(spread: Interval) -> str:
    return f"{100 * spread.low:.1f} to {100 * spread.high:.1f}".replace("-", MINUS)


# --- bars that filter


def kinds(comparison: Comparison) -> str:
    """What each type of error costs; and what became of A's tracks in B."""
    limits = comparison.limits
    hint = f"dAP{round(100 * limits.positive)}: AP gained by mending one type"
    return bars("types", "Types of error", plots.types(comparison), hint) + outcomes(comparison)


def lenses(comparison: Comparison) -> str:
    """The second lens."""
    return bars("lenses", "Oracle gaps", plots.lenses(comparison), "AP gained were it perfect")


def outcomes(comparison: Comparison) -> str:
    """Ground truth by what A and B make of it."""
    if len(comparison.models) < 2:
        return ""
    t = comparison.table
    counted = np.bincount(t.outcome[t.truth & (t.model == 0) & ~t.is_type("ignored")], minlength=len(OUTCOMES))
    names = [name for name in OUTCOMES if name]
    colours = {"fixed": "correct", "broken": "missed"}
    figure = {
        "data": [
            {
                "name": "B after A",
                "orientation": "h",
                "y": [OUTCOME_WORDS[name] for name in names],
                "x": [int(counted[OUTCOMES.index(name)]) for name in names],
                "customdata": [{"filter": {"outcome": name}} for name in names],
                "marker": {"color": [COLOURS[colours[name]] if name in colours else "var(--faint)" for name in names]},
            }
        ]
    }
    return bars("outcomes", "B after A", figure, "tracks of the ground truth", digits=0)


def below(comparison: Comparison, selection: Selection, side: int) -> str:
    """The plots of what the filter lets through."""
    drawn, f = plots.below(comparison, selection, side), selection.filter
    whose, more = _whose(comparison, side), of_model(comparison, side)
    return "".join(
        (
            matrix("confusion", "Class confusion", drawn["confusion"], f"tracks{whose}", more),
            columns("scores", "Scores", drawn["scores"], f"right and wrong{whose}", f.scores, more),
            points("lengths", "IoU by length", drawn["lengths"], f"ground truth{whose}", (f.lengths, f.ious)),
        )
    )


def of_model(comparison: Comparison, side: int) -> dict[str, str]:
    """What a press in one model's plot adds to the filter where there are two."""
    return {"model": comparison.models[side].name} if len(comparison.models) > 1 else {}


def _whose(comparison: Comparison, side: int) -> str:
    return f", {comparison.models[side].name}" if len(comparison.models) > 1 else ""


# --- filter and count


def bar(comparison: Comparison, selection: Selection, chosen: ViewSettings) -> str:
    """Chips, the count, whose plots are shown, downloads."""
    found = [
        f'<li><button type="button" class="chip" {say(do="without", chip=chip.id)} '
        f'aria-label="Remove: {escape(chip.words, quote=True)}">{escape(chip.words)}<i>&times;</i></button></li>'
        for chip in chips(comparison, selection.filter)
    ]
    named = escape(json.dumps(as_json(selection.filter), ensure_ascii=False), quote=True)
    shown = f'<div class="count" role="status">{count(comparison, selection)}</div>'
    shown += f'<ul class="chips" aria-label="Filter">{"".join(found)}</ul>'
    # Apart from the chips: where one of them has just gone, this must not come under the mouse.
    shown += f'<button type="button" class="plain" {say(do="clear")}{"" if found else " hidden"}>Remove all</button>'
    review = (
        f'<button type="button" class="plain" {say(do="review")}>Review these</button>' if len(selection.rows) else ""
    )
    more = f"{_sides(comparison, chosen)}{review}{_files(comparison, chosen)}"
    return f'<div class="filter" data-named="{named}">{shown}{more}</div>'


def count(comparison: Comparison, selection: Selection) -> str:
    """How many of how many, and what they cost."""
    rows = selection.rows
    wrong = int(comparison.table.error[rows].sum())
    said = f"{wrong} of {selection.every} errors" if wrong < selection.every else f"{wrong} errors"
    more = f", {len(rows) - wrong} tracks without" if wrong < len(rows) else ""
    return f"<strong>{said}{more}</strong><span>{100 * selection.share:.1f} AP points</span>"


def _sides(comparison: Comparison, chosen: ViewSettings) -> str:
    """Whose plots: of A or B."""
    if len(comparison.models) < 2:
        return ""
    side = shown_side(comparison, chosen)
    buttons = [
        f'<button type="button" aria-pressed="{str(i == side).lower()}" title="{escape(model.name, quote=True)}" '
        f"{say(do='side', side=i)}>{letter}</button>"
        for i, (letter, model) in enumerate(zip("AB", comparison.models, strict=False))
    ]
    return f'<div class="sides" role="group" aria-label="Plots of">Plots of {"".join(buttons)}</div>'


def shown_side(comparison: Comparison, chosen: ViewSettings) -> int:
    """Whose plots are shown: the filter's model's, where it names one."""
    names = [model.name for model in comparison.models]
    return names.index(chosen.filter.model) if chosen.filter.model in names else min(chosen.side, len(names) - 1)


def _files(comparison: Comparison, chosen: ViewSettings) -> str:
    address = f"{ADDRESS}/{comparison.project.id}"
    query = escape(to_query(chosen), quote=True)
    files = {"errors.csv": "CSV", "errors.json": "JSON", "report.html": "Report"}
    links = "".join(
        f'<a class="file" href="{address}/{name}?{query}" download>{word}</a>' for name, word in files.items()
    )
    return f'<div class="files" role="group" aria-label="Download">{links}</div>'


# --- the list


def rows(comparison: Comparison, selection: Selection, chosen: ViewSettings) -> str:
    """The errors, and a button for more of them."""
    if not len(selection.rows):
        return '<p class="empty"><span>No error is left: remove a part of the filter.</span></p>'
    shown = selection.rows[: chosen.shown].tolist()
    items = "".join(_row(comparison, index, place) for place, index in enumerate(shown))
    left = len(selection.rows) - len(shown)
    more = f'<button type="button" class="more" {say(do="more")}>More ({left} left)</button>' if left else ""
    return f'<ol class="errors" aria-label="Errors">{items}</ol>{more}'


def _row(comparison: Comparison, index: int, place: int) -> str:
    found = comparison.row(index)
    name = escape(f"{type_words(found)}, {classes(found)}, {found.video}", quote=True)
    numbers = "".join(f"<span>{name}<b>{value}</b></span>" for name, value in _numbers(found))
    more = ", ".join(_more(found, len(comparison.models) > 1))
    return (
        f'<li tabindex="{0 if place == 0 else -1}" data-row="{found.key}" aria-label="{name}">'
        f'<div class="strip">{_strip(comparison, index, found)}</div>'
        f'<div class="what"><strong><i style="background:{COLOURS.get(found.type, "var(--faint)")}"></i>'
        f"{escape(type_words(found))}</strong><span>{escape(classes(found))}</span>"
        f"<small>{escape(found.video)}{', ' if more else ''}{escape(more)}</small></div>"
        f'<div class="numbers">{numbers}</div>'
        f'<button type="button" class="open" tabindex="-1" {say(do="open", row=found.key)}>Compare</button></li>'
    )


def type_words(found: Row) -> str:
    """The type, as the list says it."""
    return _NOUNS.get(found.type, found.type)


def classes(found: Row) -> str:
    """`dog → cat`, `nothing → cat`, `dog → nothing`, or the one class that both have."""
    if found.truth_class == found.predicted_class:
        return found.truth_class or ""
    return f"{found.truth_class or 'nothing'} → {found.predicted_class or 'nothing'}"


def _numbers(found: Row) -> list[tuple[str, str]]:
    score = NONE if found.score is None else f"{found.score:.2f}"
    return [
        ("score", score),
        ("IoU", f"{found.iou:.2f}"),
        ("frames", str(found.length)),
        ("cost", f"{100 * found.share:.2f}"),
    ]


def _more(found: Row, several: bool) -> list[str]:
    said = [found.model] if several else []
    said += ["identity switch"] if found.identity_switch else []
    said += ["fragmented"] if found.fragmentation else []
    return said + ([found.outcome] if found.outcome else [])


def _strip(comparison: Comparison, index: int, found: Row) -> str:
    project = comparison.project
    sides = "/".join("-" if id is None else str(id) for id in (found.truth_id, found.prediction_id))
    model = project.models[project.model_index(found.model)].file.sha256[:12]
    base = f"{ADDRESS}/{project.id}/picture/{model}/{found.video_id}/{sides}"
    drawn = []
    for picture in filmstrip_frames(comparison, index):
        iou = "" if picture.iou is None else f", IoU {picture.iou:.2f}"
        words = f"frame {picture.frame}{iou}{', ' + picture.what if picture.what else ''}"
        drawn.append(
            f'<button type="button" tabindex="-1" class="{picture.what}" data-tip="{words}" aria-label="{words}" '
            f'{say(do="open", row=found.key, frame=picture.frame)}><img loading="lazy" alt="" width="{WIDTH}" '
            f'height="{HEIGHT}" src="{base}/{picture.frame}.jpg"></button>'
        )
    return "".join(drawn)
