"""`tevit evaluate`: the official figures of one or several models' results; `tevit errors`: a model's errors, what each
costs, and a report of them."""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tevit.evaluation.api import Evaluation, Interval, Samples
    from tevit.evaluation.error_table import Errors
    from tevit.evaluation.errors import Gaps
    from tevit.evaluation.identity import Identity
    from tevit.evaluation.matching import BreakdownRow
    from tevit.io.ytvis import Dataset, Results
    from tevit.progress import Progress


DESCRIPTION = """\
Evaluate any model's results.json (or its submission zip) as the official evaluator of YouTube-VIS does.

  tevit evaluate valid.json results.json                        the twelve figures
  tevit evaluate valid.json results.json --per-class --json     the same for a program, in [0, 1], -1: no ground truth
  tevit evaluate valid.json a.json b.json --bootstrap 1000      two models: is one better, or is it chance?
  tevit evaluate valid.json results.json --metrics hota,id      also how well identities are kept

Results whose category ids are indices of the ground truth's categories, or of which it has none, are refused;
--map-classes and --class-map say how to read them.
"""
MEANINGS = {
    "AP": "mean over IoU 0.50 to 0.95",
    "AP50": "at IoU 0.50",
    "AP75": "at IoU 0.75",
    "APs": "tracks below 128² pixels",
    "APm": "128² to 256²",
    "APl": "above 256²",
    "AR1": "recall, 1 prediction a video and class",
    "AR10": "recall, 10 predictions",
    "AR100": "recall, 100 predictions",
    "ARs": "recall, tracks below 128² pixels",
    "ARm": "recall, 128² to 256²",
    "ARl": "recall, above 256²",
}
IDENTITY_MEANINGS = {
    "HOTA": "detection and association, √(DetA · AssA)",
    "DetA": "detection, frame by frame",
    "AssA": "association of detections with tracks",
    "LocA": "mean IoU of matched masks",
    "IDF1": "frames with the right identity",
    "IDP": "of the predictions",
    "IDR": "of the ground truth",
    "switches": "identity passes to another prediction",
    "fragments": "a matched track is lost and found",
}
CLASS_COLUMNS = ("AP", "AP50", "AP75", "AR1", "AR10")
_BAR_AFTER = 2.0  # seconds
_MAP_CLASSES = ("contiguous", "from-0", "from-1", "keep")  # as io.categories.MapClasses, whose import takes a while


def register(commands) -> None:
    """Add the subcommands."""
    _add_evaluate(commands)
    _add_errors(commands)


def _add_parser(commands, name: str, help: str, description: str) -> argparse.ArgumentParser:
    """A subcommand whose first argument is the ground truth."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(name, help=help, description=description, formatter_class=raw)
    parser.add_argument("gt", type=Path, metavar="GT", help="ground truth, JSON in YouTube-VIS form with annotations")
    return parser


def _add_evaluate(commands) -> None:
    help = "AP and its relatives, exactly as the official evaluator has them"
    parser = _add_parser(commands, "evaluate", help, DESCRIPTION)
    add = parser.add_argument
    add("results", nargs="+", type=Path, metavar="RESULTS", help="predictions: results.json or the zip that holds it")
    add("--json", action="store_true", help="print one object with the figures; several RESULTS: a list, in order")
    add("--per-class", action="store_true", help="also a table of the classes (with --json they are always there)")
    add("--per-size", action="store_true", help="also by the tracks' mean area")
    add("--per-length", action="store_true", help="also by the number of frames in which the tracks are there")
    length = "also of short videos (up to 36 frames) and long ones apart, as for YouTube-VIS 2022"
    add("--per-video-length", action="store_true", help=length)
    add("--per-video", action="store_true", help="also by video, each taken as if it were the whole data set")
    add("--per-score", action="store_true", help="also the figures of --metrics over the score threshold")
    add(
        "--metrics",
        metavar="NAMES",
        default="",
        help="beside AP: hota (HOTA, DetA, AssA, LocA), id (IDF1, switches, …)",
    )
    add("--score-threshold", type=float, metavar="S", help="leave predictions of lower scores out of all figures")
    add("--agnostic", action="store_true", help="take all classes for one")
    add("--bootstrap", type=_samples, default=0, metavar="N", help="95 %% intervals from N samples of the videos")
    add("--seed", type=int, default=0, help="of the samples (default 0)")
    add_class_options(add)
    parser.set_defaults(run=run)


def add_class_options(add: Callable[..., object]) -> None:
    """Add --map-classes and --class-map. add: `ArgumentParser.add_argument`."""
    text = "read category ids as indices from 0 or 1 of the sorted categories, whichever fits; keep: as they are"
    add("--map-classes", choices=_MAP_CLASSES, help=text)
    text = "JSON object of category ids of the results and the ground truth's names or ids"
    add("--class-map", type=Path, metavar="FILE", help=text)


def open_predictions(path: Path, dataset: "Dataset", args: argparse.Namespace) -> "Results":
    """The predictions with the data set's category ids. Raises: ValueError where these must be chosen."""
    from tevit.io.categories import read_class_map, with_known_classes
    from tevit.io.ytvis import read_results

    class_map = read_class_map(args.class_map) if args.class_map else None
    results, notes = with_known_classes(read_results(path), dataset, args.map_classes, class_map)
    for note in notes:
        print(f"tevit: {path}: {note}", file=sys.stderr)
    return results


def _samples(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"expected a number of samples from 2 on, got {text}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Returns 0; errors are raised."""
    if not args.bootstrap:
        keep_blas_single()
    from tevit.evaluation.api import evaluate
    from tevit.io.ytvis import open_dataset

    if args.per_score and not args.metrics:
        raise ValueError("--per-score: expected --metrics hota, id or both, got none")
    dataset = open_dataset(args.gt)
    settings = {"agnostic": args.agnostic, "metrics": args.metrics, "score_threshold": args.score_threshold}
    with DelayedProgress() as progress:
        evaluations = [
            evaluate(
                dataset,
                open_predictions(path, dataset, args),
                **settings,
                progress=progress,
                processes=processes(),
            )
            for path in args.results
        ]
        samples: list[Samples] = []
        if args.bootstrap:
            from tevit.evaluation.api import draw_weights, resample

            # The same samples of videos for every model, so that differences are paired.
            weights = draw_weights(len(evaluations[0].overlaps.inputs.videos), args.bootstrap, args.seed)
            samples = [resample(e.overlaps, e.matches, weights, progress) for e in evaluations]
    print_warnings(args.gt, {path: e.warnings for path, e in zip(args.results, evaluations, strict=True)})
    print(_as_json(args, evaluations, samples) if args.json else _as_text(args, evaluations, samples))
    return 0


def print_warnings(gt: Path, warnings: "Mapping[Path, Sequence[str]]") -> None:
    """Print each warning once, under the name of the file that it is about. warnings: of each model's results."""
    from tevit.evaluation.inputs import named_warnings

    for line in named_warnings(str(gt), {str(path): own for path, own in warnings.items()}):
        print(f"tevit: {line}", file=sys.stderr)


def keep_blas_single() -> None:
    """Before numpy is imported: OpenBLAS's threads would wait busily, a tenth of the processor time, and multiply
    nothing; and a fork should have no threads beside it."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def processes() -> int:
    """How many processes share the work: more than four save no noticeable time."""
    from tevit.progress import usable_cores

    return min(4, usable_cores())


class DelayedProgress:
    """A progress bar that is shown only if the work takes long."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> "DelayedProgress":
        return self

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if self._bar is None and time.monotonic() - self._started > _BAR_AFTER:
            from tevit.progress import TerminalProgress

            self._bar = self._close = TerminalProgress(unit="step")
        if self._bar is not None:
            self._bar(stage, done, total)

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._close.__exit__(*exc)


def _identity_columns(evaluation: "Evaluation") -> list[str]:
    """The figures of --metrics."""
    return [name for name in IDENTITY_MEANINGS if name in evaluation.figures]


# --- JSON


def as_object(evaluation: "Evaluation") -> dict:
    """What `--json` prints without further options: the figures, and some of them for every class id (as text)."""
    item: dict = dict(evaluation.figures)
    columns = [*CLASS_COLUMNS, *_identity_columns(evaluation)]
    item["per_class"] = {
        str(id): {"name": name, **{column: evaluation.per_class[id][column] for column in columns}}
        for id, name in evaluation.names.items()
    }
    if evaluation.identity:
        item["identity"] = _identity_object(evaluation.identity, _identity_columns(evaluation))
    return item


def _identity_object(identity: "Identity", names: Sequence[str]) -> dict:
    """class_means: over the classes with detections. curve: figures of the predictions of at least each score."""
    threshold, figure = identity.best(names[0])
    return {
        "best": {"score_threshold": threshold, names[0]: figure},
        "class_means": {name: identity.class_means[name] for name in names if name in identity.class_means},
        "curve": {
            "score_threshold": identity.thresholds.tolist(),
            **{name: identity.curve[name].tolist() for name in names},
        },
    }


def _as_json(args: argparse.Namespace, evaluations: "list[Evaluation]", samples: "list[Samples]") -> str:
    items = []
    for place, evaluation in enumerate(evaluations):
        item = as_object(evaluation)
        parts = {
            "size": evaluation.by_size,
            "length": evaluation.by_length,
            "video_length": evaluation.by_video_length,
            "video": evaluation.by_video,
        }
        for name, breakdown in parts.items():
            if getattr(args, f"per_{name}"):
                item[f"per_{name}"] = {str(part): asdict(row) for part, row in breakdown().items()}
        if args.per_video and evaluation.identity:
            columns = _identity_columns(evaluation)
            for k, row in enumerate(item["per_video"].values()):
                row.update({name: evaluation.identity.per_video[k][name] for name in columns})
        if len(evaluations) > 1:
            item["file"] = str(args.results[place])
        if samples:
            from tevit.evaluation.api import differences, intervals

            spreads = intervals(evaluation.figures, samples[place])
            bootstrap: dict = {"samples": args.bootstrap, "seed": args.seed}
            bootstrap["intervals"] = {name: spread and [spread.low, spread.high] for name, spread in spreads.items()}
            if place:
                more = differences(evaluation.figures, samples[place], evaluations[0].figures, samples[0])
                bootstrap["difference_to_first"] = {name: spread and asdict(spread) for name, spread in more.items()}
            item["bootstrap"] = bootstrap
        items.append(item)
    return json.dumps(items if len(items) > 1 else items[0], ensure_ascii=False)


# --- tables


def _as_text(args: argparse.Namespace, evaluations: "list[Evaluation]", samples: "list[Samples]") -> str:
    from tevit.evaluation.api import differences, intervals

    names = _short_names(args.results)
    spreads = [intervals(e.figures, own) for e, own in zip(evaluations, samples, strict=False)]
    lines = [f"{args.gt}: {evaluations[0].heading}\n\n{_figures_table(names, evaluations, spreads)}"]
    lines += filter(None, map(_best_line, names, evaluations))
    if len(evaluations) > 1 and samples:
        base, others = evaluations[0].figures, list(zip(evaluations[1:], samples[1:], strict=True))
        more = [(e.figures, differences(e.figures, own, base, samples[0])) for e, own in others]
        rows = [[name, *(_difference(f[name] - base[name], spread[name]) for f, spread in more)] for name in MEANINGS]
        lines.append(f"\nMore than {names[0]}:\n\n{layout(['difference', *names[1:]], rows)}")
    for name, evaluation in zip(names, evaluations, strict=True):
        title = f"\n{name}" if len(evaluations) > 1 else ""
        videos = {video.id: video.name for video in evaluation.overlaps.inputs.videos}
        tables = {
            "class": lambda e=evaluation: _class_table(e),
            "score": lambda e=evaluation: _score_table(e),
            "size": lambda e=evaluation: _part_table("mean area", e.by_size()),
            "length": lambda e=evaluation: _part_table("track length", e.by_length()),
            "video_length": lambda e=evaluation: _part_table("videos", e.by_video_length()),
            "video": lambda e=evaluation, videos=videos: _part_table(
                "video", {f"{id:>4} {videos[id]}": part for id, part in e.by_video().items()}
            ),
        }
        lines += [f"{title}\n{table()}" for group, table in tables.items() if getattr(args, f"per_{group}")]
    return "\n".join(lines)


def _short_names(paths: list[Path]) -> list[str]:
    """The files' names, with as many folders as they need to differ."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def layout(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of aligned columns: the first to the left, the others to the right, a rule below the header."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        others = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        return "  ".join([cells[0].ljust(widths[0]), *others]).rstrip()

    return "\n".join([line(header), "─" * (sum(widths) + 2 * (len(widths) - 1)), *map(line, rows)])


def _figures_table(
    names: Sequence[str], evaluations: "Sequence[Evaluation]", spreads: "Sequence[Mapping[str, Interval | None]]"
) -> str:
    """The twelve figures, a column a model. spreads: of each model, or empty."""
    from tevit.evaluation.matching import percent

    rows = []
    for name, meaning in MEANINGS.items():
        cells = [percent(evaluation.figures[name]) for evaluation in evaluations]
        for place, spread in enumerate(spreads):
            own = spread[name]
            cells[place] += f"  [{100 * own.low:.1f}, {100 * own.high:.1f}]" if own else ""
        rows.append([name, *cells, f"  {meaning}".ljust(44)])
    for name in _identity_columns(evaluations[0]):
        cells = [_figure_text(name, evaluation.figures[name]) for evaluation in evaluations]
        rows.append([name, *cells, f"  {IDENTITY_MEANINGS[name]}".ljust(44)])
    return layout(["", *names, ""], rows)


def _figure_text(name: str, value: float) -> str:
    """A share in percent, a number of events as it is; empty where there is nothing to measure."""
    return str(value) if isinstance(value, int) else "" if value < 0 else f"{100 * value:.1f}"


def _best_line(name: str, evaluation: "Evaluation") -> str:
    """At which score threshold the first figure of --metrics is highest."""
    columns = _identity_columns(evaluation)
    if not evaluation.identity or not columns or evaluation.figures[columns[0]] < 0:
        return ""
    threshold, figure = evaluation.identity.best(columns[0])
    return (
        f"\n{name}: {columns[0]} is highest, {100 * figure:.1f}, with the predictions of score {threshold:.6g} and more"
    )


def _score_table(evaluation: "Evaluation") -> str:
    """The figures of --metrics at each score threshold, the best one marked."""
    identity, columns = evaluation.identity, _identity_columns(evaluation)
    assert identity
    best = identity.best(columns[0])[0]
    rows = [
        [f"{threshold:.6g}{' best' if threshold == best else ''}"]
        + [_figure_text(name, identity.curve[name][k].item()) for name in columns]
        for k, threshold in enumerate(identity.thresholds.tolist())
    ]
    return layout(["score from", *columns], rows)


def _difference(value: float, spread: "Interval | None") -> str:
    from tevit.evaluation.matching import NOTHING

    if spread is None:
        return NOTHING
    verdict = "better" if spread.low > 0 else "worse" if spread.high < 0 else "undecided"
    return f"{100 * value:+.1f}  [{100 * spread.low:+.1f}, {100 * spread.high:+.1f}]  {verdict:9}"


def _class_table(evaluation: "Evaluation") -> str:
    ground_truth = evaluation.overlaps.inputs.ground_truth
    kinds = ground_truth.categories[~ground_truth.crowd] * (not evaluation.overlaps.agnostic)
    columns = _identity_columns(evaluation)
    rows = [
        [f"{id:>4} {name}", *_cells(int((kinds == k).sum()), [evaluation.per_class[id][c] for c in CLASS_COLUMNS])]
        + [_figure_text(name, evaluation.per_class[id][name]) for name in columns]
        for k, (id, name) in enumerate(evaluation.names.items())
    ]
    return layout(["class", "tracks", *CLASS_COLUMNS, *columns], rows)


def _part_table(title: str, parts: "Mapping[str, BreakdownRow]") -> str:
    columns = [field.name for field in fields(next(iter(parts.values())))][1:] if parts else []
    rows = [[name, *_cells(part.truths, [getattr(part, c) for c in columns])] for name, part in parts.items()]
    return layout([title, "tracks", *columns], rows)


def _cells(tracks: int, values: Sequence[float]) -> list[str]:
    """The number of tracks and the figures in percent; without tracks the words once."""
    from tevit.evaluation.matching import NOTHING, percent

    return [str(tracks), *map(percent, values)] if tracks else ["0", *[""] * (len(values) - 1), NOTHING]


# --- `tevit errors`

ERRORS_DESCRIPTION = """\
Name the error of every prediction and every missed ground truth, and what each kind costs in AP50.

  tevit errors valid.json results.json --out report     a table here; errors.json, errors.csv, report.html in report/
  tevit errors valid.json results.json --out report --frames valid/JPEGImages    with pictures of the worst 100 errors

Kinds, the first that fits: correct; duplicate (right class, IoU >= 0.5, a better one matches the ground truth);
classification (IoU >= 0.5, wrong class); spatial, temporal (right class, IoU >= 0.1: near the ground truth in at least
70 % of the frames, or in fewer); both (wrong class, IoU >= 0.1); background. Ground truth: correct, explained by one of
these, or missed. What fits an annotation with the id 0, which the official metric never counts as found, is
"unmatchable id 0". Beside it: what perfect tracking and perfect classes would gain.
"""


def _add_errors(commands) -> None:
    help = "what kinds of errors a model makes, and what each costs"
    parser = _add_parser(commands, "errors", help, ERRORS_DESCRIPTION)
    add = parser.add_argument
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
    parser.set_defaults(run=run_errors)


def run_errors(args: argparse.Namespace) -> int:
    """Returns 0; errors are raised."""
    keep_blas_single()
    from tevit.evaluation.api import accumulate
    from tevit.evaluation.error_table import analyse_errors
    from tevit.evaluation.errors import Limits, find_gaps
    from tevit.evaluation.identity import measure_identity
    from tevit.evaluation.inputs import read_inputs
    from tevit.evaluation.overlaps import compute_overlaps
    from tevit.io.ytvis import open_dataset
    from tevit.progress import in_background

    if args.frames and not args.out:
        raise ValueError("--frames goes with --out: its pictures are part of report.html")
    if args.frames:
        from tevit.cli.predict import check_folder

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
    from tevit.evaluation.identity import IDENTITY_FIGURES
    from tevit.evaluation.report import ErrorFilmstrips, write_report
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
    from tevit.evaluation.errors import UNMATCHABLE
    from tevit.evaluation.matching import NOTHING, percent

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
