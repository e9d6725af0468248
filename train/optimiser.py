"""AdamW as in the original: parameter groups and the learning-rate schedule."""

import math

import torch
from torch import nn

from .recipes import Recipe


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
    return torch.optim.AdamW(settings, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps)


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
