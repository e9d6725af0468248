"""What a run says: metrics.jsonl (one JSON object a line), TensorBoard where it is installed, and a progress bar."""

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tevit.io.files import atomic

METRICS = "metrics.jsonl"


class Log(AbstractContextManager):
    """Writes the figures of a run; a second start goes on where the checkpoint is, not where the file ends."""

    def __init__(self, run: Path, start: int, total: int, writes: bool = True):
        """run: folder. start: iterations done; lines of later ones are dropped, they are about to come again.

        writes: False for all processes but one, which then stay silent.
        """
        run.mkdir(parents=True, exist_ok=True)
        if writes:
            _cut(run / METRICS, start)
        self._file = open(run / METRICS if writes else os.devnull, "a")
        self._board = _tensorboard(run, start) if writes else None
        shown = None if writes else True  # None: where standard error is a terminal
        self._bar = tqdm(desc="training", total=total, initial=start, unit="step", dynamic_ncols=True, disable=shown)
        self._writes = writes

    def write(self, kind: str, iteration: int, values: Mapping[str, Any]) -> None:
        """One line: kind ("train" or "eval"), iteration (steps done), and the figures."""
        self._file.write(json.dumps({"kind": kind, "iteration": iteration, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            if self._board is not None and isinstance(value, int | float):
                self._board.add_scalar(f"{kind}/{name}", value, iteration)

    def advance(self, loss: float) -> None:
        """One step more on the bar."""
        self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        self._bar.update()

    def say(self, sentence: str) -> None:
        """A sentence above the bar."""
        if self._writes:
            tqdm.write(sentence)

    def __exit__(self, *exc: object) -> None:
        self._bar.close()
        self._file.close()
        if self._board is not None:
            self._board.close()


def evaluated(run: Path, iteration: int) -> bool:
    """Whether metrics.jsonl holds an evaluation of an iteration."""
    return any(line["kind"] == "eval" and line["iteration"] == iteration for line in read_lines(run / METRICS))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; a last one that a crash cut off is left out."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else ():
        with suppress(json.JSONDecodeError):
            lines.append(json.loads(text))
    return lines


def _cut(path: Path, start: int) -> None:
    lines = read_lines(path)
    with atomic(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines if line["iteration"] <= start))


def _tensorboard(run: Path, start: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)
