"""What a run will take before it begins: seconds by what this server measured, memory by a formula."""

import json
import threading
from dataclasses import dataclass
from pathlib import Path

from tevit.configs import MODELS, TEVIT_DEMO, published
from tevit.io.files import atomic

# Fitted to the peak of a process that ran one window of random pictures in float32 on a CPU, in GB, with 20 tracks:
# tevit_demo, 12, 24, 48 frames: 1.05, 1.17, 1.50; tevit_msgshift, 4, 12, 24: 2.10, 2.55, 3.57; tevit_r50, 8: 2.51;
# tevit_swin_l_mst, 4, 8: 3.11, 3.60; tevit_demo with 24 frames of 1080x1920: 1.20. Of these it is at most 0.3 GB off.
BASE = 0.9e9  # bytes: Python with PyTorch and what a pass needs at least
BYTES_PER_PIXEL = 400  # of a window's frames as the network sees them
WHOLE, WINDOW = 48, 24  # frames at once: all of a video up to 48, else 24, as tevit.inference.predictor does it
_UNKNOWN_SCALE = (360, 640)  # of a checkpoint that nobody has opened yet: what most models have


@dataclass(frozen=True)
class Estimate:
    """seconds: None until this server has run the model once. gigabytes: of the whole process, a rough figure."""

    seconds: float | None
    gigabytes: float


class Speeds:
    """Frames a second by model, as measured here; kept in a file, so that a restart does not forget them."""

    def __init__(self, path: Path):
        self._path = path
        self._lock = threading.Lock()
        self._rates = _read(path)

    def note(self, model: str, rate: float) -> None:
        """A run went at `rate` frames a second; the last runs count most. A disk that is full is no reason to fail."""
        name = Path(model).name
        with self._lock:
            self._rates[name] = (self._rates.get(name, rate) + rate) / 2
            try:
                with atomic(self._path) as part:
                    part.write_text(json.dumps(self._rates))
            except OSError:
                pass

    def estimate(self, model: str, size_hw: tuple[int, int], frames: int) -> Estimate:
        """For frames of a size, as far as that is known; model: a published name or a checkpoint's path."""
        rate = self._rates.get(Path(model).name)
        return Estimate(frames / rate if rate else None, memory(model, size_hw, frames) / 1e9)


def _read(path: Path) -> dict[str, float]:
    try:
        rates = json.loads(path.read_text())
        return {str(name): float(rate) for name, rate in rates.items() if float(rate) > 0}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # none yet, or not ours: it is measured again


def memory(model: str, size_hw: tuple[int, int], frames: int) -> float:
    """Bytes that the process will take, about, for a video of `frames` frames of that size.

    Raises: ValueError for frames too narrow for the model.
    """
    from tevit.video.transforms import geometry

    height, width = geometry(size_hw, _scale(model)).padded_hw
    window = frames if frames <= WHOLE else WINDOW
    return BASE + _weights(model) + BYTES_PER_PIXEL * window * height * width


def _scale(model: str) -> tuple[int, int]:
    known = model == TEVIT_DEMO.name or model in MODELS
    return published(model).scale if known else _UNKNOWN_SCALE


def _weights(model: str) -> float:
    """Bytes of a model's weights."""
    if model in MODELS:
        return MODELS[model].params_m[1] * 4e6
    return Path(model).stat().st_size if Path(model).is_file() else 16e6
