"""The order of samples and the draws of a clip: the original's, given its generators; our own, whoever asks."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.original import OriginalDraws, golden
from train.data import SeededRng, SlotSampler, permutation, sample_augmentation, sample_frames
from train.recipes import QUERYINST_RECIPE, TEVIT_MSGSHIFT_RECIPE, TEVIT_SWIN_L_MST_RECIPE


def torch_permutations(seed: int, count: int):
    """The original's: one generator, seeded once."""
    generator = torch.Generator()
    generator.manual_seed(seed)
    drawn_clips: list[np.ndarray] = []

    def draw(epoch: int) -> np.ndarray:
        while len(drawn_clips) <= epoch:
            drawn_clips.append(torch.randperm(count, generator=generator).numpy())
        return drawn_clips[epoch]

    return draw


@pytest.mark.parametrize("number", range(len(golden("batches")["infinite_group_batches"])))
def test_batches_of_each_process_are_the_recorded_ones(number):
    record = golden("batches")
    case, flags = record["infinite_group_batches"][number], np.array(record["flags"])
    order = SlotSampler(flags, case["world_size"], case["batch_size"], torch_permutations(case["seed"], len(flags)))
    got = [order.batch(i, case["rank"]).tolist() for i in range(len(case["batches"]))]
    assert got == case["batches"]


def literal(groups: list[int], slots: int, clips: int, slot: int, count: int, seed: int) -> list[list[int]]:
    """The rule in its own words: every n-th index of the endless row, a buffer a group, given out when full."""
    waiting: dict[int, list[int]] = {0: [], 1: []}
    batches, place, epoch = [], 0, 0
    while True:
        for sample in permutation(seed, epoch, len(groups)).tolist():
            if place % slots == slot:
                waiting[groups[sample]].append(sample)
                if len(waiting[groups[sample]]) == clips:
                    batches.append(waiting[groups[sample]])
                    waiting[groups[sample]] = []
                    if len(batches) == count:
                        return batches
            place += 1
        epoch += 1


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 1), min_size=1, max_size=40),
    slots=st.integers(1, 8),
    clips=st.integers(1, 4),
    seed=st.integers(0, 9),
    asked=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 7)), min_size=1, max_size=12),
)
def test_any_place_can_be_looked_up_in_any_order(groups, slots, clips, seed, asked):
    order = SlotSampler(np.array(groups), slots, clips, partial(permutation, seed, count=len(groups)))
    rows = [literal(groups, slots, clips, slot, 31, seed) for slot in range(slots)]
    for iteration, slot in asked:
        assert order.batch(iteration, slot % slots).tolist() == rows[slot % slots][iteration]


def test_an_epoch_shows_every_sample_once_and_epochs_differ():
    order = SlotSampler(np.zeros(64), 4, 2, partial(permutation, 3, count=64))
    epochs = [
        np.concatenate([order.batch(i, slot) for i in range(8 * e, 8 * e + 8) for slot in range(4)]) for e in range(3)
    ]
    assert all(sorted(epoch.tolist()) == list(range(64)) for epoch in epochs)
    assert not (epochs[0] == epochs[1]).all() and not (epochs[1] == epochs[2]).all()


def test_the_permutation_of_an_epoch_stays_what_it_is():
    """A resumed run, perhaps with another numpy, continues in the same order."""
    assert permutation(1, 0, 8).tolist() == FIRST
    assert permutation(1, 1, 8).tolist() != FIRST != permutation(2, 0, 8).tolist()


FIRST = [2, 4, 7, 5, 0, 6, 3, 1]


def test_a_table_is_made_once_an_epoch():
    drawn_clips = []

    def counted(epoch: int) -> np.ndarray:
        drawn_clips.append(epoch)
        return np.arange(40)

    order = SlotSampler(np.arange(40) % 2, 2, 2, counted)
    for iteration in range(100):
        for slot in range(2):
            order.batch(iteration, slot)
    assert drawn_clips == list(range(len(drawn_clips))) and len(drawn_clips) <= 11


def test_frames_come_key_first_then_others_unsorted():
    drawn = [sample_frames(6, range(0, 20, 2), 5, SeededRng(0, i, 0)) for i in range(200)]
    assert all(frames[0] == 6 and len(set(frames)) == 5 for frames in drawn)
    assert {frame for frames in drawn for frame in frames} == set(range(0, 20, 2))
    assert sum(frames[1:] == sorted(frames[1:]) for frames in drawn) < 30


def test_frames_of_a_short_video_come_again():
    assert sample_frames(4, [4], 5, SeededRng(0, 0, 0)) == [4] * 5
    frames = sample_frames(4, [1, 4, 9], 5, SeededRng(0, 0, 0))
    assert frames[0] == 4 and len(frames) == 5 and set(frames) == {1, 4, 9}
    assert sample_frames(4, [1, 4], 1, SeededRng(0, 0, 0)) == [4]


def test_scales_are_those_of_the_recipes():
    def scales(recipe) -> list:
        return [sample_augmentation(recipe, SeededRng(0, i, 1)).scale for i in range(3000)]

    ranged = np.array(scales(TEVIT_MSGSHIFT_RECIPE))
    assert ranged.min(0).tolist() == [640, 360] and ranged.max(0).tolist() == [960, 480]
    assert abs(np.corrcoef(ranged.T)[0, 1]) < 0.06
    assert set(scales(TEVIT_SWIN_L_MST_RECIPE)) == {(1333, short) for short in range(320, 801, 32)}
    assert set(scales(QUERYINST_RECIPE)) == {(1333, short) for short in range(480, 801, 32)}


def test_draws_of_both_kinds_keep_to_their_bounds():
    for draws in (SeededRng(1, 2, 3), OriginalDraws(5)):
        assert {draws.integer(3, 6) for _ in range(200)} == {3, 4, 5}
        assert sorted(draws.sample(range(10, 16), 6)) == list(range(10, 16))
        assert all(0 <= draws.uniform() < 1 for _ in range(200))


def test_seeds_iterations_and_slots_draw_apart():
    drawn = {SeededRng(*key).uniform() for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]}
    assert len(drawn) == 4
