"""The loop: load, differentiate, clip, step, log, save, evaluate. All that a run does happens here, in this order."""

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from tevit.checkpoint import save_state
from tevit.io.files import atomic
from tevit.model.tevit import TeViT
from tevit.progress import Cancelled
from train.checkpoints import WEIGHTS, save
from train.log import METRICS, Log, evaluated, read_lines
from train.optimiser import set_learning_rate
from train.recipes import Recipe
from train.signals import StopRequest
from train.step import Slots, Step

Evaluate = Callable[[TeViT, Callable[[], bool]], dict[str, float]]
"""evaluate(model, stopping) -> figures such as {"AP": 46.3}; raises Cancelled once stopping() is true."""


@dataclass(frozen=True)
class Run:
    """What a loop works with.

    folder: RUN. optimiser: over the parameters of `step.model`. notes: kept in every checkpoint, JSON values.
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

    Raises, in `run`: FloatingPointError where a loss or the gradient is not finite.
    """

    def __init__(self, run: Run, start: int, log: Log, stop: StopRequest):
        self.it, self.done = run, start
        self.log, self.stop, self.world = log, stop, run.step.world
        self.stopping = False

    def run(self, stream: Iterator[Slots]) -> int:
        """stream: this process's slots of the next iteration, and so on. Returns the steps done."""
        recipe = self.it.recipe
        self._evaluate()
        while self.done < recipe.iterations and not self.stopping:
            began = time.perf_counter()
            slots = next(stream)
            waited = time.perf_counter() - began
            figures = self._step(slots)
            self.log.advance(figures["total"])
            if self._due(recipe.log_every):
                self.log.write("train", self.done, {**figures, **self._costs(began, waited)})
            if self.stopping or self._due(recipe.save_every):
                self._save()
            if not self.stopping:
                self._evaluate()
        return self.done

    def _due(self, every: int) -> bool:
        return self.done % every == 0 or self.done == self.it.recipe.iterations

    def _step(self, slots: Slots) -> dict[str, float]:
        """One optimiser step; returns its losses (of the whole global batch), learning rate and gradient norm."""
        recipe, step, optimiser = self.it.recipe, self.it.step, self.it.optimiser
        step.model.train()
        rate = set_learning_rate(optimiser, recipe, self.done)
        optimiser.zero_grad()
        losses = self._shared(step.gradients(self.done, slots))
        learning = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(learning, recipe.clip_norm).item()
        if not math.isfinite(losses["total"] + norm):
            self._give_up(slots, losses["total"], norm)
        optimiser.step()
        self.done += 1
        return {"lr": rate, "grad_norm": norm, **losses}

    def _shared(self, losses: dict[str, torch.Tensor]) -> dict[str, float]:
        """The losses summed over all processes, and whether any was asked to stop: one exchange a step."""
        asked = torch.tensor(float(self.stop.signum > 0), device=self.world.device)
        *values, asked = self.world.sum(torch.stack([*losses.values(), asked])).tolist()
        self.stopping = asked > 0
        return {"total": sum(values), **dict(zip(losses, values, strict=True))}

    def _costs(self, began: float, waited: float) -> dict[str, float]:
        """Seconds of this step, those of them spent waiting for data, clips a second, and memory at its peak."""
        seconds, recipe = time.perf_counter() - began, self.it.recipe
        clips = recipe.slots * recipe.clips_per_slot / seconds
        return {"seconds": seconds, "data_wait": waited, "clips_per_s": clips, "memory_gb": self._peak() / 1e9}

    def _peak(self) -> float:
        if self.world.device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def _save(self) -> None:
        if self.world.is_first:
            model = self.it.step.model
            save(self.it.folder, self.done, model, model.config, self.it.optimiser, self.it.notes)
        self.world.wait()

    def _give_up(self, slots: Slots, loss: float, norm: float) -> None:
        """Keep what is needed for a look: the batch of every process and the weights before the step."""
        folder = self.it.folder / f"not-finite-{self.done}"
        for slot, batch in slots:
            with atomic(folder / f"slot{slot}.pt") as temporary:
                torch.save({"frames": batch.frames, "sizes_hw": batch.sizes_hw, "targets": batch.targets}, temporary)
        if self.world.is_first:
            save_state(folder / WEIGHTS, self.it.step.model.config, dict(self.it.step.model.state_dict()))
        self.world.wait()
        raise FloatingPointError(
            f"iteration {self.done}: loss {loss}, gradient norm {norm}; the batch and the weights lie in {folder}"
        )

    def _evaluate(self) -> None:
        """Evaluate where it is due and was not done before the run was interrupted; the best weights are kept."""
        evaluate, every = self.it.evaluate, self.it.recipe.eval_every
        if evaluate is None or not every or not self.done or not self._due(every):
            return
        if self.world.gather(evaluated(self.it.folder, self.done))[0]:
            return
        self.world.share_buffers(self.it.step.model)
        try:
            figures = evaluate(self.it.step.model, lambda: self.stop.signum > 0)
        except Cancelled:
            self.stopping = True
            return
        if self.world.is_first:
            self.log.write("eval", self.done, figures)
            self.log.say(f"iteration {self.done}: " + ", ".join(f"{key} {value:.1f}" for key, value in figures.items()))
            self._keep_best(figures["AP"])

    def _keep_best(self, ap: float) -> None:
        lines = read_lines(self.it.folder / METRICS)
        if ap < max(line["AP"] for line in lines if line["kind"] == "eval"):
            return
        with atomic(self.it.folder / "best" / WEIGHTS) as temporary:
            model = self.it.step.model
            save_state(temporary, model.config, dict(model.state_dict()))
