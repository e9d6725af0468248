"""A page with the tab Errors alone: `python -m tests.browser.fake_errors [GT RESULTS…]`, by default the bundled set.

In the place of Compare stands what it is told.
"""

import os
import sys

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr

from app import errors, ui
from app.bench import Bench
from app.desk import Desk
from app.errors_routes import routes
from app.project import open_project
from app.strips import Strips


def serve(files: list[str], port: int | None) -> None:
    project = open_project(files[0], None, files[1:]) if files else open_project()
    bench = Bench(project, Desk(), Strips())
    with gr.Blocks(fill_width=True) as page, gr.Tabs() as tabs:
        with gr.Tab("Compare", id="compare"):
            jump = gr.Textbox(label="Told")
        with gr.Tab("Errors", id="errors"):
            errors.build(page, bench, jump, tabs)
    styles = [ui.STYLE, ui.STYLE.with_name("errors.css")]
    _, url, _ = page.queue(default_concurrency_limit=None).launch(
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        theme=ui._theme(),
        css_paths=styles,
        footer_links=[],
        app_kwargs={"routes": routes(bench)},
    )
    print(url, flush=True)
    page.block_thread()


if __name__ == "__main__":
    port = int(sys.argv.pop(1)) if sys.argv[1:] and sys.argv[1].isdigit() else None
    serve(sys.argv[1:], port)
