"""`tevit review`: what to look at in the labels, and the labels with a log of decisions applied."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tevit.review import Corrected, Decision
    from tevit.review.report import ReviewReport

DESCRIPTION = """\
Review labels with a model's help; the studio's tab Review makes the log, these work on it without the page.

  tevit review queue GT RESULTS                              disagreements, the most likely label errors first
  tevit review check LOG.jsonl GT                            what of a log does not fit, what reviewers disagree about
  tevit review apply LOG.jsonl GT --out corrected.json       the corrected labels
  tevit review report LOG.jsonl GT --out DIR                 what changed: corrected.json, changes.csv, report.html

The original is never written. Where reviewers disagree and nobody has resolved it, the label stays as it was.
Exit code 1: something of the log was left out, and it was said what.
"""


def register(commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "review",
        help="find label errors, apply review decisions, report changes",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(dest="part", metavar="PART", required=True)
    _add_queue(parts)
    check = _on_log(parts, "check", "what of a log does not fit, and what reviewers disagree about", _check)
    check.add_argument("--json", action="store_true", help="print it as JSON")
    apply = _on_log(parts, "apply", "write the corrected labels", _apply)
    apply.add_argument("--out", required=True, type=Path, metavar="FILE", help="the file to write")
    report = _on_log(parts, "report", "write the corrected labels and what changed", _report)
    add = report.add_argument
    add("--out", required=True, type=Path, metavar="DIR", help="folder for corrected.json, changes.csv, report.html")
    add("--frames", type=Path, metavar="ROOT", help="root of the frames, for pictures (without: masks on grey)")
    add("--predictions", type=Path, nargs="+", default=[], metavar="FILE", help="results: their AP before and after")
    for part in (apply, report):
        part.add_argument("--only-fitting", action="store_true", help="apply what fits, leave out what does not")
        part.add_argument("--json", action="store_true", help="print what was done as JSON")


def _add_queue(parts) -> None:
    queue = parts.add_parser("queue", help="disagreements, the most likely label errors first")
    queue.add_argument("gt", type=Path, metavar="GT", help="labels, JSON in YouTube-VIS form")
    queue.add_argument("results", type=Path, metavar="RESULTS", help="a model's results.json or its zip")
    queue.add_argument("--limit", type=int, default=30, metavar="N", help="so many at most, 0: all (default 30)")
    queue.add_argument("--json", action="store_true", help="print a list with all that is known of each")
    queue.set_defaults(run=_queue)


def _on_log(parts, name: str, help: str, run) -> argparse.ArgumentParser:
    part = parts.add_parser(name, help=help)
    part.add_argument("log", type=Path, metavar="LOG", help="decisions, JSON lines")
    part.add_argument("gt", type=Path, metavar="GT", help="the labels that were reviewed")
    part.set_defaults(run=run)
    return part


def _queue(args: argparse.Namespace) -> int:
    from tevit.io.ytvis import open_dataset
    from tevit.review.queue import review_queue

    dataset = open_dataset(args.gt)
    items = review_queue(dataset, args.results)
    shown = items[: args.limit] if args.limit > 0 else items
    if args.json:
        print(json.dumps([{**asdict(item), "place": place} for place, item in enumerate(shown, 1)]))
        return 0
    if not items:
        print("Labels and predictions agree: there is nothing to review.")
        return 0
    for place, item in enumerate(shown, 1):
        name = dataset.videos[item.video_id].name
        print(f"{place:4}  {item.priority:.2f}  {item.kind:20}  {name}, frame {item.frame}: {item.question}")
    if len(shown) < len(items):
        print(f"{len(items) - len(shown)} more: --limit 0 shows all")
    return 0


def _check(args: argparse.Namespace) -> int:
    from tevit.review import LogState, check_applicable, other_versions, read_log
    from tevit.review.decisions import to_line

    log, data = read_log(args.log), _labels(args.gt)
    others = other_versions(log, data)
    bad = [found for found in check_applicable(log, data) if not found.applicable]
    disagreements = LogState(log).disagreements
    if args.json:
        content = {
            "decisions": len(log),
            "other_versions": others,
            "unfit": [{"decision": json.loads(to_line(found.decision)), "reason": found.reason} for found in bad],
            "disagreements": [[d.id for d in found.decisions] for found in disagreements],
        }
        print(json.dumps(content))
    else:
        for version, count in others.items():
            print(f"{count} of {len(log)} decisions were made for another version of the labels ({version[:12]}…)")
        for found in bad:
            print(f"does not fit: {found}")
        for found in disagreements:
            print(f"disagreement: {found}")
        print(f"{args.log}: {len(log)} decisions, {len(log) - len(bad)} fit, {len(disagreements)} disagreements")
    return int(bool(others or bad or disagreements))


def _apply(args: argparse.Namespace) -> int:
    from tevit.review.report import write_corrected

    log, corrected = _corrected(args)
    write_corrected(args.out, corrected.data, (args.gt, args.log))
    if args.json:
        print(json.dumps({**_summary(log, corrected), "file": str(args.out)}))
    else:
        print(f"{args.out}: {_story(log, corrected)}")
    return _code(corrected)


def _report(args: argparse.Namespace) -> int:
    from tevit.review.report import write_report

    log, corrected = _corrected(args)
    made = write_report(args.out, args.gt, log, corrected, frames=args.frames, predictions=args.predictions)
    for sentence in made.missing:
        print(f"tevit: {sentence}", file=sys.stderr)
    if args.json:
        print(json.dumps({**_summary(log, corrected), **_of_report(made)}))
        return _code(corrected)
    print(f"{args.gt}: {_story(log, corrected)}; {_differ(len(made.changes))}")
    for model in made.models:
        before, after = (100 * value for value in model.figures()["AP"])
        print(f"{model.name}: AP {before:.1f} by the original labels, {after:.1f} by the corrected ones")
    print(f"Written: {made.page}, changes.csv, corrected.json")
    return _code(corrected)


def _labels(path: Path) -> bytes:
    from tevit.io import json as jsonfile

    return jsonfile.read(path)


def _corrected(args: argparse.Namespace) -> "tuple[list[Decision], Corrected]":
    from tevit.review import correct, read_log

    log = read_log(args.log)
    corrected = correct(_labels(args.gt), log, only_fitting=args.only_fitting)
    for found in corrected.left_out:
        print(f"tevit: left out: {found}", file=sys.stderr)
    for found in corrected.disagreements:
        print(f"tevit: reviewers disagree, the label stays as it was: {found}", file=sys.stderr)
    return log, corrected


def _story(log: "list[Decision]", corrected: "Corrected") -> str:
    return f"{len(corrected.applied)} of {len(log)} decisions applied"


def _differ(count: int) -> str:
    return "1 track differs" if count == 1 else f"{count} tracks differ"


def _summary(log: "list[Decision]", corrected: "Corrected") -> dict:
    return {
        "decisions": len(log),
        "applied": len(corrected.applied),
        "left_out": [{"id": found.decision.id, "reason": found.reason} for found in corrected.left_out],
        "disagreements": [[d.id for d in found.decisions] for found in corrected.disagreements],
    }


def _of_report(made: "ReviewReport") -> dict:
    return {
        "files": [str(made.page), str(made.table), str(made.corrected)],
        "changes": len(made.changes),
        "models": {model.name: dict(model.figures()) for model in made.models},
    }


def _code(corrected: "Corrected") -> int:
    return int(bool(corrected.left_out or corrected.disagreements))
