"""The examples run as they stand."""

import runpy
import sys
from pathlib import Path

from tests.fakes import squares, write_frames
from tevit.checkpoint import save_model

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_predict(tiny_model, tmp_path, monkeypatch, capsys):
    save_model(tmp_path / "tiny.safetensors", tiny_model)
    write_frames(tmp_path / "clip", squares(4, (64, 96), [lambda t: (5 + t, 10)]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["predict.py", "clip", "tiny.safetensors"])
    runpy.run_path(str(EXAMPLES / "predict.py"), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) == 10
    assert (tmp_path / "results.json").exists() and (tmp_path / "overlay.mp4").exists()


def test_examples_are_short():
    for file in EXAMPLES.glob("*.py"):
        assert len(file.read_text().splitlines()) < 60, file
