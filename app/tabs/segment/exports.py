"""What can be taken home of a result: files made on demand, of the tracks that were chosen."""

import re
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tevit.io.files import atomic
from tevit.progress import Progress
from tevit.results import RLE, Track, VideoResult

if TYPE_CHECKING:
    from tevit.video.reader import Video


@dataclass(frozen=True)
class Choices:
    """Which tracks. score: the lowest, in [0, 1]. classes: category ids, None for all. most: tracks, the best ones.
    shortest: frames in which a track must be seen.

    Raises: ValueError for what no page offers.
    """

    score: float = 0.0
    classes: frozenset[int] | None = None
    most: int = 10
    shortest: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:
            raise ValueError(f"score threshold: expected a number from 0 to 1, got {self.score}")
        if self.most < 1:
            raise ValueError(f"tracks at most: expected 1 or more, got {self.most}")
        if self.shortest < 0:
            raise ValueError(f"shortest track: expected 0 frames or more, got {self.shortest}")


@dataclass(frozen=True)
class OverlayStyle:
    """How an overlay is drawn. opacity: of the masks, 0 to 1.

    Raises: ValueError for an opacity outside of that.
    """

    opacity: float = 0.5
    contours: bool = True
    labels: bool = True
    sound: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.opacity <= 1:
            raise ValueError(f"opacity: expected a number from 0 to 1, got {self.opacity}")


def chosen(result: VideoResult, choices: Choices) -> VideoResult:
    """The result with the chosen tracks alone; ids and order stay. Of equal scores the first ones are kept."""
    fit = [track for track in result.tracks if _fits(track, choices)]
    best = {id(track) for track in sorted(fit, key=lambda track: -track.score)[: choices.most]}
    return replace(result, tracks=tuple(track for track in fit if id(track) in best))


def _fits(track: Track, choices: Choices) -> bool:
    return (
        track.score >= choices.score
        and (choices.classes is None or track.category_id in choices.classes)
        and int(track.present.sum()) >= choices.shortest
    )


# --- files

Write = Callable[[VideoResult, Path, "Progress | None"], None]


def export(
    name: str,
    result: VideoResult,
    folder: Path,
    *,
    opened: "Callable[[], Video]",
    look: OverlayStyle | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make one of the files of `NAMES` in `folder`, in the place of an earlier one; returns its path.

    result: the tracks that go into it. opened: opens the frames that the result is of, for an overlay. progress: what
    it raises stops the work and comes out of here, and no file appears.
    Raises: ValueError for another name; ValueError, OSError where the frames cannot be read or the file not be written.
    """
    path = folder / name
    if name == "overlay.mp4":
        _overlay(opened(), result, path, look or OverlayStyle(), progress)
    elif name in _WRITERS:
        _WRITERS[name](result, path, progress)
    else:
        raise ValueError(f"expected one of {', '.join(NAMES)}, got {name!r}")
    return path


def _overlay(video: "Video", result: VideoResult, path: Path, look: OverlayStyle, progress: Progress | None) -> None:
    from tevit.video.overlay import write_overlay

    write_overlay(
        video,
        result,
        path,
        progress=progress,
        opacity=look.opacity,
        contours=look.contours,
        labels=look.labels,
        sound=look.sound,
    )


def _results(result: VideoResult, path: Path, progress: Progress | None) -> None:
    from tevit.io.ytvis import write_results

    write_results(path, [result])


def _submission(result: VideoResult, path: Path, progress: Progress | None) -> None:
    from tevit.io.ytvis import RESULTS_NAME, write_results, write_zip

    with tempfile.TemporaryDirectory(dir=path.parent) as beside:
        write_results(Path(beside, RESULTS_NAME), [result])
        write_zip(path, Path(beside, RESULTS_NAME))


def _table(result: VideoResult, path: Path, progress: Progress | None) -> None:
    from tevit.results import write_csv

    write_csv(result, path)


def _masks(result: VideoResult, path: Path, progress: Progress | None) -> None:
    """A folder a track, in it a picture a frame in which it is seen: 8 bit, 255 where it is."""
    with atomic(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for done, track in enumerate(result.tracks, 1):
            folder = _folder_name(result, track)
            for frame, rle in enumerate(track.rles):
                if progress is not None:
                    progress("writing masks", (done - 1) * result.length + frame, len(result.tracks) * result.length)
                if rle is not None:
                    archive.writestr(f"{folder}/{frame:05d}.png", _png(rle))


def _folder_name(result: VideoResult, track: Track) -> str:
    label = result.categories.get(track.category_id, f"class {track.category_id}")
    return f"{track.id:03d}-{re.sub(r'[^A-Za-z0-9]+', '-', label).strip('-') or track.category_id}"


def _png(rle: RLE) -> bytes:
    import cv2

    from tevit.masks import ops as masks

    return cv2.imencode(".png", masks.decode(rle) * 255)[1].tobytes()


_WRITERS: dict[str, Write] = {
    "results.json": _results,
    "masks.zip": _masks,
    "tracks.csv": _table,
    "submission.zip": _submission,
}
NAMES = ("overlay.mp4", *_WRITERS)
