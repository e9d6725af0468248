"""The yardstick: timm's PVTv2-B1 alone, without our kernels, in a separate process that runs it once per request.

A separate process has neither our allocator settings nor our memory.
"""

import json
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext

import torch

from tevit.benchmarks.record import Timing, time_call

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

    def __call__(self) -> Timing:
        """Run the model once. Raises: ValueError where the process has ended."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise ValueError(f"the yardstick {NAME} has ended: its message stands above")
        return Timing(*json.loads(answer))

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def main(settings: str) -> None:
    """For each line of standard input, run the model once and print its `Timing` as JSON.

    settings: JSON list of frames, height, width, device, dtype.
    """
    import timm

    frames, height, width, name, dtype = json.loads(settings)
    device = torch.device(name)
    model = timm.create_model(NAME, features_only=True).eval().to(device)
    x = torch.rand(frames, 3, height, width, device=device)
    mixed = nullcontext() if dtype == "float32" else torch.autocast(device.type, getattr(torch, dtype))
    torch.backends.cudnn.allow_tf32 = False
    with torch.inference_mode(), mixed:
        for _ in sys.stdin:
            print(json.dumps(time_call(lambda: model(x), device)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
