"""`tevit predict`: videos or a whole data set to tracked masks."""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tevit.progress import TerminalProgress

if TYPE_CHECKING:
    from tevit.inference.dataset import PartialResults
    from tevit.inference.options import PredictOptions, PredictOverrides
    from tevit.inference.predictor import Predictor
    from tevit.io.ytvis import Dataset
    from tevit.video.reader import Video

DEFAULT_MODEL = "tevit_msgshift"
COMPILE = (
    "have torch.compile make a program for each size of a clip, on CUDA replayed as a graph: minutes at first; "
    "meant for many videos of one size on a GPU"
)
DTYPE = "float32 (default); bfloat16, faster on a GPU and on a CPU that multiplies it (Intel's AMX); float16, on a GPU"
DESCRIPTION = """\
Find, classify, segment and track the objects of videos.

  tevit predict dog.mp4 --out out             out/dog/results.json, overlay.mp4, tracks.csv
  tevit predict frames/ --checkpoint my.pth   a folder of images, your own weights
  tevit predict long.mp4 --out out --stream   any length, window by window; run it again after a stop: it goes on
  camera | tevit predict - --out out --stream a pipe (MPEG-TS, Matroska, MP4 with its index in front)
  tevit predict --dataset valid.json --frames JPEGImages --out out --zip
                                              a whole data set, ready for the evaluation server; run it again
                                              after a stop: it goes on
  torchrun --nproc-per-node 8 -m tevit predict --dataset …
                                              the same, its videos shared out over eight GPUs
"""


def register(commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "predict",
        help="videos to tracked masks",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="video file, folder of images (in the order of their names), or - for standard input",
    )
    add("--out", required=True, type=Path, metavar="DIR", help="where the results go, a folder for each source")
    add("--model", metavar="NAME", help=f"published model (see `tevit models`; default {DEFAULT_MODEL})")
    add("--checkpoint", metavar="FILE", help="weights: an original .pth or a .safetensors; --model is then a check")
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    add("--dtype", default="float32", help=DTYPE)
    add("--compile", action="store_true", help=COMPILE)
    add(
        "--window",
        type=int,
        metavar="T",
        help="frames at once; 0: the whole video, as the original does it; "
        "default: all up to 48 frames, beyond that windows of 24",
    )
    add(
        "--stream",
        action="store_true",
        help="write every window's tracks to stream.jsonl as they come, at constant memory; go on where it was stopped",
    )
    add("--fresh", action="store_true", help="with --stream and --dataset: begin again, whatever is there")
    add("--no-cuts", dest="cuts", action="store_false", help="let tracks go on over hard cuts")
    tracks = "tracks a video; where windows are joined for every 48 frames, 100 at most (default 10)"
    add("--max-tracks", type=int, default=10, metavar="N", help=tracks)
    add("--score-threshold", type=float, default=0.0, metavar="S", help="leave out tracks below (default 0)")
    add("--size", type=size, metavar="360x640", help="bounds for the short and long side of the resized frame")
    add(
        "--dataset",
        type=Path,
        metavar="JSON",
        help="YouTube-VIS annotation file: predict all its videos, in one pass each",
    )
    add("--frames", type=Path, metavar="ROOT", help="with --dataset: folder that its file names are relative to")
    add("--zip", action="store_true", help="with --dataset: also the submission zip")
    add("--json", action="store_true", help="print what was done as one JSON object")
    parser.set_defaults(run=run)


def size(text: str) -> tuple[int, int]:
    """'360x640' -> (360, 640)."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected two whole numbers like 360x640, got {text!r}")
    return int(match[1]), int(match[2])


def run(args: argparse.Namespace) -> int:
    """Exit code 0, 1 where a video of several failed, 2 for wrong input."""
    if bool(args.sources) == bool(args.dataset):
        raise ValueError("expected either sources or --dataset, got " + ("both" if args.dataset else "neither"))
    if args.dataset and not args.frames:
        raise ValueError("--dataset needs --frames: the folder that its file names are relative to")
    if not args.dataset and (args.frames or args.zip):
        raise ValueError("--frames and --zip go with --dataset")
    if args.dataset and args.stream:
        raise ValueError("--stream goes with sources: a data set's videos are written one by one as it is")
    if "-" in args.sources and (len(args.sources) > 1 or not args.stream):
        raise ValueError("- (standard input) goes alone, with --stream")
    return _run_dataset(args) if args.dataset else _run_sources(args)


def _predictor(args: argparse.Namespace) -> "Predictor":
    from tevit.inference.predictor import load

    with TerminalProgress("B") as progress:
        chosen = args.checkpoint or args.model or DEFAULT_MODEL
        options = {"dtype": args.dtype, "compile": args.compile, "progress": progress}
        return load(chosen, device=args.device, model=args.model, **options)


def _options(args: argparse.Namespace) -> "PredictOptions":
    from tevit.inference.options import PredictOptions

    return PredictOptions(args.window, args.max_tracks, args.score_threshold, args.size, args.cuts)


def _run_sources(args: argparse.Namespace) -> int:
    if len(args.sources) == 1 and args.sources[0] != "-" and not Path(args.sources[0]).exists():
        raise FileNotFoundError(f"no such file or folder: {args.sources[0]}")  # before weights are downloaded for it
    predictor = _predictor(args)
    done, failed = [], []
    for source, folder in zip(args.sources, _folders(args.sources, args.out), strict=True):
        try:
            done.append(_one(predictor, source, folder, args))
        except (ValueError, OSError, MemoryError) as error:
            if len(args.sources) == 1:
                raise
            failed.append({"source": source, "error": str(error)})
            print(f"tevit: {error}", file=sys.stderr)
    return _finish(args, {"videos": done, "failed": failed}, len(done), failed)


def _folders(sources: list[str], out: Path) -> list[Path]:
    """A folder for each source, named by its stem; the second of a stem gets -2, the third -3."""
    taken: set[str] = set()
    folders = []
    for source in sources:
        path = Path("stdin" if source == "-" else source)
        stem = path.resolve().name if path.is_dir() else path.stem
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        folders.append(out / name)
    return folders


def _one(predictor: "Predictor", source: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    from tevit.video.reader import open_pipe, open_video

    video = open_pipe(sys.stdin.buffer) if source == "-" else open_video(source)
    with TerminalProgress() as progress:
        done = (_streamed if args.stream else _at_once)(predictor, video, folder, args, progress)
    rate = done["frames_per_second"]
    said = f"{done['tracks']} tracks in {done['frames']} frames" + (f", {rate:.2f} frames/s" if rate else "")
    _say(args, f"{source}: {said} -> {folder}")
    _warn(done["warnings"])
    return {"source": source, "out": str(folder)} | done


def _at_once(
    predictor: "Predictor", video: "Video", folder: Path, args: argparse.Namespace, progress: TerminalProgress
) -> dict[str, Any]:
    from tevit.io.ytvis import write_results
    from tevit.results import write_csv
    from tevit.video.overlay import write_overlay

    start = time.perf_counter()
    result = predictor(video, _options(args), progress=progress)
    rate, warnings = result.length / (time.perf_counter() - start), [*video.warnings, *predictor.warnings]
    write_results(folder / "results.json", [result])
    write_csv(result, folder / "tracks.csv")
    write_overlay(video, result, folder / "overlay.mp4", progress=progress)
    return _report(result.length, len(result.tracks), rate, warnings)


def _streamed(
    predictor: "Predictor", video: "Video", folder: Path, args: argparse.Namespace, progress: TerminalProgress
) -> dict[str, Any]:
    """Window by window to disk. A pipe's frames are gone by the time the tracks are chosen: no overlay of those."""
    from tevit.inference.stream_file import discard, stream_to_folder, write_long_results
    from tevit.results import write_csv
    from tevit.video.overlay import write_overlay

    if args.fresh:
        discard(folder)
    start, lengths = time.perf_counter(), [0]
    result = stream_to_folder(
        predictor,
        video,
        folder,
        _options(args),
        about=_about(args),
        progress=progress,
        on_window=lambda window: lengths.append(len(window.times)),
    )
    rate, warnings = sum(lengths) / (time.perf_counter() - start), [*video.warnings, *predictor.warnings]
    write_long_results(folder / "results.json", result.windows())
    write_csv(result.windows(), folder / "tracks.csv")
    if video.path.exists():
        write_overlay(video, result.windows(), folder / "overlay.mp4", progress=progress)
    return _report(result.length, len(result.tracks), rate, warnings)


def _report(frames: int, tracks: int, rate: float, warnings: list[str]) -> dict[str, Any]:
    return {"frames": frames, "tracks": tracks, "frames_per_second": round(rate, 3), "warnings": warnings}


def _run_dataset(args: argparse.Namespace) -> int:
    """Its share of the videos; whoever finds all of them finished puts them together."""
    from tevit.inference.dataset import PartialResults, Share, file_digest, local_device, predict_dataset
    from tevit.io.ytvis import open_dataset

    share, finished = Share.of_environment(), PartialResults(args.out / "parts")
    dataset = open_dataset(args.dataset)
    _check_shared(args, share.world)
    args.device = local_device(args.device)
    predictor = _predictor(args)
    if args.fresh:
        finished.remove()
    # Not a PredictOptions: a value out of range fails each video, as an unreadable video does.
    options: PredictOverrides = {"window": args.window or 0, "max_tracks": args.max_tracks, "size": args.size}
    if not args.cuts:
        options["cuts"] = False
    options["score_threshold"] = args.score_threshold
    finished.check_options({"data set": file_digest(args.dataset)} | _about(args) | dict(options))
    with TerminalProgress("video", quiet=True if share.rank else None) as progress:
        predict_dataset(predictor, dataset, args.frames, finished, share.of(dataset.videos), options, progress)
    _warn(predictor.warnings)
    return _joined(args, dataset, finished, share.rank)


def _check_shared(args: argparse.Namespace, world: int) -> None:
    """Raises: ValueError for what several processes would do to each other."""
    from tevit.configs import MODELS
    from tevit.download import checkpoint_path

    name = args.model or DEFAULT_MODEL
    if world > 1 and args.fresh:
        raise ValueError(f"--fresh is for one process: remove {args.out / 'parts'} before several start")
    if world > 1 and not args.checkpoint and name in MODELS and not checkpoint_path(MODELS[name]).exists():
        raise ValueError(f"the weights of {name} are not here: `tevit models --get {name}` before several start")


def _about(args: argparse.Namespace) -> dict[str, str]:
    """What the tracks depend on besides the options."""
    from tevit.configs import TEVIT_DEMO
    from tevit.download import demo_path
    from tevit.inference.dataset import file_digest

    name = Path(args.checkpoint).name if args.checkpoint else args.model or DEFAULT_MODEL
    file = args.checkpoint or (demo_path() if name == TEVIT_DEMO.name else None)
    weights = f"{name} {file_digest(file)}" if file else name
    return {"weights": weights, "dtype": args.dtype}


def _joined(args: argparse.Namespace, dataset: "Dataset", finished: "PartialResults", rank: int) -> int:
    """Put the videos together, if none is left to another process, whose exit code it then is."""
    from tevit.io.ytvis import write_zip

    failed = [{"video_id": id, "error": text} for id, text in finished.failed.items() if id in dataset.videos]
    done = len(finished.finished & dataset.videos.keys())
    if done + len(failed) < len(dataset.videos):
        _say(args, f"process {rank} is done: {done} of {len(dataset.videos)} videos so far")
        return 0
    finished.merge(args.out / "results.json", dataset.videos)
    if args.zip:
        write_zip(args.out / "submission.zip", args.out / "results.json")
    _say(args, f"{done} of {len(dataset.videos)} videos -> {args.out / 'results.json'}")
    return _finish(args, {"videos": done, "out": str(args.out), "failed": failed}, done, failed)


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        print(f"tevit: warning: {warning}", file=sys.stderr)


def _say(args: argparse.Namespace, text: str) -> None:
    if not args.json:
        print(text)


def _finish(args: argparse.Namespace, report: dict[str, Any], done: int, failed: list) -> int:
    """The last lines: what failed, or the whole report as JSON. Returns the exit code."""
    if args.json:
        print(json.dumps(report))
    elif failed:
        print(f"{len(failed)} of {done + len(failed)} failed, see above")
    return 1 if failed else 0
