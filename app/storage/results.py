"""Results that outlive the server: each in a folder of its own under its token, the oldest out where they grow too big.

Who has a token has the result; nothing here is listed to visitors.
"""

import hashlib
import logging
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

import msgspec
import numpy as np

from app.player.proxy import BrowserVideo
from tevit.io import json as jsonfile
from tevit.io.ytvis import RESULTS_NAME, VideoInfo, read_results, write_results
from tevit.results import Track, VideoResult

log = logging.getLogger(__name__)

LIMIT = 5_000_000_000  # bytes
META, PROXY = "meta.json", "footage.mp4"
VERSION = 1
_TOKEN = re.compile(r"[0-9a-f]{32}")
_LEFT_BEHIND_SECONDS = 24 * 3600  # after which a folder that never became whole is no longer being written

_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Settings:
    """model: a published name or a checkpoint's path. score_threshold: in [0, 1]. max_tracks: at least 1.

    first, stop: the frames to segment, from 0, `stop` not among them; None for all to the end.
    """

    model: str
    score_threshold: float = 0.0
    max_tracks: int = 20
    first: int = 0
    stop: int | None = None


class _TrackMeta(msgspec.Struct):
    """What results.json has no place for."""

    id: int
    boxes_xyxy: list[_Box | None]
    frame_scores: list[float | None] | None


class _ResultMeta(msgspec.Struct):
    """meta.json. created: seconds since 1970. video_bytes: of the proxy, None for images. sha256: of results.json."""

    version: int
    name: str
    created: float
    sentence: str
    model: str
    score_threshold: float
    max_tracks: int
    first: int
    stop: int | None
    size_hw: tuple[int, int]
    shown_times: list[float]
    pixel_aspect: float
    warnings: list[str]
    files: list[str]
    video_bytes: int | None
    video_id: int
    video_name: str
    times: list[float]
    file_names: list[str]
    categories: dict[int, str]
    tracks: list[_TrackMeta]
    sha256: str


@dataclass(frozen=True)
class Entry:
    """A line of the operator's list. created: seconds since 1970. size: bytes on disk."""

    token: str
    name: str
    model: str
    created: float
    tracks: int
    frames: int
    size: int


@dataclass(frozen=True, eq=False)
class StoredResult:
    """A result opened again. sentence: what there was to know of it."""

    token: str
    name: str
    created: float
    sentence: str
    settings: Settings
    footage: BrowserVideo
    result: VideoResult


class ResultStore:
    """The folder of stored results. May be used from any thread. limit: bytes; it may be passed by what is in use."""

    def __init__(self, folder: Path, limit: int = LIMIT):
        self.folder = folder
        self._limit = limit
        self._used: WeakValueDictionary[str, BrowserVideo] = WeakValueDictionary()
        self._lock = Lock()

    def save(
        self, token: str, name: str, settings: Settings, footage: BrowserVideo, result: VideoResult, sentence: str = ""
    ) -> None:
        """Store a result under its token, all or nothing; then let the oldest go until the limit is kept.

        result: of the frames settings.first … of the footage. Raises: OSError where it cannot be written; ValueError
        for what is no token.
        """
        target = self._place(token)
        part = self.folder / f".{secrets.token_hex(8)}"
        part.mkdir(parents=True)
        try:
            _fill(part, name, settings, footage, result, sentence)
            with self._lock:
                shutil.rmtree(target, ignore_errors=True)  # stored before: the new one has more
                part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        self._make_room(token)

    def open(self, token: str) -> StoredResult:
        """A stored result. It stays as long as somebody holds its footage.

        Raises: ValueError, one sentence, where there is none or it was changed or cut off.
        """
        folder = self._place(token)
        if not folder.is_dir():
            raise ValueError("There is no such stored result, or not any more.")
        try:
            stored = _read(folder, _meta(folder))
        except (ValueError, OSError) as error:
            raise ValueError(f"The stored result {token} cannot be opened: {_reason(error, folder)}.") from error
        self._used[token] = stored.footage
        return stored

    def entries(self) -> list[Entry]:
        """All that can be opened, the newest first; what cannot is told on the log and left out."""
        found = []
        for folder in self._folders():
            try:
                found.append(_entry(folder))
            except (ValueError, OSError) as error:
                log.warning("the stored result %s is left out: %s", folder.name, _reason(error, folder))
        return sorted(found, key=lambda entry: entry.created, reverse=True)

    def _place(self, token: str) -> Path:
        if not _TOKEN.fullmatch(token):
            raise ValueError("There is no such stored result, or not any more.")
        return self.folder / token

    def _folders(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [folder for folder in self.folder.iterdir() if _TOKEN.fullmatch(folder.name) and folder.is_dir()]

    def _make_room(self, newest: str) -> None:
        with self._lock:
            self._remove_left_behind()
            folders = sorted(self._folders(), key=_written)
            sizes = {folder: _size(folder) for folder in folders}
            too_much = sum(sizes.values()) - self._limit
            for folder in folders:
                if too_much <= 0:
                    return
                if folder.name != newest and folder.name not in self._used:
                    shutil.rmtree(folder, ignore_errors=True)
                    too_much -= sizes[folder]

    def _remove_left_behind(self) -> None:
        for folder in self.folder.glob(".*/"):
            if _written(folder) < time.time() - _LEFT_BEHIND_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _written(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # another server has removed it in between
        return 0.0


def _size(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.iterdir())
    except OSError:
        return 0


def _reason(error: Exception, folder: Path) -> str:
    """In words, without the server's folders."""
    if isinstance(error, OSError):
        return f"{Path(error.filename or 'a file').name}: {error.strerror}"
    return str(error).replace(f"{folder}{os.sep}", "").rstrip(".")


# --- writing


def _fill(
    folder: Path, name: str, settings: Settings, footage: BrowserVideo, result: VideoResult, sentence: str
) -> None:
    write_results(folder / RESULTS_NAME, [result])
    if footage.video is not None:
        _link(footage.video, folder / PROXY)
    meta = _ResultMeta(
        version=VERSION,
        name=name,
        created=time.time(),
        sentence=sentence,
        model=Path(settings.model).name,
        score_threshold=settings.score_threshold,
        max_tracks=settings.max_tracks,
        first=settings.first,
        stop=settings.stop,
        size_hw=footage.size_hw,
        shown_times=list(footage.times),
        pixel_aspect=footage.pixel_aspect,
        warnings=list(footage.warnings),
        files=[str(file.resolve()) for file in footage.files],
        video_bytes=footage.video.stat().st_size if footage.video else None,
        video_id=result.video_id,
        video_name=result.name,
        times=result.times.tolist(),
        file_names=list(result.file_names),
        categories=dict(result.categories),
        tracks=[_TrackMeta(track.id, _boxes(track), _scores(track)) for track in result.tracks],
        sha256=_sha256(folder / RESULTS_NAME),
    )
    (folder / META).write_bytes(jsonfile.encode(meta))


def _link(file: Path, place: Path) -> None:
    """The same bytes twice without the disk's space twice, where the file system can."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)


def _boxes(track: Track) -> list[_Box | None]:
    rows = track.boxes_xyxy.astype(float).tolist()
    return [None if any(map(math.isnan, row)) else (row[0], row[1], row[2], row[3]) for row in rows]


def _scores(track: Track) -> list[float | None] | None:
    if track.frame_scores is None:
        return None
    return [None if math.isnan(score) else score for score in track.frame_scores.tolist()]


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


# --- reading


def _meta(folder: Path) -> _ResultMeta:
    """Raises: ValueError, OSError where it is not what was written."""
    meta: _ResultMeta = jsonfile.decode((folder / META).read_bytes(), _ResultMeta, META)
    if meta.version != VERSION:
        raise ValueError(f"{META}: expected version {VERSION}, got {meta.version}")
    for fault in _faults(folder, meta):
        raise ValueError(fault)
    return meta


def _faults(folder: Path, meta: _ResultMeta) -> Iterator[str]:
    for times in (meta.times, meta.shown_times):
        if np.any(np.diff(times) <= 0):
            yield f"{META}: expected times that increase"
    if meta.first < 0 or meta.first + len(meta.times) > len(meta.shown_times):
        yield f"{META}: expected {len(meta.times)} frames from {meta.first} on, but {len(meta.shown_times)} are shown"
    if any(len(row) != len(meta.times) for track in meta.tracks for row in _rows(track)):
        yield f"{META}: expected {len(meta.times)} boxes and scores a track"
    if meta.video_bytes is None:
        if len(meta.files) != len(meta.shown_times) or not all(Path(file).is_file() for file in meta.files):
            yield "its pictures are not where they were"
    elif (folder / PROXY).stat().st_size != meta.video_bytes:
        yield f"{PROXY} was changed or cut off"


def _rows(track: _TrackMeta) -> list[list]:
    return [track.boxes_xyxy] if track.frame_scores is None else [track.boxes_xyxy, track.frame_scores]


def _read(folder: Path, meta: _ResultMeta) -> StoredResult:
    settings = Settings(meta.model, meta.score_threshold, meta.max_tracks, meta.first, meta.stop)
    footage = BrowserVideo(
        name=meta.name,
        size_hw=meta.size_hw,
        times=tuple(meta.shown_times),
        video=None if meta.video_bytes is None else folder / PROXY,
        files=tuple(map(Path, meta.files)),
        pixel_aspect=meta.pixel_aspect,
        warnings=tuple(meta.warnings),
    )
    return StoredResult(folder.name, meta.name, meta.created, meta.sentence, settings, footage, _result(folder, meta))


def _result(folder: Path, meta: _ResultMeta) -> VideoResult:
    if _sha256(folder / RESULTS_NAME) != meta.sha256:
        raise ValueError(f"{RESULTS_NAME} was changed or cut off")
    height, width = meta.size_hw
    info = VideoInfo(meta.video_id, width, height, len(meta.times), tuple(meta.file_names))
    result = read_results(folder / RESULTS_NAME).video(info, meta.categories)
    if len(result.tracks) != len(meta.tracks):
        raise ValueError(f"{META}: expected {len(result.tracks)} tracks, got {len(meta.tracks)}")
    tracks = tuple(_restored(track, kept) for track, kept in zip(result.tracks, meta.tracks, strict=True))
    return replace(result, name=meta.video_name, times=np.array(meta.times), tracks=tracks)


def _restored(track: Track, kept: _TrackMeta) -> Track:
    boxes = np.array([box or (np.nan,) * 4 for box in kept.boxes_xyxy], np.float32).reshape(-1, 4)
    scores = None if kept.frame_scores is None else np.array(kept.frame_scores, np.float32)  # None becomes NaN
    return replace(track, id=kept.id, boxes_xyxy=boxes, frame_scores=scores)


def _entry(folder: Path) -> Entry:
    meta = _meta(folder)
    if _sha256(folder / RESULTS_NAME) != meta.sha256:
        raise ValueError(f"{RESULTS_NAME} was changed or cut off")
    frames = len(meta.times)
    return Entry(folder.name, meta.name, meta.model, meta.created, len(meta.tracks), frames, _size(folder))
