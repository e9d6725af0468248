import os
from pathlib import Path

import pytest

from app.tabs.segment import models
from app.tabs.segment.estimates import memory
from app.tabs.segment.models import SPARE, Models, free_memory
from tests.app.fakes import FakePredictor


def loader(loads: list[str], **options):
    def load(model: str) -> FakePredictor:
        loads.append(model)
        return FakePredictor()

    return Models(load, **options)


def test_a_model_loads_once_until_its_file_changes(tmp_path: Path):
    file = tmp_path / "model.pth"
    file.touch()
    loads: list[str] = []
    loaded = loader(loads, free=lambda: None)
    for time_written, expected in ((1, 1), (1, 1), (2, 2)):
        os.utime(file, (time_written, time_written))
        loaded.get(str(file))
        assert len(loads) == expected


def test_the_least_recently_used_goes_where_there_are_too_many():
    loads: list[str] = []
    loaded = loader(loads, most=2, free=lambda: None)
    for model in "abacb":
        loaded.get(model)
    assert loads == ["a", "b", "c", "b"]


def test_all_others_go_while_memory_is_short():
    loads: list[str] = []
    free = [SPARE]
    loaded = loader(loads, most=9, free=lambda: free[0])
    for model in "abc":
        loaded.get(model)
    free[0] = SPARE - 1
    loaded.get("c")
    loaded.get("d")
    free[0] = SPARE
    for model in "dabc":
        loaded.get(model)
    assert loads == ["a", "b", "c", "d", "a", "b", "c"]


def test_a_model_that_does_not_load_leaves_the_others():
    loads: list[str] = []
    loaded = loader(loads, free=lambda: None)
    loaded.get("a")

    def fail(model: str) -> FakePredictor:
        raise ValueError(f"{model}: not a checkpoint")

    loaded._load = fail
    with pytest.raises(ValueError, match="b: not a checkpoint"):
        loaded.get("b")
    assert loaded.get("a") and loads == ["a"]


def test_free_memory_is_what_the_machine_says(monkeypatch: pytest.MonkeyPatch):
    free = free_memory()
    assert free is None or 1e6 < free < 1e14
    monkeypatch.setattr(models, "machine_memory", lambda: 8)
    monkeypatch.setattr(models, "_gpu", lambda: 5)
    assert free_memory() == 5
    monkeypatch.setattr(models, "machine_memory", lambda: None)
    monkeypatch.setattr(models, "_gpu", lambda: None)
    assert free_memory() is None


@pytest.mark.parametrize(
    ("model", "size_hw", "frames", "measured"),
    [
        ("tevit_demo", (128, 214), 12, 1.05),
        ("tevit_demo", (128, 214), 24, 1.17),
        ("tevit_demo", (128, 214), 48, 1.50),
        ("tevit_demo", (1080, 1920), 24, 1.20),
        ("tevit_msgshift", (360, 640), 4, 2.10),
        ("tevit_msgshift", (360, 640), 12, 2.55),
        ("tevit_msgshift", (360, 640), 24, 3.57),
        ("tevit_r50", (360, 640), 8, 2.51),
        ("tevit_swin_l_mst", (480, 854), 4, 3.11),
        ("tevit_swin_l_mst", (480, 854), 8, 3.60),
    ],
)
def test_the_estimate_of_memory_is_near_what_was_measured(model: str, size_hw: tuple, frames: int, measured: float):
    assert memory(model, size_hw, frames) / 1e9 == pytest.approx(measured, abs=0.35)


def test_long_videos_take_no_more_than_a_window():
    assert memory("tevit_demo", (360, 640), 49) == memory("tevit_demo", (360, 640), 3000)
    assert memory("tevit_demo", (360, 640), 49) < memory("tevit_demo", (360, 640), 48)


def test_a_checkpoint_file_counts_with_its_size(tmp_path: Path):
    (tmp_path / "mine.pth").write_bytes(bytes(5_000_000))
    size = (360, 640)
    assert memory(str(tmp_path / "mine.pth"), size, 9) - memory(str(tmp_path / "gone.pth"), size, 9) == 5e6 - 16e6
