"""The player: picture and masks on the canvas belong to the stated frame; keys, timeline and commands work."""

import json
import random
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, expect

from tests.browser.servers import record_problems, start_server
from tests.pictures import BITS

pytestmark = pytest.mark.browser
LAST = 149
OpenView = Callable[..., Page]

# Of the canvas: the number in the picture, the number in the mask, the frame that the player states.
READ = """
window.read = () => {
  const region = document.querySelector('.player'), canvas = region.querySelector('canvas');
  const scale = canvas.width / 320, context = canvas.getContext('2d');
  const bit = (b, y) => context.getImageData(Math.round((21 + 30 * b) * scale), Math.round(y * scale), 1, 1).data;
  let picture = 0, mask = 0;
  for (let b = 0; b < BITS; b++) {
    if (bit(b, 24)[1] > 128) picture |= 1 << b;
    const [red, , blue] = bit(b, 216);
    if (Math.abs(red - blue) > 20) mask |= 1 << b;  // the picture is grey there
  }
  return [picture, mask, Number(region.dataset.frame)];
};
window.host = () => {
  let at = document.querySelector('.player-host');
  while (!at.player) at = at.parentElement;
  return at.player;
};
""".replace("BITS", str(BITS))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("shows")
    with start_server("tests.browser.fake_player", folder, home=folder / "home") as url:
        yield url


@pytest.fixture(scope="module")
def problems() -> list[str]:
    """Requests of pages to other machines, and errors of their scripts."""
    return []


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Small pages, since there is no graphics card."""
    context = browser.new_context(viewport={"width": 900, "height": 700})
    yield context
    context.close()


@pytest.fixture(scope="module")
def uneven_page(context: BrowserContext, address: str, problems: list[str]) -> Page:
    """The video of uneven times, which stays open from test to test; every test shows all tracks again."""
    return open_view(context, address, problems, "uneven", ALIVE)


@pytest.fixture
def open_small_page(context: BrowserContext, address: str, problems: list[str]) -> Iterator[OpenView]:
    """Opens a page with a view; errors of its scripts fail the test."""
    pages: list[Page] = []

    def open_page(show: str, before: str = "", **query: str) -> Page:
        pages.append(open_view(context, address, problems, show, before, **query))
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()
    assert problems == []


@pytest.fixture
def open_alone(browser: Browser, address: str, problems: list[str]) -> Iterator[OpenView]:
    """As `open_show`, but a large page in a process without other pages."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield partial(open_view, context, address, problems)
    context.close()
    assert problems == []


def open_view(
    context: BrowserContext, address: str, problems: list[str], show: str, before: str = "", **query: str
) -> Page:
    page = context.new_page()
    record_problems(page, address, problems)
    page.add_init_script(before + READ)
    page.goto(f"{address}?show={show}" + "".join(f"&{name}={value}" for name, value in query.items()))
    expect(player(page)).to_have_attribute("data-state", "ready", timeout=60_000)
    return page


def player(page: Page):
    return page.get_by_role("region", name="Video player")


def expect_frame(page: Page, frame: int) -> None:
    expect(player(page)).to_have_attribute("data-frame", str(frame))


def press(page: Page, key: str) -> None:
    page.keyboard.press(key)


def row(page: Page, group: str, name: str):
    return page.get_by_role("rowgroup", name=group).get_by_role("row", name=name)


NO_VIDEO_FRAME = "delete window.VideoFrame;"
ALIVE = """
window.alive = window.most = 0;
const Real = VideoFrame, close = Real.prototype.close;
window.VideoFrame = function (...given) {
  const made = new Real(...given);
  window.most = Math.max(window.most, ++window.alive);
  return made;
};
Real.prototype.close = function () { window.alive--; return close.call(this); };
"""


def test_fifty_seeks_and_playing_are_exact(uneven_page: Page, problems: list[str]):
    check_exact(uneven_page)
    assert uneven_page.evaluate("[window.alive, window.most <= 4, window.most > 0]") == [0, True, True]
    assert problems == []


@pytest.mark.parametrize(("show", "before"), [("even", ""), ("uneven", NO_VIDEO_FRAME), ("images", "")])
def test_other_sources_and_browsers_are_exact(open_small_page: OpenView, show: str, before: str):
    check_exact(open_small_page(show, before))


@pytest.mark.parametrize("show", ["film", "ntsc", "vp9"])
def test_files_that_are_served_as_they_are_are_exact(open_small_page: OpenView, show: str):
    """Though frames are stored in another order, at 25 and 29.97 a second, and in milliseconds in webm."""
    page = open_small_page(show)
    assert page.evaluate("document.querySelector('.player-source').videoWidth") == 320
    check_exact(page)


@pytest.mark.parametrize("when", ["from the start", "later"])
def test_a_video_that_the_browser_cannot_play_is_shown_by_pictures(open_small_page: OpenView, when: str):
    page = open_small_page("film", UNPLAYABLE if when == "from the start" else "")
    if when == "later":
        page.evaluate("host().play()")
        expect(player(page)).to_have_attribute("data-state", "playing")
        page.evaluate("document.querySelector('.player-source').src = 'data:video/mp4,words'")
    expect(page.locator(".player-source")).to_have_count(0)
    expect(page.locator(".player-message")).to_be_hidden()
    if when == "later":
        expect_frame(page, LAST)
    assert page.evaluate(SEEK, [70, 3, LAST]) == [[frame, frame, frame] for frame in (70, 3, LAST)]


def test_another_file_of_the_same_view_replaces_the_first(open_small_page: OpenView):
    """Of which a run has shown that it decodes to other frames; this one is not there, so that there are pictures."""
    page = open_small_page("film")
    page.evaluate("host().load({ ...host().view, version: 1 })")
    expect(page.locator(".player-source")).to_have_count(1)
    page.evaluate("host().load({ ...host().view, video: 'other.mp4', version: 2 })")
    expect(page.locator(".player-source")).to_have_count(0)
    assert page.evaluate(SEEK, [33]) == [[33, 33, 33]]


UNPLAYABLE = """
const { set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "src");
Object.defineProperty(HTMLMediaElement.prototype, "src", { set() { set.call(this, "data:video/mp4,words"); } });
"""


def test_the_player_waits_for_a_late_picture(open_small_page: OpenView):
    """A busy browser reports the end of a seek before it has a picture."""
    page = open_small_page("uneven", LATE)
    assert page.evaluate(SEEK, [70, 3]) == [[70, 70, 70], [3, 3, 3]]
    assert page.evaluate("window.refused") >= 6
    expect(player(page)).not_to_contain_text("VideoFrame")


LATE = """
window.refused = 0;
const Real = VideoFrame;
window.VideoFrame = function (...given) {
  if (window.refused++ % 4 < 3) throw new DOMException("Invalid source state", "InvalidStateError");
  return new Real(...given);
};
"""


def check_exact(page: Page) -> None:
    """At fifty frames, and at all frames drawn while it plays, at normal and fourfold speed."""
    for name in ("Contours", "Labels"):
        page.get_by_role("button", name=name, exact=True).click()
    chosen = random.Random(0).sample(range(LAST + 1), 50)
    values = page.evaluate(SEEK, chosen)
    assert values == [[frame, frame, frame] for frame in chosen]
    for rate in (1, 4):
        seen = page.evaluate(PLAY, rate)
        assert len({frame for _, _, frame in seen}) > 10, "it does play"
        assert [entry for entry in seen if len(set(entry)) > 1] == []


PLAYED = 24  # different frames, if the machine is not too busy for so many
SEEK = """async (frames) => {
  const seen = [];
  for (const frame of frames) {
    await host().seek(frame);
    seen.push(read());
  }
  return seen;
}"""
PLAY = """async (rate) => {
  const p = host(), seen = [], { loop } = p;
  await p.seek(0);
  p.setRate(rate);
  p.setLoop(true);  // a busy machine draws few frames of it
  await p.play();
  const frames = new Set(), until = performance.now() + 30000;
  while (frames.size < PLAYED && performance.now() < until) {
    await new Promise(requestAnimationFrame);
    seen.push(read());
    frames.add(seen.at(-1)[2]);
  }
  p.pause();
  p.setRate(1);
  p.setLoop(loop);
  return seen;
}""".replace("PLAYED", str(PLAYED))


def test_every_key_has_the_effect_of_its_button(uneven_page: Page, problems: list[str]):
    page, shown = uneven_page, player(uneven_page)
    for key, frame in (
        ("Home", 0),
        *(("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("Shift+ArrowRight", 11), ("Shift+ArrowLeft", 1)),
        *(
            ("End", LAST),
            ("ArrowRight", LAST),
            ("Home", 0),
            ("ArrowLeft", 0),
            ("]", 1),
            ("]", 20),
            ("]", 60),
            ("[", 20),
        ),
    ):
        press(page, key)
        expect_frame(page, frame)
    for key, name in (("m", "Masks"), ("c", "Contours"), ("l", "Labels"), ("o", "Loop")):
        toggle = page.get_by_role("button", name=name, exact=True)
        before = toggle.get_attribute("aria-pressed")
        press(page, key)
        expect(toggle).not_to_have_attribute("aria-pressed", str(before))
        toggle.click()
        expect(toggle).to_have_attribute("aria-pressed", str(before))
    page.evaluate("document.activeElement.blur()")
    press(page, "2")
    expect(row(page, "Prediction", "1 number").locator(".lane-name")).to_have_attribute("aria-pressed", "true")
    press(page, "Escape")
    expect(page.locator(".lane-name[aria-pressed=true]")).to_have_count(0)
    press(page, "?")
    expect(page.get_by_role("dialog", name="Keys of the player")).to_be_visible()
    press(page, "Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.evaluate("host().setRate(0.1)")  # it must not end before it is paused
    press(page, "Space")
    expect(shown).to_have_attribute("data-state", "playing")
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()
    press(page, "Space")
    expect(shown).to_have_attribute("data-state", "ready")
    page.evaluate("host().setRate(1)")
    page.get_by_role("button", name="Next frame").click()
    page.get_by_role("button", name="Previous frame").click()
    assert problems == []


def test_the_timeline_seeks_selects_hides_and_sets_a_range(uneven_page: Page, problems: list[str]):
    page = uneven_page
    shown, number = player(page), row(page, "Prediction", "1 number")
    expect(shown).to_have_attribute("data-tracks", "3")
    strip = number.locator("canvas")
    box = strip.bounding_box()
    assert box is not None
    strip.click(position={"x": box["width"] * 50.5 / 150, "y": 7})
    expect_frame(page, 50)
    page.mouse.move(box["x"] + box["width"] * 30.5 / 150, box["y"] + 7)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 60.5 / 150, box["y"] + 7, steps=4)
    page.mouse.up()
    expect_event(page, "range", first=30, last=60)
    page.get_by_role("button", name="Loop").click()
    page.evaluate("host().seek(57).then(() => host().play())")
    page.wait_for_function("Number(document.querySelector('.player').dataset.frame) < 50")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Clear range").click()
    expect_event(page, "range", first=None, last=None)
    number.get_by_role("button", name="Show 1 number").click()
    expect(shown).to_have_attribute("data-tracks", "2")
    number.locator(".lane-name").dblclick()
    expect(shown).to_have_attribute("data-tracks", "1")
    number.locator(".lane-name").dblclick()
    expect(shown).to_have_attribute("data-tracks", "3")
    assert problems == []


def expect_event(page: Page, kind: str, **wanted: int | None) -> None:
    """Python has received the event, and it is valid."""
    field = page.get_by_label(f"Event {kind}")
    for name, value in wanted.items():
        expect(field).to_have_value(re.compile(re.escape(f'"{name}": {json.dumps(value)}')))


def test_a_click_selects_the_topmost_mask_and_again_the_one_below(uneven_page: Page, problems: list[str]):
    page = uneven_page
    page.evaluate("host().seek(30)")
    expect_frame(page, 30)
    box = page.locator(".pane canvas").bounding_box()
    assert box is not None
    scale = box["width"] / 320
    spot = (box["x"] + 145 * scale, box["y"] + 110 * scale)  # in both squares
    page.mouse.move(*spot)
    expect(page.locator(".tip")).to_have_text("2 dog 0.60 · Prediction")
    page.mouse.click(*spot)
    expect_event(page, "track", layer=1, track=2)
    page.mouse.click(*spot)
    expect_event(page, "track", layer=0, track=1)
    page.mouse.click(box["x"] + 10 * scale, box["y"] + 120 * scale)
    expect_event(page, "track", layer=None)
    assert problems == []


def test_commands_filters_and_panes_from_python(open_small_page: OpenView):
    page = open_small_page("uneven", panes="two")
    expect(page.locator(".pane canvas")).to_have_count(2)
    expect(page.locator("figcaption")).to_have_text(["Ground truth", "Prediction"])
    page.get_by_role("button", name="Seek 33, select 2").click()
    expect_frame(page, 33)
    expect(row(page, "Prediction", "2 dog").locator(".lane-name")).to_have_attribute("aria-pressed", "true")
    expect_event(page, "frame", frame=33)
    expect(page.get_by_label("Event track")).to_have_value("")  # what Python selects is not sent back
    page.get_by_role("button", name="Only 2").click()
    expect(player(page)).to_have_attribute("data-tracks", "1")
    expect(row(page, "Prediction", "1 number")).to_be_hidden()


OPEN = """async () => {
  const view = host().view, began = performance.now();
  host().unload();
  await host().load(view);
  return performance.now() - began;
}"""
TIMES = """() => {
  const canvas = document.querySelector('.pane canvas'), box = canvas.getBoundingClientRect(), times = [];
  const timed = (act) => {
    const began = performance.now();
    act();
    times.push(performance.now() - began);
  };
  for (let i = 0; i < 20; i++) {
    for (const name of ['Masks', 'Contours', 'Labels']) {
      timed(() => document.querySelector(`[aria-label=${name}]`).click());
    }
  }
  for (let i = 0; i < 60; i++) {
    const clientX = box.left + (box.width * i) / 60, clientY = box.top + (box.height * (i % 7)) / 7;
    timed(() => canvas.dispatchEvent(new PointerEvent('pointermove', { clientX, clientY })));
  }
  return times.sort((a, b) => a - b);
}"""


def test_toggles_and_hovering_are_drawn_within_a_frame(open_alone: OpenView):
    page = open_alone("large")
    milliseconds = page.evaluate(OPEN)
    for _ in range(9):  # other tests work beside this one: the best round counts
        if milliseconds >= 1000:
            milliseconds = page.evaluate(OPEN)
    print(f"interactive after {milliseconds:.0f} ms")
    assert milliseconds < 1000
    times = page.evaluate(TIMES)
    for _ in range(9):
        if times[len(times) // 2] > 16 or times[-1] > 50:
            times = min(times, page.evaluate(TIMES), key=lambda values: values[-1])
    print(f"from the event to the canvas: median {times[len(times) // 2]:.1f} ms, worst {times[-1]:.1f} ms")
    assert times[len(times) // 2] <= 16 and times[-1] <= 50


@pytest.mark.slow
def test_a_long_video_plays_in_bounded_memory(open_alone: OpenView, browser: Browser):
    page = open_alone("long", ALIVE)
    session = page.context.new_cdp_session(page), browser.new_browser_cdp_session()
    page.evaluate("host().setRate(4)")
    before = resident(session)
    page.evaluate("host().play()")
    expect(player(page)).to_have_attribute("data-frame", "2999", timeout=120_000)
    after = resident(session)
    print(f"renderer: {before:.0f} MB before, {after:.0f} MB after; VideoFrames alive at most {page.evaluate('most')}")
    assert after - before < 500
    assert page.evaluate("[alive, most <= 4]") == [0, True]


def resident(sessions: tuple[CDPSession, CDPSession]) -> float:
    """Megabytes of the page's process after a forced collection. sessions: with the page, with the browser."""
    sessions[0].send("HeapProfiler.enable")
    sessions[0].send("HeapProfiler.collectGarbage")
    renderers = [
        Path(f"/proc/{entry['id']}/status")
        for entry in sessions[1].send("SystemInfo.getProcessInfo")["processInfo"]
        if entry["type"] == "renderer"
    ]
    sizes = [int(re.findall(r"VmRSS:\s+(\d+)", status.read_text())[0]) / 1024 for status in renderers]
    return max(sizes)


def test_a_seek_of_the_view_before_draws_nothing(open_small_page: OpenView):
    """Its masks, or its picture, arrive when another view is sought at a frame of the same number."""
    page = open_small_page("uneven")
    result = page.evaluate("""async () => {
      const player = host(), { masks, stream, view } = player, late = Promise.withResolvers();
      const load = masks.load.bind(masks);
      let seeks = 0;
      masks.load = async (frame) => { await late.promise; await load(frame); };
      const seek = player.seek(5);
      await player.load({ ...view, times: view.times.slice(0, -1), at: 5 });
      stream.seek = async () => { seeks++; };
      late.resolve();
      await seek;
      stream.video.draw(document.createElement("canvas"), 3);
      return [seeks, player.frame, player.region.dataset.frame];
    }""")
    assert result == [0, 5, "5"]


# A view, then versions of it whose masks, and those of the first one where it is not waited for, come late.
LATE_MASKS = """async ({ first, next, pair }) => {
  const player = host(), { fetch } = window, late = Promise.withResolvers(), loads = [];
  const base = { ...player.view, pair, zoom: true, at: 33, layout: "side", ...first };
  let held = false;
  window.fetch = async (...request) => {
    if (held && String(request[0]).includes("/masks/")) await late.promise;
    return fetch(...request);
  };
  player.unload();
  if (first.wait) await player.load(base);
  held = true;
  if (!first.wait) loads.push(player.load(base));
  next.forEach((change, i) => loads.push(player.load({ ...base, ...change, version: base.version + 1 + i })));
  player.applyCommand({ pair, reframe: true });
  late.resolve();
  await Promise.all(loads);
  window.fetch = fetch;
}"""


def test_tracks_stay_framed_when_masks_come_late(open_small_page: OpenView):
    """Those of a version with matches, before and after the first picture, and of another layout."""
    page, square = open_small_page("uneven", panes="two"), [[0, 1]]  # absent in the first frame, there in frame 33
    later_layout = [{"layout": "stacked"}, {"layout": "stacked"}]
    for first, next in (
        ({"wait": True, "focus": True}, [{}]),
        ({"wait": False, "focus": True}, [{}]),
        ({"wait": False, "focus": False}, [{}]),
        ({"wait": True, "focus": True}, later_layout),
    ):
        page.evaluate(LATE_MASKS, {"first": first, "next": next, "pair": square})
        expect_frame(page, 33)
        expect(player(page)).to_have_attribute("data-zoom", re.compile(r"^(1\.9|2\.0)"))
        expect(player(page)).to_have_attribute("data-focus", str(first["focus"]).lower())
