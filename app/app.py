"""Start the studio: `python -m app` or `python app/app.py`, from any folder."""

import argparse
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    # A script's own folder comes first on sys.path, where this file would be taken for the package `app`.
    sys.path[:] = [str(HERE.parent), *(entry for entry in sys.path if Path(entry or ".").resolve() != HERE)]

if TYPE_CHECKING:
    from app.projects.opening import AllowedFolders
    from app.tabs.segment.models import Load, VideoPredictor

LEFT_BEHIND_SECONDS = 7 * 24 * 3600  # a folder of a server that was killed goes after a week


def parser() -> argparse.ArgumentParser:
    """The studio's command line."""
    top = argparse.ArgumentParser(prog="app", description="TeViT Studio: segment and track objects in a video.")
    space = bool(os.environ.get("SPACE_ID"))  # a Hugging Face Space, which looks for its app at one address alone
    host, port = ("0.0.0.0", 7860) if space else ("127.0.0.1", None)
    top.add_argument("--host", default=host, help="address to serve on (default: this machine alone)")
    top.add_argument("--port", type=int, default=port, help="port to serve on (default: the first free one from 7860)")
    top.add_argument("--share", action="store_true", help="also open a public link through gradio's service")
    top.add_argument(
        "--checkpoint", metavar="FILE", type=Path, action="append", default=[], help="offer this model; repeatable"
    )
    data = top.add_argument_group("data set", "for Compare and Errors; by default the bundled shapes")
    data.add_argument("--dataset", metavar="JSON", type=Path, help="ground truth in YouTube-VIS form")
    data.add_argument("--frames", metavar="DIR", type=Path, help="the folder below which its frames lie")
    data.add_argument(
        "--predictions",
        metavar="JSON",
        type=Path,
        action="append",
        default=[],
        help="a model's results; repeatable, named by the file",
    )
    data.add_argument(
        "--allow",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="pages may open data sets below this folder, as below those of the files named here; repeatable",
    )
    data.add_argument("--project", metavar="DIR", type=Path, help="the folder of an earlier session, or of a new one")
    return top


def main(argv: Sequence[str] | None = None, load: "Load | None" = None, grace: float = 30.0) -> int:
    """Serve the page until Ctrl-C; returns the exit code: 0, or 2 after one sentence on standard error.

    load: makes a predictor of a model's name or file; tevit.load by default. grace: seconds that a run goes on when
    its page has been closed.
    """
    args = parser().parse_args(argv)
    try:
        checkpoints = _checked(args.checkpoint)
        _check_address(args.host, args.port)
        with own_folder() as folder:
            _serve(args, checkpoints, folder, load or _load, grace)
    except (ValueError, OSError) as error:
        print(f"app: {error}", file=sys.stderr)
        return 2
    return 0


def _serve(args: argparse.Namespace, checkpoints: list[Path], folder: Path, load: "Load", grace: float) -> None:
    # Both are read while gradio is imported. Its files belong into our folder, and nothing leaves the machine.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    from app.tabs.segment.gpu import with_gpu

    load = with_gpu(load)  # before gradio: where GPUs are lent, this is what must be imported first
    from app import ui
    from app.analysis.service import EvaluationService
    from app.analysis.thumbnails import ThumbnailCache
    from app.projects.opening import open_project
    from app.tabs.segment.run import dataset_videos, open_studio
    from app.workspace import Workspace
    from tevit.download import home

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    allowed = _allowed(args)
    project = open_project(args.dataset, args.frames, args.predictions, args.project)
    workspace = Workspace(project, EvaluationService(), ThumbnailCache(), allowed)
    named = args.dataset or args.project
    videos = dataset_videos(project) if named else []
    studio = open_studio(folder, home() / "studio", load, checkpoints, grace, videos)
    try:
        ui.serve(ui.build(studio, workspace), studio, workspace, args.host, args.port, args.share)
    finally:
        studio.close()
        workspace.evaluations.close()


def _allowed(args: argparse.Namespace) -> "AllowedFolders":
    """Folders that were named, and those of files that were named; without any the bundled data set's."""
    from app.projects.opening import BUNDLED, AllowedFolders

    files = [args.dataset, *args.predictions]
    named = [path.resolve().parent for path in files if path] + ([args.frames] if args.frames else [])
    here = [folder for folder in named if folder.is_dir()]  # what is not there is said where it is opened
    bundled = [] if args.dataset or args.project or args.predictions else [BUNDLED]
    return AllowedFolders.of([*args.allow, *here, *bundled])


def _load(model: str) -> "VideoPredictor":
    from tevit.inference.predictor import load

    return load(model)


def _checked(checkpoints: Sequence[Path]) -> list[Path]:
    for path in checkpoints:
        if not path.is_file():
            raise FileNotFoundError(f"--checkpoint: no such file: {path}")
    return [path.resolve() for path in checkpoints]


def _check_address(host: str, port: int | None) -> None:
    """Ask for the address before the seconds that importing gradio takes."""
    if port is not None and not 1 <= port <= 65535:
        raise ValueError(f"--port: expected 1 to 65535, got {port}")
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        where = f"port {port} of {host}" if port else host
        raise OSError(f"cannot serve on {where} ({error.strerror}): choose another with --host and --port") from error


@contextmanager
def own_folder() -> Iterator[Path]:
    """This server's folder for uploads and runs, removed at the end; `results` stays (app/storage/results.py)."""
    from tevit.download import home

    parent = home() / "studio"
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.iterdir():
        if left.name != "results" and left.stat().st_mtime < time.time() - LEFT_BEHIND_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


if __name__ == "__main__":
    from app.app import main as start

    sys.exit(start())
