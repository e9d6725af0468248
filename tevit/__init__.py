"""Video instance segmentation with TeViT: the whole public API.

load(name_or_file) -> Predictor: any video to tracks. evaluate(ground_truth, results) -> the official metric.
MODELS: the published models. Track, VideoResult: what predictions and ground truth are.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tevit.configs import MODELS
    from tevit.evaluation import evaluate
    from tevit.inference.predictor import load
    from tevit.results import Track, VideoResult

__all__ = ["MODELS", "Track", "VideoResult", "evaluate", "load"]

_HOMES = {
    "MODELS": "tevit.configs",
    "Track": "tevit.results",
    "VideoResult": "tevit.results",
    "evaluate": "tevit.evaluation",
    "load": "tevit.inference.predictor",
}


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to import, so nothing is imported before it is asked for.
    if name not in _HOMES:
        raise AttributeError(f"module 'tevit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
