"""Propagated masks follow a moving object; the segmenter without weights finds an object."""

import cv2
import numpy as np
import pytest

from tevit.progress import Cancelled
from tevit.review.propagate import PARTS, propagate
from tevit.review.segmenter import GrabCutSegmenter

SIZE = (96, 160)


def rendered(length: int = 12, step: float = 4.0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A textured disc that moves to the right over a textured background."""
    rng = np.random.default_rng(0)
    smooth = [cv2.GaussianBlur(rng.integers(0, 256, (*SIZE, 3), np.uint8), (0, 0), 2).astype(float) for _ in range(2)]
    background, texture = ((noise - noise.mean()) * 3 + level for noise, level in zip(smooth, (70, 170), strict=True))
    frames, masks = [], []
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for t in range(length):
        mask = np.hypot(x - 40 - step * t, y - 48) < 20
        moved = np.roll(texture, round(step * t), 1)
        frames.append(np.where(mask[..., None], moved, background).clip(0, 255).astype(np.uint8))
        masks.append(mask)
    return frames, masks


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_masks_follow_the_object_forwards_and_backwards():
    frames, masks = rendered()
    for key in (0, 11):
        propagated = propagate(frames, {key: masks[key]})
        assert list(propagated.masks) == list(range(12))
        assert all(iou(propagated.masks[t], masks[t]) > 0.9 for t in range(12))
        assert iou(masks[0], masks[11]) < 0.1
        assert propagated.confidence[key] == 1 and all(0.6 <= value <= 1 for value in propagated.confidence.values())


def test_between_two_key_frames_both_count_and_stay_as_they_are():
    frames, masks = rendered()
    propagated = propagate(frames, {0: masks[0], 8: masks[8]}, first=2, last=8)
    assert list(propagated.masks) == list(range(2, 9))
    assert all(iou(propagated.masks[t], masks[t]) > 0.93 for t in range(2, 8))
    assert np.array_equal(propagated.masks[8], masks[8])


def test_a_range_apart_from_the_key_frames_is_reached_frame_by_frame():
    frames, masks = rendered()
    for keys in ({0: masks[0]}, {0: masks[0], 11: masks[11]}):
        whole = propagate(frames, keys, min_confidence=0)
        part = propagate(frames, keys, first=7, last=9, min_confidence=0)
        assert list(part.masks) == [7, 8, 9]
        assert all(np.array_equal(part.masks[t], whole.masks[t]) for t in part.masks)


def test_it_ends_where_the_video_shows_something_else():
    frames, masks = rendered()
    noise = np.random.default_rng(1).integers(0, 256, (6, *SIZE, 3), np.uint8)
    propagated = propagate([*frames[:5], *noise], {0: masks[0]})
    assert list(propagated.masks) == list(range(5))


def test_an_object_that_is_not_visible_at_one_key_frame_vanishes_between():
    frames, masks = rendered()
    propagated = propagate(frames, {0: masks[0], 6: np.zeros(SIZE, bool)}, last=6)
    assert iou(propagated.masks[1], masks[1]) > 0.9 and not propagated.masks[6].any() and not propagated.masks[5].any()
    assert not any(mask.any() for mask in propagate(frames, {0: np.zeros(SIZE, bool)}).masks.values())


def test_a_prediction_counts_where_it_agrees():
    """Alone the noise says little; a prediction of another object changes nothing."""
    frames, masks = rendered()
    frames = [cv2.GaussianBlur(frame, (0, 0), 6) for frame in frames]
    keys = {0: masks[0]}
    alone = propagate(frames, keys, min_confidence=0)
    helped = propagate(frames, keys, predictions=dict(enumerate(masks)), min_confidence=0)
    other = propagate(frames, keys, predictions=dict(enumerate(reversed(masks))), last=3, min_confidence=0)
    assert np.mean([iou(helped.masks[t], masks[t]) for t in range(12)]) > np.mean(
        [iou(alone.masks[t], masks[t]) for t in range(12)]
    )
    assert all(np.array_equal(other.masks[t], alone.masks[t]) for t in range(4))


def test_between_key_frames_a_prediction_counts_too():
    frames, masks = rendered()
    frames = [cv2.GaussianBlur(frame, (0, 0), 6) for frame in frames]
    keys = {0: masks[0], 11: masks[11]}
    alone, helped = (propagate(frames, keys, predictions=predictions) for predictions in ({}, dict(enumerate(masks))))
    assert np.mean([iou(helped.masks[t], masks[t]) for t in range(1, 11)]) > np.mean(
        [iou(alone.masks[t], masks[t]) for t in range(1, 11)]
    )


def test_where_the_flow_does_not_lead_back_the_confidence_is_lower():
    """Another object covers the half of this one that has no texture of its own in later frames."""
    frames, masks = rendered()
    covered = [frame.copy() for frame in frames]
    for frame in covered[3:]:
        frame[:, 60:75] = np.random.default_rng(2).integers(0, 256, (96, 15, 3), np.uint8)
    whole, unchecked = (
        propagate(covered, {0: masks[0]}, last=4, min_confidence=0, parts=p) for p in (PARTS, PARTS[1:])
    )
    assert PARTS[0] == "check" and whole.confidence[3] < unchecked.confidence[3]


def test_grabcut_refines_the_border_far_from_the_key_frame():
    frames, masks = rendered()
    frames = [cv2.GaussianBlur(frame, (0, 0), 6) for frame in frames]
    whole, without = (
        propagate(frames, {0: masks[0]}, first=5, min_confidence=0, parts=parts).masks for parts in (PARTS, PARTS[:-1])
    )
    assert PARTS[-1] == "grabcut"
    assert np.mean([iou(whole[t], masks[t]) for t in whole]) > np.mean([iou(without[t], masks[t]) for t in without])


def test_progress_counts_and_cancels():
    frames, masks = rendered(6)
    calls: list[tuple[str, int, int | None]] = []
    propagate(frames, {0: masks[0]}, progress=lambda *call: calls.append(call))
    assert calls == [("propagating", done, 6) for done in range(2, 7)]

    def cancel(stage: str, done: int, total: int | None) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        propagate(frames, {0: masks[0]}, progress=cancel)


@pytest.mark.parametrize("size_hw", [(1, 1), (8, 8), (12, 40), (3, 300)])
def test_pictures_of_a_few_pixels_are_propagated(size_hw: tuple[int, int]):
    # DIS refuses the first two and ended the process at the third.
    height, width = size_hw
    frame = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    mask = np.zeros(size_hw, bool)
    mask[: (height + 1) // 2, : (width + 1) // 2] = True
    result = propagate([frame] * 4, {0: mask, 3: mask})
    assert result.masks.keys() == {0, 1, 2, 3}
    assert result.masks[1].shape == size_hw


def test_what_cannot_be_propagated_is_named():
    frames, masks = rendered(3)
    with pytest.raises(ValueError, match="expected a mask in one frame at least"):
        propagate(frames, {})
    with pytest.raises(ValueError, match="expected a range within frames 0 to 2, got 1 to 3"):
        propagate(frames, {0: masks[0]}, first=1, last=3)
    with pytest.raises(ValueError, match=r"frame 1: expected a mask of \(96, 160\) pixels, got \(4, 4\)"):
        propagate(frames, {1: np.zeros((4, 4), bool)})


def test_a_box_or_a_point_proposes_the_object():
    frames, masks = rendered(1)
    frame = frames[0]
    segmenter = GrabCutSegmenter()
    (by_box,) = segmenter.propose(frame, boxes=[(15, 23, 65, 73)])
    (by_point,) = segmenter.propose(frame, points=[(40, 48, True)])
    assert iou(by_box, masks[0]) > 0.9 and iou(by_point, masks[0]) > 0.8
    (without,) = segmenter.propose(frame, points=[(30, 48, False)], boxes=[(15, 23, 65, 73)])
    assert not without[48, 30]
    with pytest.raises(ValueError, match="expected a point on the object or a box, got neither"):
        segmenter.propose(frame, points=[(40, 48, False)])
    with pytest.raises(ValueError, match="expected points within 160 x 96 pixels"):
        segmenter.propose(frame, points=[(40, 96, True)])
