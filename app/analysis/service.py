"""Evaluations for the pages: computed once in the background, cached on disk, shared by all pages.

Cache files are named after the content of the inputs and the format, so that no entry ever becomes stale.
"""

import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from cachetools import Cache, LRUCache

from app.analysis.comparison import (
    FIGURE_NAMES,
    SAMPLES,
    Comparison,
    EvaluationSummary,
    ModelAnalysis,
    StoredEvaluation,
)
from app.projects.project import Model, Project, map_categories
from tevit.download import home
from tevit.evaluation.api import accumulate
from tevit.evaluation.bootstrap import draw_weights, resample
from tevit.evaluation.cache import pack, unpack
from tevit.evaluation.error_table import Columns, columns, geometry
from tevit.evaluation.errors import Limits, find_costs
from tevit.evaluation.inputs import read_inputs
from tevit.evaluation.oracle import find_gaps
from tevit.evaluation.overlaps import Overlaps, compute_overlaps
from tevit.evaluation.parallel import usable_cores
from tevit.io.files import atomic
from tevit.io.ytvis import read_results
from tevit.progress import Cancelled

log = logging.getLogger(__name__)

FORMAT = 2  # of the stored file and of what its numbers mean: files of another format are computed again
LIMIT = 2_000_000_000  # bytes of kept evaluations
MAX_OPEN = 6  # evaluations in memory: about 10 MB each for 300 videos
MAX_COMPARISONS = 8  # sets of limits

ProgressCallback = Callable[[str, float], None]
"""Called as report(stage, share of 1); may raise to stop."""

# --- computing and storing one model's evaluation

_STEPS = 6

StageCallback = Callable[[str, int, int], None]
"""Called as report(stage, done, total)."""


class EvaluationRequest(msgspec.Struct, frozen=True):
    """truth, results: paths. categories: a mapping of classes. target: the file to write."""

    truth: str
    results: str
    categories: dict[int, int] | None
    target: str
    processes: int = 1


def evaluate_into(request: EvaluationRequest, report: StageCallback) -> None:
    """Evaluate a model and write the result. Raises: OSError, ValueError; and what `report` raises."""
    report("reading", 0, _STEPS)
    results = read_results(request.results)
    if request.categories is not None:
        results = map_categories(results, request.categories)
    overlaps = compute_overlaps(
        read_inputs(request.truth, results),
        progress=lambda stage, done, total: report(stage, done, total or 1),
        all_pairs=True,
        processes=request.processes,
    )
    arrays = _arrays(overlaps, report)
    with atomic(Path(request.target)) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _arrays(overlaps: Overlaps, report: StageCallback) -> dict[str, np.ndarray]:
    report("figures", 1, _STEPS)
    evaluation = accumulate(overlaps)
    report("kinds of errors", 2, _STEPS)
    limits = Limits()
    costs = find_costs(overlaps, limits)
    table = columns(overlaps, costs, geometry(overlaps, limits.cover))
    report("tracking, classes, masks", 3, _STEPS)
    gaps = find_gaps(overlaps)
    report("by length and by video", 4, _STEPS)
    summary = EvaluationSummary(
        format=FORMAT,
        figures=dict(evaluation.figures),
        per_class={id: dict(figures) for id, figures in evaluation.per_class.items()},
        ap=costs.ap,
        dap=dict(costs.dap),
        mended=costs.mended,
        gap=gaps.whole,
        gaps_by_length=dict(gaps.by_length),
        gaps_by_instances=dict(gaps.by_instances),
        by_size=dict(evaluation.by_size()),
        by_length=dict(evaluation.by_length()),
        by_video=dict(evaluation.by_video()),
    )
    report("confidence intervals", 5, _STEPS)
    weights = draw_weights(len(overlaps.inputs.videos), SAMPLES)
    samples = resample(overlaps, evaluation.matches, weights, names=FIGURE_NAMES)
    return {
        "summary": np.frombuffer(msgspec.json.encode(summary), np.uint8),
        "precision": evaluation.curves.precision[..., 2],
        **{f"samples.{name}": values for name, values in samples.items()},
        **{f"columns.{field.name}": getattr(table, field.name) for field in fields(Columns)},
        **{f"overlaps.{name}": array for name, array in pack(overlaps).items()},
    }


def load(path: str | os.PathLike) -> StoredEvaluation:
    """What `evaluate_into` wrote. Raises: OSError; ValueError where the file is damaged or of another format."""

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: Mapping[str, np.ndarray] = dict(file)
        summary = msgspec.json.decode(arrays["summary"].tobytes(), type=EvaluationSummary)
        if summary.format != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {summary.format}")
        columns = Columns(**part("columns."))
        return StoredEvaluation(summary, unpack(part("overlaps.")), columns, arrays["precision"], part("samples."))
    except OSError:
        raise
    except Exception as error:  # a file cut short fails in many ways
        raise ValueError(f"{path}: not a stored evaluation: {error}") from error


# --- in the background

EvaluationState = Literal["running", "done", "cancelled", "failed", "nothing"]


@dataclass(frozen=True)
class EvaluationProgress:
    """How far an opening is. state: "nothing" where there is nothing to measure by. share: done, of 1. words: what is
    going on, what failed, or what is missing. comparison: where it is done."""

    state: EvaluationState
    share: float
    words: str
    comparison: Comparison | None = None

    @property
    def over(self) -> bool:
        """Nothing more will come."""
        return self.state != "running"


class EvaluationTask:
    """One project's evaluation under way, or done. May be used from any thread; several pages may watch it."""

    def __init__(self, service: "EvaluationService", project: Project):
        self._desk, self._project = service, project
        self._lock = threading.Lock()
        self._shares: dict[str, tuple[float, str]] = {}
        self._now = EvaluationProgress("running", 0.0, "opening")
        self._watchers = 0
        self._stop = threading.Event()
        self._over = threading.Event()

    @property
    def now(self) -> EvaluationProgress:
        """How far it is."""
        return self._now

    def wait(self, seconds: float | None = None) -> EvaluationProgress:
        """Until it is over, or so long."""
        self._over.wait(seconds)
        return self._now

    def join(self) -> None:
        """One more page watches."""
        with self._lock:
            self._watchers += 1

    def leave(self) -> None:
        """A page no longer watches; without any watcher the task is cancelled."""
        with self._lock:
            self._watchers -= 1
            last = self._watchers <= 0
        if last:
            self.cancel()

    def cancel(self) -> None:
        """Stop the work, for everybody; what is done stays."""
        if not self._over.is_set():
            self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether it was cancelled, or will be in a moment."""
        return self._stop.is_set()

    def run(self) -> None:
        """Do the work, in the caller's thread."""
        try:
            self._now = self._work()
        except Cancelled:
            self._now = EvaluationProgress("cancelled", self._now.share, "cancelled")
        except (OSError, ValueError, MemoryError) as error:
            self._now = EvaluationProgress("failed", self._now.share, str(error) or "not enough memory")
        except Exception:
            log.exception("evaluating %s failed", self._project.name)
            self._now = EvaluationProgress(
                "failed", self._now.share, "The evaluation failed; the server's log says why."
            )
        finally:
            self._over.set()

    def _work(self) -> EvaluationProgress:
        project = self._project
        if not project.has_truth or not project.models:
            return EvaluationProgress("nothing", 1.0, lacks(project))
        processes = max(1, usable_cores() // len(project.models))
        with ThreadPoolExecutor(min(usable_cores(), len(project.models))) as pool:
            jobs = [pool.submit(self._model, model, processes) for model in project.models]
            import_module("scipy.optimize")  # half a second, which else the first move of the cut-off takes
            try:
                kept = [job.result() for job in jobs]
            except BaseException:
                self._stop.set()  # one that failed ends the others
                raise
        models = [ModelAnalysis.of(model.name, found) for model, found in zip(project.models, kept, strict=True)]
        return EvaluationProgress("done", 1.0, "", Comparison(project, tuple(models)))

    def _model(self, model: Model, processes: int) -> StoredEvaluation:
        def report(stage: str, share: float) -> None:
            if self._stop.is_set():
                raise Cancelled
            self._tell(model.name, stage, share)

        found = self._desk.kept(self._project, model, processes, report)
        self._tell(model.name, "done", 1.0)
        return found

    def _tell(self, name: str, stage: str, share: float) -> None:
        with self._lock:
            self._shares[name] = share, f"{name}: {stage}"
            shares = [found for found, _ in self._shares.values()]
            words = min(self._shares.values())[1]
            if not self._over.is_set():
                self._now = EvaluationProgress("running", sum(shares) / len(self._project.models), words)


def lacks(project: Project) -> str:
    """What a project without errors to show is missing."""
    if not project.models:
        return "Errors need predictions: name a model's results."
    return "Errors need ground truth: name a data set with annotations."


class EvaluationService:
    """All evaluations of this server. folder: where they are kept; by default below $TEVIT_HOME. inside: work in this
    process instead of another one, for tests."""

    def __init__(self, folder: Path | None = None, limit: int = LIMIT, inside: bool = False):
        self.folder = folder or home() / "cache" / "findings"
        self._limit, self._inside = limit, inside
        self._lock = threading.Lock()
        self._openings: dict[tuple, EvaluationTask] = {}
        self._open: LRUCache[str, StoredEvaluation] = LRUCache(MAX_OPEN)
        self._comparisons: LRUCache[tuple, Comparison] = LRUCache(MAX_COMPARISONS)
        self._working: dict[str, threading.Lock] = {}

    def open(self, project: Project) -> EvaluationTask:
        """Begin, or join what goes on or is done already."""
        key = (str(project.folder), *(self.path(project, model).name for model in project.models))
        with self._lock:
            opening = self._openings.get(key)
            fresh = opening is None or opening.stopping or opening.now.state == "failed"
            if fresh:
                opening = self._openings[key] = EvaluationTask(self, project)
                self._forget()
        assert opening is not None
        opening.join()
        if fresh:
            threading.Thread(target=opening.run, name="evaluation", daemon=True).start()
        return opening

    def with_limits(self, comparison: Comparison, limits: Limits, cutoff: float) -> Comparison:
        """At other limits, the same object for everybody who asks for the same. Raises: ValueError."""
        at = limits, cutoff
        key = (str(comparison.project.folder), *(id(m.stored) for m in comparison.models), *at)
        with self._lock:
            if key in self._comparisons:
                return self._comparisons[key]
            # What another choice of models has worked out already. Cache's own lookup, since LRUCache's would count
            # every comparison that is looked through as used.
            comparisons = [Cache.__getitem__(self._comparisons, other) for other in self._comparisons]
            known = {
                id(m.stored): m
                for found in comparisons
                for m in found.models
                if (m.limits, m.cutoff) == (limits, cutoff)
            }
        found = comparison.with_limits(limits, cutoff, known)
        with self._lock:
            self._comparisons[key] = found
        return found

    def close(self) -> None:
        """Stop everything."""
        with self._lock:
            openings = list(self._openings.values())
        for opening in openings:
            opening.cancel()
        for opening in openings:
            opening.wait(5)

    def _forget(self) -> None:
        over = [key for key, opening in self._openings.items() if opening.now.over]
        for key in over[: max(0, len(over) - MAX_OPEN)]:
            del self._openings[key]

    def path(self, project: Project, model: Model) -> Path:
        """Where a model's evaluation is kept."""
        truth = project.truth.sha256 if project.truth else ""
        classes = sorted((model.categories or {}).items()) if model.categories is not None else None
        text = json.dumps([FORMAT, truth, model.file.sha256, classes])
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"

    def kept(self, project: Project, model: Model, processes: int, report: ProgressCallback) -> StoredEvaluation:
        """A model's evaluation, from memory, from disk, or made. report(stage, share): may raise to stop.

        Raises: OSError, ValueError; and what `report` raises.
        """
        assert project.truth is not None
        path = self.path(project, model)
        with self._lock:
            turn = self._working.setdefault(path.name, threading.Lock())
        while not turn.acquire(timeout=0.1):
            report("waiting", 0.0)
        try:
            found = self._recall(path)
            if found is None:
                order = EvaluationRequest(project.truth.path, model.file.path, model.categories, str(path), processes)
                (evaluate_here if self._inside else evaluate_in_subprocess)(order, report)
                found = load(path)
                self._make_room(path)
            with self._lock:
                self._open[path.name] = found
            return found
        finally:
            turn.release()

    def _recall(self, path: Path) -> StoredEvaluation | None:
        with self._lock:
            if path.name in self._open:
                return self._open[path.name]
        try:
            found = load(path)
            path.touch()
            return found
        except OSError:
            return None
        except ValueError as error:
            log.warning("%s", error)
            return None

    def _make_room(self, newest: Path) -> None:
        """The least recently used go until the limit is kept."""
        files = sorted(_kept(self.folder), key=lambda file: file[1].st_mtime)
        size = sum(stat.st_size for _, stat in files)
        for file, stat in files:
            if size <= self._limit or file == newest:
                return
            size -= stat.st_size
            file.unlink(missing_ok=True)


def _kept(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Whole files: names of those being written begin with a dot. Others may take one away meanwhile."""
    for file in folder.glob("[!.]*.npz"):
        with suppress(FileNotFoundError):
            yield file, file.stat()


# --- the process of an evaluation

_ROOT = Path(__file__).resolve().parents[2]

_WEIGHTS = {"reading": (0.0, 0.05), "measuring masks": (0.05, 0.5)}


def _share(stage: str, done: int, total: int) -> float:
    """Of the whole work: masks take half of it."""
    start, width = _WEIGHTS.get(stage, (0.5, 0.5))
    return start + width * done / max(total, 1)


def evaluate_here(order: EvaluationRequest, report: ProgressCallback) -> None:
    evaluate_into(order, lambda stage, done, total: report(stage, _share(stage, done, total)))


def evaluate_in_subprocess(order: EvaluationRequest, report: ProgressCallback) -> None:
    """Raises: ValueError with the process's own sentence."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", f"{__package__}.service"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(order))
            process.stdin.close()
            error = _listen(process, report)
        except BaseException:
            process.kill()
            raise
    if error or process.returncode:
        raise ValueError(error or f"the evaluation ended with code {process.returncode}")


def _listen(process: "subprocess.Popen[bytes]", report: ProgressCallback) -> str:
    """Forward progress events; returns the error message or "". `report` is called often, so that it can stop."""
    assert process.stdout is not None
    last = threading.Event()
    lines: list[bytes] = []
    stream = process.stdout

    def read() -> None:
        for line in stream:
            lines.append(line)
        last.set()

    threading.Thread(target=read, daemon=True).start()
    seen, stage, share = 0, "starting", 0.0
    while True:
        over = last.wait(0.05)
        for line in lines[seen:]:
            seen += 1
            said = json.loads(line)
            if "error" in said:
                return str(said["error"])
            stage, share = said["stage"], _share(said["stage"], said["done"], said["total"])
        report(stage, share)
        if over and seen == len(lines):
            return ""


def main() -> int:
    """Evaluate the request that standard input holds as JSON; progress goes out as a JSON object per line."""

    def emit(event: dict) -> None:
        print(json.dumps(event), flush=True)

    request = msgspec.json.decode(sys.stdin.buffer.read(), type=EvaluationRequest)
    try:
        evaluate_into(request, lambda stage, done, total: emit({"stage": stage, "done": done, "total": total}))
    except (OSError, ValueError, MemoryError) as error:
        emit({"error": str(error) or "not enough memory"})
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
