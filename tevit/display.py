"""HTML and pictures: Jinja2 templates of reports and pages, and results as frames with masks, filmstrips and tables.

Templates lie in `tevit/templates` and extend `base.html`. Frames are decoded again from the video that a result was
predicted on; without it masks are drawn on grey.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import numpy as np
from PIL import Image

from tevit.results import VideoResult

if TYPE_CHECKING:
    from jinja2 import Environment

    from tevit.evaluation.api import Evaluation
    from tevit.evaluation.error_table import Errors
    from tevit.inference.predictor import Predictor

JPEG_QUALITY = 82


@cache
def environment(folder: Path) -> "Environment":
    """Jinja2's environment for the templates below a folder.

    Values are escaped unless a template marks them `safe`; a missing value is an error. The filter `json` gives JSON
    that is escaped as any other text, which suits attributes in double quotes; inside <script> use `tojson`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    result = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    result.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return result


def render(name: str, /, **values: object) -> str:
    """The text of a template in `tevit/templates`, such as "errors.html". Raises: jinja2.UndefinedError."""
    return environment(Path(__file__).with_name("templates")).get_template(name).render(values)


def encode_jpeg(bgr: np.ndarray, height: int | None = None, width: int | None = None) -> bytes:
    """A picture, uint8 (H, W, 3), BGR, as JPEG; one that is larger than height or width scaled down, in proportion."""
    import cv2

    ratio = min([1.0, *(most / own for most, own in zip((height, width), bgr.shape, strict=False) if most)])
    if ratio < 1:
        size = max(1, round(bgr.shape[1] * ratio)), max(1, round(bgr.shape[0] * ratio))
        bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def jpeg_uri(jpeg: bytes) -> str:
    """A JPEG as the address of an image in HTML."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


# --- frames, filmstrips and tables


STRIP_PICTURES = 6
STRIP_FRAMES = 200  # a filmstrip decodes no frame behind these
STRIP_HEIGHT = 120  # pixels
TABLE_ROWS = 20
GREY = 40


class DrawOptions(TypedDict, total=False):
    """opacity: of the masks, 0 to 1. contours, labels: what is drawn. min_score: tracks below it are left out."""

    opacity: float
    contours: bool
    labels: bool
    min_score: float


def draw(
    result: VideoResult, frame: int, picture: np.ndarray | Image.Image | None, **options: Unpack[DrawOptions]
) -> np.ndarray:
    """uint8 (H, W, 3): the tracks on a frame. picture: the frame; None: decoded from the result's source."""
    from tevit.video.overlay import overlay

    result.check_frame(frame)
    if picture is None:
        return next(drawn_frames(result, [frame], **options))[1]
    return overlay(np.asarray(picture), result, frame, **options)


def drawn_frames(
    result: VideoResult, frames: Sequence[int], **options: Unpack[DrawOptions]
) -> Iterator[tuple[int, np.ndarray]]:
    """The given frames in increasing order, uint8 (H, W, 3), with the tracks on them, in one pass over the video."""
    from tevit.video.overlay import overlay

    height, width = result.size_hw
    if result.source is None:
        blank = np.full((height, width, 3), GREY, np.uint8)
        yield from ((frame, overlay(blank, result, frame, **options)) for frame in frames)
        return
    wanted, last = set(frames), max(frames)
    for frame in result.source.frames():
        if frame.index in wanted:
            yield frame.index, overlay(frame.rgb, result, frame.index, **options)
        if frame.index >= last:
            return


# --- HTML


def video_html(result: VideoResult) -> str:
    """A filmstrip with masks and a table of the tracks."""
    from tevit.video.overlay import track_colors

    span = min(result.length, STRIP_FRAMES)
    frames = sorted(set(np.linspace(0, span - 1, min(span, STRIP_PICTURES)).round().astype(int).tolist()))
    pictures = [
        {
            "uri": jpeg_uri(encode_jpeg(rgb[..., ::-1], STRIP_HEIGHT, 4 * STRIP_HEIGHT)),
            "caption": f"frame {frame}, {result.times[frame]:.2f} s",
        }
        for frame, rgb in (drawn_frames(result, frames, labels=False) if frames else ())
    ]
    rows, colors = [], track_colors(track.id for track in result.tracks)
    for track in sorted(result.tracks, key=lambda track: -track.score):
        seen = np.flatnonzero(track.present)
        span_s = f"{result.times[seen[0]]:.2f} to {result.times[seen[-1]]:.2f} s" if len(seen) else ""
        cells = (track.id, result.category_name(track.category_id), f"{track.score:.2f}", len(seen), span_s)
        rows.append({"color": "#" + bytes(colors[track.id]).hex(), "cells": cells})
    head = ("track", "class", "score", "frames", "present")
    return _html(repr(result), [(head, rows)], pictures)


def evaluation_html(evaluation: "Evaluation") -> str:
    """A table of the figures: all classes, then each, in per cent."""
    names = tuple(evaluation.figures)
    figures = [("all", evaluation.figures)]
    if len(evaluation.names) > 1:
        figures += [(evaluation.names[id], values) for id, values in evaluation.per_class.items()]
    rows = [{"cells": (name, *(_percent(values[column]) for column in names))} for name, values in figures]
    return _html(repr(evaluation), [(("class", *names), rows)], warnings=evaluation.warnings)


def errors_html(errors: "Errors") -> str:
    """A table of the error types: how many, and the AP that fixing each would gain."""
    counts = Counter(record.type for record in errors.records)
    rows = [{"cells": (type, counts[type], errors.gain(type))} for type in errors.dap]
    return _html(repr(errors), [(("error", "tracks", "ΔAP"), rows)])


def predictor_html(predictor: "Predictor") -> str:
    """A table of the model, its device and its classes."""
    config = predictor.config
    classes = ", ".join(name for _, name in config.categories)
    facts = {
        "backbone": config.backbone.kind,
        "queries": config.queries,
        "device": f"{predictor.device}, {str(predictor.dtype).removeprefix('torch.')}",
        "frames are resized to": f"at most {config.scale[1]}x{config.scale[0]}",
        "classes": classes,
    }
    return _html(repr(predictor), [((), [{"cells": item} for item in facts.items()])], warnings=predictor.warnings)


def _html(
    title: str,
    tables: Sequence[tuple[Sequence[str], Sequence[Mapping]]],
    pictures: Sequence[Mapping] = (),
    warnings: Sequence[str] = (),
) -> str:
    shown = [
        {"head": head, "rows": rows[:TABLE_ROWS], "text": _text_columns(head, rows), "more": len(rows) - TABLE_ROWS}
        for head, rows in tables
    ]
    return render("notebook.html", title=title, tables=shown, pictures=pictures, warnings=warnings)


def _text_columns(head: Sequence[str], rows: Sequence[Mapping]) -> list[bool]:
    """Whether each column has text, which is left; numbers are right."""
    if not rows:
        return [True] * len(head)
    columns = zip(*(row["cells"] for row in rows), strict=True)
    return [any(letter.isalpha() for cell in column for letter in str(cell)) for column in columns]


def _percent(value: float) -> str:
    return "" if value < 0 else f"{100 * value:.1f}"
