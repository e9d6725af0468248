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
    """Exit code 0; errors are raised."""
    from dataclasses import asdict

    from tevit.progress import TerminalProgress
    from tevit.synthetic import dataset as shapes

    with TerminalProgress("video", quiet=True if args.json else None) as progress:
        made = shapes.write(args.out, args.videos, args.seed, args.split, args.label_errors, progress)
    print(json.dumps(asdict(made)) if args.json else _story(made, args.out / f"{args.split}.json"))
    return 0


def _story(made, file: Path) -> str:
    lines = [
        f"{file}: {made.videos} videos, {made.frames} frames, {made.tracks} tracks",
        f"an object hidden by 80 % or more in a crossing: {made.crossings} videos ({_percent(made.crossings, made)})",
        f"an object that returns after an absence: {made.returns} videos ({_percent(made.returns, made)})",
    ]
    if made.label_errors:
        lines.append(f"{file.stem}_with_errors.json: {made.label_errors} wrong tracks, named in label_errors.json")
    return "\n".join(lines)


def _percent(count: int, made) -> str:
    return f"{100 * count / made.videos:.0f} %"
