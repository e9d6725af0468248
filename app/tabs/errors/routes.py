"""What the tab `Errors` fetches: pictures of filmstrips, and files that are made when they are asked for.

An address says everything that its answer depends on, so that nothing is kept for it.
"""

import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from app.analysis import export
from app.analysis.comparison import Comparison
from app.projects.project import Project
from app.tabs.errors.state import from_query, selected_models, sorted_selection
from app.workspace import Workspace

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
        whole = opening.wait(_PATIENCE).comparison
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
