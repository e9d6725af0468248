"""The components of the tab Review and their arrangement."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from ...player.component import build_player
from ...rendering import hint, on_load
from .session import ALL_LABELS
from .views import NOT_COMPARED

FILES = ("corrected.json", "changes.csv", "report.html", "decisions.jsonl")
# Mounted once, as the player: the template holds no value, so that answers being saved survive a new value.
_PROMPT = """
  const prompt = module.mount(element.querySelector(".ask-host"), (event) => trigger("select", event));
  watch("value", () => prompt.show(props.value));
  prompt.show(props.value);
"""


@dataclass(frozen=True)
class ReviewComponents:
    """chip: removes the filter of the tab Errors. ask: the question with its answers. apply_import: takes over what
    fits of an uploaded log. comparison: AP before and after. message: outcome of downloads and imports. download: the
    address to download."""

    notices: gr.HTML
    source: gr.Dropdown
    chip: gr.Button
    player: gr.HTML
    ask: gr.HTML
    queue: gr.HTML
    progress: gr.HTML
    files: tuple[gr.Button, ...]
    compare: gr.Button
    cancel: gr.Button
    apply_import: gr.Button
    log: gr.UploadButton
    comparison: gr.HTML
    message: gr.HTML
    download: gr.Textbox

    def all(self) -> Iterator[Any]:
        """Every component."""
        for item in fields(self):
            value = getattr(self, item.name)
            yield from value if isinstance(value, tuple) else (value,)


def build_layout() -> ReviewComponents:
    """Add the components to the Blocks that is open."""
    built: dict[str, Any] = {}
    script = on_load("review/review.js", "module.mountList(element);")
    clicks: dict[str, Any] = {"js_on_load": script, "apply_default_css": False}
    with gr.Column(elem_id="review"):
        built["notices"] = gr.HTML(elem_id="review-notices")
        with gr.Row(elem_id="review-view", equal_height=False):
            with gr.Column(elem_id="review-screen"):
                built["player"] = build_player("review-player")
            with gr.Column(elem_id="review-side"):
                built["source"] = source_dropdown([])
                built["chip"] = gr.Button(visible=False, size="md", elem_id="review-chip")
                built["ask"] = gr.HTML(
                    None,
                    html_template='<div class="ask-host"></div>',
                    js_on_load=on_load("review/review.js", _PROMPT),
                    apply_default_css=False,
                    elem_id="review-ask",
                )
        with gr.Row(elem_id="review-below", equal_height=False):
            built["queue"] = gr.HTML(elem_id="review-queue", **clicks)
            with gr.Column(elem_id="review-progress"):
                built["progress"] = gr.HTML(**clicks)
            with gr.Column(elem_id="review-after"):
                built |= _build_results()
        built["download"] = gr.Textbox(visible=False)
    return ReviewComponents(**built)


def source_dropdown(models: Sequence[str]) -> gr.Dropdown:
    """The queues to choose from. models: names."""
    choices = [*((f"disagreements of {name}", name) for name in models), ("all tracks of all videos", ALL_LABELS)]
    return gr.Dropdown(choices, value=choices[0][1] if models else None, label="What to review")


def _build_results() -> dict[str, Any]:
    built: dict[str, Any] = {}
    gr.HTML('<div class="title"><strong>Results</strong></div>')
    with gr.Row(elem_id="review-files"):
        built["files"] = tuple(gr.Button(name, size="md", min_width=110) for name in FILES)
    with gr.Row(elem_id="review-more"):
        built["compare"] = gr.Button("AP before and after", size="md", min_width=110)
        built["cancel"] = gr.Button("Cancel", size="md", min_width=110, visible=False)
        built["log"] = gr.UploadButton("Import decisions", file_types=[".jsonl"], size="md", min_width=110)
    built["message"] = gr.HTML(elem_id="review-told")
    built["apply_import"] = gr.Button(size="md", visible=False)
    built["comparison"] = gr.HTML(hint(NOT_COMPARED))
    return built
