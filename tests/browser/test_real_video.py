"""A video that is not one of the package, in a studio without weights: the published model is offered first."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.servers import record_problems, start_studio
from tests.browser.test_segment import button, choose, expect_done, player

pytestmark = pytest.mark.browser

CONTENT = bytes(range(256)) * 12_000  # 3 MB
HALF = len(CONTENT) // 2
GET = "Get tevit_msgshift, 648 MB"


class Weights(ThreadingHTTPServer):
    """Serves CONTENT under every address; the second half only once `whole` is set."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.whole = threading.Event()
        self.starts: list[int] = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, requested = self.server, self.headers.get("Range")
        assert isinstance(server, Weights)
        start = int(requested.removeprefix("bytes=").rstrip("-")) if requested else 0
        server.starts.append(start)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:HALF])
        server.whole.wait(600)
        self.wfile.write(CONTENT[max(start, HALF) :])

    def log_message(self, format, *args):
        pass


@pytest.fixture
def release() -> Iterator[Weights]:
    with Weights() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.whole.set()
        server.shutdown()


@pytest.fixture
def studio(release: Weights, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address and checkpoints folder of a studio without weights."""
    home, address = tmp_path / "home", f"http://127.0.0.1:{release.server_address[1]}/"
    with start_studio(home=home, errors=tmp_path / "errors", variables={"FAKE_RELEASE": address}) as (url, _):
        yield url, home / "checkpoints"


def replace_video(page: Page, clip: Path) -> None:
    clear = page.locator("#video").get_by_role("button", name="Clear", exact=True)
    if clear.is_visible():
        clear.click()
    page.locator("input[type=file]").first.set_input_files(clip)
    expect(page.locator(".player canvas").first).to_have_attribute("aria-label", clip.name)
    expect(player(page)).to_have_attribute("data-state", "ready")


def test_from_a_real_video_to_a_published_model(
    browser: Browser, studio: tuple[str, Path], release: Weights, clips: dict[str, Path]
):
    url, checkpoints = studio
    problems: list[str] = []
    page = browser.new_page()
    record_problems(page, url, problems)
    page.goto(url)
    expect(page.get_by_role("combobox", name="Model")).to_have_value("tevit_demo (shapes)")
    expect(button(page, "Run")).to_be_enabled()

    replace_video(page, clips["street"])
    expect(page.get_by_role("combobox", name="Model")).to_have_value("tevit_msgshift (no weights)")
    expect(button(page, GET)).to_be_visible()
    expect(button(page, "Run")).to_be_hidden()
    advice = page.locator("#advice")
    for text in (
        f"put tevit_msgshift.pth into {checkpoints}",
        "--checkpoint",
        "nothing real",
        "motion needs no weights",
    ):
        expect(advice).to_contain_text(text)

    choose(page, "tevit_demo (shapes)")
    expect(button(page, "Run")).to_be_enabled()
    expect(button(page, GET)).to_be_hidden()
    expect(advice).to_contain_text("tevit_demo recognizes eight synthetic shapes and nothing real")
    replace_video(page, clips["dog"])
    expect(page.get_by_role("combobox", name="Model")).to_have_value("tevit_demo (shapes)")  # it was chosen
    choose(page, "motion")
    expect(advice).to_contain_text("nothing that stands still")

    choose(page, "tevit_msgshift (no weights)")
    button(page, GET).click()
    downloading = page.get_by_role("progressbar", name="downloading")
    expect(downloading).to_have_attribute("aria-valuemax", str(len(CONTENT)))
    expect(downloading).to_have_attribute("aria-valuenow", re.compile(r"^1\d{6}$"))  # more than a megabyte
    expect(button(page, GET)).to_be_disabled()
    button(page, "Cancel").click()
    expect(page.locator("#panel")).to_contain_text("Cancelled: what was downloaded is kept")
    button(page, "Resume tevit_msgshift, 1 of 648 MB").click()
    release.whole.set()
    expect(page.get_by_role("combobox", name="Model")).to_have_value("tevit_msgshift (AP 46.3)")
    assert len(release.starts) == 2 and release.starts[1] > 0
    assert (checkpoints / "tevit_msgshift.pth").read_bytes() == CONTENT
    expect(advice).not_to_contain_text("weights")
    button(page, "Run").click()
    expect_done(page)

    choose(page, "tevit_r50 (no weights)")
    expect(button(page, "Get tevit_r50, 691 MB")).to_be_visible()
    (checkpoints / "tevit_r50.pth").write_bytes(b"weights")  # listed without a press
    expect(page.get_by_role("combobox", name="Model")).to_have_value("tevit_r50 (AP 42.1)")
    expect(button(page, "Run")).to_be_enabled()
    (checkpoints / "mine.safetensors").write_bytes(b"weights")
    choose(page, "mine.safetensors")

    release.shutdown()
    release.server_close()
    choose(page, "tevit_swin_l_mst (no weights)")
    button(page, "Get tevit_swin_l_mst, 1376 MB").click()
    file = f"put tevit_swin-l_mstrain.pth into {checkpoints}, or name another file with --checkpoint"
    expect(page.locator("#panel").get_by_role("alert")).to_contain_text(f"{file}; the model motion needs no weights")
    expect(button(page, "Get tevit_swin_l_mst, 1376 MB")).to_be_enabled()
    page.close()
    assert problems == []
