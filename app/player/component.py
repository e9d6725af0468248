"""What the video player in the browser is given, and what it says back. Its pages are in `player/`.

Python sends a *payload*: times, tracks, where they are seen. Masks follow in chunks of frames, when the browser asks
for them, as COCO's run lengths. What the browser says is untrusted and read by `read_event`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from tevit.results import Track, VideoResult

CHUNK = 32  # frames whose masks travel together


class FrameSource(Protocol):
    """The pictures of a video. size_hw: pixels. pixel_aspect: width to height of a pixel. times: seconds, strictly
    increasing. video: a file that browsers play, its frames due at exactly these times; None: pictures alone.
    shown_hw: the upper left part of these that counts."""

    @property
    def name(self) -> str: ...
    @property
    def size_hw(self) -> tuple[int, int]: ...
    @property
    def pixel_aspect(self) -> float: ...
    @property
    def shown_hw(self) -> tuple[int, int]: ...
    @property
    def times(self) -> Sequence[float]: ...
    @property
    def video(self) -> Path | None: ...
    def picture(self, index: int) -> bytes: ...


@dataclass(frozen=True, eq=False)
class Layer:
    """Tracks from one source over the frames of a show, or over the first of them while the rest is computed.

    name: as people know it. truth: ground truth. colours: track id -> RGB where they mean something of their own.
    marks: track id -> [{"frame", "kind": "switch" or "fragment"}] for its lane.
    """

    name: str
    truth: bool
    result: VideoResult
    colours: Mapping[int, Sequence[int]] = field(default_factory=dict)
    marks: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PlayerView:
    """What one player shows: `length` frames of the footage from frame `first` on, and layers of tracks over them.

    token: unguessable; whoever has it may see the show. version: counts what takes its place under the same token.
    """

    token: str
    footage: FrameSource
    first: int
    length: int
    layers: tuple[Layer, ...]
    version: int = 0


@dataclass(frozen=True)
class Pane:
    """One picture of the player. layers: positions in Show.layers."""

    name: str
    layers: tuple[int, ...]


@dataclass(frozen=True)
class Event:
    """What a person did in the player. frame: from 0. layer, track: of a selection, None for none. first, last: the
    selected range of frames, both included, None for none. opacity (0 to 1), contours, labels: how masks are drawn."""

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
"""How panes stand: beside one another, below one another, over one another with a line to move between them."""


def payload(show: PlayerView, panes: Sequence[Pane] = (), layout: Layout = "side") -> dict[str, Any]:
    """Everything the player needs but pictures and masks, as JSON. panes: by default one with all layers."""
    from tevit.video.overlay import PALETTE

    height, width = show.footage.size_hw
    times = [float(time) for time in show.footage.times[show.first : show.first + show.length]]
    shown = panes or (Pane("", tuple(range(len(show.layers)))),)
    return {
        "token": show.token,
        "version": show.version,
        "name": show.footage.name,
        "width": width,
        "height": height,
        "shown": list(show.footage.shown_hw),
        "aspect": show.footage.pixel_aspect,
        "first": show.first,
        "times": times,
        "end": _end(show, times),
        "video": show.footage.video is not None,
        "chunk": CHUNK,
        "palette": [list(rgb) for rgb in PALETTE],
        "layers": [_layer(layer) for layer in show.layers],
        "layout": layout,
        "panes": [{"name": pane.name, "layers": list(pane.layers)} for pane in shown],
    }


def _end(show: PlayerView, times: Sequence[float]) -> float:
    """When the last frame of the show gives way: the footage's next frame, or a mean interval later."""
    stop = show.first + show.length
    if stop < len(show.footage.times):
        return float(show.footage.times[stop])
    return times[-1] + ((times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.1)


def _layer(layer: Layer) -> dict[str, Any]:
    return {"name": layer.name, "truth": layer.truth, "tracks": [_track(layer, t) for t in layer.result.tracks]}


def _track(layer: Layer, track: Track) -> dict[str, Any]:
    name = layer.result.categories.get(track.category_id, f"class {track.category_id}")
    found: dict[str, Any] = {
        "id": track.id,
        "category": track.category_id,
        "label": name.replace("_", " "),
        "score": round(track.score, 4),
        "seen": stretches(track.present),
    }
    if track.id in layer.colours:
        found["rgb"] = list(layer.colours[track.id])
    if track.id in layer.marks:
        found["marks"] = [dict(mark) for mark in layer.marks[track.id]]
    return found


def stretches(present: np.ndarray) -> list[list[int]]:
    """The unbroken stretches of a bool (T,): first frame and the one after the last of each."""
    edges = np.flatnonzero(np.diff(present, prepend=False, append=False))
    return edges.reshape(-1, 2).tolist()


def masks(show: PlayerView, chunk: int) -> dict[str, Any]:
    """The masks of frames chunk * CHUNK and on: for each layer {track id: a text a frame, null where it is absent}.

    The texts are COCO's compressed run lengths. Raises: IndexError where there is no such chunk.
    """
    start = chunk * CHUNK
    if not 0 <= start < show.length:
        raise IndexError(f"chunk {chunk}: expected 0 to {(show.length - 1) // CHUNK}")
    return {"layers": [_texts(layer.result.tracks, start) for layer in show.layers]}


def _texts(tracks: Sequence[Track], start: int) -> dict[str, list[str | None]]:
    found = {}
    for track in tracks:
        rles = track.rles[start : start + CHUNK]
        if any(rles):
            found[str(track.id)] = [None if rle is None else rle["counts"].decode("ascii") for rle in rles]
    return found


def read_event(data: object, show: PlayerView) -> Event:
    """What the browser says has happened.

    Raises: ValueError where it is not what the player sends, or of a frame or a track that the show does not have.
    """
    said = data if isinstance(data, Mapping) else {}
    frame = _whole(said, "frame", show.length)
    kind = said.get("kind")
    if kind == "frame":
        return Event("frame", frame)
    if kind == "track":
        return _selection(said, frame, show)
    if kind == "look":
        return _look(said, frame)
    if kind != "range":
        raise ValueError(f"player event: expected the kind track, frame, range or look, got {str(kind)[:40]!r}")
    return _range(said, frame, show)


def _range(said: Mapping, frame: int, show: PlayerView) -> Event:
    if said.get("first") is None:
        return Event("range", frame)
    first, last = _whole(said, "first", show.length), _whole(said, "last", show.length)
    if first > last:
        raise ValueError(f"player event: expected a range, got {first} to {last}")
    return Event("range", frame, first=first, last=last)


def _look(said: Mapping, frame: int) -> Event:
    opacity, flags = said.get("opacity"), (said.get("contours"), said.get("labels"))
    if not isinstance(opacity, int | float) or not 0 <= opacity <= 1 or any(type(flag) is not bool for flag in flags):
        raise ValueError(f"player event: expected an opacity from 0 to 1 and two flags, got {str(dict(said))[:80]}")
    return Event("look", frame, opacity=float(opacity), contours=flags[0] is True, labels=flags[1] is True)


def _selection(said: Mapping, frame: int, show: PlayerView) -> Event:
    if said.get("track") is None:
        return Event("track", frame)
    layer = _whole(said, "layer", len(show.layers))
    known = {track.id for track in show.layers[layer].result.tracks}
    track = said["track"]
    if type(track) is not int or track not in known:
        raise ValueError(f"player event: {show.layers[layer].name} has no track {str(track)[:40]}")
    return Event("track", frame, layer, track)


def _whole(said: Mapping, name: str, stop: int) -> int:
    value = said.get(name)
    if type(value) is not int or not 0 <= value < stop:
        raise ValueError(f"player event: expected {name} from 0 to {stop - 1}, got {str(value)[:40]!r}")
    return value
