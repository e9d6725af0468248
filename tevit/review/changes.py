"""Differences between the original labels and the corrected ones, track by track."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tevit.io.ytvis import Annotation, Dataset
from tevit.masks import ops as masks
from tevit.results import Track
from tevit.review.decisions import Decision, TrackRef, tracks_of
from tevit.review.log import class_name

COLUMNS = (
    *("video_id", "video", "annotation_id", "change", "class_before", "class_after", "crowd_before", "crowd_after"),
    *("frames_changed", "first_frame", "last_frame", "iou", "reviewers", "decisions", "notes"),
)


@dataclass(frozen=True, eq=False)
class Change:
    """One track that differs.

    kind: "added", "deleted" or "changed". before, after: None where there is none. frames: those whose masks differ.
    frame: the one where most pixels differ, or where the object is largest if no mask differs. iou: of the two tracks'
    masks, 1.0 where they are the same. decisions: those that named or created the track.
    """

    video_id: int
    annotation_id: int
    kind: str
    before: Track | None
    after: Track | None
    frames: tuple[int, ...]
    frame: int
    iou: float
    decisions: tuple[Decision, ...]


def find_changes(
    original: Dataset, corrected: Dataset, applied: Sequence[Decision], new_ids: Mapping[str, int]
) -> list[Change]:
    """Every track that differs, in the videos' order and then by id. applied, new_ids: as in `Corrected`."""
    decisions: dict[tuple[int, TrackRef], tuple[Decision, ...]] = {}
    for d in applied:
        refs = {new_ids.get(ref, ref) if isinstance(ref, str) else ref for ref in tracks_of(d.action)}
        for ref in refs | ({new_ids[d.id]} if d.id in new_ids else set()):
            decisions[d.video_id, ref] = (*decisions.get((d.video_id, ref), ()), d)
    changes = []
    for video in original.videos:
        old = {annotation.id: annotation for annotation in original.annotations_of(video)}
        new = {annotation.id: annotation for annotation in corrected.annotations_of(video)}
        ids = [id for id in sorted({*old, *new}) if _content(old.get(id)) != _content(new.get(id))]
        if ids:
            before = {track.id: track for track in original.video(video).tracks}
            after = {track.id: track for track in corrected.video(video).tracks}
            changes += [_change(video, id, before.get(id), after.get(id), decisions.get((video, id), ())) for id in ids]
    return changes


def _content(annotation: Annotation | None) -> tuple | None:
    """What a change of labels can alter."""
    if annotation is None:
        return None
    return annotation.category_id, bool(annotation.iscrowd), bytes(annotation.segmentations)


def _change(video: int, id: int, before: Track | None, after: Track | None, decisions: tuple[Decision, ...]) -> Change:
    tracks = [track for track in (before, after) if track is not None]
    none = (None,) * len(tracks[0].rles)
    common, union = masks.overlaps([before.rles if before else none], [after.rles if after else none])
    differing = (union - common)[0, 0]  # pixels per frame
    frames = np.flatnonzero(differing)
    shown = differing if len(frames) else np.array([track.areas for track in tracks]).max(axis=0)
    iou = 0.0
    if before is not None and after is not None:
        iou = masks.track_iou(before.rles, after.rles) if len(frames) else 1.0
    kind = "added" if before is None else "deleted" if after is None else "changed"
    return Change(video, id, kind, before, after, tuple(frames.tolist()), int(shown.argmax()), iou, decisions)


def table_rows(changes: Iterable[Change], dataset: Dataset) -> Iterable[list[object]]:
    """The rows of a table with COLUMNS."""

    def joined(texts: Iterable[str]) -> str:
        return "; ".join(dict.fromkeys(text for text in texts if text))

    for c in changes:
        sides = (c.before, c.after)
        first, last = (c.frames[0], c.frames[-1]) if c.frames else ("", "")
        yield [
            *(c.video_id, dataset.videos[c.video_id].name, c.annotation_id, c.kind),
            *(
                "" if track is None else class_name(dataset.categories, track.category_id)
                for track in (c.before, c.after)
            ),
            *("" if track is None else int(track.iscrowd) for track in sides),
            *(len(c.frames), first, last, f"{c.iou:.4f}"),
            *(joined(d.reviewer for d in c.decisions), joined(d.id for d in c.decisions)),
            joined(d.note for d in c.decisions),
        ]
