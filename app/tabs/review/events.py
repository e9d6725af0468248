"""The event handlers of the tab Review: queues, questions and answers, downloads, comparison and import."""

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import msgspec
from cachetools import LRUCache, cached

from tevit.progress import Progress
from tevit.review.decisions import AddTrack, Decision, Redo, Resolve, Undo, decide, subject_of
from tevit.review.queue import Answer
from tevit.review.reviewers import Team, find_foreign, resolve

from ...access import EVERYBODY, Access, visitor_of_event
from ...analysis.service import EvaluationService
from ...page import hint, problem
from ...page import progress as task_progress
from ...player.component import ViewRegistry, payload
from ...projects.project import Project
from ...tasks import Places, QueueFullError, Quota, Task
from ...workspace import DOWNLOAD, QUIET, TICK, Pages, Updates, Workspace, only_another, toast
from . import segmentation, views
from . import session as reviews
from .page_state import ReviewEvent, ReviewPage, custom_answer, predicted_answer, read_event
from .session import ALL_LABELS, DISAGREEMENTS, IndexedLog, Question, ReviewSession
from .views import FILES, ReviewComponents, build_layout, source_dropdown

MAX_SESSIONS = 4  # data sets whose queues stay in memory

Queue = tuple[Sequence[Question], str]
"""Questions, and the filter of the tab Errors that they come from, in words; "" for none."""


def build(page: gr.Blocks, tab: gr.Tab, errors_query: gr.Textbox, workspace: Workspace, registry: ViewRegistry) -> None:
    """Lay the tab out and connect its events. errors_query: the list of the tab Errors to review, as a query."""

    team, access = workspace.team, workspace.access
    handlers = ReviewTab(build_layout(), workspace.of, registry, workspace.evaluations, team, access)
    handlers.connect(page, tab, errors_query)


class ReviewTab:
    """Handlers of the tab's events. project: returns the data set of the page that sent the request. team: who reviews;
    None: everybody. access: what visitors may do."""

    def __init__(
        self,
        components: ReviewComponents,
        project: Callable[[gr.Request], Project],
        registry: ViewRegistry,
        evaluations: EvaluationService,
        team: Team | None = None,
        access: Access = EVERYBODY,
    ):
        def key(project: Project) -> object:
            return str(project.folder), msgspec.json.encode(project.models)

        session = cached(LRUCache(MAX_SESSIONS), key, threading.Lock())(ReviewSession)
        self.components, self.project = components, project
        self.registry, self.evaluations, self.access = registry, evaluations, access
        self._comparisons = Places(Quota(2, 1), "comparisons")
        # Of the data set as it is when the page first opens the tab: a changed one would have another queue.
        self.page = Pages(lambda request: self._new_page(request, session(project(request)), team or Team())).of

    def _new_page(self, request: gr.Request, session: ReviewSession, team: Team) -> ReviewPage:
        signed = self.access.name(request)
        return ReviewPage(session, self.registry, team, signed, signed, visitor_of_event(request))

    def connect(self, page: gr.Blocks, tab: gr.Tab, errors_query: gr.Textbox) -> None:
        """Connect every event; none is a public endpoint."""
        c = self.components
        shown = [c.notices, c.chip, c.player, c.prompt, c.queue, c.progress]
        page.load(self.load, None, c.source, **QUIET)
        tab.select(self.open_tab, None, shown, **QUIET)
        errors_query.change(self.review_errors, errors_query, shown, **QUIET)
        c.source.input(self.choose_source, c.source, shown, trigger_mode="always_last", **QUIET)
        c.chip.click(self.change_source, c.source, shown, **QUIET)
        c.prompt.select(self.on_event, None, shown, trigger_mode="multiple", **QUIET)
        for name, button in zip(FILES, c.files, strict=True):
            written = button.click(self._writer(name), None, [c.message, c.download], trigger_mode="multiple", **QUIET)
            written.success(None, c.download, None, js=DOWNLOAD)
        c.compare.click(self.compare, None, [c.comparison, c.compare, c.cancel], **QUIET)
        c.cancel.click(self.cancel, None, None, **QUIET)
        c.log.upload(self.import_log, c.log, [c.message, c.apply_import], **QUIET)
        c.apply_import.click(self.apply_import, None, [c.message, c.apply_import], **QUIET)

    # --- queues

    def load(self, request: gr.Request) -> gr.Dropdown:
        """The queues of the page's data set."""
        return source_dropdown([model.name for model in self.project(request).models])

    async def open_tab(self, request: gr.Request) -> AsyncIterator[Updates]:
        """Show the page's queue again; at first the first model's disagreements."""
        page = self.page(request)
        if page.errors_filter or page.queue:
            yield await asyncio.to_thread(self._refresh, page)
            return
        models = page.session.models
        async for updates in self._start_queue_of(page, page.source or (models[0] if models else ALL_LABELS)):
            yield updates

    @only_another(lambda tab, request: (tab.page(request).source,), lambda tab: {tab.components.prompt: gr.skip()})
    async def choose_source(self, source: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """Another queue was chosen; of the one that is open, place and answers stay."""
        async for updates in self.change_source(source, request):
            yield updates

    async def change_source(self, source: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """Begin another queue; also where the filter of the tab Errors is removed."""
        async for updates in self._start_queue_of(self.page(request), source or ALL_LABELS):
            yield updates

    async def review_errors(self, query: str, request: gr.Request) -> AsyncIterator[Updates]:
        """Review the list of the tab Errors."""
        page = self.page(request)
        page.errors_filter = "Errors"
        async for updates in self._start_queue(page, lambda _: page.session.queue_of_errors(self.evaluations, query)):
            yield updates

    async def _start_queue_of(self, page: ReviewPage, source: str) -> AsyncIterator[Updates]:
        page.source, page.errors_filter = source, ""

        def make(progress: Progress) -> Queue:
            if source == DISAGREEMENTS:
                return page.session.disagreements(page.team, page.reviewer), ""
            return page.session.queue(source, progress), ""

        async for updates in self._start_queue(page, make):
            yield updates

    async def _start_queue(self, page: ReviewPage, make: Callable[[Progress], Queue]) -> AsyncIterator[Updates]:
        """Compute a queue and show its first undecided question, unless another queue was started meanwhile."""
        c = self.components
        page.queues += 1
        started = page.queues
        if page.session.missing_input:
            yield {c.prompt: gr.HTML(value=self._no_question(page, page.session.missing_input)), c.queue: ""}
            return

        def compute(progress: Progress) -> tuple[Queue, Sequence[str]]:
            notices = list(page.session.store.notices)
            return make(lambda stage, done, total: progress(f"The queue: {stage}", done, total)), notices

        task: Task[tuple[Queue, Sequence[str]]] = Task("review queue", compute, unit="share")
        task.progress("The queue", 0, None)
        running = asyncio.create_task(asyncio.to_thread(task.run))
        while not running.done():
            if started == page.queues:
                yield {c.queue: task_progress(task.status())}
            await asyncio.wait([running], timeout=TICK)
        if started != page.queues:
            return
        status = task.status()
        if status.result is not None:
            # Not part of the task: it changes the page's view, so that its updates must never be dropped.
            yield await asyncio.to_thread(self.first_question, page, *status.result)
            return
        page.source = None  # so that the same one can be chosen again
        yield {c.prompt: gr.HTML(value=self._no_question(page, status.message)), c.queue: ""}
        raise toast(status.message)

    def first_question(self, page: ReviewPage, queue: Queue, notices: Sequence[str]) -> Updates:
        """Begin a queue with its first undecided question. notices: messages to show above it."""
        c = self.components
        questions, page.errors_filter = queue
        chip = gr.Button(f"{page.errors_filter}  \N{MULTIPLICATION SIGN}", visible=bool(page.errors_filter))
        updates: Updates = {c.notices: problem(*notices), c.chip: chip}
        with page.lock:
            page.questions = tuple(questions)
            return updates | self._begin(page)

    def _begin(self, page: ReviewPage) -> Updates:
        """The first undecided question of the reviewer's part of the queue."""
        page.share_out()
        if page.queue:
            with page.log() as log:
                page.place = page.next_undecided(log, 0) or 0
                return self._show_question(page, {})
        names = page.team.names
        message, list_hint = "There is nothing to review.", "Labels and predictions agree."
        if page.source == DISAGREEMENTS and not page.errors_filter:
            list_hint = "No question was decided differently by two reviewers, or all of these are resolved."
        elif page.questions and page.reviewer not in names:
            message, list_hint = "Who are you? Choose your name.", f"Shared out among {', '.join(names)}."
        elif page.questions:
            list_hint = f"None of the {len(page.questions)} questions is yours."
        return {
            self.components.prompt: gr.HTML(value=self._no_question(page, message)),
            self.components.queue: hint(list_hint),
        }

    def _no_question(self, page: ReviewPage, message: str) -> dict[str, Any]:
        page.turn += 1
        return {"turn": page.turn, "words": message, "people": page.people()}

    # --- questions and answers

    def on_event(self, request: gr.Request, event: gr.EventData) -> Updates:
        """A key or a button of the question, a row of the queue, or a look for other reviewers' decisions."""
        page = self.page(request)
        with page.lock:
            try:
                received = read_event(event._data)
                if received.kind == "reviewer":
                    return self._change_reviewer(page, received.reviewer)
                if not page.queue:
                    return {self.components.prompt: gr.skip()}
                if received.kind == "look":
                    return self._refresh(page)
                if received.kind in ("save", "resolve", "undo", "redo"):
                    self._check_reviewer(page, request)
                message = self._apply(page, received)
                return self._show_question(page, message, moved=received.kind != "labels" and "stays" not in message)
            except (ValueError, OSError) as error:
                return self._show_question(page, {"kind": "error", "text": str(error)}, moved=False)

    def _check_reviewer(self, page: ReviewPage, request: gr.Request) -> None:
        """Raises: PermissionError where they may not decide, or have signed in or out since the page was loaded."""
        name = self.access.name(request)
        if name != page.signed:
            raise PermissionError("You have signed in or out since this page was loaded: load it again.")
        self.access.check_review(name)

    def _change_reviewer(self, page: ReviewPage, name: str) -> Updates:
        """The page's reviewer is known, or another one: of a queue that is shared out another part is shown."""
        if page.reviewer == (page.signed or name):
            return {self.components.prompt: gr.skip()}
        page.change_reviewer(name)
        if page.team.per_question and page.questions:
            return self._begin(page)
        return {self.components.prompt: gr.skip()}

    def _apply(self, page: ReviewPage, event: ReviewEvent) -> dict[str, str]:
        """Carry an event out; returns the message for the page. Raises: ValueError, OSError: then nothing was saved."""
        if event.kind == "go":
            page.place = page.place_of(event.item) if event.item else min(max(event.place, 0), len(page.queue) - 1)
        elif event.kind in ("next", "previous"):
            page.place = (page.place + (1 if event.kind == "next" else -1)) % len(page.queue)
        elif event.kind == "labels":
            page.labels = "corrected" if page.labels == "original" else "original"
            return {"kind": "note", "text": f"the player shows the {page.labels} labels"}
        else:
            page.change_reviewer(event.reviewer)
            page.team.check(page.reviewer)
            act = {"save": self._save, "resolve": self._resolve}.get(event.kind, self._undo_or_redo)
            return act(page, event)
        return {}

    def _save(self, page: ReviewPage, event: ReviewEvent) -> dict[str, str]:
        if event.item != page.question_name:
            raise ValueError("This question is not the one that is open any more: nothing was saved.")
        with page.log() as log:
            decision = self._decision(page, event, log)
        page.session.store.extend([decision, *self._resolving(page, decision)])
        with page.log() as log:
            place = page.next_undecided(log, page.place + 1)
        kind = event.extra.get("do") if event.extra is not None else ""
        if kind in ("merge", "cut") or (kind == "take" and subject_of(decision) != page.key):
            page.labels = "corrected"
            words = views.describe(decision, page.session.project.dataset.categories)
            return {"kind": "saved", "text": f"saved: {words}. The player shows the corrected labels.", "stays": "yes"}
        if place is None:
            return {"kind": "saved", "text": f"saved; all {len(page.queue)} are decided"}
        page.place = place
        return {"kind": "saved", "text": "saved"}

    def _decision(self, page: ReviewPage, event: ReviewEvent, log: IndexedLog) -> Decision:
        if event.extra is not None and event.extra.get("do") in segmentation.KINDS:
            return segmentation.decide_tracks(page, event.extra, event.note, log)
        return self._answer(page, event, log).decision(page.session.hash, page.reviewer, event.note)

    def _resolving(self, page: ReviewPage, decision: Decision) -> list[Decision]:
        """A new decision on what others disagree about counts instead of theirs."""
        disagreement = page.question.disagreement
        if disagreement is None or isinstance(decision.action, Resolve):
            return []
        resolve = Resolve(decision.id, tuple(d.id for d in disagreement.decisions))
        return [decide(page.session.hash, decision.video_id, None, resolve, page.reviewer)]

    def _answer(self, page: ReviewPage, event: ReviewEvent, log: IndexedLog) -> Answer:
        added = log.added_track(page.key)  # has made the question's prediction a label
        if event.extra is not None:
            info, predicted = page.session.project.info(page.item.video_id), predicted_answer(page.answers.values())
            present = page.label_masks(log) if event.extra.get("do") == "masks" else ()
            return custom_answer(event.extra, page.item, info, predicted, added.id if added else None, present)
        if event.key not in page.answers:
            raise ValueError("Choose an answer first: its number is its key.")
        answer = page.answers[event.key]
        if added is not None and added.reviewer == page.reviewer and isinstance(answer.action, AddTrack):
            raise ValueError("You have added it already: undo that first, or correct what was added.")
        return answer

    def _resolve(self, page: ReviewPage, event: ReviewEvent) -> dict[str, str]:
        with page.log() as log:
            disagreement = next((f for f in log.disagreements if event.item in {d.id for d in f.decisions}), None)
        if disagreement is None:
            raise ValueError("There is no such disagreement any more.")
        action = resolve(disagreement, event.item)
        page.session.store.append(decide(page.session.hash, disagreement.video_id, None, action, page.reviewer))
        return {"kind": "saved", "text": "saved: the disagreement is resolved"}

    def _undo_or_redo(self, page: ReviewPage, event: ReviewEvent) -> dict[str, str]:
        session, undo = page.session, event.kind == "undo"
        target = self._undo_of_admin(page) if undo and page.signed in self.access.admins else None
        target = target or session.undo_or_redo(page.reviewer, undo)
        if target is None:
            return {"kind": "note", "text": f"There is nothing of {page.reviewer} to {event.kind}."}
        if (key := subject_of(target)) in page.keys:
            page.place = page.keys.index(key)
        words = views.describe(target, session.project.dataset.categories)
        return {"kind": "saved", "text": f"saved: {'undone' if undo else 'done again'} “{words}”"}

    def _undo_of_admin(self, page: ReviewPage) -> Decision | None:
        """Undo others' latest decision on the open question; None where there is none, or the admin has decided it."""
        with page.log() as log:
            own = [d for d in log.log if subject_of(d) == page.key and d.id not in log.undone]
            own = [d for d in own if not isinstance(d.action, Undo | Redo | Resolve)]
        if not own or any(d.reviewer == page.reviewer for d in own):
            return None
        page.session.store.append(decide(page.session.hash, own[-1].video_id, None, Undo(own[-1].id), page.reviewer))
        return own[-1]

    def _refresh(self, page: ReviewPage) -> Updates:
        """Show other reviewers' decisions; no update without new ones."""
        with page.lock:
            if page.queue and page.session.store.count() != page.decisions:
                return self._show_question(page, {}, moved=False)
        return {self.components.prompt: gr.skip()}

    def _show_question(self, page: ReviewPage, message: dict[str, str], moved: bool = True) -> Updates:
        """The current question, the player on its frame and the queue around it. moved: False: the player's frame and
        selection stay."""
        c, session = self.components, page.session
        with page.log() as log:
            updates = self._update_player(page, log, moved)
            page.decisions, page.turn = len(log.log), page.turn + 1
            decided = sum(page.is_decided(log, place) for place in range(len(page.queue)))
            names = session.project.dataset.categories
            updates[c.prompt] = gr.HTML(value=page.question_value(log) | {"message": message, "moved": moved})
            updates[c.queue] = page.queue_html(log, decided)
            updates[c.progress] = views.progress(log, decided, len(page.queue), names)
        return updates

    def _update_player(self, page: ReviewPage, log: IndexedLog, moved: bool) -> Updates:
        """Show the question's frame with its tracks selected; a video that is shown already is not loaded again."""
        changed = page.update_view(log)
        assert page.view is not None
        selection, shown = page.selection(log), page.shown_tracks()
        command = {"pair": selection, "at": time.monotonic()} | ({"seek": page.item.frame} if moved else {})
        if changed:
            value = payload(page.view) | {"at": page.item.frame, "pair": selection, "labels": "pair", "zoom": True}
            return {self.components.player: gr.HTML(value=value, shown=shown, command=command)}
        return {self.components.player: gr.HTML(shown=shown, command=command)} if moved else {}

    # --- results

    def _writer(self, name: str) -> Callable[[gr.Request], AsyncIterator[Updates]]:
        """Writes one of FILES and downloads it under the token of the page's view."""

        async def write(request: gr.Request) -> AsyncIterator[Updates]:
            page, c = self.page(request), self.components
            if page.view is None or self.registry.get(page.view.token) is None:
                raise toast("Open a question first.")
            view = page.view
            folder = self.registry.folder(view.token)
            if folder is None:  # among the server's own, which are removed at its end
                folder = Path(tempfile.mkdtemp(prefix="review-", dir=os.environ.get("GRADIO_TEMP_DIR")))
            self.registry.put(view, folder, page.session.project.name, page.visitor)
            yield {c.message: hint(f"Writing {name} …")}
            try:
                left_out = await asyncio.to_thread(reviews.write_file, name, page.session, folder)
            except (OSError, ValueError) as error:
                yield {c.message: problem(str(error))}
                raise toast(str(error)) from error
            title = f"{name}: {len(left_out)} decisions or disagreements were not applied."
            # The time makes a repeated address a new one.
            address = f"/studio/shows/{view.token}/files/{name}?{time.monotonic()}"
            yield {c.message: views.messages(title, left_out) if left_out else "", c.download: address}

        return write

    async def compare(self, request: gr.Request) -> AsyncIterator[Updates]:
        """AP of each model with the original and the corrected labels."""
        page, c = self.page(request), self.components
        if page.session.missing_input or not page.session.models:
            yield {c.comparison: problem("AP needs a data set and at least one model's predictions.")}
            return
        try:
            with self._comparisons.taken(page.visitor):
                async for updates in self._compare(page):
                    yield updates
        except QueueFullError as error:
            yield {c.comparison: problem(str(error))}

    async def _compare(self, page: ReviewPage) -> AsyncIterator[Updates]:
        c = self.components
        with tempfile.TemporaryDirectory(prefix="review-") as folder:
            work = partial(reviews.compare_labels, page.session, Path(folder))
            task = page.comparison = Task("AP before and after", work, unit="share")
            task.progress("starting", 0, None)
            running = asyncio.create_task(asyncio.to_thread(task.run))
            buttons = {c.compare: gr.Button(visible=False), c.cancel: gr.Button(visible=True)}
            while not running.done():
                yield {c.comparison: task_progress(task.status()), **buttons}
                await asyncio.wait([running], timeout=TICK)
        status = task.status()
        if status.result is not None:
            html = views.comparison(*status.result)
        else:
            html = hint(views.CANCELLED) if status.state == "cancelled" else problem(status.message)
        yield {c.comparison: html, c.compare: gr.Button(visible=True), c.cancel: gr.Button(visible=False)}

    def cancel(self, request: gr.Request) -> None:
        """Stop the comparison at the next video."""
        task = self.page(request).comparison
        if task is not None:
            task.cancel()

    # --- import

    async def import_log(self, path: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        """Take over an uploaded log where all of it fits these labels; otherwise report what fits and what does not."""
        page, c = self.page(request), self.components
        if not path:
            yield {c.message: gr.skip()}
            return
        page.importable = ()
        yield {c.message: hint("Reading the decisions …"), c.apply_import: gr.Button(visible=False)}

        def read() -> reviews.ImportedLog:
            if page.session.missing_input:
                raise ValueError(page.session.missing_input)
            self._check_reviewer(page, request)
            log = reviews.read_import(page.session, Path(path).read_bytes(), Path(path).name)
            self._check_import(page, log)
            if log.conflicts:
                ids = ", ".join(log.conflicts[:5])
                raise ValueError(f"{log.name}: the log has other decisions under the ids {ids}.")
            return log

        try:
            log = await asyncio.to_thread(read)
            if not log.needs_confirmation:
                count = await asyncio.to_thread(page.session.store.extend, log.new)
                yield {c.message: views.messages(f"{log.title} {count} were saved.")}
                return
        except (OSError, ValueError) as error:
            yield {c.message: problem(*str(error).splitlines())}
            raise toast(str(error).splitlines()[0]) from error
        page.importable, count = log.applicable, len(log.applicable)
        label = f"Take only the {count} that fit" if log.not_applicable else f"Take these {count}"
        names = page.session.project.dataset.categories
        report = views.import_report(log.title, log.applicable, log.not_applicable, names)
        yield {c.message: report, c.apply_import: gr.Button(label, visible=count > 0)}

    def _check_import(self, page: ReviewPage, log: reviews.ImportedLog) -> None:
        """Raises: PermissionError where a signed-in reviewer brings along what only others or an admin may do."""
        if self.access.signs_in and page.signed not in self.access.admins:
            fault = find_foreign(page.session.store.decisions(), log.new, page.signed)
            if fault:
                raise PermissionError(f"{log.name}: {fault} An admin may upload it. Nothing was saved.")

    async def apply_import(self, request: gr.Request) -> AsyncIterator[Updates]:
        """Take over those decisions of the uploaded log that fit."""
        page, c = self.page(request), self.components
        decisions, page.importable = page.importable, ()
        yield {c.apply_import: gr.Button(visible=False)}
        try:
            self._check_reviewer(page, request)
            count = await asyncio.to_thread(page.session.store.extend, decisions)
            yield {c.message: views.messages(f"Of the log what fits was taken. {count} were saved.")}
        except (OSError, ValueError) as error:
            yield {c.message: problem(str(error))}
            raise toast(str(error)) from error
