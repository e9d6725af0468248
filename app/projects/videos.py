"""The list of a data set's videos to choose from: searched, filtered, sorted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from app.analysis.comparison import Comparison
from app.projects.project import Project

Sort = Literal["file", "name", "AP", "errors", "cost", "length"]
SORTS: tuple[Sort, ...] = ("file", "name", "AP", "errors", "cost", "length")


@dataclass(frozen=True)
class VideoRow:
    """length: frames. truths: tracks of ground truth, None where there is none to measure by. For each model: ap in
    [0, 1], None without ground truth in the video; errors; cost, of the AP lost. predictions: tracks of each model."""

    id: int
    name: str
    length: int
    truths: int | None
    predictions: tuple[int, ...]
    ap: tuple[float | None, ...] = ()
    errors: tuple[int, ...] = ()
    cost: tuple[float, ...] = ()


def videos(project: Project, findings: Comparison | None = None) -> list[VideoRow]:
    """All videos in the order of the file. findings: of the project's models, or of some of them."""
    results = project.results
    if findings is not None:
        results = [project.results[project.model_index(model.name)] for model in findings.models]
    rows = [
        VideoRow(video.id, video.name, video.length, None, tuple(len(found.of_video(video.id)) for found in results))
        for video in project.dataset.videos.values()
    ]
    return rows if findings is None else [_measured(findings, row, counts) for row, counts in _counted(findings, rows)]


def _counted(findings: Comparison, rows: Sequence[VideoRow]) -> list[tuple[VideoRow, tuple[np.ndarray, np.ndarray]]]:
    """With each video's errors and cost, by model."""
    t, size = findings.table, len(findings.video_places)
    cells = t.model.astype(np.int64) * size + t.video
    shape = len(findings.models), size
    errors = np.bincount(cells[t.error], minlength=shape[0] * size).reshape(shape)
    cost = np.bincount(cells, weights=t.share, minlength=shape[0] * size).reshape(shape)
    places = findings.video_places
    return [(row, (errors[:, places[row.id]], cost[:, places[row.id]])) for row in rows]


def _measured(findings: Comparison, row: VideoRow, counts: tuple[np.ndarray, np.ndarray]) -> VideoRow:
    parts = [model.by_video[row.id] for model in findings.models]
    return VideoRow(
        id=row.id,
        name=row.name,
        length=row.length,
        truths=parts[0].truths,
        predictions=row.predictions,
        ap=tuple(None if part.AP < 0 else part.AP for part in parts),
        errors=tuple(counts[0].tolist()),
        cost=tuple(counts[1].tolist()),
    )


def chosen(rows: Sequence[VideoRow], text: str = "", sort: Sort = "file", model: int = 0) -> list[VideoRow]:
    """Those whose name or id has all words of `text`; the worst AP, the most errors, the longest come first.

    model: whose AP and errors. Raises: ValueError for an order that is none.
    """
    if sort not in SORTS:
        raise ValueError(f"expected to sort by one of {', '.join(SORTS)}, got {str(sort)[:40]!r}")
    words = text.casefold().split()
    found = [row for row in rows if all(word in f"{row.name} {row.id}".casefold() for word in words)]
    keys = {
        "name": lambda row: row.name,
        "AP": lambda row: 2 if _of(row.ap, model) is None else row.ap[model],
        "errors": lambda row: -(_of(row.errors, model) or 0),
        "cost": lambda row: -(_of(row.cost, model) or 0),
        "length": lambda row: -row.length,
    }
    return found if sort == "file" else sorted(found, key=keys[sort])


def _of(values: Sequence, model: int):
    return values[model] if model < len(values) else None


def beside(rows: Sequence[VideoRow], video_id: int, step: int) -> int | None:
    """The id of the video so many places after (before, if negative) another; None at the ends or where it is not."""
    ids = [row.id for row in rows]
    place = ids.index(video_id) + step if video_id in ids else -1
    return ids[place] if 0 <= place < len(ids) else None
