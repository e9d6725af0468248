"""One round of each fault of `python -m tests.hostile.faults`, in a process that may fork."""

import sys
from pathlib import Path

import pytest

from tests.processes import run_python


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked, and their files limited in size")
def test_nothing_is_lost_or_half_written(tmp_path: Path):
    done = run_python("-m", "tests.hostile.faults", "--rounds", "1", folder=tmp_path)
    assert done.returncode == 0 and "FOUND" not in done.stdout, done.stdout + done.stderr
