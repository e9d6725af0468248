"""Hard cuts: detected between scenes, and nowhere else."""

from itertools import count

import numpy as np
import pytest

from tests.long import clips
from tevit.video.reader import Frame
from tevit.video.transforms import mark_cuts

SIZE = (54, 96, 3)


def cuts(pictures) -> list[int]:
    marked = list(mark_cuts(Frame(index, index / 6, rgb) for index, rgb in zip(count(), pictures, strict=False)))
    assert [frame.index for frame, _ in marked] == list(range(len(pictures)))
    return [frame.index for frame, cut in marked if cut]


def scene(seed: int, length: int, speed: int = 1) -> list[np.ndarray]:
    """A coarse moving pattern."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 16, 3), np.uint8)
    pattern = coarse.repeat(9, 0).repeat(9, 1)
    return [np.roll(pattern, speed * at, 1)[:, :96] for at in range(length)]


def test_cuts_between_scenes_of_any_length():
    assert cuts([*scene(0, 9), *scene(1, 30), *scene(2, 3), *scene(3, 20)]) == [9, 39, 42]


@pytest.mark.parametrize("length", range(5))
def test_short_videos_have_no_cut(length: int):
    assert cuts(scene(0, length)) == []


def test_fast_motion_noise_and_uniform_frames_are_no_cuts():
    noise = np.random.default_rng(0).integers(0, 256, (20, *SIZE), np.uint8)
    assert cuts(list(noise)) == cuts(scene(0, 20, speed=9)) == []
    assert cuts([np.full(SIZE, 25 * at % 256, np.uint8) for at in range(20)]) == []


def test_a_flash_darkening_and_a_jumping_object_are_no_cuts():
    pictures = scene(0, 20)
    flash = [*pictures[:9], np.full(SIZE, 255, np.uint8), *pictures[10:]]
    lamp = [picture // (1 if at < 9 else 3) for at, picture in enumerate(pictures)]
    jump = [np.zeros(SIZE, np.uint8) for _ in pictures]
    for at, picture in enumerate(jump):
        left = 5 if at < 9 else 60
        picture[10:40, left : left + 30, 0] = 255
    assert cuts(flash) == cuts(lamp) == cuts(jump) == []


def test_joined_sample_clips_have_cuts_between_them():
    whole = [[frame.rgb for frame in clip.frames()] for clip in clips()]
    lengths = [len(frames) for frames in whole]
    assert cuts([rgb for frames in whole for rgb in frames]) == [lengths[0], lengths[0] + lengths[1]]
