"""The video player as a gradio component: the payload sent to the browser, and the events that come back.

The payload holds times, tracks and the frames where they are present. Masks follow in chunks of frames, on request, as
COCO's compressed run lengths. Events of the browser are untrusted and checked by `read_event`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tevit.results import Track, VideoResult

from ..rendering import on_load, render
from .proxy import FrameSource

if TYPE_CHECKING:
    import gradio as gr

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
    frame = 0 if replaced else _index(values, "frame", view.length)
    if kind == "frame":
        return Event("frame", frame)
    if kind == "track":
        if values.get("track") is None:
            return Event("track", frame)
        layer, track = _index(values, "layer", len(view.layers)), values["track"]
        if type(track) is not int or track not in {track.id for track in view.layers[layer].result.tracks}:
            raise ValueError(f"player event: {view.layers[layer].name} has no track {str(track)[:40]}")
        return Event("track", frame, layer, track)
    if kind == "range":
        if values.get("first") is None:
            return Event("range", frame)
        first, last = _index(values, "first", view.length), _index(values, "last", view.length)
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


def _index(values: Mapping, name: str, stop: int) -> int:
    value = values.get(name)
    if type(value) is not int or not 0 <= value < stop:
        raise ValueError(f"player event: expected {name} from 0 to {stop - 1}, got {str(value)[:40]!r}")
    return value
