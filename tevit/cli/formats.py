"""`tevit formats`: convert annotations between YouTube-VIS and the formats of other tools."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tevit.progress import TerminalProgress

if TYPE_CHECKING:
    from tevit.results import VideoResult

DESCRIPTION = """\
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


def register(commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "formats",
        help="YouTube-VIS to and from COCO, CVAT, DAVIS, MOTS, BURST, TAO and Label Studio",
        description=DESCRIPTION,
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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert, and print what the new format cannot hold."""
    from tevit.io.formats import convert
    from tevit.io.ytvis import open_dataset

    if args.out.exists() and args.out.samefile(args.source):
        raise ValueError(f"{args.out} cannot be written over the file it is made from")
    gt = open_dataset(args.gt) if args.gt else None
    like = open_dataset(args.like) if args.like else None
    results, notes = convert.read(args.source, gt, like)
    with TerminalProgress(unit="video") as progress:

        def with_progress() -> "Iterator[VideoResult]":
            for done, result in enumerate(results, 1):
                yield result
                progress("converting", done, None)

        written, losses = convert.write(args.out, args.to, with_progress())
    notes = notes + losses
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
