"""What a run would do, in words, before it does it."""

from pathlib import Path

from tevit.configs import ModelConfig
from train.data import TrainingData
from train.distributed import World
from train.flags import described
from train.recipes import Recipe


def plan(
    recipe: Recipe, config: ModelConfig, data: TrainingData, init: Path | None, here: World, evaluates: bool
) -> str:
    """The resolved recipe and what would be read."""
    lines = [f"recipe {recipe.name}, {here.size} process(es) on {here.device}", described(recipe)]
    lines += [f"data: {len(data.sources)} videos, {len(data)} samples, {config.num_classes} classes"]
    return "\n".join(lines)
