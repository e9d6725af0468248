"""How good a model is while it trains: our own metric on a labelled split, its videos shared by all processes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tevit.evaluation import evaluate
from tevit.inference.predictor import Predictor
from tevit.io.ytvis import Dataset
from tevit.model.tevit import TeViT
from tevit.progress import Cancelled
from tevit.results import VideoResult
from tevit.video.reader import open_images
from train.distributed import World

FIGURES = ("AP", "AP50", "AP75", "AR1", "AR10")


def evaluate_model(
    model: TeViT, dataset: Dataset, frames_root: Path, world: World, stopping: Callable[[], bool]
) -> dict[str, float]:
    """Figures in per cent of a model on a labelled split; the same answer on every process.

    stopping: asked between the layers; once it is true on any process, all give up.
    Raises: Cancelled where it was stopped.
    """
    results: list[VideoResult] | None = None
    try:
        results = _predict(model, dataset, frames_root, world, stopping)
    except Cancelled:
        pass
    shares = world.gather(results)
    if any(share is None for share in shares):
        raise Cancelled
    found = evaluate(dataset.path, [result for share in shares for result in share])
    return {name: 100 * found.figures[name] for name in FIGURES}


def _predict(
    model: TeViT, dataset: Dataset, frames_root: Path, world: World, stopping: Callable[[], bool]
) -> list[VideoResult]:
    def progress(stage: str, done: int, total: int | None) -> None:
        if stopping():
            raise Cancelled

    predictor = Predictor(model, world.device)
    results = []
    for video_id in list(dataset.videos)[world.rank :: world.size]:
        video = open_images(dataset.frame_files(video_id, frames_root), dataset.videos[video_id].name)
        results.append(replace(predictor(video, progress=progress), video_id=video_id))
    return results
