"""Layers for inference on a CPU, their weights laid out once as the processor's matrix products want them.

PyTorch's own linear layer hands the weights to the product as they are; the wide and flat ones of a refinement stage
(256 -> 32768 for 500 rows) then reach a third of the speed, and in mixed precision every call makes them bfloat16 anew.
oneDNN, which is part of PyTorch, keeps them packed. Wide 3x3 convolutions become Winograd's in float32; a depth-wise
one and the GELU behind it become one pass over the picture, a convolution and the norm behind it one convolution.
"""

from typing import cast

import torch
import torch.nn.functional as F
from timm.models.pvt_v2 import MlpWithDepthwiseConv
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tevit.model.cpu.winograd import WinogradConv, suits

DTYPES = (torch.float32, torch.bfloat16)
_ROUNDING = 0.05  # of a bfloat16 convolution, by its values' root mean square; 0.003 is usual
_OPS = ("_linear_pointwise", "_convolution_pointwise", "_reorder_linear_weight", "_reorder_convolution_weight")


class PackedLinear(nn.Module):
    """The same product and bias as the linear layer's, to rounding of `dtype`; without gradients.

    weight: (out, in). bias: (out,). rows: how many rows a call will have, for which the layout is chosen; other numbers
    work as well. dtype: float32 or bfloat16, of the product and of what comes out.
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
    """The same as the convolution, to rounding of `dtype`; without gradients; what comes out is channels last.

    gelu: also the GELU behind it. kernel_sum: float32 (K, C), what the kernels weigh in all.
    """

    kernel_sum: Tensor

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype = torch.float32, gelu: bool = False):
        super().__init__()
        self.dtype, self.gelu = dtype, gelu
        self.weight, self.bias = conv.weight, conv.bias  # messengers and mask logits take them as they are
        self.geometry = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        packed = torch.ops.mkldnn._reorder_convolution_weight(conv.weight.detach().to(dtype), *self.geometry)
        self.register_buffer("packed", packed, persistent=False)
        self.register_buffer("offset", None if conv.bias is None else conv.bias.detach().to(dtype), persistent=False)
        self.register_buffer("kernel_sum", conv.weight.detach().sum((2, 3)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) -> (N, K, h, w)."""
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        behind = "gelu" if self.gelu else "none"
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.packed, self.offset, *self.geometry, behind, [], "none" if self.gelu else ""
        )


class PackedAttention(nn.Module):
    """What `attention` makes of queries that look at one another, to rounding of `dtype`; without gradients."""

    def __init__(self, attention: nn.MultiheadAttention, rows: int, dtype: torch.dtype = torch.float32):
        super().__init__()
        weight, bias, output = attention.in_proj_weight, attention.in_proj_bias, attention.out_proj
        self.heads = attention.num_heads
        self.inputs = PackedLinear(weight, bias, rows, dtype)
        self.output = PackedLinear(output.weight, output.bias, rows, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, L, C) -> (N, L, C)."""
        queries, keys, values = self.inputs(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(queries, keys, values)  # (N, heads, L, C / heads)
        return self.output(found.transpose(1, 2).flatten(2))


def self_attention(attention: nn.Module, x: Tensor) -> Tensor:
    """x: (N, L, C) -> (N, L, C), by a module that may be packed."""
    return attention(x) if isinstance(attention, PackedAttention) else attention(x, x, x, need_weights=False)[0]


def convolved(conv: nn.Module, activation: nn.Module, x: Tensor) -> Tensor:
    """The activation of the convolution, which may be packed as one."""
    return conv(x) if isinstance(conv, PackedConv) and conv.gelu else activation(conv(x))


def kernel_sum(conv: nn.Module) -> Tensor:
    """(K, C): what the convolution's kernels weigh in all; packed once and for all."""
    return conv.kernel_sum if isinstance(conv, PackedConv) else cast(Tensor, conv.weight).sum((2, 3))


def can_pack(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this PyTorch has what it takes, on this processor, for layers of that type."""
    ops = torch.ops.mkldnn
    if dtype not in DTYPES or not torch.backends.mkldnn.is_available() or not all(hasattr(ops, name) for name in _OPS):
        return False
    return dtype == torch.float32 or bool(ops._is_mkldnn_bf16_supported())


def pack(model: nn.Module, rows: int, dtype: torch.dtype = torch.float32) -> None:
    """Put packed layers in the place of those of a model that has come to its end of training.

    rows: how many a linear layer of the stages gets. dtype: of the products; with bfloat16 the model is to run under
    autocast. The model can no longer be trained, saved or moved to another device.
    """
    for module in list(model.modules()):
        if isinstance(module, nn.MultiheadAttention):
            continue  # packed as a whole
        _fold_norm(module)
        for name, child in module.named_children():
            gelu = isinstance(module, MlpWithDepthwiseConv) and isinstance(module.act, nn.GELU)
            setattr(module, name, _packed(child, rows, dtype, gelu))


def _fold_norm(module: nn.Module) -> None:
    """Of a convolution `conv` and the batch norm `bn` behind it, one convolution."""
    conv, norm = getattr(module, "conv", None), getattr(module, "bn", None)
    if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
        module.conv, module.bn = fuse_conv_bn_eval(conv, norm), nn.Identity()


def _packed(layer: nn.Module, rows: int, dtype: torch.dtype, gelu: bool) -> nn.Module:
    """gelu: whether one comes behind a depth-wise convolution."""
    if isinstance(layer, nn.MultiheadAttention):
        return PackedAttention(layer, rows, dtype)
    if type(layer) is nn.Linear:
        return PackedLinear(layer.weight, layer.bias, rows, dtype)
    if type(layer) is not nn.Conv2d or isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        return layer
    if dtype == torch.float32 and suits(layer):
        return WinogradConv(layer)
    return packed_conv(layer, dtype, gelu and layer.groups == layer.in_channels)


def packed_conv(conv: nn.Conv2d, dtype: torch.dtype, gelu: bool = False) -> PackedConv:
    """The convolution in that type; in float32 if the library's answer in bfloat16 is wrong, for which it is asked.

    oneDNN 3.13 multiplies few channels (8 to 24) by wide kernels (4 and 8) wrongly on processors with AMX.
    """
    exact = PackedConv(conv, torch.float32, gelu)
    if dtype == torch.float32:
        return exact
    found, (kernel, stride) = PackedConv(conv, dtype, gelu), (max(conv.kernel_size), max(conv.stride))
    side = kernel + 7 * stride
    x = torch.randn(1, conv.in_channels, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = exact(x)
        error = (found(x).float() - wanted).square().mean().sqrt()
    return found if error <= _ROUNDING * wanted.square().mean().sqrt() else exact
