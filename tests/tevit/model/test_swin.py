"""Swin's window attention against timm's on a map that is padded and rolled."""

from typing import cast

import pytest
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import (
    SwinTransformerBlock,
    SwinTransformerStage,
    window_partition,
    window_reverse,
)

from tevit.configs import BackboneConfig
from tevit.model.backbones import WINDOW, Swin, _window_attention

CONFIG = BackboneConfig("swin", (16, 32, 64, 128), (2, 2, 2, 2), (2, 2, 4, 8), (), (), 0, 0.0)


def timm_attention(block: SwinTransformerBlock, x: torch.Tensor) -> torch.Tensor:
    """Pad with zeros, roll, attend in each window, roll back, crop; tokens of other regions are masked."""
    height, width = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -width % WINDOW, 0, -height % WINDOW))
    size, shift = x.shape[1:3], cast(tuple[int, int], block.shift_size)
    regions = torch.zeros(1, *size, 1)
    for i, rows in enumerate((slice(0, -WINDOW), slice(-WINDOW, -shift[0]), slice(-shift[0], None))):
        for j, columns in enumerate((slice(0, -WINDOW), slice(-WINDOW, -shift[1]), slice(-shift[1], None))):
            regions[:, rows, columns] = 3 * i + j
    mask = None
    if any(shift):
        numbers = window_partition(regions, (WINDOW, WINDOW)).flatten(1)
        mask = (numbers[:, None] != numbers[:, :, None]).float() * -100
    windows = window_partition(x.roll((-shift[0], -shift[1]), (1, 2)), (WINDOW, WINDOW)).flatten(1, 2)
    windows = block.attn(windows, mask=mask).unflatten(1, (WINDOW, WINDOW))
    return window_reverse(windows, (WINDOW, WINDOW), *size).roll(shift, (1, 2))[:, :height, :width]


@pytest.mark.parametrize("index", [0, 1], ids=["windows", "shifted windows"])
@pytest.mark.parametrize("size_hw", [(14, 21), (15, 20), (5, 9), (7, 30)], ids=str)
def test_window_attention_and_its_gradients_equal_timms(index, size_hw):
    torch.manual_seed(1)
    stage = cast(SwinTransformerStage, Swin(CONFIG).layers[0])
    block = cast(SwinTransformerBlock, stage.blocks[index])
    assert block.shift_size == ((0, 0), (3, 3))[index]
    torch.nn.init.normal_(block.attn.relative_position_bias_table)
    torch.nn.init.normal_(block.attn.qkv.bias)
    results = []
    for function in (_window_attention, timm_attention):
        x = torch.randn(3, *size_hw, 16, generator=torch.Generator().manual_seed(2)).requires_grad_()
        out = function(block, x)
        inputs = [x, *(p for p in block.attn.parameters())]
        results.append([out, *torch.autograd.grad((out * out.detach().sin()).sum(), inputs)])
    assert results[0][0].shape == (3, *size_hw, 16)
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
