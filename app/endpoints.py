"""The public endpoints of gradio's API: `/segment` and `/evaluate`."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import gradio as gr
import msgspec

from tevit.configs import TEVIT_DEMO
from tevit.io import json as jsonfile

from .access import visitor_of_event
from .analysis.service import evaluate_files
from .isolation import isolated
from .player.proxy import VideoSource
from .storage.results import Settings
from .tabs.segment.events import MAX_TRACKS
from .tabs.segment.exports import export
from .tabs.segment.models import find_model
from .tabs.segment.run import Studio
from .workspace import TICK


def build(studio: Studio) -> None:
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
