"""Decisions of reviewers as typed records: one line of JSON each, checked when read or created."""

import os
import re
import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import msgspec

from tevit.io import json as jsonfile
from tevit.io.files import FileKindError, atomic
from tevit.io.json import FrameNumber, Side, WholeNumber
from tevit.masks import rle
from tevit.results import RLE

Verdict = Literal["label is right", "label is wrong", "both wrong", "unclear"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
TrackRef = WholeNumber | str
"""A track of the labels: an annotation's id, or the id of the decision that created it (added it or split it off)."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)")


class Mask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One frame's mask: size [height, width] in pixels, counts as COCO's compressed text; checked by its action."""

    size: tuple[Side, Side]
    counts: str

    @property
    def rle(self) -> RLE:
        """The same as the library represents it."""
        return {"size": list(self.size), "counts": self.counts.encode()}


class _Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do"):
    pass


class Keep(_Action, frozen=True, tag="keep"):
    """Nothing changes: a verdict alone."""


class AcceptMasks(_Action, frozen=True, tag="accept masks"):
    """From frame `first` on, one mask a frame replaces the track's own; null: the object is not visible there."""

    track: TrackRef
    first: FrameNumber
    masks: tuple[Mask | None, ...]

    def __post_init__(self) -> None:
        _check_masks(self.masks)
        _check_frame(self.first)


class AddTrack(_Action, frozen=True, tag="add track"):
    """A new annotation, one mask or null for every frame of the video."""

    category_id: WholeNumber
    masks: tuple[Mask | None, ...]

    def __post_init__(self) -> None:
        _check_masks(self.masks)
        if not any(self.masks):
            raise ValueError("expected a mask in one frame at least, got none")


class DeleteTrack(_Action, frozen=True, tag="delete track"):
    """Remove the annotation."""

    track: TrackRef


class DeleteFrames(_Action, frozen=True, tag="delete frames"):
    """Remove the masks from frame `first` to `last`, both included."""

    track: TrackRef
    first: FrameNumber
    last: FrameNumber

    def __post_init__(self) -> None:
        _check_range(self.first, self.last)


class ChangeClass(_Action, frozen=True, tag="change class"):
    """Give the track another category."""

    track: TrackRef
    category_id: WholeNumber


Overlap = Literal["union", "track", "other"]
"""Which masks count in frames where both merged tracks have one: both united, those of `track`, or those of `other`."""


class MergeTracks(_Action, frozen=True, tag="merge tracks", omit_defaults=True):
    """`other` becomes part of `track`, which keeps its id and class.

    overlap: of frames where both have a mask. "union" is not written, so that earlier versions can read the log.
    """

    track: TrackRef
    other: TrackRef
    overlap: Overlap = "union"

    def __post_init__(self) -> None:
        _check_two(self.track, self.other)


class SplitTrack(_Action, frozen=True, tag="split track"):
    """Frames from `at` on become a new track, referenced by this decision's id."""

    track: TrackRef
    at: FrameNumber

    def __post_init__(self) -> None:
        if self.at < 1:
            raise ValueError(f"expected a frame from 1 on to split at, got {self.at}")


class SwapIdentities(_Action, frozen=True, tag="swap identities"):
    """Two tracks exchange their masks from frame `at` on."""

    track: TrackRef
    other: TrackRef
    at: FrameNumber

    def __post_init__(self) -> None:
        _check_two(self.track, self.other)
        _check_frame(self.at)


class ReplaceMask(_Action, frozen=True, tag="replace mask"):
    """A corrected mask for one frame."""

    track: TrackRef
    frame: FrameNumber
    mask: Mask

    def __post_init__(self) -> None:
        _check_masks((self.mask,))
        _check_frame(self.frame)


class MarkCrowd(_Action, frozen=True, tag="mark crowd"):
    """Mark the track as a crowd, which the metric ignores, or remove the mark."""

    track: TrackRef
    crowd: bool = True


class Undo(_Action, frozen=True, tag="undo"):
    """Cancel an earlier decision."""

    decision: str


class Redo(_Action, frozen=True, tag="redo"):
    """Restore an undone decision."""

    decision: str


class Resolve(_Action, frozen=True, tag="resolve"):
    """Of decisions that disagree one counts, the others do not; keep null: none does, the label stays as it was."""

    keep: str | None
    drop: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.drop or self.keep in self.drop:
            raise ValueError("expected decisions to drop, and none of them kept")


MaskAction = AcceptMasks | DeleteFrames | MergeTracks | SplitTrack | SwapIdentities | ReplaceMask
TrackAction = AddTrack | DeleteTrack | ChangeClass | MarkCrowd
LogAction = Undo | Redo | Resolve
"""Actions on decisions instead of labels."""
Action = Keep | MaskAction | TrackAction | LogAction
TRACK_CREATING = (AddTrack, SplitTrack)
"""Actions that create a track, which is then referenced by the decision's id."""


class PredictionRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One prediction of a results file. sha256: of the file's bytes. place: from 1."""

    file: str
    sha256: str
    place: WholeNumber

    def __post_init__(self) -> None:
        if not _HASH.fullmatch(self.sha256):
            raise ValueError(f"expected a SHA-256 as 64 hexadecimal digits, got {self.sha256[:70]!r}")
        if self.place < 1:
            raise ValueError(f"expected a prediction's place from 1 on, got {self.place}")


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One decision of one reviewer.

    id: unique in the log. dataset: `content_hash` of the labels that the reviewer saw. tracks, prediction: its subject.
    frames: first and last frame concerned, None for all. verdict: None for undo, redo and resolve only. time: ISO 8601,
    UTC. Raises: ValueError where the values contradict each other.
    """

    id: str
    dataset: str
    video_id: WholeNumber
    tracks: tuple[TrackRef, ...] = ()
    prediction: PredictionRef | None = None
    frames: tuple[FrameNumber, FrameNumber] | None = None
    verdict: Verdict | None = None
    action: Action = Keep()
    note: str = ""
    reviewer: str
    time: str

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"expected an id of up to 64 letters, digits, - and _, got {self.id[:70]!r}")
        if not _HASH.fullmatch(self.dataset):
            raise ValueError(f"expected dataset as a SHA-256, 64 hexadecimal digits, got {self.dataset[:70]!r}")
        if not self.reviewer.strip():
            raise ValueError("expected a reviewer's name, got none")
        if not _is_utc(self.time):
            raise ValueError(f"expected a time in ISO 8601 and UTC like 2026-01-31T12:00:00Z, got {self.time[:40]!r}")
        if self.frames is not None:
            _check_range(*self.frames)
        if isinstance(self.action, LogAction) != (self.verdict is None):
            expected = "no verdict" if isinstance(self.action, LogAction) else "a verdict"
            raise ValueError(f"expected {expected} with {name_of(self.action)!r}, got {self.verdict!r}")
        if self.verdict in ("label is right", "unclear") and not isinstance(self.action, Keep):
            raise ValueError(f"expected the action 'keep' where {self.verdict!r}, got {name_of(self.action)!r}")


def name_of(action: Action) -> str:
    """The action's name in the log, such as "delete track"."""
    return str(type(action).__struct_config__.tag)


def decide(
    dataset: str,
    video_id: int,
    verdict: Verdict | None,
    action: Action,
    reviewer: str,
    *,
    tracks: Sequence[TrackRef] = (),
    prediction: PredictionRef | None = None,
    frames: tuple[int, int] | None = None,
    note: str = "",
) -> Decision:
    """A decision with a new id and the current time."""
    return Decision(
        id=secrets.token_hex(8),
        dataset=dataset,
        video_id=video_id,
        tracks=tuple(tracks) or tracks_of(action),
        prediction=prediction,
        frames=frames,
        verdict=verdict,
        action=action,
        note=note,
        reviewer=reviewer,
        time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )


Subject = tuple[int, tuple[TrackRef, ...], str, int]
"""What a decision or a question is about: video, tracks; where no track is named, the prediction's file and place."""


def subject_of(decision: Decision) -> Subject:
    """The subject of a decision.

    What is done to a track that was created from a prediction has that prediction as its subject.
    """
    created = decision.prediction is not None and all(isinstance(ref, str) for ref in decision.tracks)
    if decision.prediction is None or not created:
        return decision.video_id, decision.tracks, "", 0
    return decision.video_id, (), decision.prediction.sha256, decision.prediction.place


def tracks_of(action: Action) -> tuple[TrackRef, ...]:
    """The tracks that an action names."""
    return tuple(ref for key in ("track", "other") if (ref := getattr(action, key, None)) is not None)


def to_mask(rle: RLE | None) -> Mask | None:
    """A mask of the library in the form of decisions."""
    if rle is None:
        return None
    height, width = rle["size"]
    return Mask((int(height), int(width)), rle["counts"].decode())


def to_line(decision: Decision) -> str:
    """One line of JSON without line break; equal decisions give equal text."""
    return msgspec.json.encode(decision).decode()


def from_line(line: bytes | str, where: str) -> Decision:
    """The decision of one line. Raises: ValueError, one sentence that begins with `where`."""
    return jsonfile.decode(line.encode() if isinstance(line, str) else line, Decision, where)


def read_log(path: str | os.PathLike) -> list[Decision]:
    """All decisions of a JSON lines file, in order; empty lines are skipped.

    Raises: OSError; ValueError with one sentence for each faulty line (the first ten of them).
    """
    return parse_log(Path(path).read_bytes(), str(path))


def parse_log(data: bytes, name: str) -> list[Decision]:
    """The same from bytes. name: of the file, for messages."""
    decisions: dict[str, Decision] = {}
    faults = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            decision = from_line(line, f"{name}, line {number}")
            if decision.id in decisions:
                raise ValueError(f"{name}, line {number}: there is a decision {decision.id} before")
            decisions[decision.id] = decision
        except ValueError as error:
            faults.append(str(error))
    if len(faults) > 1 and not decisions and jsonfile.fits(data, dict):
        raise FileKindError(f"{name} is one JSON object, expected a log of decisions, one object a line")
    if faults:
        more = [f"and {len(faults) - 10} more faulty lines"] if len(faults) > 10 else []
        raise ValueError("\n".join(faults[:10] + more))
    return list(decisions.values())


def write_log(path: str | os.PathLike, log: Iterable[Decision]) -> None:
    """Write JSON lines, whole or not at all."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(to_line(decision) + "\n" for decision in log)


# --- checks


def _is_utc(text: str) -> bool:
    if not _UTC.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:  # such as 30 February
        return False
    return True


def _check_masks(masks: Sequence[Mask | None]) -> None:
    if not masks:
        raise ValueError("expected masks for one frame at least, got none")
    present = [(frame, mask) for frame, mask in enumerate(masks) if mask is not None]
    checked = rle.check_texts([mask.counts for _, mask in present], [mask.size for _, mask in present])
    for i, fault in checked.faults.items():
        raise ValueError(f"mask {present[i][0] + 1} of {len(masks)}: {fault}")


def _check_frame(frame: int) -> None:
    if frame < 0:
        raise ValueError(f"expected a frame from 0 on, got {frame}")


def _check_range(first: int, last: int) -> None:
    if not 0 <= first <= last:
        raise ValueError(f"expected a first frame from 0 on and a last one not before it, got {first} to {last}")


def _check_two(track: TrackRef, other: TrackRef) -> None:
    if track == other:
        raise ValueError(f"expected two different tracks, got {track} twice")
