"""A model over a data set, video by video, in one process or in several that share the videos.

The processes are those of PyTorch's launcher (`torchrun`), which sets their ranks. They do not communicate: each one
predicts its share and writes a file for each video; the one that finds all videos finished merges the files.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tevit.io.files import atomic, natural_order, order_note
from tevit.io.ytvis import Dataset, VideoInfo, write_results
from tevit.results import VideoResult

if TYPE_CHECKING:
    from tevit.configs import PredictOverrides
    from tevit.inference.classes import ClassMap
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
