"""Commands on data sets: `tevit validate`, `tevit split`, `tevit formats`, `tevit shapes`."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tevit.cli.evaluate import add_class_options
from tevit.cli.predict import check_folder
from tevit.progress import TerminalProgress

if TYPE_CHECKING:
    from tevit.io.validation_report import ValidationReport
    from tevit.io.ytvis import Dataset
    from tevit.results import VideoResult


def register(commands) -> None:
    """Add the subcommands."""
    _add_validate(commands)
    _add_split(commands)
    _add_formats(commands)
    _add_shapes(commands)


VALIDATE_DESCRIPTION = """\
Check data sets and submissions in YouTube-VIS form; the kind of each file follows from its content.

  tevit validate train.json --frames train/JPEGImages    a data set, and whether its frames are on disk
  tevit validate results.json --gt valid.json            a submission (or its zip) for these videos
  tevit validate results.json --gt valid.json --fix      … and a repaired copy, results.fixed.json beside it
  … --fix --map-classes contiguous                       category ids that are indices of the data set's classes too

The exit code is 1 where there is a fault. Frames count from 0, predictions from 1 in the file's order.
"""


def _add_validate(commands) -> None:
    parser = commands.add_parser(
        "validate",
        help="is this a correct data set, a correct submission?",
        description=VALIDATE_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="data set or results, JSON or the submission zip")
    add("--gt", type=Path, metavar="JSON", help="data set that the submissions are for (annotations are not needed)")
    add("--frames", type=Path, metavar="ROOT", help="look whether every frame of the data sets is on disk below ROOT")
    add("--fix", action="store_true", help="write a repaired copy NAME.fixed.json beside each faulty FILE")
    add("--force", action="store_true", help="write it even if more than half of the entries would be removed")
    add("--json", action="store_true", help="print the reports as JSON, a list with one object a file")
    add_class_options(add)
    parser.set_defaults(run=run_validate)


def run_validate(args: argparse.Namespace) -> int:
    """Exit code 0 if all files are correct, else 1."""
    from tevit.io.ytvis import open_dataset

    if not args.gt and (args.map_classes or args.class_map):
        raise ValueError("--map-classes and --class-map need the ground truth (--gt)")
    gt = open_dataset(args.gt) if args.gt else None
    if args.frames:
        check_folder("--frames", args.frames)
    reports = []
    for path in args.files:
        with TerminalProgress(unit="track") as progress:
            report, written = _validate_file(path, gt, args, progress)
        reports.append(report.as_json() | ({"fixed": str(written)} if written else {}))
        if not args.json:
            _print_report(report, written)
    if args.json:
        print(json.dumps(reports, indent=2, ensure_ascii=False))
    return 0 if all(report["correct"] for report in reports) else 1


def _validate_file(
    path: Path, gt: "Dataset | None", args: argparse.Namespace, progress: TerminalProgress
) -> "tuple[ValidationReport, Path | None]":
    """The report, and the path of the repaired copy if --fix is given and there is something to repair."""
    from tevit.io.files import without_suffix
    from tevit.io.validate import validate

    report = validate(path, gt=gt, frames=args.frames, progress=progress)
    categories = _chosen_ids(report, gt, args)
    if categories is not None:
        report = validate(path, gt=gt, frames=args.frames, categories=categories, progress=progress)
    if not args.fix or not any(fault.repair for fault in report.faults):
        return report, None
    copy = path.with_name(f"{without_suffix(path).name}.fixed.json")
    settings = {"fixed": copy, "force": args.force, "categories": categories}
    report = validate(path, gt=gt, frames=args.frames, **settings, progress=progress)
    return report, None if report.refused else copy


def _chosen_ids(
    report: "ValidationReport", gt: "Dataset | None", args: argparse.Namespace
) -> "Mapping[int, int] | None":
    """Category id of a submission -> the ground truth's, by --map-classes or --class-map; None: as they are."""
    if gt is None or report.kind != "submission" or not (args.map_classes or args.class_map):
        return None
    from tevit.io.categories import chosen_ids, read_class_map

    class_map = read_class_map(args.class_map) if args.class_map else None
    return chosen_ids(report.predicted, gt, report.path, args.map_classes, class_map)[0]


def _print_report(report: "ValidationReport", written: Path | None) -> None:
    contents = ", ".join(f"{item}: {count}" for item, count in report.counts.items())
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


SPLIT_DESCRIPTION = """\
Split a data set by video: no video on both sides, every category in its proportion.

  tevit split train.json --val 0.15 --seed 0 --out parts     parts/train.json and parts/val.json
  tevit split train.json --videos names.txt --out parts      the named videos are for validation

The validation annotations of YouTube-VIS are not public: this gives figures on your own machine. Published
checkpoints have seen the whole training set, so evaluate only models that you trained on parts/train.json.
"""


def _add_split(commands) -> None:
    parser = commands.add_parser(
        "split",
        help="a training and a validation part of one data set",
        description=SPLIT_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("dataset", type=Path, metavar="JSON", help="data set with annotations")
    add("--val", type=float, default=0.15, metavar="SHARE", help="share of the videos for validation (0.15)")
    add("--seed", type=int, default=0, help="another seed gives another choice of videos (0)")
    add("--videos", type=Path, metavar="TXT", help="instead: names (or ids) of the videos for validation, one a line")
    add("--out", required=True, type=Path, metavar="DIR", help="where train.json and val.json go")
    add("--json", action="store_true", help="print what was done as JSON")
    parser.set_defaults(run=run_split)


def run_split(args: argparse.Namespace) -> int:
    """Write both parts and print their contents."""
    from tevit.io import split
    from tevit.io.ytvis import open_dataset

    dataset = open_dataset(args.dataset)
    if args.videos:
        lines = [line.strip() for line in args.videos.read_text(encoding="utf-8").splitlines()]
        names = [line for line in lines if line and not line.startswith("#")]
        if not names:
            raise ValueError(f"{args.videos} names no video")
        chosen = split.named(dataset, names)
    else:
        chosen = split.choose(dataset, args.val, args.seed)
    train, val = split.write(args.dataset, chosen, args.out)
    summary = _split_summary(dataset, chosen, split.counts(dataset, chosen), train, val)
    print(json.dumps(summary, indent=2, ensure_ascii=False) if args.json else _split_table(summary))
    return 0


def _split_summary(
    dataset: "Dataset", chosen: set[int], counts: dict[int, tuple[int, int]], train: Path, val: Path
) -> dict:
    from tevit.io.split import orphans

    sides = {"train": (train, len(dataset.videos) - len(chosen), 0), "val": (val, len(chosen), 1)}
    return (
        {
            "has_annotations": dataset.has_annotations,
            "orphaned_annotations": orphans(dataset),
            "unlisted_categories": sum(a.category_id not in dataset.categories for a in dataset.annotations),
            "renumbered": sum(a.id == 0 for a in dataset.annotations),
        }
        | {
            side: {"file": str(path), "videos": videos, "annotations": sum(pair[i] for pair in counts.values())}
            for side, (path, videos, i) in sides.items()
        }
        | {
            "val_videos": [info.name for id, info in dataset.videos.items() if id in chosen],
            "categories": [
                {"id": id, "name": dataset.categories[id], "train": pair[0], "val": pair[1]}
                for id, pair in counts.items()
            ],
        }
    )


def _split_table(summary: dict) -> str:
    from tevit.io.ytvis import NO_ANNOTATIONS

    lines = [
        f"{side['file']}: {side['videos']} videos, {side['annotations']} annotations"
        for side in (summary["train"], summary["val"])
    ]
    width = max((len(category["name"]) for category in summary["categories"]), default=0)
    lines.append(f"{'category':{max(width, 8)}}  train   val")
    for category in summary["categories"]:
        lines.append(f"{category['name']:{max(width, 8)}}  {category['train']:5}  {category['val']:4}")
    missing = [category["name"] for category in summary["categories"] if category["train"] and not category["val"]]
    if missing:
        lines.append(f"without any for validation: {', '.join(missing)}")
    if not summary["has_annotations"]:
        lines.append(f"{NO_ANNOTATIONS}: the videos were split without regard to categories")
    if orphaned := summary["orphaned_annotations"]:
        lines.append(f"annotations of videos that the file does not list: {orphaned}, in neither part")
    if unlisted := summary["unlisted_categories"]:
        lines.append(f"annotations of categories that the file does not list: {unlisted}, copied as they are")
    if renumbered := summary["renumbered"]:
        lines.append(f"annotations with the id 0, which can never be matched: {renumbered}, renumbered")
    return "\n".join(lines)


FORMATS_DESCRIPTION = """\
Convert annotations or predictions; the format of SOURCE follows from its content.

  tevit formats train.json --to coco --out coco.json                  one COCO image a frame
  tevit formats results.json --gt valid.json --to cvat --out cvat.xml    predictions to be corrected in CVAT
  tevit formats annotations.zip --like valid.json --to ytvis --out corrected.json    and back

ytvis: YouTube-VIS JSON. coco: COCO JSON (also of Datumaro and CVAT). cvat: "CVAT for images 1.1", XML or the exported
zip. CVAT imports masks image by image: create a task of the frames with the labels that are written beside the XML
(paste them into the Raw tab), then upload the XML; the attribute track_id says which masks are one object. cvat-video:
"CVAT for video 1.1". davis: a folder of palette PNGs per video. mots: a folder of text files (MOTS, KITTI-MOTS). burst,
tao: their JSON. label-studio: JSON of video tasks, boxes only. docs/formats.md says what each can hold.
"""


def _add_formats(commands) -> None:
    parser = commands.add_parser(
        "formats",
        help="YouTube-VIS to and from COCO, CVAT, DAVIS, MOTS, BURST, TAO and Label Studio",
        description=FORMATS_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", type=Path, metavar="SOURCE", help="file or folder in any of the formats, plain, gzip or zip")
    add(
        "--to",
        required=True,
        choices=("ytvis", "coco", "cvat", "cvat-video", "davis", "mots", "burst", "tao", "label-studio"),
        help="the format to write",
    )
    add("--out", required=True, type=Path, metavar="PATH", help="the file (davis, mots: the new folder) to write")
    add("--gt", type=Path, metavar="JSON", help="data set that results are for")
    add("--like", type=Path, metavar="JSON", help="data set with the ids that a CVAT file cannot hold")
    add("--json", action="store_true", help="print what was done as JSON")
    add_class_options(add)
    parser.set_defaults(run=run_formats)


def run_formats(args: argparse.Namespace) -> int:
    """Convert, and print what the new format cannot hold."""
    from tevit.io.categories import read_class_map
    from tevit.io.formats import convert
    from tevit.io.ytvis import open_dataset

    if args.out.exists() and args.out.samefile(args.source):
        raise ValueError(f"{args.out} cannot be written over the file it is made from")
    if args.source.is_dir() and args.source.resolve() in args.out.resolve().parents:
        raise ValueError(f"{args.out} is inside {args.source}, of which all files are read: name another place")
    gt = open_dataset(args.gt) if args.gt else None
    like = open_dataset(args.like) if args.like else None
    class_map = read_class_map(args.class_map) if args.class_map else None
    results, notes = convert.read(args.source, gt, like, args.map_classes, class_map)
    with TerminalProgress(unit="video") as progress:

        def with_progress() -> "Iterator[VideoResult]":
            done = 0
            for done, result in enumerate(results, 1):
                yield result
                progress("converting", done, None)
            if not done:
                raise ValueError(f"{args.source} holds no videos")

        written, losses = convert.write(args.out, args.to, with_progress())
    notes = notes + losses  # after the last video, when they are complete
    if args.json:
        summary = {"written": list(map(str, written)), "cannot_hold": convert.CANNOT_HOLD[args.to], "notes": notes}
        print(json.dumps(summary, indent=2, ensure_ascii=False))
        return 0
    print("\n".join(map(str, written)))
    for loss in convert.CANNOT_HOLD[args.to]:
        print(f"  {args.to} cannot hold {loss}", file=sys.stderr)
    for note in notes:
        print(f"  note: {note}", file=sys.stderr)
    return 0


def _add_shapes(commands) -> None:
    parser = commands.add_parser(
        "shapes",
        help="make a synthetic data set of moving shapes",
        description="Make videos of moving, crossing, leaving and returning shapes of eight classes, 320x192, with "
        "exact masks: OUT/JPEGImages/<video>/<frame>.jpg and OUT/<split>.json in YouTube-VIS form. The same seed gives "
        "the same data on every machine.",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write into")
    parser.add_argument("--videos", type=int, default=60, metavar="N", help="how many videos (default: 60)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of all draws (default: 0)")
    parser.add_argument("--split", choices=("train", "valid", "test"), default="valid", help="default: valid")
    parser.add_argument(
        "--label-errors",
        type=int,
        default=0,
        metavar="K",
        help="also write OUT/<split>_with_errors.json with K wrong tracks, and label_errors.json that names them",
    )
    parser.add_argument("--json", action="store_true", help="print what was made as JSON")
    parser.set_defaults(run=run_shapes)


def run_shapes(args: argparse.Namespace) -> int:
    """Write the data set and print its counts; returns 0."""
    from tevit.progress import TerminalProgress
    from tevit.synthetic import dataset as shapes

    with TerminalProgress("video", quiet=True if args.json else None) as progress:
        summary = shapes.write(args.out, args.videos, args.seed, args.split, args.label_errors, progress)
    if args.json:
        print(json.dumps(summary._asdict()))
        return 0
    file = args.out / f"{args.split}.json"
    crossings, returns = (100 * count / summary.videos for count in (summary.crossings, summary.returns))
    print(f"{file}: {summary.videos} videos, {summary.frames} frames, {summary.tracks} tracks")
    print(f"an object hidden by 80 % or more in a crossing: {summary.crossings} videos ({crossings:.0f} %)")
    print(f"an object that returns after an absence: {summary.returns} videos ({returns:.0f} %)")
    if summary.label_errors:
        print(f"{file.stem}_with_errors.json: {summary.label_errors} wrong tracks, named in label_errors.json")
    return 0
