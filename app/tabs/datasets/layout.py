"""The components of the place `data set` in the page's head, and where they stand."""

from dataclasses import dataclass

import gradio as gr

from app.projects.partial import TRACKS
from app.rendering import on_change, on_load

GO = on_change("datasets/datasets.js", "openDataset")


@dataclass(frozen=True)
class DatasetsComponents:
    """button: opens and closes the place. heard: presses anywhere in the page that ask something of the data set.
    go: the address to go to, as a query."""

    button: gr.Button
    heard: gr.HTML
    opened: gr.HTML
    places: gr.HTML
    form: gr.Column
    truth: gr.Dropdown
    frames: gr.Dropdown
    predictions: gr.Dropdown
    open: gr.Button
    model: gr.Dropdown
    tracks: gr.Number
    predict: gr.Button
    stop: gr.Button
    progress: gr.HTML
    said: gr.HTML
    go: gr.Textbox


def build_layout() -> DatasetsComponents:
    """Into the Blocks that is open."""
    script = on_load("datasets/datasets.js", 'module.mount(element, (event) => trigger("select", event));')
    button = gr.Button("data set ▾", elem_id="datasets-button", size="sm", min_width=0)
    heard = gr.HTML("", js_on_load=script, elem_id="datasets-heard")
    with gr.Column(elem_id="datasets"):
        opened = gr.HTML(elem_id="datasets-open")
        said = gr.HTML(elem_id="datasets-said")
        with gr.Row(elem_id="datasets-columns", equal_height=False):
            with gr.Column(min_width=260):
                gr.HTML('<h2>Open</h2><p class="hint">Without a ground truth file, predictions come to this one.</p>')
                with gr.Column(visible=False) as form:
                    truth = _paths("Ground truth file")
                    frames = _paths("Folder of frames")
                    predictions = gr.Dropdown([], label="Predictions files", multiselect=True, allow_custom_value=True)
                    open_button = gr.Button("Open", size="md")
                places = gr.HTML()
            with gr.Column(min_width=260):
                gr.HTML('<h2>Predict</h2><p class="hint">All videos of this data set; it goes on when you leave.</p>')
                model = gr.Dropdown([], label="Predict with")
                tracks = gr.Number(TRACKS, label="Tracks a video", precision=0, minimum=1, maximum=100)
                with gr.Row():
                    predict = gr.Button("Predict all videos", size="md", min_width=80)
                    stop = gr.Button("Stop predicting", size="md", min_width=80, interactive=False)
                progress = gr.HTML(elem_id="datasets-progress")
        go = gr.Textbox(visible=False)
    return DatasetsComponents(
        button=button,
        heard=heard,
        opened=opened,
        places=places,
        form=form,
        truth=truth,
        frames=frames,
        predictions=predictions,
        open=open_button,
        model=model,
        tracks=tracks,
        predict=predict,
        stop=stop,
        progress=progress,
        said=said,
        go=go,
    )


def _paths(label: str) -> gr.Dropdown:
    return gr.Dropdown([], value=None, label=label, allow_custom_value=True)
