"""What players fetch from the server: their own files, pictures, masks, downloads; each show under a token.

A token cannot be guessed, and is all that is needed: who has a show's link may see it.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

if TYPE_CHECKING:
    from app.player.component import PlayerView

PLAYER = Path(__file__).parents[1] / "static" / "player"
MOST = 256  # shows kept; masks of a long video with many tracks take some 10 MB
SCRIPTS = {".js": "text/javascript", ".css": "text/css"}
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
# What is here may change under its name, and none of it is a page.
_FRESH = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
_LASTING = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}


class ViewRegistry:
    """The shows that pages look at now, the least recently used out first. May be used from any thread."""

    def __init__(self, most: int = MOST):
        self._most = most
        self._shows: OrderedDict[str, tuple[PlayerView, Path | None]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, show: "PlayerView", folder: Path | None = None) -> None:
        """Show it under its token, in the place of what was there. folder: of the files to download."""
        with self._lock:
            self._shows[show.token] = show, folder
            self._shows.move_to_end(show.token)
            while len(self._shows) > self._most:
                self._shows.popitem(last=False)

    def get(self, token: str) -> "PlayerView | None":
        """The show of a token; None where there is none, or none any more."""
        found = self._find(token)
        return found and found[0]

    def folder(self, token: str) -> Path | None:
        """Where a show's downloads lie."""
        found = self._find(token)
        return found and found[1]

    def drop(self, token: str) -> None:
        """Nobody looks at it any more."""
        with self._lock:
            self._shows.pop(token, None)

    def _find(self, token: str) -> "tuple[PlayerView, Path | None] | None":
        with self._lock:
            if token in self._shows:
                self._shows.move_to_end(token)
            return self._shows.get(token)


class _Missing(Exception):
    """Becomes 404 with its one sentence."""


def routes(shows: ViewRegistry) -> Sequence[BaseRoute]:
    """What the server answers besides the page."""
    here = _Answers(shows)
    show = "/studio/shows/{token}"
    return [
        _route("/studio/player/{file}", here.script),
        _route(f"{show}/video.mp4", here.video),
        _route(f"{show}/frames/{{index}}.jpg", here.frame),
        _route(f"{show}/masks/{{chunk}}", here.masks),
        _route(f"{show}/files/{{name}}", here.download),
    ]


def _route(path: str, answer: Callable[[dict[str, str]], Response]) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return await run_in_threadpool(answer, request.path_params)
        except _Missing as missing:
            return PlainTextResponse(str(missing), 404, _FRESH)
        except (IndexError, OSError, ValueError):  # their sentences name folders of the server
            return PlainTextResponse(GONE, 404, _FRESH)

    return Route(path, endpoint, methods=["GET"])


class _Answers:
    """One method a route; all may block, and raise for what is not there."""

    def __init__(self, shows: ViewRegistry):
        self._shows = shows

    def script(self, asked: dict[str, str]) -> Response:
        files = {file.name: file for file in PLAYER.iterdir() if file.suffix in SCRIPTS}
        file = files.get(asked["file"])
        if file is None:
            raise _Missing("The player has no such file.")
        return FileResponse(file, media_type=SCRIPTS[file.suffix], headers=_FRESH)

    def video(self, asked: dict[str, str]) -> Response:
        file = self._show(asked).footage.video
        if file is None:
            raise _Missing("This show consists of pictures: there is no video.")
        if not file.is_file():
            raise _Missing("The video is not here any more: open it again.")
        return FileResponse(file, media_type="video/mp4", headers=_LASTING)

    def frame(self, asked: dict[str, str]) -> Response:
        """index: of the footage's frames."""
        footage = self._show(asked).footage
        index = _whole(asked["index"], "frame", len(footage.times))
        return Response(footage.picture(index), media_type="image/jpeg", headers=_LASTING)

    def masks(self, asked: dict[str, str]) -> Response:
        from app.player import component as player

        show = self._show(asked)
        chunk = _whole(asked["chunk"], "chunk", -(-show.length // player.CHUNK))
        return JSONResponse(player.masks(show, chunk), headers=_FRESH)

    def download(self, asked: dict[str, str]) -> Response:
        name = asked["name"]
        folder = self._shows.folder(self._show(asked).token)
        kind = DOWNLOADS.get(name)
        if folder is None or kind is None or not (folder / name).is_file():
            raise _Missing("There is no such file to download.")
        return FileResponse(folder / name, media_type=kind, filename=name, headers=_FRESH)

    def _show(self, asked: dict[str, str]) -> "PlayerView":
        show = self._shows.get(asked["token"])
        if show is None:
            raise _Missing("There is no such show, or not any more: open it again.")
        return show


def _whole(text: str, what: str, stop: int) -> int:
    # Not int(): it takes spaces, signs, underscores and the digits of other scripts.
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) < stop):
        raise _Missing(f"There is no such {what}: expected 0 to {stop - 1}.")
    return int(text)
