"""Layers for inference on a CPU (weights in oneDNN's layout, Winograd convolutions), and the allocator's settings.

`pack` replaces layers of a loaded model. PyTorch's linear layer passes unpacked weights to the matrix product; the wide
and flat ones of a refinement stage (256 -> 32768 for 500 rows) then reach a third of the speed, and in mixed precision
every call converts them to bfloat16 again. A convolution and the batch norm after it become one convolution; an
activation, and the sum with a ResNet block's shortcut, become part of the operator before it.

In float32, wide 3x3 convolutions become Winograd's where these are faster: a quarter of the multiplications. An output
tile of 4 x 4 pixels depends on 6 x 6 pixels of the input. With both transformed by fixed matrices, 36 products of
channels replace 16 x 9. Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016; the points 0,
1, -1, 1/2, -2, with which rounding is about twice that of oneDNN's convolution, are those of Barabasz et al., Error
Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks, 2020.
"""

import ctypes
import platform
import sys
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from typing import cast

import torch
import torch.nn.functional as F
from timm.layers.mlp import Mlp
from timm.models.resnet import Bottleneck
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tevit.model.pvt import FeedForward

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's <malloc.h>
_MAX_INT = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory in this process for later tensors; returns whether that succeeded.

    Otherwise the kernel maps and clears new pages for every large tensor: two fifths of a full-size model's time on two
    cores (`tevit benchmark model`). Does nothing without glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(_MMAP_THRESHOLD, _MAX_INT)) and bool(library.mallopt(_TRIM_THRESHOLD, _MAX_INT))


TILE, EDGE = 4, 6  # pixels of an output tile, and of the input that it depends on
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
MIN_CHANNELS = 128  # with fewer the transforms cost what the products save
_TILES = 160  # at once, so that intermediate values stay in the cache
_ONES = EDGE * POINTS.index(1.0) + POINTS.index(1.0)  # a bias added to this product appears once in all 16 pixels


@cache
def is_intel() -> bool:
    """Whether this is a processor of Intel, on which MKL's products are as fast as oneDNN's; elsewhere half as fast."""
    # What depends on it is decided by the vendor, not by a timing, so that all processes of a run compute the same.
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


# --- packed layers


DTYPES = (torch.float32, torch.bfloat16)
OPTIMISATIONS = ("packed", "winograd")
"""What `pack` can leave out: packed linear layers, convolutions and attention; Winograd convolutions."""

ACTIVATIONS = {"none": ("none", ""), "relu": ("relu", ""), "gelu": ("gelu", "none")}
"""Activations that can be part of an operator: oneDNN's name, and its algorithm ("none": the exact GELU)."""

_MAX_ERROR = 0.05  # of a bfloat16 convolution, relative to the values' root mean square; 0.003 is usual
_OPS = ("_linear_pointwise", "_convolution_pointwise", "_reorder_linear_weight", "_reorder_convolution_weight")


class PackedLinear(nn.Module):
    """A linear layer with packed weights, equal to rounding of `dtype`; without gradients.

    weight: (out, in). bias: (out,). rows: expected rows of a call, for which the layout is chosen; other numbers work
    as well. dtype: float32 or bfloat16, of the product and of the result. gelu: apply a GELU to the result.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, rows: int, dtype: torch.dtype = torch.float32, gelu: bool = False
    ):
        super().__init__()
        self.dtype = dtype
        self.activation = ACTIVATIONS["gelu" if gelu else "none"]
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype), rows)
        self.register_buffer("weight", packed, persistent=False)
        self.register_buffer("bias", None if bias is None else bias.detach().to(dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in) -> (..., out)."""
        name, algorithm = self.activation
        return torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self.weight, self.bias, name, [], algorithm)


class PackedConv(nn.Module):
    """A convolution with packed weights, equal to rounding of `dtype`; without gradients; the result is channels last.

    activation: of the result, one of ACTIVATIONS. weight, bias: of `conv`, unpacked, for callers that read them.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype = torch.float32, activation: str = "none"):
        super().__init__()
        self.dtype, self.activation = dtype, ACTIVATIONS[activation]
        self.weight, self.bias = conv.weight, conv.bias
        self.geometry = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        packed = torch.ops.mkldnn._reorder_convolution_weight(conv.weight.detach().to(dtype), *self.geometry)
        self.register_buffer("packed_weight", packed, persistent=False)
        offset = None if conv.bias is None else conv.bias.detach().to(dtype)
        self.register_buffer("packed_bias", offset, persistent=False)

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """x: (N, C, H, W) -> (N, K, h, w). shortcut: of the result's shape, added before a ReLU.

        There is no such operator of oneDNN with groups or a GELU.
        """
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        name, algorithm = self.activation
        if shortcut is None:
            return torch.ops.mkldnn._convolution_pointwise(
                x, self.packed_weight, self.packed_bias, *self.geometry, name, [], algorithm
            )
        shortcut = shortcut.to(self.dtype).contiguous(memory_format=torch.channels_last)
        weights = self.packed_weight, self.packed_bias
        return torch.ops.mkldnn._convolution_pointwise.binary(
            x, shortcut, *weights, *self.geometry, "add", 1.0, None if name == "none" else name, [], None
        )


class PackedAttention(nn.Module):
    """Self-attention with packed projections and nn.MultiheadAttention's signature; without gradients.

    Equal to `attention` with batch_first to rounding of `dtype`. rows, dtype: as for PackedLinear.
    """

    def __init__(self, attention: nn.MultiheadAttention, rows: int, dtype: torch.dtype = torch.float32):
        super().__init__()
        output = attention.out_proj
        self.heads = attention.num_heads
        self.in_proj = PackedLinear(attention.in_proj_weight, attention.in_proj_bias, rows, dtype)
        self.out_proj = PackedLinear(output.weight, output.bias, rows, dtype)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False) -> tuple[Tensor, None]:
        """query, key, value: the same tensor (N, L, C). Returns: the result (N, L, C), and None for the weights."""
        assert query is key is value and not need_weights
        queries, keys, values = self.in_proj(query).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(queries, keys, values)  # (N, heads, L, C / heads)
        return self.out_proj(x.transpose(1, 2).flatten(2)), None


class PackedFeedForward(FeedForward):
    """PVT's feed-forward with packed layers; the GELU of the patches is part of their convolution."""

    def __init__(self, feed_forward: FeedForward, rows: int, dtype: torch.dtype = torch.float32):
        super().__init__(feed_forward)
        self.fc1, self.fc2 = (_packed(layer, rows, dtype) for layer in (feed_forward.fc1, feed_forward.fc2))
        self.dwconv = pack_conv(cast(nn.Conv2d, feed_forward.dwconv), dtype, "gelu")

    def conv_act(self, x: Tensor) -> Tensor:
        return self.dwconv(x)


class PackedBottleneck(nn.Module):
    """ResNet's block with its norms, activations and sum in three packed convolutions; without gradients.

    winograd: the 3x3 convolution becomes Winograd's where it is wide enough.
    """

    def __init__(self, block: Bottleneck, winograd: bool, dtype: torch.dtype = torch.float32):
        super().__init__()
        reduce, spatial, expand = (
            fuse_conv_bn_eval(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm))
            for conv, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2), (block.conv3, block.bn3))
        )
        self.reduce = pack_conv(reduce, dtype, "relu")
        if winograd and is_supported(spatial):
            self.spatial: nn.Module = nn.Sequential(WinogradConv(spatial), nn.ReLU(inplace=True))
        else:
            self.spatial = pack_conv(spatial, dtype, "relu")
        self.expand = pack_conv(expand, dtype, "relu")
        self.downsample = None
        if block.downsample is not None:
            conv, norm = cast(nn.Sequential, block.downsample)
            folded = fuse_conv_bn_eval(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm))
            self.downsample = pack_conv(folded, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) -> (N, K, h, w)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.expand(self.spatial(self.reduce(x)), shortcut)


def can_pack(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this PyTorch and this processor support packed layers of `dtype`."""
    ops = torch.ops.mkldnn
    if dtype not in DTYPES or not torch.backends.mkldnn.is_available() or not all(hasattr(ops, name) for name in _OPS):
        return False
    return dtype == torch.float32 or bool(ops._is_mkldnn_bf16_supported())


def default_exclusions() -> tuple[str, ...]:
    """The OPTIMISATIONS that `pack` leaves out on this machine."""
    # Winograd's convolutions are MKL's batched products: on an AMD EPYC the whole model takes 1.03 times as long with
    # them (docs/benchmarks.md).
    return () if is_intel() else ("winograd",)


def pack(
    model: nn.Module, rows: int, dtype: torch.dtype = torch.float32, without: Collection[str] | None = None
) -> None:
    """Replace layers of a trained model in eval mode by packed ones and Winograd convolutions, in place.

    rows: expected rows of a linear layer of the stages. dtype: of the products; with bfloat16 the model must run under
    autocast. without: names of OPTIMISATIONS to leave out, None for `default_exclusions()`. The model can no longer be
    trained, saved or moved to another device.
    """
    without = default_exclusions() if without is None else without
    winograd = "winograd" not in without and dtype == torch.float32
    for suffix in ("", "1"):  # of the mask heads' layers and of ResNet's stem
        conv, norm = getattr(model, f"conv{suffix}", None), getattr(model, f"bn{suffix}", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and not isinstance(model, Bottleneck):
            setattr(model, f"conv{suffix}", fuse_conv_bn_eval(conv, norm))
            setattr(model, f"bn{suffix}", nn.Identity())
    for name, child in model.named_children():
        replacement = child
        if winograd and type(child) is nn.Conv2d and is_supported(child):
            replacement = WinogradConv(child)
        elif isinstance(child, Bottleneck) and "packed" not in without:
            replacement = PackedBottleneck(child, winograd, dtype)
        elif "packed" not in without:
            replacement = _packed(child, rows, dtype)
        if replacement is child:
            pack(child, rows, dtype, without)
        else:
            setattr(model, name, replacement)


def _packed(layer: nn.Module, rows: int, dtype: torch.dtype) -> nn.Module:
    """The packed form of a layer, the layer itself where it has none."""
    if isinstance(layer, nn.MultiheadAttention):
        return PackedAttention(layer, rows, dtype)
    if isinstance(layer, FeedForward) and isinstance(layer.act, nn.GELU):
        return PackedFeedForward(layer, rows, dtype)
    if isinstance(layer, Mlp) and isinstance(layer.act, nn.GELU) and isinstance(layer.norm, nn.Identity):
        first = PackedLinear(layer.fc1.weight, layer.fc1.bias, rows, dtype, gelu=True)
        return nn.Sequential(first, _packed(layer.fc2, rows, dtype))
    if type(layer) is nn.Linear:
        return PackedLinear(layer.weight, layer.bias, rows, dtype)
    if type(layer) is nn.Conv2d and not isinstance(layer.padding, str) and layer.padding_mode == "zeros":
        return pack_conv(layer, dtype)
    return layer


def pack_conv(conv: nn.Conv2d, dtype: torch.dtype, activation: str = "none") -> PackedConv:
    """The packed convolution in `dtype`, or in float32 where oneDNN computes it wrongly in bfloat16.

    oneDNN 3.13 multiplies few channels (8 to 24) by wide kernels (4 and 8) wrongly on processors with AMX, so each
    bfloat16 convolution is compared with float32 on noise.
    """
    exact = PackedConv(conv, torch.float32, activation)
    if dtype == torch.float32:
        return exact
    packed = PackedConv(conv, dtype, activation)
    side = max(conv.kernel_size) + 7 * max(conv.stride)
    x = torch.randn(1, conv.in_channels, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = exact(x)
        error = (packed(x).float() - expected).square().mean().sqrt()
    return packed if error <= _MAX_ERROR * expected.square().mean().sqrt() else exact
