"""Getting weights: the demo model's come with the package, the authors' go into $TEVIT_HOME/checkpoints, resumed after
a break, checked, never half there."""

import hashlib
import json
import os
import urllib.error
import urllib.request
from email.message import Message
from http.client import HTTPException
from pathlib import Path

from platformdirs import user_cache_dir

from tevit.configs import MODELS, TEVIT_DEMO, PublishedModel
from tevit.progress import Progress

BLOCK = 1 << 20
TIMEOUT = 30  # seconds without an answer


def home() -> Path:
    """The folder of weights and results: $TEVIT_HOME, else `tevit` in the platform's cache folder."""
    return Path(os.environ.get("TEVIT_HOME") or user_cache_dir("tevit"))


def checkpoint_path(model: PublishedModel) -> Path:
    """Where the weights of a published model lie once they are there."""
    return home() / "checkpoints" / model.file_name


def demo_path() -> Path:
    """Where the demo model's weights lie: inside an installed package, in a checkout in `assets`."""
    package = Path(__file__).parent
    installed = package / "assets" / f"{TEVIT_DEMO.name}.safetensors"
    return installed if installed.is_file() else package.parent / "assets" / installed.name


def weights(name: str, progress: Progress | None = None) -> Path:
    """The weights of a model by its name, downloaded if need be; see `download`."""
    return demo_path() if name == TEVIT_DEMO.name else download(MODELS[name], progress)


def download(model: PublishedModel, progress: Progress | None = None, *, url: str | None = None) -> Path:
    """The weights of a published model, fetched if they are not there yet.

    A part that an earlier try left is gone on with. Length and, where it is known, hash are checked before the file
    takes its name; its SHA-256 is kept beside it. url: another place to get the file from.
    Raises: ConnectionError where there is no network or no such file; ValueError where what came is not the file.
    """
    path = checkpoint_path(model)
    if not path.exists():
        fetch(url or model.url, path, sha256=model.sha256, progress=progress)
    return path


def fetch(url: str, path: Path, *, sha256: str | None = None, progress: Progress | None = None) -> None:
    """Download `url` to `path`; see `download`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part, validator = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.json")
    expected = _receive(url, part, validator, progress)
    got = part.stat().st_size
    if expected is not None and got != expected:
        raise ConnectionError(
            f"{url} broke off: expected {expected} bytes, got {got}; run it again to go on from there"
        )
    validator.unlink(missing_ok=True)
    digest = _sha256(part)
    if sha256 is not None and digest != sha256:
        part.unlink()
        raise ValueError(f"{url}: expected SHA-256 {sha256}, got {digest}; the file was not kept")
    path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n")
    os.replace(part, path)


def _receive(url: str, part: Path, validator: Path, progress: Progress | None) -> int | None:
    """Append to `part` what the server sends from its end on; returns the whole length, None where it is not said.

    validator: keeps what tells this version of the file from another, for the next try.
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers=_resume_headers(have, validator))
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            resumed = response.status == 206
            done = have if resumed else 0
            total = _total(response.headers, done)
            validator.write_text(json.dumps({"etag": response.headers.get("ETag")}))
            with part.open("ab" if resumed else "wb") as file:
                while block := response.read(BLOCK):
                    file.write(block)
                    done += len(block)
                    if progress is not None:
                        progress(f"downloading {part.stem}", done, total)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # the part is the whole already, or longer than what is there now
            return _whole_length(error, part)
        raise ConnectionError(f"cannot get {url}: the server answers {error.code} {error.reason}") from None
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise ConnectionError(
            f"cannot get {url} ({reason}): without network, put the file into {part.parent} yourself"
        ) from None
    return total


def _resume_headers(have: int, validator: Path) -> dict[str, str]:
    """Ask for the rest alone, and only if the file at the other end is still the same."""
    if not have:
        return {}
    etag = json.loads(validator.read_text()).get("etag") if validator.exists() else None
    return {"Range": f"bytes={have}-", **({"If-Range": etag} if etag else {})}


def _total(headers: Message, done: int) -> int | None:
    length = headers.get("Content-Length")
    return None if length is None else int(length) + done


def _whole_length(error: urllib.error.HTTPError, part: Path) -> int:
    stated = (error.headers.get("Content-Range") or "").rpartition("/")[2]
    if stated.isdigit() and int(stated) == part.stat().st_size:
        return int(stated)
    part.unlink()
    raise ConnectionError(
        f"cannot go on with {part.name}: the server's file has another length; run it again"
    ) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
