"""The finished videos of a data set that is being predicted, a file each: what is done is never done again.

Several processes may write to one folder, on one machine or on many that share a disk: none waits for another.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tevit.io.files import atomic
from tevit.io.ytvis import write_results
from tevit.results import VideoResult

_ABOUT = "about.json"


class Finished:
    """The finished videos in `folder`: VIDEO_ID.json each; VIDEO_ID.error says why one could not be predicted."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def done(self) -> set[int]:
        """Ids of the finished videos."""
        return self._ids(".json")

    @property
    def failed(self) -> dict[int, str]:
        """Id -> sentence, of videos that failed and were not predicted since."""
        ids = self._ids(".error") - self.done
        return {id: self._file(id, ".error").read_text() for id in sorted(ids)}

    def keep(self, result: VideoResult) -> None:
        """One more. Raises: OSError."""
        write_results(self._file(result.video_id), [result])
        self.try_again(result.video_id)

    def fail(self, video: int, sentence: str) -> None:
        """One that cannot be predicted. Raises: OSError."""
        with atomic(self._file(video, ".error")) as part:
            part.write_text(sentence)

    def try_again(self, video: int) -> None:
        """Forget that it failed."""
        self._file(video, ".error").unlink(missing_ok=True)

    def join(self, target: Path, videos: Iterable[int]) -> Path:
        """One results.json of those of the videos that are done, byte for byte as if written at once.

        Raises: OSError.
        """
        done, before = self.done, b"["
        with atomic(target) as part, part.open("wb") as file:
            for video in videos:
                if video in done and (entries := self._file(video).read_bytes().strip()[1:-1]):
                    file.write(before + entries)
                    before = b",\n"
            file.write(b"]\n" if before != b"[" else b"[]\n")
        return target

    def remove(self) -> None:
        """They are not needed any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def claim(self, about: Mapping[str, Any]) -> None:
        """Say what the videos depend on: data set, weights, options.

        Raises: ValueError that names what differs where the folder holds videos of something else.
        """
        file = self.folder / _ABOUT
        if not file.exists():
            with atomic(file) as part:
                part.write_text(json.dumps(dict(about), indent=2) + "\n")
        try:
            before = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise ValueError(f"{file}: cannot be read ({error}); --fresh begins again") from None
        same_or_refuse(before, about, self.folder, "prediction")

    def _ids(self, suffix: str) -> set[int]:
        stems = (file.stem for file in self.folder.glob(f"*{suffix}"))
        return {int(stem) for stem in stems if stem.removeprefix("-").isdecimal()}

    def _file(self, video: int, suffix: str = ".json") -> Path:
        return self.folder / f"{video}{suffix}"


def same_or_refuse(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path, kind: str) -> None:
    """Raises: ValueError that names what differs between what a folder's content came from and what is wanted now."""
    was, wanted = (msgspec.json.decode(msgspec.json.encode(dict(item))) for item in (before, now))
    differ = [name for name in wanted | was if was.get(name) != wanted.get(name)]
    if differ:
        said = ", ".join(f"{name} {was.get(name)}, now {wanted.get(name)}" for name in differ)
        raise ValueError(f"{folder} holds another {kind} ({said}): give another folder, or --fresh")


def digest(file: str | os.PathLike) -> str:
    """What tells a file's content from another's."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]
