"""Linear layers for inference on a CPU, their weights laid out once as the processor's matrix products want them.

PyTorch's own linear layer hands the weights to the product as they are; the wide and flat ones of a refinement stage
(256 -> 32768 for 500 rows) then reach a third of the speed. oneDNN, which is part of PyTorch, keeps them packed.
"""

from typing import cast

import torch
from torch import Tensor, nn


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
    """Put packed layers in the place of the linear ones, but for those inside an attention, which it multiplies itself.

    The model can no longer be trained, saved or moved to another device.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and child.weight.device.type == "cpu" and child.weight.dtype == torch.float32:
                setattr(module, name, PackedLinear(cast(nn.Linear, child), rows))
