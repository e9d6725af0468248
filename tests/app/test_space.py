"""A Space's folder: what is in it, and the studio started from it alone, as Hugging Face does it."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from PIL import Image

from app import space
from app.app import parser
from tests.app.test_app import free_port

ROOT = Path(__file__).resolve().parents[2]
NAME = "Dan's TeViT: a try"
# Imported by every Python that starts with it on the path: at the end it says where our modules came from.
WITNESS = """
import atexit, json, os, sys
def report():
    ours = {name: module.__file__ for name, module in sys.modules.items() if name.split(".")[0] in ("app", "tevit")}
    lent = len(sys.modules["spaces"].decorated) if "spaces" in sys.modules else 0
    with open(f"BESIDE/{os.getpid()}.json", "w") as file:  # also of the server's worker processes
        json.dump({"modules": ours, "lent": lent}, file)
atexit.register(report)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("space") / "new" / "space"
    assert space.main([str(out), "--name", NAME]) == 0
    return out


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_folder_holds_the_library_the_studio_and_assets(folder: Path):
    assert listed(folder) == [".gitattributes", "LICENSE", "README.md", "app", "assets", "requirements.txt", "tevit"]
    assert not [path for path in folder.rglob("*") if path.name in ("__pycache__", "space.py", "tests", ".git")]
    for package in ("tevit", "app"):
        left_out = {path.name for path in (ROOT / package).iterdir()} - set(listed(folder / package)) - {"__pycache__"}
        assert left_out == ({"space.py", "benchmark.py"} if package == "app" else set())
    assert (folder / "tevit/cli/benchmark.py").is_file() and (folder / "app/static/player/player.js").is_file()
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 50e6
    assert listed(folder.parent) == ["space"], "the temporary folder is removed"


def front(readme: Path) -> dict[str, str]:
    """The lines between the dashes, as plain as YAML can be: a key and a value each."""
    lines = readme.read_text("utf-8").split("---\n")[1].splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_the_front_matter(folder: Path):
    values, expected = front(folder / "README.md"), {"sdk": "gradio", "app_file": "app/app.py", "license": "apache-2.0"}
    assert expected.items() <= values.items() and values["title"] == "'Dan''s TeViT: a try'"
    assert (values["python_version"], values["suggested_hardware"], values["models"]) == ('"3.12"', "zero-a10g", "[]")
    assert (folder / values["app_file"]).is_file()
    pinned = re.search(r"^gradio==(.*)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None and front(ROOT / "README.md")["sdk_version"] == pinned[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert Version(values["sdk_version"]) in Requirement(project["optional-dependencies"]["app"][0]).specifier


def test_the_requirements(folder: Path):
    installed = {item.name: item for item in map(Requirement, (folder / "requirements.txt").read_text().splitlines())}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {Requirement(line).name for line in project["dependencies"]}
    assert set(installed) == needed | {"spaces", "authlib", "itsdangerous"} and "gradio" not in installed
    torch = [f"2.{minor}.0" for minor in range(6, 16) if f"2.{minor}.0" in installed["torch"].specifier]
    assert torch == ["2.8.0", "2.9.0", "2.10.0", "2.11.0"]
    vision = [f"0.{minor}.0" for minor in range(21, 31) if f"0.{minor}.0" in installed["torchvision"].specifier]
    assert vision == ["0.23.0", "0.24.0", "0.25.0", "0.26.0"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert space.main(list(arguments)) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.startswith("app.space: ") and output.err.count("\n") == 1
    return output.err


def test_nonempty_folder_is_unchanged(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert "is not empty" in refused(capsys, str(tmp_path / "full"))
    assert "is a file" in refused(capsys, str(tmp_path / "full" / "mine.txt"))
    assert "lies in what is to be copied" in refused(capsys, str(ROOT / "app" / "space"))
    assert "one line" in refused(capsys, str(tmp_path / "new"), "--name", "a\nsdk: docker")
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "mine.txt"]


def test_another_gradio_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(space, "version", lambda package: "5.49.1")
    assert "to be installed, got 5.49.1" in refused(capsys, str(tmp_path / "new"))


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> list[str]:
        raise OSError("no space left on device")

    monkeypatch.setattr(space, "requirements", full)
    monkeypatch.setattr(space, "FOLDERS", ("assets/clips",))
    monkeypatch.setattr(space, "OMITTED", ())
    assert space.main([str(tmp_path / "new")]) == 2 and listed(tmp_path) == []


def test_address_on_a_space(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert vars(parser().parse_args([])).items() >= {"host": "127.0.0.1", "port": None}.items()
    monkeypatch.setenv("SPACE_ID", "somebody/studio")
    assert vars(parser().parse_args([])).items() >= {"host": "0.0.0.0", "port": 7860}.items()


# --- started from the folder alone


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Callable[[], dict]]]:
    """The address, and a function that ends the server and returns the report of its imports."""
    beside, port = tmp_path_factory.mktemp("beside"), free_port()
    shutil.copy(Path(__file__).with_name("fake_spaces.py"), beside / "spaces.py")
    (beside / "sitecustomize.py").write_text(WITNESS.replace("BESIDE", str(beside)))
    environment = os.environ | {"SPACE_ID": "somebody/studio", "TEVIT_HOME": str(beside / "home")}
    environment |= {"PYTHONPATH": str(beside), "PYTHONDONTWRITEBYTECODE": "1", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "app/app.py", "--port", str(port)]
    with (beside / "output").open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)

    def ended() -> dict:
        process.terminate()
        process.wait(timeout=120)
        return json.loads((beside / f"{process.pid}.json").read_text())

    try:
        wait_until_serving(f"http://127.0.0.1:{port}/", process, beside / "output")
        yield f"http://127.0.0.1:{port}/", ended
    finally:
        process.kill()
        process.wait()


def wait_until_serving(address: str, process: subprocess.Popen, output: Path) -> None:
    """Wait until the page is there."""
    start = time.monotonic()
    while time.monotonic() - start < 180:
        assert process.poll() is None, output.read_text()
        try:
            urllib.request.urlopen(address, timeout=10).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(output.read_text())


def fetched(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=20) as response:
        return response.read()


def test_page_has_its_sample_clips(server: tuple[str, Callable[[], dict]]):
    page = fetched(server[0]).decode()
    assert "TeViT Studio" in page and "crossing" in page


def test_page_can_be_installed_with_its_icon(server: tuple[str, Callable[[], dict]]):
    address = server[0]
    manifest = json.loads(fetched(address + "manifest.json"))
    assert (manifest["name"], manifest["display"]) == ("TeViT Studio", "standalone")
    assert [icon["sizes"] for icon in manifest["icons"]] == ["192x192", "512x512"]
    for icon in manifest["icons"]:
        picture = Image.open(io.BytesIO(fetched(icon["src"] if "://" in icon["src"] else address + icon["src"][1:])))
        assert f"{picture.width}x{picture.height}" == icon["sizes"]
    assert fetched(address + "favicon.ico") == (ROOT / "assets" / "icon.png").read_bytes()
    assert b'rel="manifest"' in fetched(address)


def test_only_the_folders_code_was_imported(folder: Path, server: tuple[str, Callable[[], dict]]):
    """The last of these: it ends the server."""
    seen = server[1]()
    assert {"app.ui", "app.tabs.segment.run", "tevit.download"} <= seen["modules"].keys()
    for name, file in seen["modules"].items():
        assert file is None or Path(file).is_relative_to(folder), name
    assert seen["lent"] == 1, "ZeroGPU looks for what it is to lend to before the page is launched"
