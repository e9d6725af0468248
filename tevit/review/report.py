"""The report of a review: corrected labels, changes as CSV and as a self-contained HTML page, AP before and after."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tevit.display import encode_jpeg, jpeg_uri, render
from tevit.evaluation import Evaluation, evaluate
from tevit.evaluation.filmstrip import FramePictures
from tevit.io.files import atomic, write_rows
from tevit.io.ytvis import FPS, Dataset, Results, open_dataset, read_results
from tevit.results import VideoResult
from tevit.review.apply import COLUMNS, Change, Corrected, find_changes, table_rows
from tevit.review.decisions import VERDICTS, Decision
from tevit.review.log import LogState, class_name, count_lines, lines_in_words, summary
from tevit.review.reviewers import agreements

FIGURES = ("AP", "AP50", "AP75", "AR1", "AR10")
_MAX_PICTURES = 400  # more make the page too large to open
_KINDS = {"changed": "tracks changed", "added": "tracks added", "deleted": "tracks deleted"}
_WIDTH = 320  # of a picture, pixels


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """One model's figures by the original and by the corrected labels, in [0, 1]; -1: no ground truth."""

    name: str
    before: Evaluation
    after: Evaluation

    def figures(self) -> Mapping[str, tuple[float, float]]:
        """Figure -> before and after."""
        return {name: (self.before.figures[name], self.after.figures[name]) for name in FIGURES}

    def classes(self) -> Mapping[str, tuple[float, float]]:
        """Class -> AP before and after, where that differs."""
        pairs = {
            self.after.names[id]: (self.before.per_class[id]["AP"], self.after.per_class[id]["AP"])
            for id in self.after.names
        }
        return {name: pair for name, pair in pairs.items() if abs(pair[0] - pair[1]) > 5e-7}

    def rows(self) -> list[tuple[str, float, float]]:
        """Figures and classes as rows of a table: name, before, after."""
        figures = {**self.figures(), **{f"AP of {name}": pair for name, pair in self.classes().items()}}
        return [(name, *pair) for name, pair in figures.items()]


@dataclass(frozen=True, eq=False)
class ReviewReport:
    """Files that were written, and their contents. missing: why pictures have no frame behind the mask."""

    corrected: Path
    table: Path
    page: Path
    changes: tuple[Change, ...]
    models: tuple[ModelComparison, ...]
    missing: tuple[str, ...]


def write_report(
    out: str | os.PathLike,
    gt: str | os.PathLike,
    log: Sequence[Decision],
    corrected: Corrected,
    *,
    frames: str | os.PathLike | None = None,
    predictions: Iterable[str | os.PathLike | Results] = (),
) -> ReviewReport:
    """Write corrected.json, changes.csv and report.html into `out`.

    corrected: the result of `correct` on `gt` and `log`. frames: root of the data's frames, for the pictures.
    predictions: results of models to be evaluated by both versions of the labels.

    Raises: OSError or ValueError where something cannot be read or written, or `gt` itself would be replaced.
    """
    folder, original = Path(out), open_dataset(gt)
    target, table, page = (folder / name for name in ("corrected.json", "changes.csv", "report.html"))
    write_corrected(target, corrected.data, (gt,))
    new = open_dataset(target)
    changes = find_changes(original, new, corrected.applied, corrected.new_ids, corrected.renumbered)
    with atomic(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, COLUMNS, table_rows(changes, new))
    opened = [own if isinstance(own, Results) else read_results(own) for own in predictions]
    models = [ModelComparison(own.path.name, evaluate(original, own), evaluate(new, own)) for own in opened]
    pictures = ChangePictures(new, frames)
    text = _page(Path(gt).name, new, log, corrected, changes, models, pictures)
    with atomic(page) as temporary:
        temporary.write_text(text, "utf-8")
    return ReviewReport(target, table, page, tuple(changes), tuple(models), tuple(pictures.missing))


def write_corrected(path: str | os.PathLike, data: bytes, sources: Iterable[str | os.PathLike]) -> None:
    """Write corrected labels. Raises: ValueError where that would replace one of the sources."""
    for source in sources:
        if os.path.exists(path) and os.path.samefile(path, source):
            raise ValueError(f"the corrected labels cannot take the place of {source} itself")
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def _page(
    name: str,
    dataset: Dataset,
    log: Sequence[Decision],
    corrected: Corrected,
    changes: Sequence[Change],
    models: Sequence[ModelComparison],
    pictures: "ChangePictures",
) -> str:
    state = LogState(log)
    counts = Counter(change.kind for change in changes)
    cards = [(title, str(counts[kind])) for kind, title in _KINDS.items()]
    for model in models[:3]:
        before, after = ("none" if ap < 0 else f"{100 * ap:.1f}" for ap in model.figures()["AP"])
        cards.append((f"AP of {model.name}", f"{before} → {after}"))
    shown = [_change_values(dataset, change, pictures) for change in changes[:_MAX_PICTURES]]
    footer = "The original file was not changed; corrected.json and changes.csv are beside this page."
    footer += "".join(f" {note}." for note in corrected.notes())
    if len(changes) > _MAX_PICTURES:
        footer += f" Pictures of the first {_MAX_PICTURES} of {len(changes)} changes; changes.csv has all."
    if pictures.missing:
        more = " …" if len(pictures.missing) > 3 else ""
        footer += f" Without frames, on grey: {'; '.join(pictures.missing[:3])}{more}."
    return render(
        "review.html",
        title=f"Review of {name}",
        subtitle=_subtitle(state, log, corrected),
        cards=cards,
        models=[{"name": model.name, "rows": model.rows()} for model in models],
        verdicts=VERDICTS,
        reviewers=state.verdict_counts,
        agreements=[str(agreement) for agreement in agreements(state)],
        not_applied=corrected.not_applied(),
        changes=shown,
        footer=footer,
    )


def _subtitle(state: LogState, log: Sequence[Decision], corrected: Corrected) -> str:
    text = f"{_plural(count_lines(state)['decisions'], 'decision')} on "
    text += f"{_plural(len({d.video_id for d in log}), 'video')}; the log has {lines_in_words(state)}"
    if corrected.left_out:
        text += f"; {_plural(len(corrected.left_out), 'decision')} left out that did not fit"
    if corrected.disagreements:
        text += f"; {_plural(len(corrected.disagreements), 'disagreement')} not resolved"
    return f"{text}."


def _change_values(dataset: Dataset, change: Change, pictures: "ChangePictures") -> dict[str, object]:
    """What the page shows of one change."""
    before, after = change.before, change.after
    names = [track and class_name(dataset.categories, track.category_id) for track in (before, after)]
    words = []
    if before is None or after is None:
        words.append(f"{names[0] or names[1]}, {_plural(len(change.frames), 'frame')}")
    else:
        if before.category_id != after.category_id:
            words.append(f"from {names[0]} to {names[1]}")
        if change.frames:
            words.append(f"masks of {_plural(len(change.frames), 'frame')}, IoU {change.iou:.2f}")
        if before.iscrowd != after.iscrowd:
            words.append("now a crowd" if after.iscrowd else "no crowd")
    sides = zip(("before", "after"), pictures.pair(change), names, strict=True)
    return {
        "title": f"Track {change.annotation_id} {change.kind}: {'; '.join(words)}",
        "place": f"{dataset.videos[change.video_id].name}, frame {change.frame}",
        "sides": [(side, uri, name or "no label") for side, uri, name in sides],
        "decisions": [
            f"{d.reviewer}: {summary(d, dataset.categories)}{f': {d.note}' if d.note else ''}" for d in change.decisions
        ],
    }


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


class ChangePictures:
    """Small pictures of changed tracks on a frame where there is one, else on grey. missing: why, a sentence each."""

    def __init__(self, dataset: Dataset, frames: str | os.PathLike | None):
        self._dataset, self._frames = dataset, FramePictures(dataset, frames)
        self.missing = self._frames.missing

    def pair(self, change: Change) -> tuple[str, str]:
        """The track before and after, as data URIs of JPEG."""
        import cv2  # late: a log without changes does not need it

        from tevit.video.overlay import overlay

        # Darker and without colours, so that the mask stands out.
        grey = cv2.cvtColor(self._frames.read(change.video_id, change.frame), cv2.COLOR_BGR2GRAY)
        picture = np.repeat((0.7 * grey).astype(np.uint8)[..., None], 3, axis=2)
        info = self._dataset.videos[change.video_id]
        times = np.arange(info.length) / FPS
        uris = []
        for track in (change.before, change.after):
            tracks = () if track is None else (track,)
            result = VideoResult(info.id, info.name, info.size_hw, times, self._dataset.categories, tracks)
            drawn = overlay(picture, result, change.frame, opacity=0.55, labels=False)
            uris.append(jpeg_uri(encode_jpeg(drawn[..., ::-1], width=_WIDTH)))
        return uris[0], uris[1]
