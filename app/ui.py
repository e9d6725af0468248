"""The page: its title and tabs, composed and served; and gradio's API: `/segment` and `/evaluate`."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import Annotated, Any

import gradio as gr
import msgspec
from gradio.block_function import BlockFunction
from gradio.state_holder import SessionState
from gradio.themes import Base
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware
from starlette.types import ASGIApp

import tevit
from tevit.configs import TEVIT_DEMO
from tevit.download import assets_folder
from tevit.io import json as jsonfile
from tevit.limits import input_limits

from .access import (
    MAX_EVENT,
    PUBLIC_EVENT,
    Access,
    Address,
    EventReader,
    check_uploads,
    limited_protocol,
    visitor_of_event,
)
from .analysis.service import evaluate_files
from .fair_queue import SESSIONS, FairQueue, QueueLimits
from .isolation import isolated
from .middleware import (
    BodyLimit,
    FailureLog,
    HostCheck,
    MalformedEvents,
    PageCheck,
    PagePolicy,
    PublicEvents,
    ResponseHeaders,
    SignInCheck,
    UploadLimit,
    installed,
    place_of,
)
from .page import on_load
from .player import component as player
from .player.proxy import VideoSource
from .storage.results import Settings
from .tabs.compare import events as compare
from .tabs.datasets import events as datasets
from .tabs.datasets.events import DatasetTasks
from .tabs.errors import events as errors
from .tabs.errors import views as errors_views
from .tabs.review import events as review
from .tabs.review import segmentation as review_routes
from .tabs.review.segmentation import Segmentation
from .tabs.segment import events as segment
from .tabs.segment.events import MAX_TRACKS
from .tabs.segment.models import find_model
from .tabs.segment.page_state import export
from .tabs.segment.run import KEEP_SECONDS, Studio
from .workspace import TICK, TOAST_SECONDS, TabLinks, Workspace

log = logging.getLogger(__name__)

TITLE = "TeViT Studio"
MAX_QUOTED = 200  # characters of a message about a value
QUEUE_SECONDS = 0.01  # between two looks at the queue: gradio's thousand a second take 3 % of a processor
STREAM_SECONDS = 1  # how long open streams, which look every ten seconds, may go on when the studio ends
FRAMES_OF_A_SPACE = ("https://huggingface.co", "https://*.huggingface.co")
HERE = Path(__file__).resolve().parent
STYLES = [
    Path(tevit.__file__).with_name("templates") / "table.css",
    *(
        HERE / "static" / name
        for name in (
            "style.css",
            "player/player.css",
            "datasets/datasets.css",
            "errors/errors.css",
            "review/review.css",
        )
    ),
]
ICON = assets_folder() / "icon.png"
_THEME = """<button type="button" aria-label="Light or dark" title="Light or dark">◐</button>"""
_SIGN_OUT = """<a class="sign-out" href="logout" title="On all your devices">Sign out</a>"""


class StudioBlocks(gr.Blocks):
    """Blocks whose generators send complete updates instead of differences, and that end what is malformed in a line.

    The page applies gradio's differences in place: where several arrive before it renders the first, all become the
    last, and what only the earlier ones changed is lost.
    """

    def queue(self, *args: Any, **options: Any) -> "StudioBlocks":
        """Gradio's queue, looked at less often, which does not summarise the last 10,000 events after each: the page
        for that is off."""
        super().queue(*args, **options)
        self._queue.ANAYLTICS_CACHE_FREQUENCY = sys.maxsize
        self._queue.sleep_when_free = QUEUE_SECONDS
        self._queue.progress_update_sleep_when_free = 10 * QUEUE_SECONDS  # for gr.Progress, which nothing here uses
        return self

    async def process_api(self, block_fn: BlockFunction | int, inputs: list[Any], *args: Any, **options: Any) -> dict:
        """The answer to an event. What fails is a message on the page and a line in the log: gradio would print a
        traceback, with paths of the server, for every value that a visitor has made up."""
        name = block_fn if isinstance(block_fn, int) else block_fn.api_name
        try:
            self._check_uploads(inputs)
            return await super().process_api(block_fn, inputs, *args, **options)
        except gr.Error as error:
            if not error.print_exception:
                raise
            # Gradio's own, of its components: it may quote the value.
            message, line = str(error.message)[:MAX_QUOTED], "a value of the wrong kind"
        except Exception as error:
            message, line = "The studio could not do this.", place_of(error)
            _mark_failed(options.get("request"))
        log.error("event %s: %s", name, line)
        # The page takes the text for HTML, and it may quote a value.
        raise gr.Error(escape(message), duration=TOAST_SECONDS, print_exception=False)

    def _check_uploads(self, inputs: list[Any]) -> None:
        """Raises: gr.Error where a file is none that was uploaded."""
        try:
            check_uploads(inputs, Path(get_upload_folder()))
        except ValueError as error:
            raise gr.Error(str(error)) from error

    async def preprocess_data(
        self, block_fn: BlockFunction, inputs: list[Any], state: SessionState | None, *args: Any, **options: Any
    ) -> list[Any]:
        """The values that a handler gets. Raises: gr.Error where they are not of the components' kinds."""
        try:
            return await super().preprocess_data(block_fn, inputs, state, *args, **options)
        except gr.Error:
            raise
        except Exception as error:
            log.error("event %s: a value of the wrong kind, %s", block_fn.api_name, place_of(error))
            raise gr.Error("Expected other values for this event.", TOAST_SECONDS, print_exception=False) from error
        finally:
            # Gradio keeps every value that a page has sent, for deep links, which the studio has none of.
            values = {} if state is None else state.config_values
            for block in block_fn.inputs:
                values.get(block._id, {}).get("props", {}).pop("value", None)

    async def postprocess_data(
        self, block_fn: BlockFunction, predictions: list | dict, state: SessionState | None
    ) -> list[Any]:
        """The updates of an event; gr.HTML's own properties may be functions there, whose text names an address."""
        updates = await super().postprocess_data(block_fn, predictions, state)
        return [
            {name: value for name, value in update.items() if not isinstance(value, partial)}
            if isinstance(update, dict)
            else update
            for update in updates
        ]

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


def _mark_failed(request: Any) -> None:
    """Of an event: it has failed for a fault of ours, not of its values."""
    scope = getattr(getattr(request, "request", None), "scope", {})
    scope.setdefault("state", {})["failed"] = True


def build(studio: Studio, workspace: Workspace) -> gr.Blocks:
    """The page of one studio and its open data sets."""
    with StudioBlocks(title=TITLE, fill_width=True, delete_cache=(3600, KEEP_SECONDS)) as page:
        gr.HTML(
            f"<h1>{TITLE}</h1>{_SIGN_OUT if workspace.access.accounts else ''}{_THEME}",
            js_on_load=on_load("page/page.js", "module.mountTitle(element);"),
            elem_id="title",
            apply_default_css=False,
        )
        if workspace.access.hub:
            gr.LoginButton(size="sm", elem_id="sign-in")
        datasets.build(page, workspace, DatasetTasks(studio.worker), studio.checkpoints)
        pages, hidden = errors.error_pages(workspace), [gr.Textbox(visible=False) for _ in range(3)]
        with gr.Tabs() as tabs:
            links = TabLinks(tabs, *hidden)
            with gr.Tab("Segment", id="segment"):
                segment.build(page, studio, workspace.access)
            with gr.Tab("Compare", id="compare") as tab:
                compare.build(page, tab, workspace, studio.views, pages, links)
            with gr.Tab("Errors", id="errors"):
                errors.build(page, workspace, pages, links)
            with gr.Tab("Review", id="review") as tab:
                review.build(page, tab, links.picked, workspace, studio.views)
        add_endpoints(studio)
    return page


def serve(
    page: gr.Blocks,
    studio: Studio,
    workspace: Workspace,
    segmentation: Segmentation,
    address: Address,
    mcp: bool = False,
    limits: QueueLimits | None = None,
) -> None:
    """Serve until Ctrl-C. mcp: also as tools of the Model Context Protocol. Raises: OSError where the port is taken."""
    routes = [*errors_views.routes(workspace), *review_routes.routes(studio.views, segmentation)]
    routes += player.routes(studio.views)
    _, url, public = page.queue(default_concurrency_limit=None).launch(
        server_name=address.host,
        server_port=address.port,
        share=address.share,
        auth=_sign_in(workspace.access),
        auth_message=f"{TITLE}: sign in with the name and password that you were given.",
        prevent_thread_lock=True,
        quiet=True,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=mcp,
        ssr_mode=False,
        state_session_capacity=SESSIONS,
        theme=_theme(),
        css_paths=STYLES,
        pwa=True,
        favicon_path=ICON,
        max_file_size=input_limits().upload_bytes,
        app_kwargs={"routes": routes, **_middleware(page, address, workspace.access, limits or QueueLimits())},
    )
    page.server.config.timeout_graceful_shutdown = STREAM_SECONDS
    page.server.config.http_protocol_class = limited_protocol(page.server.config.http_protocol_class)
    print(f"{TITLE}: {public or url} (Ctrl-C ends it)", flush=True)
    try:
        page.block_thread()
    finally:
        page.close(verbose=False)


def _sign_in(access: Access) -> Any:
    # Gradio awaits it where it is a coroutine function, which its annotation leaves out.
    return access.accounts.sign_in if access.accounts else None


def _middleware(page: gr.Blocks, address: Address, access: Access, limits: QueueLimits) -> dict[str, Any]:
    """Options of gradio's app. The first of `wrappers` is the outermost."""
    embedded = bool(os.environ.get("SPACE_ID"))
    public = {id: str(fn.api_name) for id, fn in page.fns.items() if fn.api_visibility == "public"}
    answered = {id for id, fn in page.fns.items() if fn.fn is not None}  # the others are JavaScript alone
    events = PublicEvents(frozenset(public), frozenset(public.values()), frozenset(answered))
    largest = PUBLIC_EVENT if access.public else MAX_EVENT
    wrappers: list[Callable[[ASGIApp], ASGIApp]] = [
        ResponseHeaders,
        FailureLog,
        partial(HostCheck, hosts=address.host_names, trust_forwarded=limits.trust_forwarded),
        *([SignInCheck] if access.accounts else []),
        BodyLimit,
        partial(PageCheck, events=events, embedded=embedded, reader=EventReader(largest)),
        partial(FairQueue, blocks=page, events=events, limits=limits, by_browser=not access.public or embedded),
        partial(UploadLimit, folder=Path(get_upload_folder())),
        MalformedEvents,
    ]
    ancestors = FRAMES_OF_A_SPACE if embedded else ()
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


# --- gradio's API


def add_endpoints(studio: Studio) -> None:
    """Add the endpoints to the open Blocks. Gradio needs a component for every value; none of them is visible."""
    video, model = gr.File(visible=False, label="video"), gr.Textbox(TEVIT_DEMO.name, visible=False, label="model")
    score = _number(gr.Number(0.0, visible=False, label="score_threshold"))
    count = _number(gr.Number(10, precision=0, visible=False, label="max_tracks"))
    files = [gr.File(visible=False, label=name) for name in ("results.json", "overlay.mp4")]
    gt, results = (gr.File(visible=False, label=name) for name in ("gt", "results"))
    classes = gr.Textbox("", visible=False, label="map_classes")
    figures, trigger = gr.JSON(visible=False, label="figures"), gr.Button(visible=False)
    endpoints = _Endpoints(studio)
    trigger.click(endpoints.segment, [video, model, score, count], files, api_name="segment", concurrency_limit=None)
    trigger.click(endpoints.evaluate, [gt, results, classes], figures, api_name="evaluate", concurrency_limit=2)


def _number(component: gr.Number) -> gr.Number:
    """A number that arrives as a program sends it: gradio's own conversion of text ends in an exception of Python."""
    component.preprocess = lambda payload: payload
    return component


class _SegmentArguments(msgspec.Struct):
    video: str
    model: str
    score_threshold: Annotated[float, msgspec.Meta(ge=0, le=1)]
    max_tracks: Annotated[float, msgspec.Meta(ge=1, le=MAX_TRACKS)]


class _EvaluateArguments(msgspec.Struct):
    gt: str
    results: str
    map_classes: str


class _Endpoints:
    def __init__(self, studio: Studio):
        self._studio = studio

    async def segment(
        self, request: gr.Request, video: str, model: str, score_threshold: float = 0.0, max_tracks: int = 10
    ) -> tuple[str, str]:
        """Segment a video file, in the same queue as the pages.

        Returns results.json (YouTube-VIS) and overlay.mp4. Warnings about the video, such as two possible orders of its
        images, are log messages of the call, which gradio's client has in `job.status().log`.
        """
        worker = self._studio.worker
        sent = {"video": video, "model": model, "score_threshold": score_threshold, "max_tracks": max_tracks}
        try:
            args = jsonfile.convert(sent, _SegmentArguments, "/segment")
            option = find_model(args.model, self._studio.checkpoints)
            settings = Settings(option.value, args.score_threshold, int(args.max_tracks))
            source = VideoSource(Path(video).name, Path(video))
            await asyncio.to_thread(source.open)
            token = worker.submit(source, settings, visitor_of_event(request))
            with worker.followed(token):  # a client that has disconnected needs no result
                while (now := worker.status(token)) is not None and not now.over:
                    await asyncio.sleep(TICK)
            run = worker.find(token)
            if now is None or now.result is None or now.state != "done" or run is None:
                raise ValueError(now.message if now else "The run was not kept.")
            if now.message:
                gr.Warning(_without_folders(now.message, video))
            write = partial(export, result=now.result, folder=run.folder, footage=run.footage)
            results = await asyncio.to_thread(write, "results.json")
            return str(results), str(await asyncio.to_thread(write, "overlay.mp4"))
        except (ValueError, OSError) as error:
            raise gr.Error(_without_folders(str(error), video), print_exception=False) from error

    async def evaluate(self, gt: str, results: str, map_classes: str = "") -> dict:
        """The official figures of a results.json on ground truth in YouTube-VIS form, as `tevit evaluate --json`.

        map_classes: as the command's --map-classes; "": category ids must be those of the ground truth. warnings: those
        that the command prints; present where there are some.
        """
        try:
            jsonfile.convert(
                {"gt": gt, "results": results, "map_classes": map_classes}, _EvaluateArguments, "/evaluate"
            )
            return await asyncio.to_thread(_evaluate, gt, results, map_classes)
        except (ValueError, OSError) as error:
            raise gr.Error(_without_folders(str(error), gt, results), print_exception=False) from error


def _evaluate(gt: str, results: str, map_classes: str) -> dict:
    """Raises: ValueError, OSError."""
    figures = isolated(
        evaluate_files,
        gt,
        results,
        map_classes,
        returns=dict[str, Any],
        subject=Path(results).name,
        work="evaluation",
        progress=lambda stage, done, total: None,
    )
    if "warnings" in figures:
        figures["warnings"] = [_without_folders(line, gt, results) for line in figures["warnings"]]
    return figures


def _without_folders(text: str, *paths: str) -> str:
    """A sentence with the names of uploaded files instead of the server's temporary paths."""
    for path in paths:
        text = text.replace(str(path), Path(str(path)).name)
    return text
