"""Deliberate label errors in ground truth, with a list of them: for practice, and to test error detection."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, cycle, islice

import numpy as np

from tevit.masks import ops as masks
from tevit.results import RLE, Track, VideoResult
from tevit.synthetic.scenes import Rng

KINDS = ("class", "missing", "duplicate", "shifted", "identity")
"""Another class; a removed track; a track twice; masks beside the object; two tracks that swap midway."""


def corrupt(results: Sequence[VideoResult], count: int, seed: int) -> tuple[list[VideoResult], list[dict]]:
    """Put `count` errors into tracks that are long and large, each kind in turn, spread over the videos.

    No track gets two. Returns: the videos in the same order, and for each error its kind, video_id, video (name),
    track_ids (for a duplicate the original and the copy) and frames (first and last index with wrong labels).

    Raises: ValueError where there are too few tracks.
    """
    rng, changed = Rng(seed, count), list(results)
    used: dict[int, set[int]] = {result.video_id: set() for result in results}  # track ids with an error
    new_ids = iter(range(1 + max((track.id for result in results for track in result.tracks), default=0), 1 << 31))
    errors = []
    for kind in islice(cycle(KINDS), count):
        index, tracks = _choose_tracks(rng, kind, changed, used)
        result = changed[index]
        new_tracks, details = _apply_error(rng, kind, result, tracks, next(new_ids))
        changed[index] = replace(result, tracks=new_tracks)
        used[result.video_id].update(details["track_ids"])
        errors.append({"kind": kind, "video_id": result.video_id, "video": result.name, **details})
    return changed, errors


def _choose_tracks(
    rng: Rng, kind: str, results: Sequence[VideoResult], used: Mapping[int, set[int]]
) -> tuple[int, tuple[Track, ...]]:
    """Index of a video with as few errors as possible, and the track to change, or two, of one class if possible."""
    candidates = []
    for index, result in enumerate(results):
        free = []
        for track in result.tracks:
            seen = track.present
            if track.id not in used[result.video_id] and seen.mean() >= 0.7 and track.areas[seen].mean() >= 600:
                free.append(track)
        groups = [(track,) for track in free]
        if kind == "identity":
            half = result.length // 2  # both must be present in 3 frames or more of each half
            groups = []
            for a, b in combinations(free, 2):
                both = a.present & b.present
                if both[:half].sum() >= 3 and both[half:].sum() >= 3:
                    groups.append((a, b))
        errors = len(used[result.video_id])
        candidates += [(len({track.category_id for track in group}), errors, index, group) for group in groups]
    if not candidates:
        raise ValueError(f"label errors: no track is left for another error of the kind {kind!r}; make more videos")
    best = min(rank for *rank, _, _ in candidates)
    return rng.choice([(index, group) for *rank, index, group in candidates if rank == best])


def _apply_error(
    rng: Rng, kind: str, result: VideoResult, tracks: tuple[Track, ...], new_id: int
) -> tuple[tuple[Track, ...], dict]:
    """The video's tracks with one error, and its entry in the list of errors. new_id: of a duplicate."""
    track = tracks[0]
    seen = np.flatnonzero(track.present)
    details = {"track_ids": [track.id], "frames": [int(seen[0]), int(seen[-1])]}
    if kind == "class":
        wrong = rng.choice([id for id in result.categories if id != track.category_id])
        names = {"was": result.categories[track.category_id], "now": result.categories[wrong]}
        return _replace_tracks(result, [replace(track, category_id=wrong)]), details | names
    if kind == "missing":
        return tuple(other for other in result.tracks if other.id != track.id), details
    if kind == "duplicate":
        copy = replace(_move(track, rng.integer(1, 2), rng.integer(-2, 2)), id=new_id)
        return (*result.tracks, copy), details | {"track_ids": [track.id, copy.id]}
    if kind == "shifted":  # by about half the object's size, towards the centre of the frame
        boxes = track.boxes_xyxy[track.present].astype(float)
        width, height = (boxes[:, 2:] - boxes[:, :2]).mean(0).tolist()
        centre_x, centre_y = ((boxes[:, 2:] + boxes[:, :2]) / 2).mean(0).tolist()
        dx = round(rng.uniform(0.4, 0.55) * width) * (1 if centre_x < result.size_hw[1] / 2 else -1)
        dy = round(rng.uniform(0.25, 0.4) * height) * (1 if centre_y < result.size_hw[0] / 2 else -1)
        return _replace_tracks(result, [_move(track, dx, dy)]), details | {"pixels_xy": [dx, dy]}
    a, b = tracks
    start = result.length // 2
    swapped = [_join(a, b, start), _join(b, a, start)]
    return _replace_tracks(result, swapped), {"track_ids": [a.id, b.id], "frames": [start, result.length - 1]}


def _replace_tracks(result: VideoResult, changed: Iterable[Track]) -> tuple[Track, ...]:
    new = {track.id: track for track in changed}
    return tuple(new.get(track.id, track) for track in result.tracks)


def _join(track: Track, other: Track, start: int) -> Track:
    """`track` before frame `start`, then the masks of `other`."""
    return replace(
        track,
        rles=(*track.rles[:start], *other.rles[start:]),
        boxes_xyxy=np.concatenate([track.boxes_xyxy[:start], other.boxes_xyxy[start:]]),
        areas=np.concatenate([track.areas[:start], other.areas[start:]]),
    )


def _move(track: Track, dx: int, dy: int) -> Track:
    """The track with its masks moved by dx, dy pixels, cropped to the frame."""
    rles: list[RLE | None] = []
    for rle in track.rles:
        if rle is None:
            rles.append(None)
            continue
        mask = masks.decode(rle)
        height, width = mask.shape
        moved = np.zeros_like(mask)
        moved[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = mask[
            max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)
        ]
        rles.append(masks.encode(moved) if moved.any() else None)
    return replace(track, rles=tuple(rles), boxes_xyxy=masks.to_boxes_xyxy(rles), areas=masks.areas(rles))
