"""YouTube-VIS JSON: data sets and results, opened as an index whose masks are parsed and checked per video, on access.

A data set (2019, 2021, 2022, OVIS, LV-VIS and others) is an object with `videos`, `categories` and `annotations`,
results are a list of predictions. The file's bytes are kept in memory.
"""

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol

import msgspec
import numpy as np

from tevit import boxes
from tevit.io import json as jsonfile
from tevit.io.files import FileKindError, atomic, forward_slashes
from tevit.io.json import FrameNumber, Side, WholeNumber
from tevit.limits import LimitError
from tevit.masks import json as segmentations
from tevit.masks import ops as masks
from tevit.masks.json import TrackMasks
from tevit.results import RLE, Track, VideoResult

SPLITS = ("train", "valid", "val", "test")
FOLDERS = (".", "JPEGImages", "images", *(f"{split}{inner}" for split in SPLITS for inner in ("/JPEGImages", "")))
"""Where video folders lie below a data set's folder, as `find_frames` tries them."""


class VideoEntry(Protocol):
    """A video as listed in a data set."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def file_names(self) -> Sequence[str]:
        """One per frame, "/" between folders."""
        ...


def find_frames(video: VideoEntry, root: str | os.PathLike, hint: str = "") -> list[Path]:
    """The files of a video's frames below `root`, in the video's order; some of them may not exist.

    root: the data's folder (<root>/<split>/JPEGImages/<video>/<frame>.jpg or
    <root>/<split>/<video>/<frame>.jpg), a split's, the folder of the video folders, or the one with `images` of an
    export of CVAT or Datumaro. hint: the split to try first.

    Raises: FileNotFoundError where no frame exists; ValueError for a name that leaves `root`.
    """
    for name in video.file_names:
        if not inside(name):
            raise ValueError(f"video {video.name!r}: expected file names inside the frames' folder, got {name!r}")
    others = {*SPLITS} - {hint}
    for folder in sorted(FOLDERS, key=lambda folder: folder.partition("/")[0] in others):
        files = [Path(root, folder, name) for name in video.file_names]
        if any(file.is_file() for file in files):
            return files
    first = video.file_names[0] if video.file_names else "no file names"
    places = ", ".join(["JPEGImages", "images", *SPLITS])
    raise FileNotFoundError(
        f"video {video.name!r}: none of its frames ({first}, …) is in {root}, nor in {places} there"
    )


def inside(file_name: str) -> bool:
    """Whether a frame's relative file name stays inside the folder that it is relative to."""
    path = PurePosixPath(file_name)
    return not path.is_absolute() and ".." not in path.parts


# --- data sets and results


FPS = 6.0
"""YouTube-VIS annotates every fifth frame of 30 a second; the files state no rate."""
RESULTS_NAME = "results.json"
_CONVERT = "{path} is {kind}, expected YouTube-VIS JSON: `tevit formats {path} --to ytvis --out FILE` converts it"
NO_ANNOTATIONS = "there are no annotations (null or missing)"
"""What is said of a data set without `has_annotations`."""
_XYWH = tuple[jsonfile.Coordinate, jsonfile.Coordinate, jsonfile.Coordinate, jsonfile.Coordinate]


class VideoInfo(msgspec.Struct, frozen=True):
    """One entry of `videos`. width, height: pixels. length: frames; file_names: one per frame, "/" between folders.

    name: the folder of its frames, in a `Dataset` with as many of the folders above it as make it unique; without a
    folder "video <id>".
    """

    id: WholeNumber
    width: Side
    height: Side
    length: FrameNumber = -1
    file_names: tuple[str, ...] = ()
    name: str = msgspec.field(default="", name="-")  # not a key of the files, where it may have another meaning

    def __post_init__(self) -> None:
        if self.length < 0:
            msgspec.structs.force_setattr(self, "length", len(self.file_names))
        if any("\\" in name for name in self.file_names):
            msgspec.structs.force_setattr(self, "file_names", tuple(map(forward_slashes, self.file_names)))
        if not self.name:
            msgspec.structs.force_setattr(self, "name", self.folder.name or f"video {self.id}")

    @property
    def folder(self) -> PurePosixPath:
        """The folder of its first frame, empty where there is none."""
        return PurePosixPath(self.file_names[0]).parent if self.file_names else PurePosixPath()

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.height, self.width


class Annotation(msgspec.Struct, frozen=True, gc=False):
    """One ground-truth track in the index; its raw parts are parsed on access.

    areas: T numbers as the file states them, which the official metric uses, pixels, null where absent; None: not in
        the file.
    """

    id: WholeNumber
    video_id: WholeNumber
    category_id: WholeNumber
    segmentations: msgspec.Raw = msgspec.Raw(b"[]")
    bboxes: msgspec.Raw = msgspec.Raw(b"null")
    areas: list[float | None] | None = None
    iscrowd: WholeNumber | bool = 0


class Category(msgspec.Struct, frozen=True):
    """One entry of `categories`."""

    id: WholeNumber
    name: str


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """One predicted track in the index; its masks are parsed on access."""

    video_id: WholeNumber
    category_id: WholeNumber
    score: float
    segmentations: msgspec.Raw


class _DatasetFile(msgspec.Struct):
    videos: list[VideoInfo]
    categories: list[Category]
    annotations: list[Annotation] | None = None


class Dataset:
    """A data set in YouTube-VIS form. Videos, categories and annotations keep the file's order."""

    def __init__(
        self,
        path: Path,
        videos: Sequence[VideoInfo],
        categories: Sequence[Category],
        annotations: Sequence[Annotation] | None,
    ):
        self.path = path
        self.videos: Mapping[int, VideoInfo] = _with_unique_names(_unique(videos, path, "video"))
        self.categories: Mapping[int, str] = {c.id: c.name for c in _unique(categories, path, "category").values()}
        self.annotations = tuple(annotations or ())
        self.has_annotations = annotations is not None

    @cached_property
    def _by_video(self) -> dict[int, list[Annotation]]:
        groups: dict[int, list[Annotation]] = {video_id: [] for video_id in self.videos}
        for annotation in self.annotations:
            groups.setdefault(annotation.video_id, []).append(annotation)
        return groups

    def annotations_of(self, video_id: int) -> list[Annotation]:
        """The annotations of one video, in file order. Raises: ValueError for a video that is not in the file."""
        self._info(video_id)
        return self._by_video[video_id]

    def masks(self, video_id: int) -> list[TrackMasks]:
        """The masks of one video's annotations, in the order of `annotations_of`.

        Raises: ValueError naming annotation and frame of the first faulty mask.
        """
        annotations = self.annotations_of(video_id)
        tracks, faults = segmentations.read([a.segmentations for a in annotations], self._info(video_id).size_hw)
        if faults:
            raise ValueError(f"{self._where(annotations[faults[0].track])}{faults[0].place}")
        return tracks

    def video(self, video_id: int) -> VideoResult:
        """One video with its ground-truth tracks; a track's id is its annotation's id.

        Raises: ValueError where a track's masks, boxes or areas do not fit the video.
        """
        info = self._info(video_id)
        pairs = zip(self.annotations_of(video_id), self.masks(video_id), strict=True)
        tracks = tuple(self._track(info, annotation, track) for annotation, track in pairs)
        return _video_result(self.path, info, self.categories, tracks)

    def results(self) -> Iterator[VideoResult]:
        """Iterate over all videos, in file order."""
        return (self.video(video_id) for video_id in self.videos)

    def frame_files(self, video_id: int, root: str | os.PathLike) -> list[Path]:
        """The files of a video's frames, in the JSON's order, found below `root`.

        root: the data's folder (<root>/<split>/JPEGImages/<video>/<frame>.jpg or <root>/<split>/<video>/<frame>.jpg),
        a split's, or the folder of the video folders.

        Raises: FileNotFoundError that names the first missing frame; ValueError for a name that leaves `root`.
        """
        info = self._info(video_id)
        files = find_frames(info, root, hint=self.path.name.partition(".")[0])
        missing = next((file for file in files if not file.is_file()), None)
        if missing is not None:
            raise FileNotFoundError(f"video {info.name!r}: its frame {missing} does not exist")
        return files

    def _info(self, video_id: int) -> VideoInfo:
        if video_id not in self.videos:
            raise ValueError(f"{self.path} has no video {video_id}")
        return self.videos[video_id]

    def _where(self, annotation: Annotation) -> str:
        return f"{self.path}: video {self.videos[annotation.video_id].name!r}, annotation {annotation.id}"

    def _track(self, info: VideoInfo, annotation: Annotation, track: TrackMasks) -> Track:
        where = self._where(annotation)
        areas = track.areas if annotation.areas is None else np.array([area or 0 for area in annotation.areas], float)
        stated = _boxes(annotation.bboxes, where)
        rles = tuple(_or_none(track))
        for name, values in (("segmentations", rles), ("areas", areas), ("bboxes", rles if stated is None else stated)):
            if len(values) != info.length:
                raise ValueError(f"{where}: expected {info.length} {name}, one a frame, got {len(values)}")
        return Track(
            id=annotation.id,
            category_id=annotation.category_id,
            score=1.0,
            rles=rles,
            boxes_xyxy=masks.to_boxes_xyxy(rles) if stated is None else stated,
            areas=areas,
            iscrowd=bool(annotation.iscrowd),
        )


class Results:
    """The predictions of any model, in file order."""

    def __init__(self, path: Path, predictions: Sequence[Prediction]):
        self.path = path
        self.predictions = tuple(predictions)

    @cached_property
    def by_video(self) -> dict[int, list[int]]:
        """Video id -> positions of its predictions in `predictions`, in file order."""
        groups: dict[int, list[int]] = {}
        for i, prediction in enumerate(self.predictions):
            groups.setdefault(prediction.video_id, []).append(i)
        return groups

    def of_video(self, video_id: int) -> list[Prediction]:
        """The predictions of one video, in file order; none for a video that is not in the file."""
        return [self.predictions[i] for i in self.by_video.get(video_id, ())]

    def masks(self, video_id: int, size_hw: Sequence[int] | None = None) -> list[TrackMasks]:
        """The masks of one video's predictions, in the order of `of_video`; lengths and sizes are not checked.

        size_hw: the video's height and width, needed for polygons only.

        Raises: ValueError naming prediction and frame of the first faulty mask.
        """
        raws = [prediction.segmentations for prediction in self.of_video(video_id)]
        tracks, faults = segmentations.read(raws, size_hw)
        if faults:
            number = self.by_video[video_id][faults[0].track] + 1
            raise ValueError(f"{self.path}: video {video_id}, prediction {number}{faults[0].place}")
        return tracks

    def video(self, info: VideoInfo, categories: Mapping[int, str]) -> VideoResult:
        """One video's predictions as tracks; a track's id is the prediction's position in the file, from 1.

        As in the official metric, frames after the video's end are dropped and missing ones count as absent.

        Raises: ValueError for a mask of another size than the video's.
        """
        positions = self.by_video.get(info.id, ())
        tracks, length = [], info.length
        for i, track in zip(positions, self.masks(info.id, info.size_hw), strict=True):
            category_id, score = self.predictions[i].category_id, self.predictions[i].score
            rles = (_or_none(track) + [None] * length)[:length]
            areas = np.zeros(length)
            areas[: len(track.areas)] = track.areas[:length]
            tracks.append(Track(i + 1, category_id, score, tuple(rles), masks.to_boxes_xyxy(rles), areas))
        return _video_result(self.path, info, categories, tuple(tracks))


def open_dataset(path: str | os.PathLike) -> Dataset:
    """Open a data set; annotations may be absent or null, as in validation files.

    Raises: OSError where the file cannot be read; ValueError with the place where it is not a data set.
    """
    try:
        return parse_dataset(jsonfile.read(path), path)
    except (FileKindError, LimitError):
        raise
    except (ValueError, IsADirectoryError):
        if kind := jsonfile.other_format(path):
            raise ValueError(_CONVERT.format(path=path, kind=kind)) from None
        raise


def parse_dataset(data: bytes, path: str | os.PathLike) -> Dataset:
    """`open_dataset` for a file's bytes. path: its name in messages. Raises: ValueError as `open_dataset`."""
    jsonfile.check_tracks(data, "tracks", path)
    try:
        content = jsonfile.decode(data, _DatasetFile, path)
    except ValueError:
        if jsonfile.fits(data, list[Prediction]):
            raise FileKindError(f"{path} is a list of predictions, expected a data set") from None
        raise
    return Dataset(Path(path), content.videos, content.categories, content.annotations)


def read_results(path: str | os.PathLike) -> Results:
    """Open any model's results.json, or the submission zip that holds it.

    Raises: OSError where the file cannot be read; ValueError with the place where it is not a list of results.
    """
    data = b""
    try:
        data = jsonfile.read(path, RESULTS_NAME)
        jsonfile.check_tracks(data, "predictions", path)
        return Results(Path(path), jsonfile.decode(data, list[Prediction], path))
    except LimitError:
        raise
    except (ValueError, IsADirectoryError):
        if data and jsonfile.fits(data, _DatasetFile):
            raise FileKindError(f"{path} is a data set, expected a list of predictions") from None
        if kind := jsonfile.other_format(path):
            raise ValueError(f"{path} is {kind}, expected a list of predictions in YouTube-VIS' form") from None
        raise


def write_results(path: str | os.PathLike, results: Iterable[VideoResult]) -> None:
    """Write predictions in the YouTube-VIS submission form, one video in memory at a time.

    One object per track: video_id, score, category_id, segmentations with one RLE per frame (compressed text); a frame
    without the object gets a mask without pixels, never null.
    """
    with atomic(path) as temporary, open(temporary, "wb") as file:
        before = b"["
        for result in results:
            absent = masks.empty(result.size_hw)
            for track in result.tracks:
                file.write(before + jsonfile.encode(submitted(result.video_id, track, absent)))
                before = b",\n"
        file.write(b"]\n" if before != b"[" else b"[]\n")


def submitted(video_id: int, track: Track, absent: RLE) -> dict:
    """A track in the submission form. absent: the mask for frames without the object."""
    return {
        "video_id": video_id,
        "score": float(track.score),
        "category_id": track.category_id,
        "segmentations": [masks.to_json(rle or absent) for rle in track.rles],
    }


def write_zip(path: str | os.PathLike, results_json: str | os.PathLike) -> None:
    """Pack a results.json into the submission zip, as its only member, in no folder."""
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(results_json, RESULTS_NAME)


def save_dataset(path: str | os.PathLike, results: Iterable[VideoResult]) -> list[str]:
    """Write videos and their tracks as a data set, one video in memory at a time.

    Annotation ids are the tracks' ids if these are unique in the file and not 0, else the next free number. Masks are
    written as compressed text, null where absent; areas and boxes are those of the tracks.

    Returns notes on changed ids.

    Raises: ValueError where two videos have one id or name one category differently.
    """
    videos: dict[int, dict] = {}
    categories: dict[int, str] = {}
    used: set[int] = set()
    notes: list[str] = []
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write(b'{"annotations":[')
        for result in results:
            if result.video_id in videos:
                raise ValueError(f"expected every video once, got video id {result.video_id} twice")
            names, (height, width) = list(frame_names(result)), result.size_hw
            facts = {"width": width, "height": height, "length": result.length, "file_names": names}
            videos[result.video_id] = {"id": result.video_id} | facts
            merge_categories(categories, result.categories)
            for track in result.tracks:
                # The official metric takes a match with id 0 for none, so it is never written.
                number = track.id if track.id and track.id not in used else max(used, default=0) + 1
                used.add(number)
                if not track.id:
                    notes.append(f"annotation 0 became {number}: the official evaluation can never match the id 0")
                file.write((b",\n" if len(used) > 1 else b"\n") + jsonfile.encode(_annotation(number, result, track)))
        entries = [{"id": id, "name": name, "supercategory": "object"} for id, name in categories.items()]
        file.write(b'],\n"videos":' + jsonfile.encode(list(videos.values())))
        file.write(b',\n"categories":' + jsonfile.encode(entries) + b"}\n")
    return notes


def merge_categories(categories: dict[int, str], others: Mapping[int, str]) -> None:
    """Add `others` to `categories`. Raises: ValueError where a category has another name in each."""
    for id, name in others.items():
        if categories.setdefault(id, name) != name:
            raise ValueError(f"category {id}: expected one name, got {categories[id]!r} and {name!r}")


def frame_names(result: VideoResult) -> tuple[str, ...]:
    """The frames' file names; <video>/<frame>.jpg for a video that has none."""
    return result.file_names or tuple(f"{result.name}/{frame:05d}.jpg" for frame in range(result.length))


def _annotation(number: int, result: VideoResult, track: Track) -> dict:
    height, width = result.size_hw
    present = track.present
    return {
        "id": number,
        "video_id": result.video_id,
        "category_id": track.category_id,
        "iscrowd": int(track.iscrowd),
        "height": height,
        "width": width,
        "length": result.length,
        "segmentations": [None if rle is None else masks.to_json(rle) for rle in track.rles],
        "bboxes": boxes.to_json(track.boxes_xyxy),
        "areas": [area if seen or area else None for area, seen in zip(track.areas.tolist(), present, strict=True)],
    }


def _unique(items: Sequence, path: Path, kind: str) -> dict:
    result = {item.id: item for item in items}
    if len(result) < len(items):
        seen: set[int] = set()
        twice = next(item.id for item in items if item.id in seen or seen.add(item.id))
        raise ValueError(f"{path}: expected every {kind} id once, got {twice} twice")
    return result


def _with_unique_names(videos: Mapping[int, VideoInfo]) -> dict[int, VideoInfo]:
    """The videos; of those of one name each with as many folders as make them differ, or with its id."""
    groups: dict[str, list[VideoInfo]] = {}
    for info in videos.values():
        groups.setdefault(info.name, []).append(info)
    names: dict[int, str] = {}
    for group in (group for group in groups.values() if len(group) > 1):
        deepest = max(len(info.folder.parts) for info in group)
        tails = [["/".join(info.folder.parts[-depth:]) for info in group] for depth in range(1, deepest + 1)]
        chosen = next((tail for tail in tails if len(set(tail)) == len(group)), tails[-1] if tails else [])
        for info, name in zip(group, chosen, strict=False):
            names[info.id] = name if chosen.count(name) == 1 else f"{name} (video {info.id})"
    return {id: msgspec.structs.replace(i, name=names[id]) if id in names else i for id, i in videos.items()}


def _boxes(raw: msgspec.Raw, where: str) -> np.ndarray | None:
    """float32 (T, 4) x1, y1, x2, y2, NaN for null; None where the file has no boxes."""
    values: list[_XYWH | None] | None = jsonfile.decode(bytes(raw), list[_XYWH | None] | None, where)
    if values is None:
        return None
    rows = np.array([box or (np.nan,) * 4 for box in values], float).reshape(-1, 4)
    return boxes.xywh_to_xyxy(rows).astype(np.float32)


def _or_none(track: TrackMasks) -> list[RLE | None]:
    return [rle if area else None for rle, area in zip(track.rles, track.areas.tolist(), strict=True)]


def _video_result(path: Path, info: VideoInfo, categories: Mapping[int, str], tracks: tuple[Track, ...]) -> VideoResult:
    times = np.arange(info.length) / FPS
    try:
        return VideoResult(info.id, info.name, info.size_hw, times, categories, tracks, info.file_names)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
