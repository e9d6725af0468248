"""Summary of a run and estimate of its memory, for --dry-run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from tevit.checkpoint import empty_model
from tevit.configs import ModelConfig
from tevit.model.stage import BOX_BINS, MASK_BINS, Stage
from tevit.model.tevit import TeViT
from tevit.video.transforms import STRIDE

from .data import TrainingData
from .distributed import World
from .recipes import Recipe, as_flags

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
