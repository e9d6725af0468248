"""Evaluations for the pages, computed once in the background, cached on disk; thumbnails of errors, cached in memory.

Cache files are named after the content of the inputs and the format, so that no entry ever becomes stale.
"""

import hashlib
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast, get_args

import msgspec
import numpy as np
from cachetools import Cache, LRUCache

from tevit.cli.evaluate import as_object
from tevit.download import home
from tevit.evaluation.api import accumulate, draw_weights, evaluate, resample
from tevit.evaluation.error_table import STORED_COLUMNS, build_table, table_of, track_geometry
from tevit.evaluation.errors import Limits, find_costs, find_gaps
from tevit.evaluation.identity import measure_identity
from tevit.evaluation.inputs import named_warnings, read_inputs
from tevit.evaluation.overlaps import Overlaps, compute_overlaps, pack, unpack
from tevit.evaluation.report import MAX_FRAMES, Thumbnail, choose_frames, draw_thumbnail
from tevit.io.categories import MapClasses, map_categories, with_known_classes
from tevit.io.files import atomic
from tevit.io.ytvis import NO_ANNOTATIONS, open_dataset, read_results
from tevit.progress import Cancelled, Progress, usable_cores
from tevit.results import RLE, Track, VideoResult

from ..isolation import isolated
from ..player.proxy import dataset_frames
from ..projects.project import Model, Project
from ..tasks import Runner, Task
from .comparison import (
    FIGURE_NAMES,
    IDENTITY_NAMES,
    SAMPLES,
    Comparison,
    EvaluationSummary,
    ModelAnalysis,
    StoredEvaluation,
    difference,
    row_curve,
    tracks_above,
)

log = logging.getLogger(__name__)

FORMAT = 6  # of the stored file and of what its numbers mean: files of another format are computed again
LIMIT = 2_000_000_000  # bytes of cache files
LEFT_SECONDS = 24 * 3600  # age from which an unfinished file is no longer being written
MAX_OPEN = 6  # evaluations in memory: about 10 MB each for 300 videos
MAX_COMPARISONS = 8  # sets of limits

ProgressCallback = Callable[[str, float], None]
"""Called as report(stage, share of 1); may raise to stop."""

# --- computing and storing one model's evaluation

_STEPS = 7

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
    arrays = _arrays(overlaps, request.processes, report)
    with atomic(Path(request.target)) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _arrays(overlaps: Overlaps, processes: int, report: StageCallback) -> dict[str, np.ndarray]:
    report("figures", 1, _STEPS)
    evaluation = accumulate(overlaps)
    report("kinds of errors", 2, _STEPS)
    limits = Limits()
    costs = find_costs(overlaps, limits)
    table = build_table(overlaps, costs, track_geometry(overlaps, limits.cover))
    report("tracking, classes, masks", 3, _STEPS)
    gaps = find_gaps(overlaps)
    report("identities", 4, _STEPS)
    identity = measure_identity(overlaps, processes)
    report("by length and by video", 5, _STEPS)
    summary = EvaluationSummary(
        format=FORMAT,
        figures=dict(evaluation.figures),
        per_class={id: dict(figures) for id, figures in evaluation.per_class.items()},
        identity={name: identity.figures[name] for name in IDENTITY_NAMES},
        hota_by_score=(identity.thresholds.tolist(), identity.curve["HOTA"].tolist()),
        ap=costs.ap,
        dap=dict(costs.dap),
        oracle_ap=costs.oracle_ap,
        gap=gaps.whole,
        gaps_by_length=dict(gaps.by_length),
        gaps_by_instances=dict(gaps.by_instances),
        by_size=dict(evaluation.by_size()),
        by_length=dict(evaluation.by_length()),
        by_video=dict(evaluation.by_video()),
    )
    report("confidence intervals", 6, _STEPS)
    weights = draw_weights(len(overlaps.inputs.videos), SAMPLES)
    samples = resample(overlaps, evaluation.matches, weights, names=FIGURE_NAMES)
    return {
        "summary": np.frombuffer(msgspec.json.encode(summary), np.uint8),
        "precision": evaluation.curves.precision[..., 2],
        **{f"samples.{name}": values for name, values in samples.items()},
        **{f"errors.{name}": getattr(table, name) for name in STORED_COLUMNS},
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
        overlaps = unpack(part("overlaps."))
        table = table_of(overlaps, part("errors."), Limits().cover)
        return StoredEvaluation(summary, overlaps, table, arrays["precision"], part("samples."))
    except OSError:
        raise
    except Exception as error:  # a file cut short fails in many ways
        raise ValueError(f"{path}: not a stored evaluation: {error}") from error


# --- evaluations of all pages


class EvaluationService:
    """All evaluations of this server; several pages may share one.

    folder: of the cache files; by default below $TEVIT_HOME. limit: bytes of cache files. in_process: evaluate in this
    process instead of a subprocess, for tests.
    """

    def __init__(self, folder: Path | None = None, limit: int = LIMIT, in_process: bool = False):
        self.folder = folder or home() / "cache" / "findings"
        self._limit, self._in_process = limit, in_process
        self._runner = Runner(workers=MAX_OPEN, name="evaluation")
        self._lock = threading.Lock()
        self._tasks: dict[tuple, Task[Comparison]] = {}
        self._stored: LRUCache[str, StoredEvaluation] = LRUCache(MAX_OPEN)
        self._comparisons: LRUCache[tuple, Comparison] = LRUCache(MAX_COMPARISONS)
        self._path_locks: dict[str, threading.Lock] = {}

    def open(self, project: Project) -> Task[Comparison]:
        """Start a project's evaluation, or join the one that runs or is done. The caller `leave`s the task.

        Without ground truth or models the task is done, without a result, and its message says what is missing.
        """
        key = (str(project.folder), *((model.name, self.path(project, model).name) for model in project.models))
        with self._lock:
            task = self._tasks.get(key)
            fresh = task is None or task.stopping or task.status().state == "failed"
            if fresh:
                task = Task(project.name, partial(self._evaluate, project), unit="share", cancel_message="cancelled")
                self._tasks[key] = task
                over = [key for key, other in self._tasks.items() if other.over]
                for old in over[: max(0, len(over) - MAX_OPEN)]:
                    del self._tasks[old]
        assert task is not None
        task.join()
        if not project.models:
            task.finish("done", "Errors need predictions: name a model's results.")
        elif not project.has_truth:
            name = Path(project.truth.path).name if project.truth else ""
            reason = f"{name}: {NO_ANNOTATIONS}. " if name else ""
            task.finish("done", f"{reason}Errors need ground truth: name a data set with annotations.")
        elif fresh:
            task.progress("opening", 0, 1)
            self._runner.submit(task)
        return task

    def _evaluate(self, project: Project, progress: Progress) -> Comparison:
        """All models at the same time. Raises: what `load_or_evaluate` raises."""
        shares: dict[str, tuple[float, str]] = {}
        lock, failed = threading.Lock(), threading.Event()
        processes = max(1, usable_cores() // len(project.models))

        def evaluate(model: Model) -> StoredEvaluation:
            def report(stage: str, share: float) -> None:
                if failed.is_set():
                    raise Cancelled
                with lock:
                    shares[model.name] = share, f"{model.name}: {stage}"
                    done = sum(share for share, _ in shares.values()) / len(project.models)
                    progress(min(shares.values())[1], round(1000 * done), 1000)

            stored = self.load_or_evaluate(project, model, processes, report)
            report("done", 1.0)
            return stored

        with ThreadPoolExecutor(min(usable_cores(), len(project.models))) as pool:
            jobs = [pool.submit(evaluate, model) for model in project.models]
            import_module("scipy.optimize")  # half a second, which else the first move of the score threshold takes
            try:
                stored = [job.result() for job in jobs]
            except BaseException:
                failed.set()  # ends the others
                raise
        models = [ModelAnalysis.of(model.name, own) for model, own in zip(project.models, stored, strict=True)]
        return Comparison(project, tuple(models))

    def with_limits(self, comparison: Comparison, limits: Limits, cutoff: float) -> Comparison:
        """At other limits; the same object for every caller with the same arguments. Raises: ValueError."""
        at = limits, cutoff
        # Files of the same content have one evaluation and a name each.
        key = (str(comparison.project.folder), *((m.name, id(m.stored)) for m in comparison.models), *at)
        with self._lock:
            if key in self._comparisons:
                return self._comparisons[key]
            # What another choice of models has computed already. Cache's own lookup, since LRUCache's would count every
            # comparison that is looked through as used.
            comparisons = [Cache.__getitem__(self._comparisons, other) for other in self._comparisons]
            analyses = [m for other in comparisons for m in other.models if at == (m.limits, m.cutoff)]
            computed = {(m.name, id(m.stored)): m for m in analyses}
        result = comparison.with_limits(limits, cutoff, computed)
        with self._lock:
            self._comparisons[key] = result
        return result

    def close(self) -> None:
        """Cancel all evaluations."""
        self._runner.close()

    def path(self, project: Project, model: Model) -> Path:
        """The cache file of a model's evaluation."""
        truth = project.truth.sha256 if project.truth else ""
        classes = sorted((model.categories or {}).items()) if model.categories is not None else None
        text = json.dumps([FORMAT, truth, model.file.sha256, classes])
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"

    def load_or_evaluate(
        self, project: Project, model: Model, processes: int, report: ProgressCallback
    ) -> StoredEvaluation:
        """A model's evaluation, from memory, from disk, or computed. report(stage, share): may raise to stop.

        Raises: OSError, ValueError; and what `report` raises.
        """
        assert project.truth is not None
        path = self.path(project, model)
        with self._lock:
            path_lock = self._path_locks.setdefault(path.name, threading.Lock())
        while not path_lock.acquire(timeout=0.1):
            report("waiting", 0.0)
        try:
            stored = self._recall(path)
            if stored is None:
                request = EvaluationRequest(project.truth.path, model.file.path, model.categories, str(path), processes)
                (evaluate_here if self._in_process else evaluate_in_subprocess)(request, report)
                stored = load(path)
                self._evict(path)
            with self._lock:
                self._stored[path.name] = stored
            return stored
        finally:
            path_lock.release()

    def _recall(self, path: Path) -> StoredEvaluation | None:
        """From memory or disk; None where it is in neither or the file is damaged."""
        with self._lock:
            if path.name in self._stored:
                return self._stored[path.name]
        try:
            stored = load(path)
            path.touch()
            return stored
        except OSError:
            return None
        except ValueError as error:
            log.warning("%s", error)
            return None

    def _evict(self, newest: Path) -> None:
        """Delete the least recently used files until the rest is within the limit, and what killed processes left."""
        for left in self.folder.glob(".*"):
            with suppress(OSError):
                if left.stat().st_mtime < time.time() - LEFT_SECONDS:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
        files: list[tuple[Path, os.stat_result]] = []
        for file in self.folder.glob("[!.]*.npz"):  # names of unfinished files begin with a dot
            with suppress(FileNotFoundError):  # another process may have deleted it meanwhile
                files.append((file, file.stat()))
        size = sum(stat.st_size for _, stat in files)
        for file, stat in sorted(files, key=lambda file: file[1].st_mtime):
            if size <= self._limit or file == newest:
                return
            size -= stat.st_size
            file.unlink(missing_ok=True)


# --- the process of an evaluation

_WEIGHTS = {"starting": (0.0, 0.0), "reading": (0.0, 0.05), "measuring masks": (0.05, 0.5)}


def _share(stage: str, done: int, total: int) -> float:
    """Of the whole evaluation, in [0, 1]: masks take half of it."""
    start, width = _WEIGHTS.get(stage, (0.5, 0.5))
    return start + width * done / max(total, 1)


def evaluate_here(request: EvaluationRequest, report: ProgressCallback) -> None:
    """Evaluate in this process. Raises: see `evaluate_into`."""
    evaluate_into(request, lambda stage, done, total: report(stage, _share(stage, done, total)))


def evaluate_in_subprocess(request: EvaluationRequest, report: ProgressCallback) -> None:
    """Evaluate in a process of its own: pages stay responsive, cancelling ends it, its memory is freed.

    Raises: ValueError with the process's own sentence; and what `report` raises.
    """

    def forward(stage: str, done: int, total: int | None) -> None:
        report(stage, _share(stage, done, total or 1))

    target = Path(request.target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=target.parent) as folder:  # of a killed process nothing stays
        temporary = Path(folder, target.name)
        replaced = msgspec.structs.replace(request, target=str(temporary))
        arguments = {"returns": None, "subject": Path(request.results).name, "work": "evaluation"}
        isolated(evaluate_into, replaced, **arguments, progress=forward, limited=False)
        temporary.replace(target)


def evaluate_files(gt: str, results: str, map_classes: str, progress: StageCallback) -> dict[str, Any]:
    """The official figures of a results file on ground truth, as `tevit evaluate --json`.

    map_classes: as the command's --map-classes, "" for none. Raises: ValueError, OSError.
    """
    options = get_args(MapClasses)
    if map_classes and map_classes not in options:
        raise ValueError(f"map_classes: expected one of {', '.join(options)}, got {map_classes[:40]!r}")
    chosen = cast(MapClasses, map_classes) if map_classes else None
    progress("reading", 0, 2)
    dataset = open_dataset(gt)
    progress("reading", 1, 2)
    predictions, notes = with_known_classes(read_results(results), dataset, chosen)
    evaluation = evaluate(dataset, predictions, progress=lambda stage, done, total: progress(stage, done, total or 1))
    lines = named_warnings(gt, {results: [*notes, *evaluation.warnings]})
    return as_object(evaluation) | ({"warnings": lines} if lines else {})


# --- thumbnails, drawn on request

MAX_THUMBNAIL_BYTES = 48_000_000  # bytes of thumbnails in the cache
MAX_VIDEOS = 12  # whose masks are cached: a page of errors is often of few videos


class ThumbnailCache:
    """Thumbnails as JPEG; safe to use from any thread. limit: bytes."""

    def __init__(self, limit: int = MAX_THUMBNAIL_BYTES):
        self._thumbnails: LRUCache[tuple, bytes] = LRUCache(limit, getsizeof=len)
        self._videos: LRUCache[tuple, VideoResult] = LRUCache(MAX_VIDEOS)
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes in use."""
        return int(self._thumbnails.currsize)

    def picture(self, comparison: Comparison, index: int, frame: int) -> bytes:
        """JPEG of HEIGHT x WIDTH: one frame of a row of the error table.

        Raises: IndexError for a frame that does not exist; ValueError, OSError where files cannot be read.
        """
        record, project = comparison.table.record(index), comparison.project
        sides = record.truth_id, record.prediction_id
        return self.cut(project, project.model_index(record.model), record.video_id, sides, frame)

    def cut(
        self, project: Project, model: int, video_id: int, sides: tuple[int | None, int | None], frame: int
    ) -> bytes:
        """The same by ids. sides: annotation id and prediction's place in the file, None for none. Raises: the same."""
        key = (project.id, project.models[model].file.sha256, video_id, *sides, frame, str(project.frames))
        with self._lock:
            if key in self._thumbnails:
                return self._thumbnails[key]
        file = project.models[model]
        sources = (
            (("truth", project.id, video_id), lambda: project.ground_truth(video_id)),
            ((file.file.sha256, str(file.categories), video_id), lambda: project.predictions(model, video_id)),
        )
        tracks: list[Track | None] = []
        for id, (name, load) in zip(sides, sources, strict=True):
            video = None if id is None else self._video(name, load)
            tracks.append(None if video is None else next((track for track in video.tracks if track.id == id), None))
        frames = dataset_frames(project, video_id)
        rles = [track.rles[frame] if track is not None and frame < len(track.rles) else None for track in tracks]
        subject = f"{frames.name}: frame {frame}"
        jpeg = isolated(_draw, frames.picture(frame), frames.size_hw, rles, returns=bytes, subject=subject)
        with self._lock:
            self._thumbnails[key] = jpeg
        return jpeg

    def _video(self, key: tuple, load: Callable[[], VideoResult | None]) -> VideoResult | None:
        with self._lock:
            if key in self._videos:
                return self._videos[key]
        result = load()
        if result is not None:
            with self._lock:
                self._videos[key] = result
        return result


def filmstrip_frames(comparison: Comparison, index: int, count: int = MAX_FRAMES) -> list[Thumbnail]:
    """The frames of a row of the error table: worst, median, best and some between, in temporal order."""
    curve = row_curve(comparison, index)
    roles = {curve.best: "best", curve.median: "median", curve.worst: "worst"}
    return choose_frames({frame: curve.ious[frame] for frame in curve.frames}, roles, count)


# --- drawing


def _draw(jpeg: bytes, size_hw: tuple[int, int], rles: Sequence[RLE | None]) -> bytes:
    """jpeg: the frame. rles: of the ground truth and the prediction."""
    import cv2
    import numpy as np

    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("the frame cannot be read")
    return draw_thumbnail(picture, size_hw, *rles)


def differences(project: Project, model: int, video_id: int, cutoff: float = 0.0) -> VideoResult | None:
    """The difference of a whole video, see `app.analysis.matches`; None without ground truth. Raises: ValueError."""
    truth = project.ground_truth(video_id)
    return None if truth is None else difference(truth, tracks_above(project.predictions(model, video_id), cutoff))
