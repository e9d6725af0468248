"""One page of the tab `Segment`: what is selected and shown, and its part of the page's address, files to download."""

import re
import tempfile
import zipfile
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tevit.download import is_bundled
from tevit.io.files import atomic
from tevit.io.ytvis import RESULTS_NAME, write_results, write_zip
from tevit.masks import ops as masks
from tevit.progress import Progress
from tevit.results import VideoResult, write_csv

from ...isolation import isolated
from ...page import read_range
from ...player.component import PlayerView
from ...player.proxy import ProxyTask, VideoSource
from ...tasks import Task
from .models import ModelOption
from .run import Footage

# --- files to download

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


# --- the page

MIN_SCORE = 0.3  # of the tracks that a page shows at first; files and API have all


@dataclass
class Session:
    """State of one page.

    wanted: the video that was selected last, which may not have been opened yet, and arrival: when the event came that
    selected or removed it, see `FairQueue`. source: the selected video, opened,
    and proxy: the task that prepares it. token: of the run or stored result that is shown.
    own: the token of the last run that was started here. visitor: as quotas count it. view: shown in the player.
    selected: a track's id. model_chosen: whether a user has selected the model. options: of the list of models on the
    page. parameters: values of the form, by model. score_chosen: whether the lowest score was changed there; until then
    the files have all tracks. range: of frames, selected in the player. choices: of the list of classes on the page.
    tasks: exports and downloads of weights.
    """

    wanted: VideoSource | None = None
    arrival: int = 0
    source: VideoSource | None = None
    token: str = ""
    own: str = ""
    visitor: str = ""
    proxy: ProxyTask | None = None
    view: PlayerView | None = None
    filter: TrackFilter = field(default_factory=lambda: TrackFilter(MIN_SCORE))
    score_chosen: bool = False
    model_chosen: bool = False
    options: list[ModelOption] = field(default_factory=list)
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    style: OverlayStyle = field(default_factory=OverlayStyle)
    selected: int | None = None
    range: tuple[int, int] | None = None
    choices: list[tuple[str, int]] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    _size: tuple[VideoSource, tuple[int, int]] | None = None

    def is_overtaken(self, arrival: int) -> bool:
        """Whether an event that came later has selected or removed the video already; otherwise this one does."""
        overtaken, self.arrival = arrival < self.arrival, max(arrival, self.arrival)
        return overtaken

    def remember_size(self, source: VideoSource, size_hw: tuple[int, int]) -> None:
        """Of a video that was opened."""
        self._size = source, size_hw

    def size_hw(self) -> tuple[int, int] | None:
        """Of the selected video, which is opened once for it. Raises: ValueError, OSError."""
        if self.source is not None and (self._size is None or self._size[0] is not self.source):
            self._size = self.source, self.source.open().size_hw
        return self._size[1] if self.source is not None and self._size is not None else None

    @property
    def real_video(self) -> bool:
        """Whether a video is selected that is not one of the package."""
        paths = () if self.source is None else self.source.files or (self.source.path or "",)
        return any(not is_bundled(path) for path in paths[:1])

    @property
    def result(self) -> VideoResult | None:
        """All tracks of the view, unfiltered."""
        return self.view.layers[0].result if self.view is not None and self.view.layers else None

    @property
    def file_filter(self) -> TrackFilter:
        """The tracks of the files."""
        return self.filter if self.score_chosen else replace(self.filter, min_score=0.0)

    def classes(self) -> list[tuple[str, int]]:
        """The classes to choose from, with their numbers of tracks after the other filters; chosen ones stay at 0."""
        if self.result is None:
            return []
        others = replace(self.filter, classes=None, max_tracks=len(self.result.tracks) + 1)
        counts = Counter(track.category_id for track in others.apply(self.result).tracks)
        ids = sorted({*counts, *(self.filter.classes or ())})
        names = {id: self.result.categories.get(id, f"class {id}").replace("_", " ") for id in ids}
        return [(f"{names[id]} ({counts[id]})", id) for id in ids]

    @property
    def query(self) -> str:
        """For the page's address; "" without a result, and where everything is as on a new page."""
        if not self.token or (self.filter == TrackFilter(MIN_SCORE) and not self.range):
            return ""
        return to_query(self.filter, self.range)

    def shown(self, result: VideoResult) -> list[list[int]]:
        """The ids of the filtered tracks, as the player takes them: a list for each layer."""
        return [[track.id for track in self.filter.apply(result).tracks]]

    def restore(self, query: str) -> None:
        """Take over filter and range of a link. Raises: ValueError for a malformed query."""
        self.filter, self.range = from_query(query)
        self.score_chosen = self.filter.min_score != MIN_SCORE

    def start(self, task: Task) -> Task:
        """Remember a task, so that `Cancel` reaches it."""
        self.tasks = [*(other for other in self.tasks if not other.over), task]
        return task


def to_query(tracks: TrackFilter, frames: tuple[int, int] | None = None) -> str:
    """A filter, and a selected range of frames (first and last), as a query."""
    classes = "" if tracks.classes is None else ",".join(map(str, sorted(tracks.classes)))
    values = {"score": f"{tracks.min_score:g}", "max": tracks.max_tracks, "min_frames": tracks.min_frames}
    optional = {"classes": classes, "range": "{}-{}".format(*frames) if frames else ""}
    return urlencode(values | {name: text for name, text in optional.items() if text})


def from_query(query: str) -> tuple[TrackFilter, tuple[int, int] | None]:
    """The inverse of `to_query`. Raises: ValueError for a malformed query."""
    values = dict(parse_qsl(query, max_num_fields=10))
    classes = values.get("classes")
    tracks = TrackFilter(
        float(values.get("score", 0.0)),
        frozenset(map(int, classes.split(","))) if classes else None,
        int(values.get("max", 10)),
        int(values.get("min_frames", 1)),
    )
    return tracks, read_range(values["range"]) if "range" in values else None
