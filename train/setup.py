"""From the command line to a running loop: data, model, optimiser and where an earlier run had got to."""

import argparse
import json
import os
import shutil
from dataclasses import asdict, replace
from functools import partial

import torch

from tevit.checkpoint import load_initial, read_checkpoint
from tevit.configs import ModelConfig
from tevit.io.files import atomic
from tevit.io.ytvis import open_dataset
from tevit.model.tevit import TeViT
from train.checkpoints import Saved, newest, restore
from train.data import TrainingData, annotation_file, open_training_data, slot_batch
from train.distributed import World, world
from train.dry_run import plan
from train.evaluation import evaluate_model
from train.loader import slot_stream
from train.log import Log
from train.loop import Evaluate, Loop, Run
from train.losses import SlotLoss, Weights
from train.optimiser import build_optimiser
from train.recipes import Recipe, check, model_config
from train.signals import StopRequest
from train.step import Step, compile_parts

OUT_OF_MEMORY = (
    "out of memory; --checkpointing and --precision bfloat16 need less, so does half of --clips-per-slot with twice "
    "the --slots, and smaller --scales"
)
OURS = ("checkpoints", "best", "tensorboard", "metrics.jsonl", "recipe.json", "not-finite-*")  # what --fresh deletes


def start(recipe: Recipe, args: argparse.Namespace) -> int:
    """Run a training from its first or its last iteration; returns the exit code.

    Raises: ValueError, OSError for what a user can get wrong; FloatingPointError as `Loop.run`.
    """
    with world(args.device) as here:
        recipe = _like_init(recipe, args)
        data = open_training_data(annotation_file(args.data, args.split), args.data, recipe.task, args.skip_missing)
        evaluate = _evaluation(recipe, args, here)
        config = model_config(recipe, data.categories)
        if args.dry_run:
            print(plan(recipe, config, data, args.init, here, evaluate is not None))
            return 0
        saved = _earlier(args, here)
        seed = args.seed if args.seed is not None else int(saved.notes["seed"]) if saved else 0
        run = _run(recipe, config, seed, args, here, saved, evaluate)
        return _train(run, data, seed, saved.iteration if saved else 0)


def _like_init(recipe: Recipe, args: argparse.Namespace) -> Recipe:
    """A recipe that takes its classes from the data takes its architecture from the checkpoint it starts from."""
    if not recipe.classes_from_data or args.init is None or args.model is not None:
        return recipe
    found, _ = read_checkpoint(args.init)
    backbone = found.backbone
    like = {"messengers": backbone.messengers, "drop_path": backbone.drop_path, "time_attention": found.time_attention}
    free = {name: value for name, value in like.items() if getattr(args, name) is None}
    return check(replace(recipe, model=found.name, **free))


def _evaluation(recipe: Recipe, args: argparse.Namespace, here: World) -> Evaluate | None:
    if not recipe.eval_every or recipe.task == "image":
        return None
    root = args.eval_data or args.data
    dataset = open_dataset(annotation_file(root, args.eval_split))
    if not dataset.annotations:
        raise ValueError(
            f"{dataset.path} has no annotations to evaluate by: --eval-split names another, --eval-every 0 none"
        )
    for video_id in dataset.videos:
        dataset.frame_files(video_id, root)  # a missing frame is better named now than after an hour
    return lambda model, stopping: evaluate_model(model, dataset, root, here, stopping)


def _earlier(args: argparse.Namespace, here: World) -> Saved | None:
    """Where an earlier run in the same folder had got to."""
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0  # by torchrun, with the same --fresh
    if args.fresh and here.is_first and not restarted:
        for name in OURS:
            for item in args.out.glob(name):
                shutil.rmtree(item) if item.is_dir() else item.unlink()
    here.wait()
    return newest(args.out)


def _run(
    recipe: Recipe,
    config: ModelConfig,
    seed: int,
    args: argparse.Namespace,
    here: World,
    saved: Saved | None,
    evaluate: Evaluate | None,
) -> Run:
    torch.manual_seed(seed)
    model = TeViT(config)
    if saved is None and args.init is not None:
        here.say(f"{args.init}: {load_initial(model, args.init)}")
    elif saved is None:
        here.say("no --init: training starts from random weights")
    model.to(here.device)
    optimiser = build_optimiser(model, recipe)
    if saved is not None:
        restore(saved, model, config, optimiser)
        here.say(f"going on from {saved.path}{_differences(saved, recipe)}")
    if recipe.compile:
        compile_parts(model)
    weights = Weights(recipe.class_weight, recipe.l1_weight, recipe.giou_weight, recipe.dice_weight)
    step = Step(SlotLoss(model, weights, recipe.mask_rows, recipe.checkpointing), recipe, seed, here)
    return Run(args.out, recipe, step, optimiser, {"seed": seed, "recipe": asdict(recipe)}, evaluate)


def _differences(saved: Saved, recipe: Recipe) -> str:
    """Which values of the recipe are not what the run began with."""
    before, now = saved.notes["recipe"], json.loads(json.dumps(asdict(recipe)))
    changed = [f"{name} {before.get(name)} -> {value}" for name, value in now.items() if before.get(name) != value]
    return "; changed: " + ", ".join(changed) if changed else ""


def _train(run: Run, data: TrainingData, seed: int, done: int) -> int:
    recipe, here = run.recipe, run.step.world
    if here.is_first:
        with atomic(run.folder / "recipe.json") as temporary:
            temporary.write_text(json.dumps(run.notes, indent=2))
    draw = partial(slot_batch, data, seed, recipe=recipe)
    stream = slot_stream(draw, range(done, recipe.iterations), here.slots(recipe.slots), recipe.workers)
    with StopRequest() as stop, Log(run.folder, done, recipe.iterations, here.is_first) as log:
        try:
            done = Loop(run, done, log, stop).run(stream)
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
                raise
            raise MemoryError(OUT_OF_MEMORY) from error
        if done >= recipe.iterations:
            return 0
        log.say(f"stopped after {done} of {recipe.iterations} iterations; the same command goes on")
        return 128 + stop.signum
