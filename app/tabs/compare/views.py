"""What the tab Compare says as HTML: the table of matches, a pair's IoU over the frames, its filmstrip."""

import base64
from collections.abc import Sequence
from html import escape

from app.analysis.matches import Curve, Line
from app.projects.videos import VideoRow

NOTHING = '<p class="hint">Choose a match to see its IoU over the frames.</p>'


def label(row: VideoRow, model: int = 0) -> str:
    """A video in the list: name, frames, AP and errors of one model where they are known."""
    found = [f"{row.name}", f"{row.length} frames"]
    if model < len(row.ap) and row.ap[model] is not None:
        found.append(f"AP {100 * (row.ap[model] or 0):.0f}")
    if model < len(row.errors):
        found.append(f"{row.errors[model]} errors")
    return ", ".join(found)


def notices(sentences: Sequence[str]) -> str:
    """What is missing or odd about the files."""
    return "".join(f'<p class="hint notice">{escape(sentence)}</p>' for sentence in sentences)


def matches(name: str, lines: Sequence[Line], chosen: str | None) -> str:
    """One row a match, a missed truth or a prediction without a truth. A row is a button with its key."""
    rows = "".join(_row(line, line.key == chosen) for line in lines)
    errors = sum(line.type not in ("correct", "ignored") for line in lines)
    head = f'<div class="title"><strong>{escape(name)}</strong><span>{len(lines)} rows, {errors} errors</span></div>'
    return f'{head}<ol class="tracks matches">{rows}</ol>'


def _row(line: Line, chosen: bool) -> str:
    truth = "no ground truth" if line.truth_id is None else f"{line.truth_id} {line.truth_class}"
    found = "no prediction" if line.prediction_id is None else f"{line.prediction_id} {line.predicted_class}"
    score = "" if line.score is None else f"{line.score:.2f}"
    flags = [word for word, on in (("switch", line.identity_switch), ("fragments", line.fragmentation)) if on]
    kind = " · ".join([line.type, *flags, *([line.outcome] if line.outcome else [])])
    style = "fine" if line.type in ("correct", "ignored") else "faulty"
    return (
        f'<li><button type="button" data-key="{escape(line.key, quote=True)}" aria-pressed="{str(chosen).lower()}">'
        f'<span class="name">{escape(truth)} ↔ {escape(found)}</span><span class="score">{score}</span>'
        f'<span class="where {style}">{escape(kind)}</span><span class="area">IoU {line.iou:.2f}</span></button></li>'
    )


def curve(found: Curve) -> str:
    """IoU in every frame, the worst one marked; a click says where."""
    length = len(found.ious)
    bars = "".join(_bar(frame, iou, length) for frame, iou in enumerate(found.ious) if iou is not None)
    line = "" if found.worst is None else f'<path class="worst" d="M{100 * (found.worst + 0.5) / length:.2f} 0v40"/>'
    title = "IoU over time" if found.worst is None else f"IoU over time, worst at frame {found.worst}"
    label = "IoU over time: click to go there"
    return (
        f'<figure class="plot"><figcaption>{title}<span>1</span></figcaption><svg viewBox="0 0 100 40" '
        f'preserveAspectRatio="none" role="img" aria-label="{label}">{line}{bars}</svg></figure>'
    )


def _bar(frame: int, iou: float, length: int) -> str:
    left, width = 100 * frame / length, 100 / length
    return f'<rect x="{left:.2f}" width="{width:.2f}" y="{40 - 40 * iou:.2f}" height="{40 * iou:.2f}"/>'


def filmstrip(pictures: Sequence[tuple[str, int, float | None, bytes]]) -> str:
    """Pictures of a pair: (what, frame, IoU, JPEG); each a button that goes there."""
    return f'<div class="strip-row">{"".join(_picture(*picture) for picture in pictures)}</div>'


def _picture(what: str, frame: int, iou: float | None, jpeg: bytes) -> str:
    said = f"{what}, frame {frame}" + ("" if iou is None else f", IoU {iou:.2f}")
    data = base64.b64encode(jpeg).decode()
    return (
        f'<button type="button" data-frame="{frame}"><img src="data:image/jpeg;base64,{data}" alt="{said}">'
        f"<span>{said}</span></button>"
    )
