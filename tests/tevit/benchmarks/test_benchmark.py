"""`tevit benchmark` model, video, memory and --compare: figures are plausible, output can be read again."""

import json
import mmap
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

from tests.fakes import FakeModel
from tests.processes import run_python
from tevit import checkpoint
from tevit.benchmarks import speed
from tevit.benchmarks.record import Timing
from tevit.benchmarks.speed import PARTS, count_gflop, measure_model, random_clip, time_parts, variant_name
from tevit.cli.main import main
from tevit.configs import TEVIT_MSGSHIFT
from tevit.inference.predictor import Predictor
from tevit.video.reader import open_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmark")


@pytest.fixture(scope="module")
def measured(tiny_model, folder: Path) -> tuple[str, dict]:
    """What `tevit benchmark model` prints and writes about a tiny model, in a process of its own."""
    checkpoint.save_model(folder / "tiny.safetensors", tiny_model)
    command = ["-m", "tevit", "benchmark", "model", "--checkpoint", str(folder / "tiny.safetensors")]
    command += ["--frames", "2", "--size", "64x96", "--rounds", "2", "--device", "cpu", "--out", str(folder / "a.json")]
    command += ["--without", "packed", "--without", "winograd"]
    run = run_python(*command, folder=folder)
    assert run.returncode == 0, run.stderr
    return run.stdout, json.loads((folder / "a.json").read_text())


def test_the_model_is_measured_beside_the_yardstick(measured):
    out, result = measured
    assert json.loads(out.splitlines()[-1]) == result, "the last line is the result"
    assert result["benchmark"] == "model" and result["command"].startswith("tevit benchmark model")
    assert f"PyTorch {torch.__version__}" in result["machine"] and len(result["date"]) == 10
    assert result["settings"]["input"] == "64x96" and result["settings"]["model"] == "tiny.safetensors"
    figures = result["figures"]
    for name, value in figures.items():
        assert 0 < value["low"] <= value["median"] <= value["high"], name
        assert name in out
    whole, yardstick = figures["model, ms a frame"], figures["yardstick, ms a frame"]
    assert (
        whole["low"] / yardstick["high"] <= figures["model / yardstick"]["median"] <= whole["high"] / yardstick["low"]
    )
    assert all(f"{name}, ms a frame" in figures for name in PARTS)
    for name in map(variant_name, ("packed", "winograd")):
        ratio, variant = figures[f"{name} / model"]["median"], figures[f"{name}, ms a frame"]
        assert variant["low"] / whole["high"] <= ratio <= variant["high"] / whole["low"]
    share = figures["backbone, GFLOP/s"]["low"] / max(figures[f"{name} peak, GFLOP/s"]["median"] for name in PEAKS)
    assert figures["backbone, % of the machine's peak"]["low"] == pytest.approx(100 * share, rel=0.01)
    operators = {name: value["median"] for name, value in figures.items() if name.endswith("% of operators")}
    assert sum(operators.values()) == pytest.approx(100, abs=0.1) and "_linear_pointwise, % of operators" in operators


class FakeYardstick(AbstractContextManager):
    """Replaces the yardstick's process: reports a fixed time for each dtype."""

    SECONDS: ClassVar = {"bfloat16": 0.5, "float32": 2.0}

    def __init__(self, frames: int, size_hw: tuple[int, int], device: torch.device, dtype: str):
        self.seconds = self.SECONDS[dtype]

    def __call__(self) -> Timing:
        return Timing(self.seconds, 2 * self.seconds)

    def __exit__(self, *exc: object) -> None:
        pass


def test_mixed_precision_is_measured_beside_both_yardsticks(tiny_model, monkeypatch):
    monkeypatch.setattr("tevit.benchmarks.speed.Yardstick", FakeYardstick)
    predictor = Predictor(tiny_model, dtype=torch.bfloat16)
    figures = measure_model(predictor, random_clip(2, (64, 96), predictor.device), 1)
    model = figures["model, ms a frame"]["median"]
    for name, seconds in (("yardstick", 0.5), ("float32 yardstick", 2.0)):
        assert figures[f"{name}, ms a frame"]["median"] == 1e3 * seconds / 2
        assert figures[f"model / {name}"]["median"] == pytest.approx(model / (1e3 * seconds / 2), rel=0.01)


PEAKS = ("matmul", "convolution")


def test_a_slow_part_has_the_longest_time(tiny_model, monkeypatch):
    """Each part in turn is delayed, by a clock that nothing else moves: only its own wall-clock time grows."""
    clock = SimpleNamespace(now=0.0)
    clock.perf_counter, clock.process_time = lambda: clock.now, lambda: 0.0
    monkeypatch.setattr("tevit.benchmarks.speed.time", clock)
    predictor = Predictor(tiny_model)
    clip = random_clip(2, (64, 96), predictor.device)
    delay = 0.25
    places = {
        "backbone": (tiny_model.backbone, "forward"),
        "FPN": (tiny_model.fpn, "forward"),
        "stages": (tiny_model.stages[0], "forward"),
        "mask head": (tiny_model, "mask_logits"),
        "paste and RLE": (sys.modules["tevit.benchmarks.speed"], "to_tracks"),
    }
    assert places.keys() == set(PARTS)
    time_parts(predictor, clip)  # warm-up
    for name, (owner, method) in places.items():
        with monkeypatch.context() as patch:
            patch.setattr(owner, method, _slow(getattr(owner, method), clock, delay))
            timings = time_parts(predictor, clip)
        assert timings[name].seconds >= delay and timings[name].processor < timings[name].seconds, name
        assert max(timings, key=lambda part: timings[part].seconds) == name
        assert all(timings[part].seconds == 0 for part in PARTS if part != name)


def _slow(function, clock: SimpleNamespace, seconds: float):
    def slow(*args, **options):
        clock.now += seconds
        return function(*args, **options)

    return slow


def test_gflop_counts():
    """GMAC a frame of TeViT-MsgShifT at 384x640, without unused messengers; the mask head of ten tracks."""
    clip = random_clip(1, (360, 640), torch.device("cpu"))
    assert clip.sizes.padded_hw == (384, 640) and not clip.pixels[..., 360:, :].any()
    figures = {name: value / 2 for name, value in count_gflop(TEVIT_MSGSHIFT, clip).items()}
    assert figures == pytest.approx({"backbone": 12.1, "FPN": 12.52, "stages": 9.06, "mask head": 5.29}, abs=0.1)


def test_a_video_is_measured_from_file_to_file(tiny_model, folder):
    file = speed.write_synthetic_video(folder / "made-up.mp4", 6, (64, 96))
    assert open_video(file).length == 6
    repeated = list(speed.synthetic_frames(3, (64, 96)))
    assert all((a == b).all() for a, b in zip(repeated, speed.synthetic_frames(3, (64, 96)), strict=True))
    assert not np.array_equal(repeated[0], repeated[1])
    figures = {
        name: value["median"] for name, value in speed.measure_video(Predictor(tiny_model), open_video(file), 1).items()
    }
    parts = ("decode", "resize and normalise", "model", "paste and RLE", "write results.json")
    assert [f"{name}, frames/s" for name in ("end to end", *parts)] + ["peak memory, MB"] == list(figures)
    inside = sum(1 / figures[f"{name}, frames/s"] for name in ("model", "paste and RLE", "write results.json"))
    assert inside < 1 / figures["end to end, frames/s"], "parts of the whole"
    assert figures["model, frames/s"] < figures["write results.json, frames/s"]


class Leaking(FakeModel):
    """Leaks 20 MB for every window."""

    def __init__(self) -> None:
        super().__init__()
        self.leaked: list[mmap.mmap] = []

    def __call__(self, *args, **options):
        # New pages: ordinary allocations could reuse memory that the process has freed but keeps.
        self.leaked.append(mmap.mmap(-1, 20 << 20))
        self.leaked[-1].write(b"x" * (20 << 20))
        return super().__call__(*args, **options)


def test_growing_memory_has_a_larger_deviation(folder):
    file = open_video(speed.write_synthetic_video(folder / "long.mp4", 260, (64, 96)))
    deviations = []
    for model in (FakeModel(), Leaking()):
        samples, seconds = speed.sample_memory(Predictor(model), file, 20)
        assert [sample.frames for sample in samples][-1] == 260
        figures = speed.memory_figures(samples, seconds, (100, 200, 300))
        assert "at frame 200, MB" in figures and "at frame 300, MB" not in figures
        deviations.append(figures["from frame 200 on, % off the mean"]["median"])
    assert deviations[0] < 5 and deviations[1] > deviations[0]
    grown = speed.memory_figures(
        [speed.MemorySample(100, 50.0), speed.MemorySample(200, 90.0), speed.MemorySample(300, 110.0)], 3.0, (300,)
    )
    assert grown["from frame 200 on, % off the mean"]["median"] == 10 and grown["frames/s"]["median"] == 100


def test_two_results_side_by_side(measured, folder, capsys):
    one = measured[1]
    doubled = {name: {key: 2 * number for key, number in value.items()} for name, value in one["figures"].items()}
    (folder / "b.json").write_text(json.dumps(one | {"figures": doubled, "settings": one["settings"] | {"frames": 20}}))
    assert main(["benchmark", "--compare", str(folder / "a.json"), str(folder / "b.json")]) == 0
    out = capsys.readouterr().out
    assert "not the same: frames 2 and 20" in out
    line = next(line for line in out.splitlines() if line.startswith("yardstick, ms a frame"))
    assert line.endswith(" 2.000")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--compare", "a.json", "memory.json"],
            "expected two measurements of one kind, got a.json of model and memory",
        ),
        (["--compare", "a.json", "list.json"], "list.json: expected what `tevit benchmark model, video or memory"),
        (["--compare", "a.json", "none.json"], "none.json: no such file"),
        (["model", "--frames", "0"], "--frames: expected at least 1, got 0"),
        (
            "model --checkpoint tiny.safetensors --size 64x96 --device cpu --dtype bfloat16 --without winograd".split(),
            "--without winograd: expected a model that uses this optimisation, got one on cpu in bfloat16",
        ),
        (["model", "--model", "tevit_r5"], "did you mean 'tevit_r50'"),
        (["model", "--checkpoint", "tiny.safetensors", "--size", "5x5000"], "scale: expected two bounds"),
        (["video", "none.mp4", "--model", "tevit_demo"], "none.mp4: no such file or folder"),
        (["memory", "--frames", "200"], "--frames: expected more than 200, got 200"),
    ],
)
def test_wrong_input_is_one_sentence(measured, folder, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(folder)
    (folder / "memory.json").write_text(json.dumps(measured[1] | {"benchmark": "memory"}))
    (folder / "list.json").write_text("[]")
    assert main(["benchmark", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
