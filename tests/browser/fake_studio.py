"""The studio with a model that needs no weights: `python -m tests.browser.fake_studio ARGUMENTS`, from the checkout.

FAKE_RELEASE: the address below which the published weights are.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gradio as gr

from app.app import _load, main
from app.player.proxy import BrowserVideo, VideoSource, prepare
from app.tabs.compare.events import _CompareTab
from app.tabs.segment.models import VideoPredictor
from tests.app.fakes import FakePredictor
from tevit.progress import Progress

LATE = 2.0
HELD_CLIP, HELD_PROXY = "early.mkv", "hold-proxies"  # the proxy of this clip waits while $TEVIT_HOME has this file
# While $TEVIT_HOME has this file, models wait after as many frames as it says, counted from when they first see it.
HELD_RUN = "hold-runs"
HELD_MATCHES = "hold-matches"  # while $TEVIT_HOME has this file, Compare shows videos without their matches


def report_connection(event: str, arguments: tuple) -> None:
    """An audit hook that reports on standard error when the server itself connects to another machine."""
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if host not in ("127.0.0.1", "::1", "localhost", None):
        print(f"leaves this machine: {host}", file=sys.stderr, flush=True)


def load(model: str, parameters: dict[str, Any] | None = None) -> VideoPredictor:
    """A model as the file is named: fast, slow, slower, faint, broken, crashing; a Python file is loaded as always."""
    if ".py" in Path(model).name or model == "motion":
        return _load(model, parameters)
    behaviour = Path(model).stem
    if behaviour == "broken":
        raise ValueError(f"{Path(model).name}: not a whole PyTorch checkpoint (the file is empty)")
    if behaviour == "crashing":
        return FakePredictor(fails_at=3, error=RuntimeError("a mistake of ours"))
    return FakePredictor(
        {"slow": 0.15, "slower": 0.5}.get(behaviour, 0.01),
        second_score=0.12 if behaviour == "faint" else 0.41,
        held=HeldRun(Path(os.environ["TEVIT_HOME"]) / HELD_RUN),
    )


class HeldRun:
    """Whether a model waits after so many frames, by the file HELD_RUN."""

    def __init__(self, file: Path):
        self._file = file
        self._before: int | None = None  # frames processed when the file was first seen

    def __call__(self, seen: int) -> bool:
        try:
            frames = int(self._file.read_text())
        except (OSError, ValueError):  # not there, or not written yet
            self._before = None
            return False
        if self._before is None:
            self._before = seen - 1
        return seen - self._before >= frames


postprocess = gr.Blocks.postprocess_data


async def postprocess_late(page: gr.Blocks, block_fn: Any, predictions: Any, state: Any) -> list:
    """The answer to a press on the class heart alone is sent LATE seconds late, after those to later presses."""
    answer = await postprocess(page, block_fn, predictions, state)
    text = str(answer)
    if "Remove: class heart" in text and "Remove: missed" not in text:
        await asyncio.sleep(LATE)
    return answer


def prepare_held(source: VideoSource, proxy: Path, progress: Progress, as_is: bool) -> BrowserVideo:
    """As `prepare`, but that of HELD_CLIP waits at its tenth frame while HELD_PROXY exists."""
    held = Path(os.environ["TEVIT_HOME"]) / HELD_PROXY

    def report(stage: str, done: int, total: int | None) -> None:
        progress(stage, done, total)
        while source.name == HELD_CLIP and done == 10 and held.exists():
            time.sleep(0.05)

    return prepare(source, proxy, report, as_is)


@contextmanager
def without_matches(home: Path) -> Iterator[None]:
    """Compare shows videos without their matches, which follow afterwards. home: $TEVIT_HOME of the studio."""
    (home / HELD_MATCHES).touch()
    try:
        yield
    finally:
        (home / HELD_MATCHES).unlink()


show_matches = _CompareTab._show_matches


def show_held_matches(*arguments: Any) -> dict:
    """The matches of a view that was opened, once HELD_MATCHES is not there."""
    while (Path(os.environ["TEVIT_HOME"]) / HELD_MATCHES).exists():
        time.sleep(0.05)
    return show_matches(*arguments)


def serve(arguments: list[str]) -> int:
    """Run the studio until it is terminated; its exit code."""
    sys.addaudithook(report_connection)
    # These models need no torch, which takes seconds to import.
    warm = patch("app.tabs.segment.run.Studio.warm")
    release = patch("tevit.configs.RELEASE", os.environ.get("FAKE_RELEASE", "http://127.0.0.1:9/"))
    held = patch("app.player.proxy.prepare", prepare_held)
    matches = patch.object(_CompareTab, "_show_matches", show_held_matches)
    with warm, release, held, matches, patch.object(gr.Blocks, "postprocess_data", postprocess_late):
        return main(["--run-grace", "8", *arguments], load=load)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
