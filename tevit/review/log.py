"""Which decisions of a review log count: undo, redo and resolve applied, and where reviewers disagree."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import msgspec

from tevit.masks import ops as masks
from tevit.review.decisions import (
    AcceptMasks,
    AddTrack,
    ChangeClass,
    Decision,
    DeleteFrames,
    DeleteTrack,
    Keep,
    LogAction,
    MarkCrowd,
    MergeTracks,
    Redo,
    ReplaceMask,
    Resolve,
    SplitTrack,
    SwapIdentities,
    Undo,
    Verdict,
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
        sides = "; ".join(f"{d.reviewer} says {summary(d)!r} (decision {d.id})" for d in self.decisions)
        return f"video {self.video_id}: {sides}"


class _Claim(NamedTuple):
    """What a decision states about one object. aspect: "masks", "class" or "crowd", "" for all. first, last: frames."""

    decision: Decision
    aspect: str = ""
    first: int = 0
    last: int = _END


class LogState:
    """The state of a decision log. `add` brings it up to date at the cost of the new decisions. Not thread-safe.

    log: all decisions in order. undone, dropped: ids of decisions that were undone, or dropped by a resolve. faults:
    id -> why an undo, redo or resolve has no effect.
    """

    def __init__(self, log: Iterable[Decision] = ()):
        self.log: list[Decision] = []
        self.undone: set[str] = set()
        self.dropped: set[str] = set()
        self.faults: dict[str, str] = {}
        self._positions: dict[str, int] = {}  # id -> index in `log`
        self._counts: dict[str, Counter[Verdict]] = {}
        self._resolves: dict[str, Resolve] = {}  # without the faulty ones
        self._claims: dict[object, list[_Claim]] = defaultdict(list)  # by object
        self._opposed: dict[object, list[tuple[str, str]]] = {}  # by object: pairs of decisions that cannot both count
        self._stale: set[object] = set()  # objects whose pairs have to be computed again
        self.add(log)

    def add(self, new: Iterable[Decision]) -> None:
        """Append decisions to the log, in order."""
        for d in new:
            fault = None
            if isinstance(d.action, Undo | Redo):
                fault = self._switch(d.action)
            elif isinstance(d.action, Resolve):
                named = [id for id in (d.action.keep, *d.action.drop) if id is not None]
                fault = next(
                    (f"there is no decision {id} before it" for id in named if id not in self._positions), None
                )
                if fault is None:
                    self._resolves[d.id] = d.action
                    self._update_dropped()
            if fault is not None:
                self.faults[d.id] = fault
            self._positions[d.id] = len(self.log)
            self.log.append(d)
            counts = self._counts.setdefault(d.reviewer, Counter())
            if d.verdict is not None:
                counts[d.verdict] += 1
            for key, claim in _claims(d):
                self._claims[key].append(claim)
                self._stale.add(key)

    def _switch(self, action: Undo | Redo) -> str | None:
        """Apply an undo or redo; returns why it has no effect."""
        id, undo = action.decision, isinstance(action, Undo)
        if id not in self._positions:
            return f"there is no decision {id} before it"
        target = self.log[self._positions[id]]
        if isinstance(target.action, Undo | Redo):
            return f"decision {id} is itself an {name_of(target.action)}"
        if undo == (id in self.undone):
            return f"decision {id} is {'undone already' if undo else 'not undone'}"
        self.undone ^= {id}
        if target.verdict is not None:
            self._counts[target.reviewer][target.verdict] += -1 if undo else 1
        self._stale.update(key for key, _ in _claims(target))
        if id in self._resolves:
            self._update_dropped()
        return None

    def _update_dropped(self) -> None:
        dropped: set[str] = set()
        for id, resolve in self._resolves.items():
            if id not in self.undone:
                dropped.discard(resolve.keep or "")  # the last resolve that names a decision counts
                dropped.update(resolve.drop)
        for id in dropped ^ self.dropped:
            self._stale.update(key for key, _ in _claims(self.log[self._positions[id]]))
        self.dropped = dropped

    def _is_active(self, d: Decision) -> bool:
        return not isinstance(d.action, LogAction) and d.id not in self.undone and d.id not in self.dropped

    # --- results

    @property
    def disagreements(self) -> tuple[Disagreement, ...]:
        """Those that no resolve has ended, in the log's order: groups of decisions joined by pairs that are opposed."""
        for key in self._stale:
            active = [claim for claim in self._claims[key] if self._is_active(claim.decision)]
            self._opposed[key] = [(a.decision.id, b.decision.id) for a, b in _opposed_pairs(active)]
            if not self._opposed[key]:
                del self._opposed[key]
        self._stale.clear()
        joined: dict[str, set[str]] = defaultdict(set)
        for a, b in (pair for pairs in self._opposed.values() for pair in pairs):
            joined[a].add(b)
            joined[b].add(a)
        disagreements: list[Disagreement] = []
        done: set[str] = set()
        for id in sorted(joined, key=self._positions.__getitem__):
            if id not in done:
                group, new = set(), {id}
                while new:
                    group |= new
                    new = set().union(*(joined[x] for x in new)) - group
                done |= group
                decisions = tuple(self.log[place] for place in sorted(self._positions[x] for x in group))
                disagreements.append(Disagreement(decisions[0].video_id, decisions))
        return tuple(disagreements)

    @property
    def effective(self) -> tuple[Decision, ...]:
        """Decisions that count, in the log's order: active, not in a disagreement and not repeated."""
        return self._partition()[0]

    @property
    def repeated(self) -> tuple[Decision, ...]:
        """Decisions that do the same as another reviewer's earlier one, which alone is applied."""
        return self._partition()[1]

    def _partition(self) -> tuple[tuple[Decision, ...], tuple[Decision, ...]]:
        """effective, repeated."""
        held = {d.id for group in self.disagreements for d in group.decisions}
        first: dict[bytes, str] = {}  # content -> reviewer
        effective, repeated = [], []
        for d in self.log:
            if self._is_active(d) and d.id not in held:
                again = not isinstance(d.action, Keep) and first.setdefault(_content(d), d.reviewer) != d.reviewer
                (repeated if again else effective).append(d)
        return tuple(effective), tuple(repeated)

    @property
    def verdict_counts(self) -> Mapping[str, Counter[Verdict]]:
        """Reviewer -> verdict -> number of decisions that are not undone, reviewers by name."""
        return dict(sorted(self._counts.items()))

    def undoable(self, reviewer: str) -> Decision | None:
        """The decision that this reviewer's next undo cancels: their latest one that is not undone."""
        own = (d for d in reversed(self.log) if d.reviewer == reviewer and not isinstance(d.action, Undo | Redo))
        return next((d for d in own if d.id not in self.undone), None)

    def redoable(self, reviewer: str) -> Decision | None:
        """The decision that this reviewer's next redo restores: their latest undone one, if no new one followed."""
        for d in reversed(self.log):
            if d.reviewer == reviewer and not isinstance(d.action, Redo):
                if not isinstance(d.action, Undo):
                    return None
                if d.action.decision in self.undone:
                    return self.log[self._positions[d.action.decision]]
        return None


# --- opposed decisions


def _claims(d: Decision) -> Iterator[tuple[object, _Claim]]:
    """The objects that a decision is about, each with its claim: tracks of a video, or predictions of a file."""
    match d.action:
        case Keep():
            if d.verdict == "unclear":  # contradicts nothing
                return
            first, last = d.frames or (0, _END)
            keys: list[object] = [(d.video_id, ref) for ref in d.tracks]
            if not keys and d.prediction:
                keys = [(d.prediction.sha256, d.prediction.place)]
            yield from ((key, _Claim(d, "", first, last)) for key in keys)
        case AddTrack():
            yield ("added", d.video_id), _Claim(d, "added")
            if d.prediction:
                yield (d.prediction.sha256, d.prediction.place), _Claim(d)
        case AcceptMasks(track, first, new):
            yield (d.video_id, track), _Claim(d, "masks", first, first + len(new) - 1)
        case ReplaceMask(track, frame, _):
            yield (d.video_id, track), _Claim(d, "masks", frame, frame)
        case DeleteFrames(track, first, last):
            yield (d.video_id, track), _Claim(d, "masks", first, last)
        case SplitTrack(track, at):
            yield (d.video_id, track), _Claim(d, "masks", at)
        case SwapIdentities(track, other, at):
            yield from (((d.video_id, ref), _Claim(d, "masks", at)) for ref in (track, other))
        case MergeTracks(track, other, _):
            yield from (((d.video_id, track), _Claim(d, "masks")), ((d.video_id, other), _Claim(d)))
        case DeleteTrack(track):
            yield (d.video_id, track), _Claim(d)
        case ChangeClass(track, _):
            yield (d.video_id, track), _Claim(d, "class")
        case MarkCrowd(track, _):
            yield (d.video_id, track), _Claim(d, "crowd")


def _opposed_pairs(claims: Sequence[_Claim]) -> Iterator[tuple[_Claim, _Claim]]:
    """Pairs of claims about one object, in the log's order, that cannot both count."""
    if len({claim.decision.reviewer for claim in claims}) < 2:
        return
    latest = {claim.decision.reviewer: i for i, claim in enumerate(claims)}
    # A later decision of the same reviewer revokes an earlier "keep".
    claims = [
        claim
        for i, claim in enumerate(claims)
        if not isinstance(claim.decision.action, Keep) or latest[claim.decision.reviewer] == i
    ]
    yield from (pair for pair in combinations(claims, 2) if _contradict(*pair))


def _contradict(a: _Claim, b: _Claim) -> bool:
    one, two = a.decision, b.decision
    if one.reviewer == two.reviewer or a.first > b.last or b.first > a.last:
        return False
    if isinstance(one.action, AddTrack) and isinstance(two.action, AddTrack) and a.aspect == b.aspect == "added":
        if _content(one) == _content(two):
            return False
        tracks = ([mask and mask.rle for mask in action.masks] for action in (one.action, two.action))
        return masks.track_iou(*tracks) >= _SAME_OBJECT
    right = (one.verdict == "label is right", two.verdict == "label is right")
    if right[0] != right[1]:
        return True
    if isinstance(one.action, Keep) or isinstance(two.action, Keep):
        return False
    return (not a.aspect or not b.aspect or a.aspect == b.aspect) and _content(one) != _content(two)


def _content(d: Decision) -> bytes:
    """Equal for decisions that have the same effect."""
    action = d.action
    if isinstance(action, SwapIdentities) and str(action.track) > str(action.other):
        action = SwapIdentities(action.other, action.track, action.at)
    return msgspec.json.encode((d.video_id, action))


# --- what a log holds


def count_lines(state: LogState) -> dict[str, int]:
    """Number of lines, of decisions (lines with a verdict), of these undone, and of undo, redo and resolve lines."""
    decisions = [d for d in state.log if not isinstance(d.action, LogAction)]
    counts = {
        "lines": len(state.log),
        "decisions": len(decisions),
        "undone": sum(d.id in state.undone for d in decisions),
    }
    kinds = Counter(name_of(d.action) for d in state.log if isinstance(d.action, LogAction))
    return counts | {name: kinds[name] for name in ("undo", "redo", "resolve")}


def lines_in_words(state: LogState) -> str:
    """Such as "7 lines: 5 decisions (1 of them undone), 1 undo, 1 resolve"."""
    counts = count_lines(state)
    words = {name: f"{count} {name.removesuffix('s')}{'' if count == 1 else 's'}" for name, count in counts.items()}
    parts = [words["decisions"] + (f" ({counts['undone']} of them undone)" if counts["undone"] else "")]
    parts += [words[name] for name in ("undo", "redo", "resolve") if counts[name]]
    return f"{words['lines']}: {', '.join(parts)}"


# --- in words

_PHRASES: Mapping[type, str] = {
    AcceptMasks: "take other masks for track {track}, frames {first} to {last}",
    AddTrack: "add a track ({class})",
    DeleteTrack: "delete track {track}",
    DeleteFrames: "delete frames {first} to {last} of track {track}",
    ChangeClass: "change the class of track {track} to {class}",
    MergeTracks: "merge track {other} into track {track}{overlapping}",
    SplitTrack: "split track {track} at frame {at}",
    SwapIdentities: "swap tracks {track} and {other} from frame {at} on",
    ReplaceMask: "replace the mask of track {track} in frame {frame}",
    MarkCrowd: "mark track {track} as crowd: {crowd}",
    Undo: "undo decision {decision}",
    Redo: "redo decision {decision}",
    Resolve: "keep decision {keep}, drop {drop}",
}

_OVERLAPS: Mapping[str, str] = {
    "union": "",
    "track": ", with its masks where both have one",
    "other": ", with the masks of {other} where both have one",
}


def summary(decision: Decision, names: Mapping[int, str] | None = None) -> str:
    """A short description such as "label is wrong, delete track 5". names: of the categories, where they are known."""
    action = decision.action
    if isinstance(action, Keep):
        words = f"track {' and '.join(map(str, decision.tracks))}" if decision.tracks else ""
    else:
        values = {key: getattr(action, key) for key in action.__struct_fields__}
        values["class"] = class_name(names or {}, values.get("category_id", 0))
        values["last"] = values.get("last", values.get("first", 0) + len(values.get("masks", ())) - 1)
        values["overlapping"] = _OVERLAPS[values.get("overlap", "union")].format_map(values)
        values["drop"] = " and ".join(values.get("drop", ()))
        words = _PHRASES[type(action)].format_map(values)
    return ", ".join(part for part in (decision.verdict, words) if part)


def class_name(names: Mapping[int, str], id: int) -> str:
    """The name of a category as people read it."""
    return names.get(id, f"class {id}").replace("_", " ")
