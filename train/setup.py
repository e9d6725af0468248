"""From the command line to a running loop: data, model, optimiser, resuming; or the summary of --dry-run."""

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from tevit.checkpoint import empty_model, load_initial, read_checkpoint
from tevit.configs import ModelConfig
from tevit.io.files import atomic
from tevit.io.ytvis import open_dataset
from tevit.model.stage import BOX_BINS, MASK_BINS, Stage
from tevit.model.tevit import TeViT
from tevit.video.transforms import STRIDE

from .checkpoints import TrainingCheckpoint, newest, restore
from .data import TrainingData, open_training_data, slot_batch, slot_stream
from .distributed import World, world
from .loop import Evaluate, Loop, StopRequest, TrainingRun
from .losses import SlotLoss, Weights
from .recipes import Recipe, as_flags, check, model_config
from .report import Log, evaluate_model
from .sources import annotation_file
from .step import Slots, Step, build_optimiser, compile_model

INSTANCES = 4  # per frame, assumed for the mask heads
ROWS = 8  # the cost of a row is measured on so many


def plan(
    recipe: Recipe, config: ModelConfig, data: TrainingData, init: Path | None, world: World, evaluates: bool
) -> str:
    """The recipe's values, the data, and the memory that each process needs, as text."""
    left_out = f", {data.missing} frames left out since their files are missing" if data.missing else ""
    clips = recipe.slots * recipe.clips_per_slot
    return "\n".join(
        (
            f"recipe {recipe.name} on {world.size} process(es), {world.device.type}:",
            as_flags(recipe),
            f"data: {len(data)} labelled frames of {len(data.sources)} videos, {config.num_classes} classes{left_out}",
            f"epochs: {recipe.iterations * clips / len(data):.1f}, {clips} clips a step",
            f"start: {init or 'random weights'}",
            f"evaluation: {'every ' + str(recipe.eval_every) + ' iterations' if evaluates else 'none'}",
            f"memory of each process: about {memory_bytes(recipe, config) / 1e9:.1f} GB",
        )
    )


def memory_bytes(recipe: Recipe, config: ModelConfig) -> float:
    """Estimate of the memory of training, bytes: weights, gradients, AdamW's moments and saved activations.

    Activations are measured on the meta device with the recipe's largest frames, those of the heads on a few rows; the
    error is about ten per cent, without the device's own overhead.
    """
    model = empty_model(config, all_masks=True).requires_grad_(True).train()
    weights = 4 * 4 * sum(parameter.numel() for parameter in model.parameters())
    features, stage = _features_bytes(recipe, model), _stage_bytes(recipe, config, model)
    activations = features + config.stages * stage
    if recipe.checkpointing:  # the inputs of each block, and the largest recomputed block
        blocks = sum(config.backbone.depths)
        activations = features / blocks + max(2 * features / blocks, stage)
    return weights + activations * (0.6 if recipe.precision == "bfloat16" else 1.0)


def _features_bytes(recipe: Recipe, model: TeViT) -> float:
    """Saved for the backward pass through backbone and FPN."""
    long, short = (max(sides) for sides in zip(*recipe.scales, strict=True))
    height, width = (-(-side // STRIDE) * STRIDE for side in (short, long))
    frames = torch.empty(1, recipe.frames, 3, height, width, device="meta")
    with saved_bytes(model) as total:
        model.features(frames)
    return recipe.clips_per_slot * sum(total)


def _stage_bytes(recipe: Recipe, config: ModelConfig, model: TeViT) -> float:
    """Saved for the backward pass through one stage with its mask head."""
    stage = cast(Stage, model.stages[0])
    queries = torch.empty(ROWS, config.channels, device="meta", requires_grad=True)
    rows = recipe.clips_per_slot * recipe.frames * config.queries
    masks = recipe.clips_per_slot * recipe.frames * INSTANCES
    with saved_bytes(stage) as box:
        features = torch.empty(ROWS, BOX_BINS**2, config.channels, device="meta", requires_grad=True)
        x = stage.dynamic_out(stage.dynamic(queries, features).flatten(1))
        stage.ffn(stage.attend(x.view(1, 1, ROWS, -1)))
        stage.box_tower(stage.class_tower(x))
    with saved_bytes(stage) as mask:
        assert stage.mask is not None
        features = torch.empty(ROWS, MASK_BINS**2, config.channels, device="meta", requires_grad=True)
        stage.mask(queries, features, torch.zeros(ROWS, dtype=torch.long, device="meta"))
    masks = min(masks, recipe.mask_rows) if recipe.mask_rows else masks
    return (sum(box) * rows + sum(mask) * masks) / ROWS


@contextmanager
def saved_bytes(module: nn.Module) -> Iterator[list[int]]:
    """Bytes of each tensor that the operations inside save for the backward pass, without weights."""
    seen: dict[int, Tensor] = {parameter.untyped_storage()._cdata: parameter for parameter in module.parameters()}
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in seen:
            seen[storage._cdata] = tensor  # a reference, so that the address is not reused
            sizes.append(storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


# --- a run


OUT_OF_MEMORY = (
    "out of memory; --checkpointing and --precision bfloat16 need less, so does half of --clips-per-slot with twice "
    "the --slots, and smaller --scales"
)
RUN_FILES = ("checkpoints", "best", "tensorboard", "metrics.jsonl", "recipe.json", "not-finite-*")  # of --fresh


def start(recipe: Recipe, args: argparse.Namespace) -> int:
    """Train from the first or the last saved iteration; returns the exit code.

    Raises: ValueError, OSError for user errors; MemoryError; FloatingPointError as `Loop.run`.
    """
    with world(args.device) as processes:
        recipe = _match_checkpoint(recipe, args)
        data = open_training_data(annotation_file(args.data, args.split), args.data, recipe.task, args.skip_missing)
        evaluate = _evaluation(recipe, args, processes)
        config = model_config(recipe, data.categories)
        if args.dry_run:
            print(plan(recipe, config, data, args.init, processes, evaluate is not None))
            return 0
        saved = _saved_run(args, processes)
        seed = args.seed if args.seed is not None else int(saved.notes["seed"]) if saved else 0
        step, optimiser = _build(recipe, config, seed, args, processes, saved)
        run = TrainingRun(args.out, recipe, step, optimiser, {"seed": seed, "recipe": asdict(recipe)}, evaluate)
        if processes.is_main:
            with atomic(run.folder / "recipe.json") as temporary:
                temporary.write_text(json.dumps(run.notes, indent=2))
        done, slots = saved.iteration if saved else 0, processes.slots(recipe.slots)
        load = partial(slot_batch, data, seed, recipe=recipe)
        return _train(run, done, slot_stream(load, range(done, recipe.iterations), slots, recipe.workers))


def _match_checkpoint(recipe: Recipe, args: argparse.Namespace) -> Recipe:
    """With --classes-from-data the architecture is that of the --init checkpoint, unless flags set it."""
    if not recipe.classes_from_data or args.init is None or args.model is not None:
        return recipe
    config, _ = read_checkpoint(args.init)
    backbone = config.backbone
    values = {
        "messengers": backbone.messengers, "drop_path": backbone.drop_path, "time_attention": config.time_attention
    }  # fmt: skip
    unset = {name: value for name, value in values.items() if getattr(args, name) is None}
    return check(replace(recipe, model=config.name, **unset))


def _evaluation(recipe: Recipe, args: argparse.Namespace, processes: World) -> Evaluate | None:
    if not recipe.eval_every or recipe.task == "image":
        return None
    root = args.eval_data or args.data
    dataset = open_dataset(annotation_file(root, args.eval_split))
    if not dataset.annotations:
        raise ValueError(
            f"{dataset.path} has no annotations to evaluate by: --eval-split names another, --eval-every 0 none"
        )
    for video_id in dataset.videos:
        dataset.frame_files(video_id, root)  # a missing frame is an error now, not after an hour
    return lambda model, stopping: evaluate_model(model, dataset, root, processes, stopping)


def _saved_run(args: argparse.Namespace, processes: World) -> TrainingCheckpoint | None:
    """The newest checkpoint in the run's folder, which --fresh empties first."""
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0  # by torchrun, with the same --fresh
    if args.fresh and processes.is_main and not restarted:
        for name in RUN_FILES:
            for item in args.out.glob(name):
                shutil.rmtree(item) if item.is_dir() else item.unlink()
    processes.barrier()
    return newest(args.out)


def _build(
    recipe: Recipe,
    config: ModelConfig,
    seed: int,
    args: argparse.Namespace,
    processes: World,
    saved: TrainingCheckpoint | None,
) -> tuple[Step, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = TeViT(config)
    if saved is None and args.init is not None:
        processes.print(f"{args.init}: {load_initial(model, args.init)}")
    elif saved is None:
        processes.print("no --init: training starts from random weights")
    model.to(processes.device)
    optimiser = build_optimiser(model, recipe)
    if saved is not None:
        restore(saved, model, config, optimiser)
        before, now = saved.notes["recipe"], json.loads(json.dumps(asdict(recipe)))
        changed = [f"{name} {before.get(name)} -> {value}" for name, value in now.items() if before.get(name) != value]
        processes.print(f"resuming from {saved.path}" + ("; changed: " + ", ".join(changed) if changed else ""))
    if recipe.compile:
        compile_model(model)
    weights = Weights(recipe.class_weight, recipe.l1_weight, recipe.giou_weight, recipe.dice_weight)
    module = SlotLoss(model, weights, recipe.mask_rows, recipe.checkpointing)
    return Step(module, recipe, seed, processes), optimiser


def _train(run: TrainingRun, done: int, stream: Iterator[Slots]) -> int:
    total = run.recipe.iterations
    with StopRequest() as stop, Log(run.folder, done, total, run.step.world.is_main) as log:
        try:
            done = Loop(run, done, log, stop).run(stream)
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
                raise
            raise MemoryError(OUT_OF_MEMORY) from error
        if done >= total:
            return 0
        log.message(f"stopped after {done} of {total} iterations; the same command resumes")
        return 128 + stop.signum
