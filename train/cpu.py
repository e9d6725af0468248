"""Linear layers for training on a CPU whose matrix products oneDNN computes faster than MKL."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tevit.model.cpu import can_pack, is_intel

MIN_PRODUCTS = 1 << 22
"""Multiplications of a layer below which the calls from Python cost what its products save."""


def is_faster() -> bool:
    """Whether oneDNN's products are faster than MKL's on this machine: on processors of other vendors than Intel."""
    return can_pack() and not is_intel()


def use_onednn(model: nn.Module) -> None:
    """Compute the linear layers of a model and their gradients by `linear`, in place."""
    for layer in model.modules():
        if type(layer) is nn.Linear:
            layer.forward = partial(_forward, layer)


def _forward(layer: nn.Linear, input: Tensor) -> Tensor:
    return linear(input, layer.weight, layer.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`, equal to rounding; by oneDNN, where the layer is large, in float32 and outside of autocast."""
    large = x.numel() * len(weight) >= MIN_PRODUCTS
    plain = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    if large and plain and not torch.is_autocast_enabled("cpu"):
        return _Linear.apply(x, weight, bias)
    return F.linear(x, weight, bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient,) = grad_outputs
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        rows, inputs = gradient.flatten(0, -2), x.flatten(0, -2)
        return (
            _product(gradient, weight.T) if for_x else None,
            _transposed_product(rows, inputs) if for_weight else None,
            rows.sum(0) if for_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., K), (N, K) -> (..., N)."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _transposed_product(a: Tensor, b: Tensor) -> Tensor:
    """(R, N), (R, K) -> (N, K)."""
    # The first factor is copied row by row, and the result is faster with fewer rows than columns.
    return _product(a.T, b.T) if a.shape[1] <= b.shape[1] else _product(b.T, a.T).T
