"""The model `motion` on small seeded scenes: what moves is found, what does not is not."""

from itertools import islice

import cv2
import numpy as np
import pytest

from tevit.inference.motion import MotionModel, barrier_distance

SIZE_HW = (144, 192)


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3) of several scales."""
    picture = np.zeros((height, width, 3), np.float32)
    for cell in (4, 12, 40):
        noise = rng.uniform(0, 85, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)


def scene(length: int, object_step: float, camera_step: float, noise: float = 0, flicker: float = 0, seed: int = 0):
    """Frames and true masks of a textured square over a textured background that both move."""
    rng = np.random.default_rng(seed)
    (height, width), side = SIZE_HW, 44
    background, square = texture(rng, height + 80, width + 80), texture(rng, side, side)[..., ::-1] // 2 + 110
    frames, masks = [], []
    for t in range(length):
        shift = np.array([[1, 0, -20 - camera_step * t], [0, 1, -20]], np.float32)
        picture = cv2.warpAffine(background, shift, (width, height), flags=cv2.INTER_LINEAR).astype(np.float32)
        mask = np.zeros(SIZE_HW, bool)
        if object_step:
            x, y = round(40 + object_step * t), 50
            picture[y : y + side, x : x + side] = square
            mask[y : y + side, x : x + side] = True
        picture = picture * (1 + flicker * np.sin(2.1 * t)) + rng.normal(0, noise, picture.shape)
        frames.append(np.clip(picture, 0, 255).astype(np.uint8))
        masks.append(mask)
    return frames, masks


def mean_j(results, masks) -> float:
    """Of the best track."""
    ids = {id for result in results for id in result}
    empty = np.zeros(SIZE_HW, bool)

    def j(id: int) -> float:
        pairs = [
            (result[id].mask if id in result else empty, mask) for result, mask in zip(results, masks, strict=True)
        ]
        return float(np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs]))

    return max(map(j, ids), default=0.0)


@pytest.mark.parametrize(("object_step", "camera_step"), [(2.0, 0.0), (2.0, -1.5), (1.0, 2.0)])
def test_a_moving_square_is_one_track(object_step, camera_step):
    frames, masks = scene(20, object_step, camera_step, noise=2)
    results = list(MotionModel().predict(iter(frames)))
    assert len(results) == 20
    assert len({id for result in results for id in result}) == 1
    assert mean_j(results, masks) > 0.8
    assert all(0 < i.score <= 1 and i.category == "moving object" for result in results for i in result.values())


@pytest.mark.parametrize(
    ("camera_step", "noise", "flicker"),
    [(0, 0, 0), (0, 8, 0), (0, 4, 0.15), (1.7, 4, 0)],
    ids="still noise flicker pan".split(),
)
def test_a_scene_without_moving_objects_has_no_track(camera_step, noise, flicker):
    frames, _ = scene(16, 0, camera_step, noise, flicker)
    assert list(MotionModel().predict(iter(frames))) == [{}] * 16


def test_noise_alone_has_no_track():
    rng = np.random.default_rng(0)
    frames = [np.clip(rng.normal(128, 10, (*SIZE_HW, 3)), 0, 255).astype(np.uint8) for _ in range(14)]
    assert not any(MotionModel().predict(iter(frames)))


def test_results_are_at_most_delay_frames_late_and_equal_in_each_pass():
    frames, _ = scene(MotionModel.delay + 6, 2, 0)
    read = 0

    def counted():
        nonlocal read
        for frame in frames:
            read += 1
            yield frame

    first = []
    for done, result in enumerate(MotionModel().predict(counted())):
        assert read - done <= MotionModel.delay + 1
        first.append({id: np.asarray(instance.mask).sum() for id, instance in result.items()})
    repeated = [
        {id: np.asarray(i.mask).sum() for id, i in result.items()} for result in MotionModel().predict(iter(frames))
    ]
    assert first == repeated and any(first)


def test_tracks_end_at_a_hard_cut():
    frames, _ = scene(14, 2, 0)
    other, _ = scene(14, 2, 0, seed=7)
    results = list(MotionModel().predict(iter([*frames, *other])))
    before, after = ({id for result in part for id in result} for part in (results[:14], results[14:]))
    assert before and after and not before & after


@pytest.mark.parametrize("length", [0, 1, 2, 5])
def test_short_videos(length):
    frames, _ = scene(length, 2, 0)
    assert len(list(MotionModel().predict(iter(frames)))) == length


def test_frames_smaller_than_the_working_size_and_of_one_colour():
    frames = [np.full((20, 31, 3), 90, np.uint8)] * 6
    assert list(islice(MotionModel().predict(iter(frames)), 6)) == [{}] * 6


def test_min_area_is_a_share():
    with pytest.raises(ValueError, match="between 0 and 1, got 3"):
        MotionModel(3)


def test_barrier_distance_is_the_range_on_the_best_path_to_the_border():
    field = np.zeros((9, 9, 2), np.float32)
    field[2:7, 2:7, 0] = 3  # a ring of 3 around a hole of 1: the way out of the hole crosses the ring
    field[4, 4] = (1, 0)
    field[0:5, 8, 1] = 5  # connected to the border
    distance = barrier_distance(field)
    assert distance[3, 3] == 3 and distance[4, 4] == 3 and distance[1, 1] == 0 and distance[2, 8] == 0
