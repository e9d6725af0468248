"""Layers for inference on a CPU, their weights laid out once as the processor's matrix products want them.

PyTorch's own linear layer hands the weights to the product as they are; the wide and flat ones of a refinement stage
(256 -> 32768 for 500 rows) then reach a third of the speed. oneDNN, which is part of PyTorch, keeps them packed.
Wide 3x3 convolutions become Winograd's.
"""

from typing import cast

import torch
from torch import Tensor, nn

from tevit.model.winograd import WinogradConv, suits


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


def can_pack() -> bool:
    """Whether this PyTorch has what it takes."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def pack(model: nn.Module, rows: int) -> None:
    """Put packed layers in the place of the linear ones, but for those inside an attention, which it multiplies itself,
    and Winograd's in the place of wide convolutions.

    The model can no longer be trained, saved or moved to another device.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and _plain(child.weight):
                setattr(module, name, PackedLinear(cast(nn.Linear, child), rows))
            elif type(child) is nn.Conv2d and _plain(child.weight) and suits(cast(nn.Conv2d, child)):
                setattr(module, name, WinogradConv(cast(nn.Conv2d, child)))


def _plain(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32
