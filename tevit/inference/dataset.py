"""A model over a data set, video by video, in one process or in several that share the videos.

The processes are those of PyTorch's launcher (`torchrun`), which sets their ranks. They do not communicate: each one
predicts its share and writes a file for each video; the one that finds all videos finished merges the files.
"""

import hashlib
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tevit.configs import fold_name
from tevit.io.files import atomic, natural_order, order_note
from tevit.io.ytvis import Dataset, VideoInfo, write_results
from tevit.results import VideoResult

if TYPE_CHECKING:
    from tevit.configs import PredictOverrides
    from tevit.inference.external import ExternalPredictor
    from tevit.inference.predictor import Predictor
    from tevit.progress import Progress
    from tevit.video.reader import Video

_OPTIONS_FILE = "about.json"


@dataclass(frozen=True)
class Share:
    """The share of process `rank`, from 0, of `world` processes."""

    rank: int = 0
    world: int = 1

    @classmethod
    def of_environment(cls) -> "Share":
        """From torchrun's RANK and WORLD_SIZE; without them one process. Raises: ValueError."""
        rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
            raise ValueError(f"expected RANK from 0 and below WORLD_SIZE, got RANK={rank} and WORLD_SIZE={world}")
        return cls(int(rank), int(world))

    def of(self, videos: Mapping[int, VideoInfo]) -> list[int]:
        """This process's video ids, in order: the longest first, each goes to the process with the fewest frames."""
        frames, ids = [0] * self.world, set()
        for id in sorted(videos, key=lambda id: -videos[id].length):
            rank = frames.index(min(frames))
            frames[rank] += videos[id].length
            if rank == self.rank:
                ids.add(id)
        return [id for id in videos if id in ids]


def local_device(device: str) -> str:
    """Under torchrun one CUDA device for each process of a machine, where no device is named."""
    local = os.environ.get("LOCAL_RANK", "")
    if not local.isdecimal() or device not in ("auto", "cuda"):
        return device
    import torch  # only here: models of others may need no PyTorch

    if not torch.cuda.is_available():
        return device
    return f"cuda:{int(local) % torch.cuda.device_count()}"


def predict_dataset(
    predictor: "Predictor | ExternalPredictor",
    dataset: Dataset,
    root: Path,
    results: "PartialResults",
    videos: Sequence[int],
    options: "PredictOverrides",
    progress: "Progress",
    classes: "ClassMap | Callable[[VideoResult], ClassMap] | None" = None,
) -> None:
    """Predict those of the videos that are not finished; the error of one that fails is recorded.

    root: folder that the file names are relative to. classes: of the model and the data set; a function of each
    result, for a model without a list of its classes.
    Raises: what progress raises.
    """
    finished = results.finished
    for index, id in enumerate(videos):
        progress("predicting", index, len(videos))
        if id in finished:
            continue
        results.clear_error(id)
        try:
            files = dataset.frame_files(id, root)
            video = open_frames(files, id, dataset.videos[id].size_hw)
            result = in_file_order(predictor(video, **options), files)
            for note in video.notes:
                print(f"tevit: warning: video {id}: {note}", file=sys.stderr)
            mapped = classes(result) if callable(classes) else classes
            results.add(replace(mapped.apply(result) if mapped else result, video_id=id))
        except (ValueError, OSError, MemoryError) as error:
            results.add_error(id, str(error))
            print(f"tevit: video {id}: {error}", file=sys.stderr)
    progress("predicting", len(videos), len(videos))


def open_frames(files: Sequence[Path], id: int, size_hw: tuple[int, int] | None = None) -> "Video":
    """A data set's video, its frames in the order of their names: alphabetical, as in the original, for padded numbers.

    size_hw: of the data set's file; images of another size are scaled to it, which a note of the video says.
    """
    from tevit.video.reader import open_images, resized_video

    note = order_note(file.name for file in files)
    ordered = natural_order(files)
    video = open_images(ordered, str(id))
    video.notes += [note] if note else []
    if ordered != list(files):
        video.notes.append("the data set's file has another order of frames: masks are written in that of the file")
    if size_hw is None or video.size_hw == size_hw:
        return video
    stated, actual = (f"{size[1]}x{size[0]}" for size in (size_hw, video.size_hw))
    resized = resized_video(video, size_hw)
    resized.notes = [
        *video.notes,
        f"its images have {actual} pixels, the data set's file states {stated}: scaled to it",
    ]
    return resized


def in_file_order(result: VideoResult, files: Sequence[Path]) -> VideoResult:
    """The result of a video of `open_frames` with its frames in the order of the data set's file, as the labels are."""
    places = {file: place for place, file in enumerate(natural_order(files))}
    order = [places[file] for file in files]
    if order == list(range(len(files))):
        return result
    tracks = [
        replace(
            track,
            rles=tuple(track.rles[place] for place in order),
            boxes_xyxy=track.boxes_xyxy[order],
            areas=track.areas[order],
            frame_scores=None if track.frame_scores is None else track.frame_scores[order],
        )
        for track in result.tracks
    ]
    return replace(result, tracks=tuple(tracks), file_names=tuple(file.name for file in files))


class PartialResults:
    """The finished videos of a data set in `folder`: VIDEO_ID.json each; VIDEO_ID.error has the error of a failed one.

    Several processes may write to one folder, on one machine or on several that share a disk, without locks.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def finished(self) -> set[int]:
        """Ids of the finished videos."""
        return self._ids(".json")

    @property
    def failed(self) -> dict[int, str]:
        """Id -> error, of the failed videos that are not finished."""
        ids = self._ids(".error") - self.finished
        return {id: self._file(id, ".error").read_text() for id in sorted(ids)}

    def add(self, result: VideoResult) -> None:
        """Write a finished video. Raises: OSError."""
        write_results(self._file(result.video_id), [result])
        self.clear_error(result.video_id)

    def add_error(self, video: int, message: str) -> None:
        """Record that a video cannot be predicted. Raises: OSError."""
        with atomic(self._file(video, ".error")) as part:
            part.write_text(message)

    def clear_error(self, video: int) -> None:
        """Remove a video's error."""
        self._file(video, ".error").unlink(missing_ok=True)

    def merge(self, target: Path, videos: Iterable[int]) -> Path:
        """Write the finished ones of the videos as one results.json, byte for byte as if written at once.
        Raises: OSError.
        """
        finished, separator = self.finished, b"["
        with atomic(target) as part, part.open("wb") as file:
            for video in videos:
                if video in finished and (entries := self._file(video).read_bytes().strip()[1:-1]):
                    file.write(separator + entries)
                    separator = b",\n"
            file.write(b"]\n" if separator != b"[" else b"[]\n")
        return target

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Record what the videos depend on (data set, weights, options), or compare it with the record.
        Raises: ValueError that names the differences where the folder has videos of other options.
        """
        file = self.folder / _OPTIONS_FILE
        if not file.exists():
            with atomic(file) as part:
                part.write_text(json.dumps(dict(options), indent=2) + "\n")
        try:
            recorded = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise ValueError(f"{file}: cannot be read ({error}); --fresh begins again") from None
        check_same_options(recorded, options, self.folder, "prediction")

    def _ids(self, suffix: str) -> set[int]:
        stems = (file.stem for file in self.folder.glob(f"*{suffix}"))
        return {int(stem) for stem in stems if stem.removeprefix("-").isdecimal()}

    def _file(self, video: int, suffix: str = ".json") -> Path:
        return self.folder / f"{video}{suffix}"


def check_same_options(recorded: Mapping[str, Any], options: Mapping[str, Any], folder: Path, kind: str) -> None:
    """Raises: ValueError that names the differences between the options of a folder's content and the current ones."""
    before, now = (msgspec.json.decode(msgspec.json.encode(dict(item))) for item in (recorded, options))
    differing = [name for name in now | before if before.get(name) != now.get(name)]
    if differing:
        differences = ", ".join(f"{name} {before.get(name)}, now {now.get(name)}" for name in differing)
        raise ValueError(f"{folder} holds another {kind} ({differences}): give another folder, or --fresh")


def file_digest(file: str | os.PathLike) -> str:
    """16 hexadecimal digits of the SHA-256 of a file's content."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]


# --- a model's classes and the data set's


@dataclass(frozen=True)
class ClassMap:
    """ids: category id of the model -> id to write; classes without one are left out. categories: id -> name of all
    that are written. notes: what differs, a sentence each."""

    ids: Mapping[int, int]
    categories: Mapping[int, str]
    notes: tuple[str, ...] = ()

    def apply(self, result: VideoResult) -> VideoResult:
        """A model's result with the ids to write, without the tracks of classes that are left out."""
        tracks = tuple(
            replace(track, category_id=self.ids[track.category_id])
            for track in result.tracks
            if track.category_id in self.ids
        )
        return replace(result, tracks=tracks, categories=self.categories)


def match_classes(
    model: Mapping[int, str],
    dataset: Mapping[int, str],
    overrides: Mapping[str, str | int] | None = None,
    *,
    numbered: bool = True,
) -> ClassMap:
    """Map a model's categories (id -> name) to a data set's.

    By name; where no name agrees the numbers are kept, which a note says. A class of the model that the data set does
    not have keeps its number, or is left out where that belongs to another class. overrides: name of a model's class ->
    name or id of the data set's, for classes whose names differ. numbered: False where the model's numbers mean
    nothing, and `model` has only the classes that have appeared: one without an equal name is left out.

    Raises: ValueError for an override that names a class which the model or the data set does not have.
    """
    ids = _ids_of_names(model, dataset)
    if not numbered:
        names = {fold_name(name) for name in model.values()}
        ids |= _override(model, dataset, {k: v for k, v in (overrides or {}).items() if fold_name(k) in names})
        left_out = [name for id, name in model.items() if id not in ids]
        text = "classes of the model left out, since the data set does not have them"
        return ClassMap(ids, dataset, (f"{text}: {_list(left_out)}",) if left_out else ())
    ids |= _override(model, dataset, overrides or {})
    if not ids:
        common = model.keys() & dataset.keys()
        note = (
            f"no class of the model has a name of the data set ({_names(model)} against {_names(dataset)}): "
            f"classes are matched by number, {len(common)} of {len(model)} agree"
        )
        return ClassMap({id: id for id in model}, {**model, **dataset}, (note,))
    other = {id: name for id, name in model.items() if id not in ids and id not in dataset}
    notes = _differences(model, dataset, ids)
    return ClassMap(ids | {id: id for id in other}, {**other, **dataset}, notes)


def _ids_of_names(model: Mapping[int, str], dataset: Mapping[int, str]) -> dict[int, int]:
    """Category id of the model -> the data set's of the same name; of several that differ in case, spaces or
    underscores alone the one that is written the same, else the first."""
    exact = {name: id for id, name in reversed(list(dataset.items()))}
    folded = {fold_name(name): id for id, name in reversed(list(dataset.items()))}
    matches = {id: exact.get(name, folded.get(fold_name(name))) for id, name in model.items()}
    return {id: other for id, other in matches.items() if other is not None}


def _alike(categories: Mapping[int, str]) -> list[str]:
    """The classes, with their ids, whose names another one has, but for case, spaces and underscores."""
    counts = Counter(fold_name(name) for name in categories.values())
    return [f"{name} {id}" for id, name in categories.items() if counts[fold_name(name)] > 1]


def _differences(model: Mapping[int, str], dataset: Mapping[int, str], ids: Mapping[int, int]) -> tuple[str, ...]:
    """Sentences on what is not the same class under the same number on both sides."""
    moved = [f"{model[id]} {id} -> {ids[id]}" for id in ids if ids[id] != id]
    renamed = [
        f"{model[id]} as {dataset[ids[id]]}" for id in ids if fold_name(model[id]) != fold_name(dataset[ids[id]])
    ]
    missing = {id: name for id, name in model.items() if id not in ids}
    lists = {
        "classes are matched by name, not by number": moved,
        "classes of the data set with one name, of which only one is written": _alike(dataset),
        "classes of the model with one name, which become one class": _alike(model),
        "classes of other names, by the class map": renamed,
        "classes of the model left out, since their numbers are other classes of the data set": [
            name for id, name in missing.items() if id in dataset
        ],
        "classes of the model that the data set does not have": [
            name for id, name in missing.items() if id not in dataset
        ],
        "classes of the data set that the model does not have": [
            name for id, name in dataset.items() if id not in ids.values()
        ],
    }
    return tuple(f"{text}: {_list(names)}" for text, names in lists.items() if names)


def _override(
    model: Mapping[int, str], dataset: Mapping[int, str], overrides: Mapping[str, str | int]
) -> dict[int, int]:
    of_model = {fold_name(name): id for id, name in model.items()}
    of_dataset = {fold_name(name): id for id, name in dataset.items()}
    ids = {}
    for source, target in overrides.items():
        if fold_name(source) not in of_model:
            raise ValueError(f"class map: the model has no class {source!r}; it has {_names(model)}")
        id = target if isinstance(target, int) else of_dataset.get(fold_name(target))
        if id not in dataset:
            raise ValueError(f"class map: the data set has no class {target!r}; it has {_names(dataset)}")
        ids[of_model[fold_name(source)]] = id
    return ids


def _names(categories: Mapping[int, str]) -> str:
    return _list(list(categories.values()))


def _list(items: list[str]) -> str:
    return ", ".join(items[:6]) + (f" and {len(items) - 6} more" if len(items) > 6 else "")
