"""The video player as a gradio component: its payload, the events that come back, and its routes.

The payload holds times, tracks and the frames where they are present. Masks follow in chunks of frames, on request, as
COCO's compressed run lengths. Events of the browser are untrusted and checked by `read_event`.
"""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from tevit.results import Track, VideoResult

from ..access import VisitorCache
from ..page import on_load, render
from .proxy import VIDEO_TYPES, FrameSource

if TYPE_CHECKING:
    import gradio as gr


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
        index = _index_in_path(params["index"], "frame", len(frames.times))
        return Response(frames.picture(index), media_type="image/jpeg", headers=_CACHE)

    def masks(self, params: dict[str, str]) -> Response:
        view = self._view(params)
        chunk = _index_in_path(params["chunk"], "chunk", -(-view.length // CHUNK))
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


def _index_in_path(text: str, name: str, stop: int) -> int:
    # Not int(): it takes spaces, signs, underscores and the digits of other scripts.
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) < stop):
        raise _NotFoundError(f"There is no such {name}: expected 0 to {stop - 1}.")
    return int(text)


# --- the component, its payload and its events

CHUNK = 32  # frames whose masks travel together

# The element is mounted once: its template holds no value, so that gradio never rebuilds it.
_MOUNT = """
  const player = module.mount(element.querySelector(".player-host"), root, (event) => trigger("select", event));
  element.player = player; // for tests and other scripts of the page
  const filter = () => player.filter(props.shown);
  const load = async () => { const loaded = player.load(props.value || null); filter(); await loaded; };
  watch("value", load);
  watch("shown", filter);
  watch("command", () => player.applyCommand(props.command));
  load();
"""


@dataclass(frozen=True, eq=False)
class Layer:
    """Tracks from one source, for all frames of a view, or for the first of them while a model runs.

    name: display name. truth: whether it is ground truth. colours: track id -> RGB, 0 to 255, where not the palette's.
    marks: track id -> [{"frame", "kind": "switch" or "fragment"}] for the timeline.
    """

    name: str
    truth: bool
    result: VideoResult
    colours: Mapping[int, Sequence[int]] = field(default_factory=dict)
    marks: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PlayerView:
    """The content of one player: `length` frames from frame `first` on, and layers of tracks over them.

    token: unguessable; whoever has it may fetch the view's files. version: increases with each replacement under the
    same token.
    """

    token: str
    frames: FrameSource
    first: int
    length: int
    layers: tuple[Layer, ...]
    version: int = 0


@dataclass(frozen=True)
class Pane:
    """One canvas of the player. layers: indices into `PlayerView.layers`."""

    name: str
    layers: tuple[int, ...]


@dataclass(frozen=True)
class Event:
    """A user's action in the player.

    frame: from 0. layer, track: the selected track, None for none. first, last: the selected range of frames,
    inclusive, None for none. opacity (0 to 1), contours, labels: how masks are drawn.
    """

    kind: Literal["track", "frame", "range", "look"]
    frame: int
    layer: int | None = None
    track: int | None = None
    first: int | None = None
    last: int | None = None
    opacity: float = 0.5
    contours: bool = True
    labels: bool = True


Layout = Literal["side", "stacked", "swipe"]
"""Arrangement of panes: side by side, one below the other, or on top of each other with a movable divider."""


def build_player(elem_id: str) -> "gr.HTML":
    """A player without a video. Its `select` event carries the data that `read_event` takes."""
    import gradio as gr

    return gr.HTML(
        None,
        html_template=render("host.html", name="player"),
        js_on_load=on_load("player/player.js", _MOUNT),
        apply_default_css=False,
        shown=None,
        command=None,
        elem_id=elem_id,
    )


def payload(view: PlayerView, panes: Sequence[Pane] = (), layout: Layout = "side") -> dict[str, Any]:
    """The JSON that the player loads: everything but pictures and masks. panes: by default one with all layers."""
    from tevit.video.overlay import PALETTE

    frames, stop = view.frames, view.first + view.length
    height, width = frames.size_hw
    times = [float(time) for time in frames.times[view.first : stop]]
    if stop < len(frames.times):
        end = float(frames.times[stop])
    else:  # the last frame of the video is shown for a mean interval
        end = times[-1] + ((times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.1)
    panes = panes or (Pane("", tuple(range(len(view.layers)))),)
    return {
        "token": view.token,
        "version": view.version,
        "name": frames.name,
        "width": width,
        "height": height,
        "shown": list(frames.shown_hw),
        "aspect": frames.pixel_aspect,
        "first": view.first,
        "times": times,
        "end": end,
        "video": frames.video and frames.video.name,
        "chunk": CHUNK,
        "palette": [list(rgb) for rgb in PALETTE],
        "layers": [
            {"name": layer.name, "truth": layer.truth, "tracks": [_track(layer, t) for t in layer.result.tracks]}
            for layer in view.layers
        ],
        "layout": layout,
        "panes": [{"name": pane.name, "layers": list(pane.layers)} for pane in panes],
    }


def _track(layer: Layer, track: Track) -> dict[str, Any]:
    name = layer.result.categories.get(track.category_id, f"class {track.category_id}")
    data: dict[str, Any] = {
        "id": track.id,
        "category": track.category_id,
        "label": name.replace("_", " "),
        "score": round(track.score, 4),
        "seen": intervals(track.present),
    }
    if track.id in layer.colours:
        data["rgb"] = list(layer.colours[track.id])
    if track.id in layer.marks:
        data["marks"] = [dict(mark) for mark in layer.marks[track.id]]
    return data


def intervals(present: np.ndarray) -> list[list[int]]:
    """Contiguous True intervals of a bool array (T,), each as [start, stop) indices."""
    edges = np.flatnonzero(np.diff(present, prepend=False, append=False))
    return edges.reshape(-1, 2).tolist()


def mask_chunk(view: PlayerView, chunk: int) -> dict[str, Any]:
    """The masks of frames chunk * CHUNK on: for each layer {track id: [text or None for each frame]}.

    The texts are COCO's compressed run lengths; None where the track is absent.
    Raises: IndexError for a chunk out of range.
    """
    start = chunk * CHUNK
    if not 0 <= start < view.length:
        raise IndexError(f"chunk {chunk}: expected 0 to {(view.length - 1) // CHUNK}")
    layers = []
    for layer in view.layers:
        rles = {str(track.id): track.rles[start : start + CHUNK] for track in layer.result.tracks}
        layers.append(
            {
                id: [None if rle is None else rle["counts"].decode("ascii") for rle in chunk_rles]
                for id, chunk_rles in rles.items()
                if any(chunk_rles)
            }
        )
    return {"layers": layers}


def read_event(data: object, view: PlayerView) -> Event | None:
    """Check an event of the browser; None where its player showed another view. data: an untrusted JSON value.

    Raises: ValueError for anything that the player does not send, and for a frame, layer or track out of range.
    """
    values = data if isinstance(data, Mapping) else {}
    kind, replaced = values.get("kind"), values.get("token", view.token) != view.token
    # The style of drawing counts for any view; a frame, a track or a range that arrives late is one of another video.
    if replaced and kind != "look":
        return None
    frame = 0 if replaced else _index_in_event(values, "frame", view.length)
    if kind == "frame":
        return Event("frame", frame)
    if kind == "track":
        if values.get("track") is None:
            return Event("track", frame)
        layer, track = _index_in_event(values, "layer", len(view.layers)), values["track"]
        if type(track) is not int or track not in {track.id for track in view.layers[layer].result.tracks}:
            raise ValueError(f"player event: {view.layers[layer].name} has no track {str(track)[:40]}")
        return Event("track", frame, layer, track)
    if kind == "range":
        if values.get("first") is None:
            return Event("range", frame)
        first, last = _index_in_event(values, "first", view.length), _index_in_event(values, "last", view.length)
        if first > last:
            raise ValueError(f"player event: expected a range, got {first} to {last}")
        return Event("range", frame, first=first, last=last)
    if kind != "look":
        raise ValueError(f"player event: expected the kind track, frame, range or look, got {str(kind)[:40]!r}")
    opacity, contours, labels = (values.get(name) for name in ("opacity", "contours", "labels"))
    flags_valid = type(contours) is bool and type(labels) is bool
    if not isinstance(opacity, int | float) or not 0 <= opacity <= 1 or not flags_valid:
        raise ValueError(f"player event: expected an opacity from 0 to 1 and two flags, got {str(dict(values))[:80]}")
    return Event("look", frame, opacity=float(opacity), contours=contours is True, labels=labels is True)


def _index_in_event(values: Mapping, name: str, stop: int) -> int:
    value = values.get(name)
    if type(value) is not int or not 0 <= value < stop:
        raise ValueError(f"player event: expected {name} from 0 to {stop - 1}, got {str(value)[:40]!r}")
    return value
