"""`tevit studio` and `tevit train` start the packages beside `tevit`, with all their arguments."""

from pathlib import Path

import pytest

import tevit
from tests.processes import run_python
from tevit.cli import main as programs
from tevit.cli.main import main

ROOT = Path(tevit.__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["studio", "train"])
def test_both_start_from_any_folder_even_one_with_packages_of_the_same_names(name, tmp_path):
    """PYTHONPATH stands for an installed checkout: the folder is not the current one."""
    for folder in ("app", "train"):
        (tmp_path / folder).mkdir()
        for file in ("__init__.py", "__main__.py", "app.py"):
            (tmp_path / folder / file).write_text("raise SystemExit('another package')")
    path = {"PYTHONPATH": str(ROOT)}
    run = run_python("-m", "tevit", name, "--help", folder=tmp_path, cwd=tmp_path, variables=path)
    assert run.returncode == 0 and run.stdout.startswith(f"usage: tevit {name} "), run.stdout + run.stderr


def test_options_and_exit_code_are_those_of_the_program(capsys):
    assert main(["studio", "--port", "70000"]) == 2
    assert capsys.readouterr().err == "tevit studio: --port: expected 1 to 65535, got 70000\n"
    assert main(["train", "nothing", "--data", "none", "--out", "none"]) == 2
    assert "nothing" in capsys.readouterr().err


def test_without_gradio_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(programs, "find_spec", lambda name: None)
    assert main(["studio"]) == 2
    assert capsys.readouterr().err == "tevit: the studio needs gradio: pip install 'tevit-studio[app]'\n"


def test_an_installation_without_the_studio_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(tevit, "__file__", str(tmp_path / "tevit" / "__init__.py"))
    with pytest.raises(ValueError, match=r"expected the package tevit_studio in .*: install the whole wheel"):
        programs.package("tevit_studio", "app")
