"""Changes of any tracks of the video that the player shows: merged, cut, or given the masks of a prediction."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from tevit.results import Track
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
from tevit.review.predictions import predicted_masks, take_masks
from tevit.review.queue import Answer

from .page_state import ReviewPage, frame_range, integer, predicted_answer
from .session import IndexedLog

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
