"""`tevit errors`: what kinds of errors a model makes, what each costs, and a report of them."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tevit.cli.evaluate import (
    DelayedProgress,
    add_class_options,
    keep_blas_single,
    layout,
    open_predictions,
    print_warnings,
    processes,
)

if TYPE_CHECKING:
    from tevit.evaluation import Evaluation
    from tevit.evaluation.error_table import Errors
    from tevit.evaluation.identity import Identity
    from tevit.evaluation.oracle import Gaps

DESCRIPTION = """\
Name the error of every prediction and every missed ground truth, and what each kind costs in AP50.

  tevit errors valid.json results.json --out report     a table here; errors.json, errors.csv, report.html in report/
  tevit errors valid.json results.json --out report --frames valid/JPEGImages    with pictures of the worst 100 errors

Kinds, the first that fits: correct; duplicate (right class, IoU >= 0.5, a better one matches the ground truth);
classification (IoU >= 0.5, wrong class); spatial, temporal (right class, IoU >= 0.1: near the ground truth in at least
70 % of the frames, or in fewer); both (wrong class, IoU >= 0.1); background. Ground truth: correct, explained by one of
these, or missed. What fits an annotation with the id 0, which the official metric never counts as found, is
"unmatchable id 0". Beside it: what perfect tracking and perfect classes would gain.
"""


def register(commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "errors",
        help="what kinds of errors a model makes, and what each costs",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("gt", type=Path, metavar="GT", help="ground truth, JSON in YouTube-VIS form with annotations")
    add("results", type=Path, metavar="RESULTS", help="predictions: results.json or the zip that holds it")
    add("--out", type=Path, metavar="DIR", help="write errors.json, errors.csv and report.html there")
    frames = "with --out: folder that the data set's file names are relative to; the page shows the worst 100 errors"
    add("--frames", type=Path, metavar="ROOT", help=frames)
    add("--json", action="store_true", help="print the summary as JSON")
    add(
        "--positive",
        type=float,
        default=0.5,
        metavar="IOU",
        help="ground truth is matched from this IoU (default 0.5)",
    )
    add("--background", type=float, default=0.1, metavar="IOU", help="below it, nothing is (default 0.1)")
    add_class_options(add)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Returns 0; errors are raised."""
    keep_blas_single()
    from tevit.evaluation.api import accumulate
    from tevit.evaluation.error_table import analyse_errors
    from tevit.evaluation.errors import Limits
    from tevit.evaluation.identity import measure_identity
    from tevit.evaluation.inputs import read_inputs
    from tevit.evaluation.oracle import find_gaps
    from tevit.evaluation.overlaps import compute_overlaps
    from tevit.evaluation.parallel import in_background
    from tevit.io.ytvis import open_dataset

    if args.frames and not args.out:
        raise ValueError("--frames goes with --out: its pictures are part of report.html")
    if args.frames:
        from tevit.cli.predict import check_folder  # which imports the progress bar

        check_folder("--frames", args.frames)
    limits = Limits(positive=args.positive, background=args.background)
    dataset = open_dataset(args.gt)
    with DelayedProgress() as progress:
        inputs = read_inputs(dataset, open_predictions(args.results, dataset, args))
        overlaps = compute_overlaps(inputs, progress=progress, all_pairs=True, processes=processes())
    cores = processes() if args.out else 1
    with in_background(lambda: measure_identity(overlaps, cores - 1), cores) as identity:
        evaluation, errors, gaps = accumulate(overlaps), analyse_errors(overlaps, limits), find_gaps(overlaps)
        print_warnings(args.gt, {args.results: evaluation.warnings})
        summary = _summary(evaluation, errors, gaps)
        if args.out:
            _write(args, evaluation, errors, gaps, summary, identity)
    print(json.dumps(summary, ensure_ascii=False) if args.json else _text(args, evaluation, errors, gaps))
    return 0


def _summary(evaluation: "Evaluation", errors: "Errors", gaps: "Gaps") -> dict:
    """counts: of predictions and ground truth by type. dap, shares and gaps in [0, 1]; -1 or null: no ground truth."""
    counts = {kind: Counter(r.type for r in errors.records if r.kind == kind) for kind in ("prediction", "truth")}
    return {
        "figures": dict(evaluation.figures),
        "limits": asdict(errors.limits),
        "ap": errors.ap,
        "dap": dict(errors.dap),
        "mended": errors.oracle_ap,
        "counts": {f"{kind}s": dict(sorted(own.items())) for kind, own in counts.items()},
        "identity_switches": sum(r.identity_switch for r in errors.records if r.truth),
        "fragmentations": sum(r.fragmentation for r in errors.records if r.truth),
        "gaps": {
            "all": asdict(gaps.whole),
            "by_length": {name: asdict(gap) for name, gap in gaps.by_length.items()},
            "by_instances": {name: asdict(gap) for name, gap in gaps.by_instances.items()},
        },
    }


def _write(
    args: argparse.Namespace,
    evaluation: "Evaluation",
    errors: "Errors",
    gaps: "Gaps",
    summary: dict,
    identity: "Callable[[], Identity]",
) -> None:
    from tevit.evaluation.api import add_identity
    from tevit.evaluation.filmstrip import ErrorFilmstrips
    from tevit.evaluation.identity import IDENTITY_FIGURES
    from tevit.evaluation.report import write_report
    from tevit.io.files import atomic
    from tevit.io.ytvis import open_dataset, read_results

    with atomic(args.out / "errors.json") as path:
        sources = {"gt": str(args.gt), "results": str(args.results)}
        content = {**sources, **summary, "records": errors.table.to_json()}
        path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    with atomic(args.out / "errors.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        errors.table.write_csv(file)
    filmstrips = None
    if args.frames:
        filmstrips = ErrorFilmstrips(open_dataset(args.gt), read_results(args.results), args.frames)
    figures = [name for group in IDENTITY_FIGURES.values() for name in group]
    complete = add_identity(evaluation, figures, identity())
    write_report(args.out / "report.html", f"Errors of {args.results.name}", complete, errors, gaps, filmstrips)
    for sentence in filmstrips.missing if filmstrips else ():
        print(f"tevit: {sentence}", file=sys.stderr)


def _text(args: argparse.Namespace, evaluation: "Evaluation", errors: "Errors", gaps: "Gaps") -> str:
    from tevit.evaluation.matching import NOTHING, percent
    from tevit.evaluation.oracle import UNMATCHABLE

    metric, counts = f"AP{round(100 * errors.limits.positive)}", Counter(r.type for r in errors.records)
    rows = [[type, str(counts[type]), errors.gain(type)] for type in errors.dap]
    ground_truth = [record for record in errors.records if record.truth]
    by_type = Counter(record.type for record in ground_truth)
    parts = {"all": gaps.whole, **gaps.by_length, **{f"objects: {k}": gap for k, gap in gaps.by_instances.items()}}
    gap_rows = []
    for name, gap in parts.items():
        gains = [f"{100 * value:+.1f}" for value in (gap.tracking, gap.classification, gap.masks)]
        if gap.truths or name == "all":
            gap_rows.append([name, str(gap.truths), *([percent(gap.ap), *gains] if gap.truths else [NOTHING] * 4)])
    paragraphs = [
        f"{args.results}: {evaluation.heading}",
        layout([f"{metric} {percent(errors.ap)}", "count", f"d{metric}"], rows),
        f"Ground truth: {by_type['correct']} tracks matched, {by_type['explained']} explained by an error, "
        f"{by_type['missed']} missed"
        + (f", {by_type[UNMATCHABLE]} with the id 0 fit a prediction" if by_type[UNMATCHABLE] else "")
        + "\n"
        f"{sum(r.identity_switch for r in ground_truth)} with an identity switch, "
        f"{sum(r.fragmentation for r in ground_truth)} with a gap",
        layout(["", "tracks", "AP", "tracking", "classes", "masks, misses"], gap_rows),
    ]
    if args.out:
        paragraphs.append(f"Written: {args.out / 'report.html'}, errors.json, errors.csv")
    return "\n\n".join(paragraphs)
