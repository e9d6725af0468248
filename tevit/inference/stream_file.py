"""A long video's tracks on disk while they are found: what is done is never lost, and memory does not grow.

`stream.jsonl` has a line about the video, then one for every window as it is done; other programs can read along.
`stream.state` is what a stopped prediction needs to go on. From the lines the usual files are made at the end:
`results.json`, `tracks.csv`, `overlay.mp4`.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tevit.inference.accumulate import Part
from tevit.inference.association import Linker
from tevit.inference.partial_results import same_or_refuse
from tevit.inference.predictor import Predictor, check_threshold
from tevit.io import json as jsonfile
from tevit.io.files import atomic
from tevit.io.ytvis import submitted
from tevit.masks import ops as masks
from tevit.results import RLE, Track, VideoResult

if TYPE_CHECKING:
    from tevit.progress import Progress
    from tevit.video.reader import Video

LINES, STATE = "stream.jsonl", "stream.state"


class About(msgspec.Struct, frozen=True):
    """The first line. options: what the tracks depend on: model, source, window, …; a stream goes on with the same."""

    video: str
    size_hw: tuple[int, int]
    categories: dict[int, str]
    options: dict[str, Any]
    file_names: tuple[str, ...] = ()
    stream: int = 1


class _Mask(msgspec.Struct):
    size: list[int]
    counts: str


class _Track(msgspec.Struct):
    """One track in the frames of a window. category_id, score: as this window has it."""

    id: int
    category_id: int
    score: float
    frame_scores: list[float]
    boxes_xyxy: list[tuple[float, float, float, float] | None]
    segmentations: list[_Mask | None]


class _Window(msgspec.Struct):
    first: int
    times: list[float]
    tracks: list[_Track]


class Kept(msgspec.Struct, frozen=True):
    """A track of the whole video: its class and its mean score."""

    id: int
    category_id: int
    score: float


class _State(msgspec.Struct):
    """size: bytes of the lines that count. linker: what it had dumped after them. kept: the best tracks so far."""

    size: int
    linker: bytes
    frames: int
    kept: list[Kept]
    ended: bool = False


@dataclass(frozen=True, eq=False)
class Streamed:
    """A folder with the stream of a whole video; its result part by part: no more than one window is in memory.

    kept: the best tracks, best first. length: frames.
    """

    folder: Path
    about: About
    kept: tuple[Kept, ...]
    length: int

    def parts(self) -> Iterator[VideoResult]:
        """The kept tracks, best first, in the frames of each window; a track that a window lacks is absent there."""
        with open(self.folder / LINES, "rb") as file:
            next(file)
            for line in file:
                yield self._part(msgspec.json.decode(line, type=_Window))

    def _part(self, window: _Window) -> VideoResult:
        about, found, stop = self.about, {item.id: item for item in window.tracks}, window.first + len(window.times)
        tracks = tuple(_track(kept, found.get(kept.id), len(window.times)) for kept in self.kept)
        names = about.file_names[window.first : stop]
        return VideoResult(1, about.video, about.size_hw, np.array(window.times), about.categories, tracks, names)


def stream(
    predictor: Predictor,
    video: "Video",
    folder: Path,
    *,
    options: Mapping[str, Any],
    about: Mapping[str, Any],
    score_threshold: float = 0.0,
    progress: "Progress | None" = None,
    written: Callable[[Part], None] = lambda part: None,
) -> Streamed:
    """Find a video's tracks, window by window into `folder`; where that was stopped, go on.

    options: of `Predictor.parts`. about: what else the tracks depend on, to tell another run's stream. score_threshold:
    tracks below are not kept in the end. written: called when a window is safely on disk.
    Raises: ValueError where the folder holds the stream of another video or of other options; what `parts` raises.
    """
    check_threshold(score_threshold)
    categories = dict(predictor.config.categories)
    first = About(video.name, video.size_hw, categories, {**about, **options}, video.file_names)
    writer = _Writer(folder, first)
    if not writer.state.ended:
        resume = writer.state.linker or None
        for part, linker in predictor.parts(video, **options, resume=resume, progress=progress):
            writer.add(part, linker)
            written(part)
        writer.end()
    kept = tuple(item for item in writer.state.kept if item.score >= score_threshold)
    return Streamed(folder, first, kept, writer.state.frames)


def write_long_results(path: str | os.PathLike, parts: Iterable[VideoResult]) -> None:
    """One video that comes in parts, of successive frames, in the submission form, with one part in memory at a time.

    parts: the tracks are the same, in the same order, in every part.
    """
    with atomic(path) as temporary, TemporaryDirectory(prefix=".tracks-", dir=Path(path).parent) as folder:
        heads: list[bytes] = []
        for number, part in enumerate(parts):
            absent = masks.empty(part.size_hw)
            heads = heads or [_head(part.video_id, track, absent) for track in part.tracks]
            for place, track in enumerate(part.tracks):
                rles = jsonfile.encode([masks.to_json(rle or absent) for rle in track.rles])
                with open(Path(folder, str(place)), "ab") as file:  # not held open: there may be hundreds
                    file.write((b"," if number else b"") + rles[1:-1])
        with open(temporary, "wb") as whole:
            whole.write(b"[")
            for place, head in enumerate(heads):
                whole.write((b",\n" if place else b"") + head)
                with open(Path(folder, str(place)), "rb") as file:
                    shutil.copyfileobj(file, whole)
                whole.write(b"]}")
            whole.write(b"]\n")


def _head(video_id: int, track: Track, absent: RLE) -> bytes:
    """A track's entry up to its first mask."""
    return jsonfile.encode({**submitted(video_id, track, absent), "segmentations": []}).removesuffix(b"]}")


def discard(folder: Path) -> None:
    """Take an earlier stream away."""
    for name in (STATE, LINES):
        (folder / name).unlink(missing_ok=True)


class _Writer:
    """Appends to a stream, behind what is safely on disk of it."""

    def __init__(self, folder: Path, about: About):
        folder.mkdir(parents=True, exist_ok=True)
        self._lines, self._at = folder / LINES, folder / STATE
        self._about, self.state = about, self._found(about) or _State(0, b"", 0, [])

    def _found(self, about: About) -> _State | None:
        """What an earlier run left. Raises: ValueError where it was of another video or other options."""
        try:
            state = msgspec.msgpack.decode(self._at.read_bytes(), type=_State)
            with open(self._lines, "rb") as file:
                before = msgspec.json.decode(file.readline(), type=About)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise ValueError(f"{self._at}: cannot be read ({error}); --fresh begins again") from error
        same_or_refuse(_named(before), _named(about), self._lines.parent, "stream")
        return state

    def add(self, part: Part, linker: Linker) -> None:
        """A window: first its line, then what goes on behind it."""
        line = _Window(part.first, part.times, [_written(track) for track in part.tracks])
        size = self._append(line, self.state.size or self._append(self._about, 0))
        # One window is the original's answer as it is.
        best = part.tracks if part.whole else linker.best
        kept = [Kept(item.id, item.category_id, float(item.score)) for item in best]
        self._save(_State(size, linker.dump(), linker.length, kept))

    def end(self) -> None:
        """The video has ended."""
        self._save(msgspec.structs.replace(self.state, linker=b"", ended=True))

    def _append(self, item: object, start: int) -> int:
        """Write a line at byte `start`, beyond which nothing counts; where it ends, once it is on disk."""
        with open(self._lines, "r+b" if start else "wb") as file:
            file.truncate(start)
            file.seek(start)
            file.write(msgspec.json.encode(item) + b"\n")
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def _save(self, state: _State) -> None:
        with atomic(self._at) as part:
            part.write_bytes(msgspec.msgpack.encode(state))
        self.state = state


def _named(about: About) -> dict[str, Any]:
    return {"video": about.video, "size_hw": about.size_hw} | about.options


def _written(track: Track) -> _Track:
    assert track.frame_scores is not None
    boxes = [tuple(box.tolist()) if np.isfinite(box).all() else None for box in track.boxes_xyxy]
    texts = [None if rle is None else _Mask(list(rle["size"]), rle["counts"].decode()) for rle in track.rles]
    return _Track(track.id, track.category_id, float(track.score), track.frame_scores.tolist(), boxes, texts)


def _track(kept: Kept, found: _Track | None, length: int) -> Track:
    """A kept track in the frames of one window."""
    if found is None:
        nothing = np.full((length, 4), np.nan, np.float32), np.zeros(length)
        unknown = np.full(length, np.nan, np.float32)
        return Track(kept.id, kept.category_id, kept.score, (None,) * length, *nothing, frame_scores=unknown)
    rles: list[RLE | None] = [
        None if mask is None else {"size": mask.size, "counts": mask.counts.encode()} for mask in found.segmentations
    ]
    boxes = np.array([box or (np.nan,) * 4 for box in found.boxes_xyxy], np.float32)
    scores = np.array(found.frame_scores, np.float32)
    return Track(kept.id, kept.category_id, kept.score, tuple(rles), boxes, masks.areas(rles), frame_scores=scores)
