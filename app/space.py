"""`python -m app.space OUT`: a folder that Hugging Face serves as a Space, made from a checkout.

The folder holds the library, the studio and their assets; neither this module nor training, tests and benchmarks.
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("tevit", "app", "assets")
IGNORED = ("__pycache__", "*.pyc", ".*")
OMITTED = ("app/space.py", "app/benchmark.py")  # of use in a checkout alone
# What ZeroGPU has; each torchvision belongs to one torch, 0.23 to 2.8 and 0.26 to 2.11.
ZERO_GPU = {"torch": "torch>=2.8,<2.12", "torchvision": "torchvision>=0.23,<0.27"}
# The Hub takes binary files and those above 10 MB by way of its large file storage.
LARGE = ("*.safetensors", "*.mp4", "*.jpg", "*.png")
TEXT = """
# {name}

Segment and track every object in a video, and see what a model got wrong:
[TeViT](https://arxiv.org/abs/2204.08412) (CVPR 2022) in plain PyTorch, with its studio.

The small model that is here from the start detects synthetic shapes only. The authors' four models, for the 40 classes
of YouTube-VIS 2019, come with the button "Get" below the list of models, for the Space's owner, who signs in first.

Made by `python -m app.space` from a checkout of TeViT Studio.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Make the folder; returns the exit code: 0, or 2 after one sentence on standard error."""
    top = argparse.ArgumentParser(prog="app.space", description="Make the folder of a Hugging Face Space.")
    top.add_argument("out", metavar="OUT", type=Path, help="a folder that is not there yet, or empty")
    top.add_argument("--name", default="TeViT Studio", help="the Space's title (default: %(default)s)")
    args = top.parse_args(argv)
    try:
        make(args.out, args.name)
    except (ValueError, OSError) as error:
        print(f"app.space: {error}", file=sys.stderr)
        return 2
    print(args.out)
    return 0


def make(out: Path, name: str) -> None:
    """Write the whole folder or nothing.

    Raises: ValueError for a name of several lines, a folder that is not empty, an installed gradio that the project
    excludes; OSError where nothing can be written.
    """
    if not name.strip() or not name.isprintable():
        raise ValueError(f"--name: expected one line of text, got {name!r}")
    if any(out.resolve().is_relative_to(ROOT / folder) for folder in FOLDERS):
        raise ValueError(f"{out} lies in what is to be copied: name a folder elsewhere")
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: name a new folder")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: name a new folder")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    front = front_matter((ROOT / "README.md").read_text("utf-8"), name, gradio(project))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        part = Path(temporary) / "space"
        part.mkdir()
        for folder in FOLDERS:
            shutil.copytree(ROOT / folder, part / folder, ignore=shutil.ignore_patterns(*IGNORED))
        for file in OMITTED:
            (part / file).unlink()
        shutil.copy(ROOT / "LICENSE", part)
        texts = {
            "README.md": front + TEXT.format(name=name),
            "requirements.txt": "".join(f"{line}\n" for line in requirements(project["dependencies"])),
            ".gitattributes": "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LARGE),
        }
        for file, text in texts.items():
            (part / file).write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, out)


def front_matter(readme: str, name: str, sdk_version: str) -> str:
    """The front matter of the README with this title and gradio version."""
    title = "'" + name.replace("'", "''") + "'"  # a YAML string
    front, titles = re.subn(r"(?m)^title: .*", lambda _: f"title: {title}", readme.split("---\n", 2)[1])
    front, versions = re.subn(r"(?m)^sdk_version: .*", f"sdk_version: {sdk_version}", front)
    assert (titles, versions) == (1, 1), "README.md has lost its front matter"
    return f"---\n{front}---\n"


def requirements(dependencies: Iterable[str]) -> list[str]:
    """The Space's requirements: torch as ZeroGPU has it, `spaces`, what signing in needs; gradio is part of a Space."""
    return [ZERO_GPU.get(_package(line), line) for line in dependencies] + ["authlib", "itsdangerous", "spaces"]


def gradio(project: dict) -> str:
    """The installed version, for the Space. Raises: ValueError where the project excludes it."""
    from packaging.requirements import Requirement

    wanted = next(line for line in project["optional-dependencies"]["app"] if _package(line) == "gradio")
    installed = version("gradio")
    if installed not in Requirement(wanted).specifier:
        raise ValueError(f"expected {wanted} to be installed, got {installed}")
    return installed


def _package(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


if __name__ == "__main__":
    sys.exit(main())
