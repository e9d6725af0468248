"""3x3 convolutions for inference on a CPU with a quarter of the multiplications, by Winograd's minimal filtering.

An output tile of 4 x 4 pixels depends on 6 x 6 pixels of the input. With both transformed by fixed matrices, 36
products of channels replace 16 x 9. Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016;
the points 0, 1, -1, 1/2, -2, with which rounding is about twice that of oneDNN's convolution, are those of Barabasz et
al., Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks, 2020.
"""

import platform
from contextlib import suppress
from functools import cache

import torch
from torch import Tensor, nn

TILE, EDGE = 4, 6  # pixels of an output tile, and of the input that it depends on
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
MIN_CHANNELS = 128  # with fewer the transforms cost what the products save
_TILES = 160  # at once, so that intermediate values stay in the cache
_ONES = EDGE * POINTS.index(1.0) + POINTS.index(1.0)  # a bias added to this product appears once in all 16 pixels


@cache
def is_faster() -> bool:
    """Whether these convolutions are faster than oneDNN's on this machine: on processors of Intel."""
    # MKL's batched products reach the speed of oneDNN's convolutions on Intel's processors alone: on an AMD EPYC the
    # whole model takes 1.03 times as long with Winograd's (docs/benchmarks.md). Decided by the vendor, not by a timing,
    # so that all processes of a run compute the same.
    with suppress(OSError), open("/proc/cpuinfo") as file:
        return "GenuineIntel" in file.read()
    return "Intel" in platform.processor()


def is_supported(conv: nn.Conv2d) -> bool:
    """Whether `conv` is a wide, plain 3x3 convolution that keeps the size of its input."""
    plain = (conv.kernel_size, conv.stride, conv.dilation) == ((3, 3), (1, 1), (1, 1))
    same_size = conv.padding == (1, 1) and conv.padding_mode == "zeros" and conv.groups == 1
    return plain and same_size and min(conv.in_channels, conv.out_channels) >= MIN_CHANNELS


class WinogradConv(nn.Module):
    """Replaces `conv`, equal to rounding; float32, without gradients; the result is channels last."""

    weight: Tensor
    input_transform: Tensor
    output_transform: Tensor

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        # Two polynomials are multiplied by their values at the points; filtering is the transpose of that.
        output, weight, image = (_evaluation_matrix(size) for size in (TILE, 3, EDGE))
        kernels = conv.weight.detach().double().flatten(2)  # (K, C, 9)
        transformed = torch.einsum("fi,kci->fck", torch.kron(weight, weight), kernels).float()  # (36, C, K)
        inverse = image.inverse().T
        self.register_buffer("weight", transformed, persistent=False)
        self.register_buffer("input_transform", torch.kron(inverse, inverse).float(), persistent=False)  # (36, 36)
        self.register_buffer("output_transform", torch.kron(output.T, output.T).float(), persistent=False)  # (16, 36)
        self.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 (N, C, H, W) -> (N, K, H, W)."""
        count, _, height, width = x.shape
        down, across = -(-height // TILE), -(-width // TILE)
        images = max(1, _TILES // (down * across))
        rows = down if images > 1 else max(1, _TILES // across)
        out = x.new_empty(count, down * TILE, across * TILE, self.weight.shape[2])
        for first in range(0, count, images):
            batch = x[first : first + images].permute(0, 2, 3, 1)
            padded = _pad(batch, down * TILE + 2, across * TILE + 2)
            for top in range(0, down * TILE, rows * TILE):
                strip = out[first : first + images, top : top + rows * TILE]
                self._convolve(padded[:, top : top + strip.shape[1] + 2], strip)
        return out[:, :height, :width].permute(0, 3, 1, 2)

    def _convolve(self, x: Tensor, out: Tensor) -> None:
        """x: (n, 4 down + 2, 4 across + 2, C). out: (n, 4 down, 4 across, K), is written."""
        tiles = x.unfold(1, EDGE, TILE).unfold(2, EDGE, TILE)  # (n, down, across, C, 6, 6)
        down, across = tiles.shape[1:3]
        tiles = tiles.permute(0, 1, 2, 4, 5, 3).reshape(-1, EDGE * EDGE, x.shape[3])
        products = torch.bmm((self.input_transform @ tiles).transpose(0, 1), self.weight)  # (36, tiles, K)
        if self.bias is not None:
            products[_ONES] += self.bias
        values = (self.output_transform @ products.transpose(0, 1)).view(len(out), down, across, TILE, TILE, -1)
        out.unflatten(2, (across, TILE)).unflatten(1, (down, TILE)).copy_(values.transpose(2, 3))


def _pad(x: Tensor, height: int, width: int) -> Tensor:
    """Pad (N, h, w, C) with zeros to (N, height, width, C): one row and column before, the rest after."""
    out = x.new_empty(len(x), height, width, x.shape[3])
    bottom, right = x.shape[1] + 1, x.shape[2] + 1
    out[:, 1:bottom, 1:right] = x
    for edge in (out[:, :1], out[:, bottom:], out[:, 1:bottom, :1], out[:, 1:bottom, right:]):
        edge.zero_()
    return out


def _evaluation_matrix(size: int) -> Tensor:
    """float64 (6, size): values of a polynomial with `size` coefficients at the points and at infinity."""
    powers = torch.vander(torch.tensor((*POINTS, 0.0), dtype=torch.float64), size, increasing=True)
    powers[-1] = torch.eye(size)[-1]
    return powers
