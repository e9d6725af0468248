"""The examples run, and use the public API alone."""

import ast
import json
import runpy
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

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


def test_evaluate(monkeypatch, capsys):
    shapes = EXAMPLES.parent / "assets" / "shapes"
    arguments = ["evaluate.py", str(shapes / "valid.json"), str(shapes / "predictions" / "tevit_demo.json")]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(EXAMPLES / "evaluate.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert out.startswith("AP ") and "worst videos: " in out and "error type of highest ΔAP: " in out


def test_the_notebook_runs_and_is_committed_without_output(monkeypatch):
    file = EXAMPLES / "notebook.ipynb"
    notebook = nbformat.read(file, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("text/html" in data for data in shown) == 5 and sum("image/png" in data for data in shown) == 1
    assert "data:image/jpeg" in json.dumps(shown)


def test_examples_are_short_and_import_the_public_api_alone():
    for file in EXAMPLES.glob("*.py"):
        assert len(file.read_text().splitlines()) < 60, file
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            allowed = {"tevit", "numpy", "cv2"} if file.name == "my_model.py" else {"tevit"}
            assert all(name in allowed or name.partition(".")[0] in sys.stdlib_module_names for name in names), file
