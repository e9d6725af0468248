"""The components of the tab `Segment` and their arrangement."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from ...player.component import build_player
from ...rendering import hint, on_change, on_load
from .exports import NAMES
from .views import NO_FACTS, NO_TRACKS

_ROWS = on_load("segment/segment.js", 'module.mountTracks(element, (event) => trigger("select", event));')
_PLOTS = on_load("segment/segment.js", 'module.mountPlot(element, (event) => trigger("select", event));')
ADDRESS = on_change("segment/segment.js", "showAddress")


@dataclass(frozen=True)
class SegmentComponents:
    """token: of what is shown, in the page's address. fetch: address of the file to download."""

    video: gr.File
    clip: gr.Dropdown
    facts: gr.HTML
    first: gr.Number
    last: gr.Number
    model: gr.Dropdown
    advice: gr.HTML
    get: gr.Button
    count: gr.Number
    estimate: gr.HTML
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
    token, fetch = gr.Textbox(visible=False), gr.Textbox(visible=False)
    return SegmentComponents(**source, player=player, **results, token=token, fetch=fetch)


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
    components["get"] = gr.Button("Get weights", visible=False, size="md")
    components["count"] = gr.Number(20, label="Tracks to compute", precision=0)
    components["estimate"] = gr.HTML(elem_id="estimate")
    with gr.Row(elem_id="buttons"):
        components["run"] = gr.Button("Run", variant="primary", interactive=False, min_width=80)
        components["cancel"] = gr.Button("Cancel", interactive=False, min_width=80)
    components["panel"] = gr.HTML(elem_id="panel")
    return components


def _build_results() -> dict[str, Any]:
    tracks = gr.HTML(hint(NO_TRACKS), elem_id="tracks", js_on_load=_ROWS, apply_default_css=False)
    components: dict[str, Any] = {"tracks": tracks}
    with gr.Accordion("Which tracks", open=True, elem_id="choices"):
        components["score"] = gr.Slider(0, 1, 0, step=0.01, label="Lowest score")
        components["classes"] = gr.Dropdown([], label="Classes", multiselect=True, info="none chosen: all")
        with gr.Row(elem_classes="pair"):
            components["max_tracks"] = gr.Number(10, label="Max tracks", precision=0, minimum=1, min_width=90)
            components["min_frames"] = gr.Number(1, label="Min frames", precision=0, minimum=1, min_width=90)
    components["plot"] = gr.HTML("", elem_id="plots", js_on_load=_PLOTS, apply_default_css=False)
    with gr.Row(elem_id="downloads"):
        components["files"] = tuple(gr.Button(name, interactive=False, size="md", min_width=100) for name in NAMES)
    return components
