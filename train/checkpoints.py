"""Checkpoints of a run: written atomically, and resumed from after a crash.

RUN/checkpoints/<iteration>/ holds `model.safetensors` (weights that `tevit` can load) and, in the newest ones,
`training.safetensors` (AdamW's state, the iteration, the seed). Random numbers need no state: every slot's are seeded
by (seed, iteration, slot).
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tevit.checkpoint import match_expected, read_checkpoint, save_state
from tevit.configs import ModelConfig

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
