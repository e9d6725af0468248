"""The page: title and tabs, and how it is served."""

from collections.abc import Sequence
from pathlib import Path

import gradio as gr
from gradio.themes import Base

from app import segment
from app.jobs import KEEP_SECONDS, Runs

TITLE = "TeViT Studio"
STYLE = Path(__file__).with_name("style.css")
FONT = ("system-ui", "sans-serif")
MONO = ("ui-monospace", "monospace")


def build(runs: Runs, checkpoints: Sequence[Path]) -> gr.Blocks:
    """All tabs, tied to the one line of runs. checkpoints: files to offer first in the list of models."""
    with gr.Blocks(title=TITLE, fill_width=True, delete_cache=(3600, KEEP_SECONDS)) as page:
        gr.HTML(f"<h1>{TITLE}</h1>", elem_id="title")
        with gr.Tabs(), gr.Tab("Segment"):
            segment.build(page, runs, checkpoints)
    return page


def _theme() -> Base:
    """Greys and one blue, dark enough for white letters; the fonts that the machine has."""
    theme = Base(primary_hue="blue", neutral_hue="zinc", font=FONT, font_mono=MONO)
    return theme.set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
    )


def serve(page: gr.Blocks, host: str, port: int | None, share: bool) -> None:
    """Serve until Ctrl-C.

    Raises: OSError where the port cannot be had.
    """
    _, url, public = page.queue(default_concurrency_limit=None).launch(
        server_name=host,
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        quiet=True,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        theme=_theme(),
        css_paths=STYLE,
    )
    print(f"{TITLE}: {public or url} (Ctrl-C ends it)", flush=True)
    page.block_thread()
