"""Layers for inference on a CPU, their weights laid out once as the processor's matrix products want them.

PyTorch's own linear layer hands the weights to the product as they are; the wide and flat ones of a refinement stage
(256 -> 32768 for 500 rows) then reach a third of the speed. oneDNN, which is part of PyTorch, keeps them packed.
Wide 3x3 convolutions become Winograd's; a depth-wise one and the GELU behind it become one pass over the picture.
"""

from typing import cast

import torch
from timm.models.pvt_v2 import MlpWithDepthwiseConv
from torch import Tensor, nn

from tevit.model.winograd import WinogradConv, suits

_OPS = ("_linear_pointwise", "_convolution_pointwise")


class PackedLinear(nn.Module):
    """The same product and bias as `linear`, to rounding; float32, without gradients.

    rows: how many rows a call will have, for which the layout is chosen; other numbers work as well.
    """

    def __init__(self, linear: nn.Linear, rows: int):
        super().__init__()
        packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)
        self.register_buffer("weight", packed, persistent=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in) -> (..., out)."""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


class ConvGelu(nn.Module):
    """A depth-wise convolution and the GELU behind it, to rounding; float32, without gradients."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.geometry = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) -> (N, C, h, w)."""
        return torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *self.geometry, "gelu", [], "none")


def convolved(conv: nn.Module, activation: nn.Module, x: Tensor) -> Tensor:
    """The activation of the convolution, which may be packed as one."""
    return conv(x) if isinstance(conv, ConvGelu) else activation(conv(x))


def kernel_sum(conv: nn.Module) -> Tensor:
    """(K, C): what the convolution's kernels weigh in all; packed once and for all."""
    known = getattr(conv, "kernel_sum", None)
    return cast(Tensor, conv.weight).sum((2, 3)) if known is None else known


def can_pack() -> bool:
    """Whether this PyTorch has what it takes."""
    ops = torch.ops.mkldnn
    return torch.backends.mkldnn.is_available() and all(hasattr(ops, name) for name in _OPS)


def pack(model: nn.Module, rows: int) -> None:
    """Put packed layers in the place of the linear ones, but for those inside an attention, which it multiplies itself,
    and of convolutions.

    The model can no longer be trained, saved or moved to another device.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear | nn.Conv2d) and _plain(child.weight):
                gelu = isinstance(module, MlpWithDepthwiseConv) and isinstance(module.act, nn.GELU)
                setattr(module, name, _packed(child, rows, gelu))


def _packed(layer: nn.Linear | nn.Conv2d, rows: int, gelu: bool) -> nn.Module:
    """gelu: whether one comes behind a depth-wise convolution."""
    if type(layer) is nn.Linear:
        return PackedLinear(layer, rows)
    if type(layer) is not nn.Conv2d:
        return layer
    if suits(layer):
        return WinogradConv(layer)
    depth_wise = gelu and layer.groups == layer.in_channels
    found = ConvGelu(layer) if depth_wise else layer
    found.register_buffer("kernel_sum", layer.weight.detach().sum((2, 3)), persistent=False)
    return found


def _plain(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32
