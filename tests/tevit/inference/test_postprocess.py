"""Masks in the frame's pixels equal PyTorch's own sampling, on the pixels that a box can reach."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tevit.inference import postprocess
from tevit.inference.postprocess import SIDE, Detections, paste, paste_and_encode, to_tracks
from tevit.masks.ops import encode_parts

HEIGHT, WIDTH = 90, 160


def sampled(probabilities: Tensor, box_xyxy: Tensor) -> Tensor:
    """float32 (H, W): the map over the box sampled at every pixel centre, 0 outside."""
    x1, y1, x2, y2 = box_xyxy
    ys = (torch.arange(HEIGHT) + 0.5 - y1) / (y2 - y1) * 2 - 1
    xs = (torch.arange(WIDTH) + 0.5 - x1) / (x2 - x1) * 2 - 1
    grid = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), 2)
    return F.grid_sample(probabilities[None, None], grid[None], align_corners=False)[0, 0]


@pytest.mark.parametrize("seed", range(40))
def test_a_mask_is_the_map_sampled_at_every_pixel(seed):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(SIDE, SIDE, generator=generator).mul(2).sigmoid()
    corner, side = (torch.rand(2, generator=generator) * torch.tensor([WIDTH, HEIGHT]) * 1.4 - 30 for _ in range(2))
    box = torch.cat([corner, corner + side.abs() + 0.01])
    [(part, left, top)] = paste(probabilities[None], box[None], (HEIGHT, WIDTH))
    whole = np.zeros((HEIGHT, WIDTH), bool)
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    expected = sampled(probabilities, box)
    near = (expected - 0.5).abs() < 1e-5  # rounding may differ there
    assert np.array_equal(whole | near.numpy(), (expected >= 0.5).numpy() | near.numpy())
    assert near.float().mean() < 1e-3


@pytest.mark.parametrize("box", [(5, 5, 5, 30), (5.5, 5, 5.5, 30), (3, 4, 3, 4), (40, 40, 20, 20)], ids=str)
def test_an_empty_box_has_no_pixels(box):
    [(part, _, _)] = paste(torch.ones(1, SIDE, SIDE), torch.tensor([box], dtype=torch.float32), (HEIGHT, WIDTH))
    assert not part.any()


def test_masks_pasted_together_equal_masks_pasted_alone():
    generator = torch.Generator().manual_seed(1)
    probabilities = torch.rand(30, SIDE, SIDE, generator=generator)
    corners = torch.rand(30, 2, generator=generator) * 200 - 40
    boxes = torch.cat([corners, corners + torch.rand(30, 2, generator=generator) * 60 - 5], 1)
    together = paste(probabilities, boxes, (HEIGHT, WIDTH))
    for index, (pixels, left, top) in enumerate(together):
        [alone] = paste(probabilities[index : index + 1], boxes[index : index + 1], (HEIGHT, WIDTH))
        assert (left, top) == alone[1:] and np.array_equal(pixels, alone.pixels)
    assert 5 < sum(part.pixels.size == 0 for part in together) < 25
    assert paste(probabilities[:0], boxes[:0], (HEIGHT, WIDTH)) == []


def boxes_of_every_kind(seed: int, count: int = 24) -> Tensor:
    """float32 (N, 4): inside, across each side of the frame, beyond it, over all of it; empty and inverted ones."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([WIDTH, HEIGHT])
    corners = torch.rand(count, 2, generator=generator) * size * 1.4 - 30
    sides = torch.rand(count, 2, generator=generator) * size * (seed % 3 + 1) / 3 - 8
    boxes = torch.cat([corners, corners + sides], 1)
    boxes[0] = torch.tensor([-5.0, -5.0, WIDTH + 5, HEIGHT + 5])
    boxes[1] = torch.tensor([20.0, 0.0, 60.0, HEIGHT])  # runs go from column to column
    boxes[2] = torch.tensor([5.5, 5.0, 5.5, 30.0])
    return boxes


@pytest.mark.parametrize("seed", range(60))
def test_masks_encoded_on_a_device_equal_those_of_the_cpu(seed, monkeypatch):
    """Both on the CPU: the same bytes, however many masks are pasted at once."""
    monkeypatch.setattr(postprocess, "MAX_PIXELS", (1, 20_000, 1 << 26)[seed % 3])
    boxes = boxes_of_every_kind(seed)
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(len(boxes), SIDE, SIDE, generator=generator).mul(2).add(seed % 5 - 1).sigmoid()
    probabilities[1] = 1
    rles, areas = paste_and_encode(probabilities, boxes, (HEIGHT, WIDTH))
    expected, expected_areas = encode_parts(paste(probabilities, boxes, (HEIGHT, WIDTH)), (HEIGHT, WIDTH))
    assert rles == expected and np.array_equal(areas, expected_areas)
    assert (areas == 0).any() and areas[0] > 0 and areas[1] == 40 * HEIGHT


def test_no_masks_are_encoded_to_none():
    rles, areas = paste_and_encode(torch.zeros(0, SIDE, SIDE), torch.zeros(0, 4), (HEIGHT, WIDTH))
    assert rles == [] and areas.shape == (0,)


def detections(frames: int = 4, count: int = 6) -> Detections:
    """Of noise, the best first."""
    generator = torch.Generator().manual_seed(3)
    boxes = boxes_of_every_kind(3, frames * count).unflatten(0, (frames, count))
    return Detections(
        scores=torch.linspace(0.9, 0.1, count),
        frame_scores=torch.rand(frames, count, generator=generator),
        labels=torch.arange(count),
        queries=torch.arange(count),
        boxes_xyxy=boxes,
        mask_logits=torch.randn(frames, count, SIDE, SIDE, generator=generator),
        features=torch.zeros(count, 1),
    )


@pytest.mark.parametrize("threshold", [0, 0.3, 1])
def test_tracks_are_the_same_with_masks_on_a_device(threshold, monkeypatch):
    plain = detections()
    on_device = replace(
        plain, mask_logits=torch.full_like(plain.mask_logits, torch.nan), masks_on_device=plain.mask_logits
    )
    monkeypatch.setattr(postprocess, "MAX_PIXELS", 50_000)
    categories = dict.fromkeys(range(1, 7), "thing")
    for first in (0, 1):
        results = [to_tracks(each.frames(first), (HEIGHT, WIDTH), categories, threshold) for each in (plain, on_device)]
        assert len(results[0]) == len(results[1]) == sum(score >= threshold for score in plain.scores.tolist())
        for one, other in zip(*results, strict=True):
            assert (one.id, one.category_id, one.score, one.rles) == (
                other.id,
                other.category_id,
                other.score,
                other.rles,
            )
            np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
            np.testing.assert_array_equal(one.areas, other.areas)
