"""Progress of long operations: the callback type, cancelling, and a bar on a terminal."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

Progress = Callable[[str, int, int | None], None]
"""Called as progress(stage, done, total): the stage's name, `done` of `total` units; total None where unknown.
An exception that it raises, such as `Cancelled`, stops the work and is raised by the function that called it."""


@dataclass(eq=False)
class ResumeState:
    """The state of a call of `Predictor.stream` that was cancelled; passed to the next call, prediction is resumed.

    length: frames predicted so far. state: private to `Predictor`.
    """

    length: int = 0
    state: Any = None


class Cancelled(Exception):
    """Raised by a progress callback to stop the work; results so far stay valid."""


class TerminalProgress(AbstractContextManager):
    """A bar on standard error with rate and remaining time; silent where standard error is no terminal."""

    def __init__(self, unit: str = "frame", quiet: bool | None = None):
        """unit: what is counted; "B" is shown as kB, MB. quiet: default: whether standard error is no terminal."""
        self._unit = unit
        self._quiet = not sys.stderr.isatty() if quiet is None else quiet
        self._bar: tqdm | None = None

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if self._quiet:
            return  # a disabled tqdm lacks the attributes used below
        if self._bar is not None and self._bar.desc != stage:
            self._close()  # rate and remaining time belong to one stage
        if self._bar is None:
            scale = self._unit == "B"
            self._bar = tqdm(
                None, stage, total, leave=False, unit=self._unit, unit_scale=scale, dynamic_ncols=True, initial=done
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __exit__(self, *exc: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
