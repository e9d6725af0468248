"""`tevit split`: a training and a validation part of one data set."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tevit.io.ytvis import Dataset

DESCRIPTION = """\
Split a data set by video: no video on both sides, every category in its proportion.

  tevit split train.json --val 0.15 --seed 0 --out parts     parts/train.json and parts/val.json
  tevit split train.json --videos names.txt --out parts      the named videos are for validation

The validation annotations of YouTube-VIS are not public: this gives figures on your own machine. Published
checkpoints have seen the whole training set, so evaluate only models that you trained on parts/train.json.
"""


def register(commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "split",
        help="a training and a validation part of one data set",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("dataset", type=Path, metavar="JSON", help="data set with annotations")
    add("--val", type=float, default=0.15, metavar="SHARE", help="share of the videos for validation (0.15)")
    add("--seed", type=int, default=0, help="another seed gives another choice of videos (0)")
    add("--videos", type=Path, metavar="TXT", help="instead: names (or ids) of the videos for validation, one a line")
    add("--out", required=True, type=Path, metavar="DIR", help="where train.json and val.json go")
    add("--json", action="store_true", help="print what was done as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
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
    summary = _summary(dataset, chosen, split.counts(dataset, chosen), train, val)
    print(json.dumps(summary, indent=2, ensure_ascii=False) if args.json else _table(summary))
    return 0


def _summary(dataset: "Dataset", chosen: set[int], counts: dict[int, tuple[int, int]], train: Path, val: Path) -> dict:
    from tevit.io.split import orphans

    sides = {"train": (train, len(dataset.videos) - len(chosen), 0), "val": (val, len(chosen), 1)}
    return (
        {"orphaned_annotations": orphans(dataset)}
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


def _table(summary: dict) -> str:
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
    if orphaned := summary["orphaned_annotations"]:
        lines.append(f"annotations of videos that the file does not list: {orphaned}, in neither part")
    return "\n".join(lines)
