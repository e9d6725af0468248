"""The list of errors of one page: its settings, as a query too, its rows in order, and the neighbours of a row."""

import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from urllib.parse import parse_qs, parse_qsl, urlencode

import numpy as np

from tevit.evaluation.error_table import ErrorRecord
from tevit.evaluation.errors import Limits

from ..deep_link import View
from ..projects.project import Project
from .comparison import DEFAULT, Comparison
from .filter import NONE, Filter, Selection, as_json, from_json, select
from .service import EvaluationService

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
