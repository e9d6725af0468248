"""From the command line to a running loop: data, model, optimiser, and resuming."""

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial

import torch

from tevit.checkpoint import load_initial, read_checkpoint
from tevit.configs import ModelConfig
from tevit.io.files import atomic
from tevit.io.ytvis import open_dataset
from tevit.model.tevit import TeViT

from .checkpoints import TrainingCheckpoint, newest, restore
from .data import open_training_data, slot_batch, slot_stream
from .distributed import World, world
from .dry_run import plan
from .loop import Evaluate, Loop, StopRequest, TrainingRun
from .losses import SlotLoss, Weights
from .optimiser import build_optimiser
from .recipes import Recipe, check, model_config
from .report import Log, evaluate_model
from .sources import annotation_file
from .step import Slots, Step, compile_model

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
