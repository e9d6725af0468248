"""Is this a correct data set, a correct submission? Every fault with its place; repaired copies.

A submission is a list of predictions, a data set an object with `videos` and `categories`. Nothing stops at the first
fault, and nothing of a faulty mask reaches the C library. Repairs lose as little as they can, and say what they do.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from tevit.io import json as jsonfile
from tevit.io.entries import Entry, Expected, Fields, check_annotation, check_category, check_prediction, check_video
from tevit.io.files import atomic
from tevit.io.frames import find_frames
from tevit.io.ytvis import RESULTS_NAME, Dataset, VideoInfo
from tevit.progress import Progress

Kind = Literal["data set", "submission", "unknown"]
_MOST = 100  # predictions of one class in one video that the official metric looks at


@dataclass(frozen=True)
class Fault:
    """One fault and its place.

    what: "file", "video", "category", "annotation" or "prediction". id: of that; a prediction's is its place in the
    file, from 1. video: the video's id. frame: from 0. repair: what a repaired copy does about it, None: nothing.
    """

    what: str
    text: str
    id: object = None
    video: object = None
    frame: int | None = None
    repair: str | None = None

    def __str__(self) -> str:
        place = [f"video {self.video}"] if self.video is not None else []
        place += [] if self.what == "file" else [self.what if self.id is None else f"{self.what} {self.id}"]
        place += [f"frame {self.frame}"] if self.frame is not None else []
        return f"{', '.join(place)}: {self.text}" if place else self.text


@dataclass
class Report:
    """What was found in one file. notes: what is no fault but worth knowing. counts: what the file holds."""

    path: Path
    kind: Kind
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict:
        """The report for machines."""
        return {
            "file": str(self.path),
            "kind": self.kind,
            "correct": not self.faults,
            "counts": self.counts,
            "faults": [{**vars(fault), "message": str(fault)} for fault in self.faults],
            "notes": self.notes,
        }

    def take(self, what: str, entry: Entry, id: object, video: object = None) -> None:
        """Keep the faults of one entry."""
        self.faults.extend(Fault(what, text, id, video, frame, repair) for frame, text, repair in entry.issues)


def validate(
    path: str | os.PathLike,
    *,
    gt: Dataset | None = None,
    frames: str | os.PathLike | None = None,
    fixed: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check a data set or a submission, whichever the file is.

    gt: the ground truth that a submission is for; without it, lengths and sizes are only compared within the file.
    frames: root of the frames on disk, to look whether all of a data set's are there. fixed: where to write a repaired
    copy, in which fields without fault stand as they stood.

    Raises: OSError where a file cannot be read or written; ValueError where `fixed` is the file itself.
    """
    report = Report(Path(path), "unknown")
    if fixed is not None and os.path.exists(fixed) and os.path.samefile(path, fixed):
        raise ValueError(f"the repaired copy cannot take the place of {path} itself")
    try:
        data = jsonfile.read(path, RESULTS_NAME)
        content = _parse(data, report)
    except ValueError as error:
        report.faults.append(Fault("file", str(error).removeprefix(f"{path}").lstrip(": ")))
        return report
    if isinstance(content, list):
        report.kind = "submission"
        _write(fixed, _array(_submission(content, report, gt, progress or _no_progress)))
    elif _has_lists(content, report):
        report.kind = "data set"
        _write(fixed, _dataset(content, report, frames, progress or _no_progress))
    return report


def _no_progress(stage: str, done: int, total: int | None) -> None:
    pass


def _parse(data: bytes, report: Report) -> list[msgspec.Raw] | Fields:
    try:
        return msgspec.json.decode(data, type=list[msgspec.Raw] | Fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        token = jsonfile.first_not_number(data)
        if token:
            report.faults.append(Fault("file", f"{token} is not JSON: numbers must be finite", repair="read as text"))
    return jsonfile.decode(jsonfile.without_nan(data), list[msgspec.Raw] | Fields, report.path)


def _write(path: str | os.PathLike | None, chunks: Iterable[bytes]) -> None:
    """Run through the chunks, which does the checking, and write them where there is a path."""
    if path is None:
        for _ in chunks:
            pass
        return
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.writelines(chunks)


def _array(entries: Iterable[Entry]) -> Iterator[bytes]:
    before = b"["
    for entry in entries:
        if not entry.removed:
            yield before + msgspec.json.encode(entry.fields)
            before = b",\n"
    yield b"]" if before != b"[" else b"[]"


def _submission(items: list[msgspec.Raw], report: Report, gt: Dataset | None, progress: Progress) -> Iterator[Entry]:
    videos = None if gt is None else {id: Expected(info.size_hw, info.length) for id, info in gt.videos.items()}
    if not items:
        report.faults.append(Fault("file", "there is no prediction, and the official evaluation cannot read that"))
    first: dict[int, Expected] = {}
    classes: Counter[tuple[int, int]] = Counter()
    outside = 0
    for place, raw in enumerate(items, 1):
        entry = check_prediction(raw, videos, None if gt is None else gt.categories)
        video = entry.get("video_id")
        if not entry.removed:
            if gt is None:
                _compare(entry, first.setdefault(video, entry.found))
            classes[video, entry.get("category_id")] += 1
            outside += not 0 <= entry.get("score") <= 1
        report.take("prediction", entry, place, video)
        yield entry
        progress("checking", place, len(items))
    covered = {video for video, _ in classes}
    report.counts = {"predictions": len(items), "videos": len(covered)}
    _submission_notes(report, gt, covered, outside, sum(max(count - _MOST, 0) for count in classes.values()))


def _compare(entry: Entry, first: Expected) -> None:
    """Without ground truth: is it as the first prediction for its video?"""
    if entry.found.length != first.length:
        entry.add(f"expected {first.length} segmentations as in the video's first prediction, got {entry.found.length}")
    if entry.found.size_hw and first.size_hw and entry.found.size_hw != first.size_hw:
        entry.add(f"expected masks of {first.size_hw} as in the video's first prediction, got {entry.found.size_hw}")


def _submission_notes(report: Report, gt: Dataset | None, covered: set[int], outside: int, beyond: int) -> None:
    if gt is None:
        report.notes.append("without the ground truth (--gt), lengths and sizes are only compared within the file")
    elif missing := len(gt.videos.keys() - covered):
        report.notes.append(f"videos without a prediction: {missing} of {len(gt.videos)}")
    if outside:
        report.notes.append(f"scores outside 0 to 1: {outside}")
    if beyond:
        report.notes.append(
            f"predictions that do not count: {beyond} (of a class in a video, only the best {_MOST} do)"
        )


def _has_lists(content: Fields, report: Report) -> bool:
    for key in ("videos", "categories"):
        if not bytes(content.get(key, b"")).startswith(b"["):
            report.faults.append(Fault("file", f"expected a list {key}; neither a data set nor a submission"))
    annotations = bytes(content.get("annotations", b"null"))
    if not annotations.startswith(b"[") and annotations != b"null":
        report.faults.append(Fault("file", "expected annotations as a list, or null"))
    return not any(fault.what == "file" and fault.repair is None for fault in report.faults)


def _dataset(content: Fields, report: Report, frames: str | os.PathLike | None, progress: Progress) -> Iterator[bytes]:
    """The chunks of the repaired copy, checked on the way."""
    videos = list(_unique("video", content["videos"], check_video, report))
    categories = list(_unique("category", content["categories"], check_category, report))
    if frames is not None:
        _check_frames(videos, Path(frames), report, progress)
    before = b"{"
    for key, raw in content.items():
        yield before + msgspec.json.encode(key) + b":"
        before = b",\n"
        if key == "videos":
            yield from _array(videos)
        elif key == "categories":
            yield from _array(categories)
        elif key == "annotations" and bytes(raw) != b"null":
            yield from _array(_annotations(raw, videos, categories, report, progress))
        else:
            yield bytes(raw)
    yield b"}\n"
    report.counts |= {"videos": len(videos), "categories": len(categories)}
    if bytes(content.get("annotations", b"null")) == b"null":
        report.notes.append("there are no annotations (validation and test files of the releases have none)")


def _unique(what: str, raw: msgspec.Raw, check: Callable[[msgspec.Raw], Entry], report: Report) -> Iterator[Entry]:
    """Entries of one list, checked; a second one of the same id is removed."""
    seen: set[int] = set()
    for item in msgspec.json.decode(raw, type=list[msgspec.Raw]):
        entry = check(item)
        id = entry.get("id")
        if not entry.removed and id in seen:
            entry.remove(f"there is another {what} {id} before")
        if not entry.removed:
            seen.add(id)
        report.take(what, entry, id)
        yield entry


class _Id(msgspec.Struct):
    id: object = None


def _annotations(
    raw: msgspec.Raw, videos: list[Entry], categories: list[Entry], report: Report, progress: Progress
) -> Iterator[Entry]:
    items = msgspec.json.decode(raw, type=list[msgspec.Raw])
    expected = {entry.get("id"): entry.found for entry in videos if not entry.removed}
    known = {entry.get("id") for entry in categories if not entry.removed}
    ids = _FreeIds(items)
    masks = empty = 0
    for place, item in enumerate(items, 1):
        entry = check_annotation(item, expected, known)
        id, video = entry.get("id"), entry.get("video_id")
        if not entry.removed:
            ids.check(entry)
            masks += entry.masks
            empty += not entry.masks
        report.take("annotation", entry, id, video)
        yield entry
        progress("checking", place, len(items))
    report.counts |= {"annotations": len(items), "masks": masks}
    if empty:
        report.notes.append(
            f"annotations without a mask in any frame: {empty} (the official metric counts them as missed)"
        )


class _FreeIds:
    """Gives ids to annotations that have none of their own."""

    def __init__(self, items: list[msgspec.Raw]):
        found = (_id_of(item) for item in items)
        self._next = max((id for id in found if type(id) is int), default=0) + 1
        self._used: set[int] = set()

    def check(self, entry: Entry) -> None:
        """Note an id that is missing, taken or 0, and replace it."""
        id = entry.get("id")
        text = None
        if type(id) is not int:
            text = "expected id as a whole number"
        elif id in self._used:
            text = f"there is another annotation {id} before"
        elif id == 0:
            text = "its id is 0, which the official evaluation takes for no match"
        if text is not None:
            entry.add(text, f"set to {self._next}")
            entry.set("id", self._next)
            self._next += 1
        self._used.add(entry.get("id"))


def _id_of(item: msgspec.Raw) -> object:
    try:
        return msgspec.json.decode(item, type=_Id).id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _check_frames(videos: list[Entry], root: Path, report: Report, progress: Progress) -> None:
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root} with frames")
    for place, entry in enumerate(videos, 1):
        if entry.removed or entry.found.length is None:
            continue
        height, width = entry.found.size_hw or (0, 0)
        info = VideoInfo(entry.get("id"), width, height, entry.found.length, tuple(entry.get("file_names") or ()))
        try:
            files = find_frames(info, root, hint=report.path.stem)
        except (OSError, ValueError) as error:
            report.faults.append(Fault("video", str(error), info.id))
            continue
        missing = [(frame, file) for frame, file in enumerate(files) if not file.is_file()]
        report.faults.extend(Fault("video", f"{file} does not exist", info.id, frame=t) for t, file in missing)
        progress("looking for frames", place, len(videos))
