"""The training loop: load, differentiate, clip, step, log, save, evaluate, in this order."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from tevit.checkpoint import save_state
from tevit.io.files import atomic
from tevit.memory import peak_memory
from tevit.model.cpu import keep_freed_memory
from tevit.model.tevit import TeViT
from tevit.progress import Cancelled

from .checkpoints import WEIGHTS, save
from .recipes import Recipe
from .report import METRICS, Log, evaluated, read_lines
from .step import Slots, Step, set_learning_rate

Evaluate = Callable[[TeViT, Callable[[], bool]], dict[str, float]]
"""evaluate(model, stopping) -> metrics such as {"AP": 46.3}; raises Cancelled once stopping() is true."""


class StepInterrupted(Exception):
    """A signal arrived in the middle of a step, which is thrown away."""


class StopRequest(AbstractContextManager):
    """While entered, the first SIGTERM or SIGINT sets `signum`; a second one has its usual effect, at once."""

    def __init__(self) -> None:
        self.signum = 0
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def check(self) -> None:
        """Raises: StepInterrupted after a signal."""
        if self.signum:
            raise StepInterrupted

    def _note(self, number: int, frame: object) -> None:
        self.signum = number
        self.__exit__()

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


@dataclass(frozen=True)
class TrainingRun:
    """What a loop works with.

    folder: RUN. optimiser: over the parameters of `step.model`. notes: stored in every checkpoint, JSON values.
    evaluate: None without a labelled split.
    """

    folder: Path
    recipe: Recipe
    step: Step
    optimiser: torch.optim.Optimizer
    notes: dict[str, object]
    evaluate: Evaluate | None


class Loop:
    """Trains from iteration `start` (steps done so far) to the recipe's end.

    check: raises StepInterrupted after a signal, so that a step ends before it is done; None where a step is always
    finished: on a GPU it is short, and an exchange under way on other processes would never end.
    Raises, in `run`: FloatingPointError where a loss or the gradient is not finite; ConnectionError where another
    process has left (the last whole step is saved first).
    """

    def __init__(self, run: TrainingRun, start: int, log: Log, stop: StopRequest):
        self.training, self.done = run, start
        self.log, self.stop, self.world = log, stop, run.step.world
        self.check = stop.check if self.world.device.type == "cpu" and not run.recipe.compile else None
        self.stopping = False
        self._saved = start

    def run(self, stream: Iterator[Slots]) -> int:
        """Train. stream: this process's slots of each iteration from `start` on. Returns the steps done."""
        if self.world.device.type == "cpu":
            keep_freed_memory()
        try:
            self._iterate(stream)
        except (StepInterrupted, RuntimeError) as error:
            left = isinstance(error, RuntimeError)
            if left and (self.check is None or "by peer" not in str(error)):  # gloo: "Connection closed by peer"
                raise
            self._save()
            if left and not self.stop.signum:
                text = f"another process ended after iteration {self.done}; the same command resumes there"
                raise ConnectionError(text) from error
        return self.done

    def _iterate(self, stream: Iterator[Slots]) -> None:
        recipe = self.training.recipe
        self._evaluate()
        while self.done < recipe.iterations and not self.stopping:
            start = time.perf_counter()
            slots = next(stream)
            data_wait = time.perf_counter() - start
            metrics = self._step(slots)
            self.log.advance(metrics["total"])
            if self._is_due(recipe.log_every):
                seconds = time.perf_counter() - start
                metrics |= {"seconds": seconds, "data_wait": data_wait}
                metrics |= {"clips_per_s": recipe.slots * recipe.clips_per_slot / seconds}
                self.log.write("train", self.done, {**metrics, "memory_gb": peak_memory(self.world.device) / 1e9})
            if self.stopping or self._is_due(recipe.save_every):
                self._save()
                self.world.barrier()
            if not self.stopping:
                self._evaluate()

    def _is_due(self, every: int) -> bool:
        return self.done % every == 0 or self.done == self.training.recipe.iterations

    def _save(self) -> None:
        if self.world.is_main and self.done != self._saved:
            model, run = self.training.step.model, self.training
            save(run.folder, self.done, model, model.config, run.optimiser, run.notes)
        self._saved = self.done

    def _step(self, slots: Slots) -> dict[str, float]:
        """One optimiser step; returns the losses of the whole global batch, learning rate and gradient norm."""
        recipe, step, optimiser = self.training.recipe, self.training.step, self.training.optimiser
        step.model.train()
        rate = set_learning_rate(optimiser, recipe, self.done)
        optimiser.zero_grad()
        # All that changes before the optimiser's step are running statistics.
        before = [buffer.clone() for buffer in step.model.buffers()] if self.check else []
        try:
            losses, self.stopping = self._losses(slots)
        except BaseException:
            for buffer, value in zip(step.model.buffers(), before, strict=False):
                buffer.copy_(value)
            raise
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm).item()
        if not math.isfinite(losses["total"] + norm):
            self._fail(slots, losses["total"], norm)
        optimiser.step()
        self.done += 1
        return {"lr": rate, "grad_norm": norm, **losses}

    def _losses(self, slots: Slots) -> tuple[dict[str, float], bool]:
        """Compute the gradients; returns the losses of the global batch and whether any process received a signal."""
        shares = self.training.step.gradients(self.done, slots, self.check)
        # One exchange a step for both.
        signalled = torch.tensor(float(self.stop.signum > 0), device=self.world.device)
        *values, signals = self.world.all_reduce(torch.stack([*shares.values(), signalled])).tolist()
        return {"total": sum(values), **dict(zip(shares, values, strict=True))}, signals > 0

    def _fail(self, slots: Slots, loss: float, norm: float) -> None:
        """Write what is needed to reproduce: the batch of every process and the weights before the step."""
        folder = self.training.folder / f"not-finite-{self.done}"
        for slot, batch in slots:
            with atomic(folder / f"slot{slot}.pt") as temporary:
                torch.save({"frames": batch.frames, "sizes_hw": batch.sizes_hw, "targets": batch.targets}, temporary)
        if self.world.is_main:
            model = self.training.step.model
            save_state(folder / WEIGHTS, model.config, dict(model.state_dict()))
        self.world.barrier()
        raise FloatingPointError(
            f"iteration {self.done}: loss {loss}, gradient norm {norm}; the batch and the weights lie in {folder}"
        )

    def _evaluate(self) -> None:
        """Evaluate where it is due and was not done before an interruption; store the best weights."""
        run, model, every = self.training, self.training.step.model, self.training.recipe.eval_every
        if run.evaluate is None or not every or not self.done or not self._is_due(every):
            return
        if self.world.all_gather(evaluated(run.folder, self.done))[0]:
            return
        self.world.broadcast_buffers(model)
        try:
            metrics = run.evaluate(model, lambda: self.stop.signum > 0)
        except Cancelled:
            self.stopping = True
            return
        if not self.world.is_main:
            return
        self.log.write("eval", self.done, metrics)
        text = ", ".join(f"{name} {value:.1f}" for name, value in metrics.items())
        self.log.message(f"iteration {self.done}: {text}")
        lines = read_lines(run.folder / METRICS)
        if metrics["AP"] >= max(line["AP"] for line in lines if line["kind"] == "eval"):
            with atomic(run.folder / "best" / WEIGHTS) as temporary:
                save_state(temporary, model.config, dict(model.state_dict()))
