"""What programs may ask of the studio through gradio's API: `/segment` and `/evaluate`."""

import asyncio
from functools import partial
from pathlib import Path

import gradio as gr

from app.player.proxy import VideoSource
from app.session import TICK
from app.storage.results import Settings
from app.tabs.segment.choices import find
from app.tabs.segment.exports import export
from app.tabs.segment.run import Snapshot
from app.tabs.segment.studio import Studio
from tevit.configs import TEVIT_DEMO


def build(studio: Studio) -> None:
    """Into the Blocks that is open; nothing of it is seen. Gradio wants a component for every value."""
    video, model = gr.File(visible=False, label="video"), gr.Textbox(TEVIT_DEMO.name, visible=False, label="model")
    score = gr.Number(0.0, visible=False, label="score_threshold")
    count = gr.Number(10, precision=0, visible=False, label="max_tracks")
    files = [gr.File(visible=False, label=name) for name in ("results.json", "overlay.mp4")]
    gt, results = (gr.File(visible=False, label=name) for name in ("gt", "results"))
    figures, asked = gr.JSON(visible=False, label="figures"), gr.Button(visible=False)
    calls = _Endpoints(studio)
    asked.click(calls.segment, [video, model, score, count], files, api_name="segment", concurrency_limit=None)
    asked.click(calls.evaluate, [gt, results], figures, api_name="evaluate", concurrency_limit=2)


class _Endpoints:
    def __init__(self, studio: Studio):
        self._studio = studio

    async def segment(
        self, video: str, model: str, score_threshold: float = 0.0, max_tracks: int = 10
    ) -> tuple[str, str]:
        """Segment a video file. Waits in the same line as the pages do.

        Returns results.json (YouTube-VIS) and overlay.mp4.
        """
        try:
            settings = Settings(find(model, self._studio.checkpoints).value, score_threshold, int(max_tracks))
            source = VideoSource(Path(video).name, Path(video))
            await asyncio.to_thread(source.open)
            return await self._through(self._studio.runs.submit(source, settings), source)
        except (ValueError, OSError) as error:
            raise gr.Error(str(error).replace(str(video), Path(str(video)).name), print_exception=False) from error

    async def _through(self, token: str, source: VideoSource) -> tuple[str, str]:
        runs = self._studio.runs
        try:
            end = await self._end(token)
        finally:
            runs.leave(token)  # a program that has gone away wants no result
        run = runs.find(token)
        if end is None or end.result is None or end.state != "done" or run is None:
            raise ValueError(end.sentence if end else "The run was not kept.")
        made = []
        for name in ("results.json", "overlay.mp4"):
            made.append(await asyncio.to_thread(partial(export, name, end.result, run.folder, opened=run.opened)))
        return str(made[0]), str(made[1])

    async def _end(self, token: str) -> Snapshot | None:
        while (now := self._studio.runs.snapshot(token)) is not None and not now.over:
            await asyncio.sleep(TICK)
        return now

    async def evaluate(self, gt: str, results: str) -> dict:
        """The official figures of a results.json on ground truth in YouTube-VIS form, as `tevit evaluate --json`."""
        from tevit.cli.evaluate import as_object
        from tevit.evaluation import evaluate

        try:
            return as_object(await asyncio.to_thread(evaluate, gt, results))
        except (ValueError, OSError) as error:
            raise gr.Error(str(error), print_exception=False) from error
