"""The model never waits for the device, tested without one: PyTorch's fake tensors pretend to be on a GPU.

Operations that need a value from the device (`nonzero`, `item`, a boolean index) fail on them, copies are counted.
"""

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


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_clip_is_copied_to_the_host_once(name):
    with torch.device("meta"):
        model = TeViT(MODELS[name].config, all_masks=False).eval()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        model = model.to_empty(device="cuda")
        clip, size, scale = (torch.empty(shape, device="cuda") for shape in ((1, 3, 3, 96, 160), (1, 2), (4,)))
        with CopyCounter() as copies:
            output = model(clip, size)[-1]
            assert copies.count == 0
            detections = detect(model, output, scale, 10)
            assert copies.count == 1 and isinstance(detections, Detections)


def test_copies_and_synchronisation_are_detected():
    with FakeTensorMode(), CopyCounter() as copies:
        x = torch.empty(3, device="cuda")
        torch.tensor([1.0, 2.0], device="cuda")
        x.cpu()
        assert copies.count == 2
        with pytest.raises(DynamicOutputShapeException):
            x[x > 0]
