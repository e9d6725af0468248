"""What programs ask of the studio, through gradio's client; and the very first launch, with the real demo model."""

import json
import time
import zipfile
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Studio
from tests.browser.servers import ROOT, served
from tests.pictures import bar, pictures, write_images
from tevit.cli.main import main
from tevit.video.reader import open_video

pytestmark = pytest.mark.browser
SHAPES = ROOT / "assets" / "shapes"
LAUNCH_SECONDS = 30


@pytest.fixture(scope="module")
def client(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(studio.url, verbose=False, download_files=tmp_path_factory.mktemp("client"))


def test_segment_returns_results_and_overlay(client: Client, clips: dict[str, Path], studio: Studio):
    model = str(studio.errors.parent / "fast.pth")
    results, overlay = client.predict(handle_file(clips["street"]), model, api_name="/segment")
    assert [item["score"] for item in json.loads(Path(results).read_text())] == [0.93, 0.41]
    assert open_video(overlay).length == 18
    results, _ = client.predict(handle_file(clips["street"]), model, 0.5, 1, api_name="/segment")
    assert len(json.loads(Path(results).read_text())) == 1


def test_segment_takes_an_archive_of_images_in_natural_order(client: Client, studio: Studio, tmp_path: Path):
    files = write_images(tmp_path / "walk", {f"{n}.png": shot for n, shot in zip((1, 2, 10), pictures(3), strict=True)})
    with zipfile.ZipFile(tmp_path / "walk.zip", "w") as archive:
        for file in files.iterdir():
            archive.write(file, f"walk/{file.name}")
    model = str(studio.errors.parent / "fast.pth")
    results, overlay = client.predict(handle_file(tmp_path / "walk.zip"), model, api_name="/segment")
    assert [len(item["segmentations"]) for item in json.loads(Path(results).read_text())] == [3, 3]
    assert [bar(frame.rgb) for frame in open_video(overlay).frames()] == [0, 1, 2]


def test_segment_reports_errors(client: Client, clips: dict[str, Path]):
    with pytest.raises(AppError, match=r"words\.mp4: not a .*video"):
        client.predict(handle_file(clips["words"]), "tevit_demo", api_name="/segment")
    with pytest.raises(AppError, match="is not here any more"):
        client.predict(handle_file(clips["street"]), "nobody", api_name="/segment")


def test_evaluate_returns_the_commands_figures(client: Client, capsys: pytest.CaptureFixture[str]):
    gt, results = SHAPES / "valid.json", SHAPES / "predictions" / "tevit_demo.json"
    figures = client.predict(handle_file(gt), handle_file(results), api_name="/evaluate")
    assert main(["evaluate", str(gt), str(results), "--json"]) == 0
    assert figures == json.loads(capsys.readouterr().out)


def test_first_launch_shows_tracks(browser: Browser, tmp_path: Path):
    """With the demo model itself: nothing is loaded yet, nothing comes from elsewhere."""
    assert first_launch(browser, tmp_path) > 0


@pytest.mark.slow
def test_first_launch_is_quick(browser: Browser, tmp_path: Path):
    """To be run alone: another test beside it has one of the two cores."""
    seconds = first_launch(browser, tmp_path)
    print(f"from the start of the server to visible tracks: {seconds:.1f} s")
    assert seconds < LAUNCH_SECONDS


def first_launch(browser: Browser, tmp_path: Path) -> float:
    """Seconds from the start of the server to visible tracks."""
    began = time.monotonic()
    with served("app", home=tmp_path / "home", HF_HUB_OFFLINE="1") as address:
        page = browser.new_page()
        page.goto(address)
        shown = page.get_by_role("region", name="Video player").first
        expect(shown).to_have_attribute("data-state", "ready", timeout=20_000)
        page.get_by_role("button", name="Run", exact=True).click()
        expect(shown).to_have_attribute("data-tracks", "10", timeout=40_000)
        seconds = time.monotonic() - began
        page.close()
    return seconds
