"""A page with the tab Errors alone: `python -m tests.browser.fake_errors [--port N] [GT FRAMES RESULTS…]`.

In the place of Compare stands what it is told.
"""

import argparse
import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr

from app import ui
from app.bench import Bench
from app.data.project import open_project
from app.errors import tab as errors
from app.errors.routes import routes
from app.findings.desk import Desk
from app.findings.strips import Strips


def serve(files: list[str], port: int | None) -> None:
    project = open_project(files[0], files[1], files[2:]) if files else open_project()
    bench = Bench(project, Desk(), Strips())
    with gr.Blocks(fill_width=True) as page, gr.Tabs() as tabs:
        with gr.Tab("Compare", id="compare"):
            jump = gr.Textbox(label="Told")
        with gr.Tab("Errors", id="errors"):
            errors.build(page, bench, jump, gr.Textbox(visible=False), tabs)
    styles = [ui.STYLE, ui.HERE / "errors" / "errors.css"]
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
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("files", nargs="*")
    given = parser.parse_args()
    serve(given.files, given.port)
