"""The components of the tab `Review`, and where they stand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from app.player.component import build_player
from app.rendering import on_load
from app.tabs.review import views as panels
from app.tabs.review.session import WALK

FILES = ("corrected.json", "changes.csv", "report.html", "decisions.jsonl")
# Mounted once, as the player is: the template holds no value. Answers that are being saved outlast a new value.
_PROMPT = """
  const prompt = module.mount(element.querySelector(".ask-host"), (event) => trigger("select", event));
  watch("value", () => prompt.show(props.value));
  prompt.show(props.value);
"""


@dataclass(frozen=True)
class ReviewComponents:
    """chip: removes what was picked in Errors. ask: the question with its answers. take: what fits of a log. fetch:
    what is to be downloaded."""

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
    take: gr.Button
    log: gr.UploadButton
    after: gr.HTML
    told: gr.HTML
    fetch: gr.Textbox

    def all(self) -> Iterator[Any]:
        """Every component."""
        for item in fields(self):
            value = getattr(self, item.name)
            yield from value if isinstance(value, tuple) else (value,)


def build_layout() -> ReviewComponents:
    """Into the Blocks that is open."""
    parts: dict[str, Any] = {}
    script = on_load("review/review.js", "module.mountList(element);")
    clicks: dict[str, Any] = {"js_on_load": script, "apply_default_css": False}
    with gr.Column(elem_id="review"):
        parts["notices"] = gr.HTML(elem_id="review-notices")
        with gr.Row(elem_id="review-view", equal_height=False):
            with gr.Column(elem_id="review-screen"):
                parts["player"] = build_player("review-player")
            with gr.Column(elem_id="review-side"):
                parts["source"] = sources([])
                parts["chip"] = gr.Button(visible=False, size="md", elem_id="review-chip")
                parts["ask"] = _ask()
        with gr.Row(elem_id="review-below", equal_height=False):
            parts["queue"] = gr.HTML(elem_id="review-queue", **clicks)
            with gr.Column(elem_id="review-progress"):
                parts["progress"] = gr.HTML(**clicks)
            with gr.Column(elem_id="review-after"):
                parts |= _after()
        parts["fetch"] = gr.Textbox(visible=False)
    return ReviewComponents(**parts)


def sources(models: Sequence[str]) -> gr.Dropdown:
    """What can be reviewed. models: names."""
    names = [(f"disagreements of {name}", name) for name in models]
    choices = [*names, ("all tracks of all videos", WALK)]
    return gr.Dropdown(choices, value=choices[0][1] if models else None, label="What to review")


def _ask() -> gr.HTML:
    host = '<div class="ask-host"></div>'
    return gr.HTML(
        None,
        html_template=host,
        js_on_load=on_load("review/review.js", _PROMPT),
        apply_default_css=False,
        elem_id="review-ask",
    )


def _after() -> dict[str, Any]:
    gr.HTML('<div class="title"><strong>What came of it</strong></div>')
    with gr.Row(elem_id="review-files"):
        files = tuple(gr.Button(name, size="md", min_width=110) for name in FILES)
    with gr.Row(elem_id="review-more"):
        compare = gr.Button("AP before and after", size="md", min_width=110)
        cancel = gr.Button("Cancel", size="md", min_width=110, visible=False)
        log = gr.UploadButton("Import decisions", file_types=[".jsonl"], size="md", min_width=110)
    told = gr.HTML(elem_id="review-told")
    take = gr.Button(size="md", visible=False)
    after = gr.HTML(panels.NOTHING_MADE)
    return {
        "files": files,
        "compare": compare,
        "cancel": cancel,
        "take": take,
        "log": log,
        "told": told,
        "after": after,
    }
