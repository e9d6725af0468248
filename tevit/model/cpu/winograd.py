"""3x3 convolutions for inference on a CPU in a fourth of the multiplications, by Winograd's minimal filtering.

An output tile of 4 x 4 pixels comes of 6 x 6 pixels of the input. Both transformed by fixed matrices, 36 products of
channels do what 16 x 9 did. Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016; the points
0, 1, -1, 1/2, -2, with which rounding is about twice that of oneDNN's convolution, are those of Barabasz et al., Error
Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks, 2020.
"""

import torch
from torch import Tensor, nn

TILE, EDGE = 4, 6  # pixels of an output tile, and of the input that it takes
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
LEAST_CHANNELS = 128  # with fewer the transforms cost what the products save
_TILES = 160  # at once: what they take stays near the processor
_ONES = EDGE * POINTS.index(1.0) + POINTS.index(1.0)  # what stands here comes out, once, in all 16 pixels of a tile


def suits(conv: nn.Conv2d) -> bool:
    """Whether it is a wide, plain 3x3 convolution that keeps the size of the picture."""
    plain = (conv.kernel_size, conv.stride, conv.dilation) == ((3, 3), (1, 1), (1, 1))
    same = conv.padding == (1, 1) and conv.padding_mode == "zeros" and conv.groups == 1
    return plain and same and min(conv.in_channels, conv.out_channels) >= LEAST_CHANNELS


class WinogradConv(nn.Module):
    """The same as `conv`, to rounding; float32, without gradients; what comes out is channels last."""

    weight: Tensor
    of_image: Tensor
    of_output: Tensor

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        output, weight, image = _matrices()
        kernels = conv.weight.detach().double().flatten(2)  # (K, C, 9)
        self.register_buffer("weight", torch.einsum("fi,kci->fck", weight, kernels).float(), persistent=False)
        self.register_buffer("of_image", image.float(), persistent=False)
        self.register_buffer("of_output", output.float(), persistent=False)
        self.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 (N, C, H, W) -> (N, K, H, W)."""
        count, _, height, width = x.shape
        down, across = -(-height // TILE), -(-width // TILE)
        images = max(1, _TILES // (down * across))
        rows = down if images > 1 else max(1, _TILES // across)
        out = x.new_empty(count, down * TILE, across * TILE, self.weight.shape[2])
        for first in range(0, count, images):
            part = x[first : first + images]
            padded = _framed(part.permute(0, 2, 3, 1), down * TILE + 2, across * TILE + 2)
            for top in range(0, down * TILE, rows * TILE):
                strip = out[first : first + images, top : top + rows * TILE]
                self._fill(strip, padded[:, top : top + strip.shape[1] + 2])
        return out[:, :height, :width].permute(0, 3, 1, 2)

    def _fill(self, out: Tensor, strip: Tensor) -> None:
        """out: (n, 4 down, 4 across, K), of strip: (n, 4 down + 2, 4 across + 2, C)."""
        tiles = strip.unfold(1, EDGE, TILE).unfold(2, EDGE, TILE)  # (n, down, across, C, 6, 6)
        down, across = tiles.shape[1:3]
        tiles = tiles.permute(0, 1, 2, 4, 5, 3).reshape(-1, EDGE * EDGE, strip.shape[3])
        products = torch.bmm((self.of_image @ tiles).transpose(0, 1), self.weight)  # (36, tiles, K)
        if self.bias is not None:
            products[_ONES] += self.bias
        values = (self.of_output @ products.transpose(0, 1)).view(len(out), down, across, TILE, TILE, -1)
        out.unflatten(2, (across, TILE)).unflatten(1, (down, TILE)).copy_(values.transpose(2, 3))


def _framed(x: Tensor, height: int, width: int) -> Tensor:
    """x: (N, h, w, C) -> (N, height, width, C): a row and a column of zeros before it, and zeros behind it."""
    out = x.new_empty(len(x), height, width, x.shape[3])
    bottom, right = x.shape[1] + 1, x.shape[2] + 1
    out[:, 1:bottom, 1:right] = x
    for edge in (out[:, :1], out[:, bottom:], out[:, 1:bottom, :1], out[:, 1:bottom, right:]):
        edge.zero_()
    return out


def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """float64: of the output (16, 36), the weights (36, 9) and the input (36, 36), for two dimensions at once.

    A product of polynomials is known by its values at the points and, for the highest power, at infinity; filtering is
    its transpose.
    """
    output, weight, image = (_values(size) for size in (TILE, 3, EDGE))
    return torch.kron(output.T, output.T), torch.kron(weight, weight), torch.kron(image.inverse().T, image.inverse().T)


def _values(size: int) -> Tensor:
    """(6, size): what a polynomial of `size` coefficients is at the points and at infinity."""
    powers = torch.vander(torch.tensor((*POINTS, 0.0), dtype=torch.float64), size, increasing=True)
    powers[-1] = torch.eye(size)[-1]
    return powers
