"""Split a data set by video into training and validation parts, stratified by category, or by a list of videos.

The validation annotations of YouTube-VIS are not public; a split gives metrics without the evaluation server.
Published checkpoints were trained on the whole training set: their metrics on a part of it are meaningless.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from tevit.io import json as jsonfile
from tevit.io.files import atomic
from tevit.io.ytvis import Dataset

_Fields = dict[str, msgspec.Raw]
_Label = int | None  # a category, None for videos without annotation
NAMES = ("train.json", "val.json")


def choose(dataset: Dataset, share: float, seed: int) -> set[int]:
    """Ids of the videos for validation: `share` of all videos and, as nearly as possible, of those of every category.

    Deterministic: the same videos and annotations, in any order, give the same split on every machine. A video is
    assigned to the side that lacks most of its rarest category; a category of one video stays in training.

    Raises: ValueError for a share that is not between 0 and 1, or that leaves a side without a video.

    Source: Sechidis et al., On the Stratification of Multi-Label Data, 2011 (iterative stratification).
    """
    total = len(dataset.videos)
    room = {False: total - round(share * total), True: round(share * total)}
    if not 0 < share < 1 or min(room.values()) < 1:
        raise ValueError(f"expected a share that leaves videos on both sides, got {share} of {total} videos")
    labels: dict[int, set[_Label]] = {video: set() for video in dataset.videos}
    for annotation in dataset.annotations:
        if annotation.video_id in labels:
            labels[annotation.video_id].add(annotation.category_id)
    labels = {video: of_video or {None} for video, of_video in labels.items()}
    remaining = Counter(label for of_video in labels.values() for label in of_video)
    shares = ((False, 1 - share), (True, share))
    desired = {side: {label: part * remaining[label] for label in remaining} for side, part in shares}
    # a hash gives an order that depends on the seed alone
    order = sorted(labels, key=lambda video: hashlib.sha256(f"{seed} {video}".encode()).digest())
    members = {label: [video for video in order if label in labels[video]] for label in remaining}
    chosen: dict[int, bool] = {}
    while len(chosen) < total:
        labels_left = (label for label in remaining if remaining[label] > 0)
        rarest = min(labels_left, key=lambda label: (remaining[label], str(label)))
        for video in members[rarest]:
            if video not in chosen:
                side = max((False, True), key=lambda side: (room[side] > 0, desired[side][rarest], room[side]))
                chosen[video] = side
                room[side] -= 1
                for label in labels[video]:
                    desired[side][label] -= 1
                    remaining[label] -= 1
    return {video for video, side in chosen.items() if side}


def named(dataset: Dataset, names: Sequence[str]) -> set[int]:
    """Ids of the videos of these names (their frames' folder, with the folders above it that make it unique) or ids.

    Raises: ValueError naming unknown videos, or if a side is left without a video.
    """
    known = {info.name: video for video, info in dataset.videos.items()}
    known |= {str(video): video for video in dataset.videos if str(video) not in known}
    unknown = [name for name in names if name not in known]
    if unknown:
        alike = [name for name in known if name.endswith(f"/{unknown[0]}")]
        if alike:
            several = ", ".join(map(repr, alike[:5]))
            raise ValueError(f"{dataset.path} has several videos {unknown[0]!r}: expected one of {several}")
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise ValueError(f"{dataset.path} has no video {', '.join(map(repr, unknown[:5]))}{more}")
    chosen = {known[name] for name in names}
    if not 0 < len(chosen) < len(dataset.videos):
        raise ValueError(f"expected names that leave videos on both sides, got {len(chosen)} of {len(dataset.videos)}")
    return chosen


def write(path: str | os.PathLike, chosen: set[int], out: str | os.PathLike) -> tuple[Path, Path]:
    """Write train.json and val.json into `out`; videos and annotations are copied byte by byte from `path`.

    An annotation with the id 0, which the official evaluation can never match, gets the next free one of the file.
    chosen: ids of the videos for val.json. All other keys are copied to both files; annotations of videos that the file
    does not list (see `orphans`) to neither.

    Raises: ValueError if that would replace `path` itself.
    """
    targets = Path(out, NAMES[0]), Path(out, NAMES[1])
    if any(target.exists() and target.samefile(path) for target in targets):
        raise ValueError(f"the parts of {path} cannot be written into {out}, where they would replace it")
    content = jsonfile.decode(jsonfile.read(path), _Fields, path)
    if "annotations" in content:
        content["annotations"] = _without_id_0(content["annotations"])
    listed = {_video_of(item) for item in msgspec.json.decode(content["videos"], type=list[msgspec.Raw])}
    for target, videos in zip(targets, (listed - chosen, chosen), strict=True):
        with atomic(target) as temporary, open(temporary, "wb") as file:
            file.writelines(_part(content, videos))
    return targets


class _VideoRef(msgspec.Struct):
    """The video of an annotation (`video_id`) or the id of a video itself."""

    id: int
    video_id: int | None = None


def _part(content: _Fields, videos: set[int]) -> Iterator[bytes]:
    before = b"{"
    for key, raw in content.items():
        yield before + msgspec.json.encode(key) + b":"
        before = b",\n"
        if key in ("videos", "annotations") and bytes(raw) != b"null":
            items = msgspec.json.decode(raw, type=list[msgspec.Raw])
            of_side = [bytes(item) for item in items if _video_of(item) in videos]
            yield b"[" + b",\n".join(of_side) + b"]"
        else:
            yield bytes(raw)
    yield b"}\n"


def _without_id_0(raw: msgspec.Raw) -> msgspec.Raw:
    items = msgspec.json.decode(raw, type=list[msgspec.Raw] | None) or []
    ids = [msgspec.json.decode(item, type=_VideoRef).id for item in items]
    free = max(ids, default=0)
    if 0 not in ids:
        return raw
    for place, item in enumerate(items):
        if ids[place] == 0:
            free += 1
            entry = msgspec.json.decode(item, type=dict[str, msgspec.Raw]) | {"id": free}
            items[place] = msgspec.Raw(msgspec.json.encode(entry))
    return msgspec.Raw(msgspec.json.encode(items))


def _video_of(item: msgspec.Raw) -> int:
    ref = msgspec.json.decode(item, type=_VideoRef)
    return ref.id if ref.video_id is None else ref.video_id


def orphans(dataset: Dataset) -> int:
    """Number of annotations whose video the file does not list."""
    return sum(annotation.video_id not in dataset.videos for annotation in dataset.annotations)


def counts(dataset: Dataset, chosen: set[int]) -> dict[int, tuple[int, int]]:
    """Category id -> number of annotations in training and in validation."""
    sides = {side: Counter[int]() for side in (False, True)}
    for annotation in dataset.annotations:
        if annotation.video_id in dataset.videos:
            sides[annotation.video_id in chosen][annotation.category_id] += 1
    return {category: (sides[False][category], sides[True][category]) for category in dataset.categories}
