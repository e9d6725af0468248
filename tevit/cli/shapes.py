"""`tevit shapes`: make the synthetic data set."""

import argparse
import json
from pathlib import Path


def register(commands) -> None:
    """Add the subcommand."""
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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
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
