"""Which rows are shown: a filter is a value that every plot, chip and search box makes a new one of."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from app.analysis.comparison import LENSES, OUTCOME_WORDS, OUTCOMES, Comparison, TrackTable
from tevit.evaluation.error_table import ALL_TYPES

Range = tuple[float, float]


@dataclass(frozen=True)
class Filter:
    """Everything that is named must hold; a filter of nothing shows all errors.

    model: a model's name. types: any of these, others than errors too. lens: of LENSES. flags: "switch", "fragment".
    category: position of a class that is the truth's or the prediction's. classes: positions of the truth's and the
    prediction's class, -1 for nothing: the rows that the confusion matrix counts. scores, ious, lengths: both ends
    belong to them; what has no score is in no range of scores. video: its id. outcome: "fixed", "broken",
    "both wrong", "both right". text: all its words are somewhere in video, type or classes.
    """

    model: str | None = None
    types: tuple[str, ...] = ()
    lens: str | None = None
    flags: tuple[str, ...] = ()
    category: int | None = None
    classes: tuple[int, int] | None = None
    scores: Range | None = None
    ious: Range | None = None
    lengths: Range | None = None
    video: int | None = None
    outcome: str | None = None
    text: str = ""


NONE = Filter()


@dataclass(frozen=True)
class Chip:
    """One part of a filter that can be removed. id: for `without`. words: what it shows."""

    id: str
    words: str


@dataclass(frozen=True, eq=False)
class Selection:
    """rows: int64 (n,), of the table, highest ΔAP first: the list. pool: bool (N,), what the plots show: the same
    and, unless types are named, what is right, too. every: how many errors there are without a filter. share: of the AP
    lost, what the rows stand for; of several models together."""

    filter: Filter
    rows: np.ndarray
    pool: np.ndarray
    every: int
    share: float


def select(comparison: Comparison, chosen: Filter = NONE) -> Selection:
    """The rows that a filter shows. Raises: ValueError for a model or a video that is not there."""
    t = comparison.table
    pool = _pool(comparison, t, chosen)
    narrow = chosen.types or chosen.classes is not None or chosen.lens is not None or chosen.flags
    shown = pool if narrow else pool & t.error
    rows = t.order[shown[t.order]]
    return Selection(chosen, rows, pool, int(t.error.sum()), float(t.share[rows].sum()))


def _pool(comparison: Comparison, t: TrackTable, f: Filter) -> np.ndarray:
    keep = ~t.is_type("ignored") if "ignored" not in f.types else np.ones(len(t.model), bool)
    if f.model is not None:
        keep &= t.model == _model(comparison, f.model)
    if f.types:
        keep &= t.is_type(*f.types)
    if f.lens is not None:
        keep &= t.seen_through(f.lens)
    for flag in f.flags:
        keep &= t.switch if flag == "switch" else t.broken
    if f.category is not None:
        keep &= (t.truth_class == f.category) | (t.predicted_class == f.category)
    if f.classes is not None:
        keep &= t.confused & (t.truth_class == f.classes[0]) & (t.predicted_class == f.classes[1])
    for values, limits in ((t.score, f.scores), (t.iou, f.ious), (t.length, f.lengths)):
        if limits is not None:
            keep &= (values >= limits[0]) & (values <= limits[1])
    if f.video is not None:
        keep &= t.video == _video(comparison, f.video)
    if f.outcome is not None:
        keep &= t.outcome == OUTCOMES.index(f.outcome)
    for word in f.text.casefold().split():
        keep &= np.fromiter((word in words for words in t.words), bool, len(t.words))
    return keep


def _model(comparison: Comparison, name: str) -> int:
    names = [model.name for model in comparison.models]
    if name not in names:
        raise ValueError(f"filter: expected one of the models {', '.join(names)}, got {name[:80]!r}")
    return names.index(name)


def _video(comparison: Comparison, id: int) -> int:
    place = comparison.video_places.get(id)
    if place is None:
        raise ValueError(f"filter: there is no video {id}")
    return place


# --- chips


def chips(comparison: Comparison, chosen: Filter) -> list[Chip]:
    """The parts of a filter in words, in a fixed order."""
    f, found = chosen, []
    if f.model is not None:
        found.append(Chip("model", f.model))
    found += [Chip(f"types:{type}", type) for type in f.types]
    if f.lens is not None:
        found.append(Chip("lens", {"masks": "masks and misses"}.get(f.lens, f.lens)))
    found += [Chip(f"flags:{flag}", {"switch": "identity switch"}.get(flag, flag)) for flag in f.flags]
    if f.category is not None:
        found.append(Chip("category", f"class {comparison.class_name(f.category)}"))
    if f.classes is not None:
        truth, prediction = map(comparison.class_name, f.classes)
        found.append(Chip("classes", f"{truth} taken for {prediction}" if truth != prediction else f"{truth}, right"))
    ranges = {"scores": ("score", f.scores), "ious": ("IoU", f.ious), "lengths": ("frames", f.lengths)}
    found += [Chip(id, _range(what, limits)) for id, (what, limits) in ranges.items() if limits is not None]
    if f.video is not None:
        found.append(Chip("video", f"video {_video_name(comparison, f.video)}"))
    if f.outcome is not None:
        found.append(Chip("outcome", OUTCOME_WORDS[f.outcome]))
    return [*found, Chip("text", f"“{f.text.strip()}”")] if f.text.strip() else found


def _range(what: str, limits: Range) -> str:
    low, high = limits
    if math.isinf(high):
        return f"{what} ≥ {low:.4g}"
    return f"{what} ≤ {high:.4g}" if math.isinf(low) else f"{what} {low:.4g} to {high:.4g}"


def _video_name(comparison: Comparison, id: int) -> str:
    return comparison.overlaps.inputs.videos[_video(comparison, id)].name


def without(chosen: Filter, chip: str) -> Filter:
    """The filter without one of its chips; unchanged where it has no such chip."""
    name, _, part = chip.partition(":")
    if name not in {field.name for field in fields(Filter)}:
        return chosen
    value = getattr(chosen, name)
    if isinstance(value, tuple) and name in ("types", "flags"):
        return replace(chosen, **{name: tuple(item for item in value if item != part)})
    return replace(chosen, **{name: getattr(NONE, name)})


# --- what the browser says


def as_json(chosen: Filter) -> dict[str, Any]:
    """Only what is named; open ends of ranges are null."""
    said = {field.name: getattr(chosen, field.name) for field in fields(Filter)}
    named = {name: value for name, value in said.items() if value != getattr(NONE, name)}
    return {name: _plain(value) for name, value in named.items()}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [None if isinstance(item, float) and math.isinf(item) else item for item in value]
    return value


def from_json(said: object) -> Filter:
    """A filter that somebody sent. Raises: ValueError for what is none."""
    if not isinstance(said, Mapping):
        raise ValueError(f"filter: expected an object, got {str(said)[:40]!r}")
    strange = [str(name)[:40] for name in said if name not in _READ]
    if strange:
        raise ValueError(f"filter: expected some of {', '.join(_READ)}, got {strange[0]!r}")
    return Filter(**{name: _READ[name](value, name) for name, value in said.items() if value is not None})


def merged(chosen: Filter, said: object) -> Filter:
    """What a click or a brush adds: the parts that it names take the place of the filter's, and a part that is there
    already goes, so that a second click undoes the first. Raises: ValueError."""
    added = from_json(said)
    names = [field.name for field in fields(Filter) if getattr(added, field.name) != getattr(NONE, field.name)]
    if names and all(getattr(added, name) == getattr(chosen, name) for name in names):
        return replace(chosen, **{name: getattr(NONE, name) for name in names})
    return replace(chosen, **{name: getattr(added, name) for name in names})


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) > 200:
        raise ValueError(f"filter: expected {name} as a text of at most 200 characters, got {str(value)[:40]!r}")
    return value


def _one_of(known: Sequence[str]):
    def read(value: object, name: str) -> str:
        if value not in known:
            raise ValueError(f"filter: expected {name} to be one of {', '.join(known)}, got {str(value)[:40]!r}")
        return str(value)

    return read


def _some_of(known: Sequence[str]):
    def read(value: object, name: str) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or any(item not in known for item in value):
            raise ValueError(f"filter: expected {name} to be some of {', '.join(known)}, got {str(value)[:40]!r}")
        return tuple(dict.fromkeys(map(str, value)))

    return read


def _whole(value: object, name: str) -> int:
    if type(value) is not int or abs(value) > 1 << 53:
        raise ValueError(f"filter: expected {name} as a whole number, got {str(value)[:40]!r}")
    return value


def _pair(value: object, name: str) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"filter: expected {name} as two positions, got {str(value)[:40]!r}")
    return _whole(value[0], name), _whole(value[1], name)


def _limits(value: object, name: str) -> Range:
    """null: open on that side."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"filter: expected {name} as two numbers, got {str(value)[:40]!r}")
    low, high = (end if item is None else item for item, end in zip(value, (-math.inf, math.inf), strict=True))
    ends = [end for end in (low, high) if isinstance(end, int | float) and not isinstance(end, bool)]
    if len(ends) < 2 or any(map(math.isnan, ends)):
        raise ValueError(f"filter: expected {name} as two numbers, got {str(value)[:40]!r}")
    return float(min(ends)), float(max(ends))


_READ = {
    "model": _text,
    "types": _some_of(ALL_TYPES),
    "lens": _one_of(tuple(LENSES)),
    "flags": _some_of(("switch", "fragment")),
    "category": _whole,
    "classes": _pair,
    "scores": _limits,
    "ious": _limits,
    "lengths": _limits,
    "video": _whole,
    "outcome": _one_of(tuple(OUTCOME_WORDS)),
    "text": _text,
}
