"""Start the studio: `python -m app` or `python app/app.py`, from any folder."""

import argparse
import faulthandler
import importlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Thread, Timer
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    # A script's own folder comes first on sys.path; there this file would be imported as the package `app`.
    sys.path[:] = [str(HERE.parent), *(entry for entry in sys.path if Path(entry or ".").resolve() != HERE)]

if TYPE_CHECKING:
    from tevit.review.reviewers import Team

    from .access import Access, Address
    from .fair_queue import QueueLimits
    from .projects.project import AllowedFolders, Project
    from .tabs.segment.models import Load, VideoPredictor

END_SECONDS = 7.0  # after SIGTERM
STALE_SECONDS = 7 * 24 * 3600  # after which a folder of which nobody says that it is in use is removed
LOCK = ".in-use"  # of a server's folder: the file that it holds locked while it runs


class LogFormatter(logging.Formatter):
    """Lines without control characters, which are escaped: a name that a visitor has chosen begins no line of its own,
    and moves no cursor. The lines of a traceback are indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The message as one line."""
        return _escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        """The traceback, a line each."""
        return "\n".join(f"  {_escaped(line)}" for line in super().formatException(ei).split("\n"))


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def parser(prog: str = "app") -> argparse.ArgumentParser:
    """The studio's command line."""
    top = argparse.ArgumentParser(prog=prog, description="TeViT Studio: segment and track objects in a video.")
    space = bool(os.environ.get("SPACE_ID"))  # a Hugging Face Space expects its app at this address
    host, port = ("0.0.0.0", 7860) if space else ("127.0.0.1", None)
    top.add_argument("--host", default=host, help="address to serve on (default: this machine alone)")
    top.add_argument("--port", type=int, default=port, help="port to serve on (default: the first free one from 7860)")
    domain = "the name that a proxy on this machine serves the studio under; repeatable"
    top.add_argument("--domain", metavar="NAME", action="append", default=[], help=domain)
    top.add_argument("--share", action="store_true", help="also open a public link through gradio's service")
    _add_trust(top, space)
    files = {"type": Path, "action": "append", "default": []}
    top.add_argument("--checkpoint", metavar="FILE", help="offer this model; repeatable", **files)
    model = "offer this model of your own, as in `tevit predict --model`; repeatable"
    top.add_argument("--model", metavar="FILE.py:create", action="append", default=[], help=model)
    mcp = "also serve /segment and /evaluate as tools for agents (Model Context Protocol); needs the extra mcp"
    top.add_argument("--mcp", action="store_true", help=mcp)
    sam = "folder of a SAM 2.1 checkpoint, for masks in Review instead of GrabCut and optical flow; needs the extra sam"
    top.add_argument("--sam", metavar="DIR", type=Path, help=sam)
    limit = "change a limit of what is read, as pixels=100e6 (see docs/studio.md); repeatable"
    top.add_argument("--limit", metavar="NAME=NUMBER", action="append", default=[], help=limit)
    data = top.add_argument_group("data set", "for Compare and Errors; by default the bundled shapes")
    data.add_argument("--dataset", metavar="JSON", type=Path, help="ground truth in YouTube-VIS form")
    data.add_argument("--frames", metavar="DIR", type=Path, help="the folder below which its frames lie")
    results = "a model's results; repeatable, named by the file"
    data.add_argument("--predictions", metavar="JSON", help=results, **files)
    allow = "pages may open data sets below this folder, as below those of the files named here; repeatable"
    data.add_argument("--allow", metavar="DIR", help=allow, **files)
    data.add_argument("--project", metavar="DIR", type=Path, help="the folder of an earlier session, or of a new one")
    _add_queue_options(top)
    review = top.add_argument_group("review")
    names = "who may review: a text file with a name a line (default: everybody)"
    review.add_argument("--reviewers", metavar="FILE", type=Path, help=names)
    share = "share each queue out: every question to so many of the reviewers, independently (default: all get all)"
    review.add_argument("--reviewers-per-question", metavar="N", type=int, choices=(1, 2), default=0, help=share)
    return top


def _add_trust(top: argparse.ArgumentParser, space: bool) -> None:
    trust = top.add_argument_group("who may use it", "needed where others than you reach the studio")
    auth = "names and passwords of who may use the studio; they sign in, and decide in their own name only"
    trust.add_argument("--auth", metavar="FILE", type=Path, help=auth)
    trust.add_argument("--add-user", metavar="NAME", help="add NAME to --auth FILE, or change the password, and end")
    trust.add_argument("--admin", action="store_true", help="with --add-user: may undo others' decisions")
    public = "let everybody in: labels are not changed, nothing is opened from paths, downloaded or mapped"
    trust.add_argument("--public", action="store_true", default=space, help=public)


def _add_queue_options(top: argparse.ArgumentParser) -> None:
    queue = top.add_argument_group("queues of the page's runs, and of the calls of /segment and /evaluate").add_argument
    queue("--queue", metavar="N", type=int, default=32, help="that may be in each (default: %(default)s)")
    queue("--queue-per-visitor", metavar="N", type=int, default=2, help="of one visitor (default: %(default)s)")
    rate = {"metavar": "N", "type": int, "default": 120}
    queue("--uploads-per-minute", help="of one visitor; 0: any number (default: %(default)s)", **rate)
    queue("--calls-per-minute", help="of one visitor; 0: any number (default: %(default)s)", **rate)
    grace = "how long a run goes on without an open page that shows it (default: %(default)s)"
    queue("--run-grace", metavar="SECONDS", type=float, default=30.0, help=grace)
    proxy = "take a visitor's address from X-Forwarded-For, which only a proxy in front of the studio may set"
    queue("--trust-forwarded", action="store_true", help=proxy)


def main(argv: Sequence[str] | None = None, load: "Load | None" = None, prog: str = "app") -> int:
    """Serve the page until Ctrl-C; returns the exit code: 0, or 2 after one sentence on standard error.

    load: makes a predictor of a model's name or file; tevit.load by default. prog: how the program was started, for its
    messages.
    """
    from tevit.limits import set_limits

    args = parser(prog).parse_args(argv)
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter())
    logging.basicConfig(handlers=[handler])
    try:
        if args.limit or args.public:
            set_limits(args.limit, args.public)
        if args.add_user is not None:
            return _add_user(args)
        access = _access(args)
        for path in args.checkpoint:
            if not path.is_file():
                raise FileNotFoundError(f"--checkpoint {path}: no such file")
        if args.frames and not args.frames.is_dir():
            raise FileNotFoundError(f"--frames {args.frames}: no such folder")
        args.model = [_own_model(model) for model in args.model]
        if args.sam and not args.sam.is_dir():
            raise FileNotFoundError(f"--sam {args.sam}: no such folder")
        if args.mcp and find_spec("mcp") is None:
            raise ValueError("--mcp needs the package mcp: pip install 'tevit-studio[app,mcp]'")
        _check_address(args.host, args.port)
        with server_folder() as folder:
            _serve(args, access, _limits(args), folder, load or _load)
    except (ValueError, OSError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    return 0


def _serve(args: argparse.Namespace, access: "Access", limits: "QueueLimits", folder: Path, load: "Load") -> None:
    # Both are read while gradio is imported: its files go into our folder, and nothing leaves the machine.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    from .tabs.segment.models import with_gpu

    load = with_gpu(load)  # before gradio: where GPUs are lent, `spaces` must be imported first
    from tevit.download import home
    from tevit.review.segmenter import create_segmenter

    from . import ui
    from .analysis.service import EvaluationService, ThumbnailCache
    from .isolation import start_worker
    from .tabs.review.segmentation import Segmentation
    from .tabs.segment.run import dataset_videos, open_studio
    from .workspace import Workspace

    signal.signal(signal.SIGTERM, _end)
    start_worker()
    project, allowed = _open_project(args)
    workspace = Workspace(project, EvaluationService(), ThumbnailCache(), allowed, team=_team(args), access=access)
    videos = dataset_videos(project) if args.dataset or args.project else []
    checkpoints = [*(path.resolve() for path in args.checkpoint), *map(Path, args.model)]
    segmentation = Segmentation(create_segmenter("sam2", str(args.sam)) if args.sam else create_segmenter())
    studio = open_studio(folder, home() / "studio", load, checkpoints, args.run_grace, videos, limits)
    try:
        ui.serve(ui.build(studio, workspace), studio, workspace, segmentation, _address(args), args.mcp, limits)
    finally:
        _close(segmentation, studio, workspace.evaluations)


def _close(*parts: Any) -> None:
    """Close all at the same time, and wait for them."""
    closing = [Thread(target=part.close) for part in parts]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join()


def _end(*_: object) -> None:
    """Of SIGTERM: end as after Ctrl-C, but within END_SECONDS, whatever a thread is in the middle of."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it logs a traceback for each open stream
    watch = Timer(END_SECONDS, os._exit, (0,))
    watch.daemon = True
    watch.start()
    # A thread of C, for where a call holds the interpreter's lock, or Python's own end stops its threads.
    faulthandler.dump_traceback_later(END_SECONDS + 0.5, exit=True, file=os.open(os.devnull, os.O_WRONLY))
    raise KeyboardInterrupt


def _open_project(args: argparse.Namespace) -> "tuple[Project, AllowedFolders]":
    """The data set that is named, and the folders of which pages may open files: those named, and of the files named;
    without any the bundled data set's. Raises: OSError, ValueError."""
    from .projects.project import BUNDLED, AllowedFolders, open_project, with_frames

    files = [path for path in (args.dataset, *args.predictions) if path]
    named = [*(path.resolve().parent for path in files), *([args.frames] if args.frames else [])]
    bundled = [] if files or args.project else [BUNDLED]
    # A folder that does not exist is reported where it is opened.
    allowed = AllowedFolders.of([*args.allow, *(path for path in named if path.is_dir()), *bundled])
    project = open_project(args.dataset, args.frames, args.predictions, args.project)
    if args.dataset and project.frames is None:
        with suppress(OSError):  # a folder that cannot be written, which a notice says already
            project = with_frames(project, allowed)
    return project, allowed


def _limits(args: argparse.Namespace) -> "QueueLimits":
    """Raises: ValueError."""
    from .fair_queue import QueueLimits

    named = {"--queue": args.queue, "--queue-per-visitor": args.queue_per_visitor}
    named |= {"--uploads-per-minute": args.uploads_per_minute, "--calls-per-minute": args.calls_per_minute}
    for name, value in named.items():
        least = 1 if name.startswith("--queue") else 0
        if value < least:
            raise ValueError(f"{name}: expected a number from {least} on, got {value}")
    if not 0 <= args.run_grace <= 1e6:
        raise ValueError(f"--run-grace: expected 0 to 1000000 seconds, got {args.run_grace}")
    return QueueLimits(
        args.queue, args.queue_per_visitor, args.uploads_per_minute, args.calls_per_minute, args.trust_forwarded
    )


def _address(args: argparse.Namespace) -> "Address":
    from .access import Address

    return Address(args.host, args.port, args.share, tuple(args.domain))


def _access(args: argparse.Namespace) -> "Access":
    """Who may do what. Raises: OSError, ValueError; also where others would reach a studio that is not for them."""
    from .access import Access, check_reach, read_accounts

    hub = bool(os.environ.get("SPACE_ID") and os.environ.get("OAUTH_CLIENT_ID"))
    if hub and not (find_spec("authlib") and find_spec("itsdangerous")):
        raise ValueError("signing in with Hugging Face needs authlib and itsdangerous: pip install 'gradio[oauth]'")
    if args.admin:
        raise ValueError("--admin goes with --add-user NAME")
    if args.auth is None:
        admins = frozenset({os.environ.get("SPACE_AUTHOR_NAME", "")} - {""}) if hub else frozenset()
        access = Access(args.public, None, hub, admins)
    else:
        if not args.auth.is_file():
            raise FileNotFoundError(f"--auth {args.auth}: no such file; --add-user NAME makes one")
        accounts = read_accounts(args.auth)
        access = Access(args.public and not os.environ.get("SPACE_ID"), accounts, False, accounts.admins)
    check_reach(_address(args), access)
    return access


def _add_user(args: argparse.Namespace) -> int:
    """Raises: OSError, ValueError."""
    from .access import Account, add_account, ask_password

    if args.auth is None:
        raise ValueError("--add-user needs --auth FILE, the file to add the name to")
    account = Account.of(args.add_user, ask_password(args.add_user), "admin" if args.admin else "user")
    changed = add_account(args.auth, account)
    print(f"{args.auth}: {account.name}, {account.role}, {'has a new password' if changed else 'was added'}")
    return 0


def _team(args: argparse.Namespace) -> "Team":
    """Who reviews. Raises: OSError, ValueError."""
    from tevit.review.reviewers import Team, read_reviewers

    if args.reviewers is None and args.reviewers_per_question:
        raise ValueError("--reviewers-per-question needs --reviewers FILE, the names to share questions out among")
    try:
        return Team(read_reviewers(args.reviewers) if args.reviewers else (), args.reviewers_per_question)
    except ValueError as error:
        raise ValueError(f"--reviewers: {error}") from None


def _own_model(text: str) -> str:
    """The model's name, its file as an absolute path. Raises: FileNotFoundError, ValueError."""
    from tevit.inference.model_source import check_name, find_source

    check_name(text)
    source = find_source(text)
    if source is None or source.file is None:
        return text
    if not source.file.is_file():
        raise FileNotFoundError(f"--model {source.file}: no such file")
    return str(source.file.resolve()) + text.removeprefix(str(source.file))


def _load(model: str, parameters: Mapping[str, Any] | None = None) -> "VideoPredictor":
    from tevit.inference.model_source import find_source, load_external

    if source := find_source(model):
        return load_external(source, parameters)
    from tevit.inference.predictor import load

    return load(model)


def _check_address(host: str, port: int | None) -> None:
    """Bind the address once, before the seconds that importing gradio takes. Raises: ValueError, OSError."""
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
def server_folder() -> Iterator[Path]:
    """A folder for this server's uploads and runs, removed at the end; those of killed servers are removed now.

    `results` beside it stays, and so does what other servers use.
    """
    from tevit.download import home

    parent = home() / "studio"
    parent.mkdir(parents=True, exist_ok=True)
    for path in parent.iterdir():
        if path.is_dir() and path.name != "results" and _is_left(path):
            shutil.rmtree(path, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as folder:
        with _locked(Path(folder) / LOCK):
            yield Path(folder)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a new file locked, which appears only once it is; where the system has no such locks it does not appear."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        if _try_lock(file.fileno()):
            os.replace(file.name, path)
        yield


def _is_left(folder: Path) -> bool:
    """Whether the server that has made it is not there any more: its lock is free; without a lock by the age."""
    try:
        with (folder / LOCK).open("rb") as file:
            return _try_lock(file.fileno())
    except OSError:
        with suppress(OSError):  # removed meanwhile by another server
            return folder.stat().st_mtime < time.time() - STALE_SECONDS
        return False


def _try_lock(file: int) -> bool:
    """False where another process holds it, and where the system has no such locks."""
    try:
        fcntl = importlib.import_module("fcntl")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except (ImportError, OSError):
        return False


if __name__ == "__main__":
    from app.app import main as start  # absolute: a script is in no package

    sys.exit(start())
