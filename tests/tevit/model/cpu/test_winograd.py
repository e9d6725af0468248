"""Winograd's convolutions equal PyTorch's, as exact, on maps of any size."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from tevit.model.cpu import WinogradConv, is_supported, pack


def conv(channels_in=128, channels_out=160, bias=True) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=bias)


@pytest.mark.parametrize(
    "shape", [(1, 24, 40), (3, 7, 9), (30, 14, 14), (2, 1, 1), (1, 3, 130), (1, 97, 2), (0, 14, 14)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_equal_to_the_convolution(shape, bias):
    plain = conv(bias=bias)
    x = torch.randn(shape[0], 128, *shape[1:])
    with torch.inference_mode():
        torch.testing.assert_close(WinogradConv(plain)(x), plain(x), rtol=1e-4, atol=1e-5)


def test_nearly_as_exact_as_the_library():
    """At 256 channels, as in the pyramid, against float64. Error (root of the mean square, and largest) by deviation of
    the values: oneDNN's 0.9e-6 and 1e-5."""
    plain = conv(256, 256)
    x = torch.randn(1, 256, 48, 80)
    with torch.inference_mode():
        exact = nn.functional.conv2d(x.double(), plain.weight.double(), plain.get_parameter("bias").double(), padding=1)
        error = (WinogradConv(plain)(x) - exact) / exact.std()
    assert error.square().mean().sqrt() < 3e-6 and error.abs().max() < 4e-5


@pytest.mark.parametrize(
    ("other", "fits"),
    [
        (nn.Conv2d(128, 128, 3, padding=1), True),
        (nn.Conv2d(128, 128, 3, padding=1, stride=2), False),
        (nn.Conv2d(128, 128, 3), False),
        (nn.Conv2d(128, 128, 1), False),
        (nn.Conv2d(128, 128, 3, padding=1, groups=128), False),
        (nn.Conv2d(128, 128, 3, padding=2, dilation=2), False),
        (nn.Conv2d(128, 128, 3, padding=1, padding_mode="reflect"), False),
        (nn.Conv2d(64, 128, 3, padding=1), False),
    ],
)
def test_supported_convolutions_alone_are_replaced(other, fits):
    assert is_supported(other) == fits
    model = nn.Sequential(other)
    before = deepcopy(model)
    pack(model, rows=10, without=())
    assert isinstance(model[0], WinogradConv) == fits
    x = torch.randn(1, other.in_channels, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), before(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("faster", [False, True])
def test_they_are_used_only_where_they_are_faster(faster, monkeypatch):
    monkeypatch.setattr("tevit.model.cpu.is_intel", lambda: faster)
    model = nn.Sequential(nn.Conv2d(128, 128, 3, padding=1))
    pack(model, rows=10)
    assert isinstance(model[0], WinogradConv) == faster
