"""Runs that pages start, by a real server: the limits of one visitor, and a run's link after the studio has ended."""

import re
from pathlib import Path

import httpx

from tests.app.fakes import make_video
from tests.app.page_client import PageClient
from tests.app.test_ending import call_segment, listen, upload
from tests.browser.servers import start_studio

FRAMES = 18


def model(folder: Path, name: str) -> str:
    """A fake model of that speed."""
    (folder / f"{name}.pth").touch()
    return str(folder / f"{name}.pth")


def token_of(answer: str) -> str:
    match = re.search(r'"data": \["([0-9a-f]{32})"', answer)
    assert match, answer
    return match[1]


def test_two_runs_of_one_address_in_a_public_studio_and_two_of_a_browser_elsewhere(tmp_path: Path):
    slow = model(tmp_path, "slower")
    refused = "2 runs of yours are in the queue, the first at place 1 of 2; at most 2 of one visitor"
    with start_studio("--public", "--checkpoint", slow, home=tmp_path / "public") as (url, _):
        for _ in range(2):
            token_of(PageClient(url).run("crossing", slow, FRAMES))
        assert refused in PageClient(url).run("crossing", slow, FRAMES)
        sent = upload(url, make_video(tmp_path / "street.mp4", frames=6))
        assert refused in listen(url, call_segment(url, sent, Path(slow))).result(20)
    with start_studio("--checkpoint", slow, home=tmp_path / "home") as (url, _):
        page = PageClient(url)
        for _ in range(2):
            token_of(page.run("crossing", slow, FRAMES))
        assert refused in page.run("crossing", slow, FRAMES)
        token_of(PageClient(url).run("crossing", slow, FRAMES))


def test_the_link_of_a_run_that_sigterm_stopped_shows_the_finished_windows(tmp_path: Path):
    slow = model(tmp_path, "slow")
    with start_studio("--checkpoint", slow, home=tmp_path / "home") as (url, _):
        page = PageClient(url)
        token = token_of(page.run("crossing", slow, FRAMES))
        page.call("follow_2", token, until=lambda text: '"version": 6' in text)
    with start_studio("--checkpoint", slow, home=tmp_path / "home") as (url, _):
        page = PageClient(url, f"run={token}")
        shown = page.call("begin")
        match = re.search(
            rf"crossing, slow\.pth\. The first (6|12) of {FRAMES} frames are kept\. To run a model,", shown
        )
        assert match and "choose the video again: it begins at the first frame." in shown
        assert f'"label": "dog", "score": 0.93, "seen": [[0, {match[1]}]]' in shown
        page.call("offer")
        assert "Drop a video first." in page.call("submit", slow, 10, 0, FRAMES - 1, None)
        page.call("write_1")
        results = httpx.get(f"{url}studio/shows/{token}/files/results.json").json()
        assert [len(track["segmentations"]) for track in results] == [int(match[1])] * 2
