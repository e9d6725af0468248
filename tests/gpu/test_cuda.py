"""The model, prediction and training on a CUDA device give what they give on the CPU."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.pictures import pictures, write_video
from tests.tevit.video.test_torchcodec import missing
from tests.train import tiny
from tevit import load
from tevit.benchmarks.gpu import SMALL, Job, run_job
from tevit.cli.main import main
from tevit.inference.postprocess import SIDE, paste, paste_and_encode
from tevit.inference.predictor import Upload
from tevit.masks.ops import encode_parts, track_iou
from tevit.results import VideoResult
from tevit.video.reader import open_video
from train.distributed import World
from train.loop import Step, build_optimiser
from train.losses import SlotLoss

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


def test_frames_are_uploaded_as_they_are():
    frames = torch.rand(9, 3, 64, 96).numpy()
    upload = Upload(DEVICE, frames.shape[1:])
    uploaded = [upload(frame) for frame in frames]
    assert torch.equal(upload.stack(uploaded).cpu(), torch.from_numpy(frames))


def test_masks_encoded_on_the_device():
    """The same but for pixels whose probability is the threshold's, up to rounding."""
    generator, size = torch.Generator().manual_seed(0), (360, 640)
    logits = torch.randn(40, SIDE, SIDE, generator=generator)
    corners = torch.rand(40, 2, generator=generator) * torch.tensor([500.0, 250.0]) - 20
    boxes = torch.cat([corners, corners + torch.rand(40, 2, generator=generator) * 200], 1)
    rles, areas = paste_and_encode(logits.to(DEVICE).sigmoid(), boxes, size)
    expected, expected_areas = encode_parts(paste(logits.sigmoid(), boxes, size), size)
    assert np.abs(areas - expected_areas).max() <= 3
    assert sum(one == other for one, other in zip(rles, expected, strict=True)) >= 36


def test_attention_in_mixed_precision_can_be_flash_attention(frames):
    predictor = load("tevit_demo", device=DEVICE.type, dtype="bfloat16")
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # without it there is an error
        assert predictor(frames).tracks


@pytest.mark.skipif(bool(missing()), reason=missing() or "torchcodec is here")
def test_frames_of_the_hardware_decoder_are_those_of_pyav(tmp_path):
    path = write_video(tmp_path / "a.mp4", pictures(12, (192, 320)))
    decoded = list(open_video(path, "torchcodec", DEVICE.type).frames())
    for frame, expected in zip(decoded, open_video(path).frames(), strict=True):
        assert frame.time == expected.time
        np.testing.assert_array_equal(frame.rgb, expected.rgb)


def test_the_benchmark_measures_a_model(tmp_path):
    lines = tmp_path / "lines.jsonl"
    run_job(Job("model", "bfloat16", False, 1), SMALL, DEVICE, lines)
    for line in map(json.loads, lines.read_text().splitlines()):
        assert line["figures"]["frames/s"]["median"] > 0 and line["figures"]["peak memory, MB"]["median"] > 0


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
