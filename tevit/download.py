"""Weights and bundled files: the demo model comes with the package, published models are downloaded into
$TEVIT_HOME/checkpoints, with resume and checks of length and hash.
"""

import filecmp
import hashlib
import importlib
import json
import os
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from types import MappingProxyType
from typing import Any

from platformdirs import user_cache_dir

from tevit.configs import BUNDLED_MODELS, MODELS, START_FILES, PublishedModel, StartFile
from tevit.progress import Progress

BLOCK = 1 << 20
TIMEOUT = 30  # seconds without data
RELEASED: Mapping[str, PublishedModel | StartFile] = MappingProxyType({**MODELS, **START_FILES})
"""What `weights` downloads, by name."""
WAIT = 0.5  # seconds between two calls of a progress callback while no data arrive


def home() -> Path:
    """The folder of weights and results: $TEVIT_HOME, else `tevit` in the platform's cache folder."""
    return Path(os.environ.get("TEVIT_HOME") or user_cache_dir("tevit"))


def assets_folder() -> Path:
    """The folder of bundled files: `assets` inside an installed package, beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "assets"
    return installed if installed.is_dir() else package.parent / "assets"


def bundled_path(name: str) -> Path:
    """Path of the weights of a bundled model."""
    return assets_folder() / f"{name}.safetensors"


def card_path(name: str) -> Path:
    """Path of the model card of a published or bundled model."""
    return assets_folder() / ("" if name in BUNDLED_MODELS else "cards") / f"{name}.md"


def checkpoint_path(model: PublishedModel | StartFile) -> Path:
    """Path that released weights are downloaded to."""
    return home() / "checkpoints" / model.file_name


def is_bundled(path: str | os.PathLike) -> bool:
    """Whether a file or folder is part of the package, or a copy of one of its clips."""
    file, assets = Path(path).resolve(), assets_folder().resolve()
    if file.is_relative_to(assets):
        return True
    clips = (assets / "clips").glob("*")
    return file.is_file() and any(filecmp.cmp(file, clip, shallow=False) for clip in clips)


def partial_bytes(model: PublishedModel) -> int:
    """Size of an unfinished download, 0 without one."""
    part = _part(checkpoint_path(model))
    return part.stat().st_size if part.is_file() else 0


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def weights(name: str, progress: Progress | None = None) -> Path:
    """Path of the weights of a model or of a start file, by its name; downloaded where missing, see `download`."""
    return bundled_path(name) if name in BUNDLED_MODELS else download(RELEASED[name], progress)


def download(model: PublishedModel | StartFile, progress: Progress | None = None, *, url: str | None = None) -> Path:
    """Path of released weights, downloaded where missing.

    A partial file of an earlier call is resumed. Length and, where it is known, hash are checked before the file is
    renamed; its SHA-256 is stored beside it. url: another address of the file.
    Raises: ConnectionError where the network or the file is missing; ValueError for a file with the wrong hash.
    """
    path = checkpoint_path(model)
    if not path.exists():
        fetch(url or model.url, path, sha256=model.sha256, progress=progress)
    return path


def fetch(url: str, path: Path, *, sha256: str | None = None, progress: Progress | None = None) -> None:
    """Download `url` to `path`; see `download`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part, validator = _part(path), path.with_name(path.name + ".part.json")
    expected = _receive(url, part, validator, progress)
    size = part.stat().st_size
    if expected is not None and size != expected:
        raise ConnectionError(
            f"{url} broke off: expected {expected} bytes, got {size}; run it again to go on from there"
        )
    validator.unlink(missing_ok=True)
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is not None and digest != sha256:
        part.unlink()
        raise ValueError(f"{url}: expected SHA-256 {sha256}, got {digest}; the file was not kept")
    path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n")
    os.replace(part, path)


def _receive(url: str, part: Path, validator: Path, progress: Progress | None) -> int | None:
    """Download the rest of `url` and append it to `part`. Returns: the file's length, None where it is not stated.

    validator: JSON file with the ETag of the version that `part` is of.
    """
    done = part.stat().st_size if part.exists() else 0
    headers = {}
    if done:
        etag = json.loads(validator.read_text()).get("etag") if validator.exists() else None
        # If-Range: the server sends the whole file where it has changed since.
        headers = {"Range": f"bytes={done}-", **({"If-Range": etag} if etag else {})}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
        resumed = response.status == 206
        done = done if resumed else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else int(length) + done
        validator.write_text(json.dumps({"etag": response.headers.get("ETag")}))
        with part.open("ab" if resumed else "wb") as file, closing(_blocks(response)) as blocks:
            for block in blocks:
                file.write(block)
                done += len(block)
                if progress is not None:
                    progress(f"downloading {part.stem}", done, total)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:
            return _check_complete(error, part)
        raise _unreachable(url, part, f"the server answers {error.code} {error.reason}") from None
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise _unreachable(url, part, str(getattr(error, "reason", error))) from None
    return total


def _blocks(response: HTTPResponse) -> Generator[bytes]:
    """The body in blocks, b"" every WAIT seconds without data, so that a cancel need not wait for the network.

    A thread reads and closes the response; it ends at most TIMEOUT seconds after the generator was closed.
    """
    blocks: queue.Queue[bytes | Exception] = queue.Queue(2)
    stop = threading.Event()

    def put(item: bytes | Exception) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                return blocks.put(item, timeout=WAIT)

    def read() -> None:
        with response:
            try:
                block = b"first"
                while block and not stop.is_set():
                    block = response.read(BLOCK)
                    put(block)
            except Exception as error:
                put(error)

    threading.Thread(target=read, daemon=True).start()
    try:
        item = None
        while item != b"":
            try:
                item = blocks.get(timeout=WAIT)
            except queue.Empty:
                yield b""
                continue
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stop.set()


def _unreachable(url: str, part: Path, reason: str) -> ConnectionError:
    """The error that also says what can be done without a network."""
    file = f"cannot get {url} ({reason}): put {part.stem} into {part.parent}"
    if part.stem in {start.file_name for start in START_FILES.values()}:
        return ConnectionError(f"{file}, where --init finds it by its name")
    return ConnectionError(f"{file}, or name another file with --checkpoint; the model motion needs no weights")


def _check_complete(error: urllib.error.HTTPError, part: Path) -> int:
    """The length of a file of which the server has no more than `part` (status 416).

    Raises: ConnectionError where its length differs from that of `part`, which is removed.
    """
    stated = (error.headers.get("Content-Range") or "").rpartition("/")[2]
    if stated.isdigit() and int(stated) == part.stat().st_size:
        return int(stated)
    part.unlink()
    raise ConnectionError(
        f"cannot go on with {part.name}: the server's file has another length; run it again"
    ) from None


# --- packages of extras, and models of the transformers library


def optional_package(name: str, needed_by: str, extras: str) -> Any:
    """Import a package of an optional extra.

    needed_by: begins the sentence of the error. extras: of tevit-studio, separated by commas.
    Raises: ValueError where the package is missing.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        install = f"pip install 'tevit-studio[{extras}]'"
        raise ValueError(f"{needed_by}: it needs the package {name}: {install} ({error})") from None


def load_pretrained(load: Callable[[str], Any], checkpoint: str) -> Any:
    """What `load`, a from_pretrained of transformers, returns for a local folder or a name on the Hugging Face hub.

    Raises: ValueError where the checkpoint is missing or of another kind.
    """
    try:
        return load(checkpoint)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).strip().split("\n")[0]
        expected = "expected a folder with the model's files, or a name on the Hugging Face hub"
        raise ValueError(f"checkpoint {checkpoint!r}: {expected} ({reason})") from None
