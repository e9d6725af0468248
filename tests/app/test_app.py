"""Starting the studio in a process of its own, as a module and as a script from another folder."""

import io
import logging
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from app.app import LogFormatter

ROOT = Path(__file__).resolve().parents[2]
MODULE = ["-m", "app"]
SCRIPT = [str(ROOT / "app" / "app.py")]
HEAVY = {"torch", "torchvision", "timm", "plotly"}


def start(arguments: list[str], folder: Path, tmp_path: Path) -> subprocess.Popen:
    """Start a process that lists its imports on standard error, which is written to a file."""
    environment = os.environ | {"TEVIT_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"}
    with (tmp_path / "errors").open("w") as errors:
        return subprocess.Popen(
            [sys.executable, "-X", "importtime", *arguments],
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=errors,
        )


def ended(process: subprocess.Popen, tmp_path: Path) -> tuple[str, str, set[str]]:
    """Standard output, standard error without the list, and the top-level modules in the list."""
    output, _ = process.communicate(timeout=120)
    lines = (tmp_path / "errors").read_text().splitlines(keepends=True)
    listed = [line for line in lines if line.startswith("import time:")]
    modules = {line.rpartition("|")[2].strip().split(".")[0] for line in listed}
    return output, "".join(line for line in lines if line not in listed), modules


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("how", ["module", "script"])
def test_page_is_served_without_heavy_imports(how: str, tmp_path: Path):
    arguments, folder = (MODULE, ROOT) if how == "module" else (SCRIPT, tmp_path)
    port = free_port()
    server = start([*arguments, "--port", str(port)], folder, tmp_path)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == f"TeViT Studio: http://127.0.0.1:{port}/ (Ctrl-C ends it)\n"
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).read().decode()
        assert "TeViT Studio" in page
        assert len(list((tmp_path / "home" / "studio").iterdir())) == 1
    finally:
        server.terminate()
        _, errors, modules = ended(server, tmp_path)
    assert (server.returncode, errors) == (0, "")
    assert "gradio" in modules and not modules & HEAVY
    assert list((tmp_path / "home" / "studio").iterdir()) == []


def refused(tmp_path: Path, *arguments: str) -> str:
    process = start([*SCRIPT, *arguments], tmp_path, tmp_path)
    output, errors, modules = ended(process, tmp_path)
    assert (process.returncode, output) == (2, "") and "gradio" not in modules
    return errors


def test_taken_port_is_one_sentence(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        sentence = refused(tmp_path, "--port", str(port))
    assert sentence.startswith(f"app: cannot serve on port {port} of 127.0.0.1 (") and sentence.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "198.51.100.7", "--public"], "app: cannot serve on 198.51.100.7 ("),
        (["--host", "0.0.0.0"], "app: --host 0.0.0.0: others than you can reach the studio there; give --auth FILE"),
        (["--share"], "app: --share: others than you can reach the studio there; give --auth FILE"),
        (["--domain", "a.example"], "app: --domain a.example: others than you can reach the studio there; give --auth"),
        (["--auth", "nowhere"], "app: --auth nowhere: no such file; --add-user NAME makes one"),
        (["--add-user", "ann"], "app: --add-user needs --auth FILE"),
        (["--admin"], "app: --admin goes with --add-user NAME"),
        (["--port", "70000"], "app: --port: expected 1 to 65535, got 70000\n"),
        (["--model", "nowhere.py:create"], "app: --model nowhere.py: no such file\n"),
        (["--model", "tevit_r51"], "app: unknown model 'tevit_r51'; did you mean 'tevit_r50'?"),
        (["--frames", "nowhere"], "app: --frames nowhere: no such folder\n"),
        (["--sam", "nowhere"], "app: --sam nowhere: no such folder\n"),
        (["--checkpoint", "nowhere.pth"], "app: --checkpoint nowhere.pth: no such file\n"),
    ],
)
def test_wrong_arguments_are_one_sentence(tmp_path: Path, arguments: list[str], sentence: str):
    errors = refused(tmp_path, *arguments)
    assert errors.startswith(sentence) and errors.count("\n") == 1


def test_a_public_studio_has_the_limits_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from app import app
    from tevit.limits import InputLimits, input_limits

    monkeypatch.setenv("TEVIT_HOME", str(tmp_path))
    monkeypatch.setenv("TEVIT_LIMITS", "frames=7")  # of whoever runs it
    limits = []
    monkeypatch.setattr(app, "_serve", lambda *_: limits.append(input_limits()))
    assert app.main(["--public", "--limit", "tracks=9"]) == 0
    assert limits == [InputLimits.public().updated(["frames=7", "tracks=9"], "")]


def test_unwritable_home_is_one_sentence(tmp_path: Path):
    (tmp_path / "home").write_text("a file, not a folder")
    errors = refused(tmp_path)
    assert errors.startswith("app: ") and errors.count("\n") == 1 and "home" in errors


def test_help_does_not_import_gradio(tmp_path: Path):
    process = start([*SCRIPT, "--help"], tmp_path, tmp_path)
    output, errors, modules = ended(process, tmp_path)
    assert (process.returncode, errors) == (0, "") and "--checkpoint FILE" in output
    assert not modules & (HEAVY | {"gradio", "numpy"})


def test_what_another_running_server_uses_stays_and_what_a_killed_one_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from app import app

    monkeypatch.setenv("TEVIT_HOME", str(tmp_path))
    killed = tmp_path / "studio" / "killed"
    killed.mkdir(parents=True)
    (killed / app.LOCK).touch()
    speeds = tmp_path / "studio" / "speeds.json"
    speeds.touch()
    with app.server_folder() as other:
        for path in (other, speeds):
            os.utime(path, (0, 0))
        with app.server_folder() as own:
            assert other.is_dir() and own != other and not killed.exists() and speeds.exists()
    assert not own.exists() and not other.exists()


def test_folders_without_a_lock_are_removed_after_a_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from app import app

    monkeypatch.setenv("TEVIT_HOME", str(tmp_path))
    old, fresh, results = (tmp_path / "studio" / name for name in ("old", "fresh", "results"))
    for folder in (old, fresh, results):
        folder.mkdir(parents=True)
    long_ago = time.time() - app.STALE_SECONDS - 60
    for folder in (old, results):
        os.utime(folder, (long_ago, long_ago))
    with app.server_folder() as folder:
        assert folder.parent == tmp_path / "studio" and not old.exists() and fresh.exists()
        assert results.exists(), "stored results have a limit of their own"
    assert not folder.exists()


def test_mcp_without_its_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    from app import app

    monkeypatch.setattr(app, "find_spec", lambda name: None)
    assert app.main(["--mcp"]) == 2
    assert capsys.readouterr().err == "app: --mcp needs the package mcp: pip install 'tevit-studio[app,mcp]'\n"


def test_a_name_begins_no_line_of_the_log_and_moves_no_cursor():
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(LogFormatter())
    log = logging.Logger("test")
    log.addHandler(handler)
    name = "clip\n2026 ERROR made up\r\x1b[2J\u2028\u202e%s.mp4"
    log.warning("%s: %s", name, "ölig")
    try:
        raise ValueError(f"{name} cannot be read")
    except ValueError:
        log.exception(name)
    first, second, *traceback = written.getvalue().splitlines()
    assert first == r"clip\n2026 ERROR made up\r\x1b[2J\u2028\u202e%s.mp4: ölig"
    assert second == r"clip\n2026 ERROR made up\r\x1b[2J\u2028\u202e%s.mp4"
    assert traceback and all(line.startswith("  ") for line in traceback) and not re.search(r"[\x1b\u202e]", second)


def test_the_studio_writes_its_log_so(tmp_path: Path):
    code = "import logging, app.app; app.app.main(['--port', '0']); logging.warning('a%s', chr(10))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == r"a\n"
