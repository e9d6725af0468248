"""The rows of the error table that a filter selects, their export as CSV, JSON and HTML report, and a page's list.

A filter is a value: charts, chips and the search box make new ones of it. The list has its settings, as a query too,
its rows in order, and the neighbours of a row.
"""

import io
import json
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode

import numpy as np

from tevit.evaluation.error_table import ERROR_GROUPS, OUTCOME_WORDS, OUTCOMES, ErrorRecord, ErrorTable
from tevit.evaluation.errors import ALL_TYPES, Limits
from tevit.evaluation.report import write_report
from tevit.io.files import write_rows

from ..page import View
from ..projects.project import Project
from .comparison import DEFAULT, Comparison
from .service import EvaluationService

Range = tuple[float, float]


@dataclass(frozen=True)
class Filter:
    """Rows must meet every condition; without conditions all errors are selected.

    model: a model's name. types: any of ALL_TYPES. lens: of ERROR_GROUPS. flags: "switch", "fragment". category:
    position of a class, of the ground truth or the prediction. classes: positions of the ground truth's and the
    prediction's class, -1 for nothing: the rows that the confusion matrix counts. scores, ious, lengths: ranges, both
    ends included; rows without score are in no range of scores. video: its id. outcome: of OUTCOMES. text: all its
    words occur in video, type or classes.
    """

    model: str | None = None
    types: tuple[str, ...] = ()
    lens: str | None = None
    flags: tuple[str, ...] = ()
    category: int | None = None
    classes: tuple[int, int] | None = None
    scores: Range | None = None
    ious: Range | None = None
    lengths: Range | None = None
    video: int | None = None
    outcome: str | None = None
    text: str = ""


NONE = Filter()


@dataclass(frozen=True)
class Chip:
    """One condition of a filter as a removable chip. id: see `without`. words: its text."""

    id: str
    words: str


@dataclass(frozen=True, eq=False)
class Selection:
    """rows: int64 (n,), of the table, highest ΔAP first: the list. pool: bool (N,), what the charts show: the same and,
    unless types are named, correct tracks too. every: errors without any filter. share: of the AP lost, the sum over
    the rows; of several models together."""

    filter: Filter
    rows: np.ndarray
    pool: np.ndarray
    every: int
    share: float


def select(comparison: Comparison, filter: Filter = NONE) -> Selection:
    """The rows that a filter selects. Raises: ValueError for an unknown model or video."""
    t = comparison.table
    pool = _pool(comparison, t, filter)
    narrow = filter.types or filter.classes is not None or filter.lens is not None or filter.flags
    shown = pool if narrow else pool & t.error
    rows = t.order[shown[t.order]]
    return Selection(filter, rows, pool, int(t.error.sum()), float(t.share[rows].sum()))


def _pool(comparison: Comparison, t: ErrorTable, f: Filter) -> np.ndarray:
    keep = ~t.is_type("ignored") if "ignored" not in f.types else np.ones(len(t), bool)
    if f.model is not None:
        names = [model.name for model in comparison.models]
        if f.model not in names:
            raise ValueError(f"filter: expected one of the models {', '.join(names)}, got {f.model[:80]!r}")
        keep &= t.model == names.index(f.model)
    if f.types:
        keep &= t.is_type(*f.types)
    if f.lens is not None:
        keep &= t.in_group(f.lens)
    for flag in f.flags:
        keep &= t.identity_switch if flag == "switch" else t.fragmentation
    if f.category is not None:
        keep &= (t.truth_class == f.category) | (t.predicted_class == f.category)
    if f.classes is not None:
        keep &= t.confused & (t.truth_class == f.classes[0]) & (t.predicted_class == f.classes[1])
    for values, limits in ((t.score, f.scores), (t.iou, f.ious), (t.length, f.lengths)):
        if limits is not None:
            keep &= (values >= limits[0]) & (values <= limits[1])
    if f.video is not None:
        keep &= t.video == _video(comparison, f.video)
    if f.outcome is not None:
        keep &= t.outcome == OUTCOMES.index(f.outcome)
    for word in f.text.casefold().split():
        keep &= np.fromiter((word in words for words in t.words), bool, len(t))
    return keep


def _video(comparison: Comparison, id: int) -> int:
    place = comparison.video_places.get(id)
    if place is None:
        raise ValueError(f"filter: there is no video {id}")
    return place


# --- chips


def chips(comparison: Comparison, filter: Filter) -> list[Chip]:
    """The conditions of a filter in words, in a fixed order."""
    f, result = filter, []
    if f.model is not None:
        result.append(Chip("model", f.model))
    result += [Chip(f"types:{type}", type) for type in f.types]
    if f.lens is not None:
        result.append(Chip("lens", {"masks": "masks and misses"}.get(f.lens, f.lens)))
    result += [Chip(f"flags:{flag}", {"switch": "identity switch"}.get(flag, flag)) for flag in f.flags]
    if f.category is not None:
        result.append(Chip("category", f"class {comparison.class_name(f.category)}"))
    if f.classes is not None:
        truth, prediction = map(comparison.class_name, f.classes)
        result.append(Chip("classes", f"{truth} taken for {prediction}" if truth != prediction else f"{truth}, right"))
    for id, name, limits in (("scores", "score", f.scores), ("ious", "IoU", f.ious), ("lengths", "frames", f.lengths)):
        if limits is not None:
            low, high = limits
            bound = f"≥ {low:.4g}" if math.isinf(high) else f"≤ {high:.4g}"
            inside = f"{low:.4g} to {high:.4g}"
            result.append(Chip(id, f"{name} {bound if math.isinf(low) or math.isinf(high) else inside}"))
    if f.video is not None:
        result.append(Chip("video", f"video {comparison.overlaps.inputs.videos[_video(comparison, f.video)].name}"))
    if f.outcome is not None:
        result.append(Chip("outcome", OUTCOME_WORDS[f.outcome]))
    return [*result, Chip("text", f"“{f.text.strip()}”")] if f.text.strip() else result


def without(filter: Filter, chip: str) -> Filter:
    """The filter without one of its chips; unchanged where it has no such chip."""
    name, _, item = chip.partition(":")
    if name not in {field.name for field in fields(Filter)}:
        return filter
    value = getattr(filter, name)
    if isinstance(value, tuple) and name in ("types", "flags"):
        return replace(filter, **{name: tuple(other for other in value if other != item)})
    return replace(filter, **{name: getattr(NONE, name)})


# --- JSON, as the browser sends it


def as_json(filter: Filter) -> dict[str, Any]:
    """Only the conditions that are set; open ends of ranges are null."""

    def plain(value: object) -> object:
        if isinstance(value, tuple):
            return [None if isinstance(item, float) and math.isinf(item) else item for item in value]
        return value

    values = {field.name: getattr(filter, field.name) for field in fields(Filter)}
    return {name: plain(value) for name, value in values.items() if value != getattr(NONE, name)}


def from_json(content: object) -> Filter:
    """A filter that was sent. Raises: ValueError where it is none."""
    if not isinstance(content, Mapping):
        raise ValueError(f"filter: expected an object, got {str(content)[:40]!r}")
    unknown = [str(name)[:40] for name in content if name not in _READ]
    if unknown:
        raise ValueError(f"filter: expected some of {', '.join(_READ)}, got {unknown[0]!r}")
    return Filter(**{name: _READ[name](value, name) for name, value in content.items() if value is not None})


def merged(filter: Filter, content: object) -> Filter:
    """The filter after a click or a brush: conditions that `content` names are replaced; if the filter has them all
    already they are removed, so that a second click undoes the first. Raises: ValueError."""
    added = from_json(content)
    names = [field.name for field in fields(Filter) if getattr(added, field.name) != getattr(NONE, field.name)]
    source = NONE if names and all(getattr(added, name) == getattr(filter, name) for name in names) else added
    return replace(filter, **{name: getattr(source, name) for name in names})


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) > 200:
        raise ValueError(f"filter: expected {name} as a text of at most 200 characters, got {str(value)[:40]!r}")
    return value


def _one_of(known: Sequence[str]) -> Callable[[object, str], str]:
    def read(value: object, name: str) -> str:
        if value not in known:
            raise ValueError(f"filter: expected {name} to be one of {', '.join(known)}, got {str(value)[:40]!r}")
        return str(value)

    return read


def _some_of(known: Sequence[str]) -> Callable[[object, str], tuple[str, ...]]:
    def read(value: object, name: str) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or any(item not in known for item in value):
            raise ValueError(f"filter: expected {name} to be some of {', '.join(known)}, got {str(value)[:40]!r}")
        return tuple(dict.fromkeys(map(str, value)))

    return read


def _whole(value: object, name: str) -> int:
    if type(value) is not int or abs(value) > 1 << 53:
        raise ValueError(f"filter: expected {name} as a whole number, got {str(value)[:40]!r}")
    return value


def _pair(value: object, name: str) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"filter: expected {name} as two positions, got {str(value)[:40]!r}")
    return _whole(value[0], name), _whole(value[1], name)


def _limits(value: object, name: str) -> Range:
    """null: open on that side."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"filter: expected {name} as two numbers, got {str(value)[:40]!r}")
    low, high = (end if item is None else item for item, end in zip(value, (-math.inf, math.inf), strict=True))
    ends = [end for end in (low, high) if isinstance(end, int | float) and not isinstance(end, bool)]
    if len(ends) < 2 or any(map(math.isnan, ends)):
        raise ValueError(f"filter: expected {name} as two numbers, got {str(value)[:40]!r}")
    return float(min(ends)), float(max(ends))


_READ: Mapping[str, Callable[[object, str], Any]] = {
    "model": _text,
    "types": _some_of(ALL_TYPES),
    "lens": _one_of(tuple(ERROR_GROUPS)),
    "flags": _some_of(("switch", "fragment")),
    "category": _whole,
    "classes": _pair,
    "scores": _limits,
    "ious": _limits,
    "lengths": _limits,
    "video": _whole,
    "outcome": _one_of(tuple(OUTCOME_WORDS)),
    "text": _text,
}


# --- exports


def as_csv(comparison: Comparison, selection: Selection) -> str:
    """The rows as of `ErrorTable.to_dict`, highest ΔAP first; empty cells for missing values."""

    file = io.StringIO()
    columns = comparison.table.to_dict(selection.rows)
    write_rows(file, tuple(columns), zip(*columns.values(), strict=True))
    return file.getvalue()


def as_json_text(comparison: Comparison, selection: Selection) -> str:
    """The rows as of `ErrorTable.to_dict`, an object each, with the filter that selected them."""
    columns = comparison.table.to_dict(selection.rows)
    content = {
        "data_set": comparison.project.name,
        "models": [model.name for model in comparison.models],
        "limits": asdict(comparison.limits),
        "cutoff": comparison.cutoff,
        "filter": as_json(selection.filter),
        "errors": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
    }
    return json.dumps(content, ensure_ascii=False, indent=1)


def report(comparison: Comparison, path: str | os.PathLike, model: int = 0) -> None:
    """One model's report at the comparison's limits as one HTML file, the same as `tevit errors --out` writes.

    Raises: OSError where it cannot be written.
    """
    analysis = comparison.models[model]
    write_report(path, f"Errors of {analysis.name}", analysis.evaluation, analysis.errors, analysis.gaps)


PAGE = 12  # errors that "more" adds to the list
MAX_ROWS = 50 * PAGE  # above a row that the list returns to
ORDERS: Mapping[str, str] = {
    "cost": "cost",
    "score": "score, highest first",
    "iou": "IoU, lowest first",
    "length": "length, longest first",
    "video": "video",
}
_NOUNS = {"correct": "right", "explained": "explained by an error"}
_MAX_QUERY = 20_000  # characters


@dataclass(frozen=True)
class ViewSettings:
    """The settings of one page. names: of A and perhaps B. cutoff: the lowest score that counts. order: of ORDERS.
    skipped, shown: rows of the list that are left out at its top, and that follow. side: the model of the plots where
    the filter names none, 0: A, 1: B."""

    names: tuple[str, ...] = ()
    limits: Limits = DEFAULT
    cutoff: float = 0.0
    filter: Filter = NONE
    order: str = "cost"
    skipped: int = 0
    shown: int = PAGE
    side: int = 0

    @property
    def evaluation(self) -> tuple[tuple[str, ...], Limits, float]:
        """The part whose change requires everything to be computed again."""
        return self.names, self.limits, self.cutoff

    def with_filter(self, filter: Filter) -> "ViewSettings":
        """With another filter; the list starts from the top."""
        return replace(self, filter=filter).from_the_top()

    def from_the_top(self) -> "ViewSettings":
        """With the first rows of the list alone."""
        return replace(self, skipped=0, shown=PAGE)

    def with_earlier(self) -> "ViewSettings":
        """With more of the rows that are left out at the top."""
        count = min(PAGE, self.skipped)
        return replace(self, skipped=self.skipped - count, shown=self.shown + count)

    def with_row(self, place: int) -> "ViewSettings":
        """With as many rows that the one at a place is among them; not with all before it where those are many."""
        page = PAGE * (place // PAGE)
        if self.skipped <= place < self.skipped + MAX_ROWS:
            return replace(self, shown=max(self.shown, page + PAGE - self.skipped))
        return replace(self, skipped=max(0, page - PAGE), shown=3 * PAGE)

    def with_limits(self, positive: float, background: float, cutoff: float) -> "ViewSettings":
        """At other limits; background is at most positive. Raises: ValueError."""
        if not all(map(math.isfinite, (positive, background, cutoff))):
            raise ValueError(f"expected three numbers, got {positive}, {background}, {cutoff}")
        limits = replace(self.limits, positive=float(positive), background=float(min(background, positive)))
        return replace(self, limits=limits, cutoff=float(cutoff)).from_the_top()


def selected_models(service: EvaluationService, evaluated: Comparison, settings: ViewSettings) -> Comparison:
    """The compared models at the settings' limits; the same object for the same settings. Raises: ValueError."""
    names = settings.names or tuple(model.name for model in evaluated.models)
    return service.with_limits(evaluated.select_models(names), settings.limits, settings.cutoff)


def all_models(service: EvaluationService, evaluated: Comparison, settings: ViewSettings) -> Comparison:
    """All models at the settings' limits, A and B first. Raises: ValueError."""
    others = [model.name for model in evaluated.models if model.name not in settings.names]
    return selected_models(service, evaluated, replace(settings, names=(*settings.names, *others)))


def sorted_selection(comparison: Comparison, settings: ViewSettings) -> Selection:
    """The rows that pass the filter, in the settings' order; equal ones by cost. Raises: ValueError."""
    selection, t = select(comparison, settings.filter), comparison.table
    keys = {"score": -np.nan_to_num(t.score, nan=-np.inf), "iou": t.iou, "length": -t.length, "video": t.video}
    rows = selection.rows
    if settings.order == "cost":
        return selection
    return replace(selection, rows=rows[np.argsort(keys[settings.order][rows], kind="stable")])


def to_query(settings: ViewSettings) -> str:
    """Everything that the content of a file depends on."""
    items: list[tuple[str, object]] = [("model", name) for name in settings.names]
    items += [("positive", settings.limits.positive), ("background", settings.limits.background)]
    items += [("cutoff", settings.cutoff), ("order", settings.order), ("side", settings.side)]
    return urlencode([*items, ("filter", json.dumps(as_json(settings.filter)))])


def to_address(project: str, settings: ViewSettings, names: Sequence[str]) -> str:
    """The page's address as a query: data set, and settings that are not the default. names: of all models."""
    default = parse_qsl(to_query(ViewSettings(tuple(names[:2]))))
    others = settings.names != tuple(names[:2])
    items = [pair for pair in parse_qsl(to_query(settings)) if (others if pair[0] == "model" else pair not in default)]
    return urlencode({"data": project} | ({"errors": urlencode(items)} if items else {}))


def from_address(query: str, names: Sequence[str]) -> ViewSettings:
    """The settings of a link's part `errors`; what is missing or invalid is the default. names: of all models."""
    default = ViewSettings(tuple(names[:2]))
    try:
        settings = from_query(query)
        known = bool(settings.names) and set(settings.names) <= set(names)
        return replace(settings, names=tuple(dict.fromkeys(settings.names))[:2] if known else default.names)
    except (KeyError, TypeError, ValueError):
        return default


def from_query(query: str) -> ViewSettings:
    """Raises: ValueError for an invalid query."""
    if len(query) > _MAX_QUERY:
        raise ValueError("expected a shorter query")
    values = parse_qs(query, max_num_fields=50)
    last = {name: own[-1] for name, own in values.items()}
    order, side = last.get("order", "cost"), last.get("side", "0")
    if order not in ORDERS or side not in ("0", "1"):
        raise ValueError(f"expected an order that there is and a side 0 or 1, got {order[:40]!r} and {side[:40]!r}")
    settings = ViewSettings(tuple(values.get("model", ())), filter=from_json(json.loads(last.get("filter", "{}"))))
    numbers = (last.get("positive", "0.5"), last.get("background", "0.1"), last.get("cutoff", "0"))
    return replace(settings, order=order, side=int(side)).with_limits(*map(float, numbers))


@dataclass(frozen=True, eq=False)
class ErrorList:
    """The rows that a page's settings select. comparison: the models at the settings' limits. rows: int64 (n,), of its
    table, in the list's order."""

    comparison: Comparison
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _places(self) -> dict[int, int]:
        return {row: place for place, row in enumerate(self.rows.tolist())}

    def place(self, key: str) -> int | None:
        """Place of a record's key in the list, from 0; None where the list does not have it."""
        index = self.comparison.table.find(key)
        return None if index is None else self._places.get(index)

    def neighbour(self, key: str, step: int) -> int | None:
        """Place of the row `step` after another (before it, if negative), None beyond the ends.

        Where the list does not have the key, the first row follows it, and none precedes it.
        """
        place = self.place(key)
        other = (-1 if place is None else place) + step
        return other if 0 <= other < len(self) else None

    def record(self, place: int) -> ErrorRecord:
        """The row at a place, with its frames."""
        return self.comparison.table.record(int(self.rows[place]))


def error_view(comparison: Comparison, record: ErrorRecord, frame: int | None = None) -> View:
    """An error for the tab Compare. frame: from 0; None: the one of lowest IoU."""
    names = tuple(model.name for model in comparison.models)
    return View(
        video=record.video_id,
        frame=(record.worst_frame if frame is None else frame) or 0,
        models=names[:2],
        truth=record.truth_id,
        prediction=record.prediction_id,
        side=names.index(record.model),
        error=record.key,
    )


def in_words(record: ErrorRecord) -> tuple[str, str]:
    """Type and classes, such as "missed" and "dog → nothing"."""
    classes = record.truth_class or ""
    if record.truth_class != record.predicted_class:
        classes = f"{record.truth_class or 'nothing'} → {record.predicted_class or 'nothing'}"
    return _NOUNS.get(record.type, record.type), classes


@dataclass
class ErrorsPage:
    """The list of errors of one page, which the tabs Errors and Compare share.

    project: the data set as of when the evaluation started. evaluated: all models at the default limits, once they are
    evaluated. turn: counts changes of the settings; answers carry it, so that the page drops one that arrives late.
    opened: key of the row that Compare shows, or showed last. listed: whether the tab Errors shows the list.
    """

    project: Project
    settings: ViewSettings
    evaluated: Comparison | None = None
    turn: int = 0
    opened: str = ""
    listed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    _listed: tuple[Comparison, ViewSettings, ErrorList] | None = None

    def errors(self, service: EvaluationService) -> ErrorList | None:
        """The list as it is now, None before the evaluation or without models.

        Settings of a link that do not suit the data set become the default.
        """
        evaluated = self.evaluated
        if evaluated is None or not evaluated.models:
            return None
        if self._listed is None or self._listed[:2] != (evaluated, self.settings):
            try:
                listed = _error_list(service, evaluated, self.settings)
            except (IndexError, KeyError, TypeError, ValueError):
                self.settings = from_address("", [model.name for model in self.project.models])
                listed = _error_list(service, evaluated, self.settings)
            self._listed = evaluated, self.settings, listed
        return self._listed[2]


def _error_list(service: EvaluationService, evaluated: Comparison, settings: ViewSettings) -> ErrorList:
    comparison = selected_models(service, evaluated, settings)
    return ErrorList(comparison, sorted_selection(comparison, settings).rows)
