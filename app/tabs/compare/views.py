"""The components of the tab `Compare`, and its HTML: the matches, a pair's IoU over the frames, its filmstrip."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from tevit.display import jpeg_uri
from tevit.evaluation.error_table import ErrorRecord

from ...analysis.comparison import VIDEO_ORDERS, IouCurve, VideoRow
from ...page import LAYOUTS, counted, hint, on_change, on_load, render
from ...player.component import build_player

NO_MODEL = "(none)"  # chosen as B
NO_PAIR = "Choose a match to see its IoU over the frames."
_CLICKS = on_load("compare/compare.js", 'module.mountMatches(element, (event) => trigger("select", event));')
_KEYS = on_load("compare/compare.js", "module.mountKeys();")
_STEPS = """
  const steps = module.mountSteps(element.querySelector(".error-steps-host"), (event) => trigger("select", event));
  watch("value", () => steps.update(props.value || null));
  steps.update(props.value || null);
"""
ADDRESS = on_change("compare/compare.js", "showAddress")


@dataclass(frozen=True)
class CompareComponents:
    """steps: the bar with the place in the list of errors. address: the view as a query, for the page's address."""

    video: gr.Dropdown
    sort: gr.Dropdown
    previous: gr.Button
    next: gr.Button
    a: gr.Dropdown
    b: gr.Dropdown
    layout: gr.Radio
    cutoff: gr.Slider
    notices: gr.HTML
    steps: gr.HTML
    player: gr.HTML
    matches: gr.HTML
    pair: gr.HTML
    address: gr.Textbox

    def all(self) -> Iterator[Any]:
        """Every component."""
        return (getattr(self, item.name) for item in fields(self))


def build_layout() -> CompareComponents:
    """Create the components in the Blocks that is open; the choices depend on the page's data set."""
    orders = [(f"by {name}", name) for name in VIDEO_ORDERS]
    with gr.Column(elem_id="compare"):
        with gr.Row(elem_id="compare-bar"):
            components: dict[str, Any] = {
                "video": gr.Dropdown([], label="Video", elem_id="compare-video", min_width=220),
                "sort": gr.Dropdown(orders, value="file", label="Order", min_width=90),
                "previous": gr.Button("Previous video", min_width=80, size="md"),
                "next": gr.Button("Next video", min_width=80, size="md"),
                "a": gr.Dropdown([], label="A", min_width=120),
                "b": gr.Dropdown([NO_MODEL], value=NO_MODEL, label="B", min_width=120),
                "layout": gr.Radio(list(LAYOUTS), value="side", label="Layout", min_width=240),
                "cutoff": gr.Slider(0, 1, 0, step=0.01, label="Lowest score", min_width=160),
            }
        components["notices"] = gr.HTML(elem_id="compare-notices")
        with gr.Row(elem_id="compare-view", equal_height=False):
            with gr.Column(elem_id="compare-screen"):
                components["steps"] = gr.HTML(
                    None,
                    html_template=render("host.html", name="error-steps"),
                    js_on_load=on_load("compare/error_steps.js", _STEPS),
                    apply_default_css=False,
                    elem_id="error-steps",
                )
                components["player"] = build_player("compare-player")
            with gr.Column(elem_id="compare-matches"):
                clicks: dict[str, Any] = {"js_on_load": _CLICKS, "apply_default_css": False}
                components["matches"] = gr.HTML(elem_id="matches", **clicks)
                components["pair"] = gr.HTML(hint(NO_PAIR), elem_id="pair", **clicks)
        gr.HTML("", js_on_load=_KEYS, elem_id="compare-keys")
        components["address"] = gr.Textbox(visible=False)
    return CompareComponents(**components)


def label(row: VideoRow, model: int = 0) -> str:
    """A video in the list: name, frames, and one model's AP and errors where they are known."""
    words = [row.name, counted(row.length, "frame")]
    if model < len(row.ap) and row.ap[model] is not None:
        words.append(f"AP {100 * (row.ap[model] or 0):.0f}")
    if model < len(row.errors):
        words.append(counted(row.errors[model], "error"))
    return ", ".join(words)


def matches(name: str, records: Sequence[ErrorRecord], selected: str | None) -> str:
    """A row for each match, missed ground truth and other prediction; a row is a button with its key."""
    errors = sum(record.type not in ("correct", "ignored") for record in records)
    return render("compare/matches.html", name=name, records=records, errors=errors, selected=selected)


def pair(curve: IouCurve, pictures: Sequence[tuple[str, int, float | None, bytes]]) -> str:
    """IoU in every frame with the worst one marked, and the filmstrip; a click seeks.

    pictures: role, frame, IoU and JPEG.
    """
    shown = [
        (f"{role}, frame {frame}", "" if iou is None else f"IoU {iou:.2f}", frame, jpeg_uri(jpeg))
        for role, frame, iou, jpeg in pictures
    ]
    return render("compare/pair.html", ious=curve.ious, worst=curve.worst, pictures=shown)
