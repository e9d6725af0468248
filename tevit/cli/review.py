"""`tevit review`: disagreements of labels and predictions, and the labels with a log of decisions applied."""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tevit.cli.evaluate import add_class_options, open_predictions, print_warnings

if TYPE_CHECKING:
    from tevit.review import Corrected, Decision
    from tevit.review.queue import ReviewItem

DESCRIPTION = """\
Review labels with a model's help; the studio's tab Review makes the log, these work on it without the page.

  tevit review queue GT RESULTS                              disagreements, the most likely label errors first
  tevit review check LOG.jsonl GT                            what of a log does not fit, what reviewers disagree about
  tevit review apply LOG.jsonl GT --out corrected.json       the corrected labels
  tevit review report LOG.jsonl GT --out DIR                 what changed: corrected.json, changes.csv, report.html
  tevit review agreement LOG.jsonl                           how far every two reviewers agree

The original is never written. Where reviewers disagree and nobody has resolved it, the label stays as it was.
Exit code 1: decisions were left out; each is named in the output.
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
    queue = parts.add_parser("queue", help="disagreements, the most likely label errors first")
    queue.add_argument("gt", type=Path, metavar="GT", help="labels, JSON in YouTube-VIS form")
    queue.add_argument("results", type=Path, metavar="RESULTS", help="a model's results.json or its zip")
    queue.add_argument("--limit", type=int, default=30, metavar="N", help="so many at most, 0: all (default 30)")
    queue.add_argument("--json", action="store_true", help="print a list with all that is known of each")
    _share_options(queue)
    queue.set_defaults(run=_queue)
    check = _log_command(parts, "check", "what of a log does not fit, and what reviewers disagree about", _check)
    check.add_argument("--json", action="store_true", help="print it as JSON")
    check.add_argument("--reviewers", type=Path, metavar="FILE", help="names of those who may decide, one a line")
    apply = _log_command(parts, "apply", "write the corrected labels", _apply)
    apply.add_argument("--out", required=True, type=Path, metavar="FILE", help="the file to write")
    report = _log_command(parts, "report", "write the corrected labels and what changed", _report)
    add = report.add_argument
    add("--out", required=True, type=Path, metavar="DIR", help="folder for corrected.json, changes.csv, report.html")
    add("--frames", type=Path, metavar="ROOT", help="root of the frames, for pictures (without: masks on grey)")
    add("--predictions", type=Path, nargs="+", default=[], metavar="FILE", help="results: their AP before and after")
    for part in (queue, report):
        add_class_options(part.add_argument)
    for part in (apply, report):
        part.add_argument("--only-fitting", action="store_true", help="apply what fits, leave out what does not")
        part.add_argument("--json", action="store_true", help="print what was done as JSON")
    agreement = parts.add_parser("agreement", help="how far every two reviewers agree")
    agreement.add_argument("log", type=Path, metavar="LOG", help="decisions, JSON lines")
    agreement.add_argument("--json", action="store_true", help="print it as JSON")
    agreement.set_defaults(run=_agreement)


def _share_options(queue: argparse.ArgumentParser) -> None:
    add = queue.add_argument
    add("--reviewers", type=Path, metavar="FILE", help="share the queue out among these people, a name a line")
    add("--reviewers-per-question", type=int, choices=(1, 2), default=1, help="how many get each one (default 1)")
    add("--reviewer", metavar="NAME", help="only the questions of this one of them")


def _log_command(parts, name: str, help: str, run) -> argparse.ArgumentParser:
    part = parts.add_parser(name, help=help)
    part.add_argument("log", type=Path, metavar="LOG", help="decisions, JSON lines")
    part.add_argument("gt", type=Path, metavar="GT", help="the labels that were reviewed")
    part.set_defaults(run=run)
    return part


def _queue(args: argparse.Namespace) -> int:
    from tevit.evaluation.error_table import analyse_errors
    from tevit.evaluation.inputs import read_inputs
    from tevit.evaluation.overlaps import compute_overlaps
    from tevit.io.ytvis import open_dataset
    from tevit.review.queue import build_queue

    dataset = open_dataset(args.gt)
    results = open_predictions(args.results, dataset, args)
    overlaps = compute_overlaps(read_inputs(dataset, results), all_pairs=True)
    print_warnings(args.gt, {args.results: overlaps.warnings})
    shared = _shared_out(args, build_queue(dataset, results, overlaps, analyse_errors(overlaps)))
    shown = shared[: args.limit] if args.limit > 0 else shared
    if args.json:
        more = ({"place": place, "reviewers": names} for place, (_, names) in enumerate(shown, 1))
        print(json.dumps([{**asdict(item), **extra} for (item, _), extra in zip(shown, more, strict=True)]))
        return 0
    if not shared:
        print(f"There is nothing to review{f' for {args.reviewer}' if args.reviewer else ''}.")
        return 0
    for place, (item, names) in enumerate(shown, 1):
        whose = f"{' and '.join(names)}: " if names else ""
        name = dataset.videos[item.video_id].name
        print(f"{place:4}  {item.priority:.2f}  {item.kind:20}  {whose}{name}, frame {item.frame}: {item.question}")
    if len(shown) < len(shared):
        print(f"{len(shared) - len(shown)} more: --limit 0 shows all")
    return 0


def _shared_out(args: argparse.Namespace, items: "list[ReviewItem]") -> "list[tuple[ReviewItem, tuple[str, ...]]]":
    """Each question, or each one of --reviewer, with those who get it; nobody where the queue is not shared out."""
    if args.reviewers is None:
        if args.reviewer is not None:
            raise ValueError("--reviewer needs --reviewers FILE, the names that the queue is shared out among")
        return [(item, ()) for item in items]
    from tevit.review.reviewers import Team, read_reviewers

    team = Team(read_reviewers(args.reviewers), args.reviewers_per_question)
    if args.reviewer is not None and args.reviewer not in team.names:
        raise ValueError(f"--reviewer: {args.reviewer!r} is not in {args.reviewers}: {', '.join(team.names)}")
    sha256 = hashlib.sha256(args.results.read_bytes()).hexdigest()
    shared = [(item, team.assigned(item.subject(sha256))) for item in items]
    return [(item, names) for item, names in shared if args.reviewer is None or args.reviewer in names]


def _check(args: argparse.Namespace) -> int:
    from tevit.io import json as jsonfile
    from tevit.review import LogState, check_applicable, other_versions
    from tevit.review.decisions import to_line
    from tevit.review.log import count_lines, lines_in_words
    from tevit.review.reviewers import read_reviewers

    (log, lost), data = _read_log(args.log), jsonfile.read(args.gt)
    with _naming(args.gt):
        others = other_versions(log, data)
        bad = [item for item in check_applicable(log, data) if not item.applicable]
    state = LogState(log)
    names = read_reviewers(args.reviewers) if args.reviewers else ()
    strangers = [d for d in log if names and d.reviewer not in names]
    if args.json:
        content = {
            **count_lines(state),
            "unreadable": lost,
            "other_versions": others,
            "unfit": [{"decision": json.loads(to_line(item.decision)), "reason": item.reason} for item in bad],
            "not_reviewers": [{"id": d.id, "reviewer": d.reviewer} for d in strangers],
            "disagreements": [[d.id for d in item.decisions] for item in state.disagreements],
        }
        print(json.dumps(content))
    else:
        for version, count in others.items():
            print(f"{count} of {len(log)} lines were made for another version of the labels ({version[:12]}…)")
        for item in bad:
            print(f"does not fit: {item}")
        for d in strangers:
            print(f"decision {d.id}: {d.reviewer} is not in {args.reviewers}")
        for item in state.disagreements:
            print(f"disagreement: {item}")
        fit = f"of the lines {len(log) - len(bad)} fit, {len(state.disagreements)} disagreements"
        print(f"{args.log}: {lines_in_words(state)}; {fit}")
    return int(bool(lost or others or bad or strangers or state.disagreements))


def _agreement(args: argparse.Namespace) -> int:
    from tevit.review import LogState
    from tevit.review.reviewers import agreements

    log, lost = _read_log(args.log)
    state = LogState(log)
    pairs = agreements(state)
    if args.json:
        numbers = [{**asdict(item), **_without_nan({"kappa": item.kappa, "iou": item.iou})} for item in pairs]
        disagreements = [[d.id for d in item.decisions] for item in state.disagreements]
        print(json.dumps({"pairs": numbers, "disagreements": disagreements}))
        return int(bool(lost))
    if not pairs:
        print(f"{args.log}: no question was decided by two reviewers.")
    for item in pairs:
        print(item)
    for item in state.disagreements:
        print(f"not resolved: {item}")
    return int(bool(lost))


def _read_log(path: Path) -> "tuple[list[Decision], list[str]]":
    """All decisions that can be read, and a sentence for each one that cannot, printed on standard error, too."""
    from tevit.review.recovery import recover_log

    recovered = recover_log(path)
    sentences = recovered.sentences(str(path))
    for sentence in sentences:
        print(f"tevit: left out: {sentence}" if recovered.missing else f"tevit: {sentence}", file=sys.stderr)
    return list(recovered.decisions), sentences


def _without_nan(values: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _apply(args: argparse.Namespace) -> int:
    from tevit.review.apply import write_corrected

    log, lost, corrected = _corrected(args)
    write_corrected(args.out, corrected.data, (args.gt, args.log))
    if args.json:
        print(json.dumps({**_summary(log, corrected), "file": str(args.out)}))
    else:
        print(f"{args.out}: {_applied(log, corrected)}")
    return int(bool(lost or corrected.left_out or corrected.disagreements))


def _report(args: argparse.Namespace) -> int:
    from tevit.io.ytvis import open_dataset
    from tevit.review.apply import write_report

    dataset = open_dataset(args.gt)
    predictions = [open_predictions(path, dataset, args) for path in args.predictions]
    log, lost, corrected = _corrected(args)
    report = write_report(args.out, args.gt, log, corrected, frames=args.frames, predictions=predictions)
    print_warnings(args.gt, {p.path: m.before.warnings for p, m in zip(predictions, report.models, strict=True)})
    for sentence in report.missing:
        print(f"tevit: {sentence}", file=sys.stderr)
    if args.json:
        content = {
            "files": [str(report.page), str(report.table), str(report.corrected)],
            "changes": len(report.changes),
            "models": {model.name: dict(model.figures()) for model in report.models},
        }
        print(json.dumps(_summary(log, corrected) | content))
    else:
        count = len(report.changes)
        differ = "1 track differs" if count == 1 else f"{count} tracks differ"
        print(f"{args.gt}: {_applied(log, corrected)}; {differ}")
        for model in report.models:
            before, after = (100 * value for value in model.figures()["AP"])
            print(f"{model.name}: AP {before:.1f} by the original labels, {after:.1f} by the corrected ones")
        print(f"Written: {report.page}, changes.csv, corrected.json")
    return int(bool(lost or corrected.left_out or corrected.disagreements))


def _corrected(args: argparse.Namespace) -> "tuple[list[Decision], list[str], Corrected]":
    """The log, its unreadable lines and the corrected labels; what was left out is printed on standard error."""
    from tevit.io import json as jsonfile
    from tevit.review import correct

    log, lost = _read_log(args.log)
    data = jsonfile.read(args.gt)
    with _naming(args.gt):
        corrected = correct(data, log, only_fitting=args.only_fitting)
    for item in corrected.left_out:
        print(f"tevit: left out: {item}", file=sys.stderr)
    for item in corrected.disagreements:
        print(f"tevit: reviewers disagree, the label stays as it was: {item}", file=sys.stderr)
    for note in corrected.notes():
        print(f"tevit: {args.gt}: {note[0].lower()}{note[1:]}", file=sys.stderr)
    return log, lost, corrected


@contextmanager
def _naming(gt: Path) -> Iterator[None]:
    """Errors about the labels, which have no name in memory, under the name of their file."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        raise ValueError(f"{gt}{text.removeprefix('the labels')}" if text.startswith("the labels") else text) from None


def _applied(log: "list[Decision]", corrected: "Corrected") -> str:
    """How many decisions count, and what the lines of the log are."""
    from tevit.review import LogState
    from tevit.review.log import count_lines, lines_in_words

    state = LogState(log)
    applied = f"{len(corrected.applied)} of {count_lines(state)['decisions']} decisions applied"
    return f"{applied} (the log has {lines_in_words(state)})"


def _summary(log: "list[Decision]", corrected: "Corrected") -> dict:
    from tevit.review import LogState
    from tevit.review.log import count_lines

    return {
        **count_lines(LogState(log)),
        "applied": len(corrected.applied),
        "left_out": [{"id": item.decision.id, "reason": item.reason} for item in corrected.left_out],
        "disagreements": [[d.id for d in item.decisions] for item in corrected.disagreements],
    }
