"""The container: what hadolint checks of the Dockerfile and what it can't, since neither it nor Docker is here."""

import json
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()


def instructions() -> list[tuple[str, str]]:
    """Name and arguments of each instruction, continued lines joined."""
    lines = [line for line in DOCKERFILE.splitlines() if line.strip() and not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in text.splitlines())]


def arguments(name: str) -> list[str]:
    return [rest for own, rest in instructions() if own == name]


def test_base_is_an_argument_with_a_version():
    assert arguments("ARG")[0] == "BASE=ubuntu:24.04" and "nvidia/cuda:" in DOCKERFILE
    assert [rest.split()[0] for rest in arguments("FROM")] == ["${BASE}", "${BASE}"]
    assert ":latest" not in DOCKERFILE


def test_it_runs_without_root_and_says_whether_it_serves():
    names = [name for name, _ in instructions()]
    assert arguments("USER") == ["10001:10001"] and names.index("USER") > len(names) - 1 - names[::-1].index("RUN")
    check = arguments("HEALTHCHECK")[0]
    command = json.loads(check[check.index("[") :])
    compile(command[2], "healthcheck", "exec")
    assert "/robots.txt" in command[2]


@pytest.mark.parametrize("name", ["ENTRYPOINT", "CMD", "VOLUME"])
def test_lists_are_json(name):
    assert all(isinstance(json.loads(rest), list) for rest in arguments(name))


def test_packages_of_the_system_leave_no_lists_and_pip_no_cache():
    for command in arguments("RUN"):
        if "apt-get install" in command:
            assert "--no-install-recommends" in command and command.count("rm -rf /var/lib/apt/lists/*") == 1
        if "pip install" in command:
            assert "--no-cache-dir" in command and "-c constraints.txt" in command
    assert not {"ADD", "MAINTAINER"} & {name for name, _ in instructions()} and "sudo" not in DOCKERFILE


def test_it_starts_only_with_accounts():
    from app.app import parser

    command = [*json.loads(arguments("ENTRYPOINT")[0]), *json.loads(arguments("CMD")[0])]
    args = parser().parse_args(command[2:])
    assert command[:2] == ["tevit", "studio"] and args.host == "0.0.0.0" and args.auth and not args.public


def test_everything_that_is_installed_is_copied():
    copied = [part.rstrip("/") for rest in arguments("COPY") if not rest.startswith("--") for part in rest.split()[:-1]]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = {package.split(".")[0] for package in project["tool"]["setuptools"]["packages"]}
    folders = {project["tool"]["setuptools"]["package-dir"].get(name, name) for name in folders}
    folders |= set(project["tool"]["setuptools"]["package-dir"].values())
    assert folders <= set(copied) and {"README.md", "LICENSE", "pyproject.toml"} <= set(copied)
    assert all((ROOT / path).exists() for path in copied)
    included = re.findall(r"(?m)^!(.+)$", (ROOT / ".dockerignore").read_text())
    assert set(copied) <= set(included), "the build does not see what .dockerignore leaves out"


def test_compose_takes_away_what_the_studio_does_not_need():
    for line in ("read_only: true", "cap_drop: [ALL]", '"no-new-privileges:true"', '"127.0.0.1:7860:7860"'):
        assert line in COMPOSE
    assert "--auth" in COMPOSE and "privileged" not in COMPOSE.replace("no-new-privileges", "")


# --- licences


def test_the_report_of_licences_needs_no_network_and_never_fails():
    report = subprocess.run(
        [sys.executable, "docs/dependencies.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.search(r"\| gradio \| [\d.]+ \| Apache-2.0 \|", report.stdout)
    assert re.search(r"\| orjson \|.*MPL-2.0.* ← \|", report.stdout) and "libx264 (GPL-2.0-or-later)" in report.stdout


def test_the_audit_is_a_sentence_where_it_cannot_run(monkeypatch):
    module = runpy.run_path(str(ROOT / "docs" / "dependencies.py"))
    monkeypatch.setattr(module["shutil"], "which", lambda *args, **options: None)
    assert module["audit"]() == "pip-audit: NOT RUN, it is not installed (pip install pip-audit)"
