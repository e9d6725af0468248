"""`tevit benchmark model`, `video` and `memory`: how fast this machine predicts."""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tevit.cli.predict import COMPILE, DEFAULT_MODEL, DTYPE, size
from tevit.progress import TerminalProgress

if TYPE_CHECKING:
    from tevit.inference.predictor import Predictor

MARKS = (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 2000, 5000, 10000)  # frames at which memory is told


def register(kinds) -> None:
    """Add what `tevit benchmark` can measure of prediction."""
    model = kinds.add_parser("model", help="the model alone, part by part, beside timm's PVTv2-B1")
    _add_model(model, DEFAULT_MODEL)
    model.add_argument("--frames", type=int, default=5, metavar="T", help="of the clip (default 5)")
    model.add_argument("--size", type=size, default=(360, 640), help="of a frame, before padding (default 360x640)")
    model.add_argument("--rounds", type=int, default=5, help="of which the median counts (default 5)")
    model.add_argument(
        "--without",
        action="append",
        choices=("packed", "winograd"),
        default=[],
        help="on a CPU, time the model without this optimisation too, in the same rounds; may be given more than once",
    )
    model.set_defaults(run=run_model)
    video = kinds.add_parser("video", help="from a video file to results.json, part by part")
    video.add_argument("source", nargs="?", metavar="SOURCE", help="video file or folder (default: a made-up video)")
    _add_model(video, DEFAULT_MODEL)
    video.add_argument("--frames", type=int, default=96, help="of the made-up video (default 96)")
    video.add_argument("--size", type=size, default=(720, 1280), help="of its frames (default 720x1280)")
    video.add_argument("--window", type=int, metavar="T", help="frames at once, as for tevit predict")
    video.add_argument("--rounds", type=int, default=3, help="of which the median counts (default 3)")
    video.set_defaults(run=run_video)
    memory = kinds.add_parser("memory", help="resident memory over the length of a video")
    _add_model(memory, DEFAULT_MODEL)
    memory.add_argument("--frames", type=int, default=1000, help="of the made-up video (default 1000)")
    memory.add_argument("--size", type=size, default=(192, 320), help="of its frames (default 192x320)")
    memory.add_argument("--window", type=int, metavar="T", help="frames at once, as for tevit predict")
    memory.set_defaults(run=run_memory)


def _add_model(parser: argparse.ArgumentParser, default: str) -> None:
    add = parser.add_argument
    add("--model", metavar="NAME", help=f"published model, its weights by seed (default {default})")
    add("--checkpoint", metavar="FILE", help="your weights: an original .pth or a .safetensors")
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    add("--dtype", default="float32", help=DTYPE)
    add("--compile", action="store_true", help=COMPILE)
    add("--out", type=Path, metavar="JSON", help="write the result there, too")


def run_model(args: argparse.Namespace) -> int:
    """Measure the model alone."""
    from tevit.benchmarks import model
    from tevit.benchmarks.record import record, report

    _at_least_one(args, "frames", "rounds")
    with model.checkpoint_file(args.model or DEFAULT_MODEL, args.checkpoint) as file:
        predictor = _load(args, file)
        clip = model.random_clip(args.frames, args.size, predictor.device)
        variants = {f"without {name}": partial(model.load_variant, file, predictor, name) for name in args.without}
        figures = model.measure(predictor, clip, args.rounds, variants)
    settings = _settings(args, "frames", "rounds") | {"input": _size(clip.sizes.padded_hw)}
    report(record("model", predictor.device, settings, figures), args.out)
    return 0


def run_video(args: argparse.Namespace) -> int:
    """Measure from file to file."""
    from tevit.benchmarks import video
    from tevit.benchmarks.record import record, report
    from tevit.video.reader import open_video

    _at_least_one(args, "frames", "rounds")
    with tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder:
        source = args.source or video.write_synthetic_video(Path(folder) / "made-up.mp4", args.frames, args.size)
        opened = open_video(source)
        predictor = _predictor(args)
        figures = video.measure(predictor, opened, args.rounds, args.window)
    about = {"video": opened.name, "frames": opened.length, "size": _size(opened.size_hw)}
    settings = _settings(args, "window", "rounds") | about
    report(record("video", predictor.device, settings, figures), args.out)
    return 0


def run_memory(args: argparse.Namespace) -> int:
    """Measure memory over length."""
    from tevit.benchmarks import video as benchmark
    from tevit.benchmarks.record import record, report
    from tevit.video.reader import open_video

    if args.frames <= benchmark.SETTLED:
        raise ValueError(f"--frames: expected more than {benchmark.SETTLED}, got {args.frames}")
    with tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder, TerminalProgress() as progress:
        video = open_video(benchmark.write_synthetic_video(Path(folder) / "made-up.mp4", args.frames, args.size))
        predictor = _predictor(args)
        samples, seconds = benchmark.sample_memory(predictor, video, args.window, progress)
    settings = _settings(args, "frames", "window") | {"size": _size(args.size)}
    figures = benchmark.memory_figures(samples, seconds, MARKS)
    report(record("memory", predictor.device, settings, figures), args.out)
    return 0


def _predictor(args: argparse.Namespace) -> "Predictor":
    from tevit.benchmarks.model import checkpoint_file

    with checkpoint_file(args.model or DEFAULT_MODEL, args.checkpoint) as file:
        return _load(args, file)


def _load(args: argparse.Namespace, file: Path) -> "Predictor":
    from tevit.inference.predictor import load

    return load(file, device=args.device, dtype=args.dtype, model=args.model, compile=args.compile)


def _settings(args: argparse.Namespace, *names: str) -> dict:
    weights = Path(args.checkpoint).name if args.checkpoint else args.model or DEFAULT_MODEL
    compiled = {"compile": True} if args.compile else {}
    return {"model": weights, "dtype": args.dtype} | compiled | {name: getattr(args, name) for name in names}


def _at_least_one(args: argparse.Namespace, *names: str) -> None:
    for name in names:
        if getattr(args, name) < 1:
            raise ValueError(f"--{name}: expected at least 1, got {getattr(args, name)}")


def _size(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[0]}x{size_hw[1]}"
