"""`tevit predict --stream` on ten minutes of 720p, with the model that comes with the package, killed once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.long import SIZE_HW, clips, write_ten_minutes
from tevit.inference.stream_file import LINES
from tevit.masks import json as segmentations
from tevit.masks import ops as masks
from tevit.video.reader import open_video

ROOT = Path(__file__).resolve().parents[3]


def start(video: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "tevit", "predict", str(video), "--model", "tevit_demo", "--out", str(out)]
    return subprocess.Popen([*command, "--stream", "--json"], cwd=ROOT, text=True, stdout=subprocess.PIPE)


def lines(file: Path) -> int:
    return len(file.read_bytes().splitlines()) if file.exists() else 0


@pytest.mark.slow
def test_ten_minutes_resume_after_a_kill(tmp_path):
    length = write_ten_minutes(tmp_path / "long.mp4")
    written = tmp_path / "out" / "long" / LINES
    first = start(tmp_path / "long.mp4", tmp_path / "out")
    while lines(written) < 60:
        assert first.poll() is None
        time.sleep(0.2)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    original = written.read_bytes()
    second = start(tmp_path / "long.mp4", tmp_path / "out")
    assert json.loads(second.communicate()[0])
    assert second.returncode == 0
    assert written.read_bytes().startswith(original[: original.rindex(b"\n")])
    tracks = json.loads((tmp_path / "out" / "long" / "results.json").read_text())
    assert len(tracks) == 100 and {len(track["segmentations"]) for track in tracks} == {length}
    present = (
        np.array([masks.areas([segmentations.from_json(rle, SIZE_HW) for rle in it["segmentations"]]) for it in tracks])
        > 0
    )
    longest = max(clip.length or 0 for clip in clips())
    assert present.any(0).mean() > 0.5 and present.sum(1).max() <= longest  # a clip's end is a cut
    assert open_video(tmp_path / "out" / "long" / "overlay.mp4").length == length
