"""Decisions of people who have signed in: in their own name, undone by them or an admin; none in a public studio."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from msgspec import structs

from app.access import Access, Account, Accounts
from app.analysis.service import EvaluationService
from app.player.component import ViewRegistry
from app.projects.project import BUNDLED, open_project
from app.tabs.review.events import ReviewTab
from app.tabs.review.views import build_layout
from tevit.review import to_line
from tevit.review.decisions import Action, Decision, Keep, Redo, Resolve, Undo, decide

PEOPLE = Accounts({n: Account(n, "admin" if n == "ann" else "user", 2, b"", b"") for n in ("ann", "bob", "eve")})
SIGNED_IN = Access(accounts=PEOPLE, admins=PEOPLE.admins)


def tab_with(access: Access, folder: Path) -> ReviewTab:
    results = BUNDLED / "predictions" / "tevit_demo.json"
    project = open_project(BUNDLED / "valid_with_errors.json", BUNDLED, [results], folder / "project")
    with gr.Blocks():
        service = EvaluationService(folder / "cache", in_process=True)
        return ReviewTab(build_layout(), lambda request: project, ViewRegistry(), service, access=access)


@pytest.fixture
def tab(tmp_path: Path) -> ReviewTab:
    return tab_with(SIGNED_IN, tmp_path)


def run(generator: Any) -> list[Any]:
    """Its updates; in this thread playwright's event loop runs once a browser test has begun."""

    async def collected() -> list[Any]:
        return [updates async for updates in generator]

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, collected()).result()


def request(name: str | None) -> Any:
    return SimpleNamespace(session_hash=f"page of {name}", username=name)


def opened(tab: ReviewTab, name: str | None) -> Any:
    """The request of a page that shows the first question."""
    run(tab.change_source("tevit_demo", request(name)))
    return request(name)


def send(tab: ReviewTab, request: Any, kind: str, **fields: Any) -> str:
    """The page's message after an event."""
    page = tab.page(request)
    key = next(iter(page.answers), "") if kind == "save" else ""
    data = {"kind": kind, "key": key, "item": page.question_name, "reviewer": "somebody else"} | fields
    event: Any = SimpleNamespace(_data=data)
    updates = tab.on_event(request, event)
    return updates[tab.components.prompt].value["message"].get("text", "")


def log(tab: ReviewTab, request: Any) -> tuple[Decision, ...]:
    return tab.page(request).session.store.decisions()


def test_a_decision_has_the_signed_in_name_whatever_the_page_sends(tab: ReviewTab):
    bob = opened(tab, "bob")
    assert send(tab, bob, "save", reviewer="ann").startswith("saved")
    assert [d.reviewer for d in log(tab, bob)] == ["bob"]


def test_only_its_author_or_an_admin_undoes_a_decision(tab: ReviewTab):
    bob, eve, ann = (opened(tab, name) for name in ("bob", "eve", "ann"))
    question = tab.page(bob).question_name
    send(tab, bob, "save")
    assert send(tab, eve, "undo", reviewer="bob") == "There is nothing of eve to undo."
    assert len(log(tab, bob)) == 1
    send(tab, ann, "go", item=question)
    assert send(tab, ann, "undo").startswith("saved: undone")
    undo = log(tab, bob)[-1]
    assert isinstance(undo.action, Undo) and undo.action.decision == log(tab, bob)[0].id and undo.reviewer == "ann"


def test_a_page_decides_for_nobody_who_has_signed_in_since(tab: ReviewTab):
    bob = opened(tab, "bob")
    stolen = SimpleNamespace(session_hash=bob.session_hash, username="eve")
    assert send(tab, stolen, "save") == "You have signed in or out since this page was loaded: load it again."
    assert log(tab, bob) == ()


def test_an_uploaded_log_brings_no_decisions_of_others(tab: ReviewTab, tmp_path: Path):
    bob = opened(tab, "bob")
    send(tab, bob, "save")
    other = tab_with(SIGNED_IN, tmp_path / "other")
    file = tmp_path / "log.jsonl"
    file.write_text("".join(to_line(d) + "\n" for d in log(tab, bob)))
    eve = opened(other, "eve")
    with pytest.raises(gr.Error, match=r"log\.jsonl: Decision \w+ is of bob, not of eve"):
        run(other.import_log(str(file), eve))
    assert log(other, eve) == ()
    run(other.import_log(str(file), opened(other, "bob")))
    assert len(log(other, eve)) == 1
    run(tab.import_log(str(file), opened(tab, "ann")))  # an admin may


@pytest.mark.parametrize(
    ("action", "fault"),
    [
        (Undo("of-bob"), "would undo decision of-bob of bob"),
        (Redo("of-bob"), "would redo decision of-bob of bob"),
        (Resolve(None, ("of-bob",)), r"resolves no disagreement \(it drops of-bob\)"),
        (Keep(), "has the time 2999-01-01T00:00:00Z, which is in the future"),
    ],
)
def test_an_uploaded_log_changes_no_decisions_of_others(tab: ReviewTab, tmp_path: Path, action: Action, fault: str):
    eve = opened(tab, "eve")
    session = tab.page(eve).session
    video = next(iter(session.project.dataset.videos))
    session.store.append(structs.replace(decide(session.hash, video, "unclear", Keep(), "bob"), id="of-bob"))
    new = decide(session.hash, video, "unclear" if isinstance(action, Keep) else None, action, "eve")
    new = structs.replace(new, time="2999-01-01T00:00:00Z") if isinstance(action, Keep) else new
    file = tmp_path / "log.jsonl"
    file.write_text(to_line(new) + "\n")
    with pytest.raises(gr.Error, match=f"Decision {new.id} {fault}"):
        run(tab.import_log(str(file), eve))
    assert len(log(tab, eve)) == 1


def test_a_public_studio_saves_nothing(tmp_path: Path):
    tab = tab_with(Access(public=True), tmp_path)
    visitor = opened(tab, None)
    assert send(tab, visitor, "save") == (
        "This studio is public: labels can be looked at, not changed. Nothing was saved."
    )
    assert send(tab, visitor, "undo").startswith("This studio is public")
    assert log(tab, visitor) == ()


def test_of_who_may_not_decide_no_log_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.tabs.review.session.read_import", lambda *_: pytest.fail("it was read"))
    tab = tab_with(Access(public=True), tmp_path)
    (tmp_path / "log.jsonl").write_bytes(b"{}")
    with pytest.raises(gr.Error, match="labels can be looked at, not changed"):
        run(tab.import_log(str(tmp_path / "log.jsonl"), opened(tab, None)))


def test_comparisons_of_one_visitor_at_the_same_time_are_limited(tab: ReviewTab):
    bob = opened(tab, "bob")
    with tab._comparisons.taken(tab.page(bob).visitor):
        (update,) = run(tab.compare(bob))
    assert "1 comparisons of yours are in the queue" in update[tab.components.comparison]
