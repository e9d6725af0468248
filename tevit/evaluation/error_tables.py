"""Tables of errors and gaps for a terminal: in points, aligned, and in words where there is nothing to measure by."""

from collections import Counter

from tevit.evaluation.errors import TYPES, Errors
from tevit.evaluation.oracle_gaps import Gap, Gaps
from tevit.evaluation.tables import NOTHING, layout, percent


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
