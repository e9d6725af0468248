"""The tab `Segment`: choose a video and a model, run, watch, cancel; then select tracks and download files."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from tevit.configs import MODELS
from tevit.results import VideoResult

from ...access import EVERYBODY, Access, arrival_of_event, visitor_of_event
from ...page import hint, note, problem, progress
from ...player.component import PlayerView, payload, read_event
from ...player.proxy import LEFT_SECONDS, PosterFrame, ProxyTask, VideoSource
from ...storage.results import Settings, StoredResult
from ...tasks import Places, QueueFullError, Quota, Task, TaskStatus
from ...workspace import DOWNLOAD, QUIET, TICK, Pages, Updates, follow_task, only_another, run_task, toast
from . import views
from .models import ModelOption, errors_of, find_model, form, given, model_options, preferred_option, read_form
from .page_state import NAMES, OverlayStyle, Session, TrackFilter, export
from .run import Studio
from .views import ADDRESS, FILTER, SegmentComponents, build_layout, with_errors

if TYPE_CHECKING:
    from tevit.video.reader import Video

MAX_TRACKS = 100
PATIENCE = 0.4  # seconds: a video that is prepared by then needs no poster frame in between
NOTHING_WRITTEN = "Cancelled: nothing was written."


def build(page: gr.Blocks, studio: Studio, access: Access = EVERYBODY) -> None:
    """Build the tab in the open Blocks and bind its events. access: what visitors may do."""
    _SegmentEvents(build_layout([source.name for source in studio.clips]), studio, access).bind(page)


class _SegmentEvents:
    """The tab's event handlers."""

    def __init__(self, components: SegmentComponents, studio: Studio, access: Access = EVERYBODY):
        self.components, self.studio, self.access = components, studio, access
        self._session = Pages(lambda request: Session(visitor=visitor_of_event(request))).of
        self._opening, self._writing = Places(Quota(16, 4), "videos"), Places(Quota(16, 2), "files")

    def bind(self, page: gr.Blocks) -> None:
        """Every event and the components it may change; none is a public endpoint."""
        c, everything = self.components, list(self.components.all())
        about = [c.model, c.advice, c.get, c.run, c.watch, c.estimate]
        opened = page.load(self.offer, None, [*about, c.clip], **QUIET)
        opened.then(self.begin, None, everything, **QUIET)
        c.video.change(self.select_file, [c.video, c.model], everything, trigger_mode="multiple", **QUIET)
        c.clip.input(self.select_clip, [c.clip, c.model], everything, trigger_mode="multiple", **QUIET)
        c.model.input(self.choose_model, None, None, **QUIET)
        c.model.focus(self.look, c.model, about, **QUIET)
        c.watch.tick(self.look, c.model, about, **QUIET)
        for component in (c.model, c.first, c.last):
            component.change(self.advise, [c.model, c.first, c.last], about, **QUIET)
        c.model.change(self.show_parameters, c.model, c.parameters, **QUIET)
        c.parameters.select(self.check_parameters, [c.model, c.parameters], c.parameters, **QUIET)
        downloaded = c.get.click(self.get_weights, c.model, [c.panel, c.cancel, c.get], **QUIET)
        for after in (downloaded.success, downloaded.failure):  # `then` does not follow an event that has failed
            after(self.offer_again, c.model, about, **QUIET)
        settings = [c.model, c.count, c.first, c.last, c.parameters]
        started = c.run.click(self.submit, settings, [c.token, c.panel, c.parameters], **QUIET)
        followed = started.success(self.follow, c.token, everything, **QUIET)
        # Not in the last step of the run's own event: a press of Run before that has ended is dropped.
        for after in (followed.success, followed.failure):
            ended = after(self.show_final, None, everything, **QUIET)
            ended.then(self.advise, [c.model, c.first, c.last], about, **QUIET)
        c.cancel.click(self.cancel, None, None, **QUIET)
        c.token.change(None, c.token, None, js=ADDRESS)
        c.shown.change(None, c.shown, None, js=FILTER)
        shown = [c.player, c.tracks, c.plot, c.classes, c.shown, *c.files]
        filters = [c.score, c.classes, c.max_tracks, c.min_frames]
        for component in filters:
            component.change(self.filter_tracks, filters, shown, trigger_mode="always_last", **QUIET)
        c.player.select(self.on_player_event, None, [*shown, c.first, c.last], trigger_mode="multiple", **QUIET)
        c.tracks.select(self.select_row, None, shown, trigger_mode="multiple", **QUIET)
        c.plot.select(self.seek, None, c.player, trigger_mode="always_last", **QUIET)
        for name, button in zip(NAMES, c.files, strict=True):
            written = button.click(self._exporter(name), None, [c.panel, c.cancel, c.fetch], **QUIET)
            written.success(None, c.fetch, None, js=DOWNLOAD)

    # --- the page opens

    def offer(self, request: gr.Request) -> Updates:
        """Fill the lists, anew at every visit."""
        self.studio.warm()
        self._session(request).model_chosen = False
        return self.offer_again(None, request) | {self.components.clip: gr.Dropdown(value=None)}

    def offer_again(self, model: str | None, request: gr.Request) -> Updates:
        """Fill the list of models, after weights were downloaded too."""
        session = self._session(request)
        options = session.options = model_options(self.studio.checkpoints)
        selected = next((option for option in options if option.value == model), options[0])
        values = [(option.label, option.value) for option in options]
        # Without a value where it stays: it would replace what is chosen before it arrives.
        model_list = gr.Dropdown(values) if selected.value == model else gr.Dropdown(values, value=selected.value)
        return {self.components.model: model_list} | self._advice(selected, session)

    def look(self, model: str | None, request: gr.Request) -> Updates:
        """Fill the list of models again where weights were put into their folder, or removed."""
        if self._session(request).options == model_options(self.studio.checkpoints):
            return {self.components.advice: gr.skip()}
        return self.offer_again(model, request)

    def _advice(self, option: ModelOption, session: Session) -> Updates:
        """What to know of the model; where its weights are missing, the button that downloads them in Run's place."""
        c, missing = self.components, bool(option.get)
        offered = not self.access.public or bool(self.access.admins)  # else nobody may press it
        return {
            c.advice: views.advice(option, session.real_video),
            c.get: gr.Button(option.get or "Get weights", visible=missing and offered, interactive=True),
            c.run: gr.Button(visible=not missing),
            c.watch: gr.Timer(active=missing),
        }

    async def begin(self, request: gr.Request) -> AsyncIterator[Updates]:
        """A link names a run or a stored result; without one the first sample clip is shown."""
        c, session = self.components, self._session(request)
        token = str(dict(request.query_params).get("run", ""))
        if token:
            yield self._restore(str(dict(request.query_params).get("shown", "")), session)
        if token and self.studio.worker.find(token):
            yield {c.token: token} | await asyncio.to_thread(self._of_run, token, session)
            async for updates in self.follow(token, request):
                yield updates
            async for updates in self.show_final(request):
                yield updates
            return
        message = ""
        if token:
            try:
                stored, view = self.studio.stored_view(token, session.visitor)
                session.token = token
                of = f"{stored.name}, {stored.settings.model}."
                panel = note(" ".join(filter(None, [of, stored.sentence, views.TO_RUN_AGAIN])))
                yield self._show(view, session) | self._of_stored(stored, session) | {c.token: token, c.panel: panel}
            except ValueError as error:
                message = str(error)
        if self.studio.clips and (message or not token) and session.wanted is None:  # a fast user may have dropped one
            yield {c.clip: self.studio.clips[0].name}
            async for updates in self._open(self.studio.clips[0], session):
                yield updates
        # A generator that yields nothing would empty every component.
        yield {c.panel: problem(message) if message else gr.skip()}

    def _restore(self, query: str, session: Session) -> Updates:
        """The filter and the range of frames that a link names; what is malformed is ignored."""
        c = self.components
        with suppress(ValueError):
            if query:
                session.restore(query)
        chosen = sorted(session.filter.classes or ())
        return {
            c.score: session.filter.min_score,
            c.classes: gr.Dropdown([(f"class {id}", id) for id in chosen], value=chosen),
            c.max_tracks: session.filter.max_tracks,
            c.min_frames: session.filter.min_frames,
        }

    def _of_run(self, token: str, session: Session) -> Updates:
        """The source of a run of this server, its facts, and the frames that it segments."""
        run = self.studio.worker.find(token)
        if run is None:
            return {}
        session.source = session.wanted = run.source
        try:
            video = run.source.open()
        except (ValueError, OSError):
            return {}  # a file that is no longer there; its result is
        session.remember_size(run.source, video.size_hw)
        facts = views.facts(video.length, video.size_hw, video.fps, video.duration)
        known = run.source.name in [source.name for source in self.studio.clips]
        clip = {self.components.clip: gr.Dropdown(value=run.source.name)} if known else {}
        return {self.components.facts: facts} | clip | self._frames(run.settings, video.length, session)

    def _of_stored(self, stored: StoredResult, session: Session) -> Updates:
        """Facts and frames of a stored result; of the video only the proxy is kept, so that nothing can be run."""
        c, frames = self.components, stored.frames
        seconds = frames.times[-1] - frames.times[0]
        fps = Fraction((frames.length - 1) / seconds).limit_denominator(1001) if seconds else None
        facts = views.facts(frames.length, frames.size_hw, fps, seconds + (float(1 / fps) if fps else 0))
        return {c.facts: facts} | self._frames(stored.settings, frames.length, session)

    def _frames(self, settings: Settings, length: int | None, session: Session) -> Updates:
        """The numbers of the first and the last frame: of the selected range, else of the run."""
        first, last = settings.first, (settings.stop or length or 1) - 1
        if session.range:
            first, last = (settings.first + frame for frame in session.range)
        return {self.components.first: gr.Number(value=first), self.components.last: gr.Number(value=last)}

    # --- selecting a video

    async def select_file(self, path: str | None, model: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """A dropped video; after an unreadable file, or when it is removed, no video is selected."""
        session = self._session(request)
        if session.is_overtaken(arrival_of_event(request)):
            yield {self.components.panel: gr.skip()}
            return
        if path is None:
            instead = session.wanted in self.studio.clips  # a clip was chosen, which empties the upload box
            yield {self.components.panel: gr.skip()} if instead else self._without_video(session)
            return
        async for updates in self._open(VideoSource(Path(path).name, Path(path)), session, model):
            yield updates | {self.components.clip: gr.Dropdown(value=None)}

    def _clip(self, request: gr.Request) -> str | None:
        """The name of the selected video where it is a sample clip."""
        wanted = self._session(request).wanted
        return None if wanted is None or wanted not in self.studio.clips else wanted.name

    @only_another(lambda tab, request: (tab._clip(request),), lambda tab: {tab.components.panel: gr.skip()})
    async def select_clip(self, name: str | None, model: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """A sample clip; the one that is selected keeps its result."""
        if name is None or self._session(request).is_overtaken(arrival_of_event(request)):
            yield {self.components.panel: gr.skip()}
            return
        async for updates in self._open(self.studio.clip(name), self._session(request), model):
            yield updates | {self.components.video: None}

    async def _open(self, source: VideoSource, session: Session, model: str | None = None) -> AsyncIterator[Updates]:
        """Facts at once, the player when the proxy is ready; nothing once another video is selected. Results of the
        previous video are removed.

        model: the selected one, which may change with the video; None: it stays.
        """
        c = self.components
        session.wanted = source
        yield {c.run: gr.Button(interactive=False)}
        try:
            with self._opening.taken(session.visitor):
                video = await asyncio.to_thread(source.open)
            if session.wanted is not source:
                return
            session.remember_size(source, video.size_hw)
            proxy = session.proxy = self.studio.proxies.start(source, session.visitor)
        except (ValueError, OSError) as error:
            if session.wanted is not source:
                return
            message = source.redact(str(error))
            yield self._without_video(session) | {c.panel: problem(message)}
            raise toast(message) from error
        yield {
            **self._clear(session, source),
            c.panel: "",
            c.facts: views.facts(video.length, video.size_hw, video.fps, video.duration),
            c.first: gr.Number(value=0),
            c.last: gr.Number(value=video.length - 1 if video.length else None),
            **self._model_for_video(session, model),
        }
        with proxy.watched(LEFT_SECONDS):
            await asyncio.sleep(PATIENCE)
            if not proxy.over and not session.token:
                poster = await asyncio.to_thread(self._poster, video, source.name, session)
                if session.proxy is proxy and not session.token:
                    yield {c.player: poster}
            async for updates in self._follow_proxy(proxy, session, video.length):
                yield updates

    def _poster(self, video: "Video", name: str, session: Session) -> dict[str, Any]:
        """What the player shows while the proxy is being made."""
        return payload(self.studio.video_view(PosterFrame.from_video(video, name), session.visitor))

    def _without_video(self, session: Session) -> Updates:
        """No video is selected, and nothing can be run."""
        c = self.components
        session.proxy = session.wanted = None
        frames = {c.first: gr.Number(value=0), c.last: gr.Number(value=None)}
        texts = {c.panel: "", c.facts: hint(views.NO_FACTS), c.estimate: ""}
        return self._clear(session, None) | frames | texts | {c.run: gr.Button(interactive=False)}

    def _clear(self, session: Session, source: VideoSource | None) -> Updates:
        """Select a video, or none, and remove the result of the previous one."""
        c = self.components
        session.source, session.token, session.selected, session.view, session.range = source, "", None, None, None
        session.choices = []
        return {
            c.token: "",
            c.shown: "",
            c.player: gr.HTML(value=None, shown=None),
            c.tracks: hint(views.NO_TRACKS),
            c.plot: "",
            c.classes: gr.Dropdown([], value=[]),
            **{button: gr.Button(interactive=False) for button in c.files},
        }

    async def _follow_proxy(
        self, proxy: ProxyTask, session: Session, length: int | None = None
    ) -> AsyncIterator[Updates]:
        """Progress, then the video in the player; nothing once another video is selected or a run begins.

        length: the number of frames that the page knows: the number of the last one may have been changed there.
        """
        c = self.components

        tasks = session.tasks

        def current() -> bool:
            return session.proxy is proxy and not session.token

        def in_panel(content: str) -> Updates:
            # A download of weights that was begun meanwhile writes there.
            return {c.panel: content if session.tasks is tasks else gr.skip()}

        while not (end := proxy.status()).over and current():
            yield in_panel(progress(end))
            await asyncio.sleep(TICK)
        if not current():
            return
        if end.result is None:
            yield in_panel(problem(end.message))
            return
        session.view = self.studio.video_view(end.result, session.visitor)
        panel = in_panel(note(" ".join(end.result.warnings)) if end.result.warnings else "")
        other_length = {c.last: gr.Number(value=end.result.length - 1)} if end.result.length != length else {}
        yield {c.player: payload(session.view)} | other_length | panel

    # --- selecting a model

    def choose_model(self, request: gr.Request) -> None:
        """The model was selected on the page: it stays when the video changes."""
        self._session(request).model_chosen = True

    def _model_for_video(self, session: Session, model: str | None) -> Updates:
        """For a real video a published model, for a clip of the package one that can run; a chosen model stays."""
        if model is None:
            return {self.components.run: gr.Button(interactive=True)}
        options = model_options(self.studio.checkpoints)
        option = next((option for option in options if option.value == model), options[0])
        if not session.model_chosen:
            preferred = preferred_option(options, model) if session.real_video else None
            option = preferred or (options[0] if option.advice and not session.real_video else option)
        # One update of Run: of two that arrive together the first may be lost.
        run = gr.Button(interactive=True, visible=not option.get)
        updates: Updates = {**self._advice(option, session), self.components.run: run}
        if option.value != model:  # else it would replace what is chosen before it arrives
            updates[self.components.model] = gr.Dropdown(value=option.value)
        return updates

    def advise(self, model: str | None, first: float | None, last: float | None, request: gr.Request) -> Updates:
        """Advice on the model, and an estimate of the run where it can run."""
        session = self._session(request)
        option = next((item for item in model_options(self.studio.checkpoints) if item.value == model), None)
        if option is None:
            return {self.components.estimate: "", self.components.advice: ""}
        estimate = ""
        try:
            size_hw = session.size_hw()
            if size_hw is not None and not option.advice and last is not None:
                frames = max(1, int(last) - int(first or 0) + 1)
                estimate = views.estimate(self.studio.worker.speeds.estimate(option.value, size_hw, frames))
        except (ValueError, OSError):
            pass  # a video that cannot be read any more, or is too narrow: the run says so
        return self._advice(option, session) | {self.components.estimate: estimate}

    async def show_parameters(self, model: str | None, request: gr.Request) -> gr.HTML:
        """The fields of the model's parameters, with the values that they had on this page."""
        values = self._session(request).parameters.get(model or "")
        return gr.HTML(value=await asyncio.to_thread(form, model, values))

    def check_parameters(self, model: str | None, values: Any, request: gr.Request) -> Any:
        """What is wrong with the values, beside their fields."""
        if model is None or not isinstance(values, dict) or values.get("model") != model:
            return gr.skip()
        self._session(request).parameters[model] = given(model, values)
        return with_errors(read_form(model, values)[1])

    async def get_weights(self, model: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """Download a published model's weights, or follow the download that another page has begun."""
        if model is None or model not in MODELS:
            raise toast(f"There are no weights to download for {model}.")
        try:
            self.access.check_host("downloading weights", request)
        except PermissionError as error:
            raise toast(str(error)) from error
        yield {self.components.get: gr.Button(interactive=False)}
        task = self._session(request).start(self.studio.downloads.start(model))
        async for updates in follow_task(task, self.components.panel, self.components.cancel):
            yield updates

    # --- running

    async def submit(
        self,
        model: str | None,
        count: float | None,
        first: float | None,
        last: float | None,
        values: Any,
        request: gr.Request,
    ) -> AsyncIterator[Updates]:
        """Queue a run, or resume a cancelled one of the same settings; its token."""
        session, worker = self._session(request), self.studio.worker
        try:
            if session.source is None:
                raise ValueError("Drop a video first.")
            if count is None or not 1 <= count <= MAX_TRACKS:
                raise ValueError(f"Tracks to compute: expected 1 to {MAX_TRACKS}, got {count}.")
            start, end = int(first or 0), None if last is None else int(last)
            if start < 0 or (end is not None and end < start):
                raise ValueError(f"Frames: expected the first one before the last, got {start} to {end}.")
            name = find_model(model, self.studio.checkpoints).value
            parameters, errors = await asyncio.to_thread(read_form, name, values)
            if errors:
                yield {self.components.parameters: with_errors(errors)}
                raise ValueError(" ".join(f"{field}: {error}." for field, error in errors.items()))
            settings = Settings(name, 0.0, int(count), start, None if end is None else end + 1, parameters)
            if not worker.resume(session.token, session.source, settings, session.visitor):
                session.token = worker.submit(session.source, settings, session.visitor)
                session.own = session.token
        except (ValueError, OSError) as error:
            yield {self.components.panel: problem(str(error))}
            raise toast(str(error)) from error
        session.selected = session.range = None
        yield {self.components.token: session.token}

    async def follow(self, token: str, request: gr.Request) -> AsyncIterator[Updates]:
        """Progress and tracks until the run is over. A page that is closed leaves its run."""
        session, c = self._session(request), self.components
        session.token = token
        before: TaskStatus[VideoResult] | None = None
        shown = None  # number of frames whose tracks are on the page
        with self.studio.followed(token):
            yield self._running(True)
            while before is None or not before.over:
                now = self.studio.worker.status(token)
                if now is None or session.token != token:
                    return
                updates: Updates = {} if before == now else {c.panel: progress(now)}
                new = now.result is not None and now.result.length != shown
                if new and (view := self.studio.run_view(token, session.visitor)):
                    shown = view.version
                    updates |= self._show(view, session)
                if updates:
                    yield updates
                before = now
                await asyncio.sleep(TICK)
            if before.state == "failed":
                if (run := self.studio.worker.find(token)) and (errors := errors_of(run.model, before.message)):
                    yield {c.parameters: with_errors(errors)}
                raise toast(before.message)

    async def show_final(self, request: gr.Request) -> AsyncIterator[Updates]:
        """The final tracks once more: events of the video's selection may have arrived later, and the proxy of a long
        video may be ready only now."""
        session, c, waited = self._session(request), self.components, False
        token = session.token
        with self.studio.followed(token):
            while True:
                now, proxy = self.studio.worker.status(token), self.studio.proxy_status(token)
                finished = now is not None and now.over and now.result is not None and session.token == token
                view = self.studio.run_view(token, session.visitor) if finished else None
                # One update with the buttons in it: a later one would overtake what is selected once they can be
                # pressed.
                if now and view:
                    panel = {c.panel: progress(now)} if waited else {}
                    yield self._show(view, session) | self._running(False) | panel
                    return
                if not waited:
                    yield self._running(False)
                    waited = True
                if not finished or proxy is None:
                    return
                yield {c.panel: progress(proxy)}
                if proxy.state == "failed":
                    return
                await asyncio.sleep(TICK)

    def _running(self, running: bool) -> Updates:
        """During a run the video cannot be changed, and only Cancel can be pressed."""
        c = self.components
        return {
            c.video: gr.File(interactive=not running),
            c.clip: gr.Dropdown(interactive=not running),
            c.run: gr.Button(interactive=not running),
            c.cancel: gr.Button(interactive=running),
        }

    def cancel(self, request: gr.Request) -> None:
        """Cancel this page's run, exports and downloads."""
        session = self._session(request)
        for task in session.tasks:
            task.cancel()
        if session.token == session.own or not self.access.public:
            self.studio.worker.cancel(session.token)
        elif session.token:
            raise toast("This run was started on another page: only that one stops it.")

    # --- results

    def _show(self, view: PlayerView, session: Session) -> Updates:
        """Show a view with tracks."""
        session.view = view
        value = payload(view)
        if session.range and session.range[1] < view.length:
            value |= {"range": list(session.range)}
        return self._filtered(session) | {
            self.components.player: gr.HTML(value=value, shown=session.shown(view.layers[0].result))
        }

    def _filtered(self, session: Session) -> Updates:
        """Table and plots of the filtered tracks, the classes to choose from, and which files there are."""
        c = self.components
        if session.result is None:
            return {c.plot: gr.skip()}
        result, tracks = session.filter.apply(session.result), session.result.tracks
        low = sum(track.score < session.filter.min_score for track in tracks)
        table = views.tracks(result, len(tracks), session.selected, low, not session.score_chosen)
        updates: Updates = {c.tracks: table, c.plot: views.plots(result, session.selected), c.shown: session.query}
        if (choices := session.classes()) != session.choices:
            session.choices = choices
            updates[c.classes] = gr.Dropdown(choices)
        anything = bool(session.file_filter.apply(session.result).tracks)
        return updates | {button: gr.Button(interactive=anything) for button in c.files}

    def filter_tracks(
        self,
        score: float,
        classes: list[int] | None,
        max_tracks: float | None,
        min_frames: float | None,
        request: gr.Request,
    ) -> Updates:
        """Show other tracks, without another run."""
        session = self._session(request)
        ids = frozenset(classes) if classes else None
        session.score_chosen |= score != session.filter.min_score
        session.filter = TrackFilter(score, ids, max(1, int(max_tracks or 1)), max(1, int(min_frames or 1)))
        updates = self._filtered(session)
        if session.result is not None:
            updates[self.components.player] = gr.HTML(shown=session.shown(session.result))
        return updates

    def on_player_event(self, request: gr.Request, event: gr.EventData) -> Updates:
        """A track, a range of frames or another style of drawing was selected in the player."""
        c, session = self.components, self._session(request)
        view = session.view
        if view is not None and (action := read_event(event._data, view)) is not None:
            if action.kind == "look":
                session.style = OverlayStyle(action.opacity, action.contours, action.labels)
            if action.kind == "range":
                first, last = action.first, action.last
                session.range = None if first is None or last is None else (first, last)
                first, last = session.range or (0, view.length - 1)
                return {c.first: view.first + first, c.last: view.first + last, c.shown: session.query}
            if action.kind == "track":
                session.selected = action.track
                return self._filtered(session)
        return {c.plot: gr.skip()}

    def select_row(self, request: gr.Request, event: gr.EventData) -> Updates:
        """A row of the table was pressed: select its track, or none where it was selected."""
        session, track = self._session(request), event._data.get("track") if isinstance(event._data, dict) else None
        tracks = session.result.tracks if session.result else ()
        if not isinstance(track, int) or track not in {item.id for item in tracks}:
            return {self.components.plot: gr.skip()}
        session.selected = None if track == session.selected else track
        command = {"select": None if session.selected is None else [0, track], "at": time.monotonic()}
        return self._filtered(session) | {self.components.player: gr.HTML(command=command)}

    def seek(self, event: gr.EventData) -> Any:
        """A plot was clicked at a part of its width, 0 to 1: show that frame."""
        part = event._data.get("part") if isinstance(event._data, dict) else None
        if not isinstance(part, int | float) or not 0 <= part <= 1:
            return gr.skip()
        return gr.HTML(command={"part": float(part), "at": time.monotonic()})

    def _exporter(self, name: str) -> Callable[..., AsyncIterator[Updates]]:
        """The handler of a file's button."""

        async def write(request: gr.Request) -> AsyncIterator[Updates]:
            c, session = self.components, self._session(request)
            token, folder = session.token, self.studio.views.folder(session.token)
            if session.result is None or folder is None:
                raise toast("This result is not kept any more: run it again.")
            result, footage = session.file_filter.apply(session.result), self.studio.footage(token)
            work = partial(export, name, result, folder, footage=footage, style=session.style)
            task = Task(name, lambda progress: work(progress=progress), cancel_message=NOTHING_WRITTEN)
            try:
                with self._writing.taken(session.visitor):
                    async for updates in run_task(session.start(task), c.panel, c.cancel):
                        yield updates
            except QueueFullError as error:
                raise toast(str(error)) from error
            yield {c.fetch: f"/studio/shows/{token}/files/{name}?{time.monotonic()}"}

        return write
