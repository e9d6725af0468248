"""The training loop: load, differentiate, clip, step, log, save, evaluate, in this order; one step; checkpoints.

RUN/checkpoints/<iteration>/ holds `model.safetensors` (weights that `tevit` can load) and, in the newest ones,
`training.safetensors` (AdamW's state, the iteration, the seed). Random numbers need no state: every slot's are seeded
by (seed, iteration, slot).
"""

import json
import math
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.parallel import DistributedDataParallel

from tevit.checkpoint import match_expected, read_checkpoint, save_state
from tevit.configs import ModelConfig
from tevit.io.files import atomic
from tevit.limits import peak_memory
from tevit.model.cpu import keep_freed_memory
from tevit.model.tevit import TeViT
from tevit.progress import Cancelled

from .data import Batch
from .distributed import World
from .losses import SlotLoss, count_positives
from .recipes import Recipe
from .report import METRICS, Log, evaluated, read_lines


def parameter_rule(name: str, recipe: Recipe) -> tuple[float, float]:
    """(learning-rate factor, weight decay) of a parameter, by its name in our model.

    Source: `paramwise_cfg` of the original's configurations.
    """
    # mmcv applies only the longest matching key: norms of Swin-L's backbone decay, those of its heads do not.
    if not recipe.norm_decay and "relative_position_bias_table" in name:
        return 1.0, 0.0
    if name.startswith("backbone."):
        return recipe.backbone_lr, recipe.weight_decay
    return 1.0, 0.0 if not recipe.norm_decay and "norm" in name else recipe.weight_decay


def build_optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, one group for each (factor, decay)."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(parameter_rule(name, recipe), []).append(parameter)
    settings = [
        {"params": parameters, "lr_factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]
    return torch.optim.AdamW(settings, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps, fused=True)


def learning_rate(recipe: Recipe, iteration: int) -> float:
    """The learning rate of an iteration, counted from 0, before the groups' factors."""
    if recipe.lr_schedule == "cosine":
        rate = recipe.lr * 0.5 * (1 + math.cos(math.pi * iteration / recipe.iterations))
    else:
        rate = recipe.lr * recipe.lr_factor ** sum(iteration >= step for step in recipe.lr_steps)
    if iteration < recipe.warmup_iterations:
        rate *= 1 - (1 - iteration / recipe.warmup_iterations) * (1 - recipe.warmup_ratio)
    return rate


def set_learning_rate(optimiser: torch.optim.Optimizer, recipe: Recipe, iteration: int) -> float:
    """Set every group's learning rate for an iteration; returns the rate before the factors."""
    rate = learning_rate(recipe, iteration)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["lr_factor"]
    return rate


Slots = Sequence[tuple[int, Batch]]
"""(slot, batch): the slots of a global batch that one process computes."""


class Step:
    """Gradients of a global batch, the same on any number of processes.

    Batch norm in the mask heads normalises by its own slot; only slot 0 updates the running statistics. Random numbers
    (drop path) are seeded by (seed, iteration, slot). Losses are divided by the positives of all slots.
    """

    def __init__(self, module: SlotLoss, recipe: Recipe, seed: int, world: World):
        self.model = module.model
        self.recipe, self.seed, self.world = recipe, seed, world
        # DDP broadcasts rank 0's buffers: it has slot 0, whose statistics count.
        self.module = DistributedDataParallel(module) if world.size > 1 else module

    def gradients(self, iteration: int, slots: Slots, check: Callable[[], None] | None = None) -> dict[str, Tensor]:
        """Compute the gradients of an iteration into `.grad`.

        check: called before and after the modules, forward and backward; what it raises ends the computation.
        Returns this process's share of the global batch's losses; the shares of all processes add up to the loss.
        """
        device, count = self.world.device, self.recipe.slots
        positives = sum(count_positives(batch.targets, self.model.config.queries) for _, batch in slots)
        total_positives = self.world.all_reduce(torch.tensor(float(positives), device=device)).item()
        # Positives a slot, the mean over the global batch; at least one in all.
        mean_positives = max(total_positives, 1.0) / count
        totals: dict[str, Tensor] = {}
        for number, (slot, batch) in enumerate(slots):
            mixed = torch.autocast(device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16")
            with self._slot(iteration, slot, last=number == len(slots) - 1), mixed, called_often(check):
                losses = self.module(batch_to(batch, device), mean_positives)
                total = torch.stack(list(losses.values())).sum()
                (total * (self.world.size / count)).backward()  # DDP divides by the number of processes
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0.0) + loss.detach() / count
        return totals

    @contextmanager
    def _slot(self, iteration: int, slot: int, last: bool) -> Iterator[None]:
        """Seed a slot's random numbers; synchronise gradients after the last slot; freeze statistics but for slot 0."""
        torch.manual_seed(slot_seed(self.seed, iteration, slot))
        with ExitStack() as stack:
            if isinstance(self.module, DistributedDataParallel) and not last:
                stack.enter_context(self.module.no_sync())
            if slot != 0:
                stack.enter_context(frozen_statistics(self.model))
            yield


@contextmanager
def called_often(check: Callable[[], None] | None) -> Iterator[None]:
    """Call `check` after the forward pass of every module and before its backward pass; None: no calls.

    PyTorch runs a CPU's backward pass in the calling thread, so that what `check` raises ends it, too.
    """
    if check is None:
        yield
        return

    def after_forward(module: nn.Module, inputs: object, output: object) -> None:
        check()
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(lambda gradient: check())

    handle = register_module_forward_hook(after_forward)
    try:
        yield
    finally:
        handle.remove()


def slot_seed(seed: int, iteration: int, slot: int) -> int:
    """Seed of a slot's random numbers, below 2**63."""
    return int(np.random.SeedSequence((seed, iteration, slot)).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Batch norms in training mode still normalise by their batch, but don't update their running statistics."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d) and module.training]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def batch_to(batch: Batch, device: torch.device) -> Batch:
    """The batch with frames and sizes on a device; `SlotLoss` moves the ground truth."""
    return replace(
        batch, frames=batch.frames.to(device, non_blocking=True), sizes_hw=batch.sizes_hw.to(device, non_blocking=True)
    )


def compile_model(model: TeViT, backend: str = "inductor") -> None:
    """Compile backbone and stages, each by itself; the weights keep their names. backend: of `torch.compile`."""
    for part in (model.backbone, *model.stages):
        part.compile(backend=backend)


# --- checkpoints

WEIGHTS, TRAINING = "model.safetensors", "training.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
MAX_STATES = 2  # training state is twice as large as the weights: older checkpoints keep their weights alone


@dataclass(frozen=True)
class TrainingCheckpoint:
    """A checkpoint that a run can resume from. iteration: optimiser steps done. notes: JSON values stored with it."""

    path: Path
    iteration: int
    notes: Mapping[str, Any]


def checkpoints(run: Path) -> list[tuple[int, Path]]:
    """All checkpoints of a run, (iteration, folder), in order."""
    folder = run / "checkpoints"
    items = folder.iterdir() if folder.is_dir() else ()
    return sorted((int(item.name), item) for item in items if item.name.isdecimal())


def save(run: Path, iteration: int, model: nn.Module, config: ModelConfig, optimiser, notes: Mapping[str, Any]) -> Path:
    """Write a checkpoint: into a hidden folder first, flushed to the disk, then renamed.

    model, optimiser: after `iteration` steps. notes: JSON values, see `TrainingCheckpoint.notes`.
    Raises: OSError where it cannot be written; existing checkpoints stay as they are.
    """
    target = run / "checkpoints" / str(iteration)
    temporary = target.with_name(f".{iteration}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        save_state(temporary / WEIGHTS, config, dict(model.state_dict()))
        metadata = {"iteration": str(iteration), "notes": json.dumps(dict(notes))}
        save_file(_moments(model, optimiser), temporary / TRAINING, metadata=metadata)
        for name in (WEIGHTS, TRAINING):
            # A rename alone would survive a killed process, but not a power cut.
            with open(temporary / name, "rb") as file:
                os.fsync(file.fileno())
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, SafetensorError | OSError):
            raise OSError(f"checkpoint {target} could not be written ({error}); earlier ones are whole") from error
        raise
    with_state = [path for _, path in checkpoints(run) if (path / TRAINING).exists()]
    for path in with_state[:-MAX_STATES]:
        (path / TRAINING).unlink()
    return target


def _moments(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's state by parameter name: "exp_avg/backbone.…"."""
    return {
        f"{moment}/{name}": optimiser.state[parameter][moment].detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        for moment in MOMENTS
        if moment in optimiser.state.get(parameter, {})
    }


def newest(run: Path) -> TrainingCheckpoint | None:
    """The newest checkpoint that a run can resume from, or None; half-written ones of a killed process are deleted.

    Raises: ValueError where there are checkpoints but none of them can be read.
    """
    for partial in (run / "checkpoints").glob(".*.part"):
        shutil.rmtree(partial, ignore_errors=True)
    candidates = [path for _, path in checkpoints(run) if (path / TRAINING).exists()]
    broken = ""
    for path in reversed(candidates):
        try:
            with safe_open(path / TRAINING, framework="pt") as file:
                metadata = file.metadata()
            return TrainingCheckpoint(path, int(metadata["iteration"]), json.loads(metadata["notes"]))
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            broken = f"{path}: {error}"
    if broken:
        raise ValueError(f"no checkpoint of this run can be read ({broken}); --fresh starts over")
    return None


def restore(saved: TrainingCheckpoint, model: nn.Module, config: ModelConfig, optimiser: torch.optim.Optimizer) -> None:
    """Load weights, buffers and AdamW's state as they were saved, to the last bit.

    Raises: ValueError where the checkpoint is of another architecture.
    """
    saved_config, state = read_checkpoint(saved.path / WEIGHTS)
    match_expected(saved.path / WEIGHTS, saved_config, config)
    model.load_state_dict(state)
    named = dict(model.named_parameters())
    moments: dict[str, dict[str, Tensor]] = {}
    with safe_open(saved.path / TRAINING, framework="pt") as file:
        for key in file.keys():
            moment, name = key.split("/", 1)
            moments.setdefault(name, {})[moment] = file.get_tensor(key)
    for name, values in moments.items():
        device = named[name].device
        optimiser.state[named[name]] = {
            moment: value if moment == "step" else value.to(device) for moment, value in values.items()
        }


# --- the loop

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
