"""The wheel contains every module and data file, with the studio and training under names of their own."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.processes import run_python

ROOT = Path(__file__).parent.parent
PACKAGES = {"tevit": "tevit", "app": "tevit_studio", "train": "tevit_train"}  # folder -> name in the wheel
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


def build(kind: str, source: Path, out: Path) -> Path:
    """The file that setuptools' function of this name writes."""
    command = [sys.executable, "-c", BUILD, kind, str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.iterdir())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the sdist of a copy, so that nothing is written into the checkout and the sdist is whole."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
    for folder in (*PACKAGES, "assets"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source / file)
    for folder in ("sdist", "wheel", "unpacked"):
        (out / folder).mkdir()
    with tarfile.open(build("build_sdist", source, out / "sdist")) as archive:
        archive.extractall(out / "unpacked", filter="data")
    return build("build_wheel", next((out / "unpacked").iterdir()), out / "wheel")


@pytest.fixture(scope="module")
def names(wheel) -> set[str]:
    """Paths in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("folder", PACKAGES)
def test_every_file_of_a_package_is_in_the_wheel(names, folder):
    files = [file.relative_to(ROOT / folder) for file in (ROOT / folder).rglob("*") if file.is_file()]
    expected = {f"{PACKAGES[folder]}/{file.as_posix()}" for file in files if "__pycache__" not in file.parts}
    assert {name for name in names if name.startswith(f"{PACKAGES[folder]}/") and "/assets/" not in name} == expected


def test_bundled_files_are_in_the_wheel_and_nothing_else_is(names):
    tracked = {file for file in (ROOT / "assets").rglob("*") if file.is_file() and "make" not in file.parts}
    expected = {f"tevit/assets/{file.relative_to(ROOT / 'assets').as_posix()}" for file in tracked}
    assert {name for name in names if name.startswith("tevit/assets/")} == expected
    tops = {name.partition("/")[0] for name in names}
    assert tops == {*PACKAGES.values(), next(top for top in tops if top.endswith(".dist-info"))}


def test_the_wheel_is_small_enough_for_one_line(wheel):
    assert wheel.stat().st_size < 40_000_000


def test_the_studio_and_training_run_under_their_names(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = """if True:
        import sys
        import tevit_studio.ui, tevit_train.setup
        from tevit_studio.app import parser as studio
        from tevit_train.__main__ import parser as training
        studio(), training()
        assert not {"app", "train"} & sys.modules.keys()
        print(tevit_studio.ui.__file__, sys.modules["tevit"].__file__)"""
    path = {"PYTHONPATH": str(tmp_path / "site")}
    done = run_python("-c", program, folder=tmp_path, cwd=tmp_path, variables=path)
    assert done.returncode == 0, done.stderr
    assert all(str(tmp_path / "site") in file for file in done.stdout.split())
    for name in ("studio", "train"):
        done = run_python("-m", "tevit", name, "--help", folder=tmp_path, cwd=tmp_path, variables=path)
        assert done.returncode == 0 and done.stdout.startswith(f"usage: tevit {name} "), done.stderr
