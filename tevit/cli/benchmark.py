"""`tevit benchmark`: time and memory of prediction and evaluation on this machine, beside yardsticks."""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tevit.cli.predict import DEFAULT_MODEL, add_device_options, check_folder, size
from tevit.progress import TerminalProgress

if TYPE_CHECKING:
    from tevit.benchmarks.record import Figures
    from tevit.inference.predictor import Predictor

DESCRIPTION = """\
Measure on this machine. The last line of all but evaluate and propagate is their result as JSON; --out writes it.

  tevit benchmark model                          the model alone, part by part, beside timm's PVTv2-B1 and the
                                                 machine's best; weights by seed, nothing is downloaded
  tevit benchmark model --without packed         what the CPU's packed layers gain; also winograd
  tevit benchmark video dog.mp4                  from the file to results.json; without one a made-up video
  tevit benchmark memory --frames 1000           resident memory over the length of a video
  tevit benchmark masks --gt valid.json --frames JPEGImages --model motion
                                                 mean J of the best track for each annotated object, and speed
  tevit benchmark --compare a.json b.json        two results of one kind side by side
  tevit benchmark propagate GT --frames ROOT     masks propagated between and after key frames: IoU and speed
  tevit benchmark propagate GT --frames ROOT --without check
                                                 what the forward-backward check gains; also direct, colour, grabcut
  tevit benchmark evaluate                       a made-up data set of 300 videos, 3000 predictions, 100 000 masks
  tevit benchmark evaluate --videos 5000         more of it: time must grow no faster than the data
  tevit benchmark evaluate --gt G --results R    your own files

evaluate runs each program as a whole process, its start included; there the best of several rounds counts.
"""
PROPAGATION_PARTS = ("check", "direct", "colour", "grabcut")  # tevit.review.propagate.PARTS, which imports OpenCV
MARKS = (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 2000, 5000, 10000)  # frames at which memory is reported
_JOIN = """\
import sys
from pathlib import Path
from tevit.benchmarks.masks import write_coco
sys.argv[1:] = map(str, write_coco(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
"""
_HOTCOCO = """\
import sys
from hotcoco import COCO, COCOeval
truths = COCO(sys.argv[1])
evaluator = COCOeval(truths, truths.load_res(sys.argv[2]), "segm")
evaluator.evaluate()
evaluator.accumulate()
evaluator.summarize()
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
    evaluate = kinds.add_parser("evaluate", help="tevit evaluate, beside json.load of the same files and hotcoco")
    evaluate.add_argument("--videos", type=int, default=300, help="of the made-up data set (default 300)")
    evaluate.add_argument("--gt", type=Path, metavar="JSON", help="your own ground truth instead")
    evaluate.add_argument("--results", type=Path, metavar="JSON", help="and the results for it")
    evaluate.add_argument("--rounds", type=int, default=5, help="of which the best counts (default 5)")
    evaluate.add_argument("--out", type=Path, metavar="JSON", help="write the result there, too")
    evaluate.set_defaults(run=run_evaluate)
    propagate = kinds.add_parser("propagate", help="masks propagated between and after key frames: IoU and speed")
    propagate.add_argument("gt", metavar="GT", help="a data set with masks in any format that `tevit formats` reads")
    propagate.add_argument("--frames", required=True, metavar="ROOT", help="folder of the videos' images")
    propagate.add_argument("--length", type=int, default=40, help="of a video at most, in frames (default 40)")
    propagate.add_argument("--predictions", type=Path, metavar="JSON", help="a model's results, used where they agree")
    propagate.add_argument("--without", nargs="+", default=[], choices=PROPAGATION_PARTS, help="what to leave out")
    propagate.set_defaults(run=run_propagate)
    _register_prediction(kinds)


def run_propagate(args: argparse.Namespace) -> int:
    """`tevit benchmark propagate`."""
    from tevit.benchmarks.masks import METHODS, measure_propagation
    from tevit.io.formats import convert

    if args.length < 6:
        raise ValueError(f"--length: expected at least 6, got {args.length}")
    check_folder("--frames", args.frames)
    if convert.detect(args.gt) == "results":
        raise ValueError(f"{args.gt} is a list of predictions, expected a data set with masks as GT")
    results, predictions = convert.read(args.gt)[0], {}
    if args.predictions:
        from tevit.io.ytvis import open_dataset, read_results

        dataset, tracks = open_dataset(args.gt), read_results(args.predictions)
        predictions = {id: tracks.video(info, dataset.categories) for id, info in dataset.videos.items()}
    parts = [part for part in PROPAGATION_PARTS if part not in args.without]
    measured = measure_propagation(results, args.frames, args.length, predictions, parts)
    speed = f"{measured.frames_per_second:.1f} frames/s, {measured.frames_per_core_second:.1f} per second of a core"
    load = f"; load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{load}"
    print(f"{date.today()}; {system}; {measured.objects} objects; between key frames {speed}\n")
    print(f"{'mean IoU':14s}" + "".join(f"{method:>14s}" for method in METHODS))
    for case in dict.fromkeys(case for _, case in measured.scores):
        values = (measured.scores.get((method, case)) for method in METHODS)
        print(f"{case:14s}" + "".join(f"{'':>14s}" if value is None else f"{value:14.3f}" for value in values))
    return 0


def run_compare(args: argparse.Namespace) -> int:
    """`tevit benchmark --compare`."""
    if args.compare is None:
        raise ValueError(
            "expected what to measure (model, video, memory, propagate, masks, evaluate), or --compare with two results"
        )
    from tevit.benchmarks.record import compare

    print(compare(*args.compare))
    return 0


def run_evaluate(args: argparse.Namespace) -> int:
    """`tevit benchmark evaluate`."""
    if (args.gt is None) != (args.results is None):
        raise ValueError("expected both --gt and --results, or neither")
    if args.rounds < 1 or args.videos < 1:
        raise ValueError(f"expected at least 1 round and 1 video, got {args.rounds} and {args.videos}")
    with tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder:
        gt, results = args.gt, args.results
        if not gt:
            from tevit.synthetic.dataset import write_sets

            print(f"making a data set of {args.videos} videos", file=sys.stderr)
            gt, results = write_sets(Path(folder), args.videos)
        else:
            from tevit.io.ytvis import open_dataset, read_results

            # A wrong file is named here, not by the program that is timed.
            open_dataset(gt)
            read_results(results)
        result = _measure_evaluate(args.rounds, gt, results, Path(folder))
    print(f"{result['machine']}; {result['megabytes_of_json']} MB of JSON, best of {result['rounds']}\n")
    for name, best in result["best"].items():
        cpu = f"{best['cpu_seconds']:7.2f} s of a core"
        print(f"{name:27s} {best['seconds']:7.2f} s  {cpu}  {best['megabytes']:6.0f} MB")
    if args.out:
        from tevit.io.files import atomic

        with atomic(args.out) as path:
            path.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def _measure_evaluate(rounds: int, gt: Path, results: Path, folder: Path) -> dict:
    """The programs run in turns, so that other load on the machine affects all. folder: for files of their own."""
    files = [str(gt), str(results)]
    programs = {
        "tevit evaluate": [sys.executable, "-m", "tevit", "evaluate", *files, "--json"],
        "… --metrics hota,id": [sys.executable, "-m", "tevit", "evaluate", *files, "--json", "--metrics", "hota,id"],
        "tevit errors --out": [sys.executable, "-m", "tevit", "errors", *files, "--out", str(folder / "report")],
        "json.load of both files": [sys.executable, "-c", _YARDSTICK, *files],
        **_hotcoco_programs(gt, results, folder),
    }
    runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, command in programs.items():
            runs[name].append(_run(command))
    columns = ("seconds", "cpu_seconds", "megabytes")
    best = {name: [round(min(column), 3) for column in zip(*rows, strict=True)] for name, rows in runs.items()}
    system = f"{platform.system()} {platform.machine()}"
    return {
        "date": date.today().isoformat(),
        "machine": f"{system}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "megabytes_of_json": round((gt.stat().st_size + results.stat().st_size) / 1e6, 1),
        "rounds": rounds,
        "best": {name: dict(zip(columns, values, strict=True)) for name, values in best.items()},
    }


def _hotcoco_programs(gt: Path, results: Path, folder: Path) -> dict[str, list[str]]:
    """An evaluator of single images on tracks whose masks are joined; none where it is not installed."""
    if find_spec("hotcoco") is None:
        print("hotcoco is left out: it is not installed (it comes with the extra dev)", file=sys.stderr)
        return {}
    joined = [str(folder / name) for name in ("coco_gt.json", "coco_results.json")]  # written by the first program
    return {
        "joining masks and hotcoco": [sys.executable, "-c", _JOIN + _HOTCOCO, str(gt), str(results), str(folder)],
        "hotcoco, masks joined": [sys.executable, "-c", _HOTCOCO, *joined],
    }


def _run(command: list[str]) -> tuple[float, float, float]:
    """Wall clock, seconds; processor time, seconds; peak memory, megabytes."""
    # With bytecode, as installed packages have it: compiling all modules in each process takes a tenth of its time.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    process = os.posix_spawn(
        command[0], command, environment, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    )
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - started
    if status:
        raise ValueError(f"{' '.join(command[:4])} … failed: its message stands above")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)


# --- prediction


def _register_prediction(kinds) -> None:
    model = kinds.add_parser("model", help="the model alone, part by part, beside timm's PVTv2-B1")
    _add_model(model)
    model.add_argument("--frames", type=int, default=5, metavar="T", help="of the clip (default 5)")
    model.add_argument("--size", type=size, default=(360, 640), help="of a frame, before padding (default 360x640)")
    model.add_argument("--rounds", type=int, default=5, help="of which the median counts (default 5)")
    names = {"choices": ("packed", "winograd"), "default": []}
    without = "on a CPU, time the model without (or, where it is off, with) it too, in the same rounds; repeatable"
    model.add_argument("--without", action="append", **names, help=without)
    model.set_defaults(run=run_model)
    video = kinds.add_parser("video", help="from a video file to results.json, part by part")
    video.add_argument("source", nargs="?", metavar="SOURCE", help="video file or folder (default: a made-up video)")
    memory = kinds.add_parser("memory", help="resident memory over the length of a video")
    sizes = ((video, 96, (720, 1280)), (memory, 1000, (192, 320)))
    for parser, frames, (height, width) in sizes:
        _add_model(parser)
        parser.add_argument("--frames", type=int, default=frames, help=f"of the made-up video (default {frames})")
        size_hw = f"of its frames (default {height}x{width})"
        parser.add_argument("--size", type=size, default=(height, width), help=size_hw)
        parser.add_argument("--window", type=int, metavar="T", help="frames at once, as for tevit predict")
    video.add_argument("--rounds", type=int, default=3, help="of which the median counts (default 3)")
    video.set_defaults(run=run_video)
    memory.set_defaults(run=run_memory)
    masks = kinds.add_parser("masks", help="mean J of a model's best tracks on a data set with masks, and speed")
    masks.add_argument("--gt", type=Path, required=True, metavar="JSON", help="YouTube-VIS annotations")
    masks.add_argument("--frames", required=True, metavar="ROOT", help="folder that its file names are relative to")
    masks.add_argument("--model", default="motion", metavar="NAME", help="as for tevit predict (default motion)")
    masks.add_argument("--out", type=Path, metavar="JSON", help="write the result there, too")
    masks.set_defaults(run=run_masks)


def _add_model(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", metavar="NAME", help=f"published model, its weights by seed (default {DEFAULT_MODEL})")
    add("--checkpoint", metavar="FILE", help="your weights: an original .pth or a .safetensors")
    add_device_options(add)
    add("--out", type=Path, metavar="JSON", help="write the result there, too")


def run_model(args: argparse.Namespace) -> int:
    """`tevit benchmark model`."""
    from tevit.benchmarks import speed

    _check_positive(args, "frames", "rounds")
    with _load(args) as (predictor, file):
        clip = speed.random_clip(args.frames, args.size, predictor.device)
        variants = {
            speed.variant_name(name): partial(speed.load_variant, file, predictor, name) for name in args.without
        }
        figures = speed.measure_model(predictor, clip, args.rounds, variants)
    return _report("model", args, predictor, figures, ("frames", "rounds"), {"input": _size(clip.sizes.padded_hw)})


def run_video(args: argparse.Namespace) -> int:
    """`tevit benchmark video`."""
    from tevit.benchmarks import speed
    from tevit.video.reader import open_video

    _check_positive(args, "frames", "rounds")
    with tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder:
        source = args.source or speed.write_synthetic_video(Path(folder) / "made-up.mp4", args.frames, args.size)
        opened = open_video(source)
        with _load(args) as (predictor, _):
            figures = speed.measure_video(predictor, opened, args.rounds, args.window)
    about = {"video": opened.name, "frames": opened.length, "size": _size(opened.size_hw)}
    return _report("video", args, predictor, figures, ("window", "rounds"), about)


def run_memory(args: argparse.Namespace) -> int:
    """`tevit benchmark memory`."""
    from tevit.benchmarks import speed
    from tevit.video.reader import open_video

    if args.frames <= speed.SETTLED:
        raise ValueError(f"--frames: expected more than {speed.SETTLED}, got {args.frames}")
    with tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder, TerminalProgress() as progress:
        video = open_video(speed.write_synthetic_video(Path(folder) / "made-up.mp4", args.frames, args.size))
        with _load(args) as (predictor, _):
            samples, seconds = speed.sample_memory(predictor, video, args.window, progress)
    figures = speed.memory_figures(samples, seconds, MARKS)
    return _report("memory", args, predictor, figures, ("frames", "window"), {"size": _size(args.size)})


def run_masks(args: argparse.Namespace) -> int:
    """`tevit benchmark masks`."""
    import torch

    from tevit.benchmarks.masks import measure
    from tevit.benchmarks.record import record, report
    from tevit.inference.model_source import load_external
    from tevit.io.ytvis import open_dataset

    check_folder("--frames", args.frames)
    dataset = open_dataset(args.gt)
    with TerminalProgress() as progress:
        figures = measure(load_external(args.model), dataset, args.frames, progress)
    settings = {"model": args.model, "videos": len(dataset.videos), "gt": args.gt.name}
    report(record("masks", torch.device("cpu"), settings, figures), args.out)
    return 0


@contextmanager
def _load(args: argparse.Namespace) -> "Iterator[tuple[Predictor, Path]]":
    """The predictor to measure, and the file of its weights, which may be temporary."""
    from tevit.benchmarks.speed import checkpoint_file
    from tevit.inference.predictor import load

    with checkpoint_file(args.model or DEFAULT_MODEL, args.checkpoint) as file:
        yield load(file, device=args.device, dtype=args.dtype, model=args.model, compile=args.compile), file


def _report(
    kind: str, args: argparse.Namespace, predictor: "Predictor", figures: "Figures", names: Iterable[str], about: dict
) -> int:
    """Print and write a result. names: of the arguments that are recorded as settings, followed by `about`."""
    from tevit.benchmarks.record import record, report

    weights = Path(args.checkpoint).name if args.checkpoint else args.model or DEFAULT_MODEL
    compiled = {"compile": True} if args.compile else {}
    settings = (
        {"model": weights, "dtype": args.dtype} | compiled | {name: getattr(args, name) for name in names} | about
    )
    report(record(kind, predictor.device, settings, figures), args.out)
    return 0


def _check_positive(args: argparse.Namespace, *names: str) -> None:
    for name in names:
        if getattr(args, name) < 1:
            raise ValueError(f"--{name}: expected at least 1, got {getattr(args, name)}")


def _size(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[0]}x{size_hw[1]}"
