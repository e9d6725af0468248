"""Split a training set in two by video, every category in its proportion; or by a list of videos.

The validation annotations of YouTube-VIS are not public, so that this is the road to a figure on one's own machine.
Published checkpoints have seen the whole training set: on a part of it their figures mean nothing.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from tevit.io import json as jsonfile
from tevit.io.files import atomic
from tevit.io.ytvis import Dataset

_Fields = dict[str, msgspec.Raw]
_Label = int | None  # a category, None for videos without annotation
NAMES = ("train.json", "val.json")


def choose(dataset: Dataset, share: float, seed: int) -> set[int]:
    """Ids of the videos for validation: `share` of all, and of those of every category as nearly as can be.

    Deterministic: the same videos and annotations, in whatever order, give the same choice on every machine. A video
    goes where its rarest category is still most wanted; a category of one video stays in training.

    Raises: ValueError for a share that is not between 0 and 1, or that leaves a side without a video.

    Source: Sechidis et al., On the Stratification of Multi-Label Data, 2011 (iterative stratification).
    """
    total = len(dataset.videos)
    room = {False: total - round(share * total), True: round(share * total)}
    if not 0 < share < 1 or min(room.values()) < 1:
        raise ValueError(f"expected a share that leaves videos on both sides, got {share} of {total} videos")
    labels = _labels(dataset)
    left = Counter(label for own in labels.values() for label in own)
    wanted = {side: {label: part * left[label] for label in left} for side, part in ((False, 1 - share), (True, share))}
    members = {label: [video for video in _in_order(labels, seed) if label in labels[video]] for label in left}
    chosen: dict[int, bool] = {}
    while len(chosen) < total:
        rarest = min((label for label in left if left[label] > 0), key=lambda label: (left[label], str(label)))
        for video in members[rarest]:
            if video not in chosen:
                chosen[video] = _side(room, wanted, rarest)
                room[chosen[video]] -= 1
                for label in labels[video]:
                    wanted[chosen[video]][label] -= 1
                    left[label] -= 1
    return {video for video, side in chosen.items() if side}


def _labels(dataset: Dataset) -> dict[int, set[_Label]]:
    """The categories of each video's annotations; {None} where it has none."""
    labels: dict[int, set[_Label]] = {video: set() for video in dataset.videos}
    for annotation in dataset.annotations:
        if annotation.video_id in labels:
            labels[annotation.video_id].add(annotation.category_id)
    return {video: own or {None} for video, own in labels.items()}


def _in_order(videos: Iterable[int], seed: int) -> list[int]:
    """In an order that the seed alone decides."""
    return sorted(videos, key=lambda video: hashlib.sha256(f"{seed} {video}".encode()).digest())


def _side(room: dict[bool, int], wanted: dict[bool, dict[_Label, float]], label: _Label) -> bool:
    return max((False, True), key=lambda side: (room[side] > 0, wanted[side][label], room[side]))


def named(dataset: Dataset, names: Sequence[str]) -> set[int]:
    """Ids of the videos of these names (their frames' folder) or ids.

    Raises: ValueError that names what is not in the data set, or where a side is left without a video.
    """
    known = {info.name: video for video, info in dataset.videos.items()}
    known |= {str(video): video for video in dataset.videos if str(video) not in known}
    unknown = [name for name in names if name not in known]
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise ValueError(f"{dataset.path} has no video {', '.join(map(repr, unknown[:5]))}{more}")
    chosen = {known[name] for name in names}
    if not 0 < len(chosen) < len(dataset.videos):
        raise ValueError(f"expected names that leave videos on both sides, got {len(chosen)} of {len(dataset.videos)}")
    return chosen


def write(path: str | os.PathLike, chosen: set[int], out: str | os.PathLike) -> tuple[Path, Path]:
    """Write train.json and val.json into `out`; videos and annotations are copied as they stand in `path`.

    chosen: ids of the videos for val.json. Everything else of the file goes into both.

    Raises: ValueError where that would replace `path` itself.
    """
    targets = Path(out, NAMES[0]), Path(out, NAMES[1])
    if any(target.exists() and target.samefile(path) for target in targets):
        raise ValueError(f"the parts of {path} cannot be written into {out}, where they would replace it")
    content = jsonfile.decode(jsonfile.read(path), _Fields, path)
    for target, side in zip(targets, (False, True), strict=True):
        with atomic(target) as temporary, open(temporary, "wb") as file:
            file.writelines(_part(content, chosen, side))
    return targets


class _Owner(msgspec.Struct):
    """To which video an entry belongs: an annotation says so, a video is its own."""

    id: int
    video_id: int | None = None


def _part(content: _Fields, chosen: set[int], side: bool) -> Iterator[bytes]:
    before = b"{"
    for key, raw in content.items():
        yield before + msgspec.json.encode(key) + b":"
        before = b",\n"
        if key in ("videos", "annotations") and bytes(raw) != b"null":
            items = msgspec.json.decode(raw, type=list[msgspec.Raw])
            kept = [bytes(item) for item in items if (_owner(item) in chosen) == side]
            yield b"[" + b",\n".join(kept) + b"]"
        else:
            yield bytes(raw)
    yield b"}\n"


def _owner(item: msgspec.Raw) -> int:
    owner = msgspec.json.decode(item, type=_Owner)
    return owner.id if owner.video_id is None else owner.video_id


def counts(dataset: Dataset, chosen: set[int]) -> dict[int, tuple[int, int]]:
    """Category id -> annotations in training, in validation."""
    sides = {side: Counter[int]() for side in (False, True)}
    for annotation in dataset.annotations:
        sides[annotation.video_id in chosen][annotation.category_id] += 1
    return {category: (sides[False][category], sides[True][category]) for category in dataset.categories}
