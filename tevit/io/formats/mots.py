"""MOTS and KITTI-MOTS text: one line per mask, `frame id class height width rle`, one file per video.

An id is 1000 times the class plus the instance; class 10 marks regions to be ignored. Source: the MOTS Challenge's
annotation format.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from tevit.io.files import atomic_folder, is_content, natural_order
from tevit.io.formats.tracks import FrameMask, make_track, make_video, unique_name
from tevit.masks import json as mask_json
from tevit.results import VideoResult

CLASSES = {1: "car", 2: "pedestrian"}
IGNORE = 10
INSTANCES = 1000


def is_mots(path: str | os.PathLike) -> bool:
    """Whether a text file, or the first one of a folder that is not empty, starts with a line of this format."""
    for text in _files(Path(path)):
        with open(text, encoding="utf-8-sig", errors="replace") as file:
            parts = next((line.split() for line in file if line.strip()), None)
        if parts is not None:
            return len(parts) == 6 and all(part.isdecimal() for part in parts[:5])
    return False


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return natural_order(file for file in path.glob("*.txt") if is_content(file.name))
    return [path] if path.suffix == ".txt" else []


def read(path: str | os.PathLike) -> tuple[Iterator[VideoResult], list[str]]:
    """The videos of a text file or of a folder of them, one in memory at a time, and notes.

    Frames count from 0 or, where no file has a mask in frame 0, from 1. A video's length is that up to its last mask;
    a file without masks has no size and is left out.

    Raises: OSError; ValueError with file and line, while a video is iterated, for a line that cannot be read.
    """
    files = _files(Path(path))
    beginnings = {file: first for file in files if (first := _first_frame(file)) is not None}
    if not beginnings:
        raise ValueError(f"{path}: expected MOTS text files with masks, found none")
    start = 0 if min(beginnings.values()) == 0 else 1
    notes = ["MOTS text states no number of frames: each video ends with its last mask"]
    if start:
        notes.append("frames are counted from 1, since no file has a mask in a frame 0")
    if len(beginnings) < len(files):
        notes.append(f"{len(files) - len(beginnings)} files without masks, which state no size, were left out")
    return (_video(number, file, start) for number, file in enumerate(beginnings, 1)), notes


def _first_frame(file: Path) -> int | None:
    """The lowest number of a frame; 0 where the file cannot be read as this format; None where it is empty."""
    lines = file.read_text(encoding="utf-8-sig").split("\n")
    frames = [line.split(maxsplit=1)[0] for line in lines if line.strip()]
    return min((int(frame) if frame.isdecimal() else 0 for frame in frames), default=None)


def _video(id: int, file: Path, start: int) -> VideoResult:
    """start: the number of the first frame."""
    masks: dict[int, dict[int, list[FrameMask]]] = {}
    classes: dict[int, int] = {}
    size_hw = (0, 0)
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        where, parts = f"{file}, line {number}", line.split()
        if len(parts) != 6 or not all(part.isdecimal() for part in parts[:5]):
            raise ValueError(f"{where}: expected `frame id class height width rle`, got {line[:40]!r}")
        frame, track, category, height, width = (int(part) for part in parts[:5])
        size_hw = size_hw if any(size_hw) else (height, width)
        if (height, width) != size_hw:
            raise ValueError(f"{where}: expected a mask of {size_hw} as the first one, got {(height, width)}")
        if classes.setdefault(track, category) != category:
            raise ValueError(f"{where}: track {track}: expected class {classes[track]}, got {category}")
        try:
            rle = mask_json.from_json({"size": [height, width], "counts": parts[5]}, size_hw)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if rle is not None:
            masks.setdefault(track, {}).setdefault(frame - start, []).append(FrameMask(rle))
    length = max((frame for track in masks.values() for frame in track), default=0) + 1
    categories = {category: CLASSES.get(category, f"class {category}") for category in sorted(set(classes.values()))}
    tracks = [
        make_track(track, classes[track], length, entries, iscrowd=classes[track] == IGNORE)
        for track, entries in masks.items()
    ]
    names = [f"{file.stem}/{frame + start:06d}.png" for frame in range(length)]
    return make_video(id, file.stem, size_hw, names, categories, tracks)


def write(path: str | os.PathLike, results: Iterable[VideoResult]) -> list[str]:
    """Write a folder with one text file per video, frames from 0; returns notes on what was lost.

    Ids that are not `class * 1000 + instance` already are renumbered so.

    Raises: FileExistsError where `path` is not a new or empty folder; ValueError for more than 999 tracks of a class.
    """
    renumbered = empty = 0
    names: set[str] = set()
    with atomic_folder(path) as temporary:
        for result in results:
            ids = _ids(result)
            renumbered += sum(ids[track.id] != track.id for track in result.tracks)
            height, width = result.size_hw
            lines = [
                f"{frame} {ids[track.id]} {track.category_id} {height} {width} {rle['counts'].decode()}\n"
                for frame in range(result.length)
                for track in result.tracks
                if (rle := track.rles[frame]) is not None
            ]
            empty += not lines
            (temporary / f"{unique_name(result, names)}.txt").write_text("".join(lines), encoding="utf-8")
    notes = [f"{renumbered} track ids became class * 1000 + instance"] if renumbered else []
    return notes + ([f"{empty} videos have no mask: their files are empty"] if empty else [])


def _ids(result: VideoResult) -> dict[int, int]:
    """The MOTS id of each track id."""
    if all(track.id // INSTANCES == track.category_id for track in result.tracks):
        return {track.id: track.id for track in result.tracks}
    ids: dict[int, int] = {}
    counts: dict[int, int] = {}
    for track in result.tracks:
        number = counts[track.category_id] = counts.get(track.category_id, 0) + 1
        if number >= INSTANCES:
            raise ValueError(
                f"video {result.name!r}: expected at most {INSTANCES - 1} tracks of class {track.category_id} for MOTS"
            )
        ids[track.id] = track.category_id * INSTANCES + number
    return ids
