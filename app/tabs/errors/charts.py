"""The figures of `app.analysis.plots` as HTML and SVG, without a plotting library.

They are there at once, in the page's own colours, and can be read aloud. What a press adds to the filter stands on
each mark as `data-filter`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from app.analysis.plots import BRUSHES, COLOURS, Figure

NONE = "\N{EN DASH}"
_LETTERS = "AB"
_SIDES = ("var(--accent)", "var(--faint)")
_MANY = 16  # classes: from here on the cells of the confusion matrix are too small for numbers


def say(**said: Any) -> str:
    """An attribute that tells Python what a press on the element does."""
    return f'data-say="{_json(said)}"'


def _filter(added: Mapping[str, Any]) -> str:
    return f'{say(do="filter", filter=added)} data-filter="{_json(added)}" aria-pressed="false"'


def _json(value: object) -> str:
    return escape(json.dumps(value, ensure_ascii=False), quote=True)


def frame(name: str, title: str, body: str, hint: str = "") -> str:
    """A figure with its title."""
    more = f"<span>{escape(hint)}</span>" if hint else ""
    return f'<figure class="chart" data-chart="{name}"><figcaption>{escape(title)}{more}</figcaption>{body}</figure>'


@dataclass(frozen=True)
class Scale:
    """An axis from low to high."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """The place on the axis, in thousandths of its length."""
        return round(1000 * (value - self.low) / ((self.high - self.low) or 1), 1)

    @property
    def ticks(self) -> list[float]:
        """About four round values."""
        rough = (self.high - self.low) / 4 or 1.0
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * k for k in (1, 2, 2.5, 5, 10) if power * k >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(k * step, 10) for k in range(first, last + 1)]


# --- bars of names


def bars(name: str, title: str, figure: Figure, hint: str = "", digits: int = 1) -> str:
    """Lying bars, those of the models below each other for every name."""
    series = figure["data"] if len(figure["data"]) > 1 else [_alone(figure["data"][0])]
    lying = series[0].get("orientation") == "h"
    names = series[0]["y" if lying else "x"]
    values = [trace["x" if lying else "y"] for trace in series]
    most = max((abs(value) for row in values for value in row if value is not None), default=0) or 1
    rows = []
    for i, label in enumerate(names):
        own = [
            _bar(trace, k, i, label, row[i], most, digits)
            for k, (trace, row) in enumerate(zip(series, values, strict=True))
        ]
        rows.append(f'<li><span class="label">{escape(str(label))}</span><div>{"".join(own)}</div></li>')
    return frame(name, title, f'<ol class="bars" data-models="{len(series)}">{"".join(rows)}</ol>', hint)


def _alone(trace: Mapping) -> Mapping:
    """The only model need not be named by a filter."""
    added = trace.get("customdata") or []
    kept = [of and {"filter": {part: it for part, it in of["filter"].items() if part != "model"}} for of in added]
    return {**trace, "customdata": kept}


def _bar(trace: Mapping, side: int, i: int, label: str, value: float | None, most: float, digits: int) -> str:
    """A button where it filters."""
    number = NONE if value is None else f"{value:.{digits}f}"
    added = (trace.get("customdata") or {}) and trace["customdata"][i]
    words = escape(f"{label}, {trace['name']}: {number}", quote=True)
    part = 0 if value is None else max(0.0, value) / most
    inside = f'<i style="--part:{part:.4f};--colour:{_colour(trace, side, i)}"></i><b>{number}</b>'
    data = f'data-value="{"" if value is None else value}" data-side="{_LETTERS[side % 2]}"'
    if not added:
        return f'<span class="bar-row" {data} title="{words}">{inside}</span>'
    press = f'aria-label="{words}" {_filter(added["filter"])}'
    return f'<button type="button" class="bar-row" {data} {press}>{inside}</button>'


def _colour(trace: Mapping, side: int, i: int) -> str:
    """Kinds of errors have a colour each; otherwise the model has."""
    colours = trace["marker"]["color"]
    return colours[i] if isinstance(colours, list) else _SIDES[side % 2]


# --- lines


def lines(name: str, title: str, figure: Figure, digits: int = 2, hint: str = "") -> str:
    """Lines over one axis; what they are at is said where the mouse is."""
    series = [trace for trace in figure["data"] if any(value is not None for value in trace["y"])]
    if not series:
        return frame(name, title, '<p class="hint">There is no ground truth to measure by.</p>')
    x = series[0]["x"]
    most = figure["layout"]["yaxis"].get("range", [0, None])[1]
    top = 1.0 if most else max(value for trace in series for value in trace["y"] if value is not None) * 1.08 or 1.0
    across, up = Scale(min(x), max(x)), Scale(0, top)
    drawn = "".join(_line(trace, across, up) for trace in series)
    return frame(name, title, _plane(across, up, drawn + _bands(series, across, digits), figure), hint)


def _line(trace: Mapping, across: Scale, up: Scale) -> str:
    pairs = zip(trace["x"], trace["y"], strict=True)
    points = " ".join(f"{across.at(x)},{1000 - up.at(y):.1f}" for x, y in pairs if y is not None)
    style = trace["line"]
    dash = ' stroke-dasharray="2 4"' if style["dash"] != "solid" else ""
    side = _SIDES[1] if style["color"] != "#4a80e8" else _SIDES[0]
    return f'<polyline points="{points}" style="stroke:{side};stroke-width:{style["width"]}px"{dash}/>'


def _bands(series: Sequence[Mapping], across: Scale, digits: int) -> str:
    """An invisible strip for every x, which says the values there."""
    x = series[0]["x"]
    width = 1000 / max(len(x) - 1, 1)
    strips = []
    for i, place in enumerate(x):
        values = [f"{t['name']}: {t['y'][i]:.{digits}f}" for t in series if t["y"][i] is not None]
        tip = escape("\n".join([f"{place:.2f}", *values]), quote=True)
        left = across.at(place) - width / 2
        strips.append(f'<rect class="band" x="{left:.1f}" y="0" width="{width:.1f}" height="1000" data-tip="{tip}"/>')
    return "".join(strips)


# --- planes with a brush


def columns(
    name: str,
    title: str,
    figure: Figure,
    hint: str = "",
    band: Sequence[float] | None = None,
    more: Mapping[str, Any] | None = None,
) -> str:
    """A histogram, stacked. band: the range that is chosen. more: what every filter has beside."""
    series = figure["data"]
    middles, width = series[0]["x"], series[0]["width"]
    totals = [sum(trace["y"][i] for trace in series) for i in range(len(middles))]
    across, up = Scale(middles[0] - width / 2, middles[-1] + width / 2), Scale(0, max(totals) * 1.05 or 1)
    drawn = [_chosen(band, across)]
    for i, middle in enumerate(middles):
        drawn.append(_column(series, i, middle, width, across, up, more or {}))
    return frame(name, title, _plane(across, up, "".join(drawn), figure, rove=True), hint)


def _column(
    series: Sequence[Mapping], i: int, middle: float, width: float, across: Scale, up: Scale, more: Mapping
) -> str:
    left, right = across.at(middle - width * 0.46), across.at(middle + width * 0.46)
    box = f'x="{left}" width="{right - left:.1f}"'
    drawn, base = [], 0.0
    for trace in series:
        top = base + trace["y"][i]
        if top > base:
            y = 1000 - up.at(top)
            colour = trace["marker"]["color"]
            drawn.append(f'<rect {box} y="{y:.1f}" height="{up.at(top) - up.at(base):.1f}" style="fill:{colour}"/>')
        base = top
    if not drawn:
        return ""
    said = ", ".join(f"{trace['y'][i]} {trace['name']}" for trace in series)
    words = escape(f"score {middle - width / 2:.2f} to {middle + width / 2:.2f}: {said}", quote=True)
    added = _filter({**more, **series[0]["customdata"][i]["filter"]})
    press = f'role="button" aria-label="{words}" data-tip="{words}" {added}'
    return f'{"".join(drawn)}<rect class="band" {box} y="0" height="1000" {press}/>'


def points(
    name: str,
    title: str,
    figure: Figure,
    hint: str = "",
    bands: tuple[Sequence[float] | None, Sequence[float] | None] = (None, None),
) -> str:
    """Dots that open what they stand for. bands: the ranges that are chosen, across and up."""
    series = figure["data"]
    every = [x for trace in series for x in trace["x"]]
    if not every:
        return frame(name, title, '<p class="hint">No ground truth is left by this filter.</p>')
    across, up = Scale(0, max(every) * 1.04), Scale(0, 1)
    drawn = "".join(_dots(trace, across, up) for trace in series)
    return frame(
        name, title, _plane(across, up, _chosen(bands[0], across, bands[1], up) + drawn, figure, rove=True), hint
    )


def _dots(trace: Mapping, across: Scale, up: Scale) -> str:
    rows = zip(trace["x"], trace["y"], trace["text"], trace["customdata"], strict=True)
    dots = []
    for x, y, text, custom in sorted(rows, key=lambda row: row[:2]):  # as the arrow keys go through them
        tip = escape(f"{text}, {trace['name']}\n{x} frames, IoU {y:.2f}", quote=True)
        place = f"M{across.at(x)} {1000 - up.at(y):.1f}h.1"
        dots.append(f'<path d="{place}" data-tip="{tip}" {say(do="open", row=custom["row"])}/>')
    return f'<g class="dots" style="stroke:{trace["marker"]["color"]}">{"".join(dots)}</g>'


def _chosen(
    band: Sequence[float] | None, across: Scale, other: Sequence[float] | None = None, up: Scale | None = None
) -> str:
    """The brushed range; open ends reach to the edge."""
    if band is None and other is None:
        return ""
    left, right = _ends(band, across)
    low, high = (0.0, 1000.0) if up is None else _ends(other, up)
    return f'<rect class="brushed" x="{left}" y="{1000 - high}" width="{right - left}" height="{high - low}"/>'


def _ends(band: Sequence[float] | None, scale: Scale) -> tuple[float, float]:
    if band is None:
        return 0.0, 1000.0
    low, high = (min(max(scale.at(end), 0.0), 1000.0) if math.isfinite(end) else None for end in band)
    return (0.0 if low is None else low), (1000.0 if high is None else high)


def _plane(across: Scale, up: Scale, drawn: str, figure: Figure, rove: bool = False) -> str:
    """Axes, their titles, a grid, and what is drawn between them."""
    layout = figure["layout"]
    plot = layout["meta"]["brush"]
    brush = ""
    if plot:
        ends = {"x": [across.low, across.high]} | ({"y": [up.low, up.high]} if "y" in BRUSHES[plot] else {})
        brush = f' data-brush="{_json({"plot": plot, "ends": ends})}"'
    grid = "".join(f'<path class="grid" d="M0 {1000 - up.at(tick)}H1000"/>' for tick in up.ticks)
    left = "".join(f'<span style="bottom:{up.at(tick) / 10}%">{_number(tick)}</span>' for tick in up.ticks)
    below = "".join(f'<span style="left:{across.at(tick) / 10}%">{_number(tick)}</span>' for tick in across.ticks)
    titles = [escape(layout[axis]["title"]["text"]) for axis in ("xaxis", "yaxis")]
    svg = f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none"{" data-rove" if rove else ""}>{grid}{drawn}</svg>'
    return (
        f'<div class="plane"><em class="up">{titles[1]}</em><div class="area"{brush}>{svg}'
        f'<div class="left">{left}</div><div class="below">{below}</div></div><em class="across">{titles[0]}</em></div>'
    )


def _number(value: float) -> str:
    return f"{value:.10g}"


# --- the confusion matrix


def matrix(name: str, title: str, figure: Figure, hint: str = "", more: Mapping[str, Any] | None = None) -> str:
    """Truths down, predictions across; only cells that hold something can be pressed. more: as of `columns`."""
    heat = figure["data"][0]
    names, size = heat["y"], len(heat["y"])
    cells = [_cell(heat, r, c, size, more or {}) for r in range(size) for c in range(size) if heat["text"][r][c]]
    if not cells:
        return frame(name, title, '<p class="hint">No track that this filter lets through counts here.</p>', hint)
    heads = "".join(
        f'<span class="row" style="grid-area:{i + 2}/1">{escape(label)}</span>'
        f'<span class="column" style="grid-area:1/{i + 2}"><span>{escape(label)}</span></span>'
        for i, label in enumerate(names)
    )
    many = " many" if size > _MANY else ""
    body = f'<div class="matrix{many}" style="--size:{size}" data-rove>{heads}{"".join(cells)}</div>'
    return frame(name, title, f'<div class="scroll">{body}</div>', hint)


def _cell(heat: Mapping, row: int, column: int, size: int, more: Mapping) -> str:
    count = heat["text"][row][column]
    words = f"truth {heat['y'][row]}, prediction {heat['x'][column]}: {count} {'track' if count == '1' else 'tracks'}"
    kind = "correct" if row == column else "background" if row == size - 1 else "classification"
    kind = "missed" if column == size - 1 else kind
    label = escape(words, quote=True)
    style = f"grid-area:{row + 2}/{column + 2};--share:{heat['z'][row][column]:.3f};--colour:{COLOURS[kind]}"
    press = _filter({**more, **heat["customdata"][row][column]["filter"]})
    number = count if size <= _MANY else ""
    return f'<button type="button" style="{style}" aria-label="{label}" data-tip="{label}" {press}>{number}</button>'
