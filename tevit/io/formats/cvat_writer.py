"""Writing CVAT's XML, version 1.1: for images, where identities are an attribute, and for video, where they are tracks.

A <mask> holds the mask's box (left, top, width, height) and, in `rle`, the lengths of the runs inside that box, row by
row, background first. Source: CVAT's documentation of the format and its issue 6487.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from tevit.io import json as jsonfile
from tevit.io.files import atomic
from tevit.io.formats.tracks import unique_name
from tevit.io.ytvis import frame_names
from tevit.masks import ops
from tevit.results import RLE, Track, VideoResult

TRACK, CROWD, SCORE = "track_id", "iscrowd", "score"
"""Names of the attributes of a mask that hold what CVAT has no place for."""


def write(path: str | os.PathLike, results: Iterable[VideoResult]) -> list[Path]:
    """Write videos as CVAT's XML for images, one in memory at a time, and NAME.labels.json in the same folder.

    The labels, with attributes for track, crowd and score, are for the "Raw" tab of a new CVAT task's label editor:
    CVAT imports only masks whose labels the task has. All videos' frames are images of one task.
    """
    labels: dict[str, None] = {}
    target = Path(path)
    labels_file = target.with_name(f"{target.stem}.labels.json")
    count = 0
    with atomic(target) as temporary, open(temporary, "w+", encoding="utf-8") as file:
        # The labels stand before the images but are known only after the last one, so images go to a second file.
        with tempfile.TemporaryFile("w+", encoding="utf-8", dir=temporary.parent) as images:
            for result in results:
                labels |= dict.fromkeys(result.categories.values())
                images.writelines(_images(result, count))
                count += result.length
            file.write(f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n{_meta(list(labels), count)}')
            images.seek(0)
            shutil.copyfileobj(images, file)
        file.write("</annotations>\n")
    with atomic(labels_file) as temporary:
        attribute = {"mutable": False, "input_type": "text", "default_value": "", "values": [""]}
        attributes = [{"name": name} | attribute for name in (TRACK, CROWD, SCORE)]
        content = [{"name": name, "attributes": attributes} for name in labels]
        temporary.write_text(jsonfile.dump_pretty(content) + "\n", encoding="utf-8")
    return [target, labels_file]


def _meta(labels: list[str], count: int) -> str:
    inner = "".join(
        f"<label><name>{escape(name)}</name><type>mask</type><attributes>"
        + "".join(
            f"<attribute><name>{attribute}</name><mutable>False</mutable><input_type>text</input_type>"
            "<default_value></default_value><values></values></attribute>"
            for attribute in (TRACK, CROWD, SCORE)
        )
        + "</attributes></label>\n"
        for name in labels
    )
    return (
        f"<version>1.1</version>\n<meta><task><size>{count}</size><mode>annotation</mode>"
        f"<labels>\n{inner}</labels></task></meta>\n"
    )


def _images(result: VideoResult, first: int) -> Iterator[str]:
    height, width = result.size_hw
    for frame, name in enumerate(frame_names(result)):
        yield f'<image id="{first + frame}" name={quoteattr(name)} width="{width}" height="{height}">\n'
        for track in result.tracks:
            if (rle := track.rles[frame]) is not None:
                label = quoteattr(result.categories[track.category_id])
                yield _mask_element(rle, track, f'label={label} source="manual"')
        yield "</image>\n"


def _mask_element(rle: RLE, track: Track, head: str) -> str:
    left, top, right, bottom = (int(edge) for edge in ops.to_box_xyxy(rle))
    runs = run_lengths(ops.decode_within(rle, (left, top, right, bottom)))
    values = {TRACK: track.id, CROWD: int(track.iscrowd), SCORE: track.score}
    attributes = "".join(f'<attribute name="{name}">{value}</attribute>' for name, value in values.items())
    return (
        f'<mask {head} occluded="0" rle="{", ".join(map(str, runs.tolist()))}" left="{left}" top="{top}" '
        f'width="{right - left}" height="{bottom - top}" z_order="0">{attributes}</mask>\n'
    )


def run_lengths(mask: np.ndarray) -> np.ndarray:
    """int64: run lengths of a mask, (H, W), row by row, background first."""
    flat = np.concatenate([[0], mask.ravel() != 0])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], edges, [mask.size]]))


def write_video(path: str | os.PathLike, results: Iterable[VideoResult]) -> list[Path]:
    """Write each video as CVAT's XML for video; several videos get NAME.<video>.xml each. Returns the files."""
    target, results = Path(path), iter(results)
    pending, names, files = list(islice(results, 2)), set[str](), list[Path]()
    with ExitStack() as stack:  # all files are renamed at the end, or none
        for result in chain(pending, results):
            file = target
            if len(pending) > 1:
                file = target.with_name(f"{target.stem}.{unique_name(result, names)}{target.suffix}")
            with open(stack.enter_context(atomic(file)), "w", encoding="utf-8") as out:
                out.writelines(_task_lines(result))
            files.append(file)
    return files


def _task_lines(result: VideoResult) -> Iterator[str]:
    height, width = result.size_hw
    labels = "".join(f"<label><name>{escape(name)}</name></label>\n" for name in result.categories.values())
    yield (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task>'
        f"<name>{escape(result.name)}</name><size>{result.length}</size><mode>interpolation</mode>"
        f"<start_frame>0</start_frame><stop_frame>{result.length - 1}</stop_frame><labels>\n{labels}</labels>"
        f"<original_size><width>{width}</width><height>{height}</height></original_size></task></meta>\n"
    )
    for track in result.tracks:
        yield from _track_lines(track, result.categories[track.category_id])
    yield "</annotations>\n"


def _track_lines(track: Track, label: str) -> Iterator[str]:
    yield f'<track id="{track.id}" label={quoteattr(label)} source="manual">\n'
    previous: RLE | None = None
    for frame, rle in enumerate(track.rles):
        # An absence is written as the last mask once more, outside.
        if (shown := rle or previous) is not None:
            yield _mask_element(shown, track, f'frame="{frame}" keyframe="1" outside="{int(rle is None)}"')
        previous = rle
    yield "</track>\n"
