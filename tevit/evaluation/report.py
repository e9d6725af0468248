"""The report on one model's errors as one HTML file, the data of its charts, and filmstrips of errors.

The file works offline. The studio draws the same charts.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tevit.display import encode_jpeg, jpeg_uri, render
from tevit.evaluation.api import Evaluation
from tevit.evaluation.error_table import ErrorRecord, Errors, ErrorTable
from tevit.evaluation.errors import TYPES, UNMATCHABLE, Gap, Gaps
from tevit.evaluation.matching import IOU_THRESHOLDS, RECALL_POINTS, BreakdownRow, mean_of_known, percent
from tevit.io.files import atomic
from tevit.io.ytvis import Dataset, Results
from tevit.masks import ops as masks
from tevit.results import RLE, VideoResult

HEIGHT, WIDTH = 96, 128  # of a thumbnail, pixels
MAX_FRAMES = 5  # of a filmstrip
COLOURS = {"agreed": (59, 174, 109), "missed": (217, 74, 112), "invented": (227, 160, 32)}
"""RGB of pixels in both, in the ground truth alone, in the prediction alone; distinguishable by colour-blind people
too: their brightness differs."""
_MARGIN, _MIN_HEIGHT = 0.35, 48  # of the crop: around the object, of its larger side; the least height, pixels
_OPACITY, _GREY, _BRIGHT = 0.45, 96, 150
_VIDEOS = 8  # whose masks are kept decoded from JSON
_Masks = Mapping[int, Sequence[RLE | None]]


@dataclass(frozen=True)
class Thumbnail:
    """One frame of a filmstrip. role: "worst", "median", "best" or "" for one between."""

    frame: int
    iou: float | None
    role: str


def choose_frames(
    ious: Mapping[int, float | None], roles: Mapping[int | None, str], count: int = MAX_FRAMES
) -> list[Thumbnail]:
    """Frames with a role and some between, in temporal order. ious: of the frames where either track is present."""
    named = [frame for frame in roles if frame is not None]
    spread = list(ious)
    if len(spread) > count:
        last = len(spread) - 1
        spread = [spread[round(i * last / (count - 1))] for i in range(count)] if count > 1 else spread[:1]
    between = [frame for frame in spread if frame not in named]
    shown = sorted([*named, *between[: max(0, count - len(named))]])
    return [Thumbnail(frame, ious[frame], roles.get(frame, "")) for frame in shown]


def draw_thumbnail(picture: "np.ndarray", size_hw: tuple[int, int], truth: RLE | None, prediction: RLE | None) -> bytes:
    """JPEG of HEIGHT x WIDTH, cropped around both masks. picture: BGR, at most the video's size, which is size_hw."""
    import cv2
    import numpy as np

    crop = _crop([rle for rle in (truth, prediction) if rle is not None], size_hw)
    small = _cut(picture, crop, size_hw, cv2.INTER_AREA)
    decoded = [np.zeros(size_hw, np.uint8) if rle is None else masks.decode(rle) for rle in (truth, prediction)]
    sides = [_cut(mask, crop, size_hw, cv2.INTER_NEAREST).astype(bool) for mask in decoded]
    return encode_jpeg(_paint(small, *sides))


def _cut(
    image: "np.ndarray", crop: tuple[float, float, float, float], size_hw: tuple[int, int], interpolation: int
) -> "np.ndarray":
    """The crop of an image, HEIGHT x WIDTH. crop: as `_crop` returns it, pixels of the video."""
    import cv2

    top, left, height, width = crop
    ratio = image.shape[0] / size_hw[0], image.shape[1] / size_hw[1]
    rows = slice(int(top * ratio[0]), max(int((top + height) * ratio[0]), int(top * ratio[0]) + 1))
    columns = slice(int(left * ratio[1]), max(int((left + width) * ratio[1]), int(left * ratio[1]) + 1))
    return cv2.resize(image[rows, columns], (WIDTH, HEIGHT), interpolation=interpolation)


def _crop(present: Sequence[RLE], size_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    """Top, left, height and width of the crop, pixels of the video, in the thumbnail's aspect ratio."""
    height, width = size_hw
    x1, y1, x2, y2 = masks.to_box_xyxy(masks.union(present)).tolist() if present else (0, 0, width, height)
    margin = _MARGIN * max(x2 - x1, y2 - y1)
    crop_height = max(y2 - y1 + 2 * margin, (x2 - x1 + 2 * margin) * HEIGHT / WIDTH, _MIN_HEIGHT)
    crop_height = min(crop_height, height)
    crop_width = min(crop_height * WIDTH / HEIGHT, width)
    top = min(max((y1 + y2 - crop_height) / 2, 0), height - crop_height)
    left = min(max((x1 + x2 - crop_width) / 2, 0), width - crop_width)
    return top, left, crop_height, crop_width


def _paint(picture: "np.ndarray", truth: "np.ndarray", prediction: "np.ndarray") -> "np.ndarray":
    """A copy with agreed, missed and invented pixels in their colours, outlined in their full colours, and around all a
    line that is dark on bright and bright on dark pictures. truth, prediction: bool."""
    import cv2
    import numpy as np

    result, kernel = picture.copy(), np.ones((3, 3), np.uint8)
    kinds = {"agreed": truth & prediction, "missed": truth & ~prediction, "invented": prediction & ~truth}
    for kind, pixels in kinds.items():
        colour = np.array(COLOURS[kind][::-1], np.float32)
        edge = pixels & ~cv2.erode(pixels.astype(np.uint8), kernel, borderValue=1).astype(bool)
        result[pixels] = ((1 - _OPACITY) * result[pixels] + _OPACITY * colour).astype(np.uint8)
        result[edge] = colour.astype(np.uint8)
    either = truth | prediction
    around = cv2.dilate(either.astype(np.uint8), kernel).astype(bool) & ~either
    if around.any():
        result[around] = 0 if picture[around].mean() > _BRIGHT else 255
    return result


# --- of a data set on disk


class FramePictures:
    """A data set's frames for small pictures; grey where there is none. missing: why, a sentence each."""

    def __init__(self, dataset: Dataset, root: str | os.PathLike | None):
        self.missing: list[str] = []
        self._dataset, self._root = dataset, root
        self._files: dict[int, list[Path]] = {}

    def read(self, video_id: int, frame: int) -> "np.ndarray":
        """A frame in its video's size, uint8 (H, W, 3), BGR."""
        import cv2
        import numpy as np

        from tevit.video.decode import decode_image

        if video_id not in self._files:
            self._files[video_id] = []
            try:
                if self._root is not None:
                    self._files[video_id] = self._dataset.frame_files(video_id, self._root)
            except (OSError, ValueError) as error:
                self.missing.append(str(error))
        height, width = self._dataset.videos[video_id].size_hw
        if files := self._files[video_id]:
            try:
                picture = decode_image(files[frame].read_bytes(), str(files[frame]))
                if picture is not None:
                    return picture if picture.shape[:2] == (height, width) else cv2.resize(picture, (width, height))
                self.missing.append(f"{files[frame]}: not an image that can be read")
            except (OSError, ValueError) as error:  # removed since, or too large
                self.missing.append(str(error))
        return np.full((height, width, 3), _GREY, np.uint8)


class ErrorFilmstrips:
    """Filmstrips of errors from a data set's frames; a missing frame is grey. missing: why, a sentence each."""

    def __init__(self, dataset: Dataset, results: Results, root: str | os.PathLike):
        self._dataset, self._results, self._frames = dataset, results, FramePictures(dataset, root)
        self.missing = self._frames.missing
        self._tracks = lru_cache(_VIDEOS)(self._read_tracks)

    def pictures(self, record: ErrorRecord) -> list[dict[str, str]]:
        """The frames of an error in temporal order: "uri" (of a JPEG) and "caption" of each."""
        ious = dict(zip(record.frames, record.frame_ious, strict=True))
        order = sorted(ious, key=lambda frame: ious[frame])
        if not order:
            return []
        best = max(ious, key=lambda frame: ious[frame])
        roles = {best: "best", order[(len(order) - 1) // 2]: "median", record.worst_frame: "worst"}
        info, sides = self._dataset.videos[record.video_id], self._tracks(record.video_id)
        ids = record.truth_id, record.prediction_id
        tracks = [None if id is None else side.get(id) for side, id in zip(sides, ids, strict=True)]
        pictures = []
        for item in choose_frames(ious, roles):
            truth, prediction = (track[item.frame] if track is not None else None for track in tracks)
            jpeg = draw_thumbnail(self._frames.read(record.video_id, item.frame), info.size_hw, truth, prediction)
            caption = f"frame {item.frame}, IoU {item.iou:.2f}" + (f", {item.role}" if item.role else "")
            pictures.append({"uri": jpeg_uri(jpeg), "caption": caption})
        return pictures

    def _read_tracks(self, video_id: int) -> tuple[_Masks, _Masks]:
        """The masks of ground truth and predictions by their ids."""
        info, names = self._dataset.videos[video_id], self._dataset.categories
        videos: tuple[VideoResult, VideoResult] = self._dataset.video(video_id), self._results.video(info, names)
        truth, prediction = ({track.id: track.rles for track in video.tracks} for video in videos)
        return truth, prediction


# Every colour has a contrast of at least 3:1 to the light page (#ffffff) and to the dark one (#1a1f27).
ACCENT = "#4a80e8"
TYPE_COLOURS: Mapping[str, str] = {
    "classification": "#8f72f5",
    "spatial": "#2490d0",
    "temporal": "#159a8a",
    "both": "#858f9d",
    "duplicate": "#b8860b",
    "background": "#d9653b",
    "missed": "#d94a70",
    UNMATCHABLE: "#b06ab3",
    "correct": "#2c9a5b",
    "explained": "#7f8a98",
}
MODEL_COLOURS = (ACCENT, "#8590a0", "#b0833c", "#6c9a8b")
TRUTH_TYPES = ("correct", "explained", "missed", UNMATCHABLE)
BINS = 25
MAX_CLASSES = 60


@dataclass(frozen=True)
class Bars:
    """values: one for each name, in points of AP; None without ground truth."""

    names: tuple[str, ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Line:
    """y: None where it is unknown."""

    x: tuple[float, ...]
    y: tuple[float | None, ...]


@dataclass(frozen=True)
class Histogram:
    """edges: of the bins, one more than there are bins. right, wrong: predictions in each bin."""

    edges: tuple[float, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]

    @property
    def centres(self) -> tuple[float, ...]:
        """Of the bins."""
        return tuple(round((low + high) / 2, 4) for low, high in zip(self.edges, self.edges[1:], strict=False))


@dataclass(frozen=True)
class ConfusionMatrix:
    """classes: positions of n classes, the last one -1 for nothing. counts: n x n tracks, rows: class of the ground
    truth, columns: class of the prediction. shares: counts divided by their row's sum, in [0, 1]."""

    classes: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]
    shares: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Points:
    """Ground-truth tracks of one type. rows: of the error table. lengths: in frames. ious: with the prediction that
    matches or best overlaps each, in [0, 1]."""

    rows: tuple[int, ...]
    lengths: tuple[int, ...]
    ious: tuple[float, ...]


def error_costs(dap: Mapping[str, float], ap: float) -> Bars:
    """AP gained by fixing each type of error. ap: -1: no ground truth."""
    return Bars(tuple(dap), tuple(None if ap < 0 else round(100 * cost, 3) for cost in dap.values()))


def oracle_gaps(gap: Gap) -> Bars:
    """AP lost to tracking, to classes and to masks."""
    values = (gap.tracking, gap.classification, gap.masks)
    known = gap.truths and gap.ap >= 0
    names = ("tracking", "classes", "masks and misses")
    return Bars(names, tuple(round(100 * value, 3) if known else None for value in values))


def ap_bars(names: Sequence[str], aps: Sequence[float]) -> Bars:
    """AP, in [0, 1], -1: no ground truth, such as that of each class."""
    return Bars(tuple(names), tuple(None if value < 0 else round(100 * value, 2) for value in aps))


def ap_by_part(parts: Mapping[str, BreakdownRow]) -> Bars:
    """AP of the parts of a data set that have ground truth, with the number of their tracks."""
    known = {f"{name} ({part.truths})": part.AP for name, part in parts.items() if part.truths}
    return ap_bars(list(known), list(known.values()))


def ap_by_threshold(precision: np.ndarray) -> Line:
    """AP at each IoU threshold, in percent. precision: float64 (T, R, K), -1: no ground truth."""
    values = [mean_of_known(row) for row in precision]
    points = tuple(None if value < 0 else round(100 * value, 2) for value in values)
    return Line(tuple(IOU_THRESHOLDS.round(2).tolist()), points)


def precision_by_recall(precision: np.ndarray, threshold: int, category: int | None = None) -> Line | None:
    """The precision-recall curve at one IoU threshold; None without ground truth.

    precision: float64 (T, R, K), -1: no ground truth. threshold: index of the IoU threshold, 0: 0.50, 5: 0.75.
    category: position of one class, None: the mean of all.
    """
    known = np.flatnonzero(precision[0, 0] > -1)
    chosen = known if category is None else known[known == category]
    if not len(chosen):
        return None
    return Line(tuple(RECALL_POINTS.tolist()), tuple(precision[threshold][:, chosen].mean(axis=1).round(4).tolist()))


def confusion_matrix(table: ErrorTable, rows: np.ndarray, count: int) -> ConfusionMatrix:
    """Which classes are taken for which; of more than MAX_CLASSES those that are confused most often.

    rows: bool (N,), of `table.confused`. count: of all classes.
    """
    counts = np.zeros((count + 1, count + 1), np.int64)
    np.add.at(counts, (table.truth_class[rows], table.predicted_class[rows]), 1)  # -1 is the last row and column
    totals = counts.sum(axis=0) + counts.sum(axis=1)
    present, wrong = np.flatnonzero(totals[:-1]), totals - 2 * counts.diagonal()
    shown = np.sort(present[np.lexsort((present, -wrong[present]))][:MAX_CLASSES])
    counts = counts[np.ix_([*shown, -1], [*shown, -1])]
    shares = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).round(4)
    return ConfusionMatrix(
        (*shown.tolist(), -1), tuple(map(tuple, counts.tolist())), tuple(map(tuple, shares.tolist()))
    )


def score_histogram(table: ErrorTable, rows: np.ndarray, every: np.ndarray) -> Histogram:
    """Right and wrong predictions by score.

    rows: bool (N,). every: bool (N,), predictions whose scores the bins span, beside [0, 1].
    """
    scores = table.score[every]
    edges = np.linspace(min(0.0, scores.min(initial=0)), max(1.0, scores.max(initial=1)), BINS + 1)
    chosen = rows & ~table.error, rows & table.error
    right, wrong = (tuple(np.histogram(table.score[own], edges)[0].tolist()) for own in chosen)
    return Histogram(tuple(edges.tolist()), right, wrong)


def iou_by_length(table: ErrorTable, rows: np.ndarray) -> Mapping[str, Points]:
    """Ground truth by length and IoU, for each of TRUTH_TYPES that occurs. rows: bool (N,), of ground truth."""
    result = {}
    for type in TRUTH_TYPES:
        own = np.flatnonzero(rows & table.is_type(type))
        if len(own):
            result[type] = Points(*(tuple(v.tolist()) for v in (own, table.length[own], table.iou[own].round(4))))
    return result


MAX_ERRORS = 10  # of each type, in the table of the most expensive ones
MAX_FILMSTRIPS = 100
PIXELS = {"agreed": "in both", "missed": "ground truth alone", "invented": "prediction alone"}
FIGURE_NAMES = ("AP", "AP50", "AP75", "AR1", "AR10", "APs", "APm", "APl")
MEANINGS = {
    "classification": "in place, wrong class",
    "spatial": "right class, near the object in most frames, masks too poor",
    "temporal": "right class, on the object in some frames only",
    "both": "wrong class and out of place",
    "duplicate": "a better prediction matches the object already",
    "background": "on nothing",
    "missed": "ground truth that no prediction comes near",
    UNMATCHABLE: "fits annotation 0, which the official evaluation can never match",
}


def write_report(
    path: str | os.PathLike,
    title: str,
    evaluation: Evaluation,
    errors: Errors,
    gaps: Gaps,
    filmstrips: ErrorFilmstrips | None = None,
) -> None:
    """Write the page; it contains plotly's script, which draws the figures, and pictures of the worst errors.

    filmstrips: None lists the first errors of each type without pictures.
    """
    from plotly.offline import get_plotlyjs

    limits, counts = errors.limits, Counter(record.type for record in errors.records)
    worst = _worst(errors, filmstrips is not None)
    strips = [filmstrips.pictures(record) for record in worst] if filmstrips else []
    footer = [
        f"A prediction matches ground truth from IoU {limits.positive:g}.",
        f"Below {limits.background:g} a prediction is on nothing.",
        "The types are TIDE's and TIVE's; AP is the official one of YouTube-VIS.",
        *(f"Note: {warning}." for warning in (*evaluation.warnings, *(filmstrips.missing if filmstrips else ()))),
    ]
    page = render(
        "errors.html",
        title=title,
        subtitle=evaluation.heading,
        cards=[*((name, percent(evaluation.figures[name])) for name in FIGURE_NAMES), *_identity_cards(evaluation)],
        footer=" ".join(footer),
        at=f"AP{round(100 * limits.positive)}",
        colours=TYPE_COLOURS,
        types=[(type, MEANINGS[type], counts[type], errors.gain(type)) for type in errors.dap],
        worst=[_cells(evaluation, record) for record in worst],
        strips=strips,
        pixels=[(word, "#" + bytes(COLOURS[kind]).hex()) for kind, word in PIXELS.items()],
        data=page_data(evaluation, errors, gaps),
        plotly=get_plotlyjs(),
    )
    with atomic(path) as temporary:
        temporary.write_text(page, "utf-8")


def _identity_cards(evaluation: Evaluation) -> list[tuple[str, str]]:
    """HOTA at its best score threshold, and without one the figures beside AP that the evaluation has."""
    if evaluation.identity is None or evaluation.figures["AP"] < 0:
        return []
    figures, (threshold, best) = evaluation.identity.figures, evaluation.identity.best()
    names = [name for name in ("HOTA", "DetA", "AssA", "IDF1") if name in evaluation.figures]
    cards = [*((name, percent(figures[name])) for name in names), ("switches", str(figures["switches"]))]
    return [*cards, (f"HOTA, score ≥ {threshold:.2g}", percent(best))]


def _worst(errors: Errors, of_all_types: bool) -> list[ErrorRecord]:
    """The most expensive errors, of all types together or the first of each."""
    errors_only = [record for record in errors.records if record.type in TYPES]
    ranked = sorted(errors_only, key=lambda record: (-record.share, -(record.score or 1.0)))
    if of_all_types:
        return ranked[:MAX_FILMSTRIPS]
    costly = [record for record in ranked if record.share > 0]
    first = [record for type in TYPES for record in [r for r in costly if r.type == type][:MAX_ERRORS]]
    return sorted(first, key=lambda record: -record.share)


def _cells(evaluation: Evaluation, record: ErrorRecord) -> tuple[str, ...]:
    """The cells of a row of the table of errors."""

    def name(id: int | None) -> str:
        return "" if id is None else evaluation.names.get(id, str(id))

    return (
        record.type,
        record.video,
        name(record.truth_category_id),
        name(record.category_id),
        "" if record.score is None else f"{record.score:.2f}",
        f"{record.iou:.2f}",
        "" if record.worst_frame is None else str(record.worst_frame),
        f"{100 * record.share:.2f}",
    )


def page_data(evaluation: Evaluation, errors: Errors, gaps: Gaps) -> dict[str, Any]:
    """The data of the page's charts ready for JSON; None without ground truth."""
    precision, names = evaluation.curves.precision[..., 0, 2], list(evaluation.names.values())
    parts = {**gaps.by_length, **{"1 object" if n == "1" else f"{n} objects": p for n, p in gaps.by_instances.items()}}
    known = errors.ap >= 0
    curves = [{"name": name, **_recall(precision, k)} for k, name in enumerate(names)]
    return {
        "costs": asdict(error_costs(errors.dap, errors.ap)) if known else None,
        "gap": _gap(gaps.whole) if known else None,
        "parts": [{"name": name, **_gap(gap)} for name, gap in parts.items() if gap.truths],
        "thresholds": asdict(ap_by_threshold(precision)) if known else None,
        "identity": _identity(evaluation) if known else None,
        "recall": [curve for curve in curves if curve["at50"] is not None],
        "mean": _recall(precision, None),
        "confusion": _confusion(names, errors.table),
        "scores": _scores(errors.table),
        "lengths": _lengths(names, errors.table),
        "colours": {**TYPE_COLOURS, "model": ACCENT},
    }


def _identity(evaluation: Evaluation) -> dict[str, Any] | None:
    """Identity figures in points over the score threshold; None where they were not measured."""
    if evaluation.identity is None:
        return None
    curve, thresholds = evaluation.identity.curve, evaluation.identity.thresholds.tolist()
    names = ("HOTA", "DetA", "AssA", "IDF1")
    return {"x": thresholds, "best": evaluation.identity.best()[0], **{n: (100 * curve[n]).tolist() for n in names}}


def _gap(gap: Gap) -> dict[str, Any]:
    """AP and what perfect tracking, classes and masks would add, in points."""
    return {"ap": round(100 * gap.ap, 3), "gaps": oracle_gaps(gap).values}


def _recall(precision: np.ndarray, category: int | None) -> dict[str, Any]:
    lines = {f"at{at}": precision_by_recall(precision, k, category) for at, k in ((50, 0), (75, 5))}
    return {name: line and {"x": line.x, "y": line.y} for name, line in lines.items()}  # asdict copies each number


def _confusion(names: Sequence[str], table: ErrorTable) -> dict[str, Any] | None:
    """names: of the classes, "nothing" last. counts and shares as of `ConfusionMatrix`. None: no track counts."""
    matrix = confusion_matrix(table, table.confused, len(names))
    shown = [*(names[place] for place in matrix.classes[:-1]), "nothing"]
    return {"names": shown, "counts": matrix.counts, "shares": matrix.shares} if table.confused.any() else None


def _scores(table: ErrorTable) -> dict[str, Any] | None:
    """The histogram with the centres of its bins; None without predictions."""
    rows = ~table.truth & ~table.is_type("ignored")
    histogram = score_histogram(table, rows, rows)
    width = histogram.edges[1] - histogram.edges[0]
    return {**asdict(histogram), "centres": histogram.centres, "width": width} if rows.any() else None


def _lengths(names: Sequence[str], table: ErrorTable) -> dict[str, Any]:
    """Type -> points of ground truth with their descriptions."""
    videos = table.overlaps[0].inputs.videos

    def text(row: int) -> str:
        return f"{videos[table.video[row]].name}, {names[table.truth_class[row]]} {table.truth_id[row]}"

    data = iou_by_length(table, table.truth)
    return {type: {**asdict(points), "text": list(map(text, points.rows))} for type, points in data.items()}
