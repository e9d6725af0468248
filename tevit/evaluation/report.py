"""The report on one model's errors as one HTML file that works offline."""

import json
import os
from collections import Counter
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from tevit.evaluation.api import Evaluation
from tevit.evaluation.curves import mean_of_known
from tevit.evaluation.error_table import ErrorRecord, Errors
from tevit.evaluation.errors import TYPES
from tevit.evaluation.matching import IOU_THRESHOLDS
from tevit.evaluation.oracle import Gap, Gaps
from tevit.evaluation.tables import gain, heading, percent
from tevit.io.files import atomic

_WORST = 10  # of each kind
_CLASSES = 60
MEANINGS = {
    "classification": "in place, wrong class",
    "spatial": "right class, near the object in most frames, masks too poor",
    "temporal": "right class, on the object in some frames only",
    "both": "wrong class and out of place",
    "duplicate": "a better prediction has found the object already",
    "background": "on nothing",
    "missed": "truths that no prediction comes near",
}


def write_report(path: str | os.PathLike, title: str, evaluation: Evaluation, errors: Errors, gaps: Gaps) -> None:
    """Write the page; plotly's script, which draws the figures, goes into it."""
    from plotly.offline import get_plotlyjs

    page = files("tevit").joinpath("templates/errors.html").read_text("utf-8")
    parts = {
        "title": escape(title),
        "at": _at(errors),
        "subtitle": escape(heading(evaluation)),
        "cards": _cards(evaluation),
        "types": _types_table(errors),
        "worst": _worst_table(evaluation, errors),
        "footer": escape(_footer(evaluation, errors)),
        "data": json.dumps(page_data(evaluation, errors, gaps)).replace("<", "\\u003c"),
        "plotly": get_plotlyjs(),
    }
    for name, text in parts.items():  # plotly's script comes last: what is in it is not looked through
        page = page.replace(f"[[{name}]]", text)
    with atomic(path) as temporary:
        Path(temporary).write_text(page, "utf-8")


def _at(errors: Errors) -> str:
    """AP50, or what it is with another limit."""
    return f"AP{round(100 * errors.limits.positive)}"


def _cards(evaluation: Evaluation) -> str:
    def card(name: str) -> str:
        value = evaluation.figures[name]
        words = ' class="words"' if value < 0 else ""
        return f"<div><dt>{name}</dt><dd{words}>{percent(value)}</dd></div>"

    return "".join(map(card, ("AP", "AP50", "AP75", "AR1", "AR10", "APs", "APm", "APl")))


def _table(header: list[str], rows: list[list[str]], texts: set[int]) -> str:
    """Cells are HTML; `texts`: columns that stand to the left."""

    def line(cells: list[str], tag: str) -> str:
        kinds = [' class="text"' if i in texts else "" for i in range(len(cells))]
        return (
            "<tr>" + "".join(f"<{tag}{kind}>{cell}</{tag}>" for kind, cell in zip(kinds, cells, strict=True)) + "</tr>"
        )

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(header, 'th')}</thead><tbody>{body}</tbody></table>"


def _dot(type: str) -> str:
    return f'<span class="dot" style="background: var(--{type})"></span>{type}'


def _types_table(errors: Errors) -> str:
    counts = Counter(record.type for record in errors.records)
    rows = [[_dot(type), MEANINGS[type], str(counts[type]), gain(errors, errors.dap[type])] for type in TYPES]
    return _table(["kind", "what it is", "count", f"d{_at(errors)}"], rows, {0, 1})


def _worst_table(evaluation: Evaluation, errors: Errors) -> str:
    names = {video.id: video.name for video in evaluation.overlaps.inputs.videos}
    ranked = sorted((r for r in errors.records if r.share > 0), key=lambda record: -record.share)
    worst = [record for type in TYPES for record in [r for r in ranked if r.type == type][:_WORST]]
    worst.sort(key=lambda record: -record.share)
    rows = [
        [
            _dot(record.type),
            escape(names[record.video_id]),
            _class(evaluation, record.truth_category_id),
            _class(evaluation, record.category_id),
            "" if record.score is None else f"{record.score:.2f}",
            f"{record.iou:.2f}",
            "" if record.worst_frame is None else str(record.worst_frame),
            f"{100 * record.share:.2f}",
        ]
        for record in worst
    ]
    header = ["kind", "video", "truth", "prediction", "score", "IoU", "worst frame", "share"]
    return _table(header, rows, {0, 1, 2, 3}) if rows else '<p class="note">There is nothing to mend.</p>'


def _class(evaluation: Evaluation, id: int | None) -> str:
    return "" if id is None else escape(evaluation.names.get(id, str(id)))


def _footer(evaluation: Evaluation, errors: Errors) -> str:
    limits = errors.limits
    said = [
        f"A truth counts as found from IoU {limits.positive:g}.",
        f"Below {limits.background:g} a prediction is on nothing.",
        "The kinds are TIDE's and TIVE's; AP is the official one of YouTube-VIS.",
        *(f"Note: {warning}." for warning in evaluation.warnings),
    ]
    return " ".join(said)


def page_data(evaluation: Evaluation, errors: Errors, gaps: Gaps) -> dict:
    """What the page's figures show, ready for JSON; also of use for other views of the same."""
    counts = Counter(record.type for record in errors.records)
    precision = evaluation.curves.precision[..., 0, 2]
    return {
        "known": errors.ap >= 0,
        "types": [{"name": type, "dap": errors.dap[type], "count": counts[type]} for type in TYPES],
        "gap": _gap(gaps.whole),
        "parts": [
            *({"name": name, **_gap(gap)} for name, gap in gaps.by_length.items()),
            *({"name": _objects(name), **_gap(gap)} for name, gap in gaps.by_instances.items()),
        ],
        "thresholds": IOU_THRESHOLDS.round(2).tolist(),
        "by_threshold": [mean_of_known(row) for row in precision],
        **_recall(evaluation, precision),
        "confusion": confusion(evaluation, errors),
        "scores": _scores(errors),
        "lengths": _lengths(evaluation, errors),
    }


def _objects(name: str) -> str:
    return "1 object" if name == "1" else f"{name} objects"


def _gap(gap: Gap) -> dict:
    values = {name: getattr(gap, name) for name in ("ap", "tracking", "classification", "masks")}
    return {"truths": gap.truths, **{name: value if gap.truths else None for name, value in values.items()}}


def _recall(evaluation: Evaluation, precision: np.ndarray) -> dict:
    """precision: (T, R, K)."""
    known = np.flatnonzero(precision[0, 0] > -1)
    names = list(evaluation.names.values())
    curves = [
        {"name": names[k], "at50": precision[0, :, k].round(3).tolist(), "at75": precision[5, :, k].round(3).tolist()}
        for k in known
    ]
    mean = precision[:, :, known].mean(axis=2) if len(known) else np.zeros(precision.shape[:2])
    return {"recall": curves, "mean": {"at50": mean[0].round(3).tolist(), "at75": mean[5].round(3).tolist()}}


def confusion(evaluation: Evaluation, errors: Errors) -> dict:
    """rows: class names of truths, columns: of predictions, "nothing" last in both; counts of tracks; shares of rows.

    Of very many classes those that are mistaken most often are kept.
    """
    pairs = Counter(pair for record in errors.records if (pair := _confused(record)))
    wrong = Counter(
        id for (a, b), count in pairs.items() for id in (a, b) if a != b and id is not None for _ in range(count)
    )
    present = {id for pair in pairs for id in pair if id is not None}
    kept = sorted(sorted(present, key=lambda id: (-wrong[id], id))[:_CLASSES])
    ids = [*kept, None]
    counts = np.array([[pairs[a, b] for b in ids] for a in ids])
    names = [*(f"{evaluation.names.get(id, id)}" for id in kept), "nothing"]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = names if kept else []
    return {"rows": rows, "columns": rows, "counts": counts.tolist(), "shares": shares.round(4).tolist()}


def _confused(record: ErrorRecord) -> tuple[int | None, int | None] | None:
    """The classes of truth and prediction, None for nothing; None where the record tells nothing about classes."""
    if record.kind == "prediction" and record.type in ("correct", "classification"):
        return record.truth_category_id, record.category_id
    if record.type == "background":
        return None, record.category_id
    return (record.truth_category_id, None) if record.type == "missed" else None


def _scores(errors: Errors) -> dict:
    counted = [r for r in errors.records if r.kind == "prediction" and r.type != "ignored" and r.score is not None]
    right = np.array([r.score for r in counted if r.type == "correct"], float)
    wrong = np.array([r.score for r in counted if r.type != "correct"], float)
    if not counted:
        return {"middles": [], "width": 0, "right": [], "wrong": []}
    every = np.concatenate([right, wrong])
    edges = np.linspace(min(0.0, every.min()), max(1.0, every.max()), 26)
    return {
        "middles": ((edges[1:] + edges[:-1]) / 2).round(6).tolist(),
        "width": float(edges[1] - edges[0]),
        "right": np.histogram(right, edges)[0].tolist(),
        "wrong": np.histogram(wrong, edges)[0].tolist(),
    }


def _lengths(evaluation: Evaluation, errors: Errors) -> dict:
    names = {video.id: video.name for video in evaluation.overlaps.inputs.videos}
    table = evaluation.overlaps.inputs.ground_truth
    frames = dict(zip(table.ids.tolist(), evaluation.overlaps.ground_truth_frames.tolist(), strict=True))
    result = {type: {"x": [], "y": [], "text": []} for type in ("correct", "explained", "missed")}
    for record in errors.records:
        if record.kind == "truth" and record.type in result and record.truth_id in frames:
            points = result[record.type]
            points["x"].append(frames[record.truth_id])
            points["y"].append(round(record.iou, 4))
            points["text"].append(escape(f"{names[record.video_id]}, {_plain(evaluation, record)} {record.truth_id}"))
    return result


def _plain(evaluation: Evaluation, record: ErrorRecord) -> str:
    return str(evaluation.names.get(record.truth_category_id or 0, record.truth_category_id))
