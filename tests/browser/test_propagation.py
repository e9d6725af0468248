"""Masks mended over time: a shifted label in one decision, proposals accepted and rejected, a click that segments."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.servers import hold_requests, intercept
from tests.browser.test_review import (
    PREDICTIONS,
    SHAPES,
    Server,
    brush_box,
    download,
    go_to,
    log_of,
    message,
    open_review_tab,
    review_all_tracks,
    serve,
)
from tests.browser.test_review import player as player_of
from tevit.evaluation.api import evaluate
from tevit.io.ytvis import open_dataset
from tevit.masks import ops
from tevit.review.decisions import AcceptMasks

pytestmark = pytest.mark.browser
TRACK, VIDEO, SHIFT = 11, 3, 60  # a heart, visible in all 30 frames of its video, and by how many pixels it is shifted
# Seconds of a practised person: Card, Moran and Newell, The Keystroke-Level Model, 1980.
KEY, POINT, PRESS, THINK = 0.28, 1.1, 0.1, 1.35
STROKE = 1.1  # each further pointing movement of a stroke


class KeystrokeModel:
    """Presses keys and draws; adds up the seconds that a person would need for it."""

    def __init__(self, page: Page):
        self.page, self.seconds = page, 0.0

    def press(self, *keys: str) -> None:
        """Keys of one thought."""
        for key in keys:
            self.page.keyboard.press(key)
        self.seconds += THINK + KEY * len(keys)

    def draw(self, *points: tuple[float, float]) -> None:
        """One stroke through points in the video's pixels, which are 320 x 192."""
        self.page.locator(".brush-canvas").scroll_into_view_if_needed()
        box = brush_box(self.page)
        places = [(box["x"] + box["width"] * x / 320, box["y"] + box["height"] * y / 192) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=4)
        self.page.mouse.up()
        self.seconds += POINT + 2 * PRESS + STROKE * (len(points) - 1)


def true_masks() -> list[np.ndarray]:
    (track,) = (track for track in open_dataset(SHAPES / "valid.json").video(VIDEO).tracks if track.id == TRACK)
    return [ops.decode(rle).astype(bool) for rle in track.rles if rle is not None]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The bundled shapes, one label of which is shifted in all its thirty frames."""
    folder = tmp_path_factory.mktemp("propagation")
    labels = json.loads((SHAPES / "valid.json").read_text())
    (label,) = (label for label in labels["annotations"] if label["id"] == TRACK)
    shifted = [ops.encode(np.roll(mask, SHIFT, 1)) for mask in true_masks()]
    label["segmentations"] = [rle | {"counts": rle["counts"].decode()} for rle in shifted]
    (folder / "shifted.json").write_text(json.dumps(labels))
    with serve(
        folder, "--dataset", folder / "shifted.json", "--frames", SHAPES, "--predictions", PREDICTIONS
    ) as server:
        yield server


def go_to_label(page: Page) -> None:
    if "with the right masks in every frame?" not in page.locator(".prompt-question").inner_text():
        review_all_tracks(page)
    go_to(page, [label["id"] for label in json.loads((SHAPES / "valid.json").read_text())["annotations"]].index(TRACK))


def reload(page: Page) -> None:
    """Back to the shifted label's question in a new page of the same browser."""
    page.reload()
    page.get_by_role("tab", name="Review").click()
    expect(page.locator(".prompt-where")).to_contain_text(" of ")
    go_to_label(page)


def correct(page: Page) -> Locator:
    """Correct the label in frame 0; returns the tool bar."""
    page.get_by_role("button", name="Correct the mask").click()
    bar = page.get_by_role("toolbar", name="Mask correction")
    expect(bar).to_be_visible()
    page.keyboard.press("Home")
    expect_frame(page, 0)
    return bar


@pytest.fixture(scope="module")
def review_page(browser: Browser, server: Server) -> Iterator[Page]:
    """Stays open from test to test: each ends without an unsaved correction."""
    with open_review_tab(browser, server, "anna") as page:
        yield page


@pytest.fixture
def page(review_page: Page) -> Page:
    """At the shifted label's question."""
    go_to_label(review_page)
    return review_page


def expect_frame(page: Page, frame: int) -> None:
    expect(player_of(page)).to_have_attribute("data-frame", str(frame))


def ap(labels: Path) -> float:
    return evaluate(labels, PREDICTIONS).figures["AP"]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def inner_row(mask: np.ndarray, y: int, margin: int) -> tuple[int, int]:
    xs = np.flatnonzero(mask[y])
    return int(xs[0]) + margin, int(xs[-1]) - margin


def zigzag(mask: np.ndarray, radius: int) -> list[tuple[float, float]]:
    """A stroke of a brush that fills most of a mask."""
    rows = np.flatnonzero(mask.sum(1) > 2 * radius)
    points: list[tuple[float, float]] = []
    for number, y in enumerate(range(int(rows[0]) + radius, int(rows[-1]) - radius // 2, 2 * radius)):
        ends = inner_row(mask, y, radius)
        points += [(float(x), float(y)) for x in (ends if number % 2 else ends[::-1])]
    return points


def test_a_label_shifted_for_thirty_frames_is_mended_in_one_decision(page: Page, server: Server, tmp_path: Path):
    masks = true_masks()
    started = time.monotonic()
    page.get_by_role("button", name="Correct the mask").click()
    person = KeystrokeModel(page)
    bar = page.get_by_role("toolbar", name="Mask correction")
    expect(bar).to_be_visible()
    person.seconds += THINK + POINT + PRESS  # the button

    y, x = np.argwhere(masks[0]).mean(0)
    person.press("Home", "v")
    expect_frame(page, 0)
    person.draw((x + SHIFT, y), (x, y))
    person.press("End", "b", "Delete")
    expect_frame(page, 29)
    person.draw(*zigzag(masks[29], 8))
    expect(bar).to_contain_text("edited: frames 0 and 29")
    person.press("g")
    expect(bar).to_contain_text("Proposed: frames 1 to 28")
    expect(player_of(page).locator(".lane.selected").first).to_be_visible()
    person.press("a")
    expect(bar).to_contain_text("Accepted: frames 1 to 28")
    expect(message(page)).to_have_text("chosen: Correct the mask, frames 0 to 29")
    person.press("Enter")
    expect(message(page)).to_have_text("saved")
    assert person.seconds < 20
    assert time.monotonic() - started < 20, "with the studio's own time"

    (decision,) = log_of(page, tmp_path)
    assert isinstance(decision.action, AcceptMasks) and (decision.action.first, len(decision.action.masks)) == (0, 30)
    mended = [ops.decode(mask.rle).astype(bool) for mask in decision.action.masks if mask is not None]
    assert np.mean([iou(*pair) for pair in zip(mended, masks, strict=True)]) > 0.8
    clean, after = ap(SHAPES / "valid.json"), ap(download(page, "corrected.json", tmp_path))
    assert abs(after - clean) < 0.01
    assert clean - ap(server.folder / "shifted.json") > 0.003


def test_proposals_are_rejected_by_frame_or_accepted_by_range(page: Page):
    bar, person = correct(page), KeystrokeModel(page)
    page.keyboard.press("Delete")
    page.keyboard.press("Control+z")
    expect(bar.get_by_role("button", name="Propagate to frames 0 to 29")).to_be_visible()
    person.draw((200, 100), (210, 100))
    page.keyboard.press("[")
    for frame in range(1, 7):
        page.keyboard.press("ArrowRight")
        expect_frame(page, frame)
    page.keyboard.press("]")
    bar.get_by_role("button", name="Propagate to frames 0 to 6").click()
    expect(bar).to_contain_text("not accepted: 6 frames")
    bar.get_by_role("button", name="Reject this frame").click()
    expect(bar).to_contain_text("not accepted: 5 frames")
    page.keyboard.press("a")
    expect(bar).to_contain_text("edited: frames 0 to 5")
    page.keyboard.press("Control+z")
    expect(bar).to_contain_text("not accepted: 5 frames")
    page.keyboard.press("r")
    expect(bar).not_to_contain_text("not accepted")
    expect(bar).to_contain_text(" · edited: frame 0")
    expect(bar.get_by_role("button", name="Accept")).to_have_count(0)
    bar.get_by_role("button", name="Discard correction").click()


def test_a_key_edits_the_frame_that_is_sought(page: Page):
    reload(page)  # no picture has been loaded before
    bar = correct(page)
    with hold_requests(page, "**/frames/*.jpg") as held:
        page.keyboard.press("End")
        page.keyboard.press("Delete")
        held.wait_for_one()
    expect_frame(page, 29)
    expect(bar).to_contain_text("edited: frame 29")
    bar.get_by_role("button", name="Discard correction").click()


def test_a_click_or_a_box_proposes_the_mask_of_the_frame(page: Page):
    mask = true_masks()[0]
    bar, person = correct(page), KeystrokeModel(page)
    expect(bar).to_contain_text("Masks by GrabCut and optical flow")
    page.keyboard.press("i")
    (top, left), (bottom, right) = np.argwhere(mask).min(0), np.argwhere(mask).max(0)
    person.draw((float(left) - 4, float(top) - 4), (float(right) + 4, float(bottom) + 4))
    expect(bar).to_contain_text("Proposed: enter accepts it")
    page.keyboard.press("Escape")
    expect(bar).to_contain_text("nothing is edited yet")
    y, x = np.argwhere(mask).mean(0)
    person.draw((x, y))
    expect(bar).to_contain_text("Proposed: enter accepts it")
    page.keyboard.press("Enter")
    expect(message(page)).to_have_text("chosen: Correct the mask, frame 0")
    counts = page.evaluate("document.querySelector('#review-prompt .prompt-host').prompt.correction.edits.get(0)")
    assert iou(ops.decode({"size": [192, 320], "counts": counts.encode()}).astype(bool), mask) > 0.7
    bar.get_by_role("button", name="Discard correction").click()


def test_what_is_under_way_is_offered_again_after_a_reload(page: Page):
    """A clicked mask, proposals of a propagation, and a propagation that was running."""
    bar = correct(page)
    page.keyboard.press("i")
    y, x = np.argwhere(true_masks()[0]).mean(0)
    KeystrokeModel(page).draw((x, y))
    expect(bar).to_contain_text("Proposed: enter accepts it")
    reload(page)
    expect(bar).to_contain_text("Proposed: enter accepts it")
    page.keyboard.press("Enter")
    expect(bar).to_contain_text("edited: frame 0")

    page.keyboard.press("g")
    expect(bar).to_contain_text("not accepted: ")
    proposed = bar.get_by_role("button", name="Accept frame").inner_text()
    reload(page)
    expect(bar.get_by_role("button", name=proposed)).to_be_visible()
    page.keyboard.press("r")
    expect(bar).not_to_contain_text("not accepted")

    intercept(page, "**/propagate", lambda route: None)  # never answered
    page.keyboard.press("g")
    expect(bar.get_by_role("button", name="Cancel propagation")).to_be_visible()
    reload(page)
    expect(bar).to_contain_text("A propagation to frames 0 to 29 was not finished: g starts it again.")
    page.unroute("**/propagate")
    page.keyboard.press("g")
    expect(bar).to_contain_text("not accepted: ")
    bar.get_by_role("button", name="Discard correction").click()


def test_a_propagation_is_cancelled(page: Page):
    bar = correct(page)
    intercept(page, "**/propagate", lambda route: None)
    page.keyboard.press("g")
    bar.get_by_role("button", name="Cancel propagation").click()
    expect(bar).to_contain_text("Propagation was cancelled.")
    expect(bar.get_by_role("button", name="Cancel propagation")).to_be_hidden()
    page.unroute("**/propagate")
    page.keyboard.press("g")
    expect(bar).to_contain_text("not accepted: ")
    bar.get_by_role("button", name="Discard correction").click()
