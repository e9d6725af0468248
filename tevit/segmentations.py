"""The `segmentations` of YouTube-VIS JSON, one entry a frame, as checked RLE: a whole video's tracks in one go.

Three forms occur: COCO's compressed text, plain run lengths, polygons. What is between them and the masks is done for
all masks of a video at once, because a data set has a hundred thousand of them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from tevit import masks
from tevit.runs import check_counts, check_runs
from tevit.tracks import RLE


class TrackMasks(NamedTuple):
    """One track's masks as the file has them.

    rles: T masks, None for null (a mask of no pixel stays one). areas: float64 (T,), the masks' own pixels.
    """

    rles: list[RLE | None]
    areas: np.ndarray


class Fault(NamedTuple):
    """What is wrong with one frame of one track; frame None: with the whole track. Positions count from 0."""

    track: int
    frame: int | None
    text: str


class _Segment(msgspec.Struct):
    size: tuple[int, int]
    counts: msgspec.Raw


class _Place(NamedTuple):
    track: int
    frame: int
    size: tuple[int, int]


_FRAMES = msgspec.json.Decoder(list[_Segment | list[Any] | None])
_PLAIN = b"0123456789, \t\r\n"


def read(raws: Sequence[bytes | msgspec.Raw], size_hw: Sequence[int] | None) -> tuple[list[TrackMasks], list[Fault]]:
    """The masks of N tracks from the JSON of their `segmentations`, and every fault; faulty frames are None.

    size_hw: the video's height and width, for polygons, which do not say it; None: polygons are a fault. A mask's own
    size is not compared with it.
    """
    batch = _Batch([], [], [], [])
    for track, raw in enumerate(raws):
        batch.tracks.append(_read_track(raw, track, size_hw, batch))
    _finish_texts(batch)
    _finish_runs(batch)
    return batch.tracks, sorted(batch.faults, key=lambda fault: (fault.track, fault.frame or 0))


class _Batch(NamedTuple):
    """What waits until a whole video is together, so that it is checked and compressed in one go."""

    tracks: list[TrackMasks]
    texts: list[tuple[_Place, bytes]]
    runs: list[tuple[_Place, bytes]]
    faults: list[Fault]

    def keep(self, place: _Place, rle: RLE, area: float) -> None:
        self.tracks[place.track].rles[place.frame] = rle
        self.tracks[place.track].areas[place.frame] = area


def _read_track(raw: bytes | msgspec.Raw, track: int, size_hw: Sequence[int] | None, batch: _Batch) -> TrackMasks:
    try:
        frames = _FRAMES.decode(raw)
    except msgspec.DecodeError:
        return _read_strange(raw, track, size_hw, batch)
    for frame, segment in enumerate(frames):
        if isinstance(segment, _Segment):
            _sort(_Place(track, frame, segment.size), bytes(segment.counts), batch)
    result = TrackMasks([None] * len(frames), np.zeros(len(frames)))
    for frame, segment in enumerate(frames):
        if isinstance(segment, list):
            _read_one(segment, size_hw, Fault(track, frame, ""), result, batch)
    return result


def _sort(place: _Place, counts: bytes, batch: _Batch) -> None:
    if counts[:1] == b'"':
        text = counts[1:-1] if b"\\" not in counts else msgspec.json.decode(counts, type=str).encode()
        batch.texts.append((place, text))
    else:
        batch.runs.append((place, counts))


def _read_strange(raw: bytes | msgspec.Raw, track: int, size_hw: Sequence[int] | None, batch: _Batch) -> TrackMasks:
    """Frame by frame, to say which frames are wrong and keep the others."""
    try:
        frames = msgspec.json.decode(raw, type=list)
    except (msgspec.DecodeError, RecursionError):
        batch.faults.append(Fault(track, None, f"expected a list of segmentations, got {bytes(raw)[:40].decode()}"))
        return TrackMasks([], np.zeros(0))
    result = TrackMasks([None] * len(frames), np.zeros(len(frames)))
    for frame, segment in enumerate(frames):
        _read_one(segment, size_hw, Fault(track, frame, ""), result, batch)
    return result


def _read_one(segment: object, size_hw: Sequence[int] | None, where: Fault, result: TrackMasks, batch: _Batch) -> None:
    frame = where.frame or 0
    try:
        result.rles[frame] = masks.parse(segment, size_hw)
    except ValueError as error:
        batch.faults.append(where._replace(text=str(error)))
    result.areas[frame] = masks.areas([result.rles[frame]])[0]


def _finish_texts(batch: _Batch) -> None:
    checked = check_counts([text for _, text in batch.texts], [place.size for place, _ in batch.texts])
    for i, ((place, text), area) in enumerate(zip(batch.texts, checked.areas.tolist(), strict=True)):
        if i in checked.faults:
            batch.faults.append(Fault(place.track, place.frame, checked.faults[i]))
        else:
            batch.keep(place, {"size": list(place.size), "counts": text}, area)


def _finish_runs(batch: _Batch) -> None:
    for place, counts in batch.runs:
        if not _is_plain(counts):
            segment = {"size": place.size, "counts": msgspec.json.decode(counts)}
            _read_one(segment, None, Fault(place.track, place.frame, ""), batch.tracks[place.track], batch)
    plain = [(place, counts[1:-1]) for place, counts in batch.runs if _is_plain(counts)]
    lengths = np.array([counts.count(b",") + 1 for _, counts in plain], int)
    # The one text parser of numpy's that gives integers; what it is given are digits, commas and blanks only.
    runs = (
        np.fromstring(b",".join(counts for _, counts in plain).decode(), np.int64, sep=",")
        if plain
        else np.zeros(0, int)
    )
    checked = check_runs(runs, lengths, np.array([place.size for place, _ in plain]))
    parts = np.split(runs, np.cumsum(lengths)[:-1])
    good = [i for i in range(len(plain)) if i not in checked.faults]
    rles = masks.from_runs([parts[i] for i in good], [plain[i][0].size for i in good])
    for i, rle in zip(good, rles, strict=True):
        batch.keep(plain[i][0], rle, checked.areas[i])
    batch.faults.extend(Fault(plain[i][0].track, plain[i][0].frame, text) for i, text in checked.faults.items())


def _is_plain(counts: bytes) -> bool:
    """Is it a list of at least one number, all without sign, point or exponent?"""
    return (
        counts[:1] == b"["
        and len(counts) > 2
        and not counts[1:-1].translate(None, _PLAIN)
        and counts[1:-1].strip() != b""
    )
