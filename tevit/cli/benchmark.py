"""`tevit benchmark`: how fast and with how much memory this machine does it, beside a yardstick of the same run."""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from tevit.cli import benchmark_prediction as prediction

DESCRIPTION = """\
Measure on this machine. The last line of model, video and memory is their result as JSON; --out writes it to a file.

  tevit benchmark model                          the model alone, part by part, beside timm's PVTv2-B1 and the
                                                 machine's best; weights by seed, nothing is downloaded
  tevit benchmark model --without packed         what the CPU's packed layers gain; also winograd
  tevit benchmark video dog.mp4                  from the file to results.json; without one a made-up video
  tevit benchmark memory --frames 1000           resident memory over the length of a video
  tevit benchmark --compare a.json b.json        two results of one kind side by side
  tevit benchmark evaluate                       a made-up data set of 300 videos, 3000 predictions, 100 000 masks
  tevit benchmark evaluate --videos 5000         more of it: time must grow no faster than the data
  tevit benchmark evaluate --gt G --results R    your own files

evaluate runs each program as a whole process, its start included; there the best of several rounds counts.
"""
_YARDSTICK = "import json, sys; [json.load(open(path)) for path in sys.argv[1:]]"


def register(commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "benchmark",
        help="how fast this machine does it",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--compare", nargs=2, type=Path, metavar="JSON", help="two results of --out, side by side")
    parser.set_defaults(run=run_compare)
    kinds = parser.add_subparsers(dest="benchmark", metavar="WHAT")
    evaluate = kinds.add_parser("evaluate", help="tevit evaluate, beside Python's json.load of the same files")
    evaluate.add_argument("--videos", type=int, default=300, help="of the made-up data set (default 300)")
    evaluate.add_argument("--gt", type=Path, metavar="JSON", help="your own ground truth instead")
    evaluate.add_argument("--results", type=Path, metavar="JSON", help="and the results for it")
    evaluate.add_argument("--rounds", type=int, default=5, help="of which the best counts (default 5)")
    evaluate.add_argument("--out", type=Path, metavar="JSON", help="write the result there, too")
    evaluate.set_defaults(run=run_evaluate)
    prediction.register(kinds)


def run_compare(args: argparse.Namespace) -> int:
    """Print two results side by side."""
    if args.compare is None:
        raise ValueError("expected what to measure (model, video, memory, evaluate), or --compare with two results")
    from tevit.benchmarks.record import compare

    print(compare(*args.compare))
    return 0


def run_evaluate(args: argparse.Namespace) -> int:
    """Measure `tevit evaluate`."""
    if (args.gt is None) != (args.results is None):
        raise ValueError("expected both --gt and --results, or neither")
    if args.rounds < 1 or args.videos < 1:
        raise ValueError(f"expected at least 1 round and 1 video, got {args.rounds} and {args.videos}")
    with tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder:
        result = _measure(args.rounds, *_files(args, Path(folder)))
    print(_text(result))
    if args.out:
        from tevit.io.files import atomic

        with atomic(args.out) as path:
            path.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def _files(args: argparse.Namespace, folder: Path) -> tuple[Path, Path]:
    if args.gt:
        return args.gt, args.results
    from tevit.synthetic.results import write_sets

    print(f"making a data set of {args.videos} videos", file=sys.stderr)
    return write_sets(folder, args.videos)


def _measure(rounds: int, gt: Path, results: Path) -> dict:
    """The two programs take turns, so that what else the machine does meets both."""
    programs = {
        "tevit evaluate": [sys.executable, "-m", "tevit", "evaluate", str(gt), str(results), "--json"],
        "json.load of both files": [sys.executable, "-c", _YARDSTICK, str(gt), str(results)],
    }
    runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, command in programs.items():
            runs[name].append(_run(command))
    best = {
        name: dict(
            zip(
                ("seconds", "cpu_seconds", "megabytes"),
                (min(column) for column in zip(*found, strict=True)),
                strict=True,
            )
        )
        for name, found in runs.items()
    }
    system = f"{platform.system()} {platform.machine()}"
    return {
        "date": date.today().isoformat(),
        "machine": f"{system}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "megabytes_of_json": round((gt.stat().st_size + results.stat().st_size) / 1e6, 1),
        "rounds": rounds,
        "best": {name: {key: round(value, 3) for key, value in found.items()} for name, found in best.items()},
    }


def _run(command: list[str]) -> tuple[float, float, float]:
    """Wall clock, seconds; processor time, seconds; peak memory, megabytes."""
    started = time.perf_counter()
    process = os.posix_spawn(
        command[0], command, dict(os.environ), file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    )
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - started
    if status:
        raise ValueError(f"{' '.join(command[:4])} … failed: its message stands above")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)


def _text(result: dict) -> str:
    lines = [f"{result['machine']}; {result['megabytes_of_json']} MB of JSON, best of {result['rounds']}", ""]
    lines += [
        f"{name:25s} {found['seconds']:7.2f} s  {found['cpu_seconds']:7.2f} s of a core  {found['megabytes']:6.0f} MB"
        for name, found in result["best"].items()
    ]
    return "\n".join(lines)
