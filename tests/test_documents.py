"""README and docs: links lead somewhere, commands exist and parse, figures of models are those of the code."""

import argparse
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from app.app import parser as studio_parser
from tevit.cli.main import COMMANDS
from tevit.cli.main import parser as tevit_parser
from tevit.configs import MODELS, TEVIT_DEMO
from tevit.download import card_path
from train.__main__ import parser as training_parser

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
PROGRAMS = {"python", "torchrun", "srun", "tevit"}


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", page.read_text())):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command in a page's shell blocks, from the program on, without variables before it."""
    for language, text in BLOCK.findall(page.read_text()):
        if language != "sh":
            continue
        for line in text.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\||;", re.sub(r"(^|\s)#.*", "", line)):
                words = shlex.split(part.rstrip(" …"))
                while words and re.fullmatch(r"\w+=\S*", words[0]):
                    del words[0]
                if words and Path(words[0]).name in PROGRAMS:
                    yield words


def ours(words: list[str]) -> tuple[str, list[str]] | None:
    """The module and its arguments: tevit of `tevit …`, `python -m tevit …` and `torchrun … -m tevit …`."""
    if words[0] == "tevit":
        return "tevit", words[1:]
    if "-m" not in words:
        return None
    place = words.index("-m")
    return words[place + 1], words[place + 2 :]


def check(module: str, arguments: list[str]) -> None:
    """Raises: SystemExit where the arguments do not parse."""
    if module == "tevit" and arguments[:1] in (["studio"], ["train"]):
        module, arguments = {"studio": "app", "train": "train"}[arguments[0]], arguments[1:]
    parsers = {"tevit": tevit_parser, "app": studio_parser, "train": training_parser}
    if module in parsers:
        top: argparse.ArgumentParser = parsers[module]()
        if arguments not in ([], ["--help"], ["--version"]):
            top.parse_args(arguments)
    else:
        assert importlib.util.find_spec(module), module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_exists_and_parses(page, capsys):
    for words in commands(page):
        command = ours(words)
        try:
            if command is not None:
                check(*command)
        except SystemExit as stop:
            if stop.code:
                pytest.fail(f"{shlex.join(words)}: {capsys.readouterr().err}")
    for name in re.findall(r"`tevit ([a-z]\w*)", page.read_text()):
        assert name in COMMANDS, name


def test_the_commands_of_the_pages_are_found():
    """The test above would pass if the pattern found none."""
    parsed = [ours(words) for page in PAGES for words in commands(page)]
    assert {item[1][0] for item in parsed if item and item[0] == "tevit"} - {"--help"} == set(COMMANDS)
    with pytest.raises(SystemExit):
        check("tevit", ["evaluate", "gt.json", "results.json", "--nothing"])


def test_the_readme_is_short_and_has_every_page():
    readme = (ROOT / "README.md").read_bytes()
    assert len(readme) < 9_000
    index = (ROOT / "docs" / "index.md").read_text()
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or (f"({page.name})" in index and f"- {page.name}" in navigation), page


def table_rows(text: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row for row in rows}


@pytest.mark.parametrize("name", MODELS)
def test_figures_of_models_are_those_of_the_configurations(name):
    model = MODELS[name]
    figures = {"AP": model.ap, "AP50": model.ap50, "AP75": model.ap75, "AR1": model.ar1, "AR10": model.ar10}
    text = card_path(name).read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    metrics = front["model-index"][0]["results"][0]["metrics"]
    assert {item["type"]: item["value"] for item in metrics} == figures and front["model-index"][0]["name"] == name
    assert f"| {' | '.join(map(str, figures.values()))} |" in text
    assert f"{model.config.queries} queries" in text and f"{model.params_m[1]} M parameters" in text
    assert all(category.replace("_", " ") in " ".join(text.split()) for _, category in model.config.categories)
    assert table_rows((ROOT / "README.md").read_text())[name][3:6] == [str(v) for v in list(figures.values())[:3]]
    row = table_rows((ROOT / "docs" / "models.md").read_text())[name]
    assert row[4:] == [*map(str, figures.values()), model.file_name] and row[2] == str(model.config.queries)


def test_the_demo_models_card_is_in_the_hubs_form_and_lists_its_classes():
    front, text = card_path("tevit_demo").read_text().split("---\n", 2)[1:]
    assert yaml.safe_load(front)["library_name"] == "tevit"
    assert ", ".join(name for _, name in TEVIT_DEMO.categories) in text
