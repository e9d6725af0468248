"""The video player as a component of the page."""

import gradio as gr

# The element is mounted once: its template holds no value, so that gradio never builds it anew.
_MOUNT = """
const root = (window.gradio_config && window.gradio_config.root) || "";
import(root + "/studio/player/player.js").then(({ mount }) => {
  const player = mount(element.querySelector(".player-host"), root, (event) => trigger("select", event));
  element.player = player; // for whoever looks into the page
  const filter = () => player.filter(props.shown);
  const load = async () => { const loaded = player.load(props.value || null); filter(); await loaded; };
  watch("value", load);
  watch("shown", filter);
  watch("command", () => player.obey(props.command));
  load();
});
"""


def screen(elem_id: str) -> gr.HTML:
    """A player without a video. Its `select` event carries what app.player.component.read_event reads."""
    return gr.HTML(
        None,
        html_template='<div class="player-host"></div>',
        js_on_load=_MOUNT,
        apply_default_css=False,
        shown=None,
        command=None,
        elem_id=elem_id,
    )
