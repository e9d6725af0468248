"""Small data sets and submissions in YouTube-VIS form for tests, as Python objects, and masks to put into them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tevit.results import Track, VideoResult

GOLDENS = Path(__file__).parent / "goldens"
SIZE = (6, 9)
CATEGORIES = {4: "dog", 2: "earless_seal", 7: 'a "quoted" <name>'}


def plain_runs(mask: np.ndarray) -> list[int]:
    """Run lengths in column order, zeros first, counted one by one."""
    runs, value = [0], 0
    for pixel in mask.ravel(order="F").tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def text(runs: list[int]) -> str:
    """COCO's text of run lengths, an independent implementation of the format."""
    characters = []
    for i, run in enumerate(runs):
        number = run - runs[i - 2] if i > 2 else run
        while True:
            group, number = number & 31, number >> 5
            last = number == (-1 if group & 16 else 0)
            characters.append(chr(48 + group + (0 if last else 32)))
            if last:
                break
    return "".join(characters)


def rectangle(top: int, left: int, bottom: int, right: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A mask with one rectangle."""
    mask = np.zeros(size, np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def compressed(mask: np.ndarray) -> dict[str, Any]:
    """One frame's segmentation as text."""
    return {"size": list(mask.shape), "counts": text(plain_runs(mask))}


def uncompressed(mask: np.ndarray) -> dict[str, Any]:
    """One frame's segmentation as plain runs."""
    return {"counts": plain_runs(mask), "size": list(mask.shape)}


def video(id: int, length: int, size: tuple[int, int] = SIZE) -> dict[str, Any]:
    """One entry of `videos`."""
    names = [f"film{id}/{5 * t:05d}.jpg" for t in range(length)]
    return {"id": id, "height": size[0], "width": size[1], "length": length, "file_names": names}


def annotation(id: int, video_id: int, category_id: int, masks: list, form=uncompressed) -> dict[str, Any]:
    """One annotation; a mask None is null."""
    return {
        "id": id,
        "video_id": video_id,
        "category_id": category_id,
        "iscrowd": 0,
        "segmentations": [None if mask is None else form(mask) for mask in masks],
        "areas": [None if mask is None else int(mask.sum()) for mask in masks],
        "bboxes": [None if mask is None else box_xywh(mask) for mask in masks],
    }


def box_xywh(mask: np.ndarray) -> list[float]:
    """A mask's box."""
    ys, xs = np.nonzero(mask)
    return [float(xs.min()), float(ys.min()), float(np.ptp(xs) + 1), float(np.ptp(ys) + 1)]


def prediction(video_id: int, category_id: int, score: float, masks: list) -> dict[str, Any]:
    """One entry of a submission."""
    segmentations = [None if mask is None else compressed(mask) for mask in masks]
    return {"video_id": video_id, "category_id": category_id, "score": score, "segmentations": segmentations}


def data_set(videos: list, annotations: list | None) -> dict[str, Any]:
    """The whole object, with additional keys."""
    categories = [{"id": id, "name": name, "supercategory": "object"} for id, name in CATEGORIES.items()]
    content = {"info": {"year": 2021}, "videos": videos, "categories": categories, "licenses": []}
    return content if annotations is None else content | {"annotations": annotations}


def sample() -> dict[str, Any]:
    """Two videos, three tracks: one ends early, one starts in the second frame, one is in all frames."""
    square, bar = rectangle(1, 2, 4, 5), rectangle(0, 6, 6, 8)
    tracks = [
        annotation(11, 5, 4, [square, square, None]),
        annotation(12, 5, 2, [None, bar, bar], form=compressed),
        annotation(3, 8, 4, [bar, square]),
    ]
    return data_set([video(8, 2), video(5, 3)], tracks)


def submission() -> list[dict[str, Any]]:
    """Predictions for `sample`."""
    square, bar = rectangle(1, 2, 4, 5), rectangle(0, 6, 6, 8)
    return [
        prediction(5, 4, 0.75, [square, square, square]),
        prediction(8, 2, 0.5, [None, rectangle(0, 0, 0, 0)]),
        prediction(5, 2, 0.25, [bar, None, bar]),
    ]


def save(folder: Path, name: str, content: object) -> Path:
    """A JSON file."""
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def same_tracks(first: VideoResult, second: VideoResult, boxes: bool = True) -> None:
    """Assert that two videos hold the same."""
    assert (first.video_id, first.size_hw, first.file_names) == (second.video_id, second.size_hw, second.file_names)
    assert first.length == second.length and dict(first.categories) == dict(second.categories)
    assert [track.id for track in first.tracks] == [track.id for track in second.tracks]
    for one, other in zip(first.tracks, second.tracks, strict=True):
        assert (one.category_id, one.score, one.iscrowd) == (other.category_id, other.score, other.iscrowd)
        assert one.rles == other.rles
        if boxes:
            assert np.array_equal(one.areas, other.areas)
            assert np.array_equal(one.boxes_xyxy, other.boxes_xyxy, equal_nan=True)


masks_of_any_size = arrays.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.booleans())


@st.composite
def results(draw: st.DrawFn) -> list[VideoResult]:
    """A few videos with tracks of any masks; areas and boxes that the masks contradict; ids unique in the whole."""
    ids = iter(draw(st.permutations(range(1, 30))))
    videos = []
    for video_id in draw(st.lists(st.integers(1, 99), min_size=1, max_size=3, unique=True)):
        size = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
        length = draw(st.integers(1, 4))
        tracks = [_track(draw, next(ids), size, length) for _ in range(draw(st.integers(0, 3)))]
        names = tuple(f"film{video_id}/{t}.jpg" for t in range(length))
        videos.append(
            VideoResult(video_id, f"film{video_id}", size, np.arange(length) / 6, CATEGORIES, tuple(tracks), names)
        )
    return videos


def _track(draw: st.DrawFn, id: int, size: tuple[int, int], length: int) -> Track:
    from tevit.masks import ops as masks

    pixels = draw(arrays.arrays(bool, (length, *size)))
    rles = tuple(masks.encode(mask) if mask.any() else None for mask in pixels)
    present = np.array([rle is not None for rle in rles])
    areas = np.where(present, draw(arrays.arrays(float, length, elements=st.integers(1, 99))), 0)
    corners = draw(arrays.arrays(np.float32, (length, 4), elements=st.integers(0, 20)))
    corners[:, 2:] += corners[:, :2] + 1
    boxes = np.where(present[:, None], corners, np.nan).astype(np.float32)
    return Track(id, draw(st.sampled_from(sorted(CATEGORIES))), 1.0, rles, boxes, areas, draw(st.booleans()))
