"""Layers for inference on a CPU whose weights are stored once in oneDNN's layout; `pack` puts them into a model.

PyTorch's linear layer passes unpacked weights to the matrix product; the wide and flat ones of a refinement stage
(256 -> 32768 for 500 rows) then reach a third of the speed, and in mixed precision every call converts them to bfloat16
again. In float32, wide 3x3 convolutions become Winograd's where these are faster. A depth-wise convolution and the GELU
after it become one operator, a convolution and the batch norm after it one convolution.
"""

from collections.abc import Collection
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tevit.model.cpu.winograd import WinogradConv, is_faster, is_supported
from tevit.model.pvt import FeedForward

DTYPES = (torch.float32, torch.bfloat16)
OPTIMISATIONS = ("packed", "winograd")
"""What `pack` can leave out: packed linear layers, convolutions and attention; Winograd convolutions."""

_MAX_ERROR = 0.05  # of a bfloat16 convolution, relative to the values' root mean square; 0.003 is usual
_OPS = ("_linear_pointwise", "_convolution_pointwise", "_reorder_linear_weight", "_reorder_convolution_weight")


class PackedLinear(nn.Module):
    """A linear layer with packed weights, equal to rounding of `dtype`; without gradients.

    weight: (out, in). bias: (out,). rows: expected rows of a call, for which the layout is chosen; other numbers work
    as well. dtype: float32 or bfloat16, of the product and of the result.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.dtype = dtype
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype), rows)
        self.register_buffer("weight", packed, persistent=False)
        self.register_buffer("bias", None if bias is None else bias.detach().to(dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in) -> (..., out)."""
        return torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self.weight, self.bias, "none", [], "")


class PackedConv(nn.Module):
    """A convolution with packed weights, equal to rounding of `dtype`; without gradients; the result is channels last.

    gelu: apply a GELU to the result. weight, bias: of `conv`, unpacked, for callers that read them.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype = torch.float32, gelu: bool = False):
        super().__init__()
        self.dtype, self.gelu = dtype, gelu
        self.weight, self.bias = conv.weight, conv.bias
        self.geometry = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        packed = torch.ops.mkldnn._reorder_convolution_weight(conv.weight.detach().to(dtype), *self.geometry)
        self.register_buffer("packed_weight", packed, persistent=False)
        offset = None if conv.bias is None else conv.bias.detach().to(dtype)
        self.register_buffer("packed_bias", offset, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) -> (N, K, h, w)."""
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        activation, algorithm = ("gelu", "none") if self.gelu else ("none", "")
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.packed_weight, self.packed_bias, *self.geometry, activation, [], algorithm
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
        self.dwconv = pack_conv(cast(nn.Conv2d, feed_forward.dwconv), dtype, gelu=True)

    def conv_act(self, x: Tensor) -> Tensor:
        return self.dwconv(x)


def can_pack(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this PyTorch and this processor support packed layers of `dtype`."""
    ops = torch.ops.mkldnn
    if dtype not in DTYPES or not torch.backends.mkldnn.is_available() or not all(hasattr(ops, name) for name in _OPS):
        return False
    return dtype == torch.float32 or bool(ops._is_mkldnn_bf16_supported())


def default_exclusions() -> tuple[str, ...]:
    """The OPTIMISATIONS that `pack` leaves out on this machine."""
    return () if is_faster() else ("winograd",)


def pack(
    model: nn.Module, rows: int, dtype: torch.dtype = torch.float32, without: Collection[str] | None = None
) -> None:
    """Replace layers of a trained model in eval mode by packed ones and Winograd convolutions, in place.

    rows: expected rows of a linear layer of the stages. dtype: of the products; with bfloat16 the model must run under
    autocast. without: names of OPTIMISATIONS to leave out, None for `default_exclusions()`. The model can no longer be
    trained, saved or moved to another device.
    """
    without = default_exclusions() if without is None else without
    conv, norm = getattr(model, "conv", None), getattr(model, "bn", None)
    if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
        model.conv, model.bn = fuse_conv_bn_eval(conv, norm), nn.Identity()
    for name, child in model.named_children():
        replacement = child
        if "winograd" not in without and dtype == torch.float32 and type(child) is nn.Conv2d and is_supported(child):
            replacement = WinogradConv(child)
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
    if type(layer) is nn.Linear:
        return PackedLinear(layer.weight, layer.bias, rows, dtype)
    if type(layer) is nn.Conv2d and not isinstance(layer.padding, str) and layer.padding_mode == "zeros":
        return pack_conv(layer, dtype)
    return layer


def pack_conv(conv: nn.Conv2d, dtype: torch.dtype, gelu: bool = False) -> PackedConv:
    """The packed convolution in `dtype`, or in float32 where oneDNN computes it wrongly in bfloat16.

    oneDNN 3.13 multiplies few channels (8 to 24) by wide kernels (4 and 8) wrongly on processors with AMX, so each
    bfloat16 convolution is compared with float32 on noise.
    """
    exact = PackedConv(conv, torch.float32, gelu)
    if dtype == torch.float32:
        return exact
    packed = PackedConv(conv, dtype, gelu)
    side = max(conv.kernel_size) + 7 * max(conv.stride)
    x = torch.randn(1, conv.in_channels, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = exact(x)
        error = (packed(x).float() - expected).square().mean().sqrt()
    return packed if error <= _MAX_ERROR * expected.square().mean().sqrt() else exact
