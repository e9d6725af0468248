"""`tevit evaluate`: the official figures of one or several models' results."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tevit.evaluation import Evaluation
    from tevit.evaluation.bootstrap import Samples
    from tevit.progress import Progress

DESCRIPTION = """\
Evaluate any model's results.json (or its submission zip) as the official evaluator of YouTube-VIS does.

  tevit evaluate valid.json results.json                        the twelve figures
  tevit evaluate valid.json results.json --per-class --json     the same for a program, in [0, 1], -1: no ground truth
  tevit evaluate valid.json a.json b.json --bootstrap 1000      two models: is one better, or is it chance?
"""
_PATIENCE = 2.0


def register(commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "evaluate",
        help="AP and its relatives, exactly as the official evaluator has them",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("gt", type=Path, metavar="GT", help="ground truth, JSON in YouTube-VIS form with annotations")
    add("results", nargs="+", type=Path, metavar="RESULTS", help="predictions: results.json or the zip that holds it")
    add("--json", action="store_true", help="print one object with the figures; several RESULTS: a list, in order")
    add("--per-class", action="store_true", help="also a table of the classes (with --json they are always there)")
    add("--per-size", action="store_true", help="also by the tracks' mean area")
    add("--per-length", action="store_true", help="also by the number of frames in which the tracks are there")
    add("--per-video", action="store_true", help="also by video, each taken as if it were the whole data set")
    add("--agnostic", action="store_true", help="take all classes for one")
    add("--bootstrap", type=_samples, default=0, metavar="N", help="95 %% intervals from N samples of the videos")
    add("--seed", type=int, default=0, help="of the samples (default 0)")
    parser.set_defaults(run=run)


def _samples(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"expected a number of samples from 2 on, got {text}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Always 0: what cannot be evaluated is an error."""
    from tevit.evaluation import evaluate
    from tevit.io.ytvis import open_dataset

    dataset = open_dataset(args.gt)
    with Patient() as progress:
        found = [
            evaluate(dataset, path, agnostic=args.agnostic, progress=progress, processes=processes())
            for path in args.results
        ]
        samples = _bootstrap(found, args, progress) if args.bootstrap else []
    for path, evaluation in zip(args.results, found, strict=True):
        for warning in evaluation.warnings:
            print(f"tevit: {path}: {warning}", file=sys.stderr)
    if args.json:
        print(_as_json(args, found, samples))
    else:
        _print(args, found, samples)
    return 0


def processes() -> int:
    """How many to share the work among: more than four save nothing that a person would notice."""
    from tevit.evaluation.parallel import usable_cores

    return min(4, usable_cores())


class Patient:
    """A progress bar that shows only once the work has taken long; importing it takes a while, too."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> "Patient":
        return self

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if self._bar is None and time.monotonic() - self._started > _PATIENCE:
            from tevit.progress import TerminalProgress

            self._bar = self._close = TerminalProgress(unit="step")
        if self._bar is not None:
            self._bar(stage, done, total)

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._close.__exit__(*exc)


def _bootstrap(found: "list[Evaluation]", args: argparse.Namespace, progress: "Progress") -> "list[Samples]":
    """The same samples of videos for every model, so that differences are paired."""
    from tevit.evaluation.bootstrap import draw_weights, resample

    weights = draw_weights(len(found[0].overlaps.inputs.videos), args.bootstrap, args.seed)
    return [resample(evaluation.overlaps, evaluation.matches, weights, progress) for evaluation in found]


def _as_json(args: argparse.Namespace, found: "list[Evaluation]", samples: "list[Samples]") -> str:
    objects = [_object(args, evaluation) for evaluation in found]
    for item, path in zip(objects, args.results if len(objects) > 1 else (), strict=False):
        item["file"] = str(path)
    for item, extra in zip(objects, _spreads_as_json(args, found, samples) if samples else (), strict=False):
        item["bootstrap"] = extra
    return json.dumps(objects if len(objects) > 1 else objects[0], ensure_ascii=False)


def as_object(evaluation: "Evaluation") -> dict:
    """What `--json` prints without further options: the twelve figures, and five for every class id (as text)."""
    columns = ("AP", "AP50", "AP75", "AR1", "AR10")
    item: dict = dict(evaluation.figures)
    item["per_class"] = {
        str(id): {"name": name, **{column: evaluation.per_class[id][column] for column in columns}}
        for id, name in evaluation.names.items()
    }
    return item


def _object(args: argparse.Namespace, evaluation: "Evaluation") -> dict:
    from dataclasses import asdict

    item = as_object(evaluation)
    parts = {"size": evaluation.by_size, "length": evaluation.by_length, "video": evaluation.by_video}
    for what, ask in parts.items():
        if getattr(args, f"per_{what}"):
            item[f"per_{what}"] = {str(name): asdict(part) for name, part in ask().items()}
    return item


def _spreads_as_json(args: argparse.Namespace, found: "list[Evaluation]", samples: "list[Samples]") -> list[dict]:
    from dataclasses import asdict

    from tevit.evaluation.bootstrap import differences, intervals

    items = []
    for evaluation, own in zip(found, samples, strict=False):
        spread = intervals(evaluation.figures, own)
        item: dict = {"samples": args.bootstrap, "seed": args.seed}
        item["intervals"] = {name: found and [found.low, found.high] for name, found in spread.items()}
        if items:
            more = differences(evaluation.figures, own, found[0].figures, samples[0])
            item["difference_to_first"] = {name: spread and asdict(spread) for name, spread in more.items()}
        items.append(item)
    return items


def _print(args: argparse.Namespace, found: "list[Evaluation]", samples: "list[Samples]") -> None:
    from tevit.evaluation import tables
    from tevit.evaluation.bootstrap import differences, intervals

    names = _short_names(args.results)
    spreads = [intervals(evaluation.figures, own) for evaluation, own in zip(found, samples, strict=False)]
    print(f"{args.gt}: {tables.heading(found[0])}\n\n{tables.figures(names, found, spreads)}")
    if len(found) > 1 and samples:
        base = found[0].figures
        values = [{name: value - base[name] for name, value in other.figures.items()} for other in found[1:]]
        more = [differences(e.figures, own, base, samples[0]) for e, own in zip(found[1:], samples[1:], strict=True)]
        print(f"\nMore than {names[0]}:\n\n{tables.differences(names[1:], more, values)}")
    for name, evaluation in zip(names, found, strict=True):
        _print_parts(args, f"\n{name}" if len(found) > 1 else "", evaluation)


def _print_parts(args: argparse.Namespace, title: str, evaluation: "Evaluation") -> None:
    from tevit.evaluation import tables

    asked = {
        "class": lambda: tables.per_class(evaluation),
        "size": lambda: tables.parts("mean area", evaluation.by_size()),
        "length": lambda: tables.parts("track length", evaluation.by_length()),
        "video": lambda: tables.parts("video", _with_names(evaluation)),
    }
    for what, table in asked.items():
        if getattr(args, f"per_{what}"):
            print(f"{title}\n{table()}")


def _with_names(evaluation: "Evaluation") -> dict:
    names = {video.id: video.name for video in evaluation.overlaps.inputs.videos}
    return {f"{id:>4} {names[id]}": part for id, part in evaluation.by_video().items()}


def _short_names(paths: list[Path]) -> list[str]:
    """The files' names, with as many folders as they need to differ."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
