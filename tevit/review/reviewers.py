"""Several reviewers: who may decide, which questions each of them gets, and how far two of them agree."""

import hashlib
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np

from tevit.io.ytvis import Dataset
from tevit.masks import ops as masks
from tevit.review.decisions import (
    AcceptMasks,
    AddTrack,
    Decision,
    DeleteFrames,
    Mask,
    Redo,
    ReplaceMask,
    Resolve,
    Subject,
    Undo,
    Verdict,
    name_of,
    subject_of,
)
from tevit.review.log import Disagreement, LogState, summary
from tevit.review.queue import Answer, ReviewItem

MAX_NAME = 60  # characters
MAX_CLOCK_DIFFERENCE = timedelta(minutes=5)  # between the machine of an imported log and this one


@dataclass(frozen=True)
class Team:
    """The people of a review. names: who may decide; empty: everybody. per_question: how many of them get each
    question, independently of each other; 0: all get all questions."""

    names: tuple[str, ...] = ()
    per_question: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.per_question <= 2:
            raise ValueError(f"expected 1 or 2 reviewers for each question, got {self.per_question}")
        if len(self.names) < self.per_question:
            raise ValueError(f"expected {self.per_question} reviewers at least, got {len(self.names)}")

    def check(self, name: str) -> None:
        """Raises: ValueError where this person may not decide."""
        if not name:
            raise ValueError("Enter your name first: every decision carries its reviewer's name.")
        if self.names and name not in self.names:
            raise ValueError(f"{name!r} is not among the reviewers here: {', '.join(self.names)}. Nothing was saved.")

    def assigned(self, subject: Subject) -> tuple[str, ...]:
        """Who gets a question.

        By a hash of question and name: the same on every machine, in whatever order the names are, and a new name
        takes over only its own part.
        """
        return _assigned(self.names, self.per_question, subject) if self.per_question else self.names

    def hidden(self, decisions: Mapping[Subject, Sequence[Decision]], reviewer: str) -> frozenset[str]:
        """Ids of others' decisions that this reviewer must not see yet: on shared questions that they have not decided.

        decisions: those that are not undone, by subject.
        """
        if self.per_question < 2:
            return frozenset()
        return frozenset(
            decision.id
            for subject, own in decisions.items()
            if all(decision.reviewer != reviewer for decision in own) and reviewer in self.assigned(subject)
            for decision in own
        )


@lru_cache(1 << 16)
def _assigned(names: tuple[str, ...], count: int, subject: Subject) -> tuple[str, ...]:
    text = ":".join(map(str, subject))

    def rank(name: str) -> bytes:
        return hashlib.sha256(f"{text}\n{name}".encode()).digest()

    return tuple(sorted(names, key=rank)[:count])


def read_reviewers(path: str | os.PathLike) -> tuple[str, ...]:
    """Names of a text file, one a line; empty lines and those that begin with # are skipped.

    Raises: OSError; ValueError for a name that is too long or stands there twice, and for a file without names.
    """
    lines = Path(path).read_text("utf-8-sig").splitlines()
    names = [name for line in lines if (name := line.strip()) and not name.startswith("#")]
    if not names:
        raise ValueError(f"{path}: expected reviewers' names, one a line, got none")
    for name, count in Counter(names).items():
        if len(name) > MAX_NAME or not name.isprintable():
            raise ValueError(f"{path}: expected a name of at most {MAX_NAME} printable characters, got {name[:80]!r}")
        if count > 1:
            raise ValueError(f"{path}: {name!r} stands there {count} times, expected every name once")
    return tuple(names)


# --- agreement


@dataclass(frozen=True)
class Agreement:
    """How far two reviewers agree. questions: that both have decided. same: with the same verdict. kappa: Cohen's, of
    the verdicts, in [-1, 1], NaN where it is not defined. tracks: of which both have set masks. iou: mean IoU of these
    over the frames that both have set, NaN without any."""

    reviewers: tuple[str, str]
    questions: int
    same: int
    kappa: float
    tracks: int
    iou: float

    def __str__(self) -> str:
        one, two = self.reviewers
        kappa = "not defined" if math.isnan(self.kappa) else f"{self.kappa:.2f}"
        words = f"{one} and {two}: the same verdict on {self.same} of {self.questions} questions, Cohen's kappa {kappa}"
        return words + (
            f", mean IoU of the masks of {self.tracks} {'track' if self.tracks == 1 else 'tracks'} {self.iou:.2f}"
            if self.tracks
            else ""
        )


def cohen_kappa(pairs: Sequence[tuple[object, object]]) -> float:
    """Agreement of two raters beyond chance, from what they said of each thing; NaN where both always say the same.

    Source: J. Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement, 1960.
    """
    if not pairs:
        return math.nan
    one, two = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    observed = sum(a == b for a, b in pairs) / len(pairs)
    chance = sum(count * two[value] for value, count in one.items()) / len(pairs) ** 2
    return (observed - chance) / (1 - chance) if chance < 1 else math.nan


def agreements(state: LogState) -> list[Agreement]:
    """Every two reviewers who have decided a common question, by name. Undone decisions do not count, dropped ones do:
    each reviewer's latest verdict on a question, whatever was resolved afterwards."""
    verdicts: dict[str, dict[Subject, Verdict]] = defaultdict(dict)
    decisions = [d for d in state.log if d.verdict is not None and d.id not in state.undone]
    for d in decisions:
        if d.verdict is not None:
            verdicts[d.reviewer][subject_of(d)] = d.verdict
    counts = Counter(subject for own in verdicts.values() for subject in own)
    tracks = _tracks_set(d for d in decisions if counts[subject_of(d)] > 1)
    rows = []
    for one, two in combinations(sorted(verdicts), 2):
        pairs = [(verdict, verdicts[two][key]) for key, verdict in verdicts[one].items() if key in verdicts[two]]
        if pairs:
            both = [(own, tracks[two][key]) for key, own in tracks[one].items() if key in tracks[two]]
            ious = [iou for own, other in both if (iou := _common_iou(own, other)) >= 0]
            same, iou = sum(a == b for a, b in pairs), float(np.mean(ious)) if ious else math.nan
            rows.append(Agreement((one, two), len(pairs), same, cohen_kappa(pairs), len(ious), iou))
    return rows


def mask_agreement(disagreement: Disagreement) -> tuple[float, list[int]] | None:
    """Mean IoU of two reviewers' masks of one track over the frames that both have set, and these frames; None where
    no two have set masks in a common frame."""
    tracks = _tracks_set(disagreement.decisions)
    ious: dict[int, list[float]] = defaultdict(list)
    for one, two in combinations(tracks.values(), 2):
        for key in one.keys() & two.keys():
            for frame in one[key].keys() & two[key].keys():
                ious[frame].append(_iou((one[key][frame],), (two[key][frame],)))
    return (float(np.mean([iou for values in ious.values() for iou in values])), sorted(ious)) if ious else None


_Frames = dict[int, Mask | None]


def _tracks_set(decisions: Iterable[Decision]) -> Mapping[str, Mapping[object, _Frames]]:
    """Reviewer -> track, or the prediction that became one -> the masks that the reviewer has set."""
    tracks: dict[str, dict[object, _Frames]] = defaultdict(lambda: defaultdict(dict))
    added: dict[str, object] = {}  # id of a decision that adds a prediction -> the prediction
    for d in decisions:
        if isinstance(d.action, AddTrack):
            added[d.id] = subject_of(d)
        for ref, frame, new in _masks_set(d):
            tracks[d.reviewer][d.video_id, added.get(str(ref), ref)][frame] = new
    return tracks


def _masks_set(d: Decision) -> Iterable[tuple[object, int, Mask | None]]:
    """Track, frame and mask of every mask that a decision sets; None: the object is not visible there."""
    match d.action:
        case AddTrack(_, new):
            yield from ((d.id, frame, mask) for frame, mask in enumerate(new))
        case AcceptMasks(track, first, new):
            yield from ((track, frame, mask) for frame, mask in enumerate(new, first))
        case ReplaceMask(track, frame, mask):
            yield track, frame, mask
        case DeleteFrames(track, first, last):
            yield from ((track, frame, None) for frame in range(first, last + 1))


def _common_iou(one: _Frames, two: _Frames) -> float:
    """IoU over the frames that both have set, 1 where all are without mask in both; -1 without such frames."""
    frames = [frame for frame in one if frame in two]
    return _iou(tuple(one[frame] for frame in frames), tuple(two[frame] for frame in frames)) if frames else -1.0


@lru_cache(1 << 12)  # a studio computes it again after every decision
def _iou(one: tuple[Mask | None, ...], two: tuple[Mask | None, ...]) -> float:
    common, union = masks.overlaps([[m and m.rle for m in one]], [[m and m.rle for m in two]])
    return float(common.sum() / union.sum()) if union.any() else 1.0


# --- disagreements as questions


def disagreement_item(disagreement: Disagreement, dataset: Dataset, place: int | None = None) -> ReviewItem:
    """The question which of the decisions counts. place: of the prediction that they are about, where no label is."""
    labels = tuple(dict.fromkeys(ref for d in disagreement.decisions for ref in d.tracks if isinstance(ref, int)))
    names = ", ".join(dict.fromkeys(d.reviewer for d in disagreement.decisions))
    subject = f"label {' and '.join(map(str, labels))}" if labels else "a prediction"
    frame = next((frames[0] for d in disagreement.decisions if (frames := _frames(d))), None)
    if frame is None:
        track = next((t for t in dataset.video(disagreement.video_id).tracks if t.id in labels), None)
        frame = int(track.areas.argmax()) if track is not None else 0
    question = f"{names} disagree about {subject}: which decision counts?"
    if (agreement := mask_agreement(disagreement)) is not None:
        iou, both = agreement
        frames = f"the {len(both)} frames" if len(both) > 1 else "the one frame"
        question += f" In {frames} that both have set, their masks have a mean IoU of {iou:.2f}."
    return ReviewItem(disagreement.video_id, "disagreement", 1.0, frame, labels, None if labels else place, question)


def _frames(d: Decision) -> list[int]:
    """The frames whose masks a decision sets, or at which it begins."""
    at = getattr(d.action, "at", None)
    new_masks = list(_masks_set(d))
    visible = [frame for _, frame, new in new_masks if new is not None]
    return [at] if at is not None else visible or [frame for _, frame, _ in new_masks]


def resolving_answers(disagreement: Disagreement, item: ReviewItem, names: Mapping[int, str]) -> tuple[Answer, ...]:
    """One answer for each reviewer's decisions, and one for none of them. names: of the categories."""
    sides: dict[str, list[Decision]] = defaultdict(list)
    for d in disagreement.decisions:
        sides[d.reviewer].append(d)
    answers = [
        Answer(
            f"{name}: {'; '.join(summary(d, names) for d in own)}", item, None, resolve(disagreement, own[-1].id), None
        )
        for name, own in sides.items()
    ]
    return (*answers, Answer("None of them: the label stays as it was", item, None, resolve(disagreement, None), None))


def resolve(disagreement: Disagreement, keep: str | None) -> Resolve:
    """Ends a disagreement: the decision `keep` and others of its reviewer count, all others do not; None: none does."""
    reviewer = next((d.reviewer for d in disagreement.decisions if d.id == keep), None)
    return Resolve(keep, tuple(d.id for d in disagreement.decisions if d.reviewer != reviewer))


def find_foreign(log: Iterable[Decision], new: Iterable[Decision], reviewer: str) -> str:
    """The first of the new decisions that this reviewer alone may not append to the log, as a sentence; "" for none.

    Those are decisions of others, an undo or redo of others' decisions, a resolve of what is no disagreement where it
    stands, and a time in the future.
    """
    state = LogState(log)
    reviewers = {d.id: d.reviewer for d in state.log}
    latest = datetime.now(UTC) + MAX_CLOCK_DIFFERENCE
    for d in new:
        fault = ""
        if d.reviewer != reviewer:
            fault = f"is of {d.reviewer}, not of {reviewer}"
        elif isinstance(d.action, Undo | Redo) and (target := reviewers.get(d.action.decision, reviewer)) != reviewer:
            fault = f"would {name_of(d.action)} decision {d.action.decision} of {target}"
        elif isinstance(d.action, Resolve) and not _ends_disagreement(state, d.action, reviewers, reviewer):
            fault = f"resolves no disagreement (it drops {', '.join(d.action.drop[:3])})"
        elif datetime.fromisoformat(d.time) > latest:
            fault = f"has the time {d.time}, which is in the future"
        if fault:
            return f"Decision {d.id} {fault}."
        state.add((d,))
        reviewers[d.id] = d.reviewer
    return ""


def _ends_disagreement(state: LogState, action: Resolve, reviewers: Mapping[str, str], reviewer: str) -> bool:
    """Whether all that is dropped is in one disagreement, and what is kept is, too, or a decision of this reviewer."""
    kept_id = set() if action.keep is None or reviewers.get(action.keep) == reviewer else {action.keep}
    return any(
        {*action.drop} | kept_id <= {d.id for d in disagreement.decisions} for disagreement in state.disagreements
    )
