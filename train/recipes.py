"""Training recipes with all their values written out, and each value as a flag of the command line.

Source: the configurations of hustvl/TeViT and of QueryInst in it, values as merged and recorded. The authors publish
the best of several runs, which vary; a single run may stay below their figures.
"""

import argparse
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from tevit.configs import (
    QUERYINST_PVT,
    TEVIT_DEMO,
    TEVIT_MSGSHIFT,
    TEVIT_MSGSHIFT_MST,
    TEVIT_R50,
    TEVIT_SWIN_L_MST,
    ModelConfig,
)

ARCHITECTURES: Mapping[str, ModelConfig] = MappingProxyType(
    {
        config.name: config
        for config in (TEVIT_MSGSHIFT, TEVIT_MSGSHIFT_MST, TEVIT_R50, TEVIT_SWIN_L_MST, QUERYINST_PVT, TEVIT_DEMO)
    }
)
"""Values of `Recipe.model`."""


def option(text: str):
    """A recipe's field with the help text of its flag."""
    return field(metadata={"help": text})


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a training run: everything that decides it but data, seed and machine.

    Each field is a flag of `tevit train`, its text the flag's help.
    """

    name: str = option("name of the recipe")
    model: str = option("architecture, by the name of a model")
    classes_from_data: bool = option("take the classes from the annotation file instead of the architecture's own")
    messengers: int = option("messenger tokens a frame, a multiple of 4; 0 for none")
    time_attention: bool = option("queries also attend over the frames of a clip")
    drop_path: float = option("drop path rate of the backbone's last block, rising from 0")

    task: Literal["video", "image"] = option("video: clips of YouTube-VIS data; image: pictures of COCO data")
    frames: int = option("frames of a clip, T")
    frame_order: Literal["random", "time"] = option("order of a clip's frames; random: as in the original")
    clips_per_slot: int = option("clips that run together (2 a GPU in the original)")
    slots: int = option("slots of a global batch; processes share them, a single one takes them in turn")
    scale_mode: Literal["range", "value"] = option(
        "range: sides drawn between the two scales; value: one of the scales is drawn"
    )
    scales: tuple[tuple[int, int], ...] = option("bounds of the resized frame's sides, LONGxSHORT, several by commas")
    flip: float = option("probability of a horizontal flip of the whole clip")

    iterations: int = option("optimiser steps in all")
    lr: float = option("learning rate after the warm-up")
    backbone_lr: float = option("factor on the learning rate for the backbone")
    weight_decay: float = option("decoupled weight decay of AdamW")
    norm_decay: bool = option("decay norm layers of the heads and position biases too (Swin-L does not)")
    betas: tuple[float, float] = option("AdamW's two decay rates, by a comma")
    eps: float = option("AdamW's epsilon")
    clip_norm: float = option("largest global L2 norm of the gradients")
    warmup_iterations: int = option("length of the linear warm-up")
    warmup_ratio: float = option("learning rate at iteration 0 over the full one")
    lr_schedule: Literal["step", "cosine"] = option(
        "step: times lr_factor at each of lr_steps; cosine: to 0 at the end"
    )
    lr_steps: tuple[int, ...] = option("iterations at which the learning rate is multiplied by lr_factor, by commas")
    lr_factor: float = option("what the learning rate is multiplied with at each step")

    class_weight: float = option("weight of the focal loss, in the matching too")
    l1_weight: float = option("weight of the L1 loss of boxes, in the matching too")
    giou_weight: float = option("weight of the GIoU loss of boxes, in the matching too")
    dice_weight: float = option("weight of the dice loss of masks")
    mask_rows: int = option("at most so many positives of a slot, drawn, go through each mask head; 0: all")

    precision: Literal["float32", "bfloat16"] = option("bfloat16: mixed precision, losses stay in float32")
    checkpointing: bool = option("compute activations again in the backward pass: less memory, more time")
    compile: bool = option("torch.compile the backbone and the stages")
    workers: int = option("processes that prepare data, for each training process; 0: in the training process itself")
    save_every: int = option("iterations between checkpoints")
    eval_every: int = option("iterations between evaluations on the labelled split; 0: never")
    log_every: int = option("iterations between lines of metrics.jsonl")


TEVIT_MSGSHIFT_RECIPE = Recipe(
    name="tevit-msgshift",
    model="tevit_msgshift",
    classes_from_data=False,
    messengers=32,
    time_attention=True,
    drop_path=0.1,
    task="video",
    frames=5,
    frame_order="random",
    clips_per_slot=2,
    slots=8,
    scale_mode="range",
    scales=((640, 360), (960, 480)),
    flip=0.5,
    iterations=9200,
    lr=2.5e-4,
    backbone_lr=0.1,
    weight_decay=1e-4,
    norm_decay=True,
    betas=(0.9, 0.999),
    eps=1e-8,
    clip_norm=0.1,
    warmup_iterations=770,
    warmup_ratio=0.001,
    lr_schedule="step",
    lr_steps=(6100, 8500),
    lr_factor=0.1,
    class_weight=2.0,
    l1_weight=5.0,
    giou_weight=2.0,
    dice_weight=8.0,
    mask_rows=0,
    precision="float32",
    checkpointing=False,
    compile=False,
    workers=4,
    save_every=500,
    eval_every=0,
    log_every=10,
)
TEVIT_MSGSHIFT_MST_RECIPE = replace(
    TEVIT_MSGSHIFT_RECIPE, name="tevit-msgshift-mst", model="tevit_msgshift_mst", scale_mode="value"
)
TEVIT_R50_RECIPE = replace(TEVIT_MSGSHIFT_RECIPE, name="tevit-r50", model="tevit_r50", messengers=0, drop_path=0.0)
TEVIT_R50_MST_RECIPE = replace(TEVIT_R50_RECIPE, name="tevit-r50-mst", scale_mode="value")
TEVIT_SWIN_L_MST_RECIPE = replace(
    TEVIT_MSGSHIFT_RECIPE,
    name="tevit-swin-l-mst",
    model="tevit_swin_l_mst",
    messengers=0,
    drop_path=0.2,
    scale_mode="value",
    scales=tuple((1333, short) for short in range(320, 801, 32)),
    norm_decay=False,
)
QUERYINST_RECIPE = replace(
    TEVIT_MSGSHIFT_RECIPE,
    name="queryinst-pvtv2b1-coco",
    model="queryinst_pvtv2b1_coco",
    messengers=0,
    time_attention=False,
    task="image",
    frames=1,
    scale_mode="value",
    scales=tuple((1333, short) for short in range(480, 801, 32)),
    iterations=263_880,  # 36 epochs of 7330: the 117 266 labelled pictures of COCO train2017 in batches of 16
    lr=1e-4,
    warmup_iterations=1000,
    lr_steps=(197_910, 241_890),  # after epochs 27 and 33
    save_every=7330,
)
"""QueryInst's published 36-epoch schedule with PVTv2-B1. Ours: the authors publish only the weights of this model."""

CUSTOM_RECIPE = replace(
    TEVIT_MSGSHIFT_MST_RECIPE,
    name="custom",
    classes_from_data=True,
    iterations=3000,
    lr=1e-4,
    warmup_iterations=250,
    lr_steps=(2000, 2700),
    eval_every=500,
)
"""Fine-tuning on one's own labels: a shorter, gentler run from a trained checkpoint. Ours."""

DEMO_RECIPE = replace(
    TEVIT_MSGSHIFT_RECIPE,
    name="demo",
    model="tevit_demo",
    messengers=8,
    drop_path=0.0,
    frames=3,
    clips_per_slot=3,
    slots=2,
    scale_mode="value",
    scales=((214, 128),),
    iterations=4500,
    lr=8e-4,
    backbone_lr=1.0,
    clip_norm=1.0,
    warmup_iterations=200,
    lr_schedule="cosine",
    mask_rows=12,
    workers=0,
    save_every=100,
    eval_every=1000,
)
"""The small model that comes with the studio, from scratch on `tevit shapes`, on a CPU. Ours."""

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            TEVIT_MSGSHIFT_RECIPE,
            TEVIT_MSGSHIFT_MST_RECIPE,
            TEVIT_R50_RECIPE,
            TEVIT_R50_MST_RECIPE,
            TEVIT_SWIN_L_MST_RECIPE,
            QUERYINST_RECIPE,
            CUSTOM_RECIPE,
            DEMO_RECIPE,
        )
    }
)
"""The recipes by name."""

STARTS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("tevit-msgshift", "tevit-msgshift-mst"), "queryinst_pvtv2b1_coco (see `tevit models`)"),
        **dict.fromkeys(("tevit-r50", "tevit-r50-mst"), "QueryInst_R50_3x_300_queries of hustvl/QueryInst"),
        "tevit-swin-l-mst": "QueryInst_Swin_L_300_queries of hustvl/QueryInst",
        "custom": "a trained model",
    }
)
"""What `--init` is in the recipes that fine-tune; the others start from random weights."""


def recipe_named(name: str) -> Recipe:
    """The recipe of a name.

    Raises: ValueError with the nearest name.
    """
    if name in RECIPES:
        return RECIPES[name]
    near = get_close_matches(name, RECIPES, n=1, cutoff=0)[0]
    raise ValueError(f"unknown recipe {name!r}; did you mean {near!r}? The recipes are {', '.join(RECIPES)}")


def check(recipe: Recipe) -> Recipe:
    """The recipe itself, if its values are valid together.

    Raises: ValueError naming the flag, the expected and the actual value.
    """

    def require(name: str, condition: bool, expected: str) -> None:
        if not condition:
            actual = flag_value(getattr(recipe, name))
            raise ValueError(f"--{name.replace('_', '-')}: expected {expected}, got {actual}")

    if recipe.model not in ARCHITECTURES:
        raise ValueError(f"--model: expected one of {', '.join(ARCHITECTURES)}, got {recipe.model!r}")
    positive = "frames clips_per_slot slots iterations lr clip_norm save_every log_every eps"
    for name in positive.split():
        require(name, getattr(recipe, name) > 0, "more than 0")
    for name in "backbone_lr weight_decay warmup_iterations eval_every workers drop_path mask_rows".split():
        require(name, getattr(recipe, name) >= 0, "0 or more")
    for name in ("flip", "warmup_ratio"):
        require(name, 0 <= getattr(recipe, name) <= 1, "0 to 1")
    require("messengers", recipe.messengers % 4 == 0 and recipe.messengers >= 0, "a multiple of 4")
    require("frames", recipe.task == "video" or recipe.frames == 1, "1 for pictures")
    require("scales", recipe.scale_mode == "value" or len(recipe.scales) == 2, "two sizes in the scale mode range")
    backbone = ARCHITECTURES[recipe.model].backbone
    require("messengers", backbone.kind == "pvt_v2" or not recipe.messengers, f"0 for {backbone.kind}")
    return recipe


def model_config(recipe: Recipe, categories: tuple[tuple[int, str], ...]) -> ModelConfig:
    """The model that a recipe trains on data with these categories: (id, name) in the order of the labels.

    Raises: ValueError where the recipe keeps the architecture's classes and the data has another number of them.
    """
    base = ARCHITECTURES[recipe.model]
    if not recipe.classes_from_data and len(categories) != base.num_classes:
        raise ValueError(
            f"the data has {len(categories)} classes, {recipe.model} has {base.num_classes}; --classes-from-data "
            f"(or the recipe custom) makes a model for the data's"
        )
    backbone = replace(base.backbone, messengers=recipe.messengers, drop_path=recipe.drop_path)
    return replace(base, backbone=backbone, time_attention=recipe.time_attention, categories=categories)


# --- the command line


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every field of a recipe but its name."""
    group = parser.add_argument_group("the recipe, value by value (by default what the recipe says)")
    hints = get_type_hints(Recipe)
    for item in fields(Recipe):
        if item.name != "name":
            flag = "--" + item.name.replace("_", "-")
            group.add_argument(flag, default=None, help=item.metadata["help"], **_argument_type(hints[item.name]))


def _argument_type(hint: Any) -> dict[str, Any]:
    """Keyword arguments of `add_argument` for a field's type."""
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if get_origin(hint) is tuple:
        element = get_args(hint)[0]
        return {"type": _tuple_parser(_scale if get_origin(element) is tuple else element), "metavar": "A,B,…"}
    return {"type": hint, "metavar": {int: "N", float: "X", str: "NAME"}.get(hint, "VALUE")}


def _tuple_parser(parse: Callable[[str], Any]) -> Callable[[str], tuple]:
    # argparse names this function in its message: "invalid comma_separated value".
    def comma_separated(text: str) -> tuple:
        return tuple(parse(part) for part in text.split(",") if part)

    return comma_separated


def _scale(text: str) -> tuple[int, int]:
    long, short = text.lower().split("x")
    return int(long), int(short)


def override(recipe: Recipe, args: argparse.Namespace) -> Recipe:
    """The recipe with the values of the flags that are set; --model sets all of the architecture that no flag sets.

    Raises: ValueError naming the flag whose value is not valid.
    """
    values = {item.name: getattr(args, item.name, None) for item in fields(Recipe) if item.name != "name"}
    values = {name: value for name, value in values.items() if value is not None}
    if values.get("model") in ARCHITECTURES:
        values = architecture_values(ARCHITECTURES[values["model"]]) | values
    return check(replace(recipe, **values))


def architecture_values(config: ModelConfig) -> dict[str, Any]:
    """The fields of a recipe that a model's configuration decides, by name."""
    return {
        "model": config.name,
        "messengers": config.backbone.messengers,
        "drop_path": config.backbone.drop_path,
        "time_attention": config.time_attention,
    }


def as_flags(recipe: Recipe) -> list[str]:
    """The recipe as its flags, quoted for a shell: "--lr 0.001", "--no-compile"."""
    lines = []
    for item in fields(recipe):
        value, flag = getattr(recipe, item.name), item.name.replace("_", "-")
        if isinstance(value, bool):
            lines.append(f"--{flag}" if value else f"--no-{flag}")
        elif item.name != "name":
            lines.append(f"--{flag} {shlex.quote(flag_value(value))}")
    return lines


def flag_value(value: Any) -> str:
    """A recipe's value as its flag takes it: "640x360,960x480" of a tuple of sizes."""
    if not isinstance(value, tuple):
        return str(value)
    return ",".join("x".join(map(str, part)) if isinstance(part, tuple) else str(part) for part in value)
