"""Corrected labels, a pure function of the original JSON and the log, and their differences from the original.

The original is never written. The report: corrected labels, changes as CSV and HTML, AP before and after.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from tevit.display import encode_jpeg, jpeg_uri, render
from tevit.evaluation.api import Evaluation, evaluate
from tevit.evaluation.report import FramePictures
from tevit.io.files import atomic, write_rows
from tevit.io.ytvis import FPS, Annotation, Dataset, Results, open_dataset, read_results
from tevit.masks import ops as masks
from tevit.results import Track, VideoResult
from tevit.review.decisions import (
    VERDICTS,
    AcceptMasks,
    AddTrack,
    ChangeClass,
    Decision,
    DeleteFrames,
    DeleteTrack,
    MarkCrowd,
    Mask,
    MergeTracks,
    ReplaceMask,
    SplitTrack,
    SwapIdentities,
    TrackRef,
    tracks_of,
)
from tevit.review.labels import Labels, NotApplicableError, Original, content_hash, to_json
from tevit.review.log import Disagreement, LogState, class_name, count_lines, lines_in_words, summary
from tevit.review.reviewers import agreements


@dataclass(frozen=True)
class Applicability:
    """Whether a decision can be applied. reason: why not, one sentence; "" where it can."""

    decision: Decision
    reason: str

    @property
    def applicable(self) -> bool:
        """Whether it can be applied."""
        return not self.reason

    def __str__(self) -> str:
        d = self.decision
        return f"decision {d.id} of {d.reviewer} (video {d.video_id}): {self.reason or 'fits'}"


@dataclass(frozen=True, eq=False)
class Corrected:
    """data: the corrected JSON; the very bytes of the original where nothing was applied. applied: decisions that
    were. left_out: those that are not applicable. disagreements: their decisions were left out, too. new_ids: id of a
    decision that creates a track -> the id that this track has, or would have. renumbered: the ids in `data` of
    annotations whose id was 0."""

    data: bytes
    applied: tuple[Decision, ...]
    left_out: tuple[Applicability, ...]
    disagreements: tuple[Disagreement, ...]
    new_ids: Mapping[str, int]
    renumbered: tuple[int, ...] = ()

    def not_applied(self) -> list[str]:
        """A sentence for each disagreement and each decision that was left out."""
        sentences = [f"Reviewers disagree, the label is as it was: {item}" for item in self.disagreements]
        return sentences + [f"Left out: {item}" for item in self.left_out]

    def notes(self) -> list[str]:
        """A sentence for each annotation 0, which got another id."""
        reason = "the official evaluation can never match the id 0"
        return [f"Annotation 0 became {number}: {reason}" for number in self.renumbered]


def apply(original: Original, log: Sequence[Decision], *, only_fitting: bool = False) -> dict[str, Any]:
    """The corrected labels as an object; the original object is not changed.

    Of decisions that disagree and are not resolved none is applied: there the label stays as it was. Keys and entries
    that no decision touches are the original's own.

    Raises: ValueError where the log is for other labels or some decision does not fit, unless `only_fitting`.
    """
    if isinstance(original, Mapping):
        outcome = _correct(original, log, only_fitting)
        return outcome.labels.finish() if outcome.labels.touched else dict(original)
    return msgspec.json.decode(correct(original, log, only_fitting=only_fitting).data)


def correct(original: bytes, log: Sequence[Decision], *, only_fitting: bool = False) -> Corrected:
    """The same on the file's bytes, with the decisions left out. Untouched annotations are copied as bytes.

    Raises: as `apply`.
    """
    outcome = _correct(original, log, only_fitting)
    data = original
    if outcome.labels.touched:  # written as the library writes data sets: one annotation a line
        chunks, before = [], b"{"
        for key, value in outcome.labels.finish().items():
            chunks.append(before + msgspec.json.encode(key) + b":")
            if key == "annotations":
                chunks += [b"[\n" if value else b"[", b",\n".join(map(msgspec.json.encode, value)), b"]"]
            else:
                chunks.append(msgspec.json.encode(value))
            before = b",\n"
        data = b"".join([*chunks, b"}\n"])
    left_out = tuple(item for item in outcome.checked if not item.applicable)
    labels = outcome.labels
    renumbered = tuple(number for place, number in labels.renumbered.items() if labels.entries[place] is not None)
    return Corrected(data, outcome.applied, left_out, outcome.state.disagreements, labels.new_ids, renumbered)


def check_applicable(log: Sequence[Decision], original: Original) -> list[Applicability]:
    """For every decision of the log whether it can be applied to these labels; and if not, why.

    A decision made for another version of the labels (see `other_versions`) is applicable if all it names is there.
    """
    return _apply_all(Labels(original, log), log).checked


def other_versions(log: Sequence[Decision], original: Original) -> dict[str, int]:
    """Hashes of other versions of the labels that decisions were made for -> number of decisions."""
    own, counts = content_hash(original) if log else "", {}
    for decision in log:
        if decision.dataset != own:
            counts[decision.dataset] = counts.get(decision.dataset, 0) + 1
    return counts


class _Outcome(NamedTuple):
    labels: Labels
    state: LogState
    checked: list[Applicability]
    applied: tuple[Decision, ...]


def _correct(original: Original, log: Sequence[Decision], only_fitting: bool) -> _Outcome:
    others = other_versions(log, original)
    outcome = _apply_all(Labels(original, log), log)
    bad = [item for item in outcome.checked if not item.applicable]
    if others and not only_fitting:
        raise ValueError(
            f"{sum(others.values())} of {len(log)} decisions were made for another version of the labels (content "
            f"{next(iter(others))[:12]}…, these are {content_hash(original)[:12]}…); {len(log) - len(bad)} of all "
            f"{len(log)} fit (`tevit review check` lists the others): ask for only those, or take the reviewed labels"
        )
    if bad and not only_fitting:
        raise ValueError(f"{len(bad)} of {len(log)} decisions do not fit the labels; the first: {bad[0]}")
    return outcome


def _apply_all(labels: Labels, log: Sequence[Decision]) -> _Outcome:
    """Apply the effective decisions in the log's order."""
    state = LogState(log)
    reasons = dict(state.faults)
    effective = {d.id for d in state.effective}
    applied = []
    for decision in log:
        if decision.id in effective:
            try:
                _apply_one(labels, decision)
                applied.append(decision)
            except NotApplicableError as error:
                reasons[decision.id] = str(error)
        elif decision.id not in reasons and decision.video_id not in labels.videos:
            reasons[decision.id] = f"there is no video {decision.video_id}"
    return _Outcome(labels, state, [Applicability(d, reasons.get(d.id, "")) for d in log], tuple(applied))


# --- edits: each checks everything before it changes anything. Raises: NotApplicableError


def _apply_one(labels: Labels, d: Decision) -> None:
    video = labels.video(d)
    if d.frames is not None:
        _check_frame(d.frames[1], video.length)
    match d.action:
        case AddTrack():
            _add(labels, d, d.action)
        case AcceptMasks(track, first, new):
            _accept(labels, d, track, first, new)
        case ReplaceMask(track, frame, mask):
            _accept(labels, d, track, frame, (mask,))
        case DeleteTrack(track):
            labels.delete(labels.find(d, track))
        case DeleteFrames(track, first, last):
            labels.masks(d, labels.find(d, track))
            _check_frame(last, video.length)
            _accept(labels, d, track, first, (None,) * (last + 1 - first))
        case ChangeClass(track, category):
            place = labels.find(d, track)
            _check_category(labels, category)
            labels.set(place, category_id=category)
        case MarkCrowd(track, crowd):
            labels.set(labels.find(d, track), iscrowd=int(crowd))
        case MergeTracks():
            _merge(labels, d, d.action)
        case SplitTrack(track, at):
            _split(labels, d, track, at)
        case SwapIdentities(track, other, at):
            _swap(labels, d, track, other, at)
        case _:
            for ref in d.tracks:
                labels.find(d, ref)


def _accept(labels: Labels, d: Decision, track: TrackRef, first: int, new: Sequence[Mask | None]) -> None:
    place = labels.find(d, track)
    stored, replacing = labels.masks(d, place), _stored_form(labels, d, new, first)
    labels.check(d, place)
    stored[first : first + len(replacing)] = replacing
    labels.set_masks(place, stored)


def _add(labels: Labels, d: Decision, action: AddTrack) -> None:
    video = labels.video(d)
    _check_category(labels, action.category_id)
    if len(action.masks) != video.length:
        raise NotApplicableError(
            f"the track has {len(action.masks)} masks, expected {video.length}, one a frame of its video"
        )
    entry = {
        "video_id": d.video_id,
        "category_id": action.category_id,
        "iscrowd": 0,
        "height": video.size_hw[0],
        "width": video.size_hw[1],
        "length": video.length,
    }
    labels.add(d, entry, _stored_form(labels, d, action.masks, 0))


def _merge(labels: Labels, d: Decision, action: MergeTracks) -> None:
    places = [labels.find(d, action.track), labels.find(d, action.other)]
    stored = [labels.masks(d, place) for place in places]
    tracks = [labels.read(d, own) for own in stored]
    merged = []
    for frame, (own, other) in enumerate(zip(*stored, strict=True)):
        seen = [track.areas[frame] > 0 for track in tracks]
        if all(seen) and action.overlap == "union":
            merged.append(to_json(masks.union([rle for track in tracks if (rle := track.rles[frame])])))
        elif all(seen):
            merged.append(other if action.overlap == "other" else own)
        else:
            merged.append(other if seen[1] or own is None else own)
    labels.set_masks(places[0], merged)
    labels.delete(places[1])


def _split(labels: Labels, d: Decision, track: TrackRef, at: int) -> None:
    place = labels.find(d, track)
    stored = labels.masks(d, place)
    _check_frame(at, len(stored))
    areas = labels.read(d, stored).areas
    if not areas[:at].any() or not areas[at:].any():
        raise NotApplicableError(f"track {track} has no mask on one side of frame {at}")
    empty = [None] * len(stored)
    entry = {key: value for key, value in labels.fields_of(place).items() if key != "id"}
    labels.set_masks(place, stored[:at] + empty[at:])
    labels.add(d, entry, empty[:at] + stored[at:])


def _swap(labels: Labels, d: Decision, track: TrackRef, other: TrackRef, at: int) -> None:
    places = labels.find(d, track), labels.find(d, other)
    one, two = (labels.masks(d, place) for place in places)
    _check_frame(at, len(one))
    for place in places:
        labels.check(d, place)
    labels.set_masks(places[0], one[:at] + two[at:])
    labels.set_masks(places[1], two[:at] + one[at:])


def _stored_form(labels: Labels, d: Decision, new: Sequence[Mask | None], first: int) -> list[dict | None]:
    """A decision's masks, for frames from `first` on, as labels store them."""
    size_hw, length = labels.video(d)
    _check_frame(first + len(new) - 1, length)
    other = next((mask.size for mask in new if mask is not None and mask.size != size_hw), None)
    if other is not None:
        raise NotApplicableError(f"its masks are of {other} pixels (height, width), the video is of {size_hw}")
    return [to_json(mask) for mask in new]


def _check_frame(frame: int, length: int) -> None:
    if frame >= length:
        raise NotApplicableError(f"frame {frame} is beyond the video's {length} frames")


def _check_category(labels: Labels, id: int) -> None:
    if id not in labels.categories:
        raise NotApplicableError(f"there is no category {id}")


# --- differences from the original


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
    original: Dataset,
    corrected: Dataset,
    applied: Sequence[Decision],
    new_ids: Mapping[str, int],
    renumbered: Sequence[int] = (),
) -> list[Change]:
    """Every track that differs, in the videos' order and then by id, which is the original's where a track has one.

    applied, new_ids, renumbered: as in `Corrected`.
    """
    decisions: dict[tuple[int, TrackRef], tuple[Decision, ...]] = {}
    for d in applied:
        refs = {new_ids.get(ref, ref) if isinstance(ref, str) else ref for ref in tracks_of(d.action)}
        for ref in refs | ({new_ids[d.id]} if d.id in new_ids else set()):
            decisions[d.video_id, ref] = (*decisions.get((d.video_id, ref), ()), d)
    changes = []
    for video in original.videos:
        old = {annotation.id: annotation for annotation in original.annotations_of(video)}
        new = {0 if a.id in renumbered else a.id: a for a in corrected.annotations_of(video)}
        ids = [id for id in sorted({*old, *new}) if _content(old.get(id)) != _content(new.get(id))]
        if ids:
            before = {track.id: track for track in original.video(video).tracks}
            after = {0 if track.id in renumbered else track.id: track for track in corrected.video(video).tracks}
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


# --- the report

FIGURES = ("AP", "AP50", "AP75", "AR1", "AR10")
_MAX_PICTURES = 400  # more make the page too large to open
_KINDS = {"changed": "tracks changed", "added": "tracks added", "deleted": "tracks deleted"}
_WIDTH = 320  # of a picture, pixels


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """One model's figures by the original and by the corrected labels, in [0, 1]; -1: no ground truth."""

    name: str
    before: Evaluation
    after: Evaluation

    def figures(self) -> Mapping[str, tuple[float, float]]:
        """Figure -> before and after."""
        return {name: (self.before.figures[name], self.after.figures[name]) for name in FIGURES}

    def classes(self) -> Mapping[str, tuple[float, float]]:
        """Class -> AP before and after, where that differs."""
        pairs = {
            self.after.names[id]: (self.before.per_class[id]["AP"], self.after.per_class[id]["AP"])
            for id in self.after.names
        }
        return {name: pair for name, pair in pairs.items() if abs(pair[0] - pair[1]) > 5e-7}

    def rows(self) -> list[tuple[str, float, float]]:
        """Figures and classes as rows of a table: name, before, after."""
        figures = {**self.figures(), **{f"AP of {name}": pair for name, pair in self.classes().items()}}
        return [(name, *pair) for name, pair in figures.items()]


@dataclass(frozen=True, eq=False)
class ReviewReport:
    """Files that were written, and their contents. missing: why pictures have no frame behind the mask."""

    corrected: Path
    table: Path
    page: Path
    changes: tuple[Change, ...]
    models: tuple[ModelComparison, ...]
    missing: tuple[str, ...]


def write_report(
    out: str | os.PathLike,
    gt: str | os.PathLike,
    log: Sequence[Decision],
    corrected: Corrected,
    *,
    frames: str | os.PathLike | None = None,
    predictions: Iterable[str | os.PathLike | Results] = (),
) -> ReviewReport:
    """Write corrected.json, changes.csv and report.html into `out`.

    corrected: the result of `correct` on `gt` and `log`. frames: root of the data's frames, for the pictures.
    predictions: results of models to be evaluated by both versions of the labels.

    Raises: OSError or ValueError where something cannot be read or written, or `gt` itself would be replaced.
    """
    folder, original = Path(out), open_dataset(gt)
    target, table, page = (folder / name for name in ("corrected.json", "changes.csv", "report.html"))
    write_corrected(target, corrected.data, (gt,))
    new = open_dataset(target)
    changes = find_changes(original, new, corrected.applied, corrected.new_ids, corrected.renumbered)
    with atomic(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, COLUMNS, table_rows(changes, new))
    opened = [own if isinstance(own, Results) else read_results(own) for own in predictions]
    models = [ModelComparison(own.path.name, evaluate(original, own), evaluate(new, own)) for own in opened]
    pictures = ChangePictures(new, frames)
    text = _page(Path(gt).name, new, log, corrected, changes, models, pictures)
    with atomic(page) as temporary:
        temporary.write_text(text, "utf-8")
    return ReviewReport(target, table, page, tuple(changes), tuple(models), tuple(pictures.missing))


def write_corrected(path: str | os.PathLike, data: bytes, sources: Iterable[str | os.PathLike]) -> None:
    """Write corrected labels. Raises: ValueError where that would replace one of the sources."""
    for source in sources:
        if os.path.exists(path) and os.path.samefile(path, source):
            raise ValueError(f"the corrected labels cannot take the place of {source} itself")
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def _page(
    name: str,
    dataset: Dataset,
    log: Sequence[Decision],
    corrected: Corrected,
    changes: Sequence[Change],
    models: Sequence[ModelComparison],
    pictures: "ChangePictures",
) -> str:
    state = LogState(log)
    counts = Counter(change.kind for change in changes)
    cards = [(title, str(counts[kind])) for kind, title in _KINDS.items()]
    for model in models[:3]:
        before, after = ("none" if ap < 0 else f"{100 * ap:.1f}" for ap in model.figures()["AP"])
        cards.append((f"AP of {model.name}", f"{before} → {after}"))
    shown = [_change_values(dataset, change, pictures) for change in changes[:_MAX_PICTURES]]
    footer = "The original file was not changed; corrected.json and changes.csv are beside this page."
    footer += "".join(f" {note}." for note in corrected.notes())
    if len(changes) > _MAX_PICTURES:
        footer += f" Pictures of the first {_MAX_PICTURES} of {len(changes)} changes; changes.csv has all."
    if pictures.missing:
        more = " …" if len(pictures.missing) > 3 else ""
        footer += f" Without frames, on grey: {'; '.join(pictures.missing[:3])}{more}."
    return render(
        "review.html",
        title=f"Review of {name}",
        subtitle=_subtitle(state, log, corrected),
        cards=cards,
        models=[{"name": model.name, "rows": model.rows()} for model in models],
        verdicts=VERDICTS,
        reviewers=state.verdict_counts,
        agreements=[str(agreement) for agreement in agreements(state)],
        not_applied=corrected.not_applied(),
        changes=shown,
        footer=footer,
    )


def _subtitle(state: LogState, log: Sequence[Decision], corrected: Corrected) -> str:
    text = f"{_plural(count_lines(state)['decisions'], 'decision')} on "
    text += f"{_plural(len({d.video_id for d in log}), 'video')}; the log has {lines_in_words(state)}"
    if corrected.left_out:
        text += f"; {_plural(len(corrected.left_out), 'decision')} left out that did not fit"
    if corrected.disagreements:
        text += f"; {_plural(len(corrected.disagreements), 'disagreement')} not resolved"
    return f"{text}."


def _change_values(dataset: Dataset, change: Change, pictures: "ChangePictures") -> dict[str, object]:
    """What the page shows of one change."""
    before, after = change.before, change.after
    names = [track and class_name(dataset.categories, track.category_id) for track in (before, after)]
    words = []
    if before is None or after is None:
        words.append(f"{names[0] or names[1]}, {_plural(len(change.frames), 'frame')}")
    else:
        if before.category_id != after.category_id:
            words.append(f"from {names[0]} to {names[1]}")
        if change.frames:
            words.append(f"masks of {_plural(len(change.frames), 'frame')}, IoU {change.iou:.2f}")
        if before.iscrowd != after.iscrowd:
            words.append("now a crowd" if after.iscrowd else "no crowd")
    sides = zip(("before", "after"), pictures.pair(change), names, strict=True)
    return {
        "title": f"Track {change.annotation_id} {change.kind}: {'; '.join(words)}",
        "place": f"{dataset.videos[change.video_id].name}, frame {change.frame}",
        "sides": [(side, uri, name or "no label") for side, uri, name in sides],
        "decisions": [
            f"{d.reviewer}: {summary(d, dataset.categories)}{f': {d.note}' if d.note else ''}" for d in change.decisions
        ],
    }


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


class ChangePictures:
    """Small pictures of changed tracks on a frame where there is one, else on grey. missing: why, a sentence each."""

    def __init__(self, dataset: Dataset, frames: str | os.PathLike | None):
        self._dataset, self._frames = dataset, FramePictures(dataset, frames)
        self.missing = self._frames.missing

    def pair(self, change: Change) -> tuple[str, str]:
        """The track before and after, as data URIs of JPEG."""
        import cv2  # late: a log without changes does not need it

        from tevit.video.overlay import overlay

        # Darker and without colours, so that the mask stands out.
        grey = cv2.cvtColor(self._frames.read(change.video_id, change.frame), cv2.COLOR_BGR2GRAY)
        picture = np.repeat((0.7 * grey).astype(np.uint8)[..., None], 3, axis=2)
        info = self._dataset.videos[change.video_id]
        times = np.arange(info.length) / FPS
        uris = []
        for track in (change.before, change.after):
            tracks = () if track is None else (track,)
            result = VideoResult(info.id, info.name, info.size_hw, times, self._dataset.categories, tracks)
            drawn = overlay(picture, result, change.frame, opacity=0.55, labels=False)
            uris.append(jpeg_uri(encode_jpeg(drawn[..., ::-1], width=_WIDTH)))
        return uris[0], uris[1]
