"""Linear layers by oneDNN against PyTorch's, alone and in a step."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.train import tiny
from train import setup
from train.loop import Step
from train.losses import SlotLoss

pytestmark = pytest.mark.skipif(not setup.can_pack(), reason="needs PyTorch's operators of oneDNN")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """Shapes of the inputs of all products by oneDNN, of any size."""
    shapes: list[torch.Size] = []
    product = setup._product

    def counted(x: Tensor, *args: Tensor) -> Tensor:
        shapes.append(x.shape)
        return product(x, *args)

    monkeypatch.setattr(setup, "MIN_PRODUCTS", 1)
    monkeypatch.setattr(setup, "_product", counted)
    return shapes


def gradients(function: Callable[..., Tensor], *inputs: Tensor | None) -> list[Tensor]:
    """The result, and the gradients of its weighted sum."""
    leaves = [None if value is None else value.detach().clone().requires_grad_(value.requires_grad) for value in inputs]
    result = function(*leaves)
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
    (result * weights).sum().backward()
    return [result.detach(), *(leaf.grad for leaf in leaves if leaf is not None and leaf.grad is not None)]


@pytest.mark.parametrize("shape", [(7, 24), (2, 3, 5, 24), (1, 24)])
@pytest.mark.parametrize("outputs", [8, 24, 96])
@pytest.mark.parametrize("bias", [True, False])
def test_result_and_gradients_are_pytorchs(shape, outputs, bias, calls):
    torch.manual_seed(0)
    x, weight = torch.randn(shape, requires_grad=True), torch.randn(outputs, shape[-1], requires_grad=True)
    inputs = x, weight, torch.randn(outputs, requires_grad=True) if bias else None
    expected = gradients(F.linear, *inputs)
    assert not calls
    actual = gradients(setup.linear, *inputs)
    assert len(calls) == 3
    for value, wanted in zip(actual, expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5)


def test_a_transposed_input_and_a_frozen_weight(calls):
    torch.manual_seed(0)
    x, weight = torch.randn(24, 7, requires_grad=True), torch.randn(8, 24)
    expected = gradients(lambda x: F.linear(x.T, weight), x)
    actual = gradients(lambda x: setup.linear(x.T, weight), x)
    assert len(calls) == 2  # the result, and the gradient of x
    for value, wanted in zip(actual, expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5)


def test_small_layers_and_those_in_mixed_precision_are_left_as_they_are(calls, monkeypatch):
    layer, x = nn.Linear(24, 8), torch.randn(7, 24)
    setup.use_onednn(layer)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    monkeypatch.setattr(setup, "MIN_PRODUCTS", 7 * 24 * 8 + 1)
    layer(x)
    assert not calls
    monkeypatch.setattr(setup, "MIN_PRODUCTS", 7 * 24 * 8)
    layer(x)
    assert calls == [(7, 24)]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_has_the_same_losses_and_gradients(checkpointing, calls):
    def step(onednn: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        model = tiny.model(config=tiny.STEADY)
        if onednn:
            setup.use_onednn(model)
        module = SlotLoss(model, tiny.WEIGHTS, checkpointing=checkpointing)
        losses = Step(module, replace(tiny.RECIPE, slots=1), 5, tiny.ALONE).gradients(0, [(0, tiny.batch(0, 0))])
        return losses, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    losses, expected = step(False)
    assert not calls
    again, actual = step(True)
    assert len(calls) > 100
    for values, wanted, rtol in ((again, losses, 1e-5), (actual, expected, 1e-3)):
        assert values.keys() == wanted.keys()
        for name, value in values.items():
            torch.testing.assert_close(value, wanted[name], rtol=rtol, atol=1e-4, msg=lambda text, n=name: n + text)


@pytest.mark.parametrize("intel", [False, True])
def test_the_vendor_decides(intel, monkeypatch):
    monkeypatch.setattr(setup, "is_intel", lambda: intel)
    assert setup.is_faster() == (not intel)
