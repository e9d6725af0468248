"""Packed layers compute the same, to rounding."""

from copy import deepcopy

import pytest
import torch
from timm.models.resnet import Bottleneck
from torch import nn

from tevit.configs import BackboneConfig
from tevit.model.backbones import build_backbone
from tevit.model.cpu import (
    PackedAttention,
    PackedConv,
    PackedFeedForward,
    PackedLinear,
    WinogradConv,
    can_pack,
    pack,
    pack_conv,
)
from tevit.model.stage import MaskHead


def with_random_norms(model):
    """A copy in eval mode whose batch norms have random statistics, weights and biases."""
    model = deepcopy(model).eval()
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in module.state_dict().values():
                if values.is_floating_point():
                    values.copy_(0.5 + torch.rand(values.shape, generator=generator))
    return model


def predict(model, clip, dtype=torch.float32):
    """Logits, boxes, and the masks of every third row."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = model(*clip, 2)[-1]
        rows = torch.arange(0, output.logits[..., 0].numel(), 3)
        masks = model.mask_logits(output, rows, rows % model.config.num_classes)
    return [values.float() for values in (output.logits, output.boxes_xyxy, masks)]


@pytest.fixture(scope="module")
def model(tiny_model):
    return with_random_norms(tiny_model)


@pytest.fixture(scope="module")
def clip() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    return torch.randn(1, 3, 3, 64, 96, generator=generator), torch.tensor([[60, 90]])


def packed(model, dtype):
    model = deepcopy(model)
    pack(model, rows=20, dtype=dtype)
    return model


def test_packed_model_equals_plain_model(model, clip):
    assert can_pack()
    ours = packed(model, torch.float32)
    kinds = [type(module) for module in ours.modules()]
    assert {PackedLinear, PackedConv, PackedAttention, PackedFeedForward} <= set(kinds)
    assert not {nn.Linear, nn.Conv2d, nn.MultiheadAttention, nn.BatchNorm2d} & set(kinds)
    for got, plain in zip(predict(ours, clip), predict(model, clip), strict=True):
        torch.testing.assert_close(got, plain, rtol=1e-4, atol=1e-3)


@pytest.mark.skipif(not can_pack(torch.bfloat16), reason="this processor has no bfloat16 products")
def test_bfloat16_is_as_exact_as_autocast(model, clip):
    exact = predict(model, clip)
    mixed = predict(model, clip, torch.bfloat16)
    ours = predict(packed(model, torch.bfloat16), clip, torch.bfloat16)
    for a, b, c in zip(exact, mixed, ours, strict=True):
        by_autocast, by_us = ((x - a).square().mean().sqrt() for x in (b, c))
        assert 0 < by_us < 1.3 * by_autocast


def test_unsupported_dtypes():
    assert not can_pack(torch.float16) and not can_pack(torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_number_of_rows(dtype):
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
@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
def test_packed_convolution(conv, activation):
    x = torch.randn(2, conv.in_channels, 24, 32)
    function = {"none": nn.Identity(), "relu": nn.ReLU(), "gelu": nn.GELU()}[activation]
    with torch.inference_mode():
        shortcut = torch.randn(conv(x).shape)
        for addend in (None, shortcut) if activation != "gelu" and conv.groups == 1 else (None,):
            plain = function(conv(x) if addend is None else conv(x) + addend)
            torch.testing.assert_close(PackedConv(conv, activation=activation)(x, addend), plain, rtol=1e-5, atol=1e-5)
            rough = pack_conv(conv, torch.bfloat16, activation)(x, addend).float()
            torch.testing.assert_close(rough, plain, rtol=3e-2, atol=4e-2)
        assert PackedConv(conv).weight is conv.weight and PackedConv(conv).bias is conv.bias


BACKBONES = {
    "resnet50": BackboneConfig("resnet50", (256, 512, 1024, 2048), (1, 2, 1, 1), (), (), (), 0, 0.0),
    "swin": BackboneConfig("swin", (16, 32, 64, 128), (2, 2, 2, 2), (1, 2, 4, 8), (), (), 0, 0.0),
}


@pytest.mark.parametrize("without", [(), ("winograd",)], ids=str)
@pytest.mark.parametrize("name", BACKBONES)
def test_packed_backbones_equal_plain_ones(name, without):
    backbone = with_random_norms(build_backbone(BACKBONES[name]))
    ours = deepcopy(backbone)
    pack(ours, rows=20, without=without)
    kinds = {type(module) for module in ours.modules()}
    assert not {nn.Linear, nn.Conv2d, nn.BatchNorm2d, nn.GELU, Bottleneck} & kinds
    assert (WinogradConv in kinds) == (name == "resnet50" and not without)
    frames = torch.randn(2, 3, 75, 110, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        for got, plain in zip(ours(frames, 2), backbone(frames, 2), strict=True):
            torch.testing.assert_close(got, plain, rtol=1e-4, atol=1e-4 * plain.abs().max().item())


@pytest.mark.skipif(not can_pack(torch.bfloat16), reason="this processor has no bfloat16 products")
@pytest.mark.parametrize("name", BACKBONES)
def test_bfloat16_backbones_are_as_exact_as_autocast(name):
    backbone = with_random_norms(build_backbone(BACKBONES[name]))
    ours = deepcopy(backbone)
    pack(ours, rows=20, dtype=torch.bfloat16)
    frames = torch.randn(2, 3, 75, 110, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        exact = backbone(frames, 2)
        with torch.autocast("cpu", torch.bfloat16):
            mixed, packed_maps = backbone(frames, 2), ours(frames, 2)
    for a, b, c in zip(exact, mixed, packed_maps, strict=True):
        by_autocast, by_us = ((x.float() - a).square().mean().sqrt() for x in (b, c))
        assert 0 < by_us < 1.3 * by_autocast


def test_float32_where_the_library_is_wrong_in_bfloat16(monkeypatch):
    conv = nn.Conv2d(64, 64, 3, padding=1)
    assert pack_conv(conv, torch.bfloat16).dtype == torch.bfloat16
    right = PackedConv.forward
    monkeypatch.setattr(
        PackedConv, "forward", lambda self, x: right(self, x) * (2 if self.dtype == torch.bfloat16 else 1)
    )
    assert pack_conv(conv, torch.bfloat16).dtype == torch.float32


def test_packed_attention():
    attention = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    nn.init.normal_(attention.in_proj_bias)
    nn.init.normal_(attention.out_proj.bias)
    for shape in ((1, 1, 32), (3, 7, 32)):
        x = torch.randn(shape)
        with torch.inference_mode():
            plain = attention(x, x, x, need_weights=False)[0]
            ours = PackedAttention(attention, 20)(x, x, x, need_weights=False)[0]
            torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)


def test_batch_norm_is_folded_into_its_convolution():
    head = with_random_norms(MaskHead(128, 8, 3))
    ours = deepcopy(head)
    pack(ours, 10)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in ours.modules())
    inputs = torch.randn(2, 128), torch.randn(2, 196, 128), torch.tensor([0, 2])
    with torch.inference_mode():
        torch.testing.assert_close(ours(*inputs), head(*inputs), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("without", ["winograd", "packed"])
def test_an_optimisation_can_be_left_out(without):
    head = with_random_norms(MaskHead(128, 8, 3))
    ours = deepcopy(head)
    pack(ours, 10, without=[without])
    kinds = {type(module) for module in ours.modules()}
    assert (WinogradConv in kinds) == (without == "packed") and (PackedLinear in kinds) == (without == "winograd")
    inputs = torch.randn(2, 128), torch.randn(2, 196, 128), torch.tensor([0, 2])
    with torch.inference_mode():
        torch.testing.assert_close(ours(*inputs), head(*inputs), rtol=1e-3, atol=1e-3)


def test_state_dict_keys_are_timms(tiny_model):
    """The feed-forward module takes the place of timm's MLP without renaming parameters."""
    keys = {key.partition(".blocks.0.mlp.")[2] for key in tiny_model.backbone.stages[0].state_dict(prefix="x.")}
    assert keys - {""} == {f"{layer}.{kind}" for layer in ("fc1", "dwconv", "fc2") for kind in ("weight", "bias")}
