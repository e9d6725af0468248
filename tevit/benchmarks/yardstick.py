"""The yardstick: timm's PVTv2-B1 alone, as PyTorch comes, in a process of its own that runs once when it is told to.

In a process of its own it has neither our allocator's settings nor our memory.
"""

import json
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext

import torch

from tevit.benchmarks.timing import Took, took

NAME = "pvt_v2_b1"


class Yardstick(AbstractContextManager):
    """`timm.create_model("pvt_v2_b1", features_only=True)` on frames of noise (T, 3, H, W), float32 or autocast."""

    def __init__(self, frames: int, size_hw: tuple[int, int], device: torch.device, dtype: str):
        settings = json.dumps([frames, *size_hw, str(device), dtype])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tevit.benchmarks.yardstick", settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self) -> Took:
        """Run it once."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise ValueError(f"the yardstick {NAME} has ended: its message stands above")
        return Took(*json.loads(answer))

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def main(settings: str) -> None:
    """For each line that comes in: once more, and the time goes out."""
    import timm

    frames, height, width, name, dtype = json.loads(settings)
    device = torch.device(name)
    model = timm.create_model(NAME, features_only=True).eval().to(device)
    x = torch.rand(frames, 3, height, width, device=device)
    mixed = nullcontext() if dtype == "float32" else torch.autocast(device.type, getattr(torch, dtype))
    torch.backends.cudnn.allow_tf32 = False
    with torch.inference_mode(), mixed:
        for _ in sys.stdin:
            print(json.dumps(took(lambda: model(x), device)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
