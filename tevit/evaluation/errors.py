"""What kinds of errors predictions make, and what each kind costs in AP: `find_errors` is where to begin."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tevit.evaluation.error_table import ErrorRecord, records
from tevit.evaluation.error_types import TYPES, Limits, Verdicts, judge
from tevit.evaluation.oracle import OracleAP, covering_error
from tevit.evaluation.overlaps import Overlaps

__all__ = ["TYPES", "Costs", "ErrorRecord", "Errors", "Limits", "find_costs", "find_errors"]


@dataclass(frozen=True, eq=False)
class Errors:
    """ap: the AP at `limits.positive` that is taken apart, in [0, 1]; -1: no ground truth. dap: type -> AP gained by
    mending that type alone. mended: AP with all mended. records: predictions in file order, then truths."""

    limits: Limits
    ap: float
    dap: Mapping[str, float]
    mended: float
    records: tuple[ErrorRecord, ...]


@dataclass(frozen=True, eq=False)
class Costs:
    """Errors without their records: what each track is, and what each type costs. Fields as of `Errors`."""

    limits: Limits
    verdicts: Verdicts
    ap: float
    dap: Mapping[str, float]
    mended: float


def find_errors(measured: Overlaps, limits: Limits | None = None) -> Errors:
    """Name every error and what it costs. measured: with all pairs, and classes not pooled."""
    found = find_costs(measured, limits or Limits())
    rows = records(measured, found.verdicts, found.dap, found.limits)
    return Errors(found.limits, found.ap, found.dap, found.mended, rows)


def find_costs(measured: Overlaps, limits: Limits) -> Costs:
    """The quick part of `find_errors`."""
    if len(measured.pairs) != len(measured.inputs.videos) or measured.agnostic:
        raise ValueError("errors need the overlaps of all pairs, by class: measure with all_pairs=True")
    verdicts = judge(measured, limits)
    oracle, rows = _oracle_ap(measured, verdicts)
    _explain(verdicts, oracle, rows)
    oracle = replace(oracle, missed=verdicts.truths == "missed")
    ap = oracle.ap(())
    dap = {type: oracle.ap((type,)) - ap for type in TYPES}
    return Costs(limits, verdicts, ap, dap, oracle.ap(TYPES))


def _oracle_ap(measured: Overlaps, verdicts: Verdicts) -> tuple[OracleAP, np.ndarray]:
    """Also the rows of the predictions that it holds."""
    truths, predictions = measured.inputs.truths, measured.inputs.predictions
    rows = np.flatnonzero(verdicts.predictions != "ignored")
    order = np.lexsort((rows, predictions.videos[rows], -predictions.scores[rows]))
    oracle = OracleAP(
        types=verdicts.predictions[rows],
        categories=predictions.categories[rows],
        truths=verdicts.truths_of[rows],
        order=np.argsort(order),
        truth_categories=truths.categories,
        counting=~truths.crowd,
        missed=np.zeros(len(truths.ids), bool),
        classes=len(measured.inputs.categories),
    )
    return oracle, rows


def _explain(verdicts: Verdicts, oracle: OracleAP, rows: np.ndarray) -> None:
    """Truths that an error of class or place stands for are not missed."""
    found = covering_error(oracle)
    explained = oracle.truths[found]
    verdicts.truths[explained] = "explained"
    verdicts.predictions_of[explained] = rows[found]
