"""Predicting a long video window by window to disk: it can be resumed after a stop, and memory is constant.

`stream.jsonl` has a line about the video, then one for every finished window; other programs can follow it.
`stream.state` is the state from which a stopped prediction is resumed. At the end the usual files are written from
the lines: `results.json`, `tracks.csv`, `overlay.mp4`.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tevit.configs import PredictOptions
from tevit.inference.dataset import check_same_options
from tevit.io import json as jsonfile
from tevit.io.files import atomic
from tevit.io.ytvis import submitted
from tevit.masks import ops
from tevit.results import RLE, VideoResult, WindowResult, absent_track

if TYPE_CHECKING:
    from tevit.inference.association import TrackAssociator
    from tevit.inference.external import ExternalPredictor, TrackTable
    from tevit.inference.predictor import Predictor
    from tevit.progress import Progress
    from tevit.video.reader import Video

LINES, STATE = "stream.jsonl", "stream.state"


class StreamHeader(msgspec.Struct, frozen=True):
    """The first line. options: what the tracks depend on: model, source, window, …; equal where a stream is resumed."""

    video: str
    size_hw: tuple[int, int]
    categories: dict[int, str]
    options: dict[str, Any]
    file_names: tuple[str, ...] = ()
    stream: int = 1


class _MaskLine(msgspec.Struct):
    size: list[int]
    counts: str


class _TrackLine(msgspec.Struct):
    """A track in the frames of a window. category_id, score: of this window."""

    id: int
    category_id: int
    score: float
    frame_scores: list[float | None]
    boxes_xyxy: list[tuple[float, float, float, float] | None]
    segmentations: list[_MaskLine | None]


class _WindowLine(msgspec.Struct):
    first: int
    times: list[float]
    tracks: list[_TrackLine]


class TrackSummary(msgspec.Struct, frozen=True):
    """A track of the whole video: its class and its mean score."""

    id: int
    category_id: int
    score: float


class _StreamState(msgspec.Struct):
    """size: bytes of the valid lines. associator: its state after them. tracks: the best so far. ended: of the whole
    video. categories: id -> name. The encoded names are those of files on disk."""

    size: int = 0
    associator: bytes = msgspec.field(default=b"", name="linker")
    frames: int = 0
    tracks: list[TrackSummary] = msgspec.field(default_factory=list, name="kept")
    ended: bool = False
    categories: dict[int, str] = {}


@dataclass(frozen=True, eq=False)
class StreamedResult:
    """A folder with the stream of a whole video, read window by window.

    tracks: the best ones, best first. length: frames.
    """

    folder: Path
    header: StreamHeader
    tracks: tuple[TrackSummary, ...]
    length: int

    def windows(self) -> Iterator[VideoResult]:
        """All `tracks`, in the frames of each window; a track that a window lacks is absent there."""
        header = self.header
        with open(self.folder / LINES, "rb") as file:
            next(file)
            for line in file:
                window = msgspec.json.decode(line, type=_WindowLine)
                by_id, length, tracks = {track.id: track for track in window.tracks}, len(window.times), []
                for summary in self.tracks:
                    track = absent_track(summary.id, summary.category_id, summary.score, length)
                    if stored := by_id.get(summary.id):
                        masks = [
                            item and RLE(size=item.size, counts=item.counts.encode()) for item in stored.segmentations
                        ]
                        boxes = np.array([box or (np.nan,) * 4 for box in stored.boxes_xyxy], np.float32)
                        scores, areas = np.array(stored.frame_scores, np.float32), ops.areas(masks)
                        track = replace(track, rles=tuple(masks), boxes_xyxy=boxes, areas=areas, frame_scores=scores)
                    tracks.append(track)
                names = header.file_names[window.first : window.first + length]
                times, categories = np.array(window.times), header.categories
                yield VideoResult(1, header.video, header.size_hw, times, categories, tuple(tracks), names)


def stream_to_folder(
    predictor: "Predictor | ExternalPredictor",
    video: "Video",
    folder: Path,
    options: PredictOptions,
    *,
    about: Mapping[str, Any],
    progress: "Progress | None" = None,
    on_window: Callable[[WindowResult], None] = lambda window: None,
) -> StreamedResult:
    """Predict a video window by window into `folder`, from where an earlier call was stopped.

    about: what the tracks depend on beside the options, such as the model. on_window: called when a window is on disk.
    Raises: ValueError where the folder has the stream of another video or of other options; as `Predictor.stream`.
    """
    dependencies = {**about, **options.to_json()}
    header = StreamHeader(video.name, video.size_hw, predictor.categories, dependencies, video.file_names)
    writer = _StreamWriter(folder, header)
    if not writer.state.ended:
        resume = writer.state.associator or None
        for window, associator in predictor.window_results(video, options, resume=resume, progress=progress):
            writer.add(window, associator, predictor.categories)
            on_window(window)
        writer.end()
    tracks = tuple(track for track in writer.state.tracks if track.score >= options.score_threshold)
    header = msgspec.structs.replace(header, categories=writer.state.categories or header.categories)
    return StreamedResult(folder, header, tracks, writer.state.frames)


def write_long_results(path: str | os.PathLike, windows: Iterable[VideoResult]) -> None:
    """Write a video that comes in windows of successive frames in the submission form, one window in memory at a time.

    windows: the tracks are the same, in the same order, in each.
    """
    with atomic(path) as temporary, TemporaryDirectory(prefix=".tracks-", dir=Path(path).parent) as folder:
        heads: list[bytes] = []
        for number, window in enumerate(windows):
            empty = ops.empty(window.size_hw)
            # A track's entry up to its first mask.
            heads = heads or [
                jsonfile.encode({**submitted(window.video_id, track, empty), "segmentations": []}).removesuffix(b"]}")
                for track in window.tracks
            ]
            for place, track in enumerate(window.tracks):
                rles = jsonfile.encode([ops.to_json(rle or empty) for rle in track.rles])
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


def discard(folder: Path) -> None:
    """Delete an earlier stream."""
    for name in (STATE, LINES):
        (folder / name).unlink(missing_ok=True)


class _StreamWriter:
    """Appends to a stream, after its valid lines.
    Raises: ValueError where an earlier run's stream is of another video or other options.
    """

    def __init__(self, folder: Path, header: StreamHeader):
        folder.mkdir(parents=True, exist_ok=True)
        self._lines, self._state_file, self._header = folder / LINES, folder / STATE, header
        self.state = _StreamState()
        try:
            state = msgspec.msgpack.decode(self._state_file.read_bytes(), type=_StreamState)
            with open(self._lines, "rb") as file:
                before = msgspec.json.decode(file.readline(), type=StreamHeader)
        except FileNotFoundError:
            return
        except msgspec.DecodeError as error:
            raise ValueError(f"{self._state_file}: cannot be read ({error}); --fresh begins again") from error
        recorded, options = ({"video": item.video, "size_hw": item.size_hw} | item.options for item in (before, header))
        check_same_options(recorded, options, folder, "stream")
        self.state = state

    def add(self, window: WindowResult, associator: "TrackAssociator | TrackTable", categories: dict[int, str]) -> None:
        """First the window's line, then the state after it. categories: so far."""
        lines = []
        for track in window.tracks:
            assert track.frame_scores is not None
            boxes = [tuple(box.tolist()) if np.isfinite(box).all() else None for box in track.boxes_xyxy]
            rles = [None if rle is None else _MaskLine(list(rle["size"]), rle["counts"].decode()) for rle in track.rles]
            scores = track.frame_scores.tolist()
            lines.append(_TrackLine(track.id, track.category_id, float(track.score), scores, boxes, rles))
        line = _WindowLine(window.first, window.times, lines)
        size = self._append(line, self.state.size or self._append(self._header, 0))
        # A single window is the original's output as it is.
        best = window.tracks if window.whole else associator.best
        tracks = [TrackSummary(track.id, track.category_id, float(track.score)) for track in best]
        self._save(_StreamState(size, associator.dump(), associator.length, tracks, categories=categories))

    def end(self) -> None:
        """Record that the video is complete."""
        self._save(msgspec.structs.replace(self.state, associator=b"", ended=True))

    def _append(self, line: object, start: int) -> int:
        """Write a line at byte `start`, from which on nothing is valid; returns its end, once it is on disk."""
        with open(self._lines, "r+b" if start else "wb") as file:
            file.truncate(start)
            file.seek(start)
            file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def _save(self, state: _StreamState) -> None:
        with atomic(self._state_file) as part:
            part.write_bytes(msgspec.msgpack.encode(state))
        self.state = state
