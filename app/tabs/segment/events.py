"""The tab `Segment`: choose a video and a model, run, watch, cancel."""

import asyncio
import time
from collections.abc import AsyncIterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from app import panels
from app.player.component import payload
from app.player.proxy import ProxyTask, VideoSource
from app.session import QUIET, TICK, Pages, Session, Updates, toast, work
from app.storage.results import Settings
from app.tabs.segment.choices import Choice, choices, find
from app.tabs.segment.layout import ADDRESS, SegmentComponents, build_layout
from app.tabs.segment.outcome import Outcome
from app.tabs.segment.run import Snapshot
from app.tabs.segment.studio import Studio

MOST_TRACKS = 100
PATIENCE = 0.4  # seconds: what is prepared by then needs no first picture in between


def build(page: gr.Blocks, studio: Studio) -> None:
    """Lay the tab out in the Blocks that is open and tie its events."""
    _Tab(build_layout([source.name for source in studio.clips]), studio).tie(page)


class _Tab:
    """What happens on the page."""

    def __init__(self, parts: SegmentComponents, studio: Studio):
        self.parts = parts
        self.studio = studio
        self._session = Pages(lambda request: Session()).of
        self._outcome = Outcome(parts, studio, self._session)

    def tie(self, page: gr.Blocks) -> None:
        """Every event and what it may change; none is a public endpoint."""
        parts, everything = self.parts, list(self.parts.all())
        opened = page.load(self.offer, None, [parts.model, parts.advice, parts.get, parts.clip], **QUIET)
        opened.then(self.begin, None, everything, **QUIET)
        parts.video.change(self.look_at_file, parts.video, everything, trigger_mode="multiple", **QUIET)
        parts.clip.input(self.look_at_clip, parts.clip, everything, trigger_mode="multiple", **QUIET)
        self._tie_model()
        inputs = [parts.model, parts.count, parts.first, parts.last]
        started = parts.run.click(self.submit, inputs, [parts.token, parts.panel], **QUIET)
        followed = started.success(self.follow, parts.token, everything, **QUIET)
        # Not in the run's own last step: a press of Run before that has wholly ended is dropped.
        for after in (followed.success, followed.failure):
            after(self.rest, None, everything, **QUIET)
        parts.cancel.click(self.cancel, None, None, **QUIET)
        parts.token.change(None, parts.token, None, js=ADDRESS)
        self._outcome.tie()

    def _tie_model(self) -> None:
        parts = self.parts
        outputs = [parts.advice, parts.get, parts.estimate]
        parts.model.change(self.advise, [parts.model, parts.first, parts.last], outputs, **QUIET)
        for bound in (parts.first, parts.last):
            bound.change(self.advise, [parts.model, parts.first, parts.last], outputs, **QUIET)
        fetched = parts.get.click(self.get_weights, parts.model, [parts.panel, parts.cancel], **QUIET)
        fetched.then(self.offer_again, parts.model, [parts.model, parts.advice, parts.get], **QUIET)

    # --- the page opens and closes

    def offer(self) -> tuple[Any, ...]:
        """Fill the lists anew at every visit."""
        self.studio.warm()
        offered = choices(self.studio.checkpoints)
        models = gr.Dropdown([(choice.label, choice.value) for choice in offered], value=offered[0].value)
        return models, *_advice(offered[0]), gr.Dropdown(value=None)

    def offer_again(self, model: str | None) -> tuple[Any, ...]:
        """After weights have come."""
        offered = choices(self.studio.checkpoints)
        found = next((choice for choice in offered if choice.value == model), offered[0])
        return gr.Dropdown([(choice.label, choice.value) for choice in offered], value=found.value), *_advice(found)

    async def begin(self, request: gr.Request) -> AsyncIterator[Updates]:
        """A link names a run or a stored result; without one a clip is there to try."""
        token = str(dict(request.query_params).get("run", ""))
        if token and self.studio.runs.join(token):
            run = self.studio.runs.find(token)
            self._session(request).source = run.source if run else None
            yield {self.parts.token: token}
            async for updates in self.follow(token, request):
                yield updates
            async for updates in self.rest(request):
                yield updates
            return
        problem = ""
        if token:
            updates, problem = self._stored(token, self._session(request))
            yield updates
        if self.studio.clips and (problem or not token):
            yield {self.parts.clip: self.studio.clips[0].name}
            async for updates in self._look(self.studio.clips[0], request):
                yield updates
        yield {self.parts.panel: panels.problem(problem) if problem else gr.skip()}

    def _nothing(self) -> Updates:
        """What yields nothing at all would empty every component."""
        return {self.parts.panel: gr.skip()}

    def _stored(self, token: str, session: Session) -> tuple[Updates, str]:
        """A result of before; or nothing, and what is wrong with the link."""
        try:
            stored, show = self.studio.stored(token)
        except ValueError as error:
            return self._nothing(), str(error)
        session.token = token
        said = panels.note(f"{stored.name}, {stored.settings.model}. {stored.sentence}")
        return self._outcome.show(show, session) | {self.parts.token: token, self.parts.panel: said}, ""

    # --- a video is chosen

    async def look_at_file(self, path: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """A dropped video; a bad file changes nothing."""
        if path is None:
            yield self._nothing()
            return
        async for updates in self._look(VideoSource(Path(path).name, Path(path)), request):
            yield updates | {self.parts.clip: gr.Dropdown(value=None)}

    async def look_at_clip(self, name: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """One of the clips that are here."""
        if name is None:
            yield self._nothing()
            return
        async for updates in self._look(self.studio.clip(name), request):
            yield updates | {self.parts.video: None}

    async def _look(self, source: VideoSource, request: gr.Request) -> AsyncIterator[Updates]:
        """Facts at once; the player when the video is ready. Results of the one before go."""
        parts, session = self.parts, self._session(request)
        yield {parts.run: gr.Button(interactive=False)}
        try:
            video = await asyncio.to_thread(source.open)
        except (ValueError, OSError) as error:
            sentence = source.redact(str(error))
            yield {parts.panel: panels.problem(sentence), parts.run: gr.Button(interactive=session.looking is not None)}
            raise toast(sentence) from error
        session.source, session.token, session.selected, session.show = source, "", None, None
        preparation = session.looking = self.studio.preparer.start(source)
        yield self._cleared() | {
            parts.facts: panels.facts(video.length, video.size_hw, video.fps, video.duration),
            parts.first: gr.Number(value=0),
            parts.last: gr.Number(value=video.length - 1 if video.length else None),
            parts.run: gr.Button(interactive=True),
        }
        await asyncio.sleep(PATIENCE)
        if not preparation.now.over and not session.token:
            first = payload(await asyncio.to_thread(self.studio.still, video))
            if session.looking is preparation and not session.token:  # it may have taken long
                yield {parts.player: first}
        async for updates in self._prepared(preparation, session):
            yield updates

    async def _prepared(self, preparation: ProxyTask, session: Session) -> AsyncIterator[Updates]:
        """How far it is; the last is what the player shows."""
        parts, began = self.parts, time.monotonic()
        while not preparation.now.over and session.looking is preparation and not session.token:
            await asyncio.sleep(TICK)
            now = preparation.now
            if not session.token and session.looking is preparation:
                yield {parts.panel: panels.preparing(now.done, now.total, time.monotonic() - began)}
        now = preparation.now
        if session.looking is not preparation or session.token:
            return
        if now.footage is None:
            yield {parts.panel: panels.problem(now.sentence)}
            return
        last = gr.Number(value=now.footage.length - 1)
        said = panels.note(" ".join(now.footage.warnings)) if now.footage.warnings else ""
        session.show = self.studio.bare(now.footage)
        yield {parts.player: payload(session.show), parts.panel: said, parts.last: last}

    # --- a model is chosen

    def advise(
        self, model: str | None, first: float | None, last: float | None, request: gr.Request
    ) -> tuple[Any, Any, Any]:
        """What to do where the chosen model cannot run yet, and what a run will take."""
        found = [choice for choice in choices(self.studio.checkpoints) if choice.value == model]
        if not found:
            return "", gr.Button(visible=False), ""
        return *_advice(found[0]), self._estimate(found[0], self._session(request), first, last)

    def _estimate(self, model: Choice, session: Session, first: float | None, last: float | None) -> str:
        try:
            size_hw = session.size_hw()
            if size_hw is None or model.advice or last is None:
                return ""
            frames = max(1, int(last) - int(first or 0) + 1)
            found = self.studio.runs.estimate(model.value, size_hw, frames)
        except (ValueError, OSError):
            return ""
        return panels.estimate(found.seconds, found.gigabytes)

    async def get_weights(self, model: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """Download a published model's weights."""
        from tevit.download import weights

        parts, stop = self.parts, self._session(request).stop
        async for updates in work(parts.panel, parts.cancel, stop, lambda note: weights(str(model), note), "bytes"):
            yield updates

    # --- a run

    async def submit(
        self,
        model: str | None,
        count: float | None,
        first: float | None,
        last: float | None,
        request: gr.Request,
    ) -> AsyncIterator[Updates]:
        """Put the video in line, or go on with what a Cancel has left of the same; the run's token."""
        session = self._session(request)
        try:
            source, settings = self._wanted(session.source, model, count, first, last)
            if not self.studio.runs.again(session.token, source, settings):
                session.token = self.studio.runs.submit(source, settings)
        except (ValueError, OSError) as error:
            yield {self.parts.panel: panels.problem(str(error))}
            raise toast(str(error)) from error
        session.selected = None
        yield {self.parts.token: session.token}

    def _wanted(
        self,
        source: VideoSource | None,
        model: str | None,
        count: float | None,
        first: float | None,
        last: float | None,
    ) -> tuple[VideoSource, Settings]:
        if source is None:
            raise ValueError("Drop a video first.")
        if count is None or not 1 <= count <= MOST_TRACKS:
            raise ValueError(f"Tracks to compute: expected 1 to {MOST_TRACKS}, got {count}.")
        begin, end = int(first or 0), None if last is None else int(last)
        if begin < 0 or (end is not None and end < begin):
            raise ValueError(f"Frames: expected the first one before the last, got {begin} to {end}.")
        stop = None if end is None else end + 1
        return source, Settings(find(model, self.studio.checkpoints).value, 0.0, int(count), begin, stop)

    async def follow(self, token: str, request: gr.Request) -> AsyncIterator[Updates]:
        """Report until the run is over; tracks appear as they come. A page that closes leaves its run."""
        try:
            async for updates in self._reports(token, self._session(request)):
                yield updates
        finally:
            self.studio.runs.leave(token)

    async def _reports(self, token: str, session: Session) -> AsyncIterator[Updates]:
        session.token = token
        yield self._going(True)
        before: Snapshot | None = None
        shown = None  # how many frames' tracks are on the page
        while before is None or not before.over:
            now = self.studio.runs.snapshot(token)
            if now is None or session.token != token:
                return
            updates: Updates = {} if before == now else {self.parts.panel: panels.progress(now)}
            if now.result is not None and now.result.length != shown and (show := self.studio.of_run(token)):
                shown = show.version
                updates |= self._outcome.show(show, session)
            if updates:
                yield updates
            before = now
            await asyncio.sleep(TICK)
        if before.state == "failed":
            raise toast(before.sentence)

    async def rest(self, request: gr.Request) -> AsyncIterator[Updates]:
        """After a run, what it found once more: what the choice of its video still had to say may have come later; of a
        long video the player may not be ready before."""
        session, told, began = self._session(request), False, time.monotonic()
        token = session.token
        while True:
            now, pictures = self.studio.runs.snapshot(token), self.studio.pictures(token)
            found = now is not None and now.over and now.result is not None and session.token == token
            # One update with the buttons in it: a later one would overtake what is chosen once they can be pressed.
            if now and found and (show := self.studio.of_run(token)):
                said = {self.parts.panel: panels.progress(now)} if told else {}
                yield self._outcome.show(show, session) | self._going(False) | said
                return
            if not told:
                yield self._going(False)
                told = True
            if not found or pictures is None:
                return
            if pictures.state == "failed":
                yield {self.parts.panel: panels.problem(pictures.sentence)}
                return
            yield {self.parts.panel: panels.preparing(pictures.done, pictures.total, time.monotonic() - began)}
            await asyncio.sleep(TICK)

    def _going(self, going: bool) -> Updates:
        """While a run goes on its video stays, and only Cancel can be pressed."""
        parts = self.parts
        return {
            parts.video: gr.File(interactive=not going),
            parts.clip: gr.Dropdown(interactive=not going),
            parts.run: gr.Button(interactive=not going),
            parts.cancel: gr.Button(interactive=going),
        }

    def cancel(self, request: gr.Request) -> None:
        """Stop this page's run, export or download; what a run has done so far arrives where it is followed."""
        session = self._session(request)
        session.stop.set()
        self.studio.runs.cancel(session.token)

    def _cleared(self) -> Updates:
        """The results taken away."""
        parts = self.parts
        return {
            parts.token: "",
            parts.panel: "",
            parts.player: gr.HTML(value=None, shown=None),
            parts.tracks: panels.NO_TRACKS,
            parts.plot: panels.NO_PLOT,
            parts.classes: gr.Dropdown([], value=[]),
            **{button: gr.Button(interactive=False) for button in parts.files},
        }


def _advice(choice: Choice) -> tuple[str, Any]:
    """The sentence, and the button that helps."""
    sentence = f'<p class="hint">{escape(choice.advice)}</p>' if choice.advice else ""
    return sentence, gr.Button(visible=bool(choice.advice))
