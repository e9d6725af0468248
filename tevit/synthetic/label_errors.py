"""Labels made wrong on purpose, and a list of what was done: to practise on, and to test that they are found."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, cycle, islice

import numpy as np

from tevit.masks import ops as masks
from tevit.results import RLE, Track, VideoResult
from tevit.synthetic.scenes import Rng

KINDS = ("class", "missing", "duplicate", "shifted", "identity")
"""Another class; track dropped; track twice; masks beside the object; two tracks that change places midway."""

Done = tuple[tuple[Track, ...], dict]
"""A video's tracks with one error in them, and what the list of errors says of it."""


def corrupt(results: Sequence[VideoResult], count: int, seed: int) -> tuple[list[VideoResult], list[dict]]:
    """Put `count` errors into tracks that are seen long and large, each kind in turn, spread over the videos.

    No track gets two. Returns the videos, in the same order, and for each error its kind, video_id, video (name),
    track_ids (for a duplicate the original and the copy), and frames (first and last index) where labels are wrong.

    Raises: ValueError where there is no room for so many.
    """
    rng, changed = Rng(seed, count), list(results)
    touched: dict[int, set[int]] = {result.video_id: set() for result in results}
    unused = iter(range(1 + max((track.id for result in results for track in result.tracks), default=0), 1 << 31))
    errors = []
    for kind in islice(cycle(KINDS), count):
        place, tracks = _choose(rng, kind, changed, touched)
        new, story = _EDITS[kind](rng, changed[place], tracks, next(unused))
        changed[place] = replace(changed[place], tracks=new)
        touched[changed[place].video_id].update(story["track_ids"])
        errors.append({"kind": kind, "video_id": changed[place].video_id, "video": changed[place].name, **story})
    return changed, errors


def _choose(
    rng: Rng, kind: str, results: Sequence[VideoResult], touched: Mapping[int, set[int]]
) -> tuple[int, tuple[Track, ...]]:
    """A video with as few errors as possible, and the track to change, or two, of one class if there are such."""
    found = []
    for place, result in enumerate(results):
        free = [track for track in result.tracks if track.id not in touched[result.video_id] and _plain(track)]
        pairs = [pair for pair in combinations(free, 2) if _swappable(*pair)]
        groups = pairs if kind == "identity" else [(track,) for track in free]
        crowded = len(touched[result.video_id])
        found += [(len({track.category_id for track in group}), crowded, place, group) for group in groups]
    if not found:
        raise ValueError(f"label errors: no track is left for another error of the kind {kind!r}; make more videos")
    best = min(rank for *rank, _, _ in found)
    return rng.choice([(place, group) for *rank, place, group in found if rank == best])


def _plain(track: Track) -> bool:
    seen = track.present
    return bool(seen.mean() >= 0.7 and track.areas[seen].mean() >= 600)


def _swappable(a: Track, b: Track) -> bool:
    """Are both seen at one time, in the first and in the second half?"""
    both = a.present & b.present
    half = len(both) // 2
    return bool(both[:half].sum() >= 3 and both[half:].sum() >= 3)


# --- the edits


def _reclass(rng: Rng, result: VideoResult, tracks: tuple[Track, ...], unused: int) -> Done:
    track = tracks[0]
    others = [id for id in result.categories if id != track.category_id]
    wrong = replace(track, category_id=rng.choice(others))
    story = {"was": result.categories[track.category_id], "now": result.categories[wrong.category_id]}
    return _swapped_in(result, [wrong]), {**_where(track), **story}


def _drop(rng: Rng, result: VideoResult, tracks: tuple[Track, ...], unused: int) -> Done:
    return tuple(track for track in result.tracks if track.id != tracks[0].id), _where(tracks[0])


def _double(rng: Rng, result: VideoResult, tracks: tuple[Track, ...], unused: int) -> Done:
    track = tracks[0]
    copy = replace(_moved(track, rng.whole(1, 2), rng.whole(-2, 2)), id=unused)
    return (*result.tracks, copy), {**_where(track), "track_ids": [track.id, copy.id]}


def _shift(rng: Rng, result: VideoResult, tracks: tuple[Track, ...], unused: int) -> Done:
    """By about half the object's size, towards the middle of the picture."""
    track = tracks[0]
    boxes = track.boxes_xyxy[track.present].astype(float)
    width, height = (boxes[:, 2:] - boxes[:, :2]).mean(0).tolist()
    centre_x, centre_y = ((boxes[:, 2:] + boxes[:, :2]) / 2).mean(0).tolist()
    dx = round(rng.uniform(0.4, 0.55) * width) * (1 if centre_x < result.size_hw[1] / 2 else -1)
    dy = round(rng.uniform(0.25, 0.4) * height) * (1 if centre_y < result.size_hw[0] / 2 else -1)
    return _swapped_in(result, [_moved(track, dx, dy)]), {**_where(track), "pixels_xy": [dx, dy]}


def _exchange(rng: Rng, result: VideoResult, tracks: tuple[Track, ...], unused: int) -> Done:
    a, b = tracks
    at = result.length // 2
    story = {"track_ids": [a.id, b.id], "frames": [at, result.length - 1]}
    return _swapped_in(result, [_tail(a, b, at), _tail(b, a, at)]), story


_EDITS: Mapping[str, Callable[[Rng, VideoResult, tuple[Track, ...], int], Done]] = {
    "class": _reclass,
    "missing": _drop,
    "duplicate": _double,
    "shifted": _shift,
    "identity": _exchange,
}


def _where(track: Track) -> dict:
    seen = np.flatnonzero(track.present)
    return {"track_ids": [track.id], "frames": [int(seen[0]), int(seen[-1])]}


def _swapped_in(result: VideoResult, changed: Iterable[Track]) -> tuple[Track, ...]:
    new = {track.id: track for track in changed}
    return tuple(new.get(track.id, track) for track in result.tracks)


def _tail(track: Track, other: Track, at: int) -> Track:
    """The track up to frame `at`, then the other one."""
    return replace(
        track,
        rles=(*track.rles[:at], *other.rles[at:]),
        boxes_xyxy=np.concatenate([track.boxes_xyxy[:at], other.boxes_xyxy[at:]]),
        areas=np.concatenate([track.areas[:at], other.areas[at:]]),
    )


def _moved(track: Track, dx: int, dy: int) -> Track:
    rles = [rle and _moved_mask(rle, dx, dy) for rle in track.rles]
    return replace(track, rles=tuple(rles), boxes_xyxy=masks.to_boxes_xyxy(rles), areas=masks.areas(rles))


def _moved_mask(rle: RLE, dx: int, dy: int) -> RLE | None:
    mask = masks.decode(rle)
    height, width = mask.shape
    moved = np.zeros_like(mask)
    moved[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = mask[
        max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)
    ]
    return masks.encode(moved) if moved.any() else None
