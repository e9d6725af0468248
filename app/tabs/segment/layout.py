"""The components of the tab `Segment`, and where they stand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from app import panels
from app.player.component import build_player
from app.tabs.segment.exports import NAMES

_ROWS = """
element.addEventListener("click", (event) => {
  const row = event.target.closest("[data-track]");
  if (row) trigger("select", { track: Number(row.dataset.track) });
});
"""
_PLOTS = """
element.addEventListener("click", (event) => {
  const plot = event.target.closest("svg");
  if (!plot) return;
  const box = plot.getBoundingClientRect();
  trigger("select", { part: Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) });
});
"""
DOWNLOAD = """(address) => {
  if (!address) return;
  const root = (window.gradio_config && window.gradio_config.root) || "";
  const link = Object.assign(document.createElement("a"), { href: root + address, download: "" });
  document.body.append(link);
  link.click();
  link.remove();
}"""
ADDRESS = """(token) => {
  const address = new URL(location.href);
  if (token) address.searchParams.set("run", token);
  else address.searchParams.delete("run");
  history.replaceState(null, "", address);
}"""


@dataclass(frozen=True)
class SegmentComponents:
    """token: of what is shown, in the page's address. fetch: address of the file that is to be downloaded."""

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
    most: gr.Number
    shortest: gr.Number
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
    """Into the Blocks that is open. clips: names of those that are here."""
    with gr.Row(elem_id="segment", equal_height=False):
        with gr.Column(elem_id="source"):
            source = _source(clips)
        with gr.Column(elem_id="screen"):
            player = build_player("player")
        with gr.Column(elem_id="results"):
            found = _results()
    token, fetch = gr.Textbox(visible=False), gr.Textbox(visible=False)
    return SegmentComponents(**source, player=player, **found, token=token, fetch=fetch)


def _source(clips: Sequence[str]) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "video": gr.File(label="Video", height=112, elem_id="video"),
        "clip": gr.Dropdown(list(clips), label="or a clip that is here", value=None, elem_id="clip"),
        "facts": gr.HTML(panels.NO_FACTS, elem_id="facts"),
    }
    with gr.Row(elem_classes="pair"):
        parts["first"] = gr.Number(0, label="First frame", precision=0, minimum=0, min_width=90)
        parts["last"] = gr.Number(None, label="Last frame", precision=0, minimum=0, min_width=90)
    parts["model"] = gr.Dropdown([], label="Model", elem_id="model")
    parts["advice"] = gr.HTML(elem_id="advice")
    parts["get"] = gr.Button("Get weights", visible=False, size="md")
    parts["count"] = gr.Number(20, label="Tracks to compute", precision=0)
    parts["estimate"] = gr.HTML(elem_id="estimate")
    with gr.Row(elem_id="buttons"):
        parts["run"] = gr.Button("Run", variant="primary", interactive=False, min_width=80)
        parts["cancel"] = gr.Button("Cancel", interactive=False, min_width=80)
    parts["panel"] = gr.HTML(elem_id="panel")
    return parts


def _results() -> dict[str, Any]:
    parts: dict[str, Any] = {
        "tracks": gr.HTML(panels.NO_TRACKS, elem_id="tracks", js_on_load=_ROWS, apply_default_css=False)
    }
    with gr.Accordion("Which tracks", open=True, elem_id="choices"):
        parts["score"] = gr.Slider(0, 1, 0, step=0.01, label="Lowest score")
        parts["classes"] = gr.Dropdown([], label="Classes", multiselect=True, info="none chosen: all")
        with gr.Row(elem_classes="pair"):
            parts["most"] = gr.Number(10, label="At most", precision=0, minimum=1, min_width=90)
            parts["shortest"] = gr.Number(1, label="Least frames", precision=0, minimum=1, min_width=90)
    parts["plot"] = gr.HTML(panels.NO_PLOT, elem_id="plots", js_on_load=_PLOTS, apply_default_css=False)
    with gr.Row(elem_id="downloads"):
        parts["files"] = tuple(gr.Button(name, interactive=False, size="md", min_width=100) for name in NAMES)
    return parts
