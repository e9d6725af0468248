"""Clips against the original's recordings: index, draws, pixels, boxes, masks, batches, and the chain from files."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.oracle import crc
from tests.pictures import frame_pixels
from tests.train.original import RECIPES, OriginalDraws, chain_batch, golden, open_chain, write_png, write_recorded
from tevit.masks import ops as masks
from tevit.video.transforms import normalised_levels
from train.data import (
    Augmentation,
    Batch,
    Clip,
    ClipTarget,
    SeededRng,
    TrainingData,
    collate,
    make_clip,
    open_training_data,
    sample_frames,
    slot_batch,
)
from train.recipes import DEMO_RECIPE
from train.sources import TrainingVideo


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> TrainingData:
    root = tmp_path_factory.mktemp("recorded")
    return open_training_data(write_recorded(root), root)


# --- the index


def test_samples_are_the_recorded_ones(recorded):
    index = golden("index")
    names = {f"v{id:04d}": place for place, id in enumerate(index["video_order"])}
    places = [names[recorded.sources[i].files[0].parent.name] for i in recorded.source_of]
    assert list(map(list, zip(places, recorded.frame_of.tolist(), strict=True))) == index["data_infos"]
    assert recorded.groups.astype(int).tolist() == index["flag"]
    assert {str(id): place for place, (id, _) in enumerate(recorded.categories)} == index["cat2label"]


def test_annotations_of_each_sample_are_the_recorded_ones(recorded):
    for expected in golden("index")["annotations"]:
        source = recorded.sources[recorded.source_of[expected["index"]]]
        frame = expected["frame"]
        rows = np.flatnonzero(source.usable[:, frame])
        assert source.boxes_xyxy[rows, frame].tolist() == expected["boxes"]
        assert source.labels[rows].tolist() == expected["labels"]
        assert source.ids[rows].tolist() == expected["ids"]
        tracks = source.masks()
        assert masks.areas([tracks[row][frame] for row in rows]).tolist() == expected["mask_areas"]


# --- clips


def objects_of(target: ClipTarget, frame: int) -> dict:
    """The instances of a frame, by id, as the recordings list them."""
    here = np.flatnonzero(target.present[frame])
    areas = target.masks[frame, here].sum((1, 2), dtype=int)
    rows = zip(target.boxes_xyxy[frame, here].tolist(), target.labels[here].tolist(), areas.tolist(), strict=True)
    return dict(zip(target.ids[here].tolist(), rows, strict=True))


def test_clips_drawn_with_the_originals_generators_are_the_recorded_ones(recorded, monkeypatch):
    read: list[Path] = []

    def noted(file: Path, size_hw: tuple[int, int]) -> np.ndarray:
        read.append(file)
        return np.zeros((*size_hw, 3), np.uint8)

    monkeypatch.setattr("train.data._read", noted)
    for clip in golden("clips"):
        if clip["restarted"]:
            continue
        read.clear()
        actual = recorded.clip(clip["index"], RECIPES[clip["mode"]], OriginalDraws(clip["seed"]))
        assert [f"{file.parent.name}/{file.name}" for file in read] == clip["file_names"]
        assert list(actual.size_hw) == clip["img_shape"] and list(actual.frames.shape[2:]) == clip["pad_shape"]
        assert list(actual.target.masks.shape[2:]) == clip["pad_shape"]
        for frame in range(5):
            boxes, labels, ids, areas = (clip[key][frame] for key in ("boxes", "labels", "ids", "mask_areas"))
            expected = dict(zip(ids, zip(boxes, labels, areas, strict=True), strict=True))
            assert objects_of(actual.target, frame) == expected
        assert actual.target.ids.tolist() == sorted({id for ids in clip["ids"] for id in ids})


def test_pixels_of_clips_are_the_recorded_ones(recorded):
    clips = [clip for clip in golden("clips") if not clip["restarted"]]
    for clip in clips[::12]:
        actual = recorded.clip(clip["index"], RECIPES[clip["mode"]], OriginalDraws(clip["seed"]))
        means = actual.frames.mean((1, 2, 3), dtype=np.float64)
        np.testing.assert_allclose(means, clip["tensor_mean_per_frame"], atol=1e-6)


def test_short_videos_give_way_to_others_of_their_group(recorded):
    for clip in golden("clips"):
        if clip["restarted"]:
            actual = recorded.clip(clip["index"], RECIPES[clip["mode"]], OriginalDraws(clip["seed"]))
            height, width = actual.size_hw
            assert (width > height) == bool(recorded.groups[clip["index"]])
            source = recorded.sources[recorded.source_of[clip["index"]]]
            assert len(source.labelled) < 5
            assert not set(actual.target.ids.tolist()) & set(source.ids.tolist())


@pytest.mark.parametrize("case", golden("transforms"), ids=lambda c: f"{c['height']}x{c['width']}-{c['scale'][0]}")
def test_transforms_of_boxes_and_masks_are_the_recorded_ones(case, tmp_path):
    size = (case["height"], case["width"])
    boxes = np.array(case["boxes_in"], np.float32)[:, None]
    rles = case["masks_in"] * 2
    write_png(tmp_path / "0.png", frame_pixels(*size, case["frame"], case["seed"]))
    source = TrainingVideo(
        name="video",
        size_hw=size,
        files=(tmp_path / "0.png",),
        labelled=(0,),
        labels=np.array(case["labels"]),
        ids=np.array(case["ids"]),
        boxes_xyxy=boxes,
        usable=np.ones(boxes.shape[:2], bool),
        segments=tuple(json.dumps([rle]).encode() for rle in rles),
    )
    clip = make_clip(source, [0], Augmentation(tuple(case["scale"]), case["flip"]))
    assert list(clip.size_hw) == case["img_shape"][:2]
    assert clip.target.boxes_xyxy[0].tolist() == np.array(case["boxes_out"], np.float32).tolist()
    expected = [masks.decode({"size": rle["size"], "counts": rle["counts"].encode()}) for rle in case["masks_out"]]
    np.testing.assert_array_equal(clip.target.masks[0], np.stack(expected)[np.arange(len(rles)) % len(expected)])


def test_the_chain_from_files_to_batch_is_the_recorded_one(tmp_path):
    record = golden("chain")
    batch = chain_batch(open_chain(tmp_path))
    assert list(batch.frames.shape) == record["meta"]["batch_shape"]
    assert crc(batch.frames.numpy()) == record["batch_crc"]
    for clip, target in enumerate(batch.targets):
        height, width = batch.sizes_hw[clip].tolist()
        for t, expected in enumerate(record["frames"][clip]):
            assert crc(levels_of(batch.frames[clip, t, :, :height, :width].numpy())) == record["frame_crc"][clip][t]
            here = target.present[t]
            order = np.argsort(expected["ids"])
            assert target.ids[here].tolist() == np.array(expected["ids"])[order].tolist()
            assert target.labels[here].tolist() == np.array(expected["labels"])[order].tolist()
            boxes = np.array(expected["boxes"], np.float32)[order]
            np.testing.assert_allclose(target.boxes_xyxy[t, here], boxes, atol=1e-4)
            assert list(target.masks.shape[2:]) == expected["size"]
            assert [crc(mask) for mask in target.masks[t, here]] == np.array(expected["mask_crc"])[order].tolist()


def levels_of(normalised: np.ndarray) -> np.ndarray:
    """Back from float32 (3, H, W) to the uint8 RGB (H, W, 3) it was made of."""
    channels = [np.searchsorted(levels, values) for levels, values in zip(normalised_levels(), normalised, strict=True)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def test_what_is_absent_is_zero(tmp_path):
    for target in chain_batch(open_chain(tmp_path)).targets:
        assert not target.present.all()
        assert not target.boxes_xyxy[~target.present].any() and not target.masks[~target.present].any()


# --- batches


def test_clips_of_different_size_are_padded_as_recorded():
    for case in golden("batches")["collate"]:
        batch = collate([clip_of_ones(shape) for shape in case["clip_shapes"]])
        assert list(batch.frames.shape) == case["batch_shape"]
        for frames, shape, target in zip(batch.frames, case["clip_shapes"], batch.targets, strict=True):
            assert frames.sum() == np.prod(shape) and (frames[..., : shape[2], : shape[3]] == 1).all()
            assert list(target.masks.shape[2:]) == shape[2:]


def clip_of_ones(shape: list[int]) -> Clip:
    length, _, height, width = shape
    nothing = np.zeros((length, 0))
    target = ClipTarget(nothing[0], nothing[0], nothing[..., None], nothing, np.zeros((length, 0, height, width)))
    return Clip(np.ones(shape, np.float32), (height - 3, width - 5), target)


def same(a: Batch, b: Batch) -> bool:
    parts = [(a.frames.numpy(), b.frames.numpy()), (a.sizes_hw.numpy(), b.sizes_hw.numpy())]
    for one, other in zip(a.targets, b.targets, strict=True):
        parts += [(value, vars(other)[name]) for name, value in vars(one).items()]
    return all(np.array_equal(one, other) for one, other in parts)


RECIPE = replace(DEMO_RECIPE, slots=3, clips_per_slot=2, scales=((96, 64), (128, 64)), frames=4)


def test_a_batch_is_a_function_of_seed_iteration_and_slot(recorded):
    places = [(iteration, slot) for iteration in range(6) for slot in range(3)]
    first = {place: slot_batch(recorded, 1, *place, RECIPE) for place in places}
    fresh = pickle.loads(pickle.dumps(recorded))
    for place in reversed(places):
        assert same(slot_batch(fresh, 1, *place, RECIPE), first[place])
    assert not any(same(first[a], first[b]) for a in places for b in places if a != b)
    assert not same(slot_batch(recorded, 2, 0, 0, RECIPE), first[0, 0])


def test_threads_and_worker_processes_see_the_same_stream(recorded):
    places = [(iteration, slot) for iteration in range(5) for slot in range(3)]
    expected = [slot_batch(recorded, 7, *place, RECIPE) for place in places]
    shared = pickle.loads(pickle.dumps(recorded))
    with ThreadPoolExecutor(4) as pool:
        assert all(map(same, pool.map(_Places(shared, places).__getitem__, range(len(places))), expected))
    loader = torch.utils.data.DataLoader(_Places(recorded, places), batch_size=None, num_workers=2)
    assert all(same(batch, other) for batch, other in zip(loader, expected, strict=True))


def test_a_clip_in_the_order_of_time_has_the_frames_of_the_random_one(recorded):
    sample = int(np.flatnonzero(np.array([len(s.labelled) for s in recorded.sources])[recorded.source_of] >= 4)[0])
    labelled = recorded.sources[recorded.source_of[sample]].labelled
    drawn = [sample_frames(int(recorded.frame_of[sample]), labelled, 4, SeededRng(3, i, 0)) for i in range(8)]
    assert any(frames != sorted(frames) for frames in drawn)
    for i, frames in enumerate(drawn):
        unordered = recorded.clip(sample, RECIPE, SeededRng(3, i, 0))
        ordered = recorded.clip(sample, replace(RECIPE, frame_order="time"), SeededRng(3, i, 0))
        order = np.argsort(frames, kind="stable")
        np.testing.assert_array_equal(ordered.frames, unordered.frames[order])
        np.testing.assert_array_equal(ordered.target.masks, unordered.target.masks[order])
        np.testing.assert_array_equal(ordered.target.boxes_xyxy, unordered.target.boxes_xyxy[order])


class _Places(torch.utils.data.Dataset):
    def __init__(self, data: TrainingData, places: list[tuple[int, int]]):
        self.data, self.places = data, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Batch:
        iteration, slot = self.places[index]
        return slot_batch(self.data, 7, iteration, slot, RECIPE)


def test_scale_and_flip_are_drawn_once_a_clip_and_as_often_as_asked(recorded):
    def drawn(recipe) -> set:
        """Size and first box of a clip of one frame, drawn again and again."""
        clips = [recorded.clip(0, replace(recipe, frames=1), SeededRng(3, i, 0)) for i in range(40)]
        return {(clip.size_hw, tuple(clip.target.boxes_xyxy[0, 0].tolist())) for clip in clips}

    assert {size for size, _ in drawn(RECIPE)} == {(58, 96), (64, 107)}
    assert len(drawn(RECIPE)) == 4
    assert len(drawn(replace(RECIPE, flip=0.0))) == len(drawn(replace(RECIPE, flip=1.0))) == 2
