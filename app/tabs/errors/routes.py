"""What the tab `Errors` fetches: pictures of filmstrips, and files that are made when they are asked for.

An address says everything that its answer depends on, so that nothing is kept for it.
"""

import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlencode

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from app.analysis import export
from app.analysis.comparison import DEFAULT, Comparison, TrackTable
from app.analysis.filter import NONE, Filter, Selection, as_json, from_json, select
from app.analysis.service import EvaluationService
from app.projects.project import Project
from app.workspace import Workspace
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


# --- routes

_LASTING = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
_FRESH = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_KINDS = {"errors.csv": "text/csv", "errors.json": "application/json", "report.html": "text/html"}
_PICTURE = "/studio/errors/{project}/picture/{model}/{video}/{truth}/{prediction}/{frame}.jpg"
_PATIENCE = 60.0  # seconds that a file waits for an evaluation to end


def routes(workspace: Workspace) -> list[BaseRoute]:
    """For the server."""
    return [
        Route("/studio/errors/plotly.min.js", _plotly, methods=["GET"]),
        _route(_PICTURE, lambda request: _picture(workspace, request)),
        _route("/studio/errors/{project}/{name}", lambda request: _file(workspace, request)),
    ]


def _plotly(request: Request) -> Response:
    """plotly.js, 5 MB, as the package plotly ships it."""
    package = find_spec("plotly")
    assert package is not None and package.origin is not None
    file = Path(package.origin).parent / "package_data" / "plotly.min.js"
    return FileResponse(file, media_type="text/javascript", headers=_LASTING)


def _route(path: str, answer: Callable[[Request], Response]) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return await run_in_threadpool(answer, request)
        except (IndexError, LookupError, OSError, ValueError):  # their sentences may name folders of the server
            return PlainTextResponse("There is no such file, or not any more.", 404, _FRESH)

    return Route(path, endpoint, methods=["GET"])


def _picture(workspace: Workspace, request: Request) -> Response:
    asked = request.path_params
    project = workspace.find(asked["project"])
    model = [model.file.sha256[:12] for model in project.models].index(asked["model"])
    sides, frame = (_id(asked["truth"]), _id(asked["prediction"])), _whole(asked["frame"])
    if frame < 0:
        raise IndexError(frame)
    picture = workspace.thumbnails.cut(project, model, _whole(asked["video"]), sides, frame)
    return Response(picture, media_type="image/jpeg", headers=_LASTING)


def _file(workspace: Workspace, request: Request) -> Response:
    name = request.path_params["name"]
    project = workspace.find(request.path_params["project"])
    if name not in _KINDS:
        raise LookupError(name)
    content = _content(workspace, project, name, request.url.query)
    headers = _FRESH | {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=_KINDS[name], headers=headers)


def _content(workspace: Workspace, project: Project, name: str, query: str) -> str:
    chosen = from_query(query)
    opening = workspace.evaluations.open(project)
    try:
        whole = opening.wait(_PATIENCE).result
    finally:
        opening.leave()
    if whole is None:
        raise LookupError(name)
    comparison = selected_models(workspace.evaluations, whole, chosen)
    if name == "report.html":
        return _report(comparison, min(chosen.side, len(comparison.models) - 1))
    write = export.as_csv if name == "errors.csv" else export.as_json_text
    return write(comparison, sorted_selection(comparison, chosen))


def _report(comparison: Comparison, side: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        export.report(comparison, path, side)
        return path.read_text()


def _id(text: str) -> int | None:
    return None if text == "-" else _whole(text)


def _whole(text: str) -> int:
    """Raises: ValueError for what is no plain whole number."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 16):
        raise ValueError(f"expected a whole number, got {text[:40]!r}")
    return int(text)
