"""The addresses of the tab `Errors`: the routes of thumbnails, files and plotly.js.

An address holds everything that its answer depends on, so that the server stores nothing for it.
"""

import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ...analysis.error_list import from_query, selected_models, sorted_selection
from ...analysis.filter import as_csv, as_json_text, report
from ...player.routes import attachment
from ...workspace import Workspace

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
