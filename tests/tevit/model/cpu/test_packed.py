"""Packed layers: the same answers, to rounding."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from tevit.model.cpu.packed import (
    PackedAttention,
    PackedConv,
    PackedLinear,
    can_pack,
    kernel_sum,
    pack,
    packed_conv,
    self_attention,
)
from tevit.model.stage import MaskHead


def with_norms_that_do_something(model):
    """A copy whose batch norms are not what they begin with."""
    model = deepcopy(model).eval()
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in module.state_dict().values():
                if values.is_floating_point():
                    values.copy_(0.5 + torch.rand(values.shape, generator=generator))
    return model


def answers(model, clip, dtype=torch.float32):
    """Logits, boxes and masks of some rows."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = model(*clip, 2)[-1]
        rows = torch.arange(0, output.logits[..., 0].numel(), 3)
        masks = model.mask_logits(output, rows, rows % model.config.num_classes)
    return [values.float() for values in (output.logits, output.boxes_xyxy, masks)]


@pytest.fixture(scope="module")
def model(tiny_model):
    return with_norms_that_do_something(tiny_model)


@pytest.fixture(scope="module")
def clip() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    return torch.randn(1, 3, 3, 64, 96, generator=generator), torch.tensor([[60, 90]])


def packed(model, dtype):
    model = deepcopy(model)
    pack(model, rows=20, dtype=dtype)
    return model


def test_a_packed_model_says_the_same(model, clip):
    assert can_pack()
    same = packed(model, torch.float32)
    kinds = [type(module) for module in same.modules()]
    assert {PackedLinear, PackedConv, PackedAttention} <= set(kinds)
    assert not {nn.Linear, nn.Conv2d, nn.MultiheadAttention, nn.BatchNorm2d} & set(kinds)
    for ours, plain in zip(answers(same, clip), answers(model, clip), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-3)


@pytest.mark.skipif(not can_pack(torch.bfloat16), reason="this processor has no bfloat16 products")
def test_packed_in_bfloat16_it_is_as_exact_as_autocast(model, clip):
    exact = answers(model, clip)
    mixed = answers(model, clip, torch.bfloat16)
    ours = answers(packed(model, torch.bfloat16), clip, torch.bfloat16)
    for a, b, c in zip(exact, mixed, ours, strict=True):
        by_autocast, by_us = ((x - a).square().mean().sqrt() for x in (b, c))
        assert 0 < by_us < 1.3 * by_autocast


def test_only_these_types_are_packed():
    assert not can_pack(torch.float16) and not can_pack(torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_number_of_rows_will_do(dtype):
    linear = nn.Linear(40, 300)
    ours = PackedLinear(linear.weight, linear.bias, 100, dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    with torch.inference_mode():
        for shape in ((1, 40), (7, 40), (2, 100, 40)):
            x = torch.randn(shape)
            assert ours(x).dtype == dtype
            torch.testing.assert_close(ours(x).float(), linear(x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 16, 7, stride=4, padding=3),
        nn.Conv2d(16, 24, 1, bias=False),
        nn.Conv2d(64, 64, 8, stride=8),
        nn.Conv2d(24, 24, 8, stride=8),
        nn.Conv2d(16, 16, 4, stride=4),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.Conv2d(16, 8, (3, 1), padding=(2, 0), dilation=(2, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("gelu", [False, True])
def test_a_packed_convolution_is_the_convolution(conv, gelu):
    x = torch.randn(2, conv.in_channels, 24, 32)
    with torch.inference_mode():
        plain = nn.functional.gelu(conv(x)) if gelu else conv(x)
        torch.testing.assert_close(PackedConv(conv, gelu=gelu)(x), plain, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(kernel_sum(PackedConv(conv)), conv.weight.sum((2, 3)))
        rough = packed_conv(conv, torch.bfloat16, gelu)(x).float()
        torch.testing.assert_close(rough, plain, rtol=3e-2, atol=3e-2)


def test_bfloat16_is_not_believed_where_the_library_is_wrong(monkeypatch):
    conv = nn.Conv2d(64, 64, 3, padding=1)
    assert packed_conv(conv, torch.bfloat16).dtype == torch.bfloat16
    right = PackedConv.forward
    monkeypatch.setattr(
        PackedConv, "forward", lambda self, x: right(self, x) * (2 if self.dtype == torch.bfloat16 else 1)
    )
    assert packed_conv(conv, torch.bfloat16).dtype == torch.float32


def test_packed_attention_is_the_attention():
    attention = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    nn.init.normal_(attention.in_proj_bias)
    nn.init.normal_(attention.out_proj.bias)
    for shape in ((1, 1, 32), (3, 7, 32)):
        x = torch.randn(shape)
        with torch.inference_mode():
            plain = self_attention(attention, x)
            torch.testing.assert_close(self_attention(PackedAttention(attention, 20), x), plain, rtol=1e-5, atol=1e-5)


def test_the_norm_behind_a_convolution_is_folded_into_it():
    head = with_norms_that_do_something(MaskHead(128, 8, 3))
    same = deepcopy(head)
    pack(same, 10)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in same.modules())
    given = torch.randn(2, 128), torch.randn(2, 196, 128), torch.tensor([0, 2])
    with torch.inference_mode():
        torch.testing.assert_close(same(*given), head(*given), rtol=1e-3, atol=1e-3)
