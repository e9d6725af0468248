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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("tevit", "app", "assets")
IGNORED = ("__pycache__", "*.pyc", ".*")
LEFT_OUT = ("app/space.py", "app/benchmark.py")  # of use in a checkout alone
# What ZeroGPU has; each torchvision belongs to one torch, 0.23 to 2.8 and 0.26 to 2.11.
THERE = {"torch": "torch>=2.8,<2.12", "torchvision": "torchvision>=0.23,<0.27"}
# The Hub takes binary files and those above 10 MB by way of its large file storage.
LARGE = ("*.safetensors", "*.mp4", "*.jpg", "*.png")
TEXT = """
# {name}

Segment and track every object in a video, and see what a model got wrong:
[TeViT](https://arxiv.org/abs/2204.08412) (CVPR 2022) in plain PyTorch, with its studio.

The small model that is here from the start knows synthetic shapes only. The authors' four models, for the 40 classes of
YouTube-VIS 2019, come with the button "Get weights".

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

    Raises: ValueError for a name of several lines, a folder that holds something, an installed gradio that the project
    does not work with; OSError where nothing can be written.
    """
    _check(out, name)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    front = front_matter((ROOT / "README.md").read_text("utf-8"), name, gradio(project))
    with _beside(out) as part:
        for folder in FOLDERS:
            shutil.copytree(ROOT / folder, part / folder, ignore=shutil.ignore_patterns(*IGNORED))
        for file in LEFT_OUT:
            (part / file).unlink()
        shutil.copy(ROOT / "LICENSE", part)
        _write(part / "README.md", front + TEXT.format(name=name))
        _write(part / "requirements.txt", "".join(f"{line}\n" for line in requirements(project["dependencies"])))
        _write(part / ".gitattributes", "".join(f"{kind} filter=lfs diff=lfs merge=lfs -text\n" for kind in LARGE))


def front_matter(readme: str, name: str, sdk_version: str) -> str:
    """The README's own lines between the dashes, of this name and gradio."""
    front, found = re.subn(r"(?m)^title: .*", lambda _: f"title: {_quoted(name)}", readme.split("---\n", 2)[1])
    front, also = re.subn(r"(?m)^sdk_version: .*", f"sdk_version: {sdk_version}", front)
    assert (found, also) == (1, 1), "README.md has lost its front matter"
    return f"---\n{front}---\n"


def requirements(dependencies: Iterable[str]) -> list[str]:
    """What is installed there: torch as ZeroGPU has it, no gradio (it comes with the Space), and `spaces`."""
    return [THERE.get(_package(line), line) for line in dependencies] + ["spaces"]


def gradio(project: dict) -> str:
    """The version that is installed, which the Space is to have. Raises: ValueError where the project excludes it."""
    from packaging.requirements import Requirement

    wanted = next(line for line in project["optional-dependencies"]["app"] if _package(line) == "gradio")
    installed = version("gradio")
    if installed not in Requirement(wanted).specifier:
        raise ValueError(f"expected {wanted} to be installed, got {installed}")
    return installed


def _package(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


def _quoted(name: str) -> str:
    """As a YAML string, whatever stands in it."""
    return "'" + name.replace("'", "''") + "'"


def _check(out: Path, name: str) -> None:
    if not name.strip() or not name.isprintable():
        raise ValueError(f"--name: expected one line of text, got {name!r}")
    if any(out.resolve().is_relative_to(ROOT / folder) for folder in FOLDERS):
        raise ValueError(f"{out} lies in what is to be copied: name a folder elsewhere")
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: name a new folder")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: name a new folder")


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its place at the end, and is gone after an exception."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        part = Path(folder) / "space"
        part.mkdir()
        yield part
        os.replace(part, out)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main())
