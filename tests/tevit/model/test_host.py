"""Nothing in the model waits for the device, told without one: PyTorch's fake tensors claim to be on a GPU.

What needs a value of the device (`nonzero`, `item`, a boolean index) fails on them, and what is brought there or back
is seen.
"""

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tevit.configs import MODELS
from tevit.inference.postprocess import Detections, detect
from tevit.model.tevit import TeViT


class Crossings(TorchDispatchMode):
    """Counts the operations whose result lies on another device than what they were given."""

    count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            given = {value.device.type for value in args if isinstance(value, torch.Tensor)}
            self.count += bool(given - {result.device.type})
        return result


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_clip_meets_the_host_once_when_all_is_found(name):
    with torch.device("meta"):
        model = TeViT(MODELS[name].config, all_masks=False).eval()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        model = model.to_empty(device="cuda")
        clip, size, scale = (torch.empty(shape, device="cuda") for shape in ((1, 3, 3, 96, 160), (1, 2), (4,)))
        with Crossings() as crossings:
            output = model(clip, size)[-1]
            assert crossings.count == 0
            found = detect(model, output, scale, 10)
            assert crossings.count == 1 and isinstance(found, Detections)


def test_what_is_brought_to_the_device_and_what_asks_it_are_seen():
    with FakeTensorMode(), Crossings() as crossings:
        there = torch.empty(3, device="cuda")
        torch.tensor([1.0, 2.0], device="cuda")
        there.cpu()
        assert crossings.count == 2
        with pytest.raises(DynamicOutputShapeException):
            there[there > 0]
