"""A model compiled by `torch.compile`, on CUDA as graphs: one program for each clip size.

Worth its time where many clips have one size: compiling for a size takes up to minutes.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from tevit.inference.postprocess import ClipModel
from tevit.model.tevit import StageOutput

MAX_SIZES = 8  # of (T, H, W) with programs of their own; as many as PyTorch keeps of one function

_Output = TypeVar("_Output")


class CompiledModel:
    """A ClipModel with the outputs of `model`, up to rounding.

    Where the compiler fails, and for sizes beyond the first MAX_SIZES, the model runs uncompiled.
    plain: the uncompiled model. failure: the compiler's error as a sentence; empty without one.
    """

    def __init__(self, model: ClipModel, device: torch.device, backend: str | Callable[..., Any] = "inductor"):
        """backend: of `torch.compile`."""
        self.config = model.config
        self.failure = ""
        self.plain = model
        self._graphs = device.type == "cuda" and backend == "inductor"
        options: dict[str, Any] = {"backend": backend, "dynamic": False}
        options |= {"mode": "reduce-overhead"} if self._graphs else {}
        self._last_stage = torch.compile(lambda frames, sizes_hw: model(frames, sizes_hw)[-1], **options)
        self._masks = torch.compile(model.mask_logits, **options)
        self._sizes: set[tuple[int, ...]] = set()
        self._compiled = False  # whether the current clip runs compiled

    def must_compile(self, frames: int, size_hw: tuple[int, int]) -> bool:
        """Whether the next clip of this size is compiled first."""
        return not self.failure and (frames, *size_hw) not in self._sizes and len(self._sizes) < MAX_SIZES

    def __call__(self, frames: Tensor, sizes_hw: Tensor, chunk: int | None = None) -> list[StageOutput]:
        """As `TeViT.forward`, but only the last stage's output and, where it runs compiled, without chunks."""
        size = frames.shape[1], *frames.shape[3:]
        if self.must_compile(frames.shape[1], (frames.shape[3], frames.shape[4])):
            self._sizes.add(size)
        self._compiled = not self.failure and size in self._sizes
        if self._graphs:
            torch.compiler.cudagraph_mark_step_begin()  # the previous clip's outputs may be overwritten
        output = self._run(lambda: self._last_stage(frames, sizes_hw), lambda: self.plain(frames, sizes_hw, chunk)[-1])
        return [output]

    def mask_logits(self, output: StageOutput, rows: Tensor, labels: Tensor, stage: int = -1) -> Tensor:
        """As `TeViT.mask_logits`, of the last clip."""
        arguments = output, rows, labels, stage
        return self._run(lambda: self._masks(*arguments), lambda: self.plain.mask_logits(*arguments))

    def _run(self, compiled: Callable[[], _Output], plain: Callable[[], _Output]) -> _Output:
        if self._compiled:
            from torch._dynamo.exc import TorchDynamoException  # takes seconds to import

            try:
                return compiled()
            except TorchDynamoException as error:
                self._compiled = False
                cause = getattr(error, "inner_exception", error)
                reason = f"{type(cause).__name__}: {next(iter(str(cause).splitlines()), '')}"
                self.failure = f"compiling failed ({reason}): the model runs as it is, not compiled"
        return plain()
