"""The player alone, `/?show=NAME`, with synthetic views: `python -m tests.browser.fake_player FOLDER`."""

import json
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import gradio as gr
import numpy as np

from app.player.component import Layer, Pane, PlayerView, ViewRegistry, build_player, payload, read_event, routes
from app.player.proxy import VideoSource, make_proxy, prepare
from tests.browser.servers import ROOT
from tests.pictures import BITS, PLAIN_HW, numbered, numbered_mask, write_images, write_video
from tevit.masks import ops as masks
from tevit.results import RLE, Track, VideoResult

FRAMES = 150
AS_IS = ("film", "ntsc", "vp9")  # views of files that are served as they are
STATIC = ROOT / "app" / "static"
STYLES = [STATIC / "style.css", STATIC / "player" / "player.css"]
CATEGORIES = {1: "person", 2: "dog", 3: "number"}


def track(id: int, category: int, score: float, pictures: Sequence[np.ndarray | None]) -> Track:
    """A track of T masks, uint8 (H, W)."""
    rles = tuple(None if picture is None else masks.encode(picture) for picture in pictures)
    return from_rles(id, category, score, rles)


def from_rles(id: int, category: int, score: float, rles: tuple[RLE | None, ...]) -> Track:
    return Track(id, category, score, rles, np.full((len(rles), 4), np.nan, np.float32), np.zeros(len(rles)))


def block(size_hw: tuple[int, int], left: int, top: int, side: int) -> np.ndarray:
    mask = np.zeros(size_hw, np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


def result(tracks: tuple[Track, ...], size_hw: tuple[int, int]) -> VideoResult:
    return VideoResult(1, "synthetic", size_hw, np.arange(len(tracks[0].rles)) / 10, CATEGORIES, tracks)


def numbered_layers() -> tuple[Layer, ...]:
    """Ground truth: a square that is present in frames 20 to 59 and from 100 on. Predictions: each frame's number as a
    mask, and another one over a part of the square."""
    square = [block(PLAIN_HW, 100, 80, 60) if 20 <= f < 60 or f >= 100 else None for f in range(FRAMES)]
    overlap = [block(PLAIN_HW, 130, 90, 60) for _ in range(FRAMES)]
    number = [numbered_mask(f) if f else None for f in range(FRAMES)]
    predictions = (track(1, 3, 0.9, number), track(2, 2, 0.6, overlap))
    return (
        Layer("Ground truth", True, result((track(1, 2, 1.0, square),), PLAIN_HW)),
        Layer("Prediction", False, result(predictions, PLAIN_HW)),
    )


def uneven(folder: Path) -> VideoSource:
    """Frames 8 to 100 ms apart."""
    gaps = np.random.default_rng(3).choice([8, 17, 33, 50, 100], FRAMES)
    times = [Fraction(int(time), 1000) for time in np.cumsum(gaps) - gaps[0]]
    return VideoSource("uneven.mp4", write_video(folder / "uneven.mp4", [numbered(f) for f in range(FRAMES)], times))


def even(folder: Path) -> VideoSource:
    """30 frames a second, with sound."""
    return VideoSource("even.mp4", write_video(folder / "even.mp4", map(numbered, range(FRAMES)), fps=30, sound="aac"))


def as_is(folder: Path, name: str, fps: int | Fraction) -> VideoSource:
    """With frames out of order, a keyframe every 24, and sound where `fps` is no whole number."""
    options = {"bf": "3", "x264-params": "b-adapt=0:scenecut=0:keyint=24"}
    sound = "aac" if isinstance(fps, Fraction) else None
    path = write_video(folder / f"{name}.mp4", map(numbered, range(FRAMES)), fps=fps, options=options, sound=sound)
    return VideoSource(path.name, path)


def vp9(folder: Path) -> VideoSource:
    path = write_video(
        folder / "vp9.webm", map(numbered, range(FRAMES)), fps=Fraction(30000, 1001), codec="libvpx-vp9", gop_size=24
    )
    return VideoSource(path.name, path)


def images(folder: Path) -> VideoSource:
    write_images(folder / "images", {f"{f:04d}.png": numbered(f) for f in range(FRAMES)})
    files = tuple(sorted((folder / "images").glob("*.png")))
    return VideoSource("images", files=files, fps=Fraction(25))


def large(folder: Path) -> tuple[VideoSource, tuple[Layer, ...]]:
    """36 frames of 1280 x 720 with ten discs, each a fortieth of the picture."""
    size, count = (720, 1280), 36
    ramp = np.linspace(40, 200, size[1]).astype(np.uint8)[None, :, None].repeat(size[0], 0).repeat(3, 2)
    source = VideoSource(
        "large.mp4", write_video(folder / "large.mp4", [np.roll(ramp, 9 * f, 1) for f in range(count)], fps=12)
    )
    return source, (Layer("Prediction", False, result(discs(size, count, 10, 85), size)),)


def long(folder: Path) -> tuple[VideoSource, tuple[Layer, ...]]:
    """3000 frames with twenty discs."""
    size, count = (180, 320), 3000
    pictures = [np.full((*size, 3), 60 + 4 * (f % 30), np.uint8) for f in range(30)]
    path = write_video(folder / "long.mp4", (pictures[f % 30] for f in range(count)), fps=60)
    return VideoSource("long.mp4", path), (Layer("Prediction", False, result(discs(size, count, 20, 30), size)),)


def discs(size_hw: tuple[int, int], frames: int, count: int, radius: int) -> tuple[Track, ...]:
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    tracks = []
    for number in range(count):
        centres = [
            ((37 * number + 3 * step) % size_hw[0], (131 * number + 7 * step) % size_hw[1]) for step in range(36)
        ]
        drawn = [masks.encode(((y - v) ** 2 + (x - u) ** 2 < radius**2).astype(np.uint8)) for v, u in centres]
        tracks.append(
            from_rles(number + 1, 1 + number % 2, 1 - 0.04 * number, tuple(drawn[f % 36] for f in range(frames)))
        )
    return tuple(tracks)


def serve(folder: Path) -> None:
    views = ViewRegistry()
    sources: dict[str, Callable[[Path], tuple[VideoSource, tuple[Layer, ...]]]] = {
        "uneven": lambda at: (uneven(at), numbered_layers()),
        "even": lambda at: (even(at), numbered_layers()),
        "images": lambda at: (images(at), numbered_layers()),
        "film": lambda at: (as_is(at, "film", 25), numbered_layers()),
        "ntsc": lambda at: (as_is(at, "ntsc", Fraction(30000, 1001)), numbered_layers()),
        "vp9": lambda at: (vp9(at), numbered_layers()),
        "large": large,
        "long": long,
    }

    @cache
    def view(name: str) -> PlayerView:
        source, layers = sources[name](folder)
        if name in AS_IS:
            frames = prepare(source, folder / "served" / f"{name}.mp4", lambda *_: None)
            assert frames.as_is
        else:
            frames = make_proxy(source, folder / f"{name}-proxy.mp4")
        result = PlayerView(name, frames, 0, len(frames.times), layers)
        views.put(result)
        return result

    def load(request: gr.Request) -> dict | None:
        query = dict(request.query_params)
        panes = [Pane("Ground truth", (0,)), Pane("Prediction", (1,))] if "panes" in query else []
        return payload(view(query["show"]), panes) if "show" in query else None

    def on_event(request: gr.Request, event: gr.EventData) -> dict:
        player_event = read_event(event._data, view(dict(request.query_params)["show"]))
        if player_event is None:
            return {boxes["frame"]: gr.skip()}
        return {boxes[player_event.kind]: json.dumps(vars(player_event))}

    with gr.Blocks() as page:
        player = build_player("player")
        boxes = {kind: gr.Textbox(label=f"Event {kind}") for kind in ("track", "frame", "range", "look")}
        gr.Button("Seek 33, select 2").click(lambda: gr.HTML(command={"seek": 33, "select": [1, 2]}), None, player)
        gr.Button("Only 2").click(lambda: gr.HTML(shown=[[], [2]]), None, player)
        player.select(on_event, None, list(boxes.values()), show_progress="hidden", trigger_mode="multiple")
        page.load(load, None, player, show_progress="hidden")
    _, url, _ = page.launch(
        prevent_thread_lock=True, quiet=True, css_paths=STYLES, app_kwargs={"routes": routes(views)}
    )
    print(url, flush=True)
    page.block_thread()


if __name__ == "__main__":
    assert BITS == 10 and FRAMES < 1 << BITS
    serve(Path(sys.argv[1]))
