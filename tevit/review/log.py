"""Which decisions of a log count: undo, redo and resolve done, and what reviewers disagree about."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import msgspec

from tevit.masks import ops as masks
from tevit.review.decisions import (
    ABOUT_DECISIONS,
    AcceptMasks,
    AddTrack,
    ChangeClass,
    Decision,
    DeleteFrames,
    DeleteTrack,
    Keep,
    MarkCrowd,
    MergeTracks,
    Redo,
    ReplaceMask,
    Resolve,
    SplitTrack,
    SwapIdentities,
    Undo,
    name_of,
)

_END = 1 << 62
_SAME_OBJECT = 0.5  # IoU from which two added tracks are one object


@dataclass(frozen=True)
class Disagreement:
    """Decisions of different reviewers on one object that cannot both count; none does until one is resolved."""

    video_id: int
    decisions: tuple[Decision, ...]

    def __str__(self) -> str:
        said = "; ".join(f"{d.reviewer} says {summary(d)!r} (decision {d.id})" for d in self.decisions)
        return f"video {self.video_id}: {said}"


@dataclass(frozen=True)
class Standing:
    """What a log comes to.

    effective: decisions that count, in the log's order. disagreements: among them, not resolved; their decisions
    are not in `effective`. repeated: those that say what another reviewer's earlier one says. undone, dropped: ids.
    faults: id -> why an undo, redo or resolve has nothing to work on.
    """

    effective: tuple[Decision, ...]
    disagreements: tuple[Disagreement, ...]
    repeated: tuple[Decision, ...]
    undone: frozenset[str]
    dropped: frozenset[str]
    faults: Mapping[str, str]


def standing(log: Sequence[Decision]) -> Standing:
    """Which decisions count. Takes time in proportion to the log."""
    undone, resolved, faults = _switches(log)
    dropped = frozenset(id for drop in resolved.values() for id in drop)
    active = [d for d in log if not isinstance(d.action, ABOUT_DECISIONS) and d.id not in undone | dropped]
    groups = _disagreements(active)
    held = {d.id for group in groups for d in group.decisions}
    repeated = _repeated([d for d in active if d.id not in held])
    left_out = held | {d.id for d in repeated}
    effective = tuple(d for d in active if d.id not in left_out)
    return Standing(effective, groups, repeated, frozenset(undone), dropped, faults)


def last_undoable(log: Sequence[Decision], reviewer: str) -> Decision | None:
    """What this reviewer's next undo takes back: the latest decision of theirs that is not undone."""
    undone, _, _ = _switches(log)
    own = (d for d in reversed(log) if d.reviewer == reviewer and not isinstance(d.action, Undo | Redo))
    return next((d for d in own if d.id not in undone), None)


def last_redoable(log: Sequence[Decision], reviewer: str) -> Decision | None:
    """What this reviewer's next redo brings back: what they undid last, if they decided nothing since."""
    undone, _, _ = _switches(log)
    by_id = {d.id: d for d in log}
    for d in reversed(log):
        if d.reviewer != reviewer or isinstance(d.action, Redo):
            continue
        if not isinstance(d.action, Undo):
            return None
        if d.action.decision in undone:
            return by_id[d.action.decision]
    return None


def tally(log: Sequence[Decision]) -> dict[str, Counter[str]]:
    """Reviewer -> verdict -> how many decisions that are not undone, reviewers by name."""
    undone, _, _ = _switches(log)
    found: dict[str, Counter[str]] = {reviewer: Counter() for reviewer in sorted({d.reviewer for d in log})}
    for d in log:
        if d.verdict is not None and d.id not in undone:
            found[d.reviewer][d.verdict] += 1
    return found


def summary(decision: Decision, names: Mapping[int, str] | None = None) -> str:
    """A few words: "label is wrong, delete track 5". names: of the categories, where they are known."""
    action = decision.action
    if isinstance(action, Keep):
        words = f"track {' and '.join(map(str, decision.tracks))}" if decision.tracks else ""
    else:
        values = {key: getattr(action, key) for key in action.__struct_fields__}
        category = values.get("category_id", 0)
        values["class"] = (names or {}).get(category, f"class {category}").replace("_", " ")
        values["last"] = values.get("last", values.get("first", 0) + len(values.get("masks", ())) - 1)
        values["drop"] = " and ".join(values.get("drop", ()))
        words = _PHRASES[type(action)].format_map(values)
    return ", ".join(part for part in (decision.verdict, words) if part)


_PHRASES: Mapping[type, str] = {
    AcceptMasks: "take other masks for track {track}, frames {first} to {last}",
    AddTrack: "add a track ({class})",
    DeleteTrack: "delete track {track}",
    DeleteFrames: "delete frames {first} to {last} of track {track}",
    ChangeClass: "change the class of track {track} to {class}",
    MergeTracks: "merge track {other} into track {track}",
    SplitTrack: "split track {track} at frame {at}",
    SwapIdentities: "swap tracks {track} and {other} from frame {at} on",
    ReplaceMask: "replace the mask of track {track} in frame {frame}",
    MarkCrowd: "mark track {track} as crowd: {crowd}",
    Undo: "undo decision {decision}",
    Redo: "redo decision {decision}",
    Resolve: "keep decision {keep}, drop {drop}",
}


def _switches(log: Sequence[Decision]) -> tuple[set[str], dict[str, tuple[str, ...]], dict[str, str]]:
    """What is undone; what each resolve that counts drops; and what could not be done."""
    undone: set[str] = set()
    seen: dict[str, Decision] = {}
    faults: dict[str, str] = {}
    for d in log:
        if isinstance(d.action, Undo | Redo):
            fault = _switch(d.action, seen, undone)
        elif isinstance(d.action, Resolve):
            named = [id for id in (d.action.keep, *d.action.drop) if id is not None]
            fault = next((f"there is no decision {id} before it" for id in named if id not in seen), None)
        else:
            fault = None
        if fault:
            faults[d.id] = fault
        seen[d.id] = d
    good = (d for d in log if d.id not in faults and d.id not in undone)
    return undone, _resolved(good), faults


def _switch(action: Undo | Redo, seen: Mapping[str, Decision], undone: set[str]) -> str | None:
    target = seen.get(action.decision)
    if target is None:
        return f"there is no decision {action.decision} before it"
    if isinstance(target.action, Undo | Redo):
        return f"decision {action.decision} is itself an {name_of(target.action)}"
    if isinstance(action, Undo) == (action.decision in undone):
        return f"decision {action.decision} is {'undone already' if isinstance(action, Undo) else 'not undone'}"
    undone.symmetric_difference_update({action.decision})
    return None


def _resolved(log: Iterable[Decision]) -> dict[str, tuple[str, ...]]:
    """Resolve -> what it drops. A later one that keeps what an earlier one drops has the last word."""
    found: dict[str, tuple[str, ...]] = {}
    for d in log:
        if isinstance(d.action, Resolve):
            kept = d.action.keep
            found = {id: tuple(x for x in drop if x != kept) for id, drop in found.items()}
            found[d.id] = d.action.drop
    return found


# --- who disagrees


class _Claim(NamedTuple):
    """What a decision says of one object. aspect: "" for all of it. frames: first and last."""

    decision: Decision
    aspect: str
    first: int
    last: int


def _disagreements(active: Sequence[Decision]) -> tuple[Disagreement, ...]:
    """Groups of decisions that are joined by disagreement, in the log's order."""
    claims: dict[object, list[_Claim]] = defaultdict(list)
    for d in active:
        for key, claim in _claims(d):
            claims[key].append(claim)
    joined: dict[str, set[str]] = defaultdict(set)
    pairs = [pair for own in claims.values() for pair in _opposed(own)] + list(_twice_added(active))
    for a, b in pairs:
        joined[a.id].add(b.id)
        joined[b.id].add(a.id)
    return tuple(_groups(active, joined))


def _claims(d: Decision) -> Iterable[tuple[object, _Claim]]:
    action = d.action
    if isinstance(action, Keep):
        if d.verdict == "unclear":  # says nothing against anybody
            return
        first, last = d.frames or (0, _END)
        keys: list[object] = [(d.video_id, ref) for ref in d.tracks]
        if not keys and d.prediction:
            keys = [(d.prediction.sha256, d.prediction.place)]
        for key in keys:
            yield key, _Claim(d, "", first, last)
    elif isinstance(action, AddTrack):
        if d.prediction:
            yield (d.prediction.sha256, d.prediction.place), _Claim(d, "", 0, _END)
    else:
        for ref, aspect, first, last in _touched(action):
            yield (d.video_id, ref), _Claim(d, aspect, first, last)


def _touched(action: object) -> Iterable[tuple[object, str, int, int]]:
    match action:
        case AcceptMasks(track, first, found):
            yield track, "masks", first, first + len(found) - 1
        case ReplaceMask(track, frame, _):
            yield track, "masks", frame, frame
        case DeleteFrames(track, first, last):
            yield track, "masks", first, last
        case SplitTrack(track, at):
            yield track, "masks", at, _END
        case SwapIdentities(track, other, at):
            yield from ((track, "masks", at, _END), (other, "masks", at, _END))
        case MergeTracks(track, other):
            yield from ((track, "masks", 0, _END), (other, "", 0, _END))
        case DeleteTrack(track):
            yield track, "", 0, _END
        case ChangeClass(track, _):
            yield track, "class", 0, _END
        case MarkCrowd(track, _):
            yield track, "crowd", 0, _END


def _opposed(claims: list[_Claim]) -> Iterable[tuple[Decision, Decision]]:
    if len({claim.decision.reviewer for claim in claims}) < 2:
        return
    latest = {claim.decision.reviewer: i for i, claim in enumerate(claims)}
    # Who looked again and then decided something else has taken the earlier "keep" back.
    claims = [
        claim
        for i, claim in enumerate(claims)
        if not isinstance(claim.decision.action, Keep) or latest[claim.decision.reviewer] == i
    ]
    yield from ((a.decision, b.decision) for a, b in combinations(claims, 2) if _contradict(a, b))


def _contradict(a: _Claim, b: _Claim) -> bool:
    one, two = a.decision, b.decision
    if one.reviewer == two.reviewer or a.first > b.last or b.first > a.last:
        return False
    right = (one.verdict == "label is right", two.verdict == "label is right")
    if right[0] != right[1]:
        return True
    if isinstance(one.action, Keep) or isinstance(two.action, Keep):
        return False
    return (not a.aspect or not b.aspect or a.aspect == b.aspect) and _content(one) != _content(two)


def _content(d: Decision) -> bytes:
    """The same for decisions that do the same."""
    action = d.action
    if isinstance(action, SwapIdentities) and str(action.track) > str(action.other):
        action = SwapIdentities(action.other, action.track, action.at)
    return msgspec.json.encode((d.video_id, action))


def _twice_added(active: Sequence[Decision]) -> Iterable[tuple[Decision, Decision]]:
    """Tracks that different reviewers added for what is one object."""
    added: dict[int, list[tuple[Decision, AddTrack]]] = defaultdict(list)
    for d in active:
        if isinstance(d.action, AddTrack):
            added[d.video_id].append((d, d.action))
    for own in added.values():
        for (a, first), (b, second) in combinations(own, 2):
            if a.reviewer != b.reviewer and _content(a) != _content(b) and _overlap(first, second) >= _SAME_OBJECT:
                yield a, b


def _overlap(a: AddTrack, b: AddTrack) -> float:
    return masks.track_iou([m and m.rle for m in a.masks], [m and m.rle for m in b.masks])


def _groups(active: Sequence[Decision], joined: Mapping[str, set[str]]) -> Iterable[Disagreement]:
    done: set[str] = set()
    for d in active:
        if d.id in joined and d.id not in done:
            group, new = set(), {d.id}
            while new:
                group |= new
                new = set().union(*(joined[id] for id in new)) - group
            done |= group
            yield Disagreement(d.video_id, tuple(x for x in active if x.id in group))


def _repeated(active: Sequence[Decision]) -> tuple[Decision, ...]:
    """Of several reviewers who do the same, the first does it."""
    first: dict[bytes, str] = {}
    found = []
    for d in active:
        if not isinstance(d.action, Keep) and first.setdefault(_content(d), d.reviewer) != d.reviewer:
            found.append(d)
    return tuple(found)
