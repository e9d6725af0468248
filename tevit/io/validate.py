"""Validate data sets and submissions in YouTube-VIS form: every fault with its place, and repaired copies.

A submission is a list of predictions, a data set an object with `videos` and `categories`. Validation does not stop at
the first fault, and no faulty mask reaches COCO's C library. Entries are kept as unparsed JSON fields, so that fields
without fault are copied byte by byte.
"""

import ast
import os
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from tevit import boxes
from tevit.io import json as jsonfile
from tevit.io.categories import annotated_classes, describe_indices, index_mappings
from tevit.io.files import atomic, forward_slashes
from tevit.io.validation_report import (
    NULL,
    Entry,
    Extent,
    Fields,
    ValidationFault,
    ValidationReport,
    as_number,
    excerpt,
)
from tevit.io.ytvis import NO_ANNOTATIONS, RESULTS_NAME, Dataset, VideoInfo, find_frames, inside
from tevit.masks import json as mask_json
from tevit.masks import ops
from tevit.progress import Progress
from tevit.results import RLE

_MAX_PREDICTIONS = 100  # of one class in one video; the official metric ignores the others


def validate(
    path: str | os.PathLike,
    *,
    gt: Dataset | None = None,
    frames: str | os.PathLike | None = None,
    fixed: str | os.PathLike | None = None,
    force: bool = False,
    categories: Mapping[int, int] | None = None,
    progress: Progress | None = None,
) -> ValidationReport:
    """Check a data set or a submission; the kind follows from the content.

    gt: the ground truth that a submission is for; without it, lengths and sizes are only compared within the file.
    frames: root of the frames on disk, to check that all frames of a data set exist. fixed: where to write a repaired
    copy, in which fields without fault are unchanged; one that would lose more than half of the file's videos,
    annotations or predictions is not written unless `force`. categories: category id in a submission -> the ground
    truth's, which the repaired copy has.

    Raises: OSError where a file cannot be read or written; ValueError where `fixed` is the file itself.
    """
    report = ValidationReport(Path(path), "unknown")
    progress = progress or (lambda stage, done, total: None)
    if fixed is not None and os.path.exists(fixed) and os.path.samefile(path, fixed):
        raise ValueError(f"the repaired copy cannot take the place of {path} itself")
    content = _read_content(path, report)
    if isinstance(content, list):
        report.kind = "submission"
        chunks = _array(_submission(content, report, gt, categories, progress))
    elif content is not None and _has_lists(content, report):
        report.kind = "data set"
        chunks = _dataset(content, report, frames, progress)
    else:
        return report
    if fixed is None:
        deque(chunks, maxlen=0)  # producing the chunks checks the entries
    else:
        _write_repaired(fixed, chunks, report, force)
    return report


def _read_content(path: str | os.PathLike, report: ValidationReport) -> list[msgspec.Raw] | Fields | None:
    """Entries of a submission, fields of a data set; None, and a fault of the file, where it is neither."""
    try:
        content = _parse(jsonfile.read(path, RESULTS_NAME), report)
    except ValueError as error:
        content, fault = None, str(error).removeprefix(f"{path}").lstrip(": ")
    else:
        if isinstance(content, list) or "videos" in content:
            return content
        fault = None
    if kind := jsonfile.other_format(path):
        content, fault = None, f"it is {kind}, expected YouTube-VIS JSON: `tevit formats` converts it"
    if fault is not None:
        report.add_file_fault(fault)
    return content


def _write_repaired(fixed: str | os.PathLike, chunks: Iterable[bytes], report: ValidationReport, force: bool) -> None:
    with suppress(_MostRemoved), atomic(fixed) as temporary:
        with open(temporary, "wb") as file:
            file.writelines(chunks)
        report.refused = None if force else _most_removed(report)
        if report.refused:
            raise _MostRemoved


class _MostRemoved(Exception):
    """Ends writing without a file."""


def _most_removed(report: ValidationReport) -> str | None:
    for kind, removed in report.removed.items():
        total = report.counts[f"{kind}s"] if kind != "category" else report.counts["categories"]
        if 2 * removed > total:
            return f"{removed} of {total} {kind}s would be removed"
    if 2 * report.lost_masks > report.stated_masks:
        return f"{report.lost_masks} of {report.stated_masks} masks would be set to null"
    return None


def _parse(data: bytes, report: ValidationReport) -> list[msgspec.Raw] | Fields:
    try:
        return msgspec.json.decode(data, type=list[msgspec.Raw] | Fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if token := jsonfile.first_not_number(data):
            report.add_file_fault(f"{token} is not JSON: numbers must be finite", repair="read as text")
    return jsonfile.decode(jsonfile.without_nan(data), list[msgspec.Raw] | Fields, report.path)


def _array(entries: Iterable[Entry]) -> Iterator[bytes]:
    before = b"["
    for entry in entries:
        if not entry.removed:
            yield before + msgspec.json.encode(entry.fields)
            before = b",\n"
    yield b"]" if before != b"[" else b"[]"


# --- submissions


def _submission(
    items: list[msgspec.Raw],
    report: ValidationReport,
    gt: Dataset | None,
    mapping: Mapping[int, int] | None,
    progress: Progress,
) -> Iterator[Entry]:
    videos = None if gt is None else {id: Extent(info.size_hw, info.length) for id, info in gt.videos.items()}
    categories = None if gt is None else gt.categories
    if not items:
        report.add_file_fault("there is no prediction, and the official evaluation cannot read that")
    first: dict[int, Extent] = {}
    classes: Counter[tuple[int, int]] = Counter()
    out_of_range = 0
    for place, raw in enumerate(items, 1):
        entry = Entry(raw)
        _map_category(entry, mapping, report)
        _check_prediction(entry, videos, categories)
        video = entry.get("video_id")
        if not entry.removed:
            if gt is None:
                _compare_extent(entry, first.setdefault(video, entry.extent))
            classes[video, entry.get("category_id")] += 1
            out_of_range += not 0 <= entry.get("score") <= 1
        report.add_entry("prediction", entry, place, video)
        yield entry
        progress("checking", place, len(items))
    covered = {video for video, _ in classes}
    report.counts = {"predictions": len(items), "videos": len(covered)}
    if gt is None:
        report.notes.append("without the ground truth (--gt), lengths and sizes are only compared within the file")
    else:
        report.notes += _ground_truth_notes(report, gt, covered, mapping is not None)
    if out_of_range:
        report.notes.append(f"scores outside 0 to 1: {out_of_range}")
    if ignored := sum(max(count - _MAX_PREDICTIONS, 0) for count in classes.values()):
        report.notes.append(
            f"predictions that do not count: {ignored} (of a class in a video, only the best {_MAX_PREDICTIONS} do)"
        )


def _ground_truth_notes(report: ValidationReport, gt: Dataset, covered: Set[int], mapped: bool) -> Iterator[str]:
    if missing := len(gt.videos.keys() - covered):
        yield f"videos without a prediction: {missing} of {len(gt.videos)}"
    if not mapped and (indices := index_mappings(report.predicted, gt.categories, annotated_classes(gt))):
        yield describe_indices(indices)


def _compare_extent(entry: Entry, first: Extent) -> None:
    """Without a ground truth the video's first prediction states its length and size."""
    extent, as_first = entry.extent, "as in the video's first prediction"
    if extent.length != first.length:
        entry.add(f"expected {first.length} segmentations {as_first}, got {extent.length}")
    if extent.size_hw and first.size_hw and extent.size_hw != first.size_hw:
        entry.add(f"expected masks of {first.size_hw} {as_first}, got {extent.size_hw}")


def _map_category(entry: Entry, mapping: Mapping[int, int] | None, report: ValidationReport) -> None:
    """Count the prediction's class, and give it the id that it has in `mapping`."""
    video, category = entry.get("video_id"), entry.get("category_id")
    if type(video) is int and type(category) is int:
        report.predicted[video, category] += 1
    if mapping is not None and type(category) is int and mapping.get(category, category) != category:
        entry.add(f"its category {category} is the ground truth's {mapping[category]}", f"set to {mapping[category]}")
        entry.set("category_id", mapping[category])


def _check_prediction(entry: Entry, videos: Mapping[int, Extent] | None, categories: Container[int] | None) -> None:
    """A predicted track of a submission. videos, categories: the ground truth's, None if there is none."""
    expected = None if entry.removed else _check_references(entry, videos, categories)
    if expected is None:
        return
    score = entry.get("score")
    if not _is_number(score):
        number = as_number(score)
        if number is None:
            entry.remove(f"expected a finite score, got {entry.excerpt('score')}")
            return
        entry.add(f"expected a finite score, got {entry.excerpt('score')}", f"set to {number:g}")
        entry.set("score", number)
    _check_masks(entry, expected, text_only=True)


def _check_references(
    entry: Entry, videos: Mapping[int, Extent] | None, categories: Container[int] | None
) -> Extent | None:
    video, category = entry.number("video_id"), entry.number("category_id")
    if video is not None and videos is not None and video not in videos:
        entry.remove(f"there is no video {video}")
    if category is not None and categories is not None and category not in categories:
        entry.remove(f"there is no category {category}")
    if entry.removed or video is None:
        return None
    return Extent(None, None) if videos is None else videos[video]


class _RepairedMasks(NamedTuple):
    """The masks after repair, one per frame; dropped: frames whose mask was faulty."""

    rles: list[RLE | None]
    areas: np.ndarray
    dropped: set[int]


def _check_masks(entry: Entry, expected: Extent, text_only: bool) -> _RepairedMasks | None:
    """Check and repair `segmentations`. text_only: plain runs and polygons are faults, too."""
    if "segmentations" not in entry.fields:
        entry.remove("it has no segmentations")
        return None
    raw = bytes(entry.fields["segmentations"])
    (track,), faults = mask_json.read([raw], expected.size_hw)
    if faults:
        raw = _repair_evident(entry, raw, [fault.frame for fault in faults])
        (track,), faults = mask_json.read([raw], expected.size_hw)
    if any(fault.frame is None for fault in faults):
        entry.remove(faults[0].text)
        return None
    replaced: dict[int, RLE | None] = {}
    for fault in faults:
        entry.add(fault.text, "set to null", fault.frame)
        replaced[fault.frame or 0] = None
    if expected.size_hw is not None:
        replaced |= _remove_other_sizes(entry, track.rles, expected.size_hw)
    for frame, form in mask_json.uncompressed(raw).items() if text_only else ():
        if frame not in replaced:
            entry.add(f"expected compressed run-length text, got {form}", "compressed", frame)
            replaced[frame] = track.rles[frame]
    rles = [replaced.get(frame, rle) for frame, rle in enumerate(track.rles)]
    length = len(rles) if expected.length is None else expected.length
    if len(rles) != length:
        _add_wrong_length(entry, "segmentations", len(rles), length)
    if replaced or len(rles) != length:
        items = msgspec.json.decode(raw, type=list[msgspec.Raw])
        for frame, rle in replaced.items():
            items[frame] = NULL if rle is None else msgspec.Raw(msgspec.json.encode(ops.to_json(rle)))
        entry.set("segmentations", _resize(items, length, NULL))
    rles = _resize(rles, length, None)
    areas = ops.areas(rles)
    entry.extent = Extent(next((tuple(rle["size"]) for rle in rles if rle is not None), None), length)
    entry.masks = int(np.count_nonzero(areas))
    lost = {frame for frame, rle in replaced.items() if rle is None}
    stated = lost | {frame for frame, rle in enumerate(track.rles) if rle is not None}
    entry.lost_masks, entry.stated_masks = len(lost), len(stated)
    return _RepairedMasks(rles, areas, lost)


def _remove_other_sizes(entry: Entry, rles: Sequence[RLE | None], size_hw: tuple[int, int]) -> dict[int, RLE | None]:
    """The frames whose mask has another size than the video."""
    replaced: dict[int, RLE | None] = {}
    for frame, rle in enumerate(rles):
        if rle is not None and tuple(rle["size"]) != size_hw:
            entry.add(f"expected a mask of {size_hw}, got {tuple(rle['size'])}", "set to null", frame)
            replaced[frame] = None
    return replaced


def _repair_evident(entry: Entry, raw: bytes, frames: Iterable[int | None]) -> bytes:
    """The segmentations with what is evident in faulty frames: numbers in text, text that Python printed as bytes."""
    try:
        segments = msgspec.json.decode(raw, type=list)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw
    before = len(entry.issues)
    for frame in frames:
        segment = segments[frame] if frame is not None else None
        if not isinstance(segment, dict):
            continue
        for key in ("size", "counts"):
            repaired = _evident(segment.get(key))
            if repaired is not None:
                text = f"expected {key} of whole numbers or text, got {excerpt(msgspec.json.encode(segment[key]))}"
                entry.add(text, "unwrapped" if isinstance(repaired, str) else "set to whole numbers", frame)
                segment[key] = repaired
    if len(entry.issues) == before:
        return raw
    entry.set("segmentations", segments)
    return bytes(entry.fields["segmentations"])


def _evident(value: object) -> str | list[int] | None:
    """The text of "b'…'", or the whole numbers of a list that holds them otherwise; None for anything else."""
    if isinstance(value, str) and value.startswith(("b'", 'b"')):
        with suppress(ValueError, SyntaxError, UnicodeDecodeError, AttributeError):
            return ast.literal_eval(value).decode()
    if not isinstance(value, list) or all(type(item) is int for item in value):
        return None
    numbers = [as_number(item) for item in value]
    return (
        [int(n) for n in numbers if n is not None] if all(n is not None and n.is_integer() for n in numbers) else None
    )


def _add_wrong_length(entry: Entry, key: str, actual: int, length: int) -> None:
    repair = f"cut to {length}" if actual > length else f"filled up with null to {length}"
    entry.add(f"expected {length} {key}, one a frame of its video, got {actual}", repair)


def _resize(items: list, length: int, filling: object) -> list:
    return (items + [filling] * length)[:length]


# --- data sets


def _has_lists(content: Fields, report: ValidationReport) -> bool:
    """Whether a file has the lists of a data set; adds a fault for each that is missing."""
    for key in ("videos", "categories"):
        if not bytes(content.get(key, b"")).startswith(b"["):
            report.add_file_fault(f"expected a list {key}; neither a data set nor a submission")
    annotations = bytes(content.get("annotations", b"null"))
    if not annotations.startswith(b"[") and annotations != b"null":
        report.add_file_fault("expected annotations as a list, or null")
    return not any(fault.what == "file" and fault.repair is None for fault in report.faults)


def _dataset(
    content: Fields, report: ValidationReport, frames: str | os.PathLike | None, progress: Progress
) -> Iterator[bytes]:
    """The chunks of the repaired copy, checked on the way."""
    videos = list(_unique("video", content["videos"], _check_video, report))
    _swap_sides(videos, content.get("annotations", NULL), report)
    backslashes = sum("\\" in bytes(entry.fields.get("file_names", NULL)).decode() for entry in videos)
    if backslashes:
        report.notes.append(f"videos whose file names have backslashes, read as /: {backslashes}")
    categories = list(_unique("category", content["categories"], _check_category, report))
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
        report.notes.append(f"{NO_ANNOTATIONS}, as in validation and test files of the releases")


def _unique(
    kind: str, raw: msgspec.Raw, check: Callable[[msgspec.Raw], Entry], report: ValidationReport
) -> Iterator[Entry]:
    """The checked entries of one list; further ones with the id of an earlier one are removed."""
    seen: set[int] = set()
    for item in msgspec.json.decode(raw, type=list[msgspec.Raw]):
        entry = check(item)
        id = entry.get("id")
        if not entry.removed and id in seen:
            entry.remove(f"there is another {kind} {id} before")
        if not entry.removed:
            seen.add(id)
        report.add_entry(kind, entry, id)
        yield entry


def _check_video(raw: msgspec.Raw) -> Entry:
    """An entry of `videos`."""
    entry = Entry(raw)
    numbers = [] if entry.removed else [entry.number(key) for key in ("id", "height", "width")]
    if entry.removed:
        return entry
    height, width = numbers[1] or 0, numbers[2] or 0
    if min(height, width) < 1:
        entry.remove(f"expected a height and width of at least 1, got {height} x {width}")
    names = entry.get("file_names")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        entry.add(f"expected file_names as a list of texts, got {entry.excerpt('file_names')}")
        names = None
    names = [forward_slashes(name) for name in names or []]
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        entry.add(f"the file name {twice!r} stands there twice")
    outside = next((name for name in names if not inside(name)), None)
    if outside is not None:
        entry.add(f"the file name {outside!r} leads out of the frames' folder")
    length = entry.get("length")
    if type(length) is not int or (names and length != len(names)) or length < 1:
        expected = f"{len(names)} as it has file names" if names else "at least 1"
        number = None if names or type(length) is int else as_number(length)
        evident = len(names) or (int(number) if number is not None and number >= 1 and number.is_integer() else None)
        repair = f"set to {evident}" if evident else None
        entry.add(f"expected a length of {expected}, got {entry.excerpt('length')}", repair)
        length = evident
        if evident:
            entry.set("length", evident)
    entry.extent = Extent((height, width), length)
    return entry


class _MasksOfVideo(msgspec.Struct):
    video_id: int | str | float
    segmentations: msgspec.Raw


def _swap_sides(videos: list[Entry], annotations: msgspec.Raw, report: ValidationReport) -> None:
    """Swap height and width of videos whose masks all have the two exchanged."""
    sizes: dict[int, set[tuple[int, int] | None]] = {}
    for item in msgspec.json.decode(annotations, type=list[msgspec.Raw] | None) or ():
        try:
            masks = msgspec.json.decode(item, type=_MasksOfVideo)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        number = as_number(masks.video_id)
        if number is not None:
            size = mask_json.extent(masks.segmentations)[0]
            sizes.setdefault(int(number), set()).update({size} if size else ())
    for entry in videos:
        size_hw, id = entry.extent.size_hw, entry.get("id")
        if entry.removed or size_hw is None or size_hw[0] == size_hw[1] or sizes.get(id) != {size_hw[::-1]}:
            continue
        height, width = size_hw[::-1]
        text = f"expected height {height} and width {width} as all its masks have, got {size_hw[0]} and {size_hw[1]}"
        report.faults.append(ValidationFault("video", text, id, repair="swapped"))
        entry.set("height", height)
        entry.set("width", width)
        entry.extent = Extent((height, width), entry.extent.length)


def _check_category(raw: msgspec.Raw) -> Entry:
    """An entry of `categories`."""
    entry = Entry(raw)
    id = None if entry.removed else entry.number("id")
    if id is not None and not isinstance(entry.get("name"), str):
        number = as_number(entry.get("name"))
        name = f"category {id}" if number is None else f"{number:g}"
        entry.add(f"expected a name as text, got {entry.excerpt('name')}", f"set to {name!r}")
        entry.set("name", name)
    return entry


def _annotations(
    raw: msgspec.Raw, videos: list[Entry], categories: list[Entry], report: ValidationReport, progress: Progress
) -> Iterator[Entry]:
    items = msgspec.json.decode(raw, type=list[msgspec.Raw])
    expected = {entry.get("id"): entry.extent for entry in videos if not entry.removed}
    known = {entry.get("id") for entry in categories if not entry.removed}
    ids = (as_number(Entry(item).get("id")) for item in items)
    next_id = int(max((id for id in ids if id is not None), default=0)) + 1
    used: set[int] = set()
    masks = empty = 0
    for place, item in enumerate(items, 1):
        entry = _check_annotation(item, expected, known)
        id, video = entry.get("id"), entry.get("video_id")
        if not entry.removed:
            text = None
            number = as_number(id)
            if type(id) is not int and number is not None and number.is_integer() and int(number) not in (0, *used):
                entry.add(f"expected id as a whole number, got {entry.excerpt('id')}", f"set to {int(number)}")
                entry.set("id", int(number))
            elif type(id) is not int:
                text = "expected id as a whole number"
            elif id in used:
                text = f"there is another annotation {id} before"
            elif id == 0:
                text = "its id is 0, which the official evaluation takes for no match"
            if text is not None:
                entry.add(text, f"set to {next_id}")
                entry.set("id", next_id)
                next_id += 1
            used.add(entry.get("id"))
            masks += entry.masks
            empty += not entry.masks
        report.add_entry("annotation", entry, id, video)
        yield entry
        progress("checking", place, len(items))
    report.counts |= {"annotations": len(items), "masks": masks}
    if empty:
        report.notes.append(
            f"annotations without a mask in any frame: {empty} (the official metric counts them as missed)"
        )


def _check_annotation(raw: msgspec.Raw, videos: Mapping[int, Extent], categories: Container[int]) -> Entry:
    """A ground-truth track of a data set, without its id."""
    entry = Entry(raw)
    expected = None if entry.removed else _check_references(entry, videos, categories)
    if expected is None:
        return entry
    if entry.get("iscrowd") not in (0, 1):
        crowd = int(as_number(entry.get("iscrowd")) == 1)
        entry.add(f"expected iscrowd 0 or 1, got {entry.excerpt('iscrowd')}", f"set to {crowd}")
        entry.set("iscrowd", crowd)
    repaired = _check_masks(entry, expected, text_only=False)
    if repaired is not None:
        computed = boxes.to_json(ops.to_boxes_xyxy(repaired.rles))
        _check_per_frame(
            entry, "areas", "the area", repaired.dropped, repaired.areas.tolist(), lambda x: _is_number(x) and x > 0
        )
        _check_per_frame(
            entry,
            "bboxes",
            "the box",
            repaired.dropped,
            computed,
            lambda x: isinstance(x, list) and len(x) == 4 and all(map(_is_number, x)) and min(x[2:]) > 0,
        )
    return entry


def _check_per_frame(
    entry: Entry, key: str, name: str, dropped: set[int], computed: list, is_valid: Callable[[Any], bool]
) -> None:
    """Areas or boxes: one per frame, valid if there is a mask, null (or zero) if there is none.

    dropped: frames whose mask was faulty. computed: the values of the masks.
    """
    values = entry.get(key)
    if not isinstance(values, list):
        entry.add(f"expected {key} as a list, got {entry.excerpt(key)}", "computed from the masks")
        entry.set(key, [value or None for value in computed])
        return
    if len(values) != len(computed):
        _add_wrong_length(entry, key, len(values), len(computed))
    repaired = _resize(values, len(computed), None)
    for frame, (value, of_mask) in enumerate(zip(repaired, computed, strict=True)):
        if of_mask and not is_valid(value):
            entry.add(
                f"there is a mask, but {name} {excerpt(msgspec.json.encode(value))}", "computed from the mask", frame
            )
            repaired[frame] = of_mask
        elif not of_mask and value not in (None, 0, [0, 0, 0, 0]):
            if frame not in dropped:
                entry.add(f"there is no mask, but {name} {excerpt(msgspec.json.encode(value))}", "set to null", frame)
            repaired[frame] = None
    if repaired != values:
        entry.set(key, repaired)


def _is_number(value: object) -> bool:
    return not isinstance(value, str) and as_number(value) is not None


def _check_frames(videos: list[Entry], root: Path, report: ValidationReport, progress: Progress) -> None:
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder of frames")
    for place, entry in enumerate(videos, 1):
        if entry.removed or entry.extent.length is None:
            continue
        height, width = entry.extent.size_hw or (0, 0)
        info = VideoInfo(entry.get("id"), width, height, entry.extent.length, tuple(entry.get("file_names") or ()))
        try:
            files = find_frames(info, root, hint=report.path.name.partition(".")[0])
        except (OSError, ValueError) as error:
            report.faults.append(ValidationFault("video", str(error), info.id))
            continue
        missing = [(frame, file) for frame, file in enumerate(files) if not file.is_file()]
        report.faults.extend(
            ValidationFault("video", f"{file} does not exist", info.id, frame=frame) for frame, file in missing
        )
        progress("looking for frames", place, len(videos))
