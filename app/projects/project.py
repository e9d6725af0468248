"""A data set in the studio: ground truth, frames and any number of models' predictions, kept together in a folder.

The folder holds `project.json`, `backups/` and, once somebody has decided something, `review.sqlite`. The files
themselves stay where they are and are only read.
"""

import errno
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import RLock

import msgspec

from app.projects import predicted
from app.projects.allowed import Allowed
from app.projects.names import free_name, names_of
from tevit.download import home
from tevit.io import json as jsonfile
from tevit.io.files import atomic
from tevit.io.ytvis import Dataset, Results, VideoInfo, open_dataset, read_results
from tevit.results import VideoResult

log = logging.getLogger(__name__)

META, BACKUPS, VERSION = "project.json", "backups", 1
MADE = "predictions"  # in the project's folder: what the studio has predicted
BUNDLED = Path(__file__).resolve().parents[2] / "assets" / "shapes"
_FIRST_IDS = 10  # of many, in a sentence


class File(msgspec.Struct, frozen=True):
    """A file of the user's and what it held: sha256 of its content, bytes, time of its last change in nanoseconds."""

    path: str
    sha256: str
    size: int
    mtime_ns: int


class Model(msgspec.Struct, frozen=True):
    """One predictions file. name: unique in the project. categories: the file's category ids -> the ground truth's,
    where its list is another one; what is not in it counts as of no class."""

    name: str
    file: File
    categories: dict[int, int] | None = None


class _Meta(msgspec.Struct):
    version: int
    truth: File | None
    frames: str | None
    models: list[Model]


@dataclass(frozen=True)
class Notice:
    """Something about the files that a person should know. model: whose, None: of the data set. kind: "annotations",
    "predictions", "videos", "categories", "frames" or "changed"."""

    kind: str
    text: str
    model: str | None = None


@dataclass(frozen=True, eq=False)
class Project:
    """May be used from any thread. folder: the project's own. truth: None without ground truth. frames: the folder
    below which the frames lie, None where none was named. changed: notices of opening it. within: where frames may
    lie, None: anywhere."""

    folder: Path
    truth: File | None
    frames: Path | None
    models: tuple[Model, ...]
    changed: tuple[Notice, ...] = ()
    within: Allowed | None = None

    @property
    def id(self) -> str:
        """Twelve characters that name the data set in links: of its content, the same wherever it lies."""
        first = self.truth or (self.models[0].file if self.models else None)
        return first.sha256[:12] if first else "empty"

    @property
    def name(self) -> str:
        """As people know it: the file's name, with its folder where that alone says little."""
        first = self.truth or (self.models[0].file if self.models else None)
        return "/".join(Path(first.path).parts[-2:]) if first else "no data set"

    @property
    def has_truth(self) -> bool:
        """Whether there are annotations to measure by."""
        return self.truth is not None and self.dataset.has_annotations

    @cached_property
    def _lock(self) -> RLock:
        return RLock()

    @cached_property
    def dataset(self) -> Dataset:
        """Videos, categories and annotations; without a ground-truth file the videos that the predictions are for."""
        with self._lock:
            if self.truth is not None:
                return open_dataset(self.truth.path)
            return predicted.dataset(Path(self.models[0].file.path if self.models else "."), self._raw)

    @cached_property
    def _raw(self) -> tuple[Results, ...]:
        with self._lock:
            return tuple(read_results(model.file.path) for model in self.models)

    @cached_property
    def results(self) -> tuple[Results, ...]:
        """Each model's predictions, their classes mapped where a mapping was chosen."""
        return tuple(mapped(raw, model) for raw, model in zip(self._raw, self.models, strict=True))

    def info(self, video_id: int) -> VideoInfo:
        """Raises: ValueError for a video that is not in the data set."""
        found = self.dataset.videos.get(video_id)
        if found is None:
            raise ValueError(f"{self.name} has no video {video_id}")
        return found

    def truths(self, video_id: int) -> VideoResult | None:
        """The ground truth of one video; None without annotations. Raises: ValueError for masks that are none."""
        return self.dataset.video(self.info(video_id).id) if self.has_truth else None

    def predictions(self, model: int, video_id: int) -> VideoResult:
        """One model's tracks in a video; a track's id is its place in the file, from 1.

        Raises: ValueError for masks that are none or of another size than the video's.
        """
        return self.results[model].video(self.info(video_id), self.dataset.categories)

    @cached_property
    def notices(self) -> tuple[Notice, ...]:
        """What is missing or odd, in sentences: nothing of it keeps the rest from being shown."""
        from app.projects.notices import notices

        return (*self.changed, *notices(self))

    def model_index(self, name: str) -> int:
        """Raises: ValueError for a name that no model has."""
        names = [model.name for model in self.models]
        if name not in names:
            raise ValueError(f"expected one of the models {', '.join(names) or '(none)'}, got {name[:80]!r}")
        return names.index(name)


def mapped(results: Results, model: Model) -> Results:
    """A copy in memory with a model's chosen classes; the file stays as it is."""
    from app.projects.class_names import apply

    return results if model.categories is None else apply(results, model.categories)


# --- opening


def open_project(
    dataset: str | os.PathLike | None = None,
    frames: str | os.PathLike | None = None,
    predictions: Sequence[str | os.PathLike] = (),
    folder: str | os.PathLike | None = None,
    within: Allowed | None = None,
) -> Project:
    """Open or make a project from what the command line names; from nothing, the bundled shapes.

    dataset: ground truth in YouTube-VIS form. folder: the project's own; None: one for each ground truth below
    $TEVIT_HOME/projects. What is named replaces what the folder's project.json says; what is not stays, and so does
    what the studio has predicted itself. within: where frames may lie, None: anywhere.
    Raises: OSError, ValueError, one sentence, where something is not there or does not belong together.
    """
    if dataset is None and frames is None and not predictions and folder is None:
        return bundled()
    known = _read(Path(folder)) if folder is not None else None
    if known is None and dataset is None and not predictions:
        raise ValueError(f"{folder or 'a project'}: expected a data set or predictions, or a folder with {META}")
    known = known or _Meta(VERSION, None, None, [])
    meta, changed = _merged(known, dataset, frames, predictions, Path(folder or "."))
    place = (Path(folder) if folder is not None else _own_folder(meta)).resolve()
    before = _read(place)
    if folder is None:
        meta = _keep_choices(meta, before, within)
    models = (*meta.models, *_made(place, before, meta.models))
    project = Project(place, meta.truth, _path(meta.frames), models, tuple(changed), within)
    _check(project)
    return _kept(project)


def _kept(project: Project) -> Project:
    """Saved, where the folder can be written."""
    try:
        save(project)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        text = f"{project.folder} cannot be written ({error.strerror}): choices and decisions are lost at the end"
        return replace(project, changed=(*project.changed, Notice("changed", text)))
    return project


def bundled() -> Project:
    """The shapes validation set with two models' predictions. Raises: ValueError where the checkout lacks it."""
    files = sorted((BUNDLED / "predictions").glob("*.json"), key=lambda file: file.name != "iteration_1000.json")
    if not (BUNDLED / "valid.json").is_file():
        raise ValueError(f"the bundled data set is not in {BUNDLED}: name one with --dataset")
    return open_project(BUNDLED / "valid.json", BUNDLED, files)


def id_of(path: str | os.PathLike) -> str:
    """The `Project.id` of a ground-truth file. Raises: OSError."""
    return _file(path, None).sha256[:12]


def save(project: Project) -> None:
    """Write project.json. Raises: OSError."""
    (project.folder / BACKUPS).mkdir(parents=True, exist_ok=True)
    frames = str(project.frames) if project.frames else None
    meta = _Meta(VERSION, project.truth, frames, list(project.models))
    with atomic(project.folder / META) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(meta), indent=2) + b"\n")


def with_categories(project: Project, model: str, categories: Mapping[int, int] | None) -> Project:
    """The project with another mapping of one model's classes, saved. Raises: ValueError, OSError."""
    models = list(project.models)
    index = project.model_index(model)
    models[index] = msgspec.structs.replace(models[index], categories=dict(categories) if categories else None)
    changed = replace(project, models=tuple(models))
    save(changed)
    return changed


def with_predictions(project: Project, paths: Sequence[str | os.PathLike]) -> Project:
    """The project with more predictions, or with new content of those that it has; saved. Names that are there stay.

    Raises: OSError, ValueError, where a file cannot be read or is for another data set: then nothing is changed.
    """
    models = {model.file.path: model for model in project.models}
    for path in paths:
        absolute = os.path.abspath(path)
        file, known = _file(path, None), models.get(absolute)
        name = known.name if known else free_name(Path(absolute), [model.name for model in models.values()])
        same = known is not None and known.file.sha256 == file.sha256
        models[absolute] = Model(name, file, known.categories if known and same else None)
    changed = replace(project, models=tuple(models.values()))
    _check(changed)
    save(changed)
    return changed


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _read(folder: Path) -> _Meta | None:
    """The folder's project.json; None where there is none yet."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--project: expected a folder, got the file {folder}")
    file = folder / META
    if not file.is_file():
        return None
    meta: _Meta = jsonfile.decode(file.read_bytes(), _Meta, file)
    if meta.version != VERSION:
        raise ValueError(f"{file}: expected version {VERSION}, got {meta.version}")
    return meta


def _own_folder(meta: _Meta) -> Path:
    first = meta.truth or meta.models[0].file
    return home() / "projects" / first.sha256[:16]


def _merged(
    known: _Meta,
    dataset: str | os.PathLike | None,
    frames: str | os.PathLike | None,
    predictions: Sequence[str | os.PathLike],
    folder: Path,
) -> tuple[_Meta, list[Notice]]:
    changed: list[Notice] = []
    truth = _file(dataset, known.truth) if dataset is not None else None
    if dataset is None and known.truth is not None:
        truth = _current(known.truth, changed, None)
    if dataset is not None and known.truth is not None and truth != known.truth and _other(truth, known.truth):
        raise ValueError(f"{folder} is a project of {known.truth.path}, not of {dataset}: choose another --project")
    if predictions:
        models = _models(predictions, known.models)
    else:
        models = [msgspec.structs.replace(m, file=_current(m.file, changed, m.name)) for m in known.models]
    if frames is not None:
        known.frames = os.path.abspath(frames)
    return _Meta(VERSION, truth, known.frames, models), changed


def _other(a: File | None, b: File) -> bool:
    return a is None or a.sha256 != b.sha256


def _keep_choices(meta: _Meta, before: _Meta | None, within: Allowed | None) -> _Meta:
    """Mappings that were chosen for the same files earlier; frames, where they may be looked at."""
    chosen = {model.file.sha256: model.categories for model in before.models} if before else {}
    kept = [msgspec.structs.replace(m, categories=m.categories or chosen.get(m.file.sha256)) for m in meta.models]
    earlier = before.frames if before and (within is None or within.holds(before.frames or "/")) else None
    frames = meta.frames or earlier
    return _Meta(VERSION, meta.truth, frames, kept)


def _made(place: Path, before: _Meta | None, models: Sequence[Model]) -> list[Model]:
    """Earlier predictions of the studio's own that are still there."""
    known, found = {model.file.path for model in models}, list(models)
    for model in before.models if before else ():
        path = Path(model.file.path)
        if path.parent == place / MADE and path.is_file() and model.file.path not in known:
            name = free_name(path, [other.name for other in found])
            found.append(Model(name, _file(path, model.file), model.categories))
    return found[len(models) :]


def _models(paths: Sequence[str | os.PathLike], known: Sequence[Model]) -> list[Model]:
    files = {model.file.path: model.file for model in known}
    chosen = {model.file.sha256: model.categories for model in known}
    found = [_file(path, files.get(os.path.abspath(path))) for path in paths]
    names = names_of([Path(file.path) for file in found])
    return [Model(name, file, chosen.get(file.sha256)) for name, file in zip(names, found, strict=True)]


def _file(path: str | os.PathLike, known: File | None) -> File:
    """Raises: OSError, ValueError where it cannot be read."""
    absolute = os.path.abspath(path)
    if not os.path.isfile(absolute):
        raise FileNotFoundError(f"no such file: {path}")
    stat = os.stat(absolute)
    if known and (known.path, known.size, known.mtime_ns) == (absolute, stat.st_size, stat.st_mtime_ns):
        return known
    with open(absolute, "rb") as file:
        return File(absolute, hashlib.file_digest(file, "sha256").hexdigest(), stat.st_size, stat.st_mtime_ns)


def _current(known: File, changed: list[Notice], model: str | None) -> File:
    """A file of project.json as it is now."""
    found = _file(known.path, known)
    if found.sha256 != known.sha256:
        text = f"{known.path} was changed since the project was last opened: everything is computed anew"
        changed.append(Notice("changed", text, model))
    return found


def _check(project: Project) -> None:
    """Raises: ValueError where predictions are for another data set."""
    for model, results in zip(project.models, project.results, strict=True):
        other = sorted({p.video_id for p in results.predictions} - project.dataset.videos.keys())
        if other:
            raise ValueError(_another_set(project, model, results, other))


def _another_set(project: Project, model: Model, results: Results, other: Sequence[int]) -> str:
    without = sorted(project.dataset.videos.keys() - {p.video_id for p in results.predictions})
    said = f"{model.file.path} is for another data set than {project.dataset.path}: it has video ids {first(other)}"
    return f"{said}, which that lacks" + (f"; that has {first(without)}, which it lacks" if without else "")


def first(ids: Sequence[int]) -> str:
    """Some ids of many, for a sentence."""
    shown = ", ".join(map(str, ids[:_FIRST_IDS]))
    return f"{shown}, … ({len(ids)} in all)" if len(ids) > _FIRST_IDS else shown
