"""What pages may open: files and folders below those that the operator allowed, and nothing else.

A place counts by where it leads: whatever a symbolic link or `..` takes out of these folders is neither listed nor
read, and the answer is the same whether it is there or not.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tevit.io.frames import find_frames
from tevit.io.ytvis import Dataset

MOST_LOOKED_AT = 20_000  # entries of folders, so that a large disk does not keep a page waiting
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Listing:
    """What can be opened, as absolute paths. truths: JSON objects; predictions: JSON lists; folders: those that have
    folders. whole: False where there was too much to look at it all."""

    truths: tuple[str, ...]
    predictions: tuple[str, ...]
    folders: tuple[str, ...]
    whole: bool


@dataclass(frozen=True)
class Allowed:
    """folders: absolute, links followed."""

    folders: tuple[Path, ...] = ()

    @classmethod
    def of(cls, folders: Iterable[str | os.PathLike]) -> "Allowed":
        """Raises: FileNotFoundError for what is no folder."""
        found = dict.fromkeys(Path(folder).resolve() for folder in folders)
        missing = next((folder for folder in found if not folder.is_dir()), None)
        if missing is not None:
            raise FileNotFoundError(f"--allow: no such folder: {missing}")
        return cls(tuple(found))

    def holds(self, path: str | os.PathLike) -> bool:
        """Whether a place leads below one of the folders, or is one."""
        try:
            real = Path(path).resolve()
        except (OSError, RuntimeError, ValueError):  # a loop of links, a name that is none
            return False
        return any(real.is_relative_to(folder) for folder in self.folders)

    def file(self, text: str) -> Path:
        """A file that a page names, links followed. Raises: ValueError, FileNotFoundError."""
        return self._place(text, Path.is_file, "file")

    def folder(self, text: str) -> Path:
        """The same of a folder."""
        return self._place(text, Path.is_dir, "folder")

    def _place(self, text: str, there, what: str) -> Path:
        if not os.path.isabs(text) or not self.holds(text):
            raise ValueError(f"{text[:200]} is not below a folder that the operator allowed (--allow)")
        real = Path(text).resolve()
        if not there(real):
            raise FileNotFoundError(f"no such {what}: {text[:200]}")
        return real

    def listing(self) -> Listing:
        """Everything below the folders that may be a data set, predictions, or a folder of frames; nearest first."""
        truths, predictions, folders = [], [], [str(folder) for folder in self.folders]
        looked = 0
        for folder, entries in self._walk():
            looked += len(entries)
            inner = [entry for entry in entries if os.path.isdir(entry.path)]
            if inner and str(folder) not in folders:
                folders.append(str(folder))
            for entry in entries:
                kind = _kind(entry) if entry.name.endswith(".json") and self.holds(entry.path) else ""
                (truths if kind == "{" else predictions if kind == "[" else []).append(entry.path)
            if looked >= MOST_LOOKED_AT:
                return Listing(tuple(truths), tuple(predictions), tuple(folders), False)
        return Listing(tuple(truths), tuple(predictions), tuple(folders), True)

    def _walk(self) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
        """Folder by folder, each once whatever links lead to it. Of a folder of pictures nothing is said."""
        line, seen = deque(self.folders), set(self.folders)
        while line:
            folder = line.popleft()
            entries = _entries(folder)
            yield folder, entries
            for entry in entries:
                real = Path(entry.path).resolve() if os.path.isdir(entry.path) and self.holds(entry.path) else None
                if real is not None and real not in seen:
                    seen.add(real)
                    line.append(Path(entry.path))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """By name; none of a folder that begins with a picture: it holds a video's frames."""
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.lower().endswith(_PICTURES):
                return []
            if not entry.name.startswith("."):
                found.append(entry)
    return sorted(found, key=lambda entry: entry.name)


def _kind(entry: os.DirEntry[str]) -> str:
    """The first character of the JSON: "{" or "["."""
    with suppress(OSError), open(entry.path, "rb") as file:
        return file.read(64).lstrip()[:1].decode(errors="replace")
    return ""


def guess_frames(dataset: Dataset, folders: Iterable[str]) -> Path | None:
    """The first of the folders that has frames of the data set's first video, the nearest to its file before others."""
    video = next(iter(dataset.videos.values()), None)
    home = str(dataset.path.parent)
    for folder in sorted(folders, key=lambda folder: -len(os.path.commonpath([home, folder]))):
        with suppress(OSError, ValueError):
            if video is not None and find_frames(video, folder, dataset.path.stem):
                return Path(folder)
    return None
