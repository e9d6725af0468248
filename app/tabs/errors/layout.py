"""The components of the tab `Errors` and their layout."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from ...rendering import on_change, on_load
from .routes import ORDERS

NO_MODEL = "(none)"  # chosen as B
ADDRESS = on_change("errors/answers.js", "showAddress")
# Answers to quick presses can arrive in another order: the page keeps the one of the highest turn.
_NEWEST = '${{window.tevitErrors ? window.tevitErrors.newestAnswer("{elem_id}", turn, value) : value}}'


@dataclass(frozen=True)
class ErrorsComponents:
    """state: progress and messages. types, groups: the charts of errors by type and by oracle gap. The others are
    filled after the evaluation. address: the settings as a query, for the page's address."""

    state: gr.HTML
    figures: gr.HTML
    controls: gr.Row
    a: gr.Dropdown
    b: gr.Dropdown
    positive: gr.Slider
    background: gr.Slider
    cutoff: gr.Slider
    types: gr.HTML
    groups: gr.HTML
    bar: gr.HTML
    plots: gr.HTML
    ordering: gr.Row
    search: gr.Textbox
    order: gr.Dropdown
    rows: gr.HTML
    address: gr.Textbox

    def html(self) -> Iterator[gr.HTML]:
        """Those with buttons of their own."""
        yield from (getattr(self, item.name) for item in fields(self) if isinstance(getattr(self, item.name), gr.HTML))


def build_layout() -> ErrorsComponents:
    """Create the components in the Blocks that is open."""
    script = on_load("errors/errors.js", 'module.mount(element, root, (event) => trigger("select", event));')

    def place(elem_id: str) -> gr.HTML:
        return gr.HTML(
            "",
            html_template=_NEWEST.format(elem_id=elem_id),
            js_on_load=script,
            apply_default_css=False,
            elem_id=elem_id,
            turn=0,
        )

    parts: dict[str, Any] = {}
    with gr.Column(elem_id="errors"):
        parts |= {"state": place("errors-state"), "figures": place("errors-figures")}
        with gr.Row(elem_id="errors-controls", visible=False) as parts["controls"]:
            parts["a"] = gr.Dropdown([], label="A", visible=False)
            parts["b"] = gr.Dropdown([NO_MODEL], value=NO_MODEL, label="B", visible=False)
            parts["positive"] = gr.Slider(0.1, 1, 0.5, step=0.05, label="Match IoU ≥")
            parts["background"] = gr.Slider(0.05, 0.5, 0.1, step=0.05, label="Background IoU")
            parts["cutoff"] = gr.Slider(0, 1, 0, step=0.01, label="Lowest score")
        with gr.Row(elem_id="errors-kinds"):
            parts |= {"types": place("errors-types"), "groups": place("errors-lenses")}
        parts |= {"bar": place("errors-bar"), "plots": place("errors-plots")}
        with gr.Row(elem_id="errors-order", visible=False) as parts["ordering"]:
            parts["search"] = gr.Textbox(label="Search", placeholder="video, type or class", max_lines=1)
            orders = [(words, name) for name, words in ORDERS.items()]
            parts["order"] = gr.Dropdown(orders, value="cost", label="Order")
        parts["rows"] = place("errors-rows")
        parts["address"] = gr.Textbox(visible=False)
    return ErrorsComponents(**parts)
