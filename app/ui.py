"""The page: its title and tabs, composed and served."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.themes import Base
from starlette.middleware import Middleware

from tevit.download import assets_folder

from . import endpoints
from .access import Address
from .middleware import HostCheck, PagePolicy, ResponseHeaders, installed
from .player import routes as player_routes
from .rendering import on_load
from .tabs.compare import events as compare
from .tabs.datasets import events as datasets
from .tabs.datasets.predicting import DatasetTasks
from .tabs.errors import events as errors
from .tabs.errors import routes as errors_routes
from .tabs.review import events as review
from .tabs.review import segmentation as review_routes
from .tabs.review.segmentation import Segmentation
from .tabs.segment import events as segment
from .tabs.segment.run import KEEP_SECONDS, Studio
from .workspace import Workspace

TITLE = "TeViT Studio"
FRAMES_OF_A_SPACE = ("https://huggingface.co", "https://*.huggingface.co")
HERE = Path(__file__).resolve().parent
STYLES = [
    HERE / "static" / name
    for name in ("style.css", "player/player.css", "datasets/datasets.css", "errors/errors.css", "review/review.css")
]
ICON = assets_folder() / "icon.png"
_TITLE = f"""<h1>{TITLE}</h1><button type="button" aria-label="Light or dark" title="Light or dark">◐</button>"""


class StudioBlocks(gr.Blocks):
    """Blocks whose generators send complete updates instead of differences.

    The page applies gradio's differences in place: where several arrive before it renders the first, all become the
    last, and what only the earlier ones changed is lost.
    """

    def handle_streaming_diffs(
        self,
        block_fn: BlockFunction,
        data: list,
        session_hash: str | None,
        run: str | None,
        final: bool,
        simple_format: bool = False,
    ) -> list:
        """A difference, in gradio's form, that replaces the whole previous value."""
        first = run not in self.pending_diff_streams.get(session_hash, {})
        whole = super().handle_streaming_diffs(block_fn, data, session_hash, run, final, simple_format=True)
        return whole if first or final or simple_format else [[["replace", [], value]] for value in whole]


def build(studio: Studio, workspace: Workspace) -> gr.Blocks:
    """The page of one studio and its open data sets."""
    with StudioBlocks(title=TITLE, fill_width=True, delete_cache=(3600, KEEP_SECONDS)) as page:
        gr.HTML(
            _TITLE,
            js_on_load=on_load("page/page.js", "module.mountTitle(element);"),
            elem_id="title",
            apply_default_css=False,
        )
        datasets.build(page, workspace, DatasetTasks(studio.worker), studio.checkpoints)
        with gr.Tabs() as tabs:
            with gr.Tab("Segment", id="segment"):
                segment.build(page, studio)
            with gr.Tab("Compare", id="compare") as tab:
                jump = gr.Textbox(visible=False)
                compare.build(page, tab, tabs, jump, workspace, studio.views)
            with gr.Tab("Errors", id="errors"):
                picked = gr.Textbox(visible=False)
                errors.build(page, workspace, jump, picked, tabs)
            with gr.Tab("Review", id="review") as tab:
                review.build(page, tab, picked, workspace, studio.views)
        endpoints.build(studio)
    return page


def serve(
    page: gr.Blocks,
    studio: Studio,
    workspace: Workspace,
    segmentation: Segmentation,
    address: Address,
    mcp: bool = False,
) -> None:
    """Serve until Ctrl-C. mcp: also as tools of the Model Context Protocol. Raises: OSError where the port is taken."""
    routes = (
        *errors_routes.routes(workspace),
        *review_routes.routes(studio.views, segmentation),
        *player_routes.routes(studio.views),
    )
    _, url, public = page.queue(default_concurrency_limit=None).launch(
        server_name=address.host,
        server_port=address.port,
        share=address.share,
        prevent_thread_lock=True,
        quiet=True,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=mcp,
        ssr_mode=False,
        theme=_theme(),
        css_paths=STYLES,
        pwa=True,
        favicon_path=ICON,
        app_kwargs={"routes": routes, **_middleware(address)},
    )
    print(f"{TITLE}: {public or url} (Ctrl-C ends it)", flush=True)
    page.block_thread()


def _middleware(address: Address) -> dict[str, Any]:
    """Options of gradio's app. The first of `wrappers` is the outermost."""
    wrappers = [partial(HostCheck, hosts=address.host_names), ResponseHeaders]
    ancestors = FRAMES_OF_A_SPACE if os.environ.get("SPACE_ID") else ()
    return {"lifespan": installed(wrappers), "middleware": [Middleware(PagePolicy, ancestors=ancestors)]}


def _theme() -> Base:
    """Greys and one blue, dark enough for white letters; fonts of the system."""
    font, mono = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")
    return Base(primary_hue="blue", neutral_hue="zinc", font=font, font_mono=mono).set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
    )
