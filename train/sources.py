"""Annotation files for training: YouTube-VIS videos, and COCO images as videos of one frame."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from tevit.boxes import xywh_to_xyxy
from tevit.io import json as jsonfile
from tevit.io.files import forward_slashes
from tevit.io.ytvis import FOLDERS, Annotation, Category, Dataset, VideoInfo, find_frames, open_dataset
from tevit.masks import json as mask_json
from tevit.results import RLE

MIN_SIDE = 32
"""Videos with a shorter side, pixels, are left out, as in the original."""

_XYWH = tuple[float, float, float, float]
_JSON = ("{0}.json", "annotations/{0}.json", "{0}/instances.json", "annotations/instances_{0}.json",
         "annotations/instances_{0}2017.json", "annotations_{0}.json", "annotations/annotations_{0}.json",
         "{0}_instances.json")  # fmt: skip
_ALIASES = {"valid": ("valid", "val"), "val": ("val", "valid")}


@dataclass(frozen=True, eq=False)
class TrainingVideo:
    """One labelled video: A annotations, none of them a crowd, in the file's order.

    size_hw: pixels. files: T. labelled: the frames where some annotation, perhaps a crowd, has a box, ascending.
    labels: int64 (A,), index of the category in the file. ids: int64 (A,). boxes_xyxy: float32 (A, T, 4), pixels of
    the original. usable: bool (A, T), there is a box and neither it nor the stated area is empty. segments: each
    annotation's `segmentations` as JSON.
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
        tracks, faults = mask_json.read(self.segments, self.size_hw)
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
Sources = tuple[Categories, tuple[TrainingVideo, ...], int]
"""Categories, videos with labelled frames, and the number of labelled frames whose files are missing."""


def annotation_file(folder: str | os.PathLike, split: str) -> Path:
    """The annotation file of a split below a data folder, at any of the releases' places.

    Raises: FileNotFoundError with the expected names and what the folder holds.
    """
    if Path(folder).is_file():
        raise NotADirectoryError(f"{folder}: a file, expected the folder of the data")
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder}: no such data folder")
    aliases = _ALIASES.get(split, (split,))
    names = [place.format(name) for name in aliases for place in _JSON]
    for name in (*names, *(f"{name}.gz" for name in names)):
        if Path(folder, name).is_file():
            return Path(folder, name)
    content = ", ".join(sorted(item.name for item in Path(folder).iterdir())[:12]) or "nothing"
    tried = ", ".join(names[: len(_JSON)])
    others = f", the same with {aliases[1]!r}" if len(aliases) > 1 else ""
    raise FileNotFoundError(f"{folder}: no annotations of the split {split!r}; expected one of {tried}{others} "
                            f"(or .json.gz), found {content}")  # fmt: skip


def read_sources(
    task: Literal["video", "image"], annotations: str | os.PathLike, frames_root: str | os.PathLike, skip_missing: bool
) -> Sources:
    """Read an annotation file and find its frames. Raises: as `data.open_training_data`."""
    if not Path(frames_root).is_dir():
        raise FileNotFoundError(f"{frames_root}: no such folder of frames")
    read, kind = (read_videos, "YouTube-VIS videos") if task == "video" else (read_images, "COCO pictures")
    try:
        categories, sources = read(Path(annotations), Path(frames_root))
    except ValueError as error:
        raise ValueError(f"{error} (read as {kind}, see --task)") from None
    videos, missing = [], []
    for video in sources:
        absent = {frame for frame in video.labelled if not video.files[frame].is_file()}
        missing += [(video.name, video.files[frame]) for frame in sorted(absent)]
        videos.append(replace(video, labelled=tuple(frame for frame in video.labelled if frame not in absent)))
    if missing and not skip_missing:
        name, file = missing[0]
        more = f" (and {len(missing) - 1} more are missing)" if len(missing) > 1 else ""
        places = f"; looked in {', '.join(FOLDERS)}" if not any(video.labelled for video in videos) else ""
        raise FileNotFoundError(
            f"{name}: the frame {file} does not exist{more}{places}; --skip-missing leaves such frames out"
        )
    return categories, tuple(video for video in videos if video.labelled), len(missing)


# --- YouTube-VIS


def read_videos(annotations: Path, root: Path) -> tuple[Categories, Iterator[TrainingVideo]]:
    """The videos of a YouTube-VIS file that have an annotation, in its order."""
    dataset = open_dataset(annotations)
    if not dataset.annotations:
        raise ValueError(f"{annotations}: expected annotations to train on, found none")
    videos = (info for info in dataset.videos.values() if dataset.annotations_of(info.id))
    return tuple(dataset.categories.items()), (_video(dataset, info, root) for info in videos)


def _video(dataset: Dataset, info: VideoInfo, root: Path) -> TrainingVideo:
    tracks = dataset.annotations_of(info.id)
    where = f"{dataset.path}: video {info.name!r}"
    if len(info.file_names) != info.length:
        raise ValueError(f"{where}: expected {info.length} file names, one a frame, got {len(info.file_names)}")
    boxes = np.stack([_boxes(track, info.length, where) for track in tracks])
    areas = np.stack([_areas(track, info.length, where) for track in tracks])
    try:
        files = tuple(find_frames(info, root, dataset.path.name.partition(".")[0]))
    except FileNotFoundError:  # `read_sources` lists it with all other missing ones
        files = tuple(root / name for name in info.file_names)
    labels = {id: label for label, id in enumerate(dataset.categories)}
    entries = [SourceAnnotation(t.id, t.category_id, bool(t.iscrowd), t.segmentations) for t in tracks]
    return make_video(f"video {info.name!r}", info.size_hw, files, entries, labels, boxes, areas, where)


def _boxes(track: Annotation, length: int, where: str) -> np.ndarray:
    """float64 (T, 4) x, y, width, height; NaN where null."""
    rows: list[_XYWH | None] = jsonfile.decode(bytes(track.bboxes), list[_XYWH | None] | None, where) or []
    if len(rows) != length:
        raise ValueError(f"{where}, annotation {track.id}: expected {length} bboxes, one a frame, got {len(rows)}")
    return np.array([row or (np.nan,) * 4 for row in rows], float).reshape(-1, 4)


def _areas(track: Annotation, length: int, where: str) -> np.ndarray:
    """float64 (T,), infinite where the file states none."""
    areas = [None] * length if track.areas is None else track.areas
    if len(areas) != length:
        raise ValueError(f"{where}, annotation {track.id}: expected {length} areas, one a frame, got {len(areas)}")
    return np.array([np.inf if area is None else area for area in areas], float)


# --- both kinds


class SourceAnnotation(NamedTuple):
    """One annotation of a video; segments: its masks as a JSON list, one a frame."""

    id: int
    category_id: int
    iscrowd: bool
    segments: msgspec.Raw | bytes


def make_video(
    name: str,
    size_hw: tuple[int, int],
    files: tuple[Path, ...],
    annotations: Sequence[SourceAnnotation],
    labels: Mapping[int, int],
    boxes_xywh: np.ndarray,
    areas: np.ndarray,
    where: str,
) -> TrainingVideo:
    """labels: label of each category id. boxes_xywh: float64 (A, T, 4), pixels, NaN where null. areas: (A, T).

    Raises: ValueError starting with `where` for an id that occurs twice or a category that is not listed.
    """
    unknown = next((entry.category_id for entry in annotations if entry.category_id not in labels), None)
    if unknown is not None:
        raise ValueError(f"{where}: an annotation has the category {unknown}, which the file does not list")
    ids = np.array([entry.id for entry in annotations], np.int64)
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"{where}: expected every annotation id once, got {values[counts > 1][0]} twice")
    has_box = ~np.isnan(boxes_xywh).any(-1)
    labelled = np.flatnonzero(has_box.any(0)).tolist() if min(size_hw) >= MIN_SIDE else []
    usable = has_box & (boxes_xywh[..., 2:] >= 1).all(-1) & (areas > 0)
    instances = [index for index, entry in enumerate(annotations) if not entry.iscrowd]
    return TrainingVideo(
        name=name,
        size_hw=size_hw,
        files=files,
        labelled=tuple(labelled),
        labels=np.array([labels[annotations[index].category_id] for index in instances], np.int64),
        ids=ids[instances] - 1,
        boxes_xyxy=xywh_to_xyxy(boxes_xywh[instances]).astype(np.float32),
        usable=usable[instances],
        segments=tuple(annotations[index].segments for index in instances),
    )


# --- COCO


class _ImageEntry(msgspec.Struct):
    id: int
    width: int
    height: int
    file_name: str

    def __post_init__(self) -> None:
        self.file_name = forward_slashes(self.file_name)


class _ImageAnnotation(msgspec.Struct):
    id: int
    image_id: int
    category_id: int
    bbox: _XYWH
    segmentation: msgspec.Raw
    area: float = np.inf
    iscrowd: int | bool = 0
    ignore: int | bool = 0


class _ImageFile(msgspec.Struct):
    images: list[_ImageEntry]
    annotations: list[_ImageAnnotation]
    categories: list[Category]


def read_images(annotations: Path, root: Path) -> tuple[Categories, Iterator[TrainingVideo]]:
    """The images of a COCO file that have an annotation, as videos of one frame, in the order of `images`.

    Instances are numbered by their position among the image's annotations. Boxes wholly outside the image and
    annotations marked "ignore" are left out.
    """
    content: _ImageFile = jsonfile.decode(jsonfile.read(annotations), _ImageFile, annotations)
    groups: dict[int, list[_ImageAnnotation]] = {}
    for annotation in content.annotations:
        if not annotation.ignore:
            groups.setdefault(annotation.image_id, []).append(annotation)
    images = [image for image in content.images if image.id in groups]
    split = annotations.name.partition(".")[0].removeprefix("instances_")
    folders = [root / name for name in ("", split, f"images/{split}", "images", "JPEGImages")]
    folder = next((place for place in folders if images and (place / images[0].file_name).is_file()), root)
    categories = tuple((category.id, category.name) for category in content.categories)
    labels = {id: label for label, (id, _) in enumerate(categories)}
    return categories, (_image(image, groups[image.id], folder, labels, annotations) for image in images)


def _image(
    image: _ImageEntry, annotations: Sequence[_ImageAnnotation], folder: Path, labels: Mapping[int, int], path: Path
) -> TrainingVideo:
    x, y, width, height = np.array([item.bbox for item in annotations], float).T
    inside = (np.minimum(x + width, image.width) > np.maximum(x, 0)) & (
        np.minimum(y + height, image.height) > np.maximum(y, 0)
    )
    entries = [
        SourceAnnotation(number, item.category_id, bool(item.iscrowd), b"[" + bytes(item.segmentation) + b"]")
        for number, item in enumerate(annotations, 1)
    ]
    areas = np.where(inside, [item.area for item in annotations], 0)[:, None]
    boxes = np.stack([x, y, width, height], 1)[:, None]
    name, files = f"picture {image.file_name!r}", (folder / image.file_name,)
    return make_video(name, (image.height, image.width), files, entries, labels, boxes, areas, f"{path}: {name}")
