"""The model never waits for the device, tested without one: PyTorch's fake tensors pretend to be on a GPU.

Operations that need a value from the device (`nonzero`, `item`, a boolean index) fail on them, copies are counted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tevit.configs import MODELS
from tevit.inference.postprocess import Detections, detect
from tevit.model.tevit import TeViT


class CopyCounter(TorchDispatchMode):
    """Counts operations whose result is on another device than their arguments."""

    count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            devices = {value.device.type for value in args if isinstance(value, torch.Tensor)}
            self.count += bool(devices - {result.device.type})
        return result


@contextmanager
def fake_model(name: str, device: str) -> Iterator[tuple[TeViT, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """A published model on a device that need not be there, a clip of 3 frames, its size and its scale."""
    with torch.device("meta"):
        model = TeViT(MODELS[name].config, all_masks=False).eval()
    with FakeTensorMode(allow_non_fake_inputs=True):
        clip, size, scale = (torch.empty(shape, device=device) for shape in ((1, 3, 3, 96, 160), (1, 2), (4,)))
        yield model.to_empty(device=device), clip, size, scale


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_clip_is_copied_to_the_host_once(name):
    with fake_model(name, "cuda") as (model, clip, size, scale), torch.inference_mode():
        with CopyCounter() as copies:
            output = model(clip, size)[-1]
            assert copies.count == 0
            detections = detect(model, output, scale, 10)
            assert copies.count == 1 and isinstance(detections, Detections)
    masks = detections.masks_on_device
    assert masks is not None and masks.device.type == "cuda" and detections.mask_logits.device.type == "cpu"


class OperationLog(TorchDispatchMode):
    """The operations whose names begin with one of `names`, and their arguments."""

    def __init__(self, *names: str):
        super().__init__()
        self.names, self.calls = names, []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if operation.name().startswith(self.names):
            self.calls.append((operation.name().removeprefix("aten::"), args, kwargs or {}))
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_convolution_reads_channels_last(name):
    """A layout that is changed on the way costs a copy, on a GPU as on a CPU."""
    with fake_model(name, "cuda") as (model, clip, size, scale), torch.inference_mode():
        with OperationLog("aten::conv") as log:
            detect(model, model(clip, size)[-1], scale, 10)
    layouts = [args[0].is_contiguous(memory_format=torch.channels_last) for _, args, _ in log.calls]
    assert len(layouts) > 10 and all(layouts)


@pytest.mark.parametrize("name", ["tevit_msgshift", "tevit_r50"])
def test_attention_in_mixed_precision_has_the_form_of_flash_attention(name, monkeypatch):
    """Half precision, heads of a multiple of 8 channels; nothing is softmaxed beside it. Tried with a CPU's autocast
    and flash attention, since a GPU's cannot be tried without one."""
    # `nn.MultiheadAttention` asks for this and, unlike a CPU's, a GPU's autocast.
    monkeypatch.setattr(torch.backends.mha, "get_fastpath_enabled", lambda: False)
    mixed = torch.autocast("cpu", torch.bfloat16)
    with fake_model(name, "cpu") as (model, clip, size, _), torch.no_grad(), mixed:
        with OperationLog("aten::_scaled_dot_product", "aten::_softmax") as log:
            model(clip, size)
    # In PVT of the patches in 8 blocks and of the messengers in 5, in each stage two.
    assert len(log.calls) == {"tevit_msgshift": 13, "tevit_r50": 0}[name] + 2 * MODELS[name].config.stages
    for operation, args, options in log.calls:
        assert operation.startswith("_scaled_dot_product_flash_attention") and "attn_mask" not in options
        assert all(x.dtype == torch.bfloat16 and x.shape[-1] % 8 == 0 for x in args[:3])


def test_copies_and_synchronisation_are_detected():
    with FakeTensorMode(), CopyCounter() as copies:
        x = torch.empty(3, device="cuda")
        torch.tensor([1.0, 2.0], device="cuda")
        x.cpu()
        assert copies.count == 2
        with pytest.raises(DynamicOutputShapeException):
            x[x > 0]
