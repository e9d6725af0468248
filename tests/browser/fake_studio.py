"""The studio with a model that needs no weights: `python -m tests.browser.fake_studio`, from the checkout."""

import sys
from pathlib import Path
from unittest.mock import patch

from app.app import main
from tests.app.fakes import FakePredictor


def tell_of_outside(event: str, arguments: tuple) -> None:
    """An audit hook: say on standard error when the server itself turns to another machine."""
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if host not in ("127.0.0.1", "::1", "localhost", None):
        print(f"leaves this machine: {host}", file=sys.stderr, flush=True)


def load(model: str) -> FakePredictor:
    """A model as the file's name says: fast, slow, broken, crashing."""

    behaviour = Path(model).stem
    if behaviour == "broken":
        raise ValueError(f"{Path(model).name}: not a whole PyTorch checkpoint (the file is empty)")
    if behaviour == "crashing":
        return FakePredictor(fails_at=3, error=RuntimeError("a mistake of ours"))
    return FakePredictor(seconds={"slow": 0.15}.get(behaviour, 0.01))


if __name__ == "__main__":
    sys.addaudithook(tell_of_outside)
    with patch("app.tabs.segment.run.Studio.warm"):  # these models need no torch, which takes seconds to import
        sys.exit(main(sys.argv[1:], load=load, grace=8.0))
