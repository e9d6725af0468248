"""One model's evaluation, computed in a process of its own and stored as one file of arrays.

In a process of its own the pages stay responsive, cancelling ends the process, and its memory is freed.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

import msgspec
import numpy as np

from app.projects.class_names import apply
from tevit.evaluation.api import accumulate
from tevit.evaluation.bootstrap import draw_weights, resample
from tevit.evaluation.breakdown import Part
from tevit.evaluation.cache import pack, unpack
from tevit.evaluation.error_columns import Columns, columns, geometry
from tevit.evaluation.errors import Limits, find_costs
from tevit.evaluation.inputs import read_inputs
from tevit.evaluation.oracle_gaps import Gap, Gaps, find_gaps
from tevit.evaluation.overlaps import Overlaps, compute_overlaps
from tevit.io.files import atomic
from tevit.io.ytvis import read_results

FORMAT = 1  # of the file and of what the numbers mean: another one makes them anew
NAMES = ("AP", "AP50", "AP75", "AR1", "AR10")
SAMPLES = 1000
_STEPS = 6

StageCallback = Callable[[str, int, int], None]
"""Called as report(stage, done, total)."""


class EvaluationRequest(msgspec.Struct, frozen=True):
    """What to work out. truth, results: paths. categories: a mapping of classes. target: the file to write."""

    truth: str
    results: str
    categories: dict[int, int] | None
    target: str
    processes: int = 1


class EvaluationSummary(msgspec.Struct):
    """What is not an array. ap, dap, mended: at the default limits. gaps: as of `Gaps`."""

    format: int
    figures: dict[str, float]
    per_class: dict[int, dict[str, float]]
    ap: float
    dap: dict[str, float]
    mended: float
    gap: Gap
    gaps_by_length: dict[str, Gap]
    gaps_by_instances: dict[str, Gap]
    by_size: dict[str, Part]
    by_length: dict[str, Part]
    by_video: dict[int, Part]

    @property
    def gaps(self) -> Gaps:
        """Oracle gaps by length and number of instances."""
        return Gaps(self.gap, self.gaps_by_length, self.gaps_by_instances)


class StoredEvaluation(msgspec.Struct):
    """One model's evaluation as it was kept. precision: float64 (T, R, K, 4), all and each size, at most 100
    predictions a video and class. samples: figure -> float64 (S,), of the bootstrap."""

    head: EvaluationSummary
    measured: Overlaps
    columns: Columns
    precision: np.ndarray
    samples: Mapping[str, np.ndarray]


def evaluate_into(order: EvaluationRequest, report: StageCallback | None = None) -> None:
    """Work everything out and write it. Raises: OSError, ValueError; and what `report` raises."""
    say = report or (lambda stage, done, total: None)
    say("reading", 0, _STEPS)
    results = read_results(order.results)
    if order.categories is not None:
        results = apply(results, order.categories)
    inputs = read_inputs(order.truth, results)

    def masks(stage: str, done: int, total: int | None) -> None:
        say(stage, done, total or 1)

    measured = compute_overlaps(inputs, progress=masks, all_pairs=True, processes=order.processes)
    arrays = _arrays(measured, say)
    target = Path(order.target)
    with atomic(target) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _arrays(measured: Overlaps, say: StageCallback) -> dict[str, np.ndarray]:
    say("figures", 1, _STEPS)
    evaluation = accumulate(measured)
    say("kinds of errors", 2, _STEPS)
    limits = Limits()
    costs = find_costs(measured, limits)
    table = columns(measured, costs, geometry(measured, limits.cover))
    say("tracking, classes, masks", 3, _STEPS)
    gaps = find_gaps(measured)
    say("by length and by video", 4, _STEPS)
    head = EvaluationSummary(
        format=FORMAT,
        figures=dict(evaluation.figures),
        per_class={id: dict(found) for id, found in evaluation.per_class.items()},
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
    say("how sure the figures are", 5, _STEPS)
    weights = draw_weights(len(measured.inputs.videos), SAMPLES)
    samples = resample(measured, evaluation.outcome, weights, names=NAMES)
    return {
        "found": np.frombuffer(msgspec.json.encode(head), np.uint8),
        "precision": evaluation.curves.precision[..., 2],
        **{f"samples.{name}": values for name, values in samples.items()},
        **{f"columns.{field.name}": getattr(table, field.name) for field in fields(Columns)},
        **{f"measured.{name}": array for name, array in pack(measured).items()},
    }


def load(path: str | os.PathLike) -> StoredEvaluation:
    """What `evaluate_into` wrote. Raises: OSError, ValueError where it is not there, broken or of another format."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, np.ndarray] = dict(file)
        head = msgspec.json.decode(arrays["found"].tobytes(), type=EvaluationSummary)
        if head.format != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {head.format}")
        return StoredEvaluation(
            head=head,
            measured=unpack(_part(arrays, "measured.")),
            columns=Columns(**_part(arrays, "columns.")),
            precision=arrays["precision"],
            samples=_part(arrays, "samples."),
        )
    except OSError:
        raise
    except Exception as error:  # a file cut short fails in many ways, all of which mean: work it out anew
        raise ValueError(f"{path}: not a stored evaluation: {error}") from error


def _part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def main() -> int:
    """The order comes as JSON on standard input; what is going on goes out as a JSON object a line."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=EvaluationRequest)
    try:
        evaluate_into(order, lambda stage, done, total: _say({"stage": stage, "done": done, "total": total}))
    except (OSError, ValueError, MemoryError) as error:
        _say({"error": str(error) or "not enough memory"})
        return 2
    return 0


def _say(content: dict) -> None:
    print(json.dumps(content), flush=True)


if __name__ == "__main__":
    sys.exit(main())
