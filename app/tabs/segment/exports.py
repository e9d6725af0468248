"""The files of a run to download: its tracks by filters, as data, as masks, or drawn over the video."""

import re
import tempfile
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tevit.io.files import atomic
from tevit.io.ytvis import RESULTS_NAME, write_results, write_zip
from tevit.masks import ops as masks
from tevit.progress import Progress
from tevit.results import VideoResult, write_csv

from ...isolation import isolated
from .run import Footage

NAMES = ("overlay.mp4", "results.json", "masks.zip", "tracks.csv", "submission.zip")


@dataclass(frozen=True)
class TrackFilter:
    """min_score: in [0, 1]. classes: category ids, None for all. max_tracks: the best ones by score. min_frames: in
    which a track is present.

    Raises: ValueError for values out of range.
    """

    min_score: float = 0.0
    classes: frozenset[int] | None = None
    max_tracks: int = 10
    min_frames: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"score threshold: expected a number from 0 to 1, got {self.min_score}")
        if self.max_tracks < 1:
            raise ValueError(f"tracks at most: expected 1 or more, got {self.max_tracks}")
        if self.min_frames < 0:
            raise ValueError(f"shortest track: expected 0 frames or more, got {self.min_frames}")

    def apply(self, result: VideoResult) -> VideoResult:
        """The result with the matching tracks only, ids and order unchanged. Of equal scores the first are kept."""
        tracks = [
            track
            for track in result.tracks
            if track.score >= self.min_score
            and (self.classes is None or track.category_id in self.classes)
            and int(track.present.sum()) >= self.min_frames
        ]
        best = {id(track) for track in sorted(tracks, key=lambda track: -track.score)[: self.max_tracks]}
        return replace(result, tracks=tuple(track for track in tracks if id(track) in best))


@dataclass(frozen=True)
class OverlayStyle:
    """How an overlay is drawn. opacity: of the masks, 0 to 1.

    Raises: ValueError for an opacity out of range.
    """

    opacity: float = 0.5
    contours: bool = True
    labels: bool = True
    sound: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.opacity <= 1:
            raise ValueError(f"opacity: expected a number from 0 to 1, got {self.opacity}")


def export(
    name: str,
    result: VideoResult,
    folder: Path,
    *,
    footage: Footage,
    style: OverlayStyle | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the file of that name, one of `NAMES`, into `folder`, replacing an earlier one; returns its path.

    result: the tracks to write. footage: the frames of the result, for an overlay. progress: may raise to cancel; then
    no file appears.
    Raises: ValueError for another name; ValueError, OSError where the frames cannot be read or the file not be written.
    """
    path = folder / name
    if name == "overlay.mp4":
        report = progress or (lambda stage, done, total: None)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary:  # of a killed worker nothing stays
            temporary_file = Path(temporary, name)
            arguments = footage, replace(result, source=None), temporary_file, style or OverlayStyle()
            isolated(_write_overlay, *arguments, returns=None, subject=footage.source.name, progress=report)
            temporary_file.replace(path)
    elif name == "results.json":
        write_results(path, [result])
    elif name == "tracks.csv":
        write_csv(result, path)
    elif name == "submission.zip":
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary:
            write_results(Path(temporary, RESULTS_NAME), [result])
            write_zip(path, Path(temporary, RESULTS_NAME))
    elif name == "masks.zip":
        _write_masks(result, path, progress)
    else:
        raise ValueError(f"expected one of {', '.join(NAMES)}, got {name!r}")
    return path


def _write_overlay(footage: Footage, result: VideoResult, path: Path, style: OverlayStyle, progress: Progress) -> None:
    from tevit.video.overlay import write_overlay

    write_overlay(footage.open(), result, path, progress=progress, **asdict(style))


def _write_masks(result: VideoResult, path: Path, progress: Progress | None) -> None:
    """A folder for each track with an 8 bit PNG for each frame where it is present: 255 inside of the mask, else 0."""
    import cv2

    with atomic(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for index, track in enumerate(result.tracks):
            label = result.categories.get(track.category_id, f"class {track.category_id}")
            label = re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-") or str(track.category_id)
            for frame, rle in enumerate(track.rles):
                if progress is not None:
                    done = index * result.length + frame
                    progress("writing masks", done, len(result.tracks) * result.length)
                if rle is not None:
                    png = cv2.imencode(".png", masks.decode(rle) * 255)[1].tobytes()
                    archive.writestr(f"{track.id:03d}-{label}/{frame:05d}.png", png)
