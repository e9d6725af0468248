"""What a log has changed: the original labels and the corrected ones side by side, track by track."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tevit.io.ytvis import Annotation, Dataset
from tevit.masks import ops as masks
from tevit.results import Track
from tevit.review.decisions import Decision, TrackRef, tracks_of

COLUMNS = (
    *("video_id", "video", "annotation_id", "change", "class_before", "class_after", "crowd_before", "crowd_after"),
    *("frames_changed", "first_frame", "last_frame", "iou", "reviewers", "decisions", "notes"),
)


@dataclass(frozen=True, eq=False)
class Change:
    """One track that is not as it was.

    kind: "added", "deleted" or "changed". before, after: None where there is none. frames: those whose masks differ.
    iou: of the two tracks' masks, 1.0 where they are the same. decisions: what brought it about.
    """

    video_id: int
    annotation_id: int
    kind: str
    before: Track | None
    after: Track | None
    frames: tuple[int, ...]
    iou: float
    decisions: tuple[Decision, ...]

    @property
    def frame(self) -> int:
        """The one that shows it best: where most pixels differ, else where the object is largest."""
        tracks = [track for track in (self.before, self.after) if track is not None]
        areas = np.array([track.areas for track in tracks])
        if not self.frames:
            return int(areas.max(axis=0).argmax())
        differing = _differing(self.before, self.after)
        return int(differing.argmax())


def find_changes(
    original: Dataset, corrected: Dataset, applied: Sequence[Decision], made: Mapping[str, int]
) -> list[Change]:
    """Every track that differs, by the videos' order and then by id. made: as in `Corrected`."""
    why = _reasons(applied, made)
    found = []
    for video in original.videos:
        old = {annotation.id: annotation for annotation in original.annotations_of(video)}
        new = {annotation.id: annotation for annotation in corrected.annotations_of(video)}
        ids = [id for id in sorted({*old, *new}) if _differ(old.get(id), new.get(id))]
        if ids:
            before = {track.id: track for track in original.video(video).tracks}
            after = {track.id: track for track in corrected.video(video).tracks}
            found += [_change(video, id, before.get(id), after.get(id), why.get((video, id), ())) for id in ids]
    return found


def rows(changes: Iterable[Change], dataset: Dataset) -> Iterable[list[object]]:
    """The lines of a table with COLUMNS."""
    for c in changes:
        first, last = (c.frames[0], c.frames[-1]) if c.frames else ("", "")
        yield [
            *(c.video_id, dataset.videos[c.video_id].name, c.annotation_id, c.kind),
            *(class_name(dataset, c.before), class_name(dataset, c.after)),
            *("" if track is None else int(track.iscrowd) for track in (c.before, c.after)),
            *(len(c.frames), first, last, f"{c.iou:.4f}"),
            *(_joined(d.reviewer for d in c.decisions), _joined(d.id for d in c.decisions)),
            _joined(d.note for d in c.decisions),
        ]


def class_name(dataset: Dataset, track: Track | None) -> str:
    """The name of a track's class, "" for no track."""
    if track is None:
        return ""
    return dataset.categories.get(track.category_id, f"class {track.category_id}").replace("_", " ")


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _differ(a: Annotation | None, b: Annotation | None) -> bool:
    if a is None or b is None:
        return True
    same = (a.category_id, bool(a.iscrowd)) == (b.category_id, bool(b.iscrowd))
    return not same or bytes(a.segmentations) != bytes(b.segmentations)


def _change(video: int, id: int, before: Track | None, after: Track | None, why: tuple[Decision, ...]) -> Change:
    kind = "added" if before is None else "deleted" if after is None else "changed"
    frames = tuple(np.flatnonzero(_differing(before, after)).tolist())
    iou = 0.0
    if before is not None and after is not None:
        iou = masks.track_iou(before.rles, after.rles) if frames else 1.0
    return Change(video, id, kind, before, after, frames, iou, why)


def _differing(before: Track | None, after: Track | None) -> np.ndarray:
    """float64 (T,): pixels that are of one track only."""
    length = len((before or after).rles)  # type: ignore[union-attr]
    none = (None,) * length
    common, union = masks.overlaps([before.rles if before else none], [after.rles if after else none])
    return (union - common)[0, 0]


def _reasons(applied: Sequence[Decision], made: Mapping[str, int]) -> dict[tuple[int, TrackRef], tuple[Decision, ...]]:
    """Video and annotation id -> the decisions that named it, or made it."""
    found: dict[tuple[int, TrackRef], tuple[Decision, ...]] = {}
    for d in applied:
        refs = {made.get(ref, ref) if isinstance(ref, str) else ref for ref in tracks_of(d.action)}
        refs |= {made[d.id]} if d.id in made else set()
        for ref in refs:
            found[d.video_id, ref] = (*found.get((d.video_id, ref), ()), d)
    return found
