"""Linear layers of training by oneDNN: the same values and gradients."""

import pytest
import torch
from torch import nn

from tevit.model import cpu
from tevit.model.cpu import OneDnnProduct, TrainedLinear, can_pack, prepare_training

pytestmark = pytest.mark.skipif(not can_pack(), reason="this PyTorch or processor has no packed layers")


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_of_linear_layers(wide, bias):
    torch.manual_seed(0)
    layer = nn.Linear(*((24, 80) if wide else (80, 24)), bias=bias)
    x = torch.randn(3, 2, 7, layer.in_features).transpose(0, 1).requires_grad_()
    weights = torch.randn(2, 3, 7, layer.out_features)

    def gradients(function):
        return torch.autograd.grad((function(x) * weights).sum(), [x, *layer.parameters()])

    exact = layer(x), gradients(layer)
    prepare_training(layer)
    torch.testing.assert_close(layer(x), exact[0])
    for found, expected in zip(gradients(layer), exact[1], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_it_is_used_in_float32_alone_and_only_with_onednn(monkeypatch):
    layer = nn.Linear(8, 8)
    prepare_training(layer)
    calls = []
    product = cpu._product
    monkeypatch.setattr(cpu, "_product", lambda *inputs: calls.append(1) or product(*inputs))
    x = torch.ones(2, 8)
    with torch.backends.mkldnn.flags(enabled=False):
        layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer(torch.ones(2, 0, 8)).shape == (2, 0, 8)
    assert layer.double()(x.double()).dtype == torch.float64
    layer.float()
    assert not calls
    layer(x)
    assert calls


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
    assert type(model[0]) is TrainedLinear
    assert {name: id(value) for name, value in model.named_parameters()} == {
        name: id(value) for name, value in before.items()
    }
