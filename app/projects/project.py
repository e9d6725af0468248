"""A data set in the studio: ground truth, frames and any number of models' predictions, read when first needed.

A project has a folder with `project.json`, `backups/` and, after the first decision, `review.sqlite`. The user's files
stay where they are and are only read. A project is opened from paths or its folder. A path counts by its target: what a
symbolic link or `..` takes out of the allowed folders is neither listed nor read, and the error is the same whether it
exists or not.
"""

import errno
import gzip
import hashlib
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Literal, Protocol

import msgspec

from tevit.download import assets_folder, home
from tevit.io import json as jsonfile
from tevit.io.categories import CategoryMapping, category_mappings, format_ids, map_categories
from tevit.io.files import atomic, remove_left, without_suffix
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


META, BACKUPS, VERSION = "project.json", "backups", 1
PREDICTIONS = "predictions"  # in the project's folder: predictions made in the studio
BUNDLED = assets_folder() / "shapes"
MAX_ENTRIES = 20_000  # of folders that are listed, so that a large disk does not keep a page waiting
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

AnyPath = str | os.PathLike


class _Meta(msgspec.Struct):
    """The content of project.json."""

    version: int
    truth: File | None
    frames: str | None
    models: list[Model]


def open_project(
    dataset: AnyPath | None = None,
    frames: AnyPath | None = None,
    predictions: Sequence[AnyPath] = (),
    folder: AnyPath | None = None,
    allowed: "AllowedFolders | None" = None,
) -> Project:
    """Open or make a project from the command line's paths; without any, the bundled shapes.

    dataset: ground truth in YouTube-VIS form. folder: the project's own; None: one for each ground truth below
    $TEVIT_HOME/projects. Paths that are named replace those in the folder's project.json; the others stay, and so do
    predictions made in the studio. allowed: where frames may be; None: anywhere.

    Raises: OSError, ValueError, one sentence, where a file is missing or does not belong to the others.
    """
    if dataset is None and frames is None and not predictions and folder is None:
        return bundled()
    known = _read_meta(Path(folder)) if folder is not None else None
    if known is None and dataset is None and not predictions:
        raise ValueError(f"{folder or 'a project'}: expected a data set or predictions, or a folder with {META}")
    known = known or _Meta(VERSION, None, None, [])
    meta, notices = _merge(known, dataset, frames, predictions, Path(folder or "."))
    if folder is None:
        folder = home() / "projects" / (meta.truth or meta.models[0].file).sha256[:16]
        earlier = _read_meta(Path(folder))
        meta = meta if earlier is None else _keep_choices(meta, earlier, allowed)
    place = Path(folder).resolve()
    models = (*meta.models, *_own_predictions(place, meta.models))
    frames_folder = None if meta.frames is None else Path(meta.frames)
    project = Project(place, meta.truth, frames_folder, models, tuple(notices), allowed)
    _check_videos(project)
    try:
        save(project)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        text = f"{project.folder} cannot be written ({error.strerror}): choices and decisions are lost at the end"
        project = replace(project, opening_notices=(*project.opening_notices, Notice("changed", text)))
    return project


def bundled() -> Project:
    """The shapes validation set with two models' predictions. Raises: ValueError where the checkout lacks it."""
    files = sorted((BUNDLED / "predictions").glob("*.json"), key=lambda file: file.name != "iteration_1000.json")
    if not (BUNDLED / "valid.json").is_file():
        raise ValueError(f"the bundled data set is not in {BUNDLED}: name one with --dataset")
    return open_project(BUNDLED / "valid.json", BUNDLED, files)


def project_id(path: AnyPath) -> str:
    """The `Project.id` of a ground truth file. Raises: OSError."""
    return _file(path, None).sha256[:12]


def save(project: Project) -> None:
    """Write project.json. Raises: OSError."""
    (project.folder / BACKUPS).mkdir(parents=True, exist_ok=True)
    remove_left(project.folder / META)
    frames = str(project.frames) if project.frames else None
    meta = _Meta(VERSION, project.truth, frames, list(project.models))
    with atomic(project.folder / META) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(meta), indent=2) + b"\n")


def with_categories(project: Project, model: str, categories: Mapping[int, int] | None = None) -> Project:
    """The project with another mapping of a model's categories, or none, saved. Raises: ValueError, OSError."""
    models = list(project.models)
    index = project.model_index(model)
    models[index] = msgspec.structs.replace(models[index], categories=dict(categories) if categories else None)
    changed = replace(project, models=tuple(models))
    save(changed)
    return changed


def with_predictions(project: Project, paths: Sequence[AnyPath]) -> Project:
    """The project with more predictions, or with the new content of known files; saved. Names of models stay.

    Raises: OSError, ValueError, where a file cannot be read or is for another data set: then nothing is changed.
    """
    models = {model.file.path: model for model in project.models}
    for path in paths:
        absolute = os.path.abspath(path)
        file, known = _file(path, None), models.get(absolute)
        name = known.name if known else _free_name(Path(absolute), [model.name for model in models.values()])
        unchanged = known is not None and known.file.sha256 == file.sha256
        models[absolute] = Model(name, file, known.categories if known and unchanged else None)
    changed = replace(project, models=tuple(models.values()))
    _check_videos(changed)
    save(changed)
    return changed


def _read_meta(folder: Path) -> _Meta | None:
    """The folder's project.json; None where there is none."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--project: expected a folder, got the file {folder}")
    file = folder / META
    if not file.is_file():
        return None
    meta: _Meta = jsonfile.decode(file.read_bytes(), _Meta, file)
    if meta.version != VERSION:
        raise ValueError(f"{file}: expected version {VERSION}, got {meta.version}")
    return meta


def _merge(
    known: _Meta, dataset: AnyPath | None, frames: AnyPath | None, predictions: Sequence[AnyPath], folder: Path
) -> tuple[_Meta, list[Notice]]:
    """known: from project.json. Returns it with the named paths in place of its own, and which files have changed."""
    notices: list[Notice] = []
    if dataset is not None:
        truth = _file(dataset, known.truth)
        if known.truth is not None and truth.sha256 != known.truth.sha256:
            raise ValueError(f"{folder} is a project of {known.truth.path}, not of {dataset}: choose another --project")
    else:
        truth = None if known.truth is None else _current(known.truth, notices, None)
    if predictions:
        files = {model.file.path: model.file for model in known.models}
        chosen = {model.file.sha256: model.categories for model in known.models}
        opened = [_file(path, files.get(os.path.abspath(path))) for path in predictions]
        names = _short_names([Path(file.path) for file in opened])
        models = [Model(name, file, chosen.get(file.sha256)) for name, file in zip(names, opened, strict=True)]
    else:
        models = [msgspec.structs.replace(m, file=_current(m.file, notices, m.name)) for m in known.models]
    return _Meta(VERSION, truth, known.frames if frames is None else os.path.abspath(frames), models), notices


def _keep_choices(meta: _Meta, earlier: _Meta, allowed: "AllowedFolders | None") -> _Meta:
    """Mappings chosen earlier for the same files; the earlier frames, where they may be read."""
    chosen = {model.file.sha256: model.categories for model in earlier.models}
    models = [msgspec.structs.replace(m, categories=m.categories or chosen.get(m.file.sha256)) for m in meta.models]
    usable = allowed is None or allowed.contains(earlier.frames or "/")
    return _Meta(VERSION, meta.truth, meta.frames or (earlier.frames if usable else None), models)


def _own_predictions(folder: Path, models: Sequence[Model]) -> list[Model]:
    """Predictions made in the studio earlier that still exist, besides `models`."""
    earlier = _read_meta(folder)
    known, own = {model.file.path for model in models}, []
    for model in earlier.models if earlier else ():
        path = Path(model.file.path)
        if path.parent == folder / PREDICTIONS and path.is_file() and model.file.path not in known:
            name = _free_name(path, [other.name for other in (*models, *own)])
            own.append(Model(name, _file(path, model.file), model.categories))
    return own


def _file(path: AnyPath, known: File | None) -> File:
    """known: what the path was earlier; it is not read again where size and time are the same. Raises: OSError."""
    absolute = os.path.abspath(path)
    if not os.path.isfile(absolute):
        raise FileNotFoundError(f"{path}: no such file")
    stat = os.stat(absolute)
    if known and (known.path, known.size, known.mtime_ns) == (absolute, stat.st_size, stat.st_mtime_ns):
        return known
    with open(absolute, "rb") as file:
        return File(absolute, hashlib.file_digest(file, "sha256").hexdigest(), stat.st_size, stat.st_mtime_ns)


def _current(known: File, notices: list[Notice], model: str | None) -> File:
    """A file of project.json as it is now; a change is added to `notices`."""
    file = _file(known.path, known)
    if file.sha256 != known.sha256:
        text = f"{known.path} was changed since the project was last opened: everything is computed anew"
        notices.append(Notice("changed", text, model))
    return file


def _check_videos(project: Project) -> None:
    """Raises: ValueError where predictions are for another data set."""
    videos = project.dataset.videos.keys()
    for model, results in zip(project.models, project.results, strict=True):
        predicted = {prediction.video_id for prediction in results.predictions}
        if other := sorted(predicted - videos):
            message = f"{model.file.path} is for another data set than {project.dataset.path}: it has video ids "
            message += f"{format_ids(other)}, which that lacks"
            without = sorted(videos - predicted)
            raise ValueError(message + (f"; that has {format_ids(without)}, which it lacks" if without else ""))


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The files' names without suffix, with as many folders as they need to differ.

    Raises: ValueError for a file twice.
    """
    stems = [without_suffix(path) for path in paths]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise ValueError(f"--predictions: expected every file once, got {twice} twice")
    for depth in range(1, max((len(path.parts) for path in stems), default=1) + 1):
        names = ["/".join(path.parts[-depth:]) for path in stems]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]  # they differ in their suffix alone


def _free_name(path: Path, taken: Sequence[str]) -> str:
    """The file's name without suffix, with as many folders as it needs to differ from all that are taken."""
    parts = without_suffix(path).parts
    names = ("/".join(parts[-depth:]) for depth in range(1, len(parts) + 1))
    return next((name for name in names if name not in taken), str(path))


# --- what pages may open


@dataclass(frozen=True)
class Listing:
    """Absolute paths that can be opened. truths: JSON objects. predictions: JSON lists. folders: those with folders in
    them. complete: False where there were more than MAX_ENTRIES."""

    truths: tuple[str, ...]
    predictions: tuple[str, ...]
    folders: tuple[str, ...]
    complete: bool


@dataclass(frozen=True)
class AllowedFolders:
    """Folders that pages may open files of. folders: absolute, links resolved."""

    folders: tuple[Path, ...] = ()

    @classmethod
    def of(cls, folders: Iterable[AnyPath]) -> "AllowedFolders":
        """Raises: FileNotFoundError for a folder that does not exist."""
        resolved = dict.fromkeys(Path(folder).resolve() for folder in folders)
        missing = next((folder for folder in resolved if not folder.is_dir()), None)
        if missing is not None:
            raise FileNotFoundError(f"--allow: no such folder: {missing}")
        return cls(tuple(resolved))

    def contains(self, path: AnyPath) -> bool:
        """Whether a path's target is one of the folders or below one."""
        try:
            real = Path(path).resolve()
        except (OSError, RuntimeError, ValueError):  # a loop of links, an invalid name
            return False
        return any(real.is_relative_to(folder) for folder in self.folders)

    def file(self, text: str) -> Path:
        """A file that a page names, links resolved. Raises: ValueError, FileNotFoundError."""
        return self._resolve(text, Path.is_file, "file")

    def folder(self, text: str) -> Path:
        """A folder that a page names, links resolved. Raises: ValueError, FileNotFoundError."""
        return self._resolve(text, Path.is_dir, "folder")

    def _resolve(self, text: str, exists: Callable[[Path], bool], kind: str) -> Path:
        if not os.path.isabs(text) or not self.contains(text):
            raise ValueError(f"{text[:200]} is not below a folder that the operator allowed (--allow)")
        real = Path(text).resolve()
        if not exists(real):
            raise FileNotFoundError(f"no such {kind}: {text[:200]}")
        return real

    def listing(self) -> Listing:
        """Everything below the folders that may be a data set, predictions, or a folder of frames; nearest first."""
        folders = [str(folder) for folder in self.folders]
        files: dict[str, list[str]] = {"{": [], "[": []}
        count = 0
        for folder, entries in self._walk():
            count += len(entries)
            if str(folder) not in folders and any(os.path.isdir(entry.path) for entry in entries):
                folders.append(str(folder))
            for entry in entries:
                if entry.name.endswith((".json", ".json.gz")) and self.contains(entry.path):
                    files.setdefault(_first_character(entry.path), []).append(entry.path)
            if count >= MAX_ENTRIES:
                break
        return Listing(tuple(files["{"]), tuple(files["["]), tuple(folders), count < MAX_ENTRIES)

    def _walk(self) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
        """Every folder once, whatever links lead to it, nearest first, with its entries."""
        queue, seen = deque(self.folders), set(self.folders)
        while queue:
            folder = queue.popleft()
            entries = _entries(folder)
            yield folder, entries
            for entry in entries:
                real = Path(entry.path).resolve() if os.path.isdir(entry.path) and self.contains(entry.path) else None
                if real is not None and real not in seen:
                    seen.add(real)
                    queue.append(Path(entry.path))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """By name; none of a folder with pictures, which is a video's frames."""
    entries = []
    with suppress(OSError), os.scandir(folder) as scanned:
        for entry in scanned:
            if entry.name.lower().endswith(_PICTURES):
                return []
            if not entry.name.startswith("."):
                entries.append(entry)
    return sorted(entries, key=lambda entry: entry.name)


def _first_character(path: str) -> str:
    """Of a JSON file: "{" or "[" where it is an object or a list."""
    opened = gzip.open if path.endswith(".gz") else open
    with suppress(OSError, EOFError, zlib.error), opened(path, "rb") as file:
        return file.read(64).lstrip()[:1].decode(errors="replace")
    return ""


def guess_frames(dataset: Dataset, folders: Iterable[str]) -> Path | None:
    """The folder nearest to the data set's file that has frames of its first video; None where none has."""
    video = next(iter(dataset.videos.values()), None)
    parent = str(dataset.path.parent)
    for folder in sorted(folders, key=lambda folder: -len(os.path.commonpath([parent, folder]))):
        with suppress(OSError, ValueError):
            if video is not None and find_frames(video, folder, without_suffix(dataset.path).name):
                return Path(folder)
    return None


def with_frames(project: Project, allowed: AllowedFolders, folder: Path | None = None) -> Project:
    """The project with the frames of a folder, saved, where it has none: of the one named, else of the nearest one that
    has them. Raises: OSError where it cannot be saved."""
    if project.frames is not None and project.frames.is_dir():
        return project
    frames = folder or guess_frames(project.dataset, allowed.listing().folders) or project.frames
    changed = replace(project, frames=frames, allowed=allowed)
    save(changed)
    return changed
