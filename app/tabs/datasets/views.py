"""The components of the place `data set` in the page's head, and its HTML: notices, data sets, a prediction's state."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ...rendering import on_change, on_load, progress, render
from ..segment.views import build_parameters
from .predicting import TRACKS, DatasetTask, PartialPredictions

MAX_TRACKS = 100
GO = on_change("datasets/datasets.js", "openDataset")


@dataclass(frozen=True)
class DatasetsComponents:
    """button: opens and closes the place. clicks: sends the notices' buttons, anywhere in the page. address: query of
    the address to open."""

    button: gr.Button
    clicks: gr.HTML
    opened: gr.HTML
    folders: gr.HTML
    form: gr.Column
    truth: gr.Dropdown
    frames: gr.Dropdown
    predictions: gr.Dropdown
    open: gr.Button
    model: gr.Dropdown
    parameters: gr.HTML
    tracks: gr.Number
    predict: gr.Button
    stop: gr.Button
    progress: gr.HTML
    message: gr.HTML
    address: gr.Textbox


def build_layout() -> DatasetsComponents:
    """Add the components to the Blocks that is open."""
    built: dict[str, Any] = {}
    script = on_load("datasets/datasets.js", 'module.mount(element, (event) => trigger("select", event));')
    path: dict[str, Any] = {"value": None, "allow_custom_value": True}
    built["button"] = gr.Button("data set ▾", elem_id="datasets-button", size="sm", min_width=0)
    built["clicks"] = gr.HTML("", js_on_load=script, elem_id="datasets-clicks")
    with gr.Column(elem_id="datasets"):
        built["opened"] = gr.HTML(elem_id="datasets-open")
        built["message"] = gr.HTML(elem_id="datasets-message")
        with gr.Row(elem_id="datasets-columns", equal_height=False):
            with gr.Column(min_width=260):
                text = "Without a ground truth file, predictions are added to the current data set."
                gr.HTML(render("heading.html", title="Open", hint=text))
                with gr.Column(visible=False) as built["form"]:
                    built["truth"] = gr.Dropdown([], label="Ground truth file", **path)
                    built["frames"] = gr.Dropdown([], label="Folder of frames", **path)
                    built["predictions"] = gr.Dropdown(
                        [], label="Predictions files", multiselect=True, allow_custom_value=True
                    )
                    built["open"] = gr.Button("Open", size="md")
                built["folders"] = gr.HTML()
            with gr.Column(min_width=260):
                text = "All videos of this data set; continues when the page is closed."
                gr.HTML(render("heading.html", title="Predict", hint=text))
                built["model"] = gr.Dropdown([], label="Predict with")
                built["parameters"] = build_parameters("datasets-parameters")
                built["tracks"] = gr.Number(TRACKS, label="Tracks a video", precision=0, minimum=1, maximum=MAX_TRACKS)
                with gr.Row():
                    built["predict"] = gr.Button("Predict all videos", size="md", min_width=80)
                    built["stop"] = gr.Button("Stop predicting", size="md", min_width=80, interactive=False)
                built["progress"] = gr.HTML(elem_id="datasets-progress")
        built["address"] = gr.Textbox(visible=False)
    return DatasetsComponents(**built)


def prediction(task: DatasetTask | None, ahead: int, partial: Iterable[PartialPredictions], total: int) -> str:
    """The state of the data set's task; without one what can be resumed. total: videos of the data set."""
    status = task.status(ahead) if task else None
    return render(
        "datasets/prediction.html",
        task=task,
        status=progress(status) if status else "",
        done=status is not None and status.state == "done",
        partial=[(results.request.name, len(results.finished)) for results in partial],
        total=total,
    )
