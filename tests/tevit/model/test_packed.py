"""Packed linear layers: the same answers, to rounding."""

from copy import deepcopy

import torch
from torch import nn

from tevit.model.packed import PackedLinear, can_pack, pack


def test_a_packed_model_says_the_same(tiny_model):
    assert can_pack()
    packed = deepcopy(tiny_model)
    pack(packed, rows=20)
    kinds = [type(module) for module in packed.modules()]
    assert PackedLinear in kinds and nn.Linear not in kinds
    frames, sizes = torch.rand(1, 3, 3, 64, 96), torch.tensor([[64, 96]])
    with torch.inference_mode():
        plain, same = tiny_model(frames, sizes)[-1], packed(frames, sizes)[-1]
    torch.testing.assert_close(same.logits, plain.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(same.boxes_xyxy, plain.boxes_xyxy, rtol=1e-4, atol=1e-3)


def test_any_number_of_rows_will_do():
    linear = nn.Linear(40, 300)
    packed = PackedLinear(linear, rows=100)
    with torch.inference_mode():
        for shape in ((1, 40), (7, 40), (2, 100, 40)):
            x = torch.randn(shape)
            torch.testing.assert_close(packed(x), linear(x), rtol=1e-5, atol=1e-5)
