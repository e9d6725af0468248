"""Results that outlive the server: each in a folder named by its token; the oldest are removed above a size limit.

The token is the only access to a result: visitors get no list of them.
"""

import hashlib
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

import msgspec
import numpy as np

from tevit.io import json as jsonfile
from tevit.io.files import link_or_copy
from tevit.io.ytvis import RESULTS_NAME, VideoInfo, read_results, write_results
from tevit.results import Track, VideoResult

from ..player.proxy import BrowserVideo

LIMIT = 5_000_000_000  # bytes
META, PROXY = "meta.json", "footage.mp4"
VERSION = 1
_TOKEN = re.compile(r"[0-9a-f]{32}")
_ABANDONED_SECONDS = 24 * 3600  # age from which a temporary folder is no longer being written
_NOT_THERE = "There is no such stored result, or not any more."

_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Settings:
    """model: a published name or a checkpoint's path. score_threshold: in [0, 1]. max_tracks: at least 1.

    first, stop: the frames to segment, from 0, without `stop`; None for all to the end. parameters: of the model, those
    that are not the defaults.
    """

    model: str
    score_threshold: float = 0.0
    max_tracks: int = 20
    first: int = 0
    stop: int | None = None
    parameters: tuple[tuple[str, Any], ...] = ()


class _TrackMeta(msgspec.Struct):
    """What results.json has no field for."""

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
    parameters: dict[str, str | float | bool | None] = {}


@dataclass(frozen=True, eq=False)
class StoredResult:
    """A result that was opened again. sentence: the message that its run ended with. frames: of the whole video."""

    token: str
    name: str
    created: float
    sentence: str
    settings: Settings
    frames: BrowserVideo
    result: VideoResult


class ResultStore:
    """The folder of stored results. Thread-safe. limit: bytes; results in use are kept even above it."""

    def __init__(self, folder: Path, limit: int = LIMIT):
        self.folder = folder
        self._limit = limit
        self._used: WeakValueDictionary[str, BrowserVideo] = WeakValueDictionary()
        self._lock = Lock()

    def save(
        self, token: str, name: str, settings: Settings, frames: BrowserVideo, result: VideoResult, sentence: str = ""
    ) -> None:
        """Store a result under its token, all or nothing; then remove the oldest ones above the limit.

        result: of the frames from settings.first on. Raises: OSError where it cannot be written; ValueError for an
        invalid token.
        """
        target = self._path(token)
        part = self.folder / f".{secrets.token_hex(8)}"
        part.mkdir(parents=True)
        try:
            _write(part, name, settings, frames, result, sentence)
            with self._lock:
                self._replace(target, part)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        self._make_room(token)

    def open(self, token: str) -> StoredResult:
        """A stored result. It is not removed while its `frames` are in use.

        Raises: ValueError, one sentence, where there is none or its files were changed.
        """
        folder = self._path(token)
        with self._lock:
            _restore(folder)
        if not folder.is_dir():
            raise ValueError(_NOT_THERE)
        try:
            stored = _read(folder)
        except OSError as error:
            reason = f"{Path(error.filename or 'a file').name}: {error.strerror}"
            raise ValueError(f"The stored result {token} cannot be opened: {reason}.") from error
        except ValueError as error:
            reason = str(error).replace(f"{folder}{os.sep}", "").rstrip(".")
            raise ValueError(f"The stored result {token} cannot be opened: {reason}.") from error
        self._used[token] = stored.frames
        return stored

    def _path(self, token: str) -> Path:
        if not _TOKEN.fullmatch(token):
            raise ValueError(_NOT_THERE)
        return self.folder / token

    def _replace(self, target: Path, part: Path) -> None:
        """Folders are not replaced in one step: the former version is beside its place meanwhile, see `_restore`."""
        former = _former(target)
        shutil.rmtree(former, ignore_errors=True)
        if target.exists():
            target.rename(former)
        part.rename(target)
        shutil.rmtree(former, ignore_errors=True)

    def _make_room(self, newest: str) -> None:
        with self._lock:
            for folder in self.folder.glob(".*/"):
                if _TOKEN.fullmatch(folder.name[1:]):
                    _restore(folder.with_name(folder.name[1:]))
                if _modified(folder) < time.time() - _ABANDONED_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
            folders = [folder for folder in self.folder.iterdir() if _TOKEN.fullmatch(folder.name) and folder.is_dir()]
            sizes = {folder: _size(folder) for folder in sorted(folders, key=_modified)}
            excess = sum(sizes.values()) - self._limit
            for folder, size in sizes.items():
                if excess <= 0:
                    return
                if folder.name != newest and folder.name not in self._used:
                    shutil.rmtree(folder, ignore_errors=True)
                    excess -= size


def _former(target: Path) -> Path:
    """Where the former version of a result is while it is replaced."""
    return target.with_name(f".{target.name}")


def _restore(target: Path) -> None:
    """Put back the former version of a result where the process was killed between the two steps of replacing it."""
    if not target.exists():
        with suppress(FileNotFoundError):
            _former(target).rename(target)


def _modified(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # removed meanwhile by another server
        return 0.0


def _size(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.iterdir())
    except OSError:
        return 0


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _write(
    folder: Path, name: str, settings: Settings, frames: BrowserVideo, result: VideoResult, sentence: str
) -> None:
    write_results(folder / RESULTS_NAME, [result])
    if frames.video is not None:
        link_or_copy(frames.video, (folder / PROXY).with_suffix(frames.video.suffix))  # a link shares the disk space
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
        size_hw=frames.size_hw,
        shown_times=list(frames.times),
        pixel_aspect=frames.pixel_aspect,
        warnings=list(frames.warnings),
        files=[str(file.resolve()) for file in frames.files],
        video_bytes=frames.video.stat().st_size if frames.video else None,
        video_id=result.video_id,
        video_name=result.name,
        times=result.times.tolist(),
        file_names=list(result.file_names),
        categories=dict(result.categories),
        tracks=[_track_meta(track) for track in result.tracks],
        sha256=_sha256(folder / RESULTS_NAME),
        parameters={name: value.name if isinstance(value, Enum) else value for name, value in settings.parameters},
    )
    (folder / META).write_bytes(jsonfile.encode(meta))


def _track_meta(track: Track) -> _TrackMeta:
    boxes: list[_Box | None] = [
        None if any(map(math.isnan, row)) else (row[0], row[1], row[2], row[3])
        for row in track.boxes_xyxy.astype(float).tolist()
    ]
    scores = None
    if track.frame_scores is not None:
        scores = [None if math.isnan(score) else score for score in track.frame_scores.tolist()]
    return _TrackMeta(track.id, boxes, scores)


def _video_path(folder: Path) -> Path:
    """The video of a stored result: PROXY, or one of the same name that was served as it is."""
    others = (folder / PROXY).with_suffix(".webm")
    return others if others.exists() else folder / PROXY


def _read(folder: Path) -> StoredResult:
    """Raises: ValueError, OSError where the files are not as they were written."""
    meta: _ResultMeta = jsonfile.decode((folder / META).read_bytes(), _ResultMeta, META)
    for fault in _faults(folder, meta):
        raise ValueError(fault)
    height, width = meta.size_hw
    info = VideoInfo(meta.video_id, width, height, len(meta.times), tuple(meta.file_names))
    result = read_results(folder / RESULTS_NAME).video(info, meta.categories)
    if len(result.tracks) != len(meta.tracks):
        raise ValueError(f"{META}: expected {len(result.tracks)} tracks, got {len(meta.tracks)}")
    tracks = []
    for track, extra in zip(result.tracks, meta.tracks, strict=True):
        boxes = np.array([box or (np.nan,) * 4 for box in extra.boxes_xyxy], np.float32).reshape(-1, 4)
        scores = None if extra.frame_scores is None else np.array(extra.frame_scores, np.float32)  # None becomes NaN
        tracks.append(replace(track, id=extra.id, boxes_xyxy=boxes, frame_scores=scores))
    result = replace(result, name=meta.video_name, times=np.array(meta.times), tracks=tuple(tracks))
    parameters = tuple(meta.parameters.items())
    settings = Settings(meta.model, meta.score_threshold, meta.max_tracks, meta.first, meta.stop, parameters)
    frames = BrowserVideo(
        name=meta.name,
        size_hw=meta.size_hw,
        times=tuple(meta.shown_times),
        video=None if meta.video_bytes is None else _video_path(folder),
        files=tuple(map(Path, meta.files)),
        pixel_aspect=meta.pixel_aspect,
        warnings=tuple(meta.warnings),
    )
    return StoredResult(folder.name, meta.name, meta.created, meta.sentence, settings, frames, result)


def _faults(folder: Path, meta: _ResultMeta) -> Iterator[str]:
    if meta.version != VERSION:
        yield f"{META}: expected version {VERSION}, got {meta.version}"
    for times in (meta.times, meta.shown_times):
        if np.any(np.diff(times) <= 0):
            yield f"{META}: expected times that increase"
    if meta.first < 0 or meta.first + len(meta.times) > len(meta.shown_times):
        yield f"{META}: expected {len(meta.times)} frames from {meta.first} on, but {len(meta.shown_times)} are shown"
    rows = [row for track in meta.tracks for row in (track.boxes_xyxy, track.frame_scores) if row is not None]
    if any(len(row) != len(meta.times) for row in rows):
        yield f"{META}: expected {len(meta.times)} boxes and scores a track"
    if meta.video_bytes is None:
        if len(meta.files) != len(meta.shown_times) or not all(Path(file).is_file() for file in meta.files):
            yield "its pictures are not where they were"
    elif (video := _video_path(folder)).stat().st_size != meta.video_bytes:
        yield f"{video.name} was changed or cut off"
    if _sha256(folder / RESULTS_NAME) != meta.sha256:
        yield f"{RESULTS_NAME} was changed or cut off"
