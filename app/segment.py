"""The tab `Segment`: drop a video, choose a model, run, watch, cancel, see and download."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app import panels
from app.choices import Choice, choices, find
from app.jobs import Run, Runs, Settings, Snapshot

if TYPE_CHECKING:
    from tevit.video import Video

TICK = 0.25  # seconds between looks at a run
TOAST = 5  # seconds; the panel goes on saying it
POSTER_WIDTH = 960
MOST_TRACKS = 100

Updates = dict[Any, Any]  # gradio's form: component -> what becomes of it


@dataclass(frozen=True)
class Parts:
    """The components of the tab."""

    video: gr.File
    facts: gr.HTML
    model: gr.Dropdown
    advice: gr.HTML
    score: gr.Number
    count: gr.Number
    run: gr.Button
    cancel: gr.Button
    panel: gr.HTML
    poster: gr.HTML
    overlay: gr.Video
    tracks: gr.HTML
    overlay_file: gr.DownloadButton
    results_file: gr.DownloadButton


def build(page: gr.Blocks, runs: Runs, given: Sequence[Path]) -> None:
    """Lay the tab out in the Blocks that is open and tie its events. given: checkpoints named at the start."""
    parts = _lay_out()
    _Tab(parts, runs, given).tie(page)


def _lay_out() -> Parts:
    with gr.Row(elem_id="segment", equal_height=False):
        with gr.Column(elem_id="source"):
            source = _source()
        with gr.Column(elem_id="screen"):
            poster = gr.HTML(panels.EMPTY, elem_id="poster")
            overlay = gr.Video(visible=False, show_label=False, buttons=[], loop=True, elem_id="overlay")
        with gr.Column(elem_id="results"):
            tracks = gr.HTML(panels.NO_TRACKS, elem_id="tracks")
            with gr.Row(elem_id="downloads"):
                overlay_file = gr.DownloadButton("overlay.mp4", interactive=False, size="md", min_width=100)
                results_file = gr.DownloadButton("results.json", interactive=False, size="md", min_width=100)
    shown = {"poster": poster, "overlay": overlay, "tracks": tracks}
    return Parts(**source, **shown, overlay_file=overlay_file, results_file=results_file)


def _source() -> dict[str, Any]:
    parts: dict[str, Any] = {
        "video": gr.File(label="Video", height=126, elem_id="video"),
        "facts": gr.HTML(panels.NO_FACTS, elem_id="facts"),
        "model": gr.Dropdown([], label="Model", elem_id="model"),
        "advice": gr.HTML(elem_id="advice"),
    }
    with gr.Row(elem_id="limits"):
        parts["score"] = gr.Number(0, label="Lowest score", step=0.05, min_width=100)
        parts["count"] = gr.Number(10, label="Tracks at most", precision=0, min_width=100)
    with gr.Row(elem_id="buttons"):
        parts["run"] = gr.Button("Run", variant="primary", interactive=False, min_width=80)
        parts["cancel"] = gr.Button("Cancel", interactive=False, min_width=80)
    parts["panel"] = gr.HTML(elem_id="panel")
    return parts


class _Tab:
    """What happens on the page. Of a page's work only its session's name is kept, in `runs`."""

    def __init__(self, parts: Parts, runs: Runs, given: Sequence[Path]):
        self.parts = parts
        self.runs = runs
        self.given = given

    def tie(self, page: gr.Blocks) -> None:
        """Every event and what it may change; none is a public endpoint."""
        parts = self.parts
        everything = list(vars(parts).values())
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        page.load(self.offer, None, [parts.model, parts.advice], **quiet)
        page.unload(self.leave)
        parts.model.change(self.advise, parts.model, parts.advice, **quiet)
        parts.video.change(self.look, parts.video, everything, **quiet)
        inputs = [parts.video, parts.model, parts.score, parts.count]
        going = parts.run.click(self.segment, inputs, everything, concurrency_limit=None, **quiet)
        # Not in the run's own last step: a press of Run before that has wholly ended is dropped.
        for after in (going.success, going.failure):
            after(lambda: self._going(False), None, [parts.video, parts.run, parts.cancel], **quiet)
        parts.cancel.click(self.cancel, None, None, concurrency_limit=None, **quiet)

    def offer(self) -> tuple[Any, str]:
        """Fill the list of models anew at every visit."""
        offered = choices(self.given)
        first = offered[0]
        return gr.Dropdown([(choice.label, choice.value) for choice in offered], value=first.value), _advice(first)

    def advise(self, model: str | None) -> str:
        """Say what to do where the chosen model cannot run yet."""
        chosen = [choice for choice in choices(self.given) if choice.value == model]
        return _advice(chosen[0]) if chosen else ""

    def look(self, path: str | None) -> Iterator[Updates]:
        """Facts and first picture of a dropped video; the results of the one before go. A bad file changes nothing."""
        from tevit.video import open_video

        parts = self.parts
        yield {parts.run: gr.Button(interactive=False)}
        if path is None:
            yield {parts.facts: panels.NO_FACTS, parts.poster: panels.EMPTY}
            return
        try:
            video = open_video(path)
            picture = _picture(video)
        except (ValueError, OSError) as error:
            sentence = str(error).replace(path, Path(path).name)
            yield {parts.panel: panels.problem(sentence), parts.facts: panels.NO_FACTS}
            raise _toast(sentence) from error
        yield self._cleared() | {
            parts.facts: panels.facts(video.length, video.size_hw, video.fps, video.duration),
            parts.poster: gr.HTML(panels.first_frame(picture, Path(path).name), visible=True),
            parts.run: gr.Button(interactive=True),
        }

    async def segment(
        self, path: str | None, model: str | None, score: float | None, count: int | None, request: gr.Request
    ) -> AsyncIterator[Updates]:
        """Put the video in line and report until the run is over."""
        try:
            source, settings = self._wanted(path, model, score, count)
            run = self.runs.submit(str(request.session_hash), source, settings)
        except (ValueError, OSError) as error:
            yield {self.parts.panel: panels.problem(str(error))}
            raise _toast(str(error)) from error
        async for updates in self._follow(run):
            yield updates

    def _wanted(
        self, path: str | None, model: str | None, score: float | None, count: int | None
    ) -> tuple[Path, Settings]:
        if path is None:
            raise ValueError("Drop a video first.")
        if score is None or not 0 <= score <= 1:
            raise ValueError(f"Lowest score: expected a number from 0 to 1, got {score}.")
        if count is None or not 1 <= count <= MOST_TRACKS:
            raise ValueError(f"Tracks at most: expected 1 to {MOST_TRACKS}, got {count}.")
        return Path(path), Settings(find(model, self.given).value, score, count)

    async def _follow(self, run: Run) -> AsyncIterator[Updates]:
        yield self._going(True)
        before: Snapshot | None = None
        while before is None or not before.over:
            now = self.runs.snapshot(run)
            if updates := self._changes(run, before, now):
                yield updates
            before = now
            await asyncio.sleep(TICK)
        if before.state == "failed":
            raise _toast(before.sentence)

    def _going(self, going: bool) -> Updates:
        """While a run goes on its video stays, and only Cancel can be pressed."""
        parts = self.parts
        return {
            parts.video: gr.File(interactive=not going),
            parts.run: gr.Button(interactive=not going),
            parts.cancel: gr.Button(interactive=going),
        }

    def _changes(self, run: Run, before: Snapshot | None, now: Snapshot) -> Updates:
        """What the page must show anew since `before`."""
        parts = self.parts
        updates: Updates = {}
        if before is None or panels.progress(before) != panels.progress(now):
            updates[parts.panel] = panels.progress(now)
        if now.files is None or (before and before.files == now.files):
            return updates
        if before is None or before.files is None:
            updates |= self._cleared()
            updates[parts.panel] = panels.progress(now)
            updates[parts.tracks] = panels.tracks(now.files.result, run.source.name, Path(run.settings.model).name)
            updates[parts.results_file] = gr.DownloadButton(value=now.files.results_json, interactive=True)
        if now.files.overlay:
            updates[parts.overlay_file] = gr.DownloadButton(value=now.files.overlay, interactive=True)
            updates[parts.overlay] = gr.Video(now.files.overlay, visible=True)
            updates[parts.poster] = gr.HTML(visible=False)
        return updates

    def cancel(self, request: gr.Request) -> None:
        """Stop this page's run; what it has done so far arrives where the run is followed."""
        self.runs.cancel(str(request.session_hash))

    def leave(self, request: gr.Request) -> None:
        """The page was closed."""
        self.runs.forget(str(request.session_hash))

    def _cleared(self) -> Updates:
        """The results taken away; the picture of the video stands in their place."""
        parts = self.parts
        gone = gr.DownloadButton(value=None, interactive=False)
        return {
            parts.panel: "",
            parts.tracks: panels.NO_TRACKS,
            parts.overlay: gr.Video(None, visible=False),
            parts.poster: gr.HTML(visible=True),
            parts.overlay_file: gone,
            parts.results_file: gone,
        }


def _toast(sentence: str) -> gr.Error:
    """To be raised after the panel says the same; what the page shows stays. Gradio takes the text for HTML."""
    return gr.Error(escape(sentence, quote=False), duration=TOAST, print_exception=False)


def _advice(choice: Choice) -> str:
    return f'<p class="hint">{escape(choice.advice)}</p>' if choice.advice else ""


def _picture(video: "Video") -> bytes:
    """The first frame as JPEG, at most POSTER_WIDTH wide."""
    import cv2

    frames = video.frames()
    rgb = next(frames).rgb
    height, width = rgb.shape[:2]
    if width > POSTER_WIDTH:
        rgb = cv2.resize(rgb, (POSTER_WIDTH, max(1, height * POSTER_WIDTH // width)), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()
