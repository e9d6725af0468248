"""The studio with a model that needs no weights: `python -m tests.browser.fake_studio ARGUMENTS`, from the checkout.

With `--fork` instead of arguments it reads requests from standard input, one JSON object a line, and serves each in a
fork of itself: a fork has all modules imported, which takes seconds of a processor. See `servers.start_studio`.

FAKE_RELEASE: the address below which the published weights are.
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gradio as gr

from app.app import _load, main
from app.player.proxy import BrowserVideo, VideoSource, prepare
from app.tabs.segment.models import VideoPredictor
from tests.app.fakes import FakePredictor
from tevit.progress import Progress

LATE = 2.0
HELD_CLIP, HELD_PROXY = "early.mp4", "hold-proxies"  # the proxy of this clip waits while $TEVIT_HOME has this file


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
        {"slow": 0.15, "slower": 0.5}.get(behaviour, 0.01), second_score=0.12 if behaviour == "faint" else 0.41
    )


postprocess = gr.Blocks.postprocess_data


async def postprocess_late(page: gr.Blocks, block_fn: Any, predictions: Any, state: Any) -> list:
    """The answer to a press on the class heart alone is sent LATE seconds late, after those to later presses."""
    answer = await postprocess(page, block_fn, predictions, state)
    text = str(answer)
    if "Remove: class heart" in text and "Remove: missed" not in text:
        await asyncio.sleep(LATE)
    return answer


def prepare_held(source: VideoSource, proxy: Path, progress: Progress) -> BrowserVideo:
    """As `prepare`, but that of HELD_CLIP waits at its tenth frame while HELD_PROXY exists."""
    held = Path(os.environ["TEVIT_HOME"]) / HELD_PROXY

    def report(stage: str, done: int, total: int | None) -> None:
        progress(stage, done, total)
        while source.name == HELD_CLIP and done == 10 and held.exists():
            time.sleep(0.05)

    return prepare(source, proxy, report)


def serve(arguments: list[str]) -> int:
    """Run the studio until it is terminated; its exit code."""
    sys.addaudithook(report_connection)
    # These models need no torch, which takes seconds to import.
    warm = patch("app.tabs.segment.run.Studio.warm")
    release = patch("tevit.configs.RELEASE", os.environ.get("FAKE_RELEASE", "http://127.0.0.1:9/"))
    held = patch("app.player.proxy.prepare", prepare_held)
    with warm, release, held, patch.object(gr.Blocks, "postprocess_data", postprocess_late):
        return main(["--run-grace", "8", *arguments], load=load)


def serve_forks() -> None:
    """Start a fork for every request and print its process id.

    A request has `arguments`, `variables` of the environment, and the files `stdout` and `stderr`.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel removes forks that have ended
    for line in sys.stdin:
        request = json.loads(line)
        if pid := os.fork():
            print(pid, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(request["variables"])
        sys.exit(serve(request["arguments"]))


if __name__ == "__main__":
    if sys.argv[1:] == ["--fork"]:
        import app.ui  # noqa: F401  # what `main` imports when it is called

        serve_forks()
    else:
        sys.exit(serve(sys.argv[1:]))
