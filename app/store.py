"""`python -m app.store backup PROJECT`: a copy of a project's review log, also while the studio runs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .storage.review_log import backup


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, or 2 after one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m app.store", description="The review log of a project.")
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("backup", help="copy the log, also while the studio is at work")
    part.add_argument("project", type=Path, metavar="PROJECT", help="the project's folder")
    part.add_argument("--out", type=Path, metavar="FILE", help="the copy (default: a new one in PROJECT/backups)")
    args = parser.parse_args(argv)
    try:
        print(backup(args.project, args.out))
    except (OSError, ValueError) as error:
        print(f"app.store: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
