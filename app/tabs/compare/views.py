"""The HTML of the tab Compare: the list of matches, a pair's IoU over the frames, its filmstrip."""

import base64
from collections.abc import Sequence

from tevit.evaluation.error_table import ErrorRecord

from ...analysis.matches import IouCurve, VideoRow
from ...rendering import hint, render


def no_pair() -> str:
    """In the place of a pair while no match is selected."""
    return hint("Choose a match to see its IoU over the frames.")


def label(row: VideoRow, model: int = 0) -> str:
    """A video in the list: name, frames, and one model's AP and errors where they are known."""
    words = [row.name, f"{row.length} frames"]
    if model < len(row.ap) and row.ap[model] is not None:
        words.append(f"AP {100 * (row.ap[model] or 0):.0f}")
    if model < len(row.errors):
        words.append(f"{row.errors[model]} errors")
    return ", ".join(words)


def matches(name: str, records: Sequence[ErrorRecord], selected: str | None) -> str:
    """A row for each match, missed ground truth and other prediction; a row is a button with its key."""
    errors = sum(record.type not in ("correct", "ignored") for record in records)
    return render("compare/matches.html", name=name, records=records, errors=errors, selected=selected)


def pair(curve: IouCurve, pictures: Sequence[tuple[str, int, float | None, bytes]]) -> str:
    """IoU in every frame with the worst one marked, and the filmstrip; a click seeks.

    pictures: role, frame, IoU and JPEG.
    """
    shown = [
        (f"{role}, frame {frame}" + ("" if iou is None else f", IoU {iou:.2f}"), frame, base64.b64encode(jpeg).decode())
        for role, frame, iou, jpeg in pictures
    ]
    return render("compare/pair.html", ious=curve.ious, worst=curve.worst, pictures=shown)
