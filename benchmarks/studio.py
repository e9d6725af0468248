"""A studio of its own for the benchmarks of this folder."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def start_studio(home: str, *options: str) -> Iterator[tuple[str, int]]:
    """Address and process number of a studio, which ends with the block.

    home: folder of its data. options: of `tevit studio`.
    """
    own = {"TEVIT_HOME": home, "NO_PROXY": "127.0.0.1", "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "app", *options]
    server = subprocess.Popen(command, cwd=ROOT, env=own, text=True, stdout=subprocess.PIPE)
    assert server.stdout is not None
    try:
        yield next(word for word in server.stdout.readline().split() if word.startswith("http://")), server.pid
    finally:
        server.terminate()
        server.wait(20)
