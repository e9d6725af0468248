"""A clip, and model workers whose models need no weights."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.tabs.segment.models import Load, Speeds
from app.tabs.segment.run import ModelWorker
from tests.app.fakes import make_video


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 frames of 160 x 96, 1.8 s."""
    return make_video(tmp_path_factory.mktemp("clips") / "clip.mp4")


@pytest.fixture
def open_worker(tmp_path: Path) -> Iterator[Callable[..., ModelWorker]]:
    """Makes model workers from a loader and options of `ModelWorker`; all are closed at the end."""
    workers: list[ModelWorker] = []

    def make(load: Load, **options: Any) -> ModelWorker:
        folder = tmp_path / f"runs{len(workers)}"
        workers.append(ModelWorker(folder, load, Speeds(tmp_path / "speeds.json"), **options))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()
