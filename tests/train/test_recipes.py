"""Recipes: published values, parameter groups, learning rates, flags."""

import argparse
import gzip
import json
import shlex
from dataclasses import fields, replace

import pytest
import torch

from tests import oracle
from tevit.checkpoint import empty_model, read_checkpoint, to_original
from tevit.configs import START_FILES, TEVIT_DEMO, published
from tevit.download import bundled_path
from tevit.synthetic import dataset as shapes
from train.loop import build_optimiser, learning_rate, parameter_rule
from train.recipes import (
    ARCHITECTURES,
    CUSTOM_RECIPE,
    DEMO_RECIPE,
    QUERYINST_RECIPE,
    RECIPES,
    STARTS,
    TEVIT_MSGSHIFT_RECIPE,
    TEVIT_R50_RECIPE,
    TEVIT_SWIN_L_MST_RECIPE,
    Recipe,
    add_flags,
    as_flags,
    check,
    model_config,
    override,
    recipe_named,
)

RECORDED = {
    "msgshift": TEVIT_MSGSHIFT_RECIPE,
    "r50": TEVIT_R50_RECIPE,
    "swinl": TEVIT_SWIN_L_MST_RECIPE,
    "queryinst_pvtv2b1_coco": QUERYINST_RECIPE,
}


def parsed(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return parser.parse_args(argv)


def skeleton(recipe: Recipe):
    """The model that a recipe trains, without numbers but knowing what learns."""
    model = empty_model(model_config(recipe, ARCHITECTURES[recipe.model].categories), all_masks=True)
    frozen = ("backbone.conv1.", "backbone.bn1.", "backbone.layer1.") if recipe is TEVIT_R50_RECIPE else ()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen) if frozen else True)
    return model


@pytest.mark.parametrize("name", RECORDED)
def test_every_parameter_learns_as_fast_and_decays_as_much_as_in_the_original(name):
    with gzip.open(oracle.GOLDENS / "train_param_groups.json.gz", "rt") as file:
        expected = json.load(file)[name]
    recipe = RECORDED[name]
    model = skeleton(recipe)
    # Through the layout of the original: the two numbers ride as the value of each parameter.
    for column in (0, 1):
        values = {}
        for key, parameter in model.named_parameters():
            number = parameter_rule(key, recipe)[column] if parameter.requires_grad else 0.0
            values[key] = torch.tensor(number).expand(parameter.shape)
        converted = to_original(values, model.config.backbone.kind)
        assert converted.keys() == expected.keys()
        for key, pair in expected.items():
            assert converted[key].flatten()[[0, -1]].tolist() == pytest.approx([pair[column]] * 2, rel=1e-6), key


def test_the_optimiser_holds_what_learns_in_as_many_groups_as_there_are_rules():
    optimiser = build_optimiser(skeleton(TEVIT_R50_RECIPE), TEVIT_R50_RECIPE)
    sizes = sorted((group["lr_factor"], len(group["params"])) for group in optimiser.param_groups)
    assert sizes == [(0.1, 126), (1.0, 390)]
    assert isinstance(optimiser, torch.optim.AdamW)
    assert optimiser.defaults["betas"] == (0.9, 0.999) and optimiser.defaults["eps"] == 1e-8
    assert len(build_optimiser(skeleton(TEVIT_SWIN_L_MST_RECIPE), TEVIT_SWIN_L_MST_RECIPE).param_groups) == 3


@pytest.mark.parametrize(
    ("iteration", "rate"),
    [
        *((0, 2.5e-7), (1, 5.743506e-7), (100, 3.268506e-5), (500, 1.624253e-4), (769, 2.496757e-4), (770, 2.5e-4)),
        *((6099, 2.5e-4), (6100, 2.5e-5), (8500, 2.5e-6), (9199, 2.5e-6)),
    ],
)
def test_the_learning_rate_is_the_originals(iteration, rate):
    assert learning_rate(TEVIT_MSGSHIFT_RECIPE, iteration) == pytest.approx(rate, rel=1e-6)


def test_a_cosine_falls_from_the_full_rate_to_none():
    recipe = replace(DEMO_RECIPE, warmup_iterations=0, iterations=100, lr=1.0)
    assert [learning_rate(recipe, at) for at in (0, 50, 100)] == pytest.approx([1, 0.5, 0])


def test_published_recipes_train_the_published_models():
    for recipe in RECIPES.values():
        check(recipe)
        config = model_config(recipe, ARCHITECTURES[recipe.model].categories)
        assert config == ARCHITECTURES[recipe.model], recipe.name
    for name in ("tevit-msgshift", "tevit-msgshift-mst", "tevit-r50", "tevit-r50-mst", "tevit-swin-l-mst"):
        recipe = RECIPES[name]
        assert model_config(recipe, published(recipe.model).categories) == published(recipe.model)
        assert recipe.slots * recipe.clips_per_slot == 16 and recipe.frames == 5 and recipe.iterations == 9200
    assert TEVIT_SWIN_L_MST_RECIPE.scales[0] == (1333, 320) and len(TEVIT_SWIN_L_MST_RECIPE.scales) == 16
    assert QUERYINST_RECIPE.scales[-1] == (1333, 800) and len(QUERYINST_RECIPE.scales) == 11


def test_the_demo_model_knows_the_shapes():
    assert dict(TEVIT_DEMO.categories) == shapes.CATEGORIES


def test_every_field_is_a_flag_with_help_and_comes_back_from_its_text():
    for recipe in RECIPES.values():
        argv = shlex.split(" ".join(as_flags(recipe)))
        assert override(replace(DEMO_RECIPE, name=recipe.name), parsed(*argv)) == recipe
    assert "--lr-steps ''" in as_flags(replace(DEMO_RECIPE, lr_steps=()))
    actions = {action.dest: action for action in _actions()}
    assert actions.keys() >= {item.name for item in fields(Recipe)} - {"name"}
    assert all(actions[item.name].help for item in fields(Recipe) if item.name != "name")


def _actions():
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return parser._actions


def test_flags_change_what_they_name_alone():
    assert override(DEMO_RECIPE, parsed()) == DEMO_RECIPE
    overridden = override(DEMO_RECIPE, parsed("--lr", "0.1", "--no-time-attention", "--scales", "320x192,160x96"))
    assert overridden == replace(DEMO_RECIPE, lr=0.1, time_attention=False, scales=((320, 192), (160, 96)))


def test_a_model_by_name_is_the_model_of_its_file():
    config, _ = read_checkpoint(bundled_path("tevit_demo"))
    named = override(CUSTOM_RECIPE, parsed("--model", "tevit_demo"))
    assert model_config(named, config.categories) == config
    assert override(CUSTOM_RECIPE, parsed("--model", "tevit_demo", "--messengers", "4")).messengers == 4
    for name, architecture in ARCHITECTURES.items():
        assert model_config(override(DEMO_RECIPE, parsed("--model", name)), architecture.categories) == architecture


def test_recipes_that_fine_tune_name_their_start():
    assert {name for name in RECIPES if name not in STARTS} == {"queryinst-pvtv2b1-coco", "demo"}
    for name in START_FILES:
        assert any(text.startswith(name) for text in STARTS.values())


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (("--messengers", "6"), "--messengers: expected a multiple of 4, got 6"),
        (("--model", "tevit_r50", "--messengers", "8"), "--messengers: expected 0 for resnet50, got 8"),
        (("--model", "tevit_r51"), "--model: expected one of"),
        (("--lr", "0"), "--lr: expected more than 0, got 0.0"),
        (("--scale-mode", "range"), "--scales: expected two sizes in the scale mode range, got [0-9x,]+$"),
        (("--task", "image"), "--frames: expected 1 for pictures, got 3"),
    ],
)
def test_values_that_make_no_sense_are_named(argv, sentence):
    with pytest.raises(ValueError, match=sentence):
        override(DEMO_RECIPE, parsed(*argv))


def test_a_mistyped_recipe_gets_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'tevit-msgshift'"):
        recipe_named("tevit-msgshft")


def test_classes_of_the_data_must_fit_or_be_asked_for():
    classes = ((1, "one"), (2, "two"))
    with pytest.raises(ValueError, match="the data has 2 classes, tevit_msgshift has 40; --classes-from-data"):
        model_config(TEVIT_MSGSHIFT_RECIPE, classes)
    assert model_config(RECIPES["custom"], classes).categories == classes
