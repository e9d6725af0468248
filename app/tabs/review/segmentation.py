"""Routes that compute masks for a correction: propagation over a range of frames, and a proposal from points or a box.

Both take and return masks as COCO's compressed run lengths. Propagation answers with lines of JSON while it runs: its
progress, at the end the masks or the reason why there are none. Whoever closes the connection cancels it.
Beside them: changes of any tracks of the video that the player shows, merged, cut, or given masks of a prediction.
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from tevit.masks import ops
from tevit.results import RLE, Track
from tevit.review.decisions import (
    AcceptMasks,
    Action,
    AddTrack,
    Decision,
    MergeTracks,
    Overlap,
    PredictionRef,
    SplitTrack,
    TrackRef,
    decide,
    tracks_of,
)
from tevit.review.labels import predicted_masks, take_masks
from tevit.review.queue import Answer

from ...access import has_too_many_values
from ...player.component import PlayerView, ViewRegistry
from ...player.proxy import BrowserVideo, VideoSource
from ...tasks import Quota, Runner, Task, TaskType
from .page_state import ReviewPage, frame_range, integer, predicted_answer, read_masks
from .session import IndexedLog

if TYPE_CHECKING:
    import numpy as np

    from tevit.progress import Progress
    from tevit.review.segmenter import BoxXYXY, Point, Segmenter


MAX_REQUEST = 32_000_000  # bytes: masks of some thousand key frames
MAX_FRAMES_BYTES = 1_500_000_000  # of the range's frames, which are kept in memory
MAX_POINTS = 200
_TICK = 0.1  # seconds between two lines of progress
_NO_CACHE = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff", "X-Accel-Buffering": "no"}


class Segmentation:
    """The studio's segmenter and its queue: one request is computed at a time."""

    def __init__(self, segmenter: "Segmenter"):
        self.segmenter = segmenter
        self.runner = Runner(1, "segmenter")
        self.quota = Quota(waiting=32, per_visitor=4)

    def submit(self, task: TaskType) -> TaskType:
        """Append a task to the queue. Raises: QueueFullError."""
        if task.visitor:
            self.quota.check(self.runner.visitors(), task.visitor, "masks")
        return self.runner.submit(task)

    def close(self) -> None:
        """Cancel everything and wait until it has stopped."""
        self.runner.close()


@dataclass(frozen=True)
class ProposedMask:
    """counts: COCO's compressed run lengths. confidence: 0 to 1."""

    frame: int
    counts: str
    confidence: float


def routes(views: ViewRegistry, segmentation: Segmentation) -> Sequence[BaseRoute]:
    """The routes that the server adds to the page's."""

    async def name(request: Request) -> Response:
        return JSONResponse({"name": segmentation.segmenter.name}, headers=_NO_CACHE)

    async def compute(answer: Any, request: Request) -> Response:
        view = views.get(request.path_params["token"])
        if view is None:
            return PlainTextResponse("This video is not open any more: open the question again.", 404, _NO_CACHE)
        try:
            return await answer(await _read_json(request), view, segmentation, request)
        except (ValueError, OSError) as error:
            return PlainTextResponse(str(error), 422, _NO_CACHE)

    return [
        Route("/studio/review/{token}/propagate", partial(compute, _propagate), methods=["POST"]),
        Route("/studio/review/{token}/propose", partial(compute, _propose), methods=["POST"]),
        Route("/studio/segmenter", name, methods=["GET"]),
    ]


def _visitor(request: Request) -> str:
    """As quotas count it: see `FairQueue`."""
    return request.scope.get("state", {}).get("counted_as", "")


async def _read_json(request: Request) -> Mapping[str, Any]:
    """Raises: ValueError where it is too long, or no JSON object."""
    content = bytearray()
    try:
        async for part in request.stream():
            content += part
            if len(content) > MAX_REQUEST:
                raise ValueError(f"expected at most {MAX_REQUEST} bytes of masks")
    except ClientDisconnect as error:
        raise ValueError("the connection was closed") from error
    if has_too_many_values(content):
        raise ValueError("expected fewer values")
    try:
        data = json.loads(content)
    except RecursionError:
        raise ValueError("expected values that are not nested so deep") from None
    if not isinstance(data, Mapping):
        raise ValueError(f"expected an object, got {str(data)[:40]}")
    return data


# --- propagation


@dataclass(frozen=True)
class PropagationRequest:
    """keys: frame -> mask. first, last: the range. predictions: frame -> a model's mask."""

    keys: Mapping[int, RLE]
    first: int
    last: int
    predictions: Mapping[int, RLE]


def read_propagation(data: Mapping[str, Any], view: PlayerView) -> PropagationRequest:
    """Of the key frames outside of the range only the nearest on each side are kept. Raises: ValueError."""
    first, last = integer(data, "first", 0, view.length), integer(data, "last", 0, view.length)
    if first > last:
        raise ValueError(f"expected a range of frames, got {first} to {last}")
    size_hw = view.frames.size_hw
    masks = dict(sorted(read_masks(data, size_hw, view.length).items()))
    keys = {t: ops.empty(size_hw) if mask is None else mask.rle for t, mask in masks.items()}
    before, after = [t for t in keys if t < first][:-1], [t for t in keys if t > last][1:]
    outside = {t: rle for t, rle in keys.items() if t not in {*before, *after}}
    return PropagationRequest(outside, first, last, _read_predictions(data.get("prediction"), view, first, last))


def _read_predictions(reference: object, view: PlayerView, first: int, last: int) -> dict[int, RLE]:
    """reference: [layer, track id] of a prediction in the view, None for none."""
    if reference is None:
        return {}
    layers = {place: layer for place, layer in enumerate(view.layers) if not layer.truth}
    tracks = {(place, track.id): track for place, layer in layers.items() for track in layer.result.tracks}
    if not isinstance(reference, list) or (track := tracks.get(tuple(reference[:2]))) is None:
        raise ValueError(f"there is no prediction {str(reference)[:40]} in this video")
    return {t: rle for t, rle in enumerate(track.rles[: last + 1]) if t >= first and rle is not None}


async def _propagate(
    data: Mapping[str, Any], view: PlayerView, segmentation: Segmentation, request: Request
) -> Response:
    wanted = read_propagation(data, view)

    def work(progress: "Progress") -> list[ProposedMask]:
        return propagate(wanted, view, segmentation.segmenter, progress)

    task = segmentation.submit(Task("propagation", work, visitor=_visitor(request)))
    lines = _progress_lines(task, segmentation.runner, request)
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=_NO_CACHE)


def propagate(
    wanted: PropagationRequest, view: PlayerView, segmenter: "Segmenter", progress: "Progress"
) -> list[ProposedMask]:
    """The masks of the frames that were reached, without the key frames. Raises: ValueError, OSError."""
    start, stop = min(wanted.first, *wanted.keys), max(wanted.last, *wanted.keys) + 1
    frames = _read_frames(view, range(start, stop), progress)

    def masks(rles: Mapping[int, RLE]) -> dict[int, "np.ndarray"]:
        return {t - start: ops.decode(rle).astype(bool) for t, rle in rles.items()}

    propagation = segmenter.propagate(
        frames,
        masks(wanted.keys),
        first=wanted.first - start,
        last=wanted.last - start,
        predictions=masks(wanted.predictions),
        progress=progress,
    )
    return [
        ProposedMask(t + start, ops.encode(mask)["counts"].decode(), round(propagation.confidence[t], 3))
        for t, mask in propagation.masks.items()
        if t + start not in wanted.keys
    ]


async def _progress_lines(task: Task[list[ProposedMask]], runner: Runner, request: Request) -> AsyncIterator[str]:
    try:
        while not (status := task.status(runner.ahead(task))).over:
            line = {"stage": status.stage, "done": status.done, "total": status.total, "ahead": status.ahead}
            yield json.dumps(line) + "\n"
            await asyncio.sleep(_TICK)
            if await request.is_disconnected():
                return
        if status.result is None:
            yield json.dumps({"error": status.message or "Cancelled."}) + "\n"
        else:
            yield json.dumps({"masks": [vars(mask) for mask in status.result]}) + "\n"
    finally:
        task.cancel()


# --- proposals


async def _propose(data: Mapping[str, Any], view: PlayerView, segmentation: Segmentation, request: Request) -> Response:
    frame = integer(data, "frame", 0, view.length)
    points, boxes = read_points(data.get("points", [])), read_boxes(data.get("box"))

    def work(progress: "Progress") -> ProposedMask:
        (rgb,) = _read_frames(view, range(frame, frame + 1), progress)
        mask = segmentation.segmenter.propose(rgb, points, boxes)[0]
        return ProposedMask(frame, ops.encode(mask)["counts"].decode(), 1.0)

    task = segmentation.submit(Task("proposal", work, visitor=_visitor(request)))
    try:
        while not (status := task.status()).over and not await request.is_disconnected():
            await asyncio.sleep(_TICK / 2)
    finally:
        task.cancel()
    if status.result is None:
        raise ValueError(status.message or "Cancelled.")
    return JSONResponse(vars(status.result), headers=_NO_CACHE)


def read_points(data: object) -> "list[Point]":
    """From [[x, y, whether it is on the object], …]. Raises: ValueError."""
    if not isinstance(data, list) or len(data) > MAX_POINTS:
        raise ValueError(f"expected a list of at most {MAX_POINTS} points")
    points = []
    for point in data:
        if not (isinstance(point, list) and len(point) == 3 and isinstance(point[2], bool)):
            raise ValueError(f"expected a point as [x, y, true or false], got {str(point)[:40]}")
        x, y = _numbers(point[:2], 2)
        points.append((x, y, point[2]))
    return points


def read_boxes(data: object) -> "list[BoxXYXY]":
    """One box from [x1, y1, x2, y2], none from None. Raises: ValueError."""
    if data is None:
        return []
    x1, y1, x2, y2 = _numbers(data, 4)
    return [(x1, y1, x2, y2)]


def _numbers(data: object, count: int) -> list[float]:
    numbers = isinstance(data, list) and all(type(x) in (int, float) and math.isfinite(x) for x in data)
    if not isinstance(data, list) or not numbers or len(data) != count:
        raise ValueError(f"expected {count} numbers, got {str(data)[:40]}")
    return [float(x) for x in data]


# --- of both


def _read_frames(view: PlayerView, wanted: range, progress: "Progress") -> "list[np.ndarray]":
    """RGB of these frames of the view. Raises: ValueError, OSError where one is missing or they are too many."""
    frames, height, width = view.frames, *view.frames.size_hw
    if not isinstance(frames, BrowserVideo) or not frames.files:
        raise ValueError("The frames of this video are not there: masks can only be drawn.")
    longest = MAX_FRAMES_BYTES // (height * width * 3)
    if len(wanted) > longest:
        raise ValueError(f"{len(wanted)} frames are too many at this size: choose a range of {longest} at most.")
    files = frames.files[view.first + wanted.start : view.first + wanted.stop]
    pictures: list[np.ndarray] = []

    def report() -> None:
        progress("reading frames", len(pictures), len(wanted))

    for frame in VideoSource(frames.name, files=files).open(report).frames():
        if frame.rgb.shape[:2] != (height, width):
            raise ValueError(f"{frames.name}: expected frames of {width} x {height} pixels, the size of its labels")
        pictures.append(frame.rgb)
        report()
    return pictures


# --- changes of tracks

KINDS = ("merge", "cut", "take")


def decide_tracks(page: ReviewPage, extra: Mapping[str, Any], note: str, log: IndexedLog) -> Decision:
    """The decision that the page describes: {"do": one of KINDS, "track": as the player numbers it, …}; without track a
    "take" is for the prediction that the question is about.

    It is about the page's question where it changes one of that question's labels, and else about the tracks alone.
    Raises: ValueError for what is not possible.
    """
    page.update_corrected(log)
    if extra["do"] == "take" and "track" not in extra:
        return _add_with_masks(page, extra, log).decision(page.session.hash, page.reviewer, note)
    track, kind = _find(page, extra, "track"), extra["do"]
    ref, prediction = _reference(page, track), None
    if kind == "merge":
        action: Action = _merge(page, extra, ref)
    elif kind == "cut":
        action = _cut(page, track, ref, integer(extra, "frame", 1, len(track.rles)))
    else:
        action, prediction = _take(page, extra, ref)
    added, refs = log.added_track(page.key), tracks_of(action)
    tracks: tuple[TrackRef, ...] = refs
    if set(refs) & set(page.item.annotation_ids):
        tracks = page.item.annotation_ids
    elif added is not None and added.id in refs:  # then the question's prediction is the decision's subject
        prediction = added.prediction
    video, reviewer = page.item.video_id, page.reviewer
    return decide(
        page.session.hash, video, "label is wrong", action, reviewer, tracks=tracks, prediction=prediction, note=note
    )


def _find(page: ReviewPage, extra: Mapping[str, Any], name: str) -> Track:
    id, corrected = integer(extra, name, 0, 1 << 62), page.corrected
    track = next((track for track in corrected.result.tracks if track.id == id), None) if corrected else None
    if track is None:
        raise ValueError(f"Track {id} is no label here any more: it was deleted or merged.")
    return track


def _reference(page: ReviewPage, track: Track) -> TrackRef:
    """The track's id, or the id of the decision that created it."""
    created = page.corrected.new_ids if page.corrected else {}
    return next((decision for decision, id in created.items() if id == track.id), track.id)


def _merge(page: ReviewPage, extra: Mapping[str, Any], ref: TrackRef) -> MergeTracks:
    overlap = extra.get("overlap", "union")
    if overlap not in get_args(Overlap):
        raise ValueError(f"expected overlap as one of {', '.join(get_args(Overlap))}, got {str(overlap)[:40]!r}")
    return MergeTracks(ref, _reference(page, _find(page, extra, "other")), overlap)


def _cut(page: ReviewPage, track: Track, ref: TrackRef, frame: int) -> SplitTrack:
    if not track.present[:frame].any() or not track.present[frame:].any():
        raise ValueError(f"Track {track.id} has no mask on one side of frame {frame}: there is nothing to cut.")
    return SplitTrack(ref, frame)


def _add_with_masks(page: ReviewPage, extra: Mapping[str, Any], log: IndexedLog) -> Answer:
    """The question's prediction becomes a label, in the frames of the page's range with the masks of another one."""
    own = predicted_answer(page.answers.values())
    if own is None or not isinstance(own.action, AddTrack) or log.added_track(page.key) is not None:
        raise ValueError("This question has no prediction to add: it may have been added by now.")
    taken, _ = _take(page, extra, 0)
    masks = list(own.action.masks)
    masks[taken.first : taken.first + len(taken.masks)] = taken.masks
    return replace(own, action=AddTrack(own.action.category_id, tuple(masks)))


def _take(page: ReviewPage, extra: Mapping[str, Any], ref: TrackRef) -> tuple[AcceptMasks, PredictionRef]:
    project, video, model = page.session.project, page.item.video_id, page.question.model
    if not model:
        raise ValueError("This queue shows no predictions: choose a model's disagreements above.")
    place = integer(extra, "prediction", 1, 1 << 62)
    masks = predicted_masks(project.dataset, project.results[project.model_index(model)], video, place)
    frames = frame_range(extra, project.info(video)) if "first" in extra else None
    return take_masks(ref, masks, frames), page.session.reference(model, place)
