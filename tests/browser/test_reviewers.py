"""The tab Review with several people: a shared queue, agreement, disagreements; tracks merged, cut and replaced on the
lanes."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.test_review import (
    LABELS,
    PREDICTIONS,
    SHAPES,
    Server,
    expect_decided,
    expect_saved,
    expect_settled,
    go_to,
    log_of,
    message,
    player,
    position,
    review_all_tracks,
    serve,
)
from tevit.review import LogState, apply
from tevit.review.decisions import AcceptMasks, Decision, MergeTracks, SplitTrack

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("reviewers")
    names = folder / "names.txt"
    names.write_text("anna\nben\neve\n")
    data = ("--dataset", LABELS, "--frames", SHAPES, "--predictions", PREDICTIONS)
    with serve(folder, *data, "--reviewers", names, "--reviewers-per-question", "2") as server:
        yield server


@contextmanager
def open_review_as(browser: Browser, server: Server, name: str) -> Iterator[Page]:
    """The tab in a browser of this person's own."""
    context, failures = browser.new_context(), []
    page = context.new_page()
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(server.url)
    page.get_by_role("tab", name="Review").click()
    expect(page.locator(".prompt-question")).to_have_text("Who are you? Choose your name.", timeout=60_000)
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator("#review-player .lanes")).to_be_hidden()
    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_role("combobox", name="Reviewer").select_option(name)
    expect(position(page)).to_contain_text(" of ")
    expect_settled(page)
    yield page
    context.close()
    assert failures == []


@pytest.fixture(scope="module")
def reviewers(browser: Browser, server: Server) -> Iterator[dict[str, Page]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(open_review_as(browser, server, name)) for name in ("anna", "ben")}


def questions(page: Page) -> list[str]:
    expect(page.locator(".queue .name").first).to_be_attached()
    return page.locator(".queue .name").evaluate_all(
        "all => all.map(e => e.textContent.trim().replace(/^\\d+\\. /, ''))"
    )


def place_of(page: Page, question: str) -> int:
    return questions(page).index(question)


def save_answer(page: Page, answer: str) -> None:
    """Save the answer whose label begins so."""
    page.get_by_role("radio", name=re.compile(answer)).click()
    page.get_by_role("button", name="Save decision").click()


def reload(page: Page) -> None:
    page.reload()
    page.get_by_role("tab", name="Review").click()
    expect(position(page)).to_contain_text(" of ", timeout=60_000)
    expect_settled(page)


def lane(page: Page, name: str) -> Locator:
    return page.locator("#review-player").get_by_role("row", name=name, exact=True)


def test_a_queue_is_shared_out_and_the_name_is_kept(reviewers: dict[str, Page]):
    anna, ben = reviewers["anna"], reviewers["ben"]
    expect(anna.locator(".who-part")).to_have_text(
        re.compile(r"Your part: \d+ of \d+ questions; each is decided by two")
    )
    numbers = [int(n) for n in re.findall(r"\d+", anna.locator(".who-part").inner_text())]
    assert 0 < numbers[0] < numbers[1]
    shared = set(questions(anna)) & set(questions(ben))
    assert shared and set(questions(anna)) - shared and set(questions(ben)) - shared
    reload(anna)
    expect(anna.get_by_role("combobox", name="Reviewer")).to_have_value("anna")


def test_two_decide_without_seeing_each_other_and_the_disagreement_is_a_question(
    reviewers: dict[str, Page], tmp_path: Path
):
    anna, ben = reviewers["anna"], reviewers["ben"]
    shared = [name for name in questions(anna) if name in questions(ben) and re.match(r"Is label \d+ an? ", name)]
    first, second = shared[0], shared[1]
    for question in (first, second):
        go_to(anna, place_of(anna, question))
        save_answer(anna, "label is right|Nothing is missing")
        expect_saved(anna)
    expect_decided(anna, 2)
    reload(ben)
    expect_decided(ben, 0)
    go_to(ben, place_of(ben, first))
    expect(ben.locator(".prompt-decided")).to_have_count(0)
    expect(ben.locator("#review-queue")).not_to_contain_text("anna")
    expect(ben.locator(".prompt-labels")).to_be_hidden()
    save_answer(ben, "label is right|Nothing is missing")
    expect_decided(ben, 1)
    expect(ben.locator("#review-progress")).not_to_contain_text("Reviewers disagree")
    go_to(ben, place_of(ben, second))
    save_answer(ben, "Both are wrong")
    expect(ben.locator("#review-progress")).to_contain_text("Reviewers disagree about one object")
    agreement = ben.locator("#review-progress tr", has_text="anna, ben")
    expect(agreement.locator("td")).to_have_text(["anna, ben", "2", "1", "0.00", "none"])
    expect(ben.locator("#review-progress")).to_contain_text("The log has 4 lines: 4 decisions.")
    ben.get_by_label("What to review").click()
    ben.get_by_role("option", name="disagreements of the reviewers").click()
    expect(ben.locator(".prompt-question")).to_contain_text("anna, ben disagree about")
    expect(position(ben)).to_have_text(re.compile("^1 of 1 "))
    save_answer(ben, "^. anna: label is right")
    expect(message(ben)).to_contain_text("all 1 are decided")
    expect(ben.locator("#review-progress")).not_to_contain_text("Reviewers disagree")
    state = LogState(log_of(ben, tmp_path))
    assert not state.disagreements and {d.reviewer for d in state.effective} == {"anna", "ben"}


def latest_change(page: Page, folder: Path, action: type) -> Decision:
    """The latest decision of this kind; the page has saved it."""
    expect(message(page)).to_contain_text("The player shows the corrected labels.")
    return [d for d in log_of(page, folder) if isinstance(d.action, action)][-1]


def test_a_lane_dragged_onto_another_merges_after_confirmation_and_undo_takes_it_back(
    reviewers: dict[str, Page], tmp_path: Path
):
    anna = reviewers["anna"]
    review_all_tracks(anna)
    rows = anna.locator("#review-player .lanes-group").first.locator(".lane")
    one, other = (rows.nth(i).get_attribute("aria-label") or "" for i in (0, 1))
    lane(anna, other).locator(".lane-name").drag_to(lane(anna, one).locator(".lane-name"))
    dialog = anna.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Merge track {other.split()[0]} (")
    expect(dialog).to_contain_text("become masks of track")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    lane(anna, other).locator(".lane-name").drag_to(lane(anna, one).locator(".lane-name"))
    expect(dialog).to_be_visible()
    if dialog.get_by_role("radio").count():
        dialog.get_by_label(f"the mask of {one.split()[0]}").check()
    dialog.get_by_role("button", name="Merge tracks").click()
    decision = latest_change(anna, tmp_path, MergeTracks)
    assert isinstance(decision.action, MergeTracks) and decision.reviewer == "anna"
    assert (decision.action.track, decision.action.other) == (int(one.split()[0]), int(other.split()[0]))
    expect(lane(anna, other)).to_have_count(0)
    corrected = apply(json.loads(LABELS.read_bytes()), [decision])
    assert int(other.split()[0]) not in [a["id"] for a in corrected["annotations"]]
    anna.keyboard.press("Control+z")
    expect(message(anna)).to_contain_text("undone")
    expect(lane(anna, other)).to_have_count(1)
    expect_settled(anna)


def test_a_cut_at_the_playhead(reviewers: dict[str, Page], tmp_path: Path):
    anna = reviewers["anna"]
    rows = anna.locator("#review-player .lanes-group").first.locator(".lane")
    name, before = rows.nth(1).get_attribute("aria-label") or "", rows.count()
    if "selected" not in (lane(anna, name).get_attribute("class") or ""):
        lane(anna, name).locator(".lane-name").click()
    player(anna).focus()
    anna.keyboard.press("End")
    anna.keyboard.press("ArrowLeft")
    anna.keyboard.press("k")
    dialog = anna.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Cut track {name.split()[0]} (")
    dialog.get_by_role("button", name="Cut track").click()
    decision = latest_change(anna, tmp_path, SplitTrack)
    assert isinstance(decision.action, SplitTrack) and decision.action.track == int(name.split()[0])
    expect(rows).to_have_count(before + 1)
    anna.keyboard.press("Control+z")
    expect(message(anna)).to_contain_text("undone")
    expect(rows).to_have_count(before)
    expect_settled(anna)


def test_the_masks_of_a_prediction_of_choice_in_a_range(reviewers: dict[str, Page], tmp_path: Path):
    ben = reviewers["ben"]
    ben.get_by_label("What to review").click()
    ben.get_by_role("option", name="disagreements of tevit_demo").click()
    expect(position(ben)).to_have_text(re.compile(r"^\d+ of \d\d"))
    expect_settled(ben)
    for place in range(12):
        go_to(ben, place)
        if ben.get_by_label("Take the masks of").count():
            break
    ruler = ben.locator("#review-player .ruler")
    ruler.drag_to(ruler, source_position={"x": 40, "y": 8}, target_position={"x": 160, "y": 8})
    choice = ben.get_by_label("Take the masks of")
    expect(choice.locator("option").first).to_have_text(re.compile(r"take the masks \(frames \d+ to \d+\) of …"))
    place = choice.locator("option").last.get_attribute("value") or ""
    choice.select_option(place)
    expect(message(ben)).to_contain_text(f"take the masks of prediction {place}, frames")
    ben.get_by_role("button", name="Save decision").click()
    expect_saved(ben)
    decision = [d for d in log_of(ben, tmp_path) if isinstance(d.action, AcceptMasks)][-1]
    assert decision.prediction is not None and decision.prediction.place == int(place)
    assert isinstance(decision.action, AcceptMasks) and decision.action.first > 0
