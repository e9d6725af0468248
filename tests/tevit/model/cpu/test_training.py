"""Linear layers of training by oneDNN, and activations that are recomputed: the same values and gradients."""

import pytest
import torch
from torch import nn

from tests.train import tiny
from tevit.model import cpu, pvt, stage
from tevit.model.cpu import OneDnnProduct, TrainedLinear, can_pack, prepare_training
from train.losses import SlotLoss
from train.step import build_optimiser

pytestmark = pytest.mark.skipif(not can_pack(), reason="this PyTorch or processor has no packed layers")


@pytest.fixture(autouse=True)
def faster(monkeypatch):
    monkeypatch.setattr(cpu, "is_training_faster", lambda: True)


@pytest.mark.parametrize(("width", "out"), [(24, 80), (80, 24), (200, 40), (40, 200)])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_of_linear_layers(width, out, bias, monkeypatch):
    monkeypatch.setattr(cpu, "_ROWS", 16)  # the gradient of a weight is added up from three parts
    torch.manual_seed(0)
    layer = nn.Linear(width, out, bias=bias)
    x = torch.randn(3, 2, 7, width).transpose(0, 1).requires_grad_()
    weights = torch.randn(2, 3, 7, out)

    def gradients(function):
        return torch.autograd.grad((function(x) * weights).sum(), [x, *layer.parameters()])

    value, exact = layer(x), gradients(layer)
    prepare_training(layer)
    assert type(layer) is TrainedLinear
    torch.testing.assert_close(layer(x), value, rtol=1e-6, atol=1e-6)
    for found, expected in zip(gradients(layer), exact, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_it_is_used_in_float32_alone_and_only_with_onednn(monkeypatch):
    layer = nn.Linear(8, 8)
    prepare_training(layer)
    calls = []
    product = cpu._product
    monkeypatch.setattr(cpu, "_product", lambda *inputs: calls.append(1) or product(*inputs))
    x = torch.ones(2, 8)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    layer(x)
    monkeypatch.undo()
    monkeypatch.setattr(cpu, "_product", lambda *inputs: calls.append(1) or product(*inputs))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer(torch.ones(2, 0, 8)).shape == (2, 0, 8)
    assert layer.double()(x.double()).dtype == torch.float64
    layer.float()
    assert not calls
    layer(x)
    assert calls


def test_only_where_it_is_faster(monkeypatch):
    monkeypatch.setattr(cpu, "is_training_faster", lambda: False)
    layer = nn.Linear(8, 8)
    prepare_training(layer)
    assert type(layer) is nn.Linear


def test_training_uses_it_and_a_fused_optimiser():
    model = tiny.model()
    SlotLoss(model, tiny.WEIGHTS)
    assert any(type(module) is TrainedLinear for module in model.modules())
    assert build_optimiser(model, tiny.RECIPE).defaults["fused"]


def test_frozen_weights_have_no_gradient():
    layer = nn.Linear(8, 4).requires_grad_(False)
    x = torch.randn(2, 8, requires_grad=True)
    OneDnnProduct.apply(x, layer.weight, layer.bias).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(2, 8))
    assert layer.weight.grad is None


def test_names_and_parameters_stay():
    model = nn.Sequential(nn.Linear(8, 8), nn.MultiheadAttention(8, 2))
    before = dict(model.named_parameters())
    prepare_training(model)
    assert {name: id(value) for name, value in model.named_parameters()} == {
        name: id(value) for name, value in before.items()
    }


def gradients(model) -> dict[str, torch.Tensor]:
    """Of all parameters, for a sum of the last stage's results and of the masks of five rows."""
    batch = tiny.batch(1, 0)
    output = model(batch.frames, batch.sizes_hw)[-1]
    masks = model.mask_logits(output, torch.arange(5), torch.zeros(5, dtype=torch.long))
    (output.logits.sum() + output.boxes_xyxy.square().mean() + masks.square().mean()).backward()
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


def check_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """To rounding: within 1e-4 of each gradient's norm."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] - value).norm() <= 1e-4 * value.norm() + 1e-9, name


def test_recomputed_activations_give_the_same_gradients(monkeypatch):
    monkeypatch.setattr(pvt, "_HIDDEN", 64 * 24 * 16)  # a frame at a time in the first stage
    found = gradients(tiny.model(config=tiny.STEADY))
    for module in (pvt, stage):
        monkeypatch.setattr(module, "saves_memory", lambda x: False)
    expected = gradients(tiny.model(config=tiny.STEADY))
    check_equal(found, expected)


def test_the_last_layer_of_what_is_recomputed_runs_once(monkeypatch):
    model = tiny.model(config=tiny.STEADY)
    plain = {name: value.clone() for name, value in gradients(model).items()}
    model.zero_grad()
    prepare_training(model)
    unread = []
    forward = OneDnnProduct.forward
    monkeypatch.setattr(
        OneDnnProduct, "forward", staticmethod(lambda ctx, *inputs: unread.append(inputs[3]) or forward(ctx, *inputs))
    )
    found = gradients(model)
    assert sum(unread) >= 8 + 2, "of eight blocks and two stages"
    check_equal(found, plain)
