"""Being asked to stop: SIGTERM and SIGINT are noted, and the loop leaves after the step, with a checkpoint."""

import signal
from contextlib import AbstractContextManager
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest(AbstractContextManager):
    """While entered, the first signal sets `signum`; a second one acts as it did before, at once."""

    def __init__(self) -> None:
        self.signum = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def _note(self, number: int, frame: object) -> None:
        self.signum = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def __exit__(self, *exc: object) -> None:
        self._restore()
