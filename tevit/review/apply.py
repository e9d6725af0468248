"""Corrected labels: a pure function of the original JSON and the log. The original is never written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tevit.masks import ops as masks
from tevit.review import decisions as do
from tevit.review.decisions import Decision, Mask
from tevit.review.labels import Fields, Labels, NotApplicableError, Original, content_hash, open_labels, to_json
from tevit.review.log import Disagreement, LogState


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
    were. left_out: those that do not fit. disagreements: whose decisions were left out, too. new_ids: id of a decision
    that adds a track or splits one off -> the id that this track has, or would have."""

    data: bytes
    applied: tuple[Decision, ...]
    left_out: tuple[Applicability, ...]
    disagreements: tuple[Disagreement, ...]
    new_ids: Mapping[str, int]


def apply(original: Original, log: Sequence[Decision], *, only_fitting: bool = False) -> dict[str, Any]:
    """The corrected labels as an object; the original object is not changed.

    Of decisions that disagree and are not resolved none is applied: there the label stays as it was. Keys and entries
    that no decision touches are the original's own.

    Raises: ValueError where the log is for other labels or some decision does not fit, unless `only_fitting`.
    """
    if isinstance(original, Mapping):
        labels, _ = _run(original, log, only_fitting)
        return labels.finish() if labels.touched else dict(original)
    return msgspec.json.decode(correct(original, log, only_fitting=only_fitting).data)


def correct(original: bytes, log: Sequence[Decision], *, only_fitting: bool = False) -> Corrected:
    """The same on the file's bytes, and what was left out. Annotations that no decision touches are copied as bytes.

    Raises: as `apply`.
    """
    labels, run = _run(original, log, only_fitting)
    data = b"".join(_chunks(labels.finish())) if labels.touched else original
    left_out = tuple(fit for fit in run.fits if not fit.applicable)
    return Corrected(data, run.applied, left_out, run.state.disagreements, labels.numbers)


def check_applicable(log: Sequence[Decision], original: Original) -> list[Applicability]:
    """For every decision of the log whether it fits these labels; and if not, why.

    That a decision was made for another version of the labels (`other_versions` says for which) is no reason yet: it
    fits where all that it names is there.
    """
    return _fits(open_labels(original, log), log).fits


def other_versions(log: Sequence[Decision], original: Original) -> dict[str, int]:
    """Hashes of the labels that decisions were made for, other than these labels' own -> how many decisions."""
    own, found = content_hash(original) if log else "", {}
    for decision in log:
        if decision.dataset != own:
            found[decision.dataset] = found.get(decision.dataset, 0) + 1
    return found


@dataclass(frozen=True)
class _Run:
    state: LogState
    fits: list[Applicability]
    applied: tuple[Decision, ...]


def _run(original: Original, log: Sequence[Decision], only_fitting: bool) -> tuple[Labels, _Run]:
    others = other_versions(log, original)
    labels = open_labels(original, log)
    run = _fits(labels, log)
    bad = [fit for fit in run.fits if not fit.applicable]
    if others and not only_fitting:
        raise ValueError(
            f"{sum(others.values())} of {len(log)} decisions were made for another version of the labels (content "
            f"{next(iter(others))[:12]}…, these are {content_hash(original)[:12]}…); {len(log) - len(bad)} of all "
            f"{len(log)} fit (`tevit review check` lists the others): ask for only those, or take the reviewed labels"
        )
    if bad and not only_fitting:
        raise ValueError(f"{len(bad)} of {len(log)} decisions do not fit the labels; the first: {bad[0]}")
    return labels, run


def _fits(labels: Labels, log: Sequence[Decision]) -> _Run:
    """Apply in the log's order all that counts, noting what does not fit."""
    state = LogState(log)
    reasons = dict(state.faults)
    counting = {d.id for d in state.effective}
    applied = []
    for decision in log:
        if decision.id in counting:
            try:
                _apply_one(labels, decision)
                applied.append(decision)
            except NotApplicableError as error:
                reasons[decision.id] = str(error)
        elif decision.id not in reasons and decision.video_id not in labels.videos:
            reasons[decision.id] = f"there is no video {decision.video_id}"
    return _Run(state, [Applicability(d, reasons.get(d.id, "")) for d in log], tuple(applied))


def _apply_one(labels: Labels, decision: Decision) -> None:
    facts = labels.video(decision)
    if decision.frames is not None and decision.frames[1] >= facts.length:
        raise NotApplicableError(f"frame {decision.frames[1]} is beyond the video's {facts.length} frames")
    edit = _EDITS.get(type(decision.action))
    if edit is not None:
        edit(labels, decision, decision.action)
        return
    for ref in decision.tracks:
        labels.find(decision, ref)


# --- the edits: each looks at all it needs before it changes anything


def _accept(labels: Labels, d: Decision, action: do.AcceptMasks) -> None:
    place = labels.find(d, action.track)
    found, new = labels.masks(d, place), _given(labels, d, action.masks, action.first)
    labels.check(d, place)
    found[action.first : action.first + len(new)] = new
    labels.set_masks(place, found)


def _replace(labels: Labels, d: Decision, action: do.ReplaceMask) -> None:
    _accept(labels, d, do.AcceptMasks(action.track, action.frame, (action.mask,)))


def _add(labels: Labels, d: Decision, action: do.AddTrack) -> None:
    facts = labels.video(d)
    _check_category(labels, action.category_id)
    if len(action.masks) != facts.length:
        raise NotApplicableError(
            f"the track has {len(action.masks)} masks, expected {facts.length}, one a frame of its video"
        )
    entry = {
        "video_id": d.video_id,
        "category_id": action.category_id,
        "iscrowd": 0,
        "height": facts.size_hw[0],
        "width": facts.size_hw[1],
        "length": facts.length,
    }
    labels.add(d, entry, _given(labels, d, action.masks, 0))


def _delete(labels: Labels, d: Decision, action: do.DeleteTrack) -> None:
    labels.delete(labels.find(d, action.track))


def _delete_frames(labels: Labels, d: Decision, action: do.DeleteFrames) -> None:
    place = labels.find(d, action.track)
    found = labels.masks(d, place)
    _check_last(action.last, len(found))
    labels.check(d, place)
    found[action.first : action.last + 1] = [None] * (action.last + 1 - action.first)
    labels.set_masks(place, found)


def _reclass(labels: Labels, d: Decision, action: do.ChangeClass) -> None:
    place = labels.find(d, action.track)
    _check_category(labels, action.category_id)
    labels.set(place, "category_id", action.category_id)


def _crowd(labels: Labels, d: Decision, action: do.MarkCrowd) -> None:
    labels.set(labels.find(d, action.track), "iscrowd", int(action.crowd))


def _merge(labels: Labels, d: Decision, action: do.MergeTracks) -> None:
    place, other = labels.find(d, action.track), labels.find(d, action.other)
    found = [labels.masks(d, place), labels.masks(d, other)]
    rles = [labels.rles(d, own).rles for own in found]
    merged = [
        to_json(masks.union([x, y])) if x and y else (b if a is None else a)
        for a, b, x, y in zip(*found, *rles, strict=True)
    ]
    labels.set_masks(place, merged)
    labels.delete(other)


def _split(labels: Labels, d: Decision, action: do.SplitTrack) -> None:
    place = labels.find(d, action.track)
    found = labels.masks(d, place)
    _check_last(action.at, len(found))
    areas = labels.rles(d, found).areas
    if not areas[: action.at].any() or not areas[action.at :].any():
        raise NotApplicableError(f"track {action.track} has no mask on one side of frame {action.at}")
    empty = [None] * len(found)
    entry = {key: value for key, value in labels.fields_of(place).items() if key != "id"}
    labels.set_masks(place, found[: action.at] + empty[action.at :])
    labels.add(d, entry, empty[: action.at] + found[action.at :])


def _swap(labels: Labels, d: Decision, action: do.SwapIdentities) -> None:
    place, other = labels.find(d, action.track), labels.find(d, action.other)
    one, two, at = labels.masks(d, place), labels.masks(d, other), action.at
    _check_last(at, len(one))
    labels.check(d, place)
    labels.check(d, other)
    labels.set_masks(place, one[:at] + two[at:])
    labels.set_masks(other, two[:at] + one[at:])


_EDITS: Mapping[type, Callable[[Labels, Decision, Any], None]] = {
    do.AcceptMasks: _accept,
    do.AddTrack: _add,
    do.DeleteTrack: _delete,
    do.DeleteFrames: _delete_frames,
    do.ChangeClass: _reclass,
    do.MergeTracks: _merge,
    do.SplitTrack: _split,
    do.SwapIdentities: _swap,
    do.ReplaceMask: _replace,
    do.MarkCrowd: _crowd,
}


def _given(labels: Labels, d: Decision, found: Sequence[Mask | None], first: int) -> list[dict | None]:
    """The decision's own masks. Raises: NotApplicableError where they are of another size or beyond the video's end."""
    facts = labels.video(d)
    _check_last(first + len(found) - 1, facts.length)
    other = next((mask.size for mask in found if mask is not None and mask.size != facts.size_hw), None)
    if other is not None:
        raise NotApplicableError(f"its masks are of {other} pixels (height, width), the video is of {facts.size_hw}")
    return [to_json(mask) for mask in found]


def _check_last(last: int, length: int) -> None:
    if last >= length:
        raise NotApplicableError(f"frame {last} is beyond the video's {length} frames")


def _check_category(labels: Labels, id: int) -> None:
    if id not in labels.categories:
        raise NotApplicableError(f"there is no category {id}")


def _chunks(content: Fields) -> list[bytes]:
    """The file as the library writes data sets: one annotation a line, untouched ones as they stood."""
    chunks, before = [], b"{"
    for key, value in content.items():
        chunks.append(before + msgspec.json.encode(key) + b":")
        if key == "annotations":
            chunks += [b"[\n" if value else b"[", b",\n".join(map(msgspec.json.encode, value)), b"]"]
        else:
            chunks.append(msgspec.json.encode(value))
        before = b",\n"
    return [*chunks, b"}\n"]
