"""What a review has changed, as CSV and as one HTML page that works offline, and what AP is before and after."""

import base64
import csv
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from tevit.evaluation import Evaluation, evaluate
from tevit.io.files import atomic
from tevit.io.ytvis import FPS, Dataset, open_dataset
from tevit.results import Track, VideoResult
from tevit.review.apply import Corrected
from tevit.review.changes import COLUMNS, Change, class_name, find_changes, rows
from tevit.review.decisions import VERDICTS, Decision
from tevit.review.log import LogState, summary

FIGURES = ("AP", "AP50", "AP75", "AR1", "AR10")
_PICTURES = 400  # more make the page too large to open
_KINDS = {"changed": "tracks changed", "added": "tracks added", "deleted": "tracks deleted"}


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


@dataclass(frozen=True, eq=False)
class ReviewReport:
    """What was written, and what is in it. missing: why pictures are on grey, a sentence each."""

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
    predictions: Iterable[str | os.PathLike] = (),
) -> ReviewReport:
    """Write corrected.json, changes.csv and report.html into `out`.

    corrected: what `correct` made of `gt` and `log`. frames: root of the data's frames, for the pictures.
    predictions: results of models to be evaluated by both versions of the labels.

    Raises: OSError or ValueError where something cannot be read or written, or `gt` itself would be replaced.
    """
    folder, original = Path(out), open_dataset(gt)
    target = folder / "corrected.json"
    write_corrected(target, corrected.data, (gt,))
    new = open_dataset(target)
    changes = find_changes(original, new, corrected.applied, corrected.new_ids)
    _write_table(folder / "changes.csv", changes, new)
    models = [ModelComparison(Path(path).name, evaluate(original, path), evaluate(new, path)) for path in predictions]
    missing = _write_page(folder / "report.html", Path(gt).name, new, log, corrected, changes, models, frames)
    return ReviewReport(
        target, folder / "changes.csv", folder / "report.html", tuple(changes), tuple(models), tuple(missing)
    )


def write_corrected(path: str | os.PathLike, data: bytes, sources: Iterable[str | os.PathLike]) -> None:
    """Write corrected labels. Raises: ValueError where that would replace one of the sources."""
    for source in sources:
        if os.path.exists(path) and os.path.samefile(path, source):
            raise ValueError(f"the corrected labels cannot take the place of {source} itself")
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def _write_table(path: Path, changes: Sequence[Change], dataset: Dataset) -> None:
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(rows(changes, dataset))


def _write_page(
    path: Path,
    name: str,
    dataset: Dataset,
    log: Sequence[Decision],
    corrected: Corrected,
    changes: Sequence[Change],
    models: Sequence[ModelComparison],
    frames: str | os.PathLike | None,
) -> list[str]:
    """Returns why pictures are on grey."""
    pictures = Pictures(dataset, frames)
    page = files("tevit").joinpath("templates/review.html").read_text("utf-8")
    parts = {
        "title": escape(f"Review of {name}"),
        "subtitle": escape(_subtitle(log, corrected)),
        "cards": _cards(changes, models),
        "models": "".join(map(_model, models)),
        "reviewers": _reviewers(log),
        "open": _open_questions(corrected),
        "changes": "".join(_change(dataset, change, pictures) for change in changes[:_PICTURES]) or _NOTHING,
        "footer": escape(_footer(changes, pictures.missing)),
    }
    for key, text in parts.items():
        page = page.replace(f"[[{key}]]", text)
    with atomic(path) as temporary:
        temporary.write_text(page, "utf-8")
    return pictures.missing


_NOTHING = '<p class="note">No label was changed.</p>'


def _subtitle(log: Sequence[Decision], corrected: Corrected) -> str:
    videos = len({d.video_id for d in log})
    said = f"{_count(len(log), 'decision')} on {_count(videos, 'video')}"
    if corrected.left_out:
        said += f"; {_count(len(corrected.left_out), 'decision')} left out that did not fit"
    if corrected.disagreements:
        said += f"; {_count(len(corrected.disagreements), 'disagreement')} not resolved"
    return said + "."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _cards(changes: Sequence[Change], models: Sequence[ModelComparison]) -> str:
    counts = Counter(change.kind for change in changes)
    cells = [(title, str(counts[kind])) for kind, title in _KINDS.items()]
    for model in models[:3]:
        before, after = model.figures()["AP"]
        cells.append((f"AP of {model.name}", f"{_percent(before)} → {_percent(after)}"))
    return "".join(f"<div><dt>{escape(title)}</dt><dd>{value}</dd></div>" for title, value in cells)


def _percent(value: float) -> str:
    return "none" if value < 0 else f"{100 * value:.1f}"


def _model(model: ModelComparison) -> str:
    lines = [(name, *pair) for name, pair in model.figures().items()]
    lines += [(f"AP of {name}", *pair) for name, pair in model.classes().items()]
    body = "".join(_compared_row(escape(name), before, after) for name, before, after in lines)
    head = "<tr><th class=text></th><th>original</th><th>corrected</th><th>change</th></tr>"
    return f"<section><h2>{escape(model.name)}</h2><table>{head}{body}</table></section>"


def _compared_row(name: str, before: float, after: float) -> str:
    known = before >= 0 and after >= 0
    change = f"{100 * (after - before):+.1f}" if known else ""
    kind = ("up" if after > before else "down") if known and abs(after - before) > 5e-7 else ""
    cells = f"<td>{_percent(before)}</td><td>{_percent(after)}</td><td class='{kind}'>{change}</td>"
    return f"<tr><td class=text>{name}</td>{cells}</tr>"


def _reviewers(log: Sequence[Decision]) -> str:
    counts = LogState(log).verdict_counts
    head = "".join(f"<th>{verdict}</th>" for verdict in VERDICTS)
    body = "".join(_reviewer_row(name, [own[verdict] for verdict in VERDICTS]) for name, own in counts.items())
    table = f"<table><tr><th class=text></th>{head}</tr>{body}</table>" if counts else '<p class="note">None.</p>'
    return f"<section><h2>Decisions by reviewer</h2>{table}</section>"


def _reviewer_row(name: str, counts: Sequence[int]) -> str:
    return f"<tr><td class=text>{escape(name)}</td>" + "".join(f"<td>{n or ''}</td>" for n in counts) + "</tr>"


def _open_questions(corrected: Corrected) -> str:
    lines = [f"Reviewers disagree, the label is as it was: {d}" for d in corrected.disagreements]
    lines += [f"Left out: {fit}" for fit in corrected.left_out]
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<section class=wide><h2>Not applied</h2><ul>{items}</ul></section>"


def _change(dataset: Dataset, change: Change, pictures) -> str:
    before, after = pictures.pair(change)
    sides = (
        (before, "before", class_name(dataset, change.before) or "no label"),
        (after, "after", class_name(dataset, change.after) or "no label"),
    )
    figures = "".join(
        f'<figure><img alt="{side}" src="{uri}"><figcaption>{side}: {escape(words)}</figcaption></figure>'
        for uri, side, words in sides
    )
    place = f"{dataset.videos[change.video_id].name}, frame {change.frame}"
    why = "".join(f"<li>{escape(_why(d, dataset))}</li>" for d in change.decisions)
    title = f"Track {change.annotation_id} {change.kind}: {story(dataset, change)}"
    return (
        f"<section class=change><h2>{escape(title)}</h2><p>{escape(place)}</p>"
        f"<div class=pair>{figures}</div><ul>{why}</ul></section>"
    )


def story(dataset: Dataset, change: Change) -> str:
    """What is different, in a few words."""
    if change.before is None or change.after is None:
        return f"{class_name(dataset, change.before or change.after)}, {_count(len(change.frames), 'frame')}"
    said = []
    if change.before.category_id != change.after.category_id:
        said.append(f"from {class_name(dataset, change.before)} to {class_name(dataset, change.after)}")
    if change.frames:
        said.append(f"masks of {_count(len(change.frames), 'frame')}, IoU {change.iou:.2f}")
    if change.before.iscrowd != change.after.iscrowd:
        said.append("now a crowd" if change.after.iscrowd else "no crowd")
    return "; ".join(said)


def _why(decision: Decision, dataset: Dataset) -> str:
    note = f": {decision.note}" if decision.note else ""
    return f"{decision.reviewer}: {summary(decision, dataset.categories)}{note}"


def _footer(changes: Sequence[Change], missing: Sequence[str]) -> str:
    said = "The original file was not changed; corrected.json and changes.csv are beside this page."
    if len(changes) > _PICTURES:
        said += f" Pictures of the first {_PICTURES} of {len(changes)} changes; changes.csv has all."
    if missing:
        said += f" Without frames, on grey: {'; '.join(missing[:3])}{' …' if len(missing) > 3 else ''}."
    return said


# --- pictures

_WIDTH = 320  # pixels
_GREY = 96


class Pictures:
    """Draws the pictures of one data set's changes. missing: why videos are on grey, a sentence each."""

    def __init__(self, dataset: Dataset, frames: str | os.PathLike | None):
        self._dataset, self._root = dataset, frames
        self._files: dict[int, list[Path] | None] = {}
        self.missing: list[str] = []

    def pair(self, change: Change) -> tuple[str, str]:
        """The picture before and the one after, as data URIs of JPEG."""
        picture = _quiet(self._frame(change.video_id, change.frame))
        return self._draw(picture, change, change.before), self._draw(picture, change, change.after)

    def _draw(self, picture: np.ndarray, change: Change, track: Track | None) -> str:
        import cv2  # here: a log without changes does not need it

        from tevit.video.overlay import overlay

        info = self._dataset.videos[change.video_id]
        shown = () if track is None else (track,)
        times = np.arange(info.length) / FPS
        result = VideoResult(info.id, info.name, info.size_hw, times, self._dataset.categories, shown)
        drawn = overlay(picture, result, change.frame, opacity=0.55, labels=False)
        if drawn.shape[1] > _WIDTH:
            size = _WIDTH, max(1, round(drawn.shape[0] * _WIDTH / drawn.shape[1]))
            drawn = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA)
        _, data = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])
        return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()

    def _frame(self, video: int, frame: int) -> np.ndarray:
        from PIL import Image

        height, width = self._dataset.videos[video].size_hw
        files = self._found(video)
        try:
            if files:
                with Image.open(files[frame]) as image:
                    return np.asarray(image.convert("RGB").resize((width, height)))
        except OSError as error:
            self.missing.append(f"frame {frame} of video {video} cannot be read: {error}")
        return np.full((height, width, 3), _GREY, np.uint8)

    def _found(self, video: int) -> list[Path] | None:
        if video not in self._files:
            self._files[video] = None
            try:
                if self._root is not None:
                    self._files[video] = self._dataset.frame_files(video, self._root)
            except (OSError, ValueError) as error:
                self.missing.append(str(error))
        return self._files[video]


def _quiet(picture: np.ndarray) -> np.ndarray:
    """Darker and without colours, so that the mask is what one sees: uint8 (H, W, 3)."""
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.repeat((0.7 * grey).astype(np.uint8)[..., None], 3, axis=2)
