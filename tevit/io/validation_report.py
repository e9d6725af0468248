"""What a validation reports: faults with their places, and entries that are repaired while they are checked."""

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

Kind = Literal["data set", "submission", "unknown"]
Fields = dict[str, msgspec.Raw]
"""An object whose values are not parsed."""
NULL = msgspec.Raw(b"null")
REMOVED = "removed"  # the repair of an entry that cannot be kept


@dataclass(frozen=True)
class ValidationFault:
    """One fault and its place.

    what: "file", "video", "category", "annotation" or "prediction". id: its id; of a prediction its place in the file,
    from 1. video: the video's id. frame: from 0. repair: what the repaired copy does about it, None: nothing.
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
class ValidationReport:
    """The result for one file.

    notes: observations that are no faults. counts: number of entries by kind. removed: number of entries that the
    repaired copy does not have, by kind. refused: why no repaired copy was written, None where nothing was refused.
    predicted: of a submission, the number of predictions of each (video id, category id). stated_masks, lost_masks: of
    all entries, and those that the repaired copy does not have.
    """

    path: Path
    kind: Kind
    faults: list[ValidationFault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    refused: str | None = None
    predicted: Counter[tuple[int, int]] = field(default_factory=Counter)
    stated_masks: int = 0
    lost_masks: int = 0

    def as_json(self) -> dict:
        """The report for machines."""
        return {
            "file": str(self.path),
            "kind": self.kind,
            "correct": not self.faults,
            "counts": self.counts,
            "faults": [{**vars(fault), "message": str(fault)} for fault in self.faults],
            "notes": self.notes,
        } | ({"refused": self.refused} if self.refused else {})

    def add_file_fault(self, text: str, repair: str | None = None) -> None:
        """Add a fault of the file as a whole."""
        self.faults.append(ValidationFault("file", text, repair=repair))

    def add_entry(self, what: str, entry: "Entry", id: object, video: object = None) -> None:
        """Add the faults of one entry."""
        self.removed[what] = self.removed.get(what, 0) + entry.removed
        self.stated_masks += entry.stated_masks
        self.lost_masks += entry.lost_masks
        self.faults.extend(
            ValidationFault(what, text, id, video, frame, repair) for text, repair, frame in entry.issues
        )


class Extent(NamedTuple):
    """Required properties of a video's masks. size_hw: pixels; length: frames; None if unknown."""

    size_hw: tuple[int, int] | None
    length: int | None


class Entry:
    """The fields of one entry, repaired while they are checked.

    issues: (text, repair or None, frame or None). removed: the entry cannot be kept. extent: the video's size and
    length as the entry states them or its masks show them. masks: number of its frames with a mask. stated_masks: those
    of the file, of which lost_masks are set to null.
    """

    def __init__(self, raw: msgspec.Raw):
        self.issues: list[tuple[str, str | None, int | None]] = []
        self.removed = False
        self.extent = Extent(None, None)
        self.masks = self.stated_masks = self.lost_masks = 0
        self.fields: Fields = {}
        try:
            self.fields = msgspec.json.decode(raw, type=Fields)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.remove(f"expected an object, got {excerpt(bytes(raw))}")

    def add(self, text: str, repair: str | None = None, frame: int | None = None) -> None:
        """Add a fault."""
        self.issues.append((text, repair, frame))

    def remove(self, text: str) -> None:
        """Add a fault for which the whole entry must be removed."""
        self.add(text, REMOVED)
        self.removed = True

    def get(self, key: str) -> Any:
        """The value of a field, None if it is null or absent."""
        try:
            return msgspec.json.decode(self.fields.get(key, NULL))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return excerpt(self.fields[key])

    def excerpt(self, key: str) -> str:
        """The beginning of a field's JSON, for messages."""
        return excerpt(self.fields.get(key, b"nothing"))

    def set(self, key: str, value: object) -> None:
        """Replace a field."""
        self.fields[key] = msgspec.Raw(msgspec.json.encode(value))

    def number(self, key: str) -> int | None:
        """A field that must be a whole number; "1" and 1.0 are repaired, for anything else the entry is removed."""
        value = self.get(key)
        if type(value) is int:
            return value
        number = as_number(value)
        if number is None or not number.is_integer():
            self.remove(f"expected {key} as a whole number, got {self.excerpt(key)}")
            return None
        self.add(f"expected {key} as a whole number, got {self.excerpt(key)}", f"set to {int(number)}")
        self.set(key, int(number))
        return int(number)


def as_number(value: object) -> float | None:
    """A finite number, also where it stands as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def excerpt(raw: bytes | msgspec.Raw) -> str:
    """The beginning of a JSON value, for messages."""
    text = bytes(raw)[:200].decode("utf-8", "replace")
    return text if len(text) <= 40 else text[:40] + "…"
