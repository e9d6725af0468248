"""HTTP routes: the page's scripts, and each view's video, frames, masks and downloads under its token.

A token is unguessable and the only credential: whoever has a view's link may see it.
"""

import re
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ..access import VisitorCache
from .proxy import VIDEO_TYPES

if TYPE_CHECKING:
    from .component import PlayerView

STATIC = Path(__file__).parents[1] / "static"
SCRIPT_FOLDERS = (
    "page",
    "player",
    "segment",
    "compare",
    "errors",
    "review",
    "datasets",
)  # of STATIC; modules import each other by relative paths
MAX_VIEWS = 256  # masks of a long video with many tracks take some 10 MB
SCRIPT_TYPES = {".js": "text/javascript", ".css": "text/css"}
DOWNLOADS = {
    "results.json": "application/json",
    "overlay.mp4": "video/mp4",
    "masks.zip": "application/zip",
    "tracks.csv": "text/csv",
    "submission.zip": "application/zip",
    "corrected.json": "application/json",
    "changes.csv": "text/csv",
    "report.html": "text/html",
    "decisions.jsonl": "application/x-ndjson",
}
GONE = "This file cannot be read any more."
# The content under a name may change, and none of it is a page.
_NO_CACHE = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
_CACHE = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}


class ViewRegistry:
    """The views that pages display, by token; of too many the visitor who has most loses one. Thread-safe."""

    def __init__(self, max_views: int = MAX_VIEWS):
        self._views: VisitorCache[tuple[PlayerView, Path | None, str]] = VisitorCache(max_views)
        self._lock = threading.Lock()

    def put(self, view: "PlayerView", folder: Path | None = None, title: str = "", visitor: str = "") -> "PlayerView":
        """Add a view, or replace the one under its token; returns it. folder: of its downloads, title: what they are
        of. visitor: who opened it."""
        with self._lock:
            self._views.put(view.token, (view, folder, title), visitor)
        return view

    def get(self, token: str) -> "PlayerView | None":
        """The view of a token; None where there is none (any more)."""
        return self._entry(token)[0]

    def folder(self, token: str) -> Path | None:
        """The folder of a view's downloads."""
        return self._entry(token)[1]

    def title(self, token: str) -> str:
        """What a view's downloads are of."""
        return self._entry(token)[2]

    def drop(self, token: str) -> None:
        """Remove a view."""
        with self._lock:
            self._views.drop(token)

    def _entry(self, token: str) -> "tuple[PlayerView | None, Path | None, str]":
        with self._lock:
            return self._views.get(token) or (None, None, "")


class _NotFoundError(Exception):
    """Becomes a 404 response with its one sentence."""


def routes(views: ViewRegistry) -> Sequence[BaseRoute]:
    """The routes that the server adds to the page's."""
    responses = _Responses(views)
    view = "/studio/shows/{token}"
    return [
        *(_route(f"/studio/{folder}/{{file}}", partial(responses.script, folder)) for folder in SCRIPT_FOLDERS),
        _route(f"{view}/video/{{name}}", responses.video),
        _route(f"{view}/frames/{{index}}.jpg", responses.frame),
        _route(f"{view}/masks/{{chunk}}", responses.masks),
        _route(f"{view}/files/{{name}}", responses.download),
    ]


def attachment(title: str, name: str) -> dict[str, str]:
    """The header with the name of a downloaded file, `street-overlay.mp4`. title: name of the video or data set."""
    stem = re.sub(r"[^\w.()-]+", "-", re.sub(r"\.\w{2,5}$", "", title)).strip("-.")[:80]
    full = f"{stem}-{name}" if stem else name
    value = f'filename="{full}"' if full.isascii() else f"filename*=utf-8''{quote(full)}"
    return {"Content-Disposition": f"attachment; {value}"}


def _route(path: str, respond: Callable[[dict[str, str]], Response]) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return await run_in_threadpool(respond, request.path_params)
        except _NotFoundError as error:
            return PlainTextResponse(str(error), 404, _NO_CACHE)
        except (IndexError, OSError, ValueError):  # their sentences name folders of the server
            return PlainTextResponse(GONE, 404, _NO_CACHE)

    return Route(path, endpoint, methods=["GET"])


class _Responses:
    """One method for each route. params: of the path. All may block."""

    def __init__(self, views: ViewRegistry):
        self._views = views

    def script(self, folder: str, params: dict[str, str]) -> Response:
        files = {file.name: file for file in (STATIC / folder).iterdir() if file.suffix in SCRIPT_TYPES}
        file = files.get(params["file"])
        if file is None:
            raise _NotFoundError("There is no such file.")
        return FileResponse(file, media_type=SCRIPT_TYPES[file.suffix], headers=_NO_CACHE)

    def video(self, params: dict[str, str]) -> Response:
        """params["name"]: the file's, by which browsers keep it: the view may get another one."""
        file = self._view(params).frames.video
        if file is None:
            raise _NotFoundError("This show consists of pictures: there is no video.")
        if file.name != params["name"] or not file.is_file():
            raise _NotFoundError("The video is not here any more: open it again.")
        return FileResponse(file, media_type=VIDEO_TYPES[file.suffix], headers=_CACHE)

    def frame(self, params: dict[str, str]) -> Response:
        """params["index"]: of the whole video, not of the view."""
        frames = self._view(params).frames
        index = _index(params["index"], "frame", len(frames.times))
        return Response(frames.picture(index), media_type="image/jpeg", headers=_CACHE)

    def masks(self, params: dict[str, str]) -> Response:
        from .component import CHUNK, mask_chunk

        view = self._view(params)
        chunk = _index(params["chunk"], "chunk", -(-view.length // CHUNK))
        return JSONResponse(mask_chunk(view, chunk), headers=_NO_CACHE)

    def download(self, params: dict[str, str]) -> Response:
        name, token = params["name"], self._view(params).token
        folder, media_type = self._views.folder(token), DOWNLOADS.get(name)
        if folder is None or media_type is None or not (folder / name).is_file():
            raise _NotFoundError("There is no such file to download.")
        headers = _NO_CACHE | attachment(self._views.title(token), name)
        return FileResponse(folder / name, media_type=media_type, headers=headers)

    def _view(self, params: dict[str, str]) -> "PlayerView":
        view = self._views.get(params["token"])
        if view is None:
            raise _NotFoundError("There is no such show, or not any more: open it again.")
        return view


def _index(text: str, name: str, stop: int) -> int:
    # Not int(): it takes spaces, signs, underscores and the digits of other scripts.
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) < stop):
        raise _NotFoundError(f"There is no such {name}: expected 0 to {stop - 1}.")
    return int(text)
