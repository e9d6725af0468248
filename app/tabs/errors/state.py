"""What one page of the tab `Errors` has chosen, as a value; and the same as the query of a file to download."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, parse_qsl, urlencode

import numpy as np

from app.analysis.comparison import DEFAULT, Comparison, TrackTable
from app.analysis.filter import NONE, Filter, Selection, as_json, from_json, select
from app.analysis.service import EvaluationService
from tevit.evaluation.errors import Limits

PAGE = 12  # errors that "more" adds to the list
ORDERS: Mapping[str, str] = {
    "cost": "cost",
    "score": "score, highest first",
    "iou": "IoU, lowest first",
    "length": "length, longest first",
    "video": "video",
}
_LONGEST = 20_000  # characters of a query


@dataclass(frozen=True)
class ViewSettings:
    """names: of A and perhaps B. cutoff: the least score that counts. order: of ORDERS. shown: rows of the list.
    side: whose plots are shown where the filter names no model."""

    names: tuple[str, ...] = ()
    limits: Limits = DEFAULT
    cutoff: float = 0.0
    filter: Filter = NONE
    order: str = "cost"
    shown: int = PAGE
    side: int = 0

    @property
    def measure(self) -> tuple[tuple[str, ...], Limits, float]:
        """What everything has to be worked out anew for."""
        return self.names, self.limits, self.cutoff

    def filtered(self, chosen: Filter) -> "ViewSettings":
        """By another filter; the list begins anew."""
        return replace(self, filter=chosen, shown=PAGE)

    def moved(self, positive: float, background: float, cutoff: float) -> "ViewSettings":
        """At other thresholds; from above the positive one the background's comes down. Raises: ValueError."""
        if not all(map(math.isfinite, (positive, background, cutoff))):
            raise ValueError(f"expected three numbers, got {positive}, {background}, {cutoff}")
        limits = replace(self.limits, positive=float(positive), background=float(min(background, positive)))
        return replace(self, limits=limits, cutoff=float(cutoff), shown=PAGE)


def selected_models(service: EvaluationService, whole: Comparison, chosen: ViewSettings) -> Comparison:
    """The models that are compared, at the chosen thresholds; everybody who asks for the same shares it.

    Raises: ValueError.
    """
    names = chosen.names or tuple(model.name for model in whole.models)
    return service.with_limits(whole.select_models(names), chosen.limits, chosen.cutoff)


def all_models(service: EvaluationService, whole: Comparison, chosen: ViewSettings) -> Comparison:
    """All models at the chosen thresholds, A and B first. Raises: ValueError."""
    others = [model.name for model in whole.models if model.name not in chosen.names]
    return selected_models(service, whole, replace(chosen, names=(*chosen.names, *others)))


def sorted_selection(comparison: Comparison, chosen: ViewSettings) -> Selection:
    """What the filter lets through, in the chosen order. Raises: ValueError."""
    selection = select(comparison, chosen.filter)
    t = comparison.table
    rows = selection.rows
    keys = _keys(t, rows)
    return selection if chosen.order == "cost" else replace(selection, rows=rows[keys[chosen.order]])


def _keys(t: TrackTable, rows: np.ndarray) -> Mapping[str, np.ndarray]:
    """Stable: equal ones stay in the order of their cost."""
    return {
        "score": np.argsort(-np.nan_to_num(t.score[rows], nan=-np.inf), kind="stable"),
        "iou": np.argsort(t.iou[rows], kind="stable"),
        "length": np.argsort(-t.length[rows], kind="stable"),
        "video": np.argsort(t.video[rows], kind="stable"),
    }


def to_query(chosen: ViewSettings) -> str:
    """Everything that the content of a file depends on."""
    said: list[tuple[str, object]] = [("model", name) for name in chosen.names]
    said += [("positive", chosen.limits.positive), ("background", chosen.limits.background)]
    said += [("cutoff", chosen.cutoff), ("order", chosen.order), ("side", chosen.side)]
    return urlencode([*said, ("filter", json.dumps(as_json(chosen.filter)))])


def to_address(project: str, chosen: ViewSettings, names: Sequence[str]) -> str:
    """The page's address, as a query: data set, and what is not as by default. names: of all models."""
    default = parse_qsl(to_query(ViewSettings(tuple(names[:2]))))
    others = chosen.names != tuple(names[:2])
    said = [pair for pair in parse_qsl(to_query(chosen)) if (others if pair[0] == "model" else pair not in default)]
    return urlencode({"data": project} | ({"errors": urlencode(said)} if said else {}))


def from_address(query: str, names: Sequence[str]) -> ViewSettings:
    """What a link's part `errors` says; what it does not say, or what makes no sense, is as by default."""
    default = ViewSettings(tuple(names[:2]))
    try:
        chosen = from_query(query)
        known = bool(chosen.names) and set(chosen.names) <= set(names)
        return replace(chosen, names=tuple(dict.fromkeys(chosen.names))[:2] if known else default.names)
    except (KeyError, TypeError, ValueError):
        return default


def from_query(query: str) -> ViewSettings:
    """Raises: ValueError for what is no such query."""
    if len(query) > _LONGEST:
        raise ValueError("expected a shorter query")
    said = parse_qs(query, max_num_fields=50)
    one = {name: values[-1] for name, values in said.items()}
    order, side = one.get("order", "cost"), one.get("side", "0")
    if order not in ORDERS or side not in ("0", "1"):
        raise ValueError(f"expected an order that there is and a side 0 or 1, got {order[:40]!r} and {side[:40]!r}")
    chosen = ViewSettings(tuple(said.get("model", ())), filter=from_json(json.loads(one.get("filter", "{}"))))
    numbers = (one.get("positive", "0.5"), one.get("background", "0.1"), one.get("cutoff", "0"))
    return replace(chosen, order=order, side=int(side)).moved(*map(float, numbers))
