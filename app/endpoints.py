"""The public endpoints of gradio's API: `/segment` and `/evaluate`."""

import asyncio
from functools import partial
from pathlib import Path

import gradio as gr

from tevit.cli.evaluate import as_object
from tevit.configs import TEVIT_DEMO
from tevit.evaluation import evaluate

from .player.proxy import VideoSource
from .storage.results import Settings
from .tabs.segment.models import find_model
from .tabs.segment.run import Studio, export
from .workspace import TICK


def build(studio: Studio) -> None:
    """Add the endpoints to the open Blocks. Gradio needs a component for every value; none of them is visible."""
    video, model = gr.File(visible=False, label="video"), gr.Textbox(TEVIT_DEMO.name, visible=False, label="model")
    score = gr.Number(0.0, visible=False, label="score_threshold")
    count = gr.Number(10, precision=0, visible=False, label="max_tracks")
    files = [gr.File(visible=False, label=name) for name in ("results.json", "overlay.mp4")]
    gt, results = (gr.File(visible=False, label=name) for name in ("gt", "results"))
    figures, trigger = gr.JSON(visible=False, label="figures"), gr.Button(visible=False)
    endpoints = _Endpoints(studio)
    trigger.click(endpoints.segment, [video, model, score, count], files, api_name="segment", concurrency_limit=None)
    trigger.click(endpoints.evaluate, [gt, results], figures, api_name="evaluate", concurrency_limit=2)


class _Endpoints:
    def __init__(self, studio: Studio):
        self._studio = studio

    async def segment(
        self, video: str, model: str, score_threshold: float = 0.0, max_tracks: int = 10
    ) -> tuple[str, str]:
        """Segment a video file, in the same queue as the pages.

        Returns results.json (YouTube-VIS) and overlay.mp4.
        """
        worker = self._studio.worker
        try:
            settings = Settings(find_model(model, self._studio.checkpoints).value, score_threshold, int(max_tracks))
            source = VideoSource(Path(video).name, Path(video))
            await asyncio.to_thread(source.open)
            token = worker.submit(source, settings)
            try:
                while (now := worker.status(token)) is not None and not now.over:
                    await asyncio.sleep(TICK)
            finally:
                worker.leave(token)  # a client that has disconnected needs no result
            run = worker.find(token)
            if now is None or now.result is None or now.state != "done" or run is None:
                raise ValueError(now.message if now else "The run was not kept.")
            write = partial(export, result=now.result, folder=run.folder, open_video=run.open_video)
            results = await asyncio.to_thread(write, "results.json")
            return str(results), str(await asyncio.to_thread(write, "overlay.mp4"))
        except (ValueError, OSError) as error:
            raise gr.Error(_without_folders(str(error), video), print_exception=False) from error

    async def evaluate(self, gt: str, results: str) -> dict:
        """The official figures of a results.json on ground truth in YouTube-VIS form, as `tevit evaluate --json`.

        warnings: those that the command prints; present where there are some.
        """
        try:
            evaluation = await asyncio.to_thread(evaluate, gt, results)
            warnings = [_without_folders(warning, gt, results) for warning in evaluation.warnings]
            return as_object(evaluation) | ({"warnings": warnings} if warnings else {})
        except (ValueError, OSError) as error:
            raise gr.Error(_without_folders(str(error), gt, results), print_exception=False) from error


def _without_folders(text: str, *paths: str) -> str:
    """A sentence with the names of uploaded files instead of the server's temporary paths."""
    for path in paths:
        text = text.replace(str(path), Path(str(path)).name)
    return text
