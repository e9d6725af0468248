"""Training small enough for tests: a model of a few thousand parameters and batches made by seed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tevit.configs import TEVIT_MSGSHIFT, ModelConfig
from tevit.model.tevit import TeViT
from train.data import Batch, ClipTarget
from train.distributed import World
from train.loop import Slots, Step, TrainingRun, build_optimiser
from train.losses import SlotLoss, Weights
from train.recipes import TEVIT_MSGSHIFT_RECIPE, Recipe

ALONE = World(0, 1, torch.device("cpu"))
WEIGHTS = Weights(2.0, 5.0, 2.0, 8.0)
RECIPE = replace(
    TEVIT_MSGSHIFT_RECIPE, frames=3, slots=4, clips_per_slot=1, iterations=8, warmup_iterations=3, lr=1e-3, log_every=1
)
BACKBONE = replace(
    TEVIT_MSGSHIFT.backbone, dims=(8, 16, 24, 32), heads=(1, 1, 2, 2), depths=(2, 2, 2, 2), messengers=8, drop_path=0.3
)
CONFIG: ModelConfig = replace(
    TEVIT_MSGSHIFT,
    name="tiny",
    backbone=BACKBONE,
    categories=((1, "disc"), (2, "square"), (3, "star")),
    queries=6,
    stages=2,
    channels=16,
    heads=2,
    ffn_channels=32,
    dynamic_channels=8,
    scale=(64, 96),
)
STEADY = replace(CONFIG, backbone=replace(BACKBONE, drop_path=0.0))
"""The same without drop path: nothing random in its forward pass."""
SIZE = (64, 96)


def model(seed: int = 7, config: ModelConfig = CONFIG) -> TeViT:
    """A tiny model in training mode."""
    torch.manual_seed(seed)
    return TeViT(config).train()


def target(numbers: np.random.Generator, frames: int, instances: int, classes: int = 3) -> ClipTarget:
    """Rectangles somewhere, about a quarter of them absent; the mask of a rectangle is all of it."""
    height, width = SIZE
    corner = numbers.uniform(0, 0.6, (frames, instances, 2)) * (width, height)
    side = numbers.uniform(0.15, 0.4, (frames, instances, 2)) * (width, height)
    present = numbers.random((frames, instances)) < 0.75
    boxes = (np.concatenate([corner, corner + side], 2).round() * present[..., None]).astype(np.float32)
    masks = np.zeros((frames, instances, height, width), np.uint8)
    for time, number in zip(*np.nonzero(present), strict=True):
        left, top, right, bottom = boxes[time, number].astype(int)
        masks[time, number, top:bottom, left:right] = 1
    labels = numbers.integers(0, classes, instances)
    return ClipTarget(labels, np.arange(instances), boxes, present, masks)


def batch(iteration: int, slot: int, clips: int = 1, frames: int = 3) -> Batch:
    """The batch of a slot: noise with rectangles in it, of 1 to 3 instances a clip."""
    numbers = np.random.default_rng((iteration, slot))
    targets = [target(numbers, frames, int(numbers.integers(1, 4))) for _ in range(clips)]
    pixels = numbers.standard_normal((clips, frames, 3, *SIZE)).astype(np.float32)
    for clip, truth in enumerate(targets):
        pixels[clip] += 2 * truth.masks.max(1)[:, None]
    return Batch(torch.from_numpy(pixels), torch.tensor([SIZE] * clips), targets)


def stream(start: int, stop: int, slots: range) -> Iterator[Slots]:
    """The slots of iterations from `start` on."""
    return ([(slot, batch(iteration, slot)) for slot in slots] for iteration in range(start, stop))


def run(
    folder: Path, recipe: Recipe = RECIPE, seed: int = 5, world: World = ALONE, config: ModelConfig = CONFIG
) -> TrainingRun:
    """A run of a tiny model from its initial values."""
    tiny = model(seed, config)
    optimiser = build_optimiser(tiny, recipe)
    step = Step(SlotLoss(tiny, WEIGHTS, recipe.mask_rows, recipe.checkpointing), recipe, seed, world)
    return TrainingRun(folder, recipe, step, optimiser, {"seed": seed}, None)
