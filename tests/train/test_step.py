"""Compiled parts; what else a step does is looked at in test_parity.py and test_distributed.py."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.train import tiny
from train.loop import Step, compile_model
from train.losses import SlotLoss

CONFIG = replace(tiny.STEADY, backbone=replace(tiny.STEADY.backbone, depths=(1, 1, 1, 1)))  # compiled block by block


def gradients(compiled: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses and gradients of one slot."""
    model = tiny.model(config=CONFIG)
    if compiled:
        compile_model(model, "aot_eager")  # all of the way but for the compiler at its end
        assert all(part._compiled_call_impl for part in (model.backbone, *model.stages))
    step = Step(SlotLoss(model, tiny.WEIGHTS), replace(tiny.RECIPE, slots=1), 5, tiny.ALONE)
    losses = step.gradients(0, [(0, tiny.batch(0, 0))])
    return losses, {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


def test_compiled_parts_give_the_same_losses_and_gradients():
    torch.compiler.reset()
    (losses, actual), (expected, wanted) = gradients(True), gradients(False)
    assert {name: float(value) for name, value in losses.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-5
    )
    assert actual.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(actual[name], wanted[name], rtol=1e-3, atol=1e-4, msg=lambda text, n=name: n + text)
