"""What programs ask of the studio, through gradio's client; and the very first launch, with the real demo model."""

import gzip
import json
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.client import Job
from gradio_client.exceptions import AppError
from gradio_client.utils import StatusUpdate
from PIL import Image
from playwright.sync_api import Browser, expect

from tests import annotations as make
from tests.app.fakes import make_video
from tests.browser.conftest import Studio
from tests.browser.servers import ROOT, start_server
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


def log_messages(job: Job) -> list[tuple[str, str]]:
    """Message and level of all log messages of a call that has ended."""
    assert job.communicator is not None
    updates = job.communicator.updates
    both = [updates.get_nowait() for _ in range(updates.qsize())]
    return [update.log for update in both if isinstance(update, StatusUpdate) and update.log is not None]


def test_segment_takes_an_archive_of_images_in_natural_order(client: Client, studio: Studio, tmp_path: Path):
    files = write_images(tmp_path / "walk", {f"{n}.png": shot for n, shot in zip((1, 2, 10), pictures(3), strict=True)})
    with zipfile.ZipFile(tmp_path / "walk.zip", "w") as archive:
        for file in files.iterdir():
            archive.write(file, f"walk/{file.name}")
    model = str(studio.errors.parent / "fast.pth")
    job = client.submit(handle_file(tmp_path / "walk.zip"), model, api_name="/segment")
    results, overlay = job.result()
    assert [len(item["segmentations"]) for item in json.loads(Path(results).read_text())] == [3, 3]
    assert [bar(frame.rgb) for frame in open_video(overlay).frames()] == [0, 1, 2]
    note = "frames are in natural order ('2.png' is number 2), not alphabetical ('10.png' would be)"
    assert [message for message, level in log_messages(job) if level == "warning"] == [note]


def test_segment_reports_errors(client: Client, clips: dict[str, Path]):
    with pytest.raises(AppError, match=r"words\.mp4: not a .*video"):
        client.predict(handle_file(clips["words"]), "tevit_demo", api_name="/segment")
    with pytest.raises(AppError, match="is not here any more"):
        client.predict(handle_file(clips["street"]), "nobody", api_name="/segment")


@pytest.mark.parametrize("kind", ["tif", "webp", "gif", "ts"])
def test_segment_reads_all_pictures_of_a_file(client: Client, studio: Studio, tmp_path: Path, kind: str):
    """All pages or frames of a file of several pictures, and of a concatenated stream."""
    pages = [Image.fromarray(np.full((48, 64, 3), 50 * n + 20, np.uint8)) for n in range(4)]
    file = tmp_path / f"walk.{kind}"
    if kind == "ts":
        one = make_video(tmp_path / "one.ts", frames=6)
        file.write_bytes(one.read_bytes() * 2)
    else:
        pages[0].save(file, save_all=True, append_images=pages[1:], duration=[100, 300, 50, 200], lossless=True)
    model = str(studio.errors.parent / "fast.pth")
    results, overlay = client.predict(handle_file(file), model, api_name="/segment")
    count = 12 if kind == "ts" else 4
    assert [len(item["segmentations"]) for item in json.loads(Path(results).read_text())] == [count] * 2
    times = [frame.time for frame in open_video(overlay).frames()]
    if kind in ("webp", "gif"):
        assert times == pytest.approx([0, 0.1, 0.4, 0.45], abs=0.011)
    assert len(times) == count and times == sorted(set(times))


@pytest.mark.parametrize("wrong", [None, "many", True, [], {}, -1, 10**30, 0])
@pytest.mark.parametrize("field", ["score_threshold", "max_tracks", "model", "video"])
def test_segment_names_an_argument_of_the_wrong_type(client: Client, clips: dict[str, Path], field: str, wrong: Any):
    valid = {"video": handle_file(clips["street"]), "model": "tevit_demo", "score_threshold": 0.5, "max_tracks": 3}
    if (field, wrong) == ("score_threshold", 0):
        return
    with pytest.raises(AppError) as caught:
        client.predict(**(valid | {field: wrong}), api_name="/segment")
    if field in ("score_threshold", "max_tracks"):
        assert str(caught.value).startswith("/segment: expected ") and str(caught.value).endswith(f" in {field}")


def test_evaluate_returns_the_commands_figures(client: Client, capsys: pytest.CaptureFixture[str]):
    gt, results = SHAPES / "valid.json", SHAPES / "predictions" / "tevit_demo.json"
    figures = client.predict(handle_file(gt), handle_file(results), api_name="/evaluate")
    assert main(["evaluate", str(gt), str(results), "--json"]) == 0
    assert figures == json.loads(capsys.readouterr().out)


ODD = {
    "id 0": lambda data: data["annotations"][0].update(id=0),
    "short": lambda data: [data["annotations"][0][key].pop() for key in ("segmentations", "areas", "bboxes")],
    "unlisted": lambda data: data["annotations"][1].update(category_id=99),
    "null": lambda data: data.update(annotations=None),
}


@pytest.mark.parametrize("odd", ODD)
def test_evaluate_carries_the_commands_warnings_without_folders(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str], odd: str
):
    data = make.sample()
    ODD[odd](data)
    packed = tmp_path / "labels.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(data).encode()))
    results = make.save(tmp_path, "found.json", make.submission())
    figures = client.predict(handle_file(packed), handle_file(results), api_name="/evaluate")
    assert main(["evaluate", str(packed), str(results), "--json"]) == 0
    output = capsys.readouterr()
    lines = output.err.replace(f"{tmp_path}/", "").splitlines()
    assert lines and lines[0].startswith("tevit: labels.json.gz: ")
    assert figures.pop("warnings") == [line.removeprefix("tevit: ") for line in lines]
    assert figures == json.loads(output.out)


def test_evaluate_maps_indices_on_request(client: Client, tmp_path: Path):
    files = [make.save(tmp_path, "gt.json", make.sample())]
    predictions = [item | {"category_id": {2: 0, 4: 1}[item["category_id"]]} for item in make.submission()]
    files = [*map(handle_file, (*files, make.save(tmp_path, "found.json", predictions)))]
    with pytest.raises(AppError, match=r"^found\.json: 3 of 3 .* gt\.json lacks .* indices from 0") as caught:
        client.predict(*files, api_name="/evaluate")
    assert "/" not in str(caught.value).replace("--", "")
    figures = client.predict(*files, "contiguous", api_name="/evaluate")
    assert figures["AP"] > 0
    assert figures["warnings"] == ["found.json: the category ids are read as indices from 0 of the sorted categories"]
    with pytest.raises(AppError, match="map_classes: expected one of contiguous, from-0, from-1, keep, got 'names'"):
        client.predict(*files, "names", api_name="/evaluate")


@pytest.mark.parametrize("broken", ["gt", "results", "kind"])
def test_evaluate_names_a_faulty_file_without_its_folder(client: Client, tmp_path: Path, broken: str):
    data, predictions = make.sample(), make.submission()
    if broken == "gt":
        data["annotations"][0]["segmentations"][0]["counts"] = [1]
    else:
        predictions[0]["segmentations"][0]["counts"] = "1"
    gt = make.save(tmp_path, "gt.json", data if broken != "kind" else predictions)
    files = handle_file(gt), handle_file(make.save(tmp_path, "found.json", predictions))
    name = {"gt": r"gt\.json: annotation 11", "results": r"found\.json: prediction 1"}.get(
        broken, r"gt\.json is a list"
    )
    with pytest.raises(AppError, match=f"^{name}") as caught:
        client.predict(*files, api_name="/evaluate")
    assert "/" not in str(caught.value)


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
    with start_server("app", home=tmp_path / "home", variables={"HF_HUB_OFFLINE": "1"}) as address:
        page = browser.new_page()
        page.goto(address)
        shown = page.get_by_role("region", name="Video player").first
        expect(shown).to_have_attribute("data-state", "ready", timeout=120_000)
        page.get_by_role("button", name="Run", exact=True).click()
        expect(shown).to_have_attribute("data-tracks", re.compile("[1-9]"), timeout=120_000)
        seconds = time.monotonic() - began
        page.close()
    return seconds
