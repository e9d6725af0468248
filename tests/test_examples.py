"""The examples run as they stand."""

import subprocess
import sys
from pathlib import Path

from tests.fakes import squares, write_frames
from tevit.checkpoint import save_model

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_predict(tiny_model, tmp_path):
    save_model(tmp_path / "tiny.safetensors", tiny_model)
    write_frames(tmp_path / "clip", squares(4, (64, 96), [lambda t: (5 + t, 10)]))
    command = [sys.executable, EXAMPLES / "predict.py", "clip", "tiny.safetensors"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 10
    assert (tmp_path / "results.json").exists() and (tmp_path / "overlay.mp4").exists()


def test_examples_are_short():
    for file in EXAMPLES.glob("*.py"):
        assert len(file.read_text().splitlines()) < 60, file
