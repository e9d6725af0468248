"""The HTML of the tab Compare: the table of matches, a pair's IoU over the frames, its filmstrip."""

import base64
from collections.abc import Sequence

from app.analysis.matches import IouCurve, VideoRow
from app.rendering import render
from tevit.evaluation.error_table import ErrorRecord

NOTHING = '<p class="hint">Choose a match to see its IoU over the frames.</p>'


def label(row: VideoRow, model: int = 0) -> str:
    """A video in the list: name, frames, and one model's AP and errors where they are known."""
    words = [row.name, f"{row.length} frames"]
    if model < len(row.ap) and row.ap[model] is not None:
        words.append(f"AP {100 * (row.ap[model] or 0):.0f}")
    if model < len(row.errors):
        words.append(f"{row.errors[model]} errors")
    return ", ".join(words)


def matches(name: str, lines: Sequence[ErrorRecord], selected: str | None) -> str:
    """A row for each match, missed truth and prediction without a truth; a row is a button with its key."""
    errors = sum(line.type not in ("correct", "ignored") for line in lines)
    return render("compare/matches.html", name=name, lines=lines, errors=errors, selected=selected)


def curve(curve: IouCurve) -> str:
    """IoU in every frame with the worst one marked; a click seeks."""
    return render("compare/curve.html", ious=curve.ious, worst=curve.worst)


def filmstrip(pictures: Sequence[tuple[str, int, float | None, bytes]]) -> str:
    """Pictures of a pair: (role, frame, IoU, JPEG); each a button that seeks to its frame."""
    shown = [
        (f"{role}, frame {frame}" + ("" if iou is None else f", IoU {iou:.2f}"), frame, base64.b64encode(jpeg).decode())
        for role, frame, iou, jpeg in pictures
    ]
    return render("compare/filmstrip.html", pictures=shown)
