"""Predictions of a data set on their way: a file for each video that is done, so that nothing is done twice.

They lie in the project's folder under a name that says all that they depend on: the same request finds them again, also
after the server was started anew, and another one never mixes with them.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from app.projects.opening import PREDICTIONS
from app.projects.project import Project
from tevit.inference.dataset import PartialResults
from tevit.io.files import atomic

PARTS = "predicting"
TRACKS = 10  # a video, as `tevit predict` has it by default
_REQUEST = "request.json"


class Request(msgspec.Struct, frozen=True):
    """What is to be predicted. truth: sha256 of the data set's file. model: a published name or a checkpoint's path.
    weights: tells a checkpoint's content, "" of a published model. tracks: at most so many a video."""

    truth: str
    model: str
    weights: str = ""
    tracks: int = TRACKS

    @property
    def key(self) -> str:
        """Another one for another request."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]

    @property
    def name(self) -> str:
        """Of the predictions: the model's."""
        stem = Path(self.model).stem
        return stem if self.tracks == TRACKS else f"{stem} {self.tracks} tracks"


def request(project: Project, model: str, tracks: int = TRACKS) -> Request:
    """Raises: ValueError for a project whose videos nobody lists."""
    if project.truth is None:
        raise ValueError("Predicting needs a data set that lists its videos: open one.")
    stat = Path(model).stat() if Path(model).is_file() else None
    weights = f"{stat.st_size}-{stat.st_mtime_ns}" if stat else ""
    return Request(project.truth.sha256, model, weights, tracks)


class PartialPredictions(PartialResults):
    """The finished videos of one request. target: what they become."""

    def __init__(self, project: Project, request: Request):
        super().__init__(project.folder / PARTS / request.key)
        self.request = request
        self.target = project.folder / PREDICTIONS / f"{request.name}.json"

    def begin(self) -> None:
        """Make the folder. Raises: OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic(self.folder / _REQUEST) as part:
            part.write_bytes(msgspec.json.encode(self.request))


def unfinished(project: Project) -> Iterator[PartialPredictions]:
    """Requests of which something is kept, and that can go on: with the same weights."""
    for file in sorted((project.folder / PARTS).glob(f"*/{_REQUEST}")):
        try:
            asked = msgspec.json.decode(file.read_bytes(), type=Request)
            same = request(project, asked.model, asked.tracks)
        except (OSError, ValueError):  # half removed, or of another version
            continue
        if asked == same:
            yield PartialPredictions(project, asked)
