"""The tab Review on the bundled set with label errors: questions by keyboard alone, reload, two people, files."""

import csv
import json
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, FloatRect, Locator, Page, expect

from tests.app.storage.test_review_log import edit, filled
from tests.browser.servers import PATIENCE, ROOT, eventually, record_problems, start_server, start_studio
from tests.processes import ForkedProgram, drop_root_override
from tevit.io.ytvis import parse_dataset, read_results
from tevit.masks.ops import decode
from tevit.review import Decision, apply, read_log, to_line
from tevit.review.decisions import AcceptMasks, AddTrack, ChangeClass, DeleteFrames, DeleteTrack, Mask, ReplaceMask

pytestmark = pytest.mark.browser
SHAPES = ROOT / "assets" / "shapes"
LABELS, PREDICTIONS = SHAPES / "valid_with_errors.json", SHAPES / "predictions" / "tevit_demo.json"


@dataclass(frozen=True)
class Server:
    """A studio. folder: where its project and its home lie."""

    url: str
    folder: Path
    process: ForkedProgram | None = None


@contextmanager
def serve(folder: Path, *data: object) -> Iterator[Server]:
    options = (*data, "--project", folder / "project")
    with start_studio(*options, home=folder / "home", errors=folder / "errors") as (url, process):
        yield Server(url, folder, process)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its log was cut off before anything of it was whole."""
    folder = tmp_path_factory.mktemp("review")
    filled(folder / "project", 2).close()
    edit(folder / "project", "DELETE FROM decisions")
    # The other copies of the log, which would restore it, are missing, too.
    (folder / "project" / "decisions.jsonl").unlink()
    shutil.rmtree(folder / "project" / "backups")
    with serve(folder, "--dataset", LABELS, "--frames", SHAPES, "--predictions", PREDICTIONS) as server:
        yield server


@pytest.fixture
def unwritable_server(tmp_path: Path) -> Iterator[Server]:
    """Of the first video the frames and what the demo model sees there, nothing else; in a folder that cannot be
    written."""
    predictions = [one for one in json.loads(PREDICTIONS.read_bytes()) if one["video_id"] == 1]
    (tmp_path / "results.json").write_text(json.dumps(predictions))
    (tmp_path / "frames").symlink_to(SHAPES / "JPEGImages" / "shapes-2001-0000")
    data = ("--predictions", tmp_path / "results.json", "--frames", tmp_path / "frames")
    command = ("tests.browser.fake_studio", *data, "--project", tmp_path / "project")
    (tmp_path / "project").mkdir()
    (tmp_path / "project").chmod(0o555)
    home, errors = tmp_path / "home", tmp_path / "errors"
    with start_server(*command, home=home, errors=errors, before=drop_root_override) as url:
        yield Server(url, tmp_path)
    assert not list((tmp_path / "project").iterdir())


@contextmanager
def open_review_tab(browser: Browser, server: Server, name: str) -> Iterator[Page]:
    """The tab in a browser context of one reviewer; its requests and script errors are checked."""
    problems: list[str] = []
    context = browser.new_context()
    page = context.new_page()
    record_problems(page, server.url, problems)
    page.goto(server.url)
    page.get_by_role("tab", name="Review").click()
    expect(position(page)).to_contain_text(" of ", timeout=60_000)
    expect_settled(page)
    page.get_by_label("Reviewer").fill(name)
    page.keyboard.press("Escape")
    yield page
    context.close()
    assert problems == []


@pytest.fixture(scope="module")
def anna(browser: Browser, server: Server) -> Iterator[Page]:
    """Each test continues where the previous one ended."""
    with open_review_tab(browser, server, "anna") as page:
        yield page


def player(page: Page) -> Locator:
    return page.locator("#review-player").get_by_role("region", name="Video player")


def position(page: Page) -> Locator:
    return page.locator(".prompt-where")


def message(page: Page) -> Locator:
    return page.locator("#review-prompt").get_by_role("status")


# The answer to all that was sent has come, and the player rests on the question's frame with its masks.
SETTLED = """() => {
    const { prompt } = document.querySelector("#review-prompt .prompt-host"), { token, where } = prompt.question;
    const host = [...document.querySelectorAll("#review-player, #review-player *")].find((element) => element.player);
    const player = host?.player, frame = Number(/, frame (\\d+)( ·|$)/.exec(where ?? "")?.[1]);
    return !prompt.waiting && player?.view?.token === token && player.region.dataset.state === "ready"
        && player.region.dataset.frame === String(frame) && player.target === frame && player.masks.has(frame);
}"""


def expect_settled(page: Page) -> None:
    """The question is shown that was gone to last, by prompt and player."""
    page.wait_for_function(SETTLED, timeout=2000 * PATIENCE)


def expect_position(page: Page, number: int) -> None:
    """The question of this number is shown, counted from 1."""
    expect(position(page)).to_have_text(re.compile(rf"^{number} of "))
    expect_settled(page)


def expect_saved(page: Page) -> None:
    """The decision, and the next question is shown."""
    expect(message(page)).to_have_text("saved")
    expect_settled(page)


def answer_keys(page: Page) -> list[str]:
    return [
        key or "" for key in page.locator(".prompt-answers button").evaluate_all("all => all.map(b => b.dataset.key)")
    ]


def expect_decided(page: Page, count: int) -> None:
    expect(page.locator("#review-progress .title strong")).to_contain_text(re.compile(rf"\b{count} of "))


def download(page: Page, name: str, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name, exact=True).click()
    waiting.value.save_as(folder / name)
    return folder / name


def log_of(page: Page, folder: Path) -> list[Decision]:
    return read_log(download(page, "decisions.jsonl", folder))


def go_to(page: Page, place: int) -> None:
    page.locator(f".queue button[data-place='{place}']").click()
    expect_position(page, place + 1)


def review_all_tracks(page: Page) -> None:
    page.get_by_label("What to review").click()
    page.get_by_role("option", name="all tracks of all videos").click()
    expect(page.locator(".prompt-question")).to_contain_text("with the right masks in every frame?")
    expect_settled(page)


def test_twenty_questions_by_keyboard_alone(anna: Page, tmp_path: Path):
    before = json.loads(LABELS.read_bytes())
    expect(anna.get_by_role("alert")).to_contain_text(
        "is cut off: it has 0 decisions of 2: it is kept as review.damaged-"
    )
    expect(anna.get_by_role("button", name="Save decision")).to_be_disabled()
    for number in range(1, 21):
        expect(position(anna)).to_have_text(re.compile(rf"^{number} of "))
        assert answer_keys(anna) == [str(key) for key in range(1, len(answer_keys(anna)) + 1)]
        anna.keyboard.press("2" if number % 2 else "1")
        anna.keyboard.press("Enter")
        expect_decided(anna, number)
    log = log_of(anna, tmp_path)
    assert len(log) == 20 and {d.reviewer for d in log} == {"anna"}
    assert sum(d.verdict == "label is wrong" for d in log) >= 8
    exported = json.loads(download(anna, "corrected.json", tmp_path).read_bytes())
    assert exported == apply(before, log, only_fitting=True)
    assert exported != before and json.loads(LABELS.read_bytes()) == before
    assert list(csv.DictReader(download(anna, "changes.csv", tmp_path).open()))
    assert "20 decisions" in download(anna, "report.html", tmp_path).read_text()


def test_undo_and_keys_pressed_while_saving(anna: Page, tmp_path: Path):
    anna.keyboard.press("Control+z")
    expect(message(anna)).to_contain_text("undone")
    expect_position(anna, 20)
    expect_decided(anna, 19)
    anna.keyboard.press("Control+Shift+z")
    expect(message(anna)).to_contain_text("done again")
    expect_decided(anna, 20)
    anna.get_by_role("button", name="Undo", exact=True).click()
    expect_decided(anna, 19)
    go_to(anna, 20)
    for key in ("1", "Enter", "2", "Enter", "1", "Enter"):
        anna.keyboard.press(key)
    expect_decided(anna, 22)
    log = log_of(anna, tmp_path)
    assert len(log) == 26, "undo and redo are decisions, too"
    assert [d.verdict for d in log[-3:]] == ["label is right", "label is wrong", "label is right"]


def test_an_answer_pressed_before_its_question_has_come_again(anna: Page):
    rows, answers = anna.locator(".queue button"), anna.locator(".prompt-answers button")
    save = anna.get_by_role("button", name="Save decision")
    go_and_answer = """rows => {
        rows[%d].click();
        document.querySelectorAll(".prompt-answers button")[1].click();
    }"""
    current = int(position(anna).inner_text().split()[0]) - 1
    rows.evaluate_all(go_and_answer % current)
    expect(save).to_be_enabled()
    expect(answers.nth(1)).to_have_attribute("aria-checked", "true")
    # The answer of the question that was shown is none of the next one.
    rows.evaluate_all(go_and_answer % (current - 1))
    expect_position(anna, current)
    expect(answers.nth(1)).to_have_attribute("aria-checked", "false")
    expect(save).to_be_disabled()
    go_to(anna, current)


def test_a_correction_and_a_note_begun_before_the_question_has_come_again(anna: Page):
    current, note = int(position(anna).inner_text().split()[0]) - 1, anna.get_by_label("Note", exact=True)
    go_and_begin = """(rows, place) => {
        rows[place].click();
        document.querySelector("[data-extra='Correct the mask']").click();
        document.querySelector(".prompt [aria-label=Note]").focus();
    }"""
    anna.locator(".queue button").evaluate_all(go_and_begin, current)
    anna.keyboard.type("2 masks")
    expect_settled(anna)
    expect(anna.get_by_role("toolbar", name="Mask correction")).to_be_visible()
    expect(note).to_have_value("2 masks")
    expect(note).to_be_focused()
    anna.keyboard.press("Escape")
    expect(note).not_to_be_focused()
    anna.keyboard.press("Escape")
    expect(anna.get_by_role("toolbar", name="Mask correction")).to_be_hidden()
    # Of the question that was shown neither is there at the next one.
    go_to(anna, current - 1)
    expect(note).to_have_value("")
    # A note that is begun before the next question has come is for that one.
    anna.keyboard.press("n")
    anna.keyboard.press("/")
    anna.keyboard.type("3 more")
    expect_position(anna, current + 1)
    expect(note).to_have_value("3 more")
    note.fill("")
    anna.keyboard.press("Escape")


def test_keys_of_the_player_steps_and_notes(anna: Page, tmp_path: Path):
    at, frame = int(position(anna).inner_text().split()[0]), int(position(anna).inner_text().split()[-1])
    expect_settled(anna)
    anna.keyboard.press("ArrowLeft" if frame else "ArrowRight")
    expect(player(anna)).to_have_attribute("data-frame", str(frame - 1 if frame else 1))
    anna.keyboard.press("n")
    expect_position(anna, at + 1)
    anna.get_by_role("button", name="Previous", exact=True).click()
    expect_position(anna, at)
    anna.get_by_role("button", name="Next", exact=True).click()
    expect_position(anna, at + 1)
    anna.keyboard.press("p")
    expect_position(anna, at)
    anna.keyboard.press("Enter")
    expect(message(anna)).to_contain_text("Choose an answer first")
    anna.keyboard.press(answer_keys(anna)[-1])
    anna.keyboard.press("/")
    anna.keyboard.type("1 or 2?")
    anna.keyboard.press("Enter")
    expect_saved(anna)
    last = log_of(anna, tmp_path)[-1]
    assert (last.verdict, last.note) == ("unclear", "1 or 2?")


def test_the_player_shows_corrected_labels(anna: Page, tmp_path: Path):
    place, decision = next((i, d) for i, d in enumerate(log_of(anna, tmp_path)) if isinstance(d.action, DeleteTrack))
    go_to(anna, place)
    labels = anna.get_by_role("group", name="Labels in the player")
    groups = player(anna).get_by_role("rowgroup")
    expect(groups.first).to_have_accessible_name("Ground truth")
    before = sum(label["video_id"] == decision.video_id for label in json.loads(LABELS.read_text())["annotations"])
    expect(groups.first.get_by_role("row")).to_have_count(before)
    anna.keyboard.press("x")
    expect(groups.first).to_have_accessible_name("Corrected")
    changes = [d for d in log_of(anna, tmp_path) if d.video_id == decision.video_id and d.verdict == "label is wrong"]
    expect(labels).to_contain_text(f"{len(changes)} change")
    added = sum(isinstance(d.action, AddTrack) for d in changes)
    gone = sum(isinstance(d.action, DeleteTrack) for d in changes)
    expect(groups.first.get_by_role("row")).to_have_count(before + added - gone)
    labels.get_by_role("button", name="original").click()
    expect(groups.first).to_have_accessible_name("Ground truth")


def test_the_list_of_the_tab_errors_is_reviewed(anna: Page):
    anna.get_by_role("tab", name="Errors").click()
    types = anna.locator("[data-chart=types]")
    types.get_by_role("button", name=re.compile("^missed, ")).click(timeout=60_000)
    expect(anna.locator("#errors-bar .chip")).to_have_count(1)
    expect(anna.locator("#errors-rows li[data-row]").first).to_contain_text("missed")
    first = anna.locator("#errors-rows li[data-row] small").first.inner_text()
    count = int(anna.locator("#errors-bar .count").inner_text().split()[0])
    anna.get_by_role("button", name="Review these").click()
    expect(position(anna)).to_contain_text(f" of {count} ", timeout=60_000)
    chip = anna.get_by_role("button", name="Errors: missed")
    expect(chip).to_be_visible()
    expect(anna.locator(".queue .where").first).to_contain_text(f"missed · {first.split(',')[0]}")
    anna.keyboard.press("1")
    anna.keyboard.press("Enter")
    expect_saved(anna)
    chip.click()
    expect(chip).to_be_hidden()
    expect(position(anna)).not_to_contain_text(f" of {count} ")


def test_two_reviewers_resolve_a_disagreement(anna: Page, browser: Browser, server: Server, tmp_path: Path):
    decided = {str(track) for decision in log_of(anna, tmp_path) for track in decision.tracks}
    with open_review_tab(browser, server, "ben") as ben:
        disagree(anna, ben, undecided_class_question(ben, decided))


def undecided_class_question(page: Page, decided: set[str]) -> int:
    """The place of a question about a label that no other question and no decision is about."""
    names = page.locator(".queue .name").all_inner_texts()
    labels = [set(re.findall(r"(?:labels?|and) (\d+)", name)) for name in names]
    return next(
        place
        for place, name in enumerate(names)
        if re.search(r"Is label \d+ an? ", name)
        and sum(bool(labels[place] & other) for other in [*labels, decided]) == 1
    )


def disagree(anna: Page, ben: Page, place: int) -> None:
    for page in (ben, anna):
        go_to(page, place)
    anna.keyboard.press("1")
    anna.keyboard.press("Enter")
    expect_saved(anna)
    expect(position(ben)).to_contain_text("anna: label is right")
    ben.keyboard.press("2")
    ben.keyboard.press("Enter")
    expect(message(ben)).to_have_text("saved")
    expect(anna.locator(".disagreements")).to_contain_text("ben: label is wrong")
    anna.locator(".disagreements li li", has_text="ben").get_by_role("button", name="Keep this one").click()
    expect(anna.locator(".disagreements")).to_have_count(0)
    expect(ben.locator(".disagreements")).to_have_count(0)


def test_a_walk_through_all_labels_another_class_and_a_mask(anna: Page, tmp_path: Path):
    review_all_tracks(anna)
    expect(position(anna)).to_contain_text(f"of {len(json.loads(LABELS.read_bytes())['annotations'])}")
    anna.get_by_label("Change the class to").select_option("ring")
    expect(message(anna)).to_contain_text("change the class to ring")
    anna.get_by_role("button", name="Save decision").click()
    expect(message(anna)).to_have_text("saved")
    expect_position(anna, 2)  # the next question has replaced the first one
    anna.get_by_role("button", name="Correct the mask").click()
    box = brush_box(anna)
    anna.keyboard.press("=")
    stroke(anna, box, 0.5)
    frame = int(player(anna).get_attribute("data-frame") or 0)
    expect(message(anna)).to_have_text(f"chosen: Correct the mask, frame {frame}")
    anna.keyboard.press("Enter")
    expect_saved(anna)
    reclassed, replaced = (d.action for d in log_of(anna, tmp_path)[-2:])
    assert isinstance(reclassed, ChangeClass) and isinstance(replaced, ReplaceMask)
    row = decode(replaced.mask.rle)[replaced.mask.size[0] // 2]
    assert row[int(0.12 * len(row)) : int(0.88 * len(row))].all(), "the stroke from left to right"
    assert anna.evaluate("Object.keys(localStorage).filter(key => key.includes('review-mask')).length") == 0


def stroke(page: Page, box: FloatRect, height: float) -> None:
    """From left to right. height: a part of the picture's."""
    y = box["y"] + box["height"] * height
    page.mouse.move(box["x"] + box["width"] * 0.1, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, y, steps=4)
    page.mouse.up()


def seek(page: Page, frame: int) -> None:
    """By the arrow keys."""
    at = int(player(page).get_attribute("data-frame") or 0)
    for _ in range(abs(frame - at)):
        page.keyboard.press("ArrowRight" if frame > at else "ArrowLeft")
    expect(player(page)).to_have_attribute("data-frame", str(frame))


def test_strokes_in_three_frames_are_one_decision(anna: Page, tmp_path: Path):
    """The tool stays while the frame changes; undo goes by stroke; edited frames are marked in the lane."""
    before = len(log_of(anna, tmp_path))
    seek(anna, 4)
    anna.get_by_role("button", name="Correct the mask").click()
    box = brush_box(anna)
    stroke(anna, box, 0.5)
    seek(anna, 5)
    stroke(anna, box, 0.25)
    seek(anna, 7)
    stroke(anna, box, 0.75)
    stroke(anna, box, 0.25)
    lane = player(anna).locator(".lane[data-edited]")
    expect(lane).to_have_attribute("data-edited", "4 5 7")
    anna.keyboard.press("Control+z")
    anna.keyboard.press("Control+z")
    expect(lane).to_have_attribute("data-edited", "4 5")
    anna.keyboard.press("Control+Shift+z")
    expect(lane).to_have_attribute("data-edited", "4 5 7")
    expect(message(anna)).to_have_text("chosen: Correct the mask, frames 4, 5 and 7")
    anna.keyboard.press("Enter")
    expect_saved(anna)
    log = log_of(anna, tmp_path)
    action = log[-1].action
    assert len(log) == before + 1 and isinstance(action, AcceptMasks)
    assert action.first == 4 and len(action.masks) == 4
    rows = [mask and decode(mask.rle)[[48, 96, 144]][:, 40:280].all(1).tolist() for mask in action.masks]
    assert (rows[0], rows[1], rows[3]) == ([False, True, False], [True, False, False], [False, False, True])
    label = next(a for a in json.loads(LABELS.read_bytes())["annotations"] if a["id"] == action.track)
    original = label["segmentations"][6]
    assert action.masks[2] == Mask(tuple(original["size"]), original["counts"]), "frame 6 was not edited"


def test_the_questions_object_is_framed_and_painted_where_the_pointer_is(anna: Page, tmp_path: Path):
    """The picture is enlarged on the object; the wheel enlarges further; a press sets the pixels under it."""
    decided_on = {track for decision in log_of(anna, tmp_path) for track in decision.tracks}
    labels = [label["id"] for label in json.loads(LABELS.read_bytes())["annotations"]]
    go_to(anna, next(place for place, id in enumerate(labels) if place > 5 and id not in decided_on))
    expect(player(anna)).not_to_have_attribute("data-zoom", "1.00")
    before = float(player(anna).get_attribute("data-zoom") or 0)
    anna.get_by_role("button", name="Correct the mask").click()
    expect(anna.get_by_role("toolbar", name="Mask correction")).to_be_visible()
    pane = player(anna).locator(".pane > canvas").first.bounding_box()
    assert pane is not None and before > 1.2
    middle = pane["x"] + pane["width"] / 2, pane["y"] + pane["height"] / 2
    anna.mouse.move(*middle)
    anna.mouse.wheel(0, -100)
    expect(player(anna)).to_have_attribute("data-zoom", f"{1.2 * before:.2f}")
    anna.keyboard.press("Delete")
    expect(anna.locator(".brush-state")).to_contain_text("edited: frame")
    box = anna.locator(".brush-canvas").bounding_box()
    assert box is not None and box["width"] > 1.3 * pane["width"]
    anna.mouse.click(*middle)
    anna.keyboard.press("Enter")
    expect_saved(anna)
    action = log_of(anna, tmp_path)[-1].action
    assert isinstance(action, ReplaceMask)
    (top, left), count = np.argwhere(decode(action.mask.rle)).mean(0) + 0.5, decode(action.mask.rle).sum()
    assert count < 400, "a press sets a disc with a radius of at most ten pixels"
    assert abs(box["x"] + left / 320 * box["width"] - middle[0]) < box["width"] / 320
    assert abs(box["y"] + top / 192 * box["height"] - middle[1]) < box["height"] / 192


def test_a_range_is_chosen_by_keys_and_named_before_it_acts(anna: Page, tmp_path: Path):
    seek(anna, 3)
    anna.keyboard.press("[")
    expect(anna.get_by_role("button", name="Delete frame 3", exact=True)).to_be_visible()
    seek(anna, 6)
    anna.keyboard.press("]")
    expect(player(anna)).to_have_attribute("data-range", "3 6")
    anna.get_by_role("button", name="Delete frames 3 to 6").click()
    anna.keyboard.press("Enter")
    expect_saved(anna)
    action = log_of(anna, tmp_path)[-1].action
    assert isinstance(action, DeleteFrames) and (action.first, action.last) == (3, 6)


def test_of_a_log_for_other_labels_only_applicable_decisions_are_taken(anna: Page, tmp_path: Path):
    log = log_of(anna, tmp_path)
    lines = [json.loads(to_line(d)) | {"id": f"x{n}", "dataset": "0" * 64} for n, d in enumerate(log[:2])]
    lines[1] |= {"verdict": "label is wrong", "action": {"do": "delete track", "track": 99999}}
    (tmp_path / "other.jsonl").write_text("\n".join(map(json.dumps, lines)))
    anna.locator("#review-more input[type=file]").set_input_files(tmp_path / "other.jsonl")
    report = anna.locator("#review-message")
    expect(report).to_contain_text("2 were made for another version of these labels")
    expect(report).to_contain_text("Nothing was taken")
    expect(report).to_contain_text("there is no annotation 99999")
    assert len(log_of(anna, tmp_path)) == len(log)
    anna.get_by_role("button", name="Take only the 1 that fit").click()
    expect(report).to_contain_text("1 were saved")
    assert [d.id for d in log_of(anna, tmp_path)] == [*(d.id for d in log), "x0"]


def test_ap_before_and_after(anna: Page):
    anna.get_by_role("button", name="AP before and after").click()
    expect(anna.locator("#review-after table")).to_contain_text("tevit_demo", timeout=120_000)


def test_nothing_overflows_at_any_width_and_the_queue_leads_to_the_player(anna: Page):
    def check(width: int) -> None:
        assert anna.evaluate("document.documentElement.scrollWidth") <= width
        box = player(anna).bounding_box()
        assert box is not None and (width > 390 or box["height"] <= 844 / 2)
        groups = player(anna).locator(".control-group")
        assert len(set(groups.evaluate_all("all => all.map((it) => it.getBoundingClientRect().top)"))) == 1, "one line"

    for width in (1440, 1024, 390):
        anna.set_viewport_size({"width": width, "height": 844})
        eventually(anna, partial(check, width))
        expect(anna.get_by_role("button", name="Save decision")).to_be_visible()
    anna.locator(".queue").evaluate("list => list.scrollIntoView()")
    expect(player(anna)).not_to_be_in_viewport(ratio=0.9)
    anna.locator(".queue [aria-pressed=true]").click()
    expect(player(anna)).to_be_in_viewport(ratio=0.9)
    anna.get_by_role("button", name="Correct the mask").click()
    expect(anna.get_by_role("toolbar", name="Mask correction")).to_be_visible()
    expect_settled(anna)

    def check_tools() -> None:
        box = player(anna).bounding_box()
        assert box is not None and box["height"] <= 844 / 2, "with the correction's tools"

    eventually(anna, check_tools)
    expect(player(anna).locator(".lane.selected").first).to_be_in_viewport()
    anna.keyboard.press("Escape")


def brush_box(page: Page) -> FloatRect:
    """Where the mask is drawn, with the whole picture shown."""
    canvas = page.locator(".brush-canvas")
    expect(canvas).to_be_visible()
    if player(page).get_attribute("data-zoom") != "1.00":
        page.keyboard.press("z")
    expect(player(page)).to_have_attribute("data-zoom", "1.00")
    box = canvas.bounding_box()
    assert box is not None
    return box


def click_at(page: Page, box: FloatRect, x: float, y: float) -> None:
    """x, y: pixels of the video, which is 320 x 192."""
    page.mouse.click(box["x"] + box["width"] * x / 320, box["y"] + box["height"] * y / 192)


def test_a_killed_server_loses_no_finished_stroke(browser: Browser, tmp_path: Path):
    """Strokes before and after the kill are in the browser; with a new server they are offered again, and saved."""
    data = ("--dataset", LABELS, "--frames", SHAPES, "--predictions", PREDICTIONS, "--port", free_port())
    with serve(tmp_path, *data) as server, open_review_tab(browser, server, "emil") as emil:
        names = emil.locator(".queue .name").all_inner_texts()
        go_to(emil, next(place for place, name in enumerate(names) if "Is a label missing?" in name))
        emil.get_by_role("button", name="Correct the mask").click()
        box = brush_box(emil)
        frame = int(player(emil).get_attribute("data-frame") or 0)
        near = frame + 1 if frame == 0 else frame - 1
        stroke(emil, box, 0.25)
        seek(emil, near)
        stroke(emil, box, 0.75)
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        stroke(emil, box, 0.5)
        edited = sorted((frame, near))
        expect(message(emil)).to_have_text(f"chosen: Correct the mask, frames {edited[0]}, {edited[1]}")
        context = emil.context
        emil.close()  # gradio's page would load itself again at some time after the server is back
        with serve(tmp_path, *data):
            save_draft(context.new_page(), server.url)
            action = log_of(context.pages[0], tmp_path)[-1].action
    assert isinstance(action, AddTrack), "the question is about a prediction"
    masks = [action.masks[at] for at in (frame, near)]
    rows = [mask and decode(mask.rle)[[48, 96, 144]][:, 40:280].all(1).tolist() for mask in masks]
    assert rows == [[True, False, False], [False, True, True]]


def save_draft(page: Page, url: str) -> None:
    """Open and save the only correction that the browser has kept."""
    page.goto(url)
    page.get_by_role("tab", name="Review").click()
    drafts = page.get_by_role("group", name="Unsaved corrections")
    drafts.get_by_role("button", name="Open").click(timeout=60_000)
    expect(message(page)).to_contain_text("chosen: Correct the mask, frames")
    expect(page.locator(".brush-line")).to_have_text("This correction was not saved: it is continued.")
    brush_box(page)
    page.keyboard.press("Enter")
    expect(message(page)).to_have_text("saved")
    assert page.evaluate("Object.keys(localStorage).filter(key => key.includes('review-mask')).length") == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_without_labels_a_corrected_prediction_becomes_one(browser: Browser, unwritable_server: Server, tmp_path: Path):
    with open_review_tab(browser, unwritable_server, "dora") as dora:
        correct_and_add(dora, unwritable_server, tmp_path)


def correct_and_add(dora: Page, unwritable_server: Server, tmp_path: Path) -> None:
    """Polygon, eraser, a reload in the middle, fill; then the tracks that were exported have just these pixels."""
    expect(dora.get_by_role("alert")).to_contain_text("cannot be written: decisions are kept in memory only")
    expect(dora.locator(".prompt-question")).to_contain_text("Is there a class")
    frame = int(player(dora).get_attribute("data-frame") or 0)
    dora.get_by_role("button", name="Correct the mask").click()
    box = brush_box(dora)
    bar = dora.get_by_role("toolbar", name="Mask correction")
    bar.get_by_role("button", name="Clear").click()
    dora.keyboard.press("y")
    for x, y in ((40, 40), (200, 40), (200, 150), (40, 150)):
        click_at(dora, box, x, y)
    dora.keyboard.press("Enter")
    dora.keyboard.press("e")
    click_at(dora, box, 120, 95)
    expect(message(dora)).to_contain_text("chosen: Correct the mask")
    dora.reload()
    dora.get_by_role("tab", name="Review").click()
    expect(message(dora)).to_contain_text("chosen: Correct the mask", timeout=60_000)
    box = brush_box(dora)
    dora.keyboard.press("f")
    click_at(dora, box, 120, 95)
    bar.get_by_role("button", name="Take the prediction here").click()
    bar.get_by_role("button", name="Undo stroke").click()
    dora.keyboard.press("Enter")
    expect(message(dora)).to_have_text("saved")
    decision = log_of(dora, tmp_path)[-1]
    assert isinstance(decision.action, AddTrack) and decision.prediction is not None
    (added,) = parse_dataset(download(dora, "corrected.json", tmp_path).read_bytes(), "new").video(1).tracks
    mask = added.rles[frame]
    assert mask is not None
    drawn = decode(mask)
    assert drawn[42:148, 42:198].all() and drawn.sum() <= 164 * 114 and not drawn[:, 203:].any()
    predicted = read_results(unwritable_server.folder / "results.json").masks(1)[decision.prediction.place - 1]
    others = [n for n in range(len(added.rles)) if n != frame and predicted.areas[n]]
    assert len(others) > 5 and all(added.rles[n] == predicted.rles[n] for n in others)
    dora.keyboard.press("p")
    dora.keyboard.press("x")
    expect(player(dora).get_by_role("rowgroup", name="Corrected").get_by_role("row")).to_have_count(1)
    dora.keyboard.press("2")
    dora.keyboard.press("Enter")
    expect(message(dora)).to_contain_text("You have added it already")
