"""The wheel contains every module and data file, with the studio and training under names of their own."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"tevit": "tevit", "app": "tevit_studio", "train": "tevit_train"}  # folder -> name in the wheel
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Paths in a wheel built from a copy, so that nothing is written into the checkout."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in (*PACKAGES, "assets"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source / file)
    command = [sys.executable, "-c", BUILD, str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


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
