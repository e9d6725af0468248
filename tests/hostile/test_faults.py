"""One round of each fault of `python -m tests.hostile.faults`, in a process that may fork."""

import subprocess
import sys

import pytest

from tests.browser.servers import ROOT


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked, and their files limited in size")
def test_nothing_is_lost_or_half_written():
    command = [sys.executable, "-m", "tests.hostile.faults", "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "FOUND" not in done.stdout, done.stdout + done.stderr
