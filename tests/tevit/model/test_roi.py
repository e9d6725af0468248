"""RoIAlign by weighted sums of table rows, compared with torchvision's, level by level."""

import pytest
import torch
from torchvision.ops import roi_align

from tevit.model.backbones import STRIDES, Pyramid, pyramid_level, pyramid_roi_align

SIZE = (96, 160)


def maps(channels: int = 5, frames: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(frames, channels, SIZE[0] // stride, SIZE[1] // stride) for stride in STRIDES]
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]


def boxes(count: int = 200) -> torch.Tensor:
    """Boxes of every size, many partly or wholly outside the frame."""
    generator = torch.Generator().manual_seed(2)
    centre = torch.rand(count, 2, generator=generator) * 300 - 70
    side = torch.rand(count, 2, generator=generator) ** 3 * 600 + 0.5
    return torch.cat([centre - side / 2, centre + side / 2], 1)


def expected(levels: list[torch.Tensor], boxes_xyxy: torch.Tensor, frame: torch.Tensor, bins: int) -> torch.Tensor:
    rois = torch.cat([frame[:, None].float(), boxes_xyxy], 1)
    rows = [
        roi_align(levels[level], roi[None], bins, 1 / STRIDES[level], sampling_ratio=2, aligned=True)
        for roi, level in zip(rois, pyramid_level(boxes_xyxy).tolist(), strict=True)
    ]
    return torch.cat(rows).flatten(2).transpose(1, 2)


@pytest.mark.parametrize("bins", [7, 14])
def test_features_and_gradients_equal_torchvisions(bins):
    levels, boxes_xyxy, frame = maps(), boxes(), torch.arange(200) % 3
    assert pyramid_level(boxes_xyxy).unique().tolist() == [0, 1, 2, 3]
    ours = pyramid_roi_align(Pyramid.from_maps(levels), boxes_xyxy, frame, bins)
    theirs = expected(levels, boxes_xyxy, frame, bins)
    torch.testing.assert_close(ours, theirs, atol=5e-5, rtol=0)  # features are near 1, cells' places near 40
    weights = torch.linspace(-1, 1, ours.numel()).view_as(ours)
    for own, other in zip(*(torch.autograd.grad((x * weights).sum(), levels) for x in (ours, theirs)), strict=True):
        torch.testing.assert_close(own, other, atol=2e-4, rtol=0)


def test_no_boxes():
    none = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
    assert pyramid_roi_align(Pyramid.from_maps(maps()), *none, 7).shape == (0, 49, 5)


def test_boxes_with_nan_or_infinity_give_finite_features():
    boxes_xyxy = torch.tensor([[float("nan")] * 4, [0.0, 0.0, float("inf"), 10.0]])
    assert pyramid_roi_align(Pyramid.from_maps(maps()), boxes_xyxy, torch.tensor([0, 2]), 7).isfinite().all()


def test_boxes_get_no_gradient():
    boxes_xyxy = boxes(4).requires_grad_()
    pyramid_roi_align(Pyramid.from_maps(maps()), boxes_xyxy, torch.zeros(4, dtype=torch.long), 7).sum().backward()
    assert boxes_xyxy.grad is None
