"""The model, prediction and training on a CUDA device give what they give on the CPU."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.train import tiny
from tevit import load
from tevit.cli.main import main
from tevit.masks.ops import track_iou
from tevit.results import VideoResult
from train.distributed import World
from train.losses import SlotLoss
from train.step import Step, build_optimiser

CPU, DEVICE = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """Convolutions without TF32, whose 10 bits of mantissa would hide a fault."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """The frames of a synthetic video with moving shapes."""
    folder = tmp_path_factory.mktemp("cuda")
    assert main(["shapes", str(folder), "--videos", "1", "--seed", "3", "--split", "valid"]) == 0
    return next(folder.rglob("*.jpg")).parent


def assert_same_tracks(actual: VideoResult, expected: VideoResult) -> None:
    """Of the confident tracks: scores within 1e-3, the same classes, masks with a track IoU above 0.98."""
    confident = [[track for track in result.tracks if track.score > 0.3] for result in (actual, expected)]
    assert len(confident[0]) == len(confident[1]) > 0
    for one, other in zip(*confident, strict=True):
        assert one.category_id == other.category_id
        assert one.score == pytest.approx(other.score, abs=1e-3)
        assert track_iou(one.rles, other.rles) > 0.98


def test_forward_pass():
    batch = tiny.batch(0, 0)
    with torch.inference_mode():
        expected = tiny.model(config=tiny.STEADY).eval()(batch.frames, batch.sizes_hw)
        actual = tiny.model(config=tiny.STEADY).eval().to(DEVICE)(batch.frames.to(DEVICE), batch.sizes_hw.to(DEVICE))
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one.logits.cpu(), other.logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one.boxes_xyxy.cpu(), other.boxes_xyxy, rtol=1e-4, atol=1e-2)


def test_prediction(frames):
    assert_same_tracks(load("tevit_demo", device=DEVICE.type)(frames), load("tevit_demo", device="cpu")(frames))


def test_compiled_prediction(frames):
    torch.compiler.reset()
    predictor = load("tevit_demo", device=DEVICE.type, compile=True)
    assert_same_tracks(predictor(frames), load("tevit_demo", device="cpu")(frames))
    assert not predictor.warnings


def training_step(device: torch.device, precision: str = "float32") -> tuple[dict[str, float], dict[str, Tensor]]:
    """Losses of one optimiser step and the weights after it."""
    recipe = replace(tiny.RECIPE, slots=1, precision=precision, eps=1e-3)
    trained = tiny.model(config=tiny.STEADY).to(device)
    step = Step(SlotLoss(trained, tiny.WEIGHTS), recipe, 5, World(0, 1, device))
    optimiser = build_optimiser(trained, recipe)
    losses = step.gradients(0, [(0, tiny.batch(0, 0))])
    optimiser.step()
    values = {name: value.item() for name, value in losses.items()}
    return values, {name: value.detach().cpu() for name, value in trained.named_parameters()}


def test_training_step():
    (losses, weights), (expected_losses, expected_weights) = training_step(DEVICE), training_step(CPU)
    assert losses == pytest.approx(expected_losses, rel=1e-3)
    initial = dict(tiny.model(config=tiny.STEADY).named_parameters())
    assert any(not torch.equal(weights[name], initial[name]) for name in weights)
    for name, value in expected_weights.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-4, msg=lambda text, n=name: f"{n}: {text}")


def test_mixed_precision_training_step():
    losses, _ = training_step(DEVICE, "bfloat16")
    assert losses == pytest.approx(training_step(CPU)[0], rel=0.1, abs=0.05)
