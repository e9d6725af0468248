"""The components of the tab `Segment`, and its HTML: a video's facts, estimates, the table of tracks, plots."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

import gradio as gr
import numpy as np

from tevit.configs import BUNDLED_MODELS, DEMO_LIMITS
from tevit.inference.model_source import MOTION_LIMITS
from tevit.results import VideoResult

from ...page import counted, duration, hint, on_change, on_load, pixels, render
from ...player.component import build_player, intervals
from .models import MEASURED_FRAMES, RECOMMENDED, Estimate, ModelOption
from .page_state import MIN_SCORE, NAMES

_ROWS = on_load("segment/segment.js", 'module.mountTracks(element, (event) => trigger("select", event));')
_PLOTS = on_load("segment/segment.js", 'module.mountPlot(element, (event) => trigger("select", event));')
_FORM = """
const form = module.mountForm(element.querySelector(".parameters-host"), (values) => {
  props.value = { ...props.value, values };
  trigger("select", {});
});
const draw = () => form.draw(props.value || null);
watch("value", draw);
watch("errors", () => form.showErrors(props.errors?.sentences ?? {}));
draw();
"""
ADDRESS = on_change("segment/segment.js", "showAddress")
FILTER = on_change("segment/segment.js", "showFilter")


@dataclass(frozen=True)
class SegmentComponents:
    """get: downloads weights, in the place of `run`. watch: looks for weights that were put into their folder. token:
    of what is shown, in the page's address. shown: filter and range of frames, there too. fetch: address of the file to
    download."""

    video: gr.File
    clip: gr.Dropdown
    facts: gr.HTML
    first: gr.Number
    last: gr.Number
    model: gr.Dropdown
    advice: gr.HTML
    parameters: gr.HTML
    watch: gr.Timer
    count: gr.Number
    estimate: gr.HTML
    get: gr.Button
    run: gr.Button
    cancel: gr.Button
    panel: gr.HTML
    player: gr.HTML
    tracks: gr.HTML
    score: gr.Slider
    classes: gr.Dropdown
    max_tracks: gr.Number
    min_frames: gr.Number
    plot: gr.HTML
    files: tuple[gr.Button, ...]
    token: gr.Textbox
    shown: gr.Textbox
    fetch: gr.Textbox

    def all(self) -> Iterator[Any]:
        """Every component."""
        for item in fields(self):
            value = getattr(self, item.name)
            yield from value if isinstance(value, tuple) else (value,)


def build_layout(clips: Sequence[str]) -> SegmentComponents:
    """Build the components in the open Blocks. clips: names of the sample clips."""
    with gr.Row(elem_id="segment", equal_height=False):
        with gr.Column(elem_id="source"):
            source = _build_source(clips)
        with gr.Column(elem_id="screen"):
            player = build_player("player")
        with gr.Column(elem_id="results"):
            results = _build_results()
    token, shown, fetch = (gr.Textbox(visible=False) for _ in range(3))
    return SegmentComponents(**source, player=player, **results, token=token, shown=shown, fetch=fetch)


def build_parameters(elem_id: str) -> gr.HTML:
    """A form of a model's parameters, still empty: see `parameters`. A change of a value is a `select` event."""
    template, script = render("host.html", name="parameters"), on_load("segment/parameters.js", _FORM)
    return gr.HTML(
        None, html_template=template, js_on_load=script, apply_default_css=False, errors=None, elem_id=elem_id
    )


def _build_source(clips: Sequence[str]) -> dict[str, Any]:
    components: dict[str, Any] = {
        "video": gr.File(label="Video", height=112, elem_id="video"),
        "clip": gr.Dropdown(list(clips), label="Sample clips", value=None, elem_id="clip"),
        "facts": gr.HTML(hint(NO_FACTS), elem_id="facts"),
    }
    with gr.Row(elem_classes="pair"):
        components["first"] = gr.Number(0, label="First frame", precision=0, minimum=0, min_width=90)
        components["last"] = gr.Number(None, label="Last frame", precision=0, minimum=0, min_width=90)
    components["model"] = gr.Dropdown([], label="Model", elem_id="model")
    components["advice"] = gr.HTML(elem_id="advice")
    components["parameters"] = build_parameters("parameters")
    components["watch"] = gr.Timer(LOOK_SECONDS, active=False)
    components["count"] = gr.Number(20, label="Tracks to compute", precision=0)
    components["estimate"] = gr.HTML(elem_id="estimate")
    with gr.Row(elem_id="buttons"):
        components["get"] = gr.Button("Get weights", variant="primary", visible=False, elem_id="get")
        components["run"] = gr.Button("Run", variant="primary", interactive=False, min_width=80)
        components["cancel"] = gr.Button("Cancel", interactive=False, min_width=80)
    components["panel"] = gr.HTML(elem_id="panel")
    return components


def _build_results() -> dict[str, Any]:
    tracks = gr.HTML(hint(NO_TRACKS), elem_id="tracks", js_on_load=_ROWS, apply_default_css=False)
    components: dict[str, Any] = {"tracks": tracks}
    with gr.Accordion("Which tracks", open=True, elem_id="choices"):
        components["score"] = gr.Slider(0, 1, MIN_SCORE, step=0.01, label="Lowest score")
        components["classes"] = gr.Dropdown([], label="Classes", multiselect=True, info="none chosen: all")
        with gr.Row(elem_classes="pair"):
            components["max_tracks"] = gr.Number(10, label="Max tracks", precision=0, minimum=1, min_width=90)
            components["min_frames"] = gr.Number(1, label="Min frames", precision=0, minimum=1, min_width=90)
    components["plot"] = gr.HTML("", elem_id="plots", js_on_load=_PLOTS, apply_default_css=False)
    with gr.Row(elem_id="downloads"):
        components["files"] = tuple(gr.Button(name, interactive=False, size="md", min_width=100) for name in NAMES)
    return components


LOOK_SECONDS = 2.0  # between two looks at the folder of weights, while they are missing
NO_FACTS = "Any mp4, mov, mkv, webm, avi or gif, or a zip of images."
TO_RUN_AGAIN = "To run a model, choose the video again: it begins at the first frame."
NO_TRACKS = "The tracks of a run appear here, best score first."


def facts(length: int | None, size_hw: tuple[int, int], fps: Fraction | None, seconds: float | None) -> str:
    """Length, size and rate of a video; what the file does not state is left out."""
    terms = {
        "Length": counted(length, "frame") if length else "",
        "Time": duration(seconds) if seconds else "",
        "Size": f"{size_hw[1]} x {size_hw[0]}",
        "Rate": f"{float(fps):.4g} frames/s" if fps else "",
    }
    return render("segment/facts.html", terms=terms)


def with_errors(errors: Mapping[str, str]) -> gr.HTML:
    """The update that shows the sentences beside their fields."""
    return gr.HTML(errors={"sentences": dict(errors), "at": time.monotonic()})


def advice(option: ModelOption, real_video: bool) -> str:
    """What to know of a model before it runs. real_video: whether the video is not one of the package."""
    sentences = [option.advice]
    if option.get and real_video:
        sentences += [f"Meanwhile: motion needs no weights; {DEMO_LIMITS}."]
    elif option.value in BUNDLED_MODELS and real_video:
        sentences += [f"{DEMO_LIMITS}: in this video its tracks mean nothing. Choose {RECOMMENDED}, or motion."]
    elif option.value == "motion":
        sentences += [f"{MOTION_LIMITS}."]
    return render("message.html", sentences=list(filter(None, sentences)), kind="hint")


def estimate(run: Estimate) -> str:
    """Time and memory of a run: `about 14 s, 1.2 GB`."""
    unknown = f"time known after a whole run of {MEASURED_FRAMES} or more frames"
    time = unknown if run.seconds is None else f"about {duration(max(1, run.seconds))}"
    return hint(time if run.gigabytes is None else f"{time}, {run.gigabytes:.1f} GB")


def tracks(result: VideoResult, total: int, selected: int | None, low: int = 0, in_files: bool = False) -> str:
    """The table of the tracks of `result`, best first, out of `total`.

    selected: a track's id. low: tracks that are hidden for their score. in_files: whether the files have those, too.
    """
    colours = _colours(result)
    rows = [
        {
            "id": track.id,
            "name": result.categories.get(track.category_id, f"class {track.category_id}").replace("_", " "),
            "score": track.score,
            "colour": colours[track.id],
            "frames": (frames := np.flatnonzero(track.present)),
            "area": track.areas[frames].mean() if len(frames) else 0.0,
        }
        for track in sorted(result.tracks, key=lambda track: -track.score)
    ]
    return render(
        "segment/tracks.html",
        rows=rows,
        total=total,
        length=result.length,
        selected=selected,
        low=low,
        in_files=in_files,
    )


def plots(result: VideoResult, selected: int | None) -> str:
    """Score and mask area of every track over the frames, or of the selected one only."""
    if not result.tracks or result.length < 2:
        return ""
    shown = [track for track in result.tracks if selected in (None, track.id)] or list(result.tracks)
    areas = [(track, np.where(track.present, track.areas, np.nan)) for track in shown]
    scores = [(track, track.frame_scores) for track in shown if track.frame_scores is not None]
    colours = _colours(result)
    max_area = max((float(np.nanmax(values)) for _, values in areas if np.isfinite(values).any()), default=1.0)
    return render(
        "segment/plots.html",
        plots=[
            {
                "title": title,
                "top": top,
                "lines": [line for track, values in curves for line in _lines(colours[track.id], values / scale)],
            }
            for title, top, curves, scale in (
                ("Score over time", "1", scores, 1.0),
                ("Area over time", pixels(max_area), areas, max_area),
            )
            if curves
        ],
    )


def _lines(colour: str, values: np.ndarray) -> list[dict[str, Any]]:
    """One line for each interval without gaps, in a picture of 100 by 40. values: (T,), 0 to 1, NaN where absent."""
    x = (np.arange(len(values)) + 0.5) / len(values) * 100
    points = np.stack([x, 40 - 40 * values], axis=1)
    return [{"colour": colour, "points": points[i:j].tolist()} for i, j in intervals(np.isfinite(values))]


def _colours(result: VideoResult) -> dict[int, str]:
    """Of the tracks that are visible together, as the player and the overlay draw them."""
    from tevit.video.overlay import track_colors

    return {id: "#" + bytes(rgb).hex() for id, rgb in track_colors(track.id for track in result.tracks).items()}
