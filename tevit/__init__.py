"""Video instance segmentation with TeViT: the public API.

load(name_or_file) gives a Predictor; predictor(video, PredictOptions(...)) a VideoResult of Tracks.
evaluate(ground_truth, results) gives the official YouTube-VIS metric, find_errors the type and cost of each error.
open_dataset and read_results open annotations and predictions in YouTube-VIS JSON; write_results and write_overlay
write them. MODELS: the published models by name. Instance: what a model of your own returns.
open_frames: arrays or PIL images as a video of a frame rate; from_supervision: the tracks of supervision.Detections.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tevit.configs import MODELS, PredictOptions
    from tevit.evaluation.api import evaluate
    from tevit.evaluation.error_table import find_errors
    from tevit.inference.external import Instance, from_supervision
    from tevit.inference.predictor import Predictor, load
    from tevit.io.ytvis import open_dataset, read_results, write_results
    from tevit.results import Track, VideoResult
    from tevit.video.overlay import write_overlay
    from tevit.video.reader import open_frames

__all__ = [
    "MODELS",
    "Instance",
    "PredictOptions",
    "Predictor",
    "Track",
    "VideoResult",
    "evaluate",
    "find_errors",
    "from_supervision",
    "load",
    "open_dataset",
    "open_frames",
    "read_results",
    "write_overlay",
    "write_results",
]

_MODULES = {
    "MODELS": "tevit.configs",
    "Instance": "tevit.inference.external",
    "PredictOptions": "tevit.configs",
    "Predictor": "tevit.inference.predictor",
    "Track": "tevit.results",
    "VideoResult": "tevit.results",
    "evaluate": "tevit.evaluation.api",
    "find_errors": "tevit.evaluation.error_table",
    "from_supervision": "tevit.inference.external",
    "load": "tevit.inference.predictor",
    "open_dataset": "tevit.io.ytvis",
    "open_frames": "tevit.video.reader",
    "read_results": "tevit.io.ytvis",
    "write_overlay": "tevit.video.overlay",
    "write_results": "tevit.io.ytvis",
}


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to import, so a module is imported when one of its names is used.
    if name not in _MODULES:
        raise AttributeError(f"module 'tevit' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
