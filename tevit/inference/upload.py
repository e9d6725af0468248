"""Frames on their way to a CUDA device, copied on a stream of their own while the model computes there."""

import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

BUFFERS = 2


class Upload:
    """Copies frames of one shape to a CUDA device, for several threads.

    Two buffers in pinned memory, which the device reads by itself, alternate: one is filled while the other is copied.
    """

    def __init__(self, device: torch.device, shape: tuple[int, ...]):
        self._device = device
        self._stream = torch.cuda.Stream(device)
        # An event that was not recorded yet has happened.
        self._buffers = [(self._pinned(shape), torch.cuda.Event()) for _ in range(BUFFERS)]
        self._count = 0
        self._lock = threading.Lock()

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """The frame on the device, where it is complete for what `stack` returns. pixels: float32, of the shape.

        Raises: MemoryError where the device has no memory left.
        """
        with self._lock:
            buffer, copied = self._buffers[self._count % BUFFERS]
            self._count += 1
            copied.synchronize()
            buffer.numpy()[...] = pixels
            try:
                with torch.cuda.stream(self._stream):
                    frame = self._send(buffer)
                    copied.record()
            except torch.OutOfMemoryError as error:
                raise MemoryError("out of memory with the next frames: lower the window or the size") from error
        return frame

    def stack(self, frames: Sequence[Tensor]) -> Tensor:
        """The frames as one tensor (T, …), after their copies; nothing here waits for the device."""
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        for frame in frames:
            frame.record_stream(current)  # its memory is the other stream's
        return torch.stack(list(frames))

    def _pinned(self, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(shape, pin_memory=True)

    def _send(self, buffer: Tensor) -> Tensor:
        return buffer.to(self._device, non_blocking=True)
