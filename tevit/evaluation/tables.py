"""Tables of figures for a terminal: in percent, aligned, and in words where there is nothing to measure by."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields

from tevit.evaluation.api import Evaluation
from tevit.evaluation.bootstrap import Interval
from tevit.evaluation.curves import FIGURES, BreakdownRow
from tevit.evaluation.error_table import Errors
from tevit.evaluation.errors import TYPES
from tevit.evaluation.oracle import Gap, Gaps

NOTHING = "no ground truth"
MEANINGS = {
    "AP": "mean over IoU 0.50 to 0.95",
    "AP50": "at IoU 0.50",
    "AP75": "at IoU 0.75",
    "APs": "tracks below 128² pixels",
    "APm": "128² to 256²",
    "APl": "above 256²",
    "AR1": "recall, 1 prediction a video and class",
    "AR10": "recall, 10 predictions",
    "AR100": "recall, 100 predictions",
    "ARs": "recall, tracks below 128² pixels",
    "ARm": "recall, 128² to 256²",
    "ARl": "recall, above 256²",
}


def percent(value: float) -> str:
    """A figure in [0, 1] as 46.3; -1 in words."""
    return NOTHING if value < 0 else f"{100 * value:.1f}"


def with_interval(value: float, found: Interval | None) -> str:
    """46.3  [44.0, 48.5]"""
    return percent(value) if found is None else f"{percent(value)}  [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def layout(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be: the first to the left, the others to the right, a rule below the header."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [_line(header, widths), "─" * (sum(widths) + 2 * (len(widths) - 1)), *(_line(row, widths) for row in rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    return "  ".join([first, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))]).rstrip()


def heading(evaluation: Evaluation) -> str:
    """What was measured: videos, classes, tracks."""
    inputs = evaluation.overlaps.inputs
    crowd = int(inputs.ground_truth.crowd.sum())
    truths = f"{len(inputs.ground_truth.ids) - crowd} tracks" + (f" and {crowd} crowds" if crowd else "")
    return f"{len(inputs.videos)} videos, {len(inputs.categories)} classes, {truths}"


def figures(
    names: Sequence[str],
    evaluations: Sequence[Evaluation],
    spreads: Sequence[Mapping[str, Interval | None]] | None = None,
) -> str:
    """The twelve figures, a column a model. names: of the models. spreads: of each, its figures' intervals."""
    rows = []
    for name in FIGURES:
        values = [evaluation.figures[name] for evaluation in evaluations]
        found = [spread[name] for spread in spreads] if spreads else [None] * len(values)
        rows.append([name, *map(with_interval, values, found), f"  {MEANINGS[name]}".ljust(42)])
    return layout(["", *names, ""], rows)


def differences(
    names: Sequence[str], found: Sequence[Mapping[str, Interval | None]], values: Sequence[Mapping[str, float]]
) -> str:
    """What each further model has more than the first. names: of the further models; values: the differences."""
    rows = [
        [name, *(_difference(value[name], spread[name]) for value, spread in zip(values, found, strict=True))]
        for name in FIGURES
    ]
    return layout(["difference", *names], rows)


def _difference(value: float, found: Interval | None) -> str:
    if found is None:
        return NOTHING
    sure = "better" if found.low > 0 else "worse" if found.high < 0 else "undecided"
    return f"{100 * value:+.1f}  [{100 * found.low:+.1f}, {100 * found.high:+.1f}]  {sure:9}"


def per_class(evaluation: Evaluation) -> str:
    """A row a class, as the file lists them by id."""
    inputs = evaluation.overlaps.inputs
    kinds = inputs.ground_truth.categories[~inputs.ground_truth.crowd] * (not evaluation.overlaps.agnostic)
    columns = ("AP", "AP50", "AP75", "AR1", "AR10")
    rows = [
        [f"{id:>4} {name}", *_cells(int((kinds == k).sum()), [evaluation.per_class[id][c] for c in columns])]
        for k, (id, name) in enumerate(evaluation.names.items())
    ]
    return layout(["class", "tracks", *columns], rows)


def parts(what: str, found: Mapping[str, BreakdownRow]) -> str:
    """A row a part of the data set."""
    columns = [field.name for field in fields(BreakdownRow)][1:]
    rows = [[name, *_cells(part.truths, [getattr(part, c) for c in columns])] for name, part in found.items()]
    return layout([what, "tracks", *columns], rows)


def _cells(tracks: int, values: Sequence[float]) -> list[str]:
    """Said once where there is nothing to measure by."""
    if tracks:
        return [str(tracks), *map(percent, values)]
    return ["0", *[""] * (len(values) - 1), NOTHING]


def error_types(errors: Errors) -> str:
    """What each kind costs, and how the tracks came out."""
    at = f"AP{round(100 * errors.limits.positive)}"
    counts = {kind: Counter(r.type for r in errors.records if r.kind == kind) for kind in ("prediction", "truth")}
    rows = [
        [type, str(counts["prediction"][type] + counts["truth"][type]), gain(errors, errors.dap[type])]
        for type in TYPES
    ]
    found, switches = counts["truth"], [r for r in errors.records if r.kind == "truth"]
    said = [
        f"{found['correct']} truths found, {found['explained']} explained by an error, {found['missed']} missed",
        f"{sum(r.identity_switch for r in switches)} truths with an identity switch, "
        f"{sum(r.fragmentation for r in switches)} with a gap",
    ]
    return layout([f"{at} {percent(errors.ap)}", "count", f"d{at}"], rows) + "\n\n" + "\n".join(said)


def gain(errors: Errors, value: float) -> str:
    """What mending is worth, as +8.3, or why it cannot be said."""
    return NOTHING if errors.ap < 0 else f"{100 * value:+.1f}"


def gaps(found: Gaps) -> str:
    """The second lens, whole and by parts."""
    parts = {"all": found.whole, **found.by_length, **{f"objects: {k}": gap for k, gap in found.by_instances.items()}}
    rows = [[name, str(gap.truths), *_gap(gap)] for name, gap in parts.items() if gap.truths or name == "all"]
    return layout(["", "tracks", "AP", "tracking", "classes", "masks, misses"], rows)


def _gap(gap: Gap) -> list[str]:
    if not gap.truths:
        return [NOTHING] * 4
    return [percent(gap.ap), *(f"{100 * value:+.1f}" for value in (gap.tracking, gap.classification, gap.masks))]
