"""Where an evaluation is worked out: in a process of its own that says how far it is and can be ended."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from app.analysis.evaluating import Order, evaluate_into

_ROOT = Path(__file__).resolve().parents[2]

Report = Callable[[str, float], None]
"""Called as report(stage, share of 1); may raise to stop."""

_WEIGHTS = {"reading": (0.0, 0.05), "measuring masks": (0.05, 0.5)}


def _share(stage: str, done: int, total: int) -> float:
    """Of the whole work: masks take half of it."""
    start, width = _WEIGHTS.get(stage, (0.5, 0.5))
    return start + width * done / max(total, 1)


def here(order: Order, report: Report) -> None:
    evaluate_into(order, lambda stage, done, total: report(stage, _share(stage, done, total)))


def elsewhere(order: Order, report: Report) -> None:
    """Raises: ValueError with the process's own sentence."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "app.analysis.evaluating"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(order))
            process.stdin.close()
            error = _listen(process, report)
        except BaseException:
            process.kill()
            raise
    if error or process.returncode:
        raise ValueError(error or f"the evaluation ended with code {process.returncode}")


def _listen(process: "subprocess.Popen[bytes]", report: Report) -> str:
    """Pass on what it says; returns what went wrong. It is asked five times a second whether to go on."""
    assert process.stdout is not None
    last = threading.Event()
    lines: list[bytes] = []
    stream = process.stdout

    def read() -> None:
        for line in stream:
            lines.append(line)
        last.set()

    threading.Thread(target=read, daemon=True).start()
    seen, stage, share = 0, "starting", 0.0
    while True:
        over = last.wait(0.05)
        for line in lines[seen:]:
            seen += 1
            said = json.loads(line)
            if "error" in said:
                return str(said["error"])
            stage, share = said["stage"], _share(said["stage"], said["done"], said["total"])
        report(stage, share)
        if over and seen == len(lines):
            return ""
