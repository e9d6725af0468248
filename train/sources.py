"""What training takes from annotation files: YouTube-VIS videos, and COCO pictures as videos of one frame."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from tevit.boxes import xywh_to_xyxy
from tevit.io import json as jsonfile
from tevit.io.frames import find_frames
from tevit.io.ytvis import Annotation, Category, Dataset, VideoInfo, open_dataset
from tevit.masks import json as segmentations
from tevit.results import RLE

SMALLEST = 32
"""Videos with a side shorter than this, pixels, are left out, as in the original."""

_XYWH = tuple[float, float, float, float]
_JSON = ("{0}.json", "annotations/{0}.json", "{0}/instances.json", "annotations/instances_{0}.json",
         "annotations/instances_{0}2017.json", "annotations_{0}.json", "{0}_instances.json")  # fmt: skip
_ALIASES = {"valid": ("valid", "val"), "val": ("val", "valid")}


@dataclass(frozen=True, eq=False)
class Source:
    """One video as training sees it: A annotations, none of them a crowd, in the file's order.

    size_hw: pixels. files: T. labelled: the frames that are samples, ascending: some annotation, perhaps a crowd, has a
    box there. labels: int64 (A,), place of the category in the file. ids: int64 (A,). boxes_xyxy: float32 (A, T, 4),
    pixels of the original. usable: bool (A, T), the box is there and neither it nor the stated area is empty.
    segments: each annotation's `segmentations` as JSON.
    """

    name: str
    size_hw: tuple[int, int]
    files: tuple[Path, ...]
    labelled: tuple[int, ...]
    labels: np.ndarray
    ids: np.ndarray
    boxes_xyxy: np.ndarray
    usable: np.ndarray
    segments: tuple[msgspec.Raw | bytes, ...]

    def masks(self) -> list[Sequence[RLE | None]]:
        """The masks of each annotation.

        Raises: ValueError naming video, annotation and frame of the first faulty one.
        """
        tracks, faults = segmentations.read(self.segments, self.size_hw)
        for track, frame, text in faults:
            raise ValueError(f"{self.name}, annotation {self.ids[track] + 1}, frame {frame}: {text}")
        for track, id in zip(tracks, self.ids.tolist(), strict=True):
            if len(track.rles) != len(self.files):
                raise ValueError(
                    f"{self.name}, annotation {id + 1}: expected {len(self.files)} segmentations, "
                    f"one a frame, got {len(track.rles)}"
                )
        return [track.rles for track in tracks]


Categories = tuple[tuple[int, str], ...]
"""(id, name) in the file's order."""
Sources = tuple[Categories, tuple[Source, ...], int]
"""Categories, videos with labelled frames, and how many labelled frames' files are missing."""


def annotation_file(folder: str | os.PathLike, split: str) -> Path:
    """The annotation file of a split below a data folder, wherever the releases keep it.

    Raises: FileNotFoundError that says what was looked for and what is there.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"no such data folder: {folder}")
    names = [place.format(name) for name in _ALIASES.get(split, (split,)) for place in _JSON]
    for name in names:
        if Path(folder, name).is_file():
            return Path(folder, name)
    found = ", ".join(sorted(item.name for item in Path(folder).iterdir())[:12]) or "nothing"
    raise FileNotFoundError(f"{folder}: no annotations of the split {split!r}; expected {names[0]}, {names[1]} or "
                            f"another of the releases' names, found {found}")  # fmt: skip


def read_sources(
    task: Literal["video", "image"], annotations: str | os.PathLike, frames_root: str | os.PathLike, skip_missing: bool
) -> Sources:
    """Read an annotation file and look for its frames. Errors as for `train.data.open_training_data`."""
    if not Path(frames_root).is_dir():
        raise FileNotFoundError(f"no such folder of frames: {frames_root}")
    read, kind = (read_videos, "YouTube-VIS videos") if task == "video" else (read_pictures, "COCO pictures")
    try:
        categories, sources = read(Path(annotations), Path(frames_root))
    except ValueError as error:
        raise ValueError(f"{error} (read as {kind}, see --task)") from None
    whole, missing = [], []
    for source in sources:
        lost = [frame for frame in source.labelled if not source.files[frame].is_file()]
        missing += [(source.name, source.files[frame]) for frame in lost]
        whole.append(replace(source, labelled=tuple(f for f in source.labelled if f not in lost)) if lost else source)
    if missing and not skip_missing:
        name, file = missing[0]
        more = f" (and {len(missing) - 1} more are missing)" if len(missing) > 1 else ""
        raise FileNotFoundError(f"{name}: the frame {file} does not exist{more}; --skip-missing leaves such frames out")
    return categories, tuple(source for source in whole if source.labelled), len(missing)


# --- YouTube-VIS


def read_videos(annotations: Path, root: Path) -> tuple[Categories, Iterator[Source]]:
    """The videos of a YouTube-VIS file that have a box somewhere, in its order."""
    dataset = open_dataset(annotations)
    categories = tuple(dataset.categories.items())
    if not dataset.annotations:
        raise ValueError(f"{annotations}: expected annotations to train on, found none")
    return categories, (
        _video(dataset, info, root) for info in dataset.videos.values() if dataset.annotations_of(info.id)
    )


def _video(dataset: Dataset, info: VideoInfo, root: Path) -> Source:
    tracks = dataset.annotations_of(info.id)
    where = f"{dataset.path}: video {info.name!r}"
    if len(info.file_names) != info.length:
        raise ValueError(f"{where}: expected {info.length} file names, one a frame, got {len(info.file_names)}")
    boxes = [_boxes(track, info.length, where) for track in tracks]
    areas = [_areas(track, info.length, where) for track in tracks]
    found = _found(info, root, dataset.path.stem)
    labels = list(dataset.categories)
    entries = [Entry(t.id, _place(labels, t.category_id, where), bool(t.iscrowd), t.segmentations) for t in tracks]
    return make_source(f"video {info.name!r}", info.size_hw, found, entries, np.stack(boxes), np.stack(areas), where)


def _boxes(track: Annotation, length: int, where: str) -> np.ndarray:
    """float64 (T, 4) x, y, width, height; NaN where null."""
    rows: list[_XYWH | None] = jsonfile.decode(bytes(track.bboxes), list[_XYWH | None] | None, where) or []
    if len(rows) != length:
        raise ValueError(f"{where}, annotation {track.id}: expected {length} bboxes, one a frame, got {len(rows)}")
    return np.array([row or (np.nan,) * 4 for row in rows], float).reshape(-1, 4)


def _areas(track: Annotation, length: int, where: str) -> np.ndarray:
    """float64 (T,), infinite where the file does not say."""
    if track.areas is None:
        return np.full(length, np.inf)
    if len(track.areas) != length:
        raise ValueError(
            f"{where}, annotation {track.id}: expected {length} areas, one a frame, got {len(track.areas)}"
        )
    return np.array([np.inf if area is None else area for area in track.areas], float)


def _found(info: VideoInfo, root: Path, hint: str) -> tuple[Path, ...]:
    try:
        return tuple(find_frames(info, root, hint))
    except FileNotFoundError:  # named with all other missing ones
        return tuple(root / name for name in info.file_names)


# --- both kinds


class Entry(NamedTuple):
    """One annotation of a video. label: place of its category."""

    id: int
    label: int
    crowd: bool
    segments: msgspec.Raw | bytes


def _place(ids: Sequence[int], id: int, where: str) -> int:
    if id not in ids:
        raise ValueError(f"{where}: an annotation has the category {id}, which the file does not list")
    return ids.index(id)


def make_source(
    name: str,
    size_hw: tuple[int, int],
    files: tuple[Path, ...],
    entries: Sequence[Entry],
    boxes_xywh: np.ndarray,
    areas: np.ndarray,
    where: str,
) -> Source:
    """boxes_xywh: float64 (A, T, 4), pixels, NaN where null. areas: float64 (A, T)."""
    ids = np.array([entry.id for entry in entries], np.int64)
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"{where}: expected every annotation id once, got {values[counts > 1][0]} twice")
    seen = ~np.isnan(boxes_xywh).any(-1)
    labelled = np.flatnonzero(seen.any(0)).tolist() if min(size_hw) >= SMALLEST else []
    usable = seen & (boxes_xywh[..., 2:] >= 1).all(-1) & (areas > 0)
    kept = [place for place, entry in enumerate(entries) if not entry.crowd]
    return Source(
        name=name,
        size_hw=size_hw,
        files=files,
        labelled=tuple(labelled),
        labels=np.array([entries[place].label for place in kept], np.int64),
        ids=ids[kept] - 1,
        boxes_xyxy=xywh_to_xyxy(boxes_xywh[kept]).astype(np.float32),
        usable=usable[kept],
        segments=tuple(entries[place].segments for place in kept),
    )


# --- COCO


class _Picture(msgspec.Struct):
    id: int
    width: int
    height: int
    file_name: str


class _Labelled(msgspec.Struct):
    id: int
    image_id: int
    category_id: int
    bbox: _XYWH
    segmentation: msgspec.Raw
    area: float = np.inf
    iscrowd: int | bool = 0
    ignore: int | bool = 0


class _Coco(msgspec.Struct):
    images: list[_Picture]
    annotations: list[_Labelled]
    categories: list[Category]


def read_pictures(annotations: Path, root: Path) -> tuple[Categories, Iterator[Source]]:
    """The pictures of a COCO file that have an annotation, in the order of `images`.

    Instances are numbered by their place among the picture's annotations. Boxes wholly outside the picture are left
    out, and so are those that are marked "ignore".
    """
    content: _Coco = jsonfile.decode(jsonfile.read(annotations), _Coco, annotations)
    groups: dict[int, list[_Labelled]] = {}
    for labelled in content.annotations:
        if not labelled.ignore:
            groups.setdefault(labelled.image_id, []).append(labelled)
    categories = tuple((category.id, category.name) for category in content.categories)
    labelled = [picture for picture in content.images if picture.id in groups]
    folder = _picture_folder(root, labelled[0].file_name, annotations.stem) if labelled else root
    places = {id: place for place, (id, _) in enumerate(categories)}
    return categories, (_picture(picture, groups[picture.id], folder, places, annotations) for picture in labelled)


def _picture_folder(root: Path, name: str, stem: str) -> Path:
    split = stem.removeprefix("instances_")
    places = [root / place for place in ("", split, f"images/{split}", "images", "JPEGImages")]
    return next((place for place in places if (place / name).is_file()), root)


def _picture(
    picture: _Picture, labelled: Sequence[_Labelled], folder: Path, places: Mapping[int, int], path: Path
) -> Source:
    where = f"{path}: picture {picture.file_name!r}"
    unknown = next((item.category_id for item in labelled if item.category_id not in places), None)
    if unknown is not None:
        raise ValueError(f"{where}: an annotation has the category {unknown}, which the file does not list")
    x, y, width, height = np.array([item.bbox for item in labelled], float).T
    inside = (np.minimum(x + width, picture.width) > np.maximum(x, 0)) & (
        np.minimum(y + height, picture.height) > np.maximum(y, 0)
    )
    entries = [
        Entry(number, places[item.category_id], bool(item.iscrowd), b"[" + bytes(item.segmentation) + b"]")
        for number, item in enumerate(labelled, 1)
    ]
    areas = np.where(inside, [item.area for item in labelled], 0)
    boxes = np.stack([x, y, width, height], 1)
    size = (picture.height, picture.width)
    return make_source(
        f"picture {picture.file_name!r}",
        size,
        (folder / picture.file_name,),
        entries,
        boxes[:, None],
        areas[:, None],
        where,
    )
