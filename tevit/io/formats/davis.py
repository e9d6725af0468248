"""DAVIS: a folder of palette PNGs per video, one per frame, whose pixel values are track ids.

0 is background, 255 void (not labelled). Source: the DAVIS 2017 release and davis2017-evaluation.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from tevit.io.files import atomic_folder, is_content, natural_key, natural_order
from tevit.io.formats.tracks import FrameMask, make_track, make_video, unique_name
from tevit.io.ytvis import frame_names
from tevit.limits import input_limits
from tevit.masks import ops
from tevit.results import VideoResult

VOID = 255
CATEGORY = {1: "object"}


def is_davis(path: str | os.PathLike) -> bool:
    """Whether a folder holds PNGs, directly or in folders of videos."""
    return Path(path).is_dir() and bool(_videos(Path(path)))


def _videos(root: Path) -> list[Path]:
    for start in (root, root / "Annotations" / "480p", root / "Annotations"):
        if start.is_dir():
            folders = [start, *natural_order(folder for folder in start.iterdir() if folder.is_dir())]
            if with_masks := [folder for folder in folders if _masks(folder)]:
                return with_masks
    return []


def _masks(folder: Path) -> list[Path]:
    """The PNGs in natural order, without hidden ones."""
    return natural_order(file for file in folder.iterdir() if file.suffix.lower() == ".png" and is_content(file.name))


def read(path: str | os.PathLike) -> tuple[Iterator[VideoResult], list[str]]:
    """The videos of a DAVIS folder (of one video, of all, or the release's root), one in memory at a time, and notes.

    Raises: OSError or ValueError where there is no PNG; a PNG that is no index image raises when its video is iterated.
    """
    videos = _videos(Path(path))
    if not videos:
        raise ValueError(f"{path}: expected folders of PNG masks, found none")
    notes = [f"DAVIS states no classes: every object is of the class {CATEGORY[1]!r}"]
    return (_video(number, folder) for number, folder in enumerate(videos, 1)), notes


def _video(id: int, folder: Path) -> VideoResult:
    files = _masks(folder)
    masks: dict[int, dict[int, list[FrameMask]]] = {}
    size_hw = (0, 0)
    for frame, file in enumerate(files):
        indices = _read_indices(file)
        if frame and indices.shape != size_hw:
            raise ValueError(f"{file}: expected {size_hw} as the video's first mask, got {indices.shape}")
        size_hw = (indices.shape[0], indices.shape[1])
        for track in np.unique(indices).tolist():
            if track not in (0, VOID):
                masks.setdefault(track, {})[frame] = [FrameMask(ops.encode((indices == track).astype(np.uint8)))]
    tracks = [make_track(track, 1, len(files), frames) for track, frames in sorted(masks.items())]
    names = [f"{folder.name}/{file.stem}.jpg" for file in files]
    return make_video(id, folder.name, size_hw, names, CATEGORY, tracks)


def _read_indices(file: Path) -> np.ndarray:
    """uint8 (H, W): palette indices; a grey image's values are taken as indices."""
    try:
        image = Image.open(file)
    except (ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file}: not an image that can be read ({error})") from None
    with image:
        input_limits().check_size(*image.size, str(file))
        if image.mode not in ("P", "L"):
            raise ValueError(f"{file}: expected a palette PNG with one index a pixel, got the mode {image.mode}")
        return np.array(image)


def palette() -> list[int]:
    """768 values, RGB of 256 indices. Source: PASCAL VOC's colour map, which DAVIS uses."""
    colours = []
    for index in range(256):
        for channel in range(3):
            # Three bits of the index at a time give one bit of each channel, the lowest the highest.
            colours.append(sum((index >> (3 * level + channel) & 1) << (7 - level) for level in range(3)))
    return colours


def write(path: str | os.PathLike, results: Iterable[VideoResult]) -> list[str]:
    """Write a folder with one folder of palette PNGs per video; returns notes on what was lost.

    Raises: ValueError for a video with more than 254 tracks, or where `path` exists.
    """
    overlaps, colours = 0, palette()
    names: set[str] = set()
    with atomic_folder(path) as temporary:
        for result in results:
            folder = temporary / unique_name(result, names)
            folder.mkdir(parents=True, exist_ok=True)
            indices = _indices(result)
            for frame, stem in enumerate(_stems(result)):
                values = np.zeros(result.size_hw, np.uint8)
                # The first track is on top, so that a higher score hides a lower one.
                for track in reversed(result.tracks):
                    if (rle := track.rles[frame]) is not None:
                        inside = ops.decode(rle) > 0
                        overlaps += int((values[inside] > 0).sum())
                        values[inside] = indices[track.id]
                image = Image.frombytes("P", (result.size_hw[1], result.size_hw[0]), values.tobytes())
                image.putpalette(colours)
                image.save(folder / f"{stem}.png")
    return [f"{overlaps} pixels of overlapping masks belong to the earlier track only"] if overlaps else []


def _stems(result: VideoResult) -> list[str]:
    """Names of the PNGs: those of the frames, or numbers where these would not keep every frame in its place."""
    stems = [PurePosixPath(name).stem for name in frame_names(result)]
    in_order = len(set(stems)) == len(stems) and sorted(stems, key=natural_key) == stems
    return stems if in_order else [f"{frame:05d}" for frame in range(result.length)]


def _indices(result: VideoResult) -> dict[int, int]:
    """The pixel value of each track: its id where that is 1 to 254 for all of them, else its position."""
    ids = [track.id for track in result.tracks]
    if len(ids) >= VOID:
        raise ValueError(f"video {result.name!r}: expected at most {VOID - 1} tracks for DAVIS, got {len(ids)}")
    if all(0 < id < VOID for id in ids):
        return {id: id for id in ids}
    return {id: number for number, id in enumerate(ids, 1)}
