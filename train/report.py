"""What a run reports: metrics.jsonl, TensorBoard if installed, trackio or wandb if requested, a progress bar, AP."""

import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tevit.download import optional_package
from tevit.evaluation.api import evaluate
from tevit.inference.predictor import Predictor
from tevit.io.files import atomic
from tevit.io.ytvis import Dataset
from tevit.model.tevit import TeViT
from tevit.progress import Cancelled
from tevit.results import VideoResult
from tevit.video.reader import open_images

from .distributed import World

METRICS = "metrics.jsonl"
FIGURES = ("AP", "AP50", "AP75", "AR1", "AR10")
TRACKERS = ("trackio", "wandb")
TRACKED = "tracked.json"


class Tracker(AbstractContextManager):
    """The metrics of a run in an experiment tracker, one of TRACKERS: both have the same functions.

    The run's name there, and the last iterations that were logged, are kept in its folder: a resumed run goes on with
    it, and logs nothing twice.
    """

    def __init__(self, name: str, run: Path, config: Mapping[str, Any]):
        """name: of the package. run: folder. config: the recipe's values.

        Raises: ValueError where the package is missing or begins no run.
        """
        package = optional_package(name, f"--log-to {name}", name)
        self._name, self._path = name, run / TRACKED
        self._all = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._own = self._all.setdefault(name, {"run": f"{run.resolve().name}-{secrets.token_hex(4)}", "logged": {}})
        identity = {"id": self._own["run"]} if name == "wandb" else {}  # trackio resumes a run by its name
        try:
            self._run = package.init(
                project="tevit", name=self._own["run"], resume="allow", config=dict(config), **identity
            )
        except Exception as error:  # each package has its own, without a common base
            raise ValueError(f"--log-to {name}: it began no run ({str(error) or type(error).__name__})") from error
        self._save()

    def write(self, kind: str, iteration: int, values: Mapping[str, Any]) -> None:
        """As `Log.write`; values that are no numbers are left out."""
        if iteration <= self._own["logged"].get(kind, 0):
            return
        numbers = {f"{kind}/{name}": value for name, value in values.items() if isinstance(value, int | float)}
        self._run.log(numbers, step=iteration)
        self._own["logged"][kind] = iteration
        self._save()

    def _save(self) -> None:
        with atomic(self._path) as temporary:
            temporary.write_text(json.dumps(self._all))

    def __exit__(self, *exc: object) -> None:
        self._run.finish()


class Log(AbstractContextManager):
    """Writes a run's metrics; a resumed run continues at its checkpoint, not at the end of the file."""

    def __init__(self, run: Path, start: int, total: int, is_main: bool = True, tracker: Tracker | None = None):
        """run: folder. start: iterations done; lines of later iterations are dropped, they will be written again.

        is_main: False for all processes but one, which then write nothing. tracker: gets the same metrics, and is
        closed with the log.
        """
        self._tracker = tracker
        run.mkdir(parents=True, exist_ok=True)
        if is_main:
            lines = read_lines(run / METRICS)
            with atomic(run / METRICS) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in lines if line["iteration"] <= start))
        self._file = open(run / METRICS if is_main else os.devnull, "a")
        self._board = None
        with suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1) if is_main else None
        disable = None if is_main else True  # None: shown where standard error is a terminal
        self._bar = tqdm(desc="training", total=total, initial=start, unit="step", dynamic_ncols=True, disable=disable)
        self._is_main = is_main

    def write(self, kind: str, iteration: int, values: Mapping[str, Any]) -> None:
        """Write one line: kind ("train" or "eval"), iteration (steps done), and the metrics."""
        self._file.write(json.dumps({"kind": kind, "iteration": iteration, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            if self._board is not None and isinstance(value, int | float):
                self._board.add_scalar(f"{kind}/{name}", value, iteration)
        if self._tracker is not None:
            self._tracker.write(kind, iteration, values)

    def advance(self, loss: float) -> None:
        """Advance the progress bar by one step."""
        self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        self._bar.update()

    def message(self, text: str) -> None:
        """Print a line above the progress bar."""
        if self._is_main:
            tqdm.write(text)

    def __exit__(self, *exc: object) -> None:
        self._bar.close()
        self._file.close()
        if self._board is not None:
            self._board.close()
        if self._tracker is not None:
            self._tracker.__exit__(*exc)


def evaluated(run: Path, iteration: int) -> bool:
    """Whether metrics.jsonl holds an evaluation of an iteration."""
    return any(line["kind"] == "eval" and line["iteration"] == iteration for line in read_lines(run / METRICS))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; a last one that a crash cut off is left out."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else ():
        with suppress(json.JSONDecodeError):
            lines.append(json.loads(text))
    return lines


def evaluate_model(
    model: TeViT, dataset: Dataset, frames_root: Path, world: World, stopping: Callable[[], bool]
) -> dict[str, float]:
    """Metrics in per cent of a model on a labelled split, its videos shared by all processes.

    stopping: called between the layers; once it is true on any process, all of them stop.
    Returns the same on every process.
    Raises: Cancelled where it was stopped.
    """

    def progress(stage: str, done: int, total: int | None) -> None:
        if stopping():
            raise Cancelled

    predictor = Predictor(model, world.device)
    results: list[VideoResult] | None = []
    try:
        for video_id in list(dataset.videos)[world.rank :: world.size]:
            video = open_images(dataset.frame_files(video_id, frames_root), dataset.videos[video_id].name)
            results.append(replace(predictor(video, progress=progress), video_id=video_id))
    except Cancelled:
        results = None
    shares = world.all_gather(results)
    if any(share is None for share in shares):
        raise Cancelled
    evaluation = evaluate(dataset.path, [result for share in shares for result in share])
    return {name: 100 * evaluation.figures[name] for name in FIGURES}
