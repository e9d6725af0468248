"""How long work says how far it is: one callback type, and its form on a terminal."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

Progress = Callable[[str, int, int | None], None]
"""Called as progress(stage, done, total): stage in words, `done` of `total` units; total None where unknown.
It may raise to stop the work: `Cancelled`, or whatever the caller wants to see come out."""


@dataclass(eq=False)
class Unfinished:
    """Where a call of `Predictor.stream` leaves what it has, so that after a cancel another one goes on behind it.

    length: frames that are done. held: the call's own.
    """

    length: int = 0
    held: Any = None


class Cancelled(Exception):
    """Raised out of a progress callback to stop the work; what is done so far stays with the caller."""


class TerminalProgress(AbstractContextManager):
    """A bar on standard error with rate and time left; silent where standard error is no terminal."""

    def __init__(self, unit: str = "frame", quiet: bool | None = None):
        """unit: what is counted; "B" is written as kB, MB. quiet: True or False instead of asking the terminal."""
        self._unit = unit
        self._quiet = not sys.stderr.isatty() if quiet is None else quiet
        self._bar: tqdm | None = None

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if self._quiet:
            return  # a disabled tqdm lacks the attributes that are used below
        if self._bar is not None and self._bar.desc != stage:
            self._close()  # the rate and the time left are those of a stage
        if self._bar is None:
            scaled = self._unit == "B"
            self._bar = tqdm(
                desc=stage,
                total=total,
                unit=self._unit,
                unit_scale=scaled,
                dynamic_ncols=True,
                leave=False,
                initial=done,
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __exit__(self, *exc: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
