"""Masks in the frame's pixels equal PyTorch's own sampling, on the pixels that a box can reach."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tevit.inference.postprocess import SIDE, paste

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
