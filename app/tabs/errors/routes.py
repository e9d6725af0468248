"""The addresses of the tab `Errors`: a page's settings as a query; the routes of thumbnails, files and plotly.js.

An address holds everything that its answer depends on, so that the server stores nothing for it.
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

from tevit.evaluation.errors import Limits

from ...analysis.comparison import DEFAULT, Comparison
from ...analysis.filter import NONE, Filter, Selection, as_csv, as_json, as_json_text, from_json, report, select
from ...analysis.service import EvaluationService
from ...player.routes import attachment
from ...workspace import Workspace

PAGE = 12  # errors that "more" adds to the list
ORDERS: Mapping[str, str] = {
    "cost": "cost",
    "score": "score, highest first",
    "iou": "IoU, lowest first",
    "length": "length, longest first",
    "video": "video",
}
_MAX_QUERY = 20_000  # characters


@dataclass(frozen=True)
class ViewSettings:
    """The settings of one page. names: of A and perhaps B. cutoff: the lowest score that counts. order: of ORDERS.
    shown: rows of the list. side: the model of the plots where the filter names none, 0: A, 1: B."""

    names: tuple[str, ...] = ()
    limits: Limits = DEFAULT
    cutoff: float = 0.0
    filter: Filter = NONE
    order: str = "cost"
    shown: int = PAGE
    side: int = 0

    @property
    def evaluation(self) -> tuple[tuple[str, ...], Limits, float]:
        """The part whose change requires everything to be computed again."""
        return self.names, self.limits, self.cutoff

    def with_filter(self, filter: Filter) -> "ViewSettings":
        """With another filter; the list starts from the top."""
        return replace(self, filter=filter, shown=PAGE)

    def with_limits(self, positive: float, background: float, cutoff: float) -> "ViewSettings":
        """At other limits; background is at most positive. Raises: ValueError."""
        if not all(map(math.isfinite, (positive, background, cutoff))):
            raise ValueError(f"expected three numbers, got {positive}, {background}, {cutoff}")
        limits = replace(self.limits, positive=float(positive), background=float(min(background, positive)))
        return replace(self, limits=limits, cutoff=float(cutoff), shown=PAGE)


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


# --- routes

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
