"""The models that are loaded: on first use, and they stay until there are too many or memory is short."""

import gc
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from tevit.io.json import free_memory as machine_memory
from tevit.progress import Progress, ResumeState
from tevit.results import VideoResult

MOST = 3
SPARE = 3_000_000_000  # bytes that must be free before another model comes: a run with windows takes about as much


class Predictor(Protocol):
    """What is asked of a model here; tevit.inference.predictor.Predictor has it."""

    def stream(
        self,
        source: Any,
        *,
        window: int | None,
        max_tracks: int,
        score_threshold: float,
        progress: Progress | None,
        resume: ResumeState | None = None,
    ) -> Iterator[VideoResult]: ...


Load = Callable[[str], Predictor]


class Models:
    """Loaded models, the least recently used out first. For one thread.

    most: kept at once. free: bytes that can still be had, None where that is unknown.
    """

    def __init__(self, load: Load, most: int = MOST, free: Callable[[], int | None] | None = None):
        self._load = load
        self._most = most
        self._free = free or free_memory
        self._loaded: OrderedDict[tuple[str, int], Predictor] = OrderedDict()

    def get(self, model: str) -> Predictor:
        """Loaded on first use, and again when its file has changed.

        Raises: what loading raises; the other models are not harmed.
        """
        path = Path(model)
        key = (model, path.stat().st_mtime_ns if path.is_file() else 0)
        if key not in self._loaded:
            self._make_room(model)
            self._loaded[key] = self._load(model)
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def keep_only(self, model: str) -> None:
        """Memory has run out while this one worked: let all others go."""
        for key in [key for key in self._loaded if key[0] != model]:
            del self._loaded[key]
        _give_back()

    def _make_room(self, model: str) -> None:
        for key in [key for key in self._loaded if key[0] == model]:  # of a file that has changed
            del self._loaded[key]
        while self._loaded and (len(self._loaded) >= self._most or self._short()):
            self._loaded.popitem(last=False)
            _give_back()

    def _short(self) -> bool:
        free = self._free()
        return free is not None and free < SPARE


def free_memory() -> int | None:
    """Bytes that can be had: of the machine's memory and, where a GPU works, of the GPU's, whichever is less."""
    known = [free for free in (machine_memory(), _gpu()) if free is not None]
    return min(known, default=None)


def _gpu() -> int | None:
    torch = sys.modules.get("torch")  # never the reason that it is imported
    if torch is None or not torch.cuda.is_initialized():
        return None
    # What PyTorch holds without using it is as good as free.
    held = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return torch.cuda.mem_get_info()[0] + held


def _give_back() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
