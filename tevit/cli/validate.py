"""`tevit validate`: report the faults of data sets and submissions, write repaired copies."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tevit.progress import TerminalProgress

if TYPE_CHECKING:
    from tevit.io.validate import ValidationReport
    from tevit.io.ytvis import Dataset

DESCRIPTION = """\
Check data sets and submissions in YouTube-VIS form; the kind of each file follows from its content.

  tevit validate train.json --frames train/JPEGImages    a data set, and whether its frames are on disk
  tevit validate results.json --gt valid.json            a submission (or its zip) for these videos
  tevit validate results.json --gt valid.json --fix      … and a repaired copy, results.fixed.json beside it

The exit code is 1 where there is a fault. Frames count from 0, predictions from 1 in the file's order.
"""


def register(commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "validate",
        help="is this a correct data set, a correct submission?",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="data set or results, JSON or the submission zip")
    add("--gt", type=Path, metavar="JSON", help="data set that the submissions are for (annotations are not needed)")
    add("--frames", type=Path, metavar="ROOT", help="look whether every frame of the data sets is on disk below ROOT")
    add("--fix", action="store_true", help="write a repaired copy NAME.fixed.json beside each faulty FILE")
    add("--force", action="store_true", help="write it even if more than half of the entries would be removed")
    add("--json", action="store_true", help="print the reports as JSON, a list with one object a file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit code 0 if all files are correct, else 1."""
    from tevit.io.ytvis import open_dataset

    gt = open_dataset(args.gt) if args.gt else None
    reports = []
    for path in args.files:
        with TerminalProgress(unit="track") as progress:
            report, written = _check(path, gt, args, progress)
        reports.append(report.as_json() | ({"fixed": str(written)} if written else {}))
        if not args.json:
            _print(report, written)
    if args.json:
        print(json.dumps(reports, indent=2, ensure_ascii=False))
    return 0 if all(report["correct"] for report in reports) else 1


def _check(
    path: Path, gt: "Dataset | None", args: argparse.Namespace, progress: TerminalProgress
) -> "tuple[ValidationReport, Path | None]":
    """The report, and the path of the repaired copy if --fix is given and there is something to repair."""
    from tevit.io.validate import validate

    report = validate(path, gt=gt, frames=args.frames, progress=progress)
    if not args.fix or not any(fault.repair for fault in report.faults):
        return report, None
    copy = path.with_name(f"{path.name.removesuffix('.gz').rpartition('.')[0] or path.name}.fixed.json")
    report = validate(path, gt=gt, frames=args.frames, fixed=copy, force=args.force, progress=progress)
    return report, None if report.refused else copy


def _print(report: "ValidationReport", written: Path | None) -> None:
    contents = ", ".join(f"{what}: {count}" for what, count in report.counts.items())
    print(f"{report.path}: {report.kind}" + (f"; {contents}" if contents else ""))
    for fault in report.faults:
        print(f"  {fault}" + (f" -> {fault.repair}" if written and fault.repair else ""))
    for note in report.notes:
        print(f"  note: {note}")
    if not report.faults:
        print("  correct")
        return
    repairable = sum(fault.repair is not None for fault in report.faults)
    print(f"  faults: {len(report.faults)}, of which --fix can repair {repairable}")
    if report.refused:
        print(f"  no repaired copy: {report.refused}; --force writes it")
    if written:
        print(f"  repaired copy: {written}")
