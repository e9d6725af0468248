"""A review that begins without labels: of predictions and frames alone a data set is begun, in the project's folder."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from app.projects.project import File, Project
from tevit.io.files import atomic
from tevit.io.ytvis import Dataset, VideoInfo
from tevit.video.reader import IMAGE_SUFFIXES, open_video

BEGUN = "begun.json"


def with_labels(project: Project) -> Project:
    """The project itself where it has a data set; else with BEGUN, whose videos are those that predictions are for.

    Raises: OSError; ValueError where frames and predictions do not go together.
    """
    if project.truth is not None or not project.models:
        return project
    path = _write(unlabelled_dataset(project.dataset, project.frames), project.folder / BEGUN)
    stat, digest = path.stat(), hashlib.sha256(path.read_bytes()).hexdigest()
    return replace(project, truth=File(str(path), digest, stat.st_size, stat.st_mtime_ns))


def _write(content: bytes, path: Path) -> Path:
    """Where it was written: in a folder that cannot be written, it is elsewhere for as long as the studio runs."""
    if path.is_file() and path.read_bytes() == content:
        return path
    try:
        with atomic(path) as part:
            part.write_bytes(content)
    except OSError:
        path = Path(tempfile.mkdtemp(prefix="review-"), path.name)
        path.write_bytes(content)
    return path


def unlabelled_dataset(dataset: Dataset, frames: str | os.PathLike | None) -> bytes:
    """The data set's videos and classes as YouTube-VIS JSON without annotations; the same input gives the same bytes.

    dataset: videos known by their ids alone. frames: folder of the videos' folders, or of one video's images; None:
    the videos' files stay unknown. A video's folder is the one that has its id for a name; without such names the
    folders, by name, are taken to be in the order of the ids.

    Raises: OSError; ValueError where folders and videos do not go together.
    """
    videos = list(dataset.videos.values())
    names = _file_names(videos, Path(frames)) if frames is not None else [()] * len(videos)
    content = {
        "videos": [
            {"id": v.id, "width": v.width, "height": v.height, "length": v.length, "file_names": found}
            for v, found in zip(videos, names, strict=True)
        ],
        "categories": [{"id": id, "name": name} for id, name in dataset.categories.items()],
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"


def _file_names(videos: Sequence[VideoInfo], root: Path) -> list[tuple[str, ...]]:
    root = root / "JPEGImages" if (root / "JPEGImages").is_dir() else root
    folders = _folders(videos, root)
    return [_images(video, folder, root) for video, folder in zip(videos, folders, strict=True)]


def _folders(videos: Sequence[VideoInfo], root: Path) -> list[Path]:
    """Of each video."""
    if len(videos) == 1 and _has_images(root):
        return [root]
    folders = sorted(path for path in root.iterdir() if path.is_dir() and _has_images(path))
    numbered = {int(path.name): path for path in folders if path.name.isdecimal()}
    if all(video.id in numbered for video in videos):
        return [numbered[video.id] for video in videos]
    if [video.id for video in videos] != list(range(1, len(folders) + 1)):
        raise ValueError(
            f"{root}: expected a folder of images for each of the {len(videos)} predicted videos, named by its id or "
            f"in the order of the ids from 1 on, got {len(folders)} folders"
        )
    return folders


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())


def _images(info: VideoInfo, folder: Path, root: Path) -> tuple[str, ...]:
    """Names relative to the root. Raises: ValueError where they are not this video's."""
    video = open_video(folder)
    if (video.length, video.size_hw) != (info.length, info.size_hw):
        raise ValueError(
            f"{folder}: expected the {info.length} frames of {info.size_hw} pixels (height, width) of video {info.id}, "
            f"got {video.length} of {video.size_hw}"
        )
    return tuple((folder / name).relative_to(root).as_posix() for name in video.file_names)
