"""A data set in the studio: ground truth, frames and any number of models' predictions, read when first needed.

A project has a folder with `project.json`, `backups/` and, after the first decision, `review.sqlite`. The user's files
stay where they are and are only read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Literal, Protocol

import msgspec

from tevit.io.categories import CategoryMapping, category_mappings, format_ids, map_categories
from tevit.io.files import without_suffix
from tevit.io.ytvis import (
    NO_ANNOTATIONS,
    Category,
    Dataset,
    Results,
    VideoInfo,
    find_frames,
    open_dataset,
    read_results,
)
from tevit.masks import json as segmentations
from tevit.results import VideoResult


class File(msgspec.Struct, frozen=True):
    """A file of the user's. sha256: of its content. size: bytes. mtime_ns: time of its last change, nanoseconds."""

    path: str
    sha256: str
    size: int
    mtime_ns: int


class Model(msgspec.Struct, frozen=True):
    """A predictions file. name: unique in the project. categories: the file's category ids -> the ground truth's, where
    the lists differ; ids not in it count as no class."""

    name: str
    file: File
    categories: dict[int, int] | None = None


@dataclass(frozen=True)
class Notice:
    """Something missing or unusual about the files. model: name of the model concerned; None: the data set."""

    kind: Literal["annotations", "predictions", "videos", "categories", "frames", "changed"]
    text: str
    model: str | None = None


class AllowedPaths(Protocol):
    """Decides which paths may be read, as `app.projects.opening.AllowedFolders`."""

    def contains(self, path: Path) -> bool:
        """True where the path may be read."""
        ...


@dataclass(frozen=True, eq=False)
class Project:
    """A data set. May be used from any thread.

    folder: the project's own. truth: the ground truth file; None without one. frames: folder that holds the frames;
    None where none was named. opening_notices: what was found while the project was opened. allowed: where frames may
    be; None: anywhere.
    """

    folder: Path
    truth: File | None
    frames: Path | None
    models: tuple[Model, ...]
    opening_notices: tuple[Notice, ...] = ()
    allowed: AllowedPaths | None = None

    @property
    def _first_file(self) -> File | None:
        return self.truth or (self.models[0].file if self.models else None)

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits of the content's hash, for links: the same wherever the file lies."""
        return self._first_file.sha256[:12] if self._first_file else "empty"

    @property
    def name(self) -> str:
        """The file's name with its folder."""
        return "/".join(Path(self._first_file.path).parts[-2:]) if self._first_file else "no data set"

    @property
    def has_truth(self) -> bool:
        """Whether there are annotations to evaluate against."""
        return self.truth is not None and self.dataset.has_annotations

    @cached_property
    def _lock(self) -> RLock:
        return RLock()

    @cached_property
    def dataset(self) -> Dataset:
        """Videos, categories and annotations; without a ground truth file the videos of the predictions."""
        with self._lock:
            if self.truth is not None:
                return open_dataset(self.truth.path)
            return _dataset_of_predictions(Path(self.models[0].file.path if self.models else "."), self._unmapped)

    @cached_property
    def _unmapped(self) -> tuple[Results, ...]:
        with self._lock:
            return tuple(read_results(model.file.path) for model in self.models)

    @cached_property
    def results(self) -> tuple[Results, ...]:
        """Each model's predictions, with its categories mapped where a mapping was chosen."""
        return tuple(
            results if model.categories is None else map_categories(results, model.categories)
            for results, model in zip(self._unmapped, self.models, strict=True)
        )

    def info(self, video_id: int) -> VideoInfo:
        """Raises: ValueError for a video that is not in the data set."""
        info = self.dataset.videos.get(video_id)
        if info is None:
            raise ValueError(f"{self.name} has no video {video_id}")
        return info

    def ground_truth(self, video_id: int) -> VideoResult | None:
        """The ground truth of a video; None without annotations. Raises: ValueError for invalid masks."""
        return self.dataset.video(self.info(video_id).id) if self.has_truth else None

    def predictions(self, model: int, video_id: int) -> VideoResult:
        """A model's tracks in a video; a track's id is its position in the file, from 1.

        Raises: ValueError for invalid masks, also masks of another size than the video's.
        """
        return self.results[model].video(self.info(video_id), self.dataset.categories)

    def category_mappings(self, model: str) -> list[CategoryMapping]:
        """How the category ids of a model's file can be read, best first. Raises: ValueError for an unknown model."""
        return category_mappings(self._unmapped[self.model_index(model)], self.dataset)

    @cached_property
    def notices(self) -> tuple[Notice, ...]:
        """What is missing or unusual; none of it prevents the rest from being shown."""
        models = zip(self.models, self.results, strict=True)
        of_models = (notice for model, results in models for notice in _model_notices(self.dataset, model, results))
        return (*self.opening_notices, *_dataset_notices(self), *of_models)

    def model_index(self, name: str) -> int:
        """Raises: ValueError for an unknown name."""
        names = [model.name for model in self.models]
        if name not in names:
            raise ValueError(f"expected one of the models {', '.join(names) or '(none)'}, got {name[:80]!r}")
        return names.index(name)


def _dataset_of_predictions(path: Path, results: Sequence[Results]) -> Dataset:
    """Videos by their ids with sizes and lengths of the masks, without annotations, frame names or class names.

    Raises: ValueError for a video without a single mask, so of unknown size.
    """
    sizes: dict[int, tuple[int, int]] = {}
    lengths: dict[int, int] = {}
    classes: set[int] = set()
    for prediction in (prediction for predictions in results for prediction in predictions.predictions):
        size, length = segmentations.extent(prediction.segmentations)
        lengths[prediction.video_id] = max(length, lengths.get(prediction.video_id, 0))
        if size is not None:
            sizes.setdefault(prediction.video_id, size)
        classes.add(prediction.category_id)
    unknown = sorted(lengths.keys() - sizes.keys())
    if unknown:
        raise ValueError(f"{path}: video {unknown[0]} has no mask to take its size from: name its data set")
    videos = [VideoInfo(id, sizes[id][1], sizes[id][0], lengths[id]) for id in sorted(lengths)]
    return Dataset(path, videos, [Category(id, f"class {id}") for id in sorted(classes)], None)


# --- notices


def _dataset_notices(project: Project) -> Iterator[Notice]:
    if project.truth is None:
        yield Notice("annotations", "There is no ground truth: predictions are shown, but nothing can be measured.")
    elif not project.dataset.has_annotations:
        text = f"{project.dataset.path.name}: {NO_ANNOTATIONS}: predictions are shown, but nothing can be measured."
        yield Notice("annotations", text)
    if not project.models:
        yield Notice("predictions", "There are no predictions yet: name some with --predictions.")
    if project.frames is None or not project.frames.is_dir():
        reason = f"The folder of frames {project.frames} is not there" if project.frames else "No frames were named"
        yield Notice("frames", f"{reason}: masks are shown on grey.")
        return
    videos, split = list(project.dataset.videos.values()), without_suffix(project.dataset.path).name
    missing = [video.name for video in videos if not _has_frames(video, project.frames, split)]
    if missing:
        names = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        text = f"The frames of {len(missing)} of {len(videos)} videos ({names}) are not in {project.frames}"
        yield Notice("frames", f"{text}: their masks are shown on grey.")


def _has_frames(video: VideoInfo, root: Path, split: str) -> bool:
    try:
        return bool(find_frames(video, root, split))
    except (FileNotFoundError, ValueError):
        return False


def _model_notices(dataset: Dataset, model: Model, results: Results) -> Iterator[Notice]:
    without = sorted(dataset.videos.keys() - {prediction.video_id for prediction in results.predictions})
    if without:
        text = f"{model.name} has no predictions for {len(without)} of {len(dataset.videos)} videos"
        yield Notice("videos", f"{text} (ids {format_ids(without)}).", model.name)
    unknown = sorted({prediction.category_id for prediction in results.predictions} - dataset.categories.keys())
    if unknown and model.categories is None:
        text = f"{model.name} has category ids that the data set lacks ({format_ids(unknown)}): these do not count."
        yield Notice("categories", text, model.name)
