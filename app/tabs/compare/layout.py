"""The components of the tab `Compare` and their layout."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from ...analysis.matches import VIDEO_ORDERS
from ...deep_link import LAYOUTS
from ...player.component import build_player
from ...rendering import on_change, on_load
from . import views

NO_MODEL = "(none)"  # chosen as B
_CLICKS = on_load("compare/compare.js", 'module.mountMatches(element, (event) => trigger("select", event));')
_KEYS = on_load("compare/compare.js", "module.mountKeys();")
ADDRESS = on_change("compare/compare.js", "showAddress")


@dataclass(frozen=True)
class CompareComponents:
    """address: the view as a query, for the page's address."""

    video: gr.Dropdown
    sort: gr.Dropdown
    previous: gr.Button
    next: gr.Button
    a: gr.Dropdown
    b: gr.Dropdown
    layout: gr.Radio
    cutoff: gr.Slider
    notices: gr.HTML
    player: gr.HTML
    matches: gr.HTML
    pair: gr.HTML
    address: gr.Textbox

    def all(self) -> Iterator[Any]:
        """Every component."""
        return (getattr(self, item.name) for item in fields(self))


def build_layout() -> CompareComponents:
    """Create the components in the Blocks that is open; the choices depend on the page's data set."""
    with gr.Column(elem_id="compare"):
        with gr.Row(elem_id="compare-bar"):
            components: dict[str, Any] = _bar()
        components["notices"] = gr.HTML(elem_id="compare-notices")
        with gr.Row(elem_id="compare-view", equal_height=False):
            with gr.Column(elem_id="compare-screen"):
                components["player"] = build_player("compare-player")
            with gr.Column(elem_id="compare-matches"):
                clicks: dict[str, Any] = {"js_on_load": _CLICKS, "apply_default_css": False}
                components["matches"] = gr.HTML(elem_id="matches", **clicks)
                components["pair"] = gr.HTML(views.no_pair(), elem_id="pair", **clicks)
        gr.HTML("", js_on_load=_KEYS, elem_id="compare-keys")
        components["address"] = gr.Textbox(visible=False)
    return CompareComponents(**components)


def _bar() -> dict[str, Any]:
    return {
        "video": gr.Dropdown([], label="Video", elem_id="compare-video", min_width=220),
        "sort": gr.Dropdown([(f"by {name}", name) for name in VIDEO_ORDERS], value="file", label="Order", min_width=90),
        "previous": gr.Button("Previous video", min_width=80, size="md"),
        "next": gr.Button("Next video", min_width=80, size="md"),
        "a": gr.Dropdown([], label="A", min_width=120),
        "b": gr.Dropdown([NO_MODEL], value=NO_MODEL, label="B", min_width=120),
        "layout": gr.Radio(list(LAYOUTS), value="side", label="Layout", min_width=240),
        "cutoff": gr.Slider(0, 1, 0, step=0.01, label="Lowest score", min_width=160),
    }
