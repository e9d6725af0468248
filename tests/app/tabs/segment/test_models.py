import os
import threading
from pathlib import Path

import pytest

from app.tabs.segment import models
from app.tabs.segment.models import (
    MIN_FREE_BYTES,
    ModelCache,
    ModelOption,
    Speeds,
    WeightDownloads,
    estimate_memory,
    find_model,
    free_memory,
    model_options,
    preferred_option,
)
from tests.app.fakes import FakePredictor
from tevit.configs import MODELS
from tevit.progress import Progress


def loader(loads: list[str], **options):
    def load(model: str) -> FakePredictor:
        loads.append(model)
        return FakePredictor()

    return ModelCache(load, **options)


def test_model_is_loaded_once_until_its_file_changes(tmp_path: Path):
    file = tmp_path / "model.pth"
    file.touch()
    loads: list[str] = []
    loaded = loader(loads, free=lambda: None)
    for time_written, expected in ((1, 1), (1, 1), (2, 2)):
        os.utime(file, (time_written, time_written))
        loaded.get(str(file))
        assert len(loads) == expected


def test_least_recently_used_model_is_dropped():
    loads: list[str] = []
    loaded = loader(loads, max_models=2, free=lambda: None)
    for model in "abacb":
        loaded.get(model)
    assert loads == ["a", "b", "c", "b"]


def test_all_other_models_are_dropped_while_memory_is_short():
    loads: list[str] = []
    free = [MIN_FREE_BYTES]
    loaded = loader(loads, max_models=9, free=lambda: free[0])
    for model in "abc":
        loaded.get(model)
    free[0] = MIN_FREE_BYTES - 1
    loaded.get("c")
    loaded.get("d")
    free[0] = MIN_FREE_BYTES
    for model in "dabc":
        loaded.get(model)
    assert loads == ["a", "b", "c", "d", "a", "b", "c"]


def test_failed_load_keeps_the_other_models():
    loads: list[str] = []
    loaded = loader(loads, free=lambda: None)
    loaded.get("a")

    def fail(model: str) -> FakePredictor:
        raise ValueError(f"{model}: not a checkpoint")

    loaded._load = fail
    with pytest.raises(ValueError, match="b: not a checkpoint"):
        loaded.get("b")
    assert loaded.get("a") and loads == ["a"]


def test_free_memory_of_machine_and_gpu(monkeypatch: pytest.MonkeyPatch):
    free = free_memory()
    assert free is None or 1e6 < free < 1e14
    monkeypatch.setattr(models, "machine_memory", lambda: 8)
    monkeypatch.setattr(models, "_gpu_memory", lambda: 5)
    assert free_memory() == 5
    monkeypatch.setattr(models, "machine_memory", lambda: None)
    monkeypatch.setattr(models, "_gpu_memory", lambda: None)
    assert free_memory() is None


@pytest.mark.parametrize(
    ("model", "size_hw", "frames", "measured"),
    [
        ("tevit_demo", (192, 320), 12, 1.34),
        ("tevit_demo", (192, 320), 24, 1.47),
        ("tevit_demo", (192, 320), 48, 1.72),
        ("tevit_demo", (1080, 1920), 24, 1.47),
        ("tevit_msgshift", (360, 640), 4, 2.10),
        ("tevit_msgshift", (360, 640), 12, 2.55),
        ("tevit_msgshift", (360, 640), 24, 3.57),
        ("tevit_r50", (360, 640), 8, 2.51),
        ("tevit_swin_l_mst", (480, 854), 4, 3.11),
        ("tevit_swin_l_mst", (480, 854), 8, 3.60),
    ],
)
def test_memory_estimate_is_near_the_measured_peak(model: str, size_hw: tuple, frames: int, measured: float):
    assert estimate_memory(model, size_hw, frames) / 1e9 == pytest.approx(measured, abs=0.35)


def test_long_videos_need_memory_for_one_window():
    assert estimate_memory("tevit_demo", (360, 640), 49) == estimate_memory("tevit_demo", (360, 640), 3000)
    assert estimate_memory("tevit_demo", (360, 640), 49) < estimate_memory("tevit_demo", (360, 640), 48)


def test_size_of_a_checkpoint_file_is_counted(tmp_path: Path):
    (tmp_path / "mine.pth").write_bytes(bytes(5_000_000))
    size = (360, 640)
    assert (
        estimate_memory(str(tmp_path / "mine.pth"), size, 9) - estimate_memory(str(tmp_path / "gone.pth"), size, 9)
        == 5e6 - 16e6
    )


# --- the options of the model lists


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of checkpoints."""
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_published_models_without_weights_have_advice(checkpoints: Path):
    options = model_options([])
    assert [choice.value for choice in options] == ["tevit_demo", "motion", *MODELS]
    assert options[0] == ModelOption("tevit_demo", "tevit_demo (shapes)")
    assert all(choice.label.endswith("(no weights)") for choice in options[2:])
    assert "“tevit models --get tevit_r50”" in options[4].advice and str(checkpoints) in options[4].advice
    assert [choice.get for choice in options[:3]] == ["", "", "Get tevit_msgshift, 648 MB"]
    with pytest.raises(ValueError, match="weights of tevit_r50 are not on this machine"):
        find_model("tevit_r50", [])


def test_an_unfinished_download_can_be_resumed(checkpoints: Path):
    (checkpoints / "tevit_r50.pth.part").write_bytes(bytes(2_500_000))
    assert model_options([])[4].get == "Resume tevit_r50, 2 of 691 MB"


def test_for_a_real_video_a_published_model_is_preferred_to_the_demo_model(checkpoints: Path):
    def preferred(current: str) -> str | None:
        option = preferred_option(model_options([]), current)
        return option and option.value

    assert preferred("tevit_demo") == "tevit_msgshift", "without weights too: the page offers to download them"
    (checkpoints / "tevit_r50.pth").touch()
    assert preferred("tevit_demo") == "tevit_r50"
    (checkpoints / "tevit_msgshift.pth").touch()
    assert preferred("tevit_demo") == "tevit_msgshift"
    assert preferred("tevit_r50") is preferred("motion") is preferred(str(checkpoints / "mine.pth")) is None


def test_pages_share_a_download(monkeypatch: pytest.MonkeyPatch):
    begun, go_on = threading.Event(), threading.Event()

    def download(name: str, progress: Progress) -> Path:
        begun.set()
        while not go_on.is_set():
            progress("downloading", 1, 2)
        return Path(name)

    monkeypatch.setattr("app.tabs.segment.models.weights", download)
    downloads = WeightDownloads()
    first = downloads.start("tevit_r50")
    assert begun.wait(10) and downloads.start("tevit_r50") is first is not downloads.start("tevit_msgshift")
    first.cancel()
    assert "is kept" in first.wait(10).message
    go_on.set()
    again = downloads.start("tevit_r50")
    assert again is not first and again.wait(10).result == Path("tevit_r50")
    downloads.close()


def test_models_that_can_run_are_first(checkpoints: Path, tmp_path: Path):
    checkpoint = tmp_path / "mine.pth"
    for path in (checkpoint, checkpoints / MODELS["tevit_r50"].file_name, checkpoints / "other.safetensors"):
        path.touch()
    for name in ("notes.txt", "half.pth.part"):
        (checkpoints / name).touch()
    options = model_options([checkpoint])
    assert options[:3] == [
        ModelOption(str(checkpoint), "mine.pth"),
        ModelOption("tevit_r50", "tevit_r50 (AP 42.1)"),
        ModelOption(str(checkpoints / "other.safetensors"), "other.safetensors"),
    ]
    assert [choice.value for choice in options[3:5]] == ["tevit_demo", "motion"]
    assert len(options) == 4 + len(MODELS) and all(choice.advice for choice in options[5:])


def test_named_file_in_the_folder_is_listed_once(checkpoints: Path):
    (checkpoints / "mine.pth").touch()
    labels = [choice.label for choice in model_options([checkpoints / "mine.pth"])]
    assert labels.count("mine.pth") == 1


def test_only_listed_models_are_found(checkpoints: Path, tmp_path: Path):
    (tmp_path / "secret.pth").touch()
    with pytest.raises(ValueError, match=r"^secret\.pth is not here any more"):
        find_model(str(tmp_path / "secret.pth"), [])
    with pytest.raises(ValueError, match="Choose a model first"):
        find_model(None, [])
    assert find_model(str(tmp_path / "secret.pth"), [tmp_path / "secret.pth"]).label == "secret.pth"


def test_models_that_download_weights_are_listed_only_where_named_at_the_start(checkpoints: Path):
    assert "videomt" not in [choice.value for choice in model_options([])]
    assert model_options([Path("videomt")])[1:3] == [
        ModelOption("videomt", "other models: videomt"),
        ModelOption("motion", "other models: motion"),
    ]


def test_missing_folder_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path / "nowhere"))
    assert len(model_options([])) == 2 + len(MODELS)


# --- speeds


def test_speeds_survive_a_restart_and_a_broken_file(tmp_path: Path):
    file = tmp_path / "home" / "speeds.json"
    Speeds(file).record("/some/where/mine.pth", 4.0)
    speeds = Speeds(file)
    assert speeds.estimate("/else/where/mine.pth", (360, 640), 100).seconds == 25
    speeds.record("mine.pth", 8.0)
    assert Speeds(file).estimate("mine.pth", (360, 640), 60).seconds == 10
    for broken in ("", "[1]", '{"mine.pth": "fast"}', '{"mine.pth": -1}'):
        file.write_text(broken)
        assert Speeds(file).estimate("mine.pth", (360, 640), 60).seconds is None


MODEL = """
import numpy as np
from tevit import Instance

def predict(frames):
    for frame in frames:
        yield {3: Instance("thing", 0.5, np.ones(frame.shape[:2], bool))}
"""


def test_other_models_of_files_are_offered_only_where_they_were_named(tmp_path: Path):
    file = tmp_path / "my_model.py"
    file.write_text(MODEL)
    option = find_model(str(file), [file])
    assert option.label == "other models: my_model.py"
    assert find_model("motion", []).label == "other models: motion"
    assert str(file) not in [item.value for item in model_options([])]
    with pytest.raises(ValueError, match=r"my_model\.py is not here any more"):
        find_model(str(file), [])


def test_a_changed_model_file_is_loaded_again(tmp_path: Path):
    file = tmp_path / "my_model.py"
    file.write_text(MODEL)
    loads: list[str] = []
    loaded = loader(loads, free=lambda: None)
    for time_written, expected in ((1, 1), (1, 1), (2, 2)):
        os.utime(file, (time_written, time_written))
        loaded.get(f"{file}:predict")
        assert len(loads) == expected
    assert Speeds(tmp_path / "speeds.json").estimate(str(file), (480, 640), 9).gigabytes is None
