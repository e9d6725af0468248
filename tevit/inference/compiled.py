"""A model that runs compiled by `torch.compile`, on CUDA replayed as graphs: one program for each size of a clip.

Worth its time where many clips are of one size: the first of each size waits, up to minutes, for its program.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from tevit.inference.postprocess import ClipModel
from tevit.model.tevit import StageOutput

MOST_SIZES = 8  # of (T, H, W) that get programs of their own; as many as PyTorch keeps of one function

Answer = TypeVar("Answer")


class CompiledModel:
    """A ClipModel that says the same as `model`, to rounding. Where the compiler fails, and for sizes beyond the first
    MOST_SIZES, the model runs as it is.

    plain: the model. failed: why the compiler is no longer asked; empty while it works.
    """

    def __init__(self, model: ClipModel, device: torch.device, backend: str | Callable[..., Any] = "inductor"):
        """backend: of `torch.compile`."""
        self.config = model.config
        self.failed = ""
        self.plain = model
        self._graphs = device.type == "cuda" and backend == "inductor"
        options: dict[str, Any] = {"backend": backend, "dynamic": False}
        options |= {"mode": "reduce-overhead"} if self._graphs else {}
        self._last = torch.compile(self._last_stage, **options)
        self._masks = torch.compile(model.mask_logits, **options)
        self._sizes: set[tuple[int, ...]] = set()
        self._compiled = False  # whether the clip at hand runs so

    def waits(self, frames: int, size_hw: tuple[int, int]) -> bool:
        """Whether a clip of this size has to wait for its program."""
        return not self.failed and (frames, *size_hw) not in self._sizes and len(self._sizes) < MOST_SIZES

    def __call__(self, frames: Tensor, sizes_hw: Tensor, chunk: int | None = None) -> list[StageOutput]:
        """As `TeViT.forward`, but of the last stage alone and, where it runs compiled, without chunks."""
        size = frames.shape[1], *frames.shape[3:]
        if self.waits(frames.shape[1], (frames.shape[3], frames.shape[4])):
            self._sizes.add(size)
        self._compiled = not self.failed and size in self._sizes
        if self._graphs:
            torch.compiler.cudagraph_mark_step_begin()  # what the clip before gave may be written over
        return [self._run(lambda: self._last(frames, sizes_hw), lambda: self.plain(frames, sizes_hw, chunk)[-1])]

    def mask_logits(self, output: StageOutput, rows: Tensor, labels: Tensor, stage: int = -1) -> Tensor:
        """As `TeViT.mask_logits`, of the clip that came last."""
        given = output, rows, labels, stage
        return self._run(lambda: self._masks(*given), lambda: self.plain.mask_logits(*given))

    def _last_stage(self, frames: Tensor, sizes_hw: Tensor) -> StageOutput:
        return self.plain(frames, sizes_hw)[-1]

    def _run(self, compiled: Callable[[], Answer], plain: Callable[[], Answer]) -> Answer:
        if self._compiled:
            from torch._dynamo.exc import TorchDynamoException  # seconds, for who never compiles

            try:
                return compiled()
            except TorchDynamoException as error:
                self._give_up(error)
        return plain()

    def _give_up(self, error: Exception) -> None:
        self._compiled = False
        cause = getattr(error, "inner_exception", error)
        first = next(iter(str(cause).splitlines()), "")
        self.failed = f"compiling failed ({type(cause).__name__}: {first}): the model runs as it is, not compiled"
