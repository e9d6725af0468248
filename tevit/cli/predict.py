"""`tevit predict`: tracks and masks of videos or of a whole data set."""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tevit.progress import TerminalProgress

if TYPE_CHECKING:
    from tevit.configs import PredictOptions, PredictOverrides
    from tevit.inference.dataset import ClassMap, PartialResults
    from tevit.inference.external import ExternalPredictor
    from tevit.inference.model_source import ModelSource
    from tevit.inference.predictor import Predictor
    from tevit.io.ytvis import Dataset
    from tevit.results import VideoResult
    from tevit.video.reader import Video

    AnyPredictor = Predictor | ExternalPredictor

DEFAULT_MODEL = "tevit_msgshift"
DESCRIPTION = """\
Find, classify, segment and track the objects of videos.

  tevit predict dog.mp4 --out out             out/dog/results.json, overlay.mp4, tracks.csv
  tevit predict frames/ --checkpoint my.pth   a folder (or zip) of images, your own weights
  tevit predict long.mp4 --out out --stream   any length, window by window; run it again after a stop to resume
  camera | tevit predict - --out out --stream a pipe (MPEG-TS, Matroska, MP4 with its index in front)
  tevit predict --dataset valid.json --frames JPEGImages --out out --zip
                                              a whole data set, ready for the evaluation server; run it again
                                              after a stop to resume
  tevit predict dog.mp4 --model my_model.py --out out -p threshold=0.4
                                              a model of your own, see docs/bring_your_model.md
  torchrun --nproc-per-node 8 -m tevit predict --dataset …
                                              the same, its videos divided among eight GPUs
"""


def register(commands) -> None:
    """Add the subcommand."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(
        "predict", help="videos to tracked masks", description=DESCRIPTION, formatter_class=raw
    )
    add = parser.add_argument
    source = "video file, folder or zip of images (in natural order of their names), or - for standard input"
    add("sources", nargs="*", metavar="SOURCE", help=source)
    add("--out", required=True, type=Path, metavar="DIR", help="folder for the results, with a folder for each source")
    model = f"published model (see `tevit models`; default {DEFAULT_MODEL}), or one of your own: file.py:create"
    add("--model", metavar="NAME", help=model)
    parameter = "a parameter of a model of your own; repeatable"
    add("-p", dest="parameters", metavar="NAME=VALUE", action="append", default=[], help=parameter)
    add("--checkpoint", metavar="FILE", help="weights: an original .pth or a .safetensors; --model is then a check")
    add_device_options(add)
    window = (
        "frames in one pass; 0: the whole video, as in the original; default: all up to 48 frames, else windows of 24"
    )
    add("--window", type=int, metavar="T", help=window)
    stream = "write each window's tracks to stream.jsonl when it is done, at constant memory; resume after a stop"
    add("--stream", action="store_true", help=stream)
    add("--fresh", action="store_true", help="with --stream and --dataset: delete earlier results instead of resuming")
    add("--no-cuts", dest="cuts", action="store_false", help="let tracks continue over hard cuts")
    tracks = "tracks per video; where windows are joined per 48 frames, 100 at most (default 10; 100 of another model)"
    add("--max-tracks", type=int, metavar="N", help=tracks)
    add("--score-threshold", type=float, default=0.0, metavar="S", help="leave out tracks below (default 0)")
    add("--size", type=size, metavar="360x640", help="bounds for the short and long side of the resized frame")
    decoder = "of video files: pyav (default), or torchcodec, on a GPU by NVDEC, which gives the same frames and times"
    add("--decoder", choices=("pyav", "torchcodec"), default="pyav", help=decoder)
    dataset = "YouTube-VIS annotation file: predict all its videos, in one pass each"
    add("--dataset", type=Path, metavar="JSON", help=dataset)
    add("--frames", type=Path, metavar="ROOT", help="with --dataset: folder that its file names are relative to")
    add("--zip", action="store_true", help="with --dataset: also the submission zip")
    classes = "with --dataset: JSON object of model class names and the data set's names or ids (default: equal names)"
    add("--class-map", type=Path, metavar="FILE", help=classes)
    add("--json", action="store_true", help="print a report as one JSON object")
    parser.set_defaults(run=run)


def add_device_options(add: Callable[..., object]) -> None:
    """Add --device, --dtype and --compile. add: `ArgumentParser.add_argument`."""
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    dtype = "bfloat16, faster on a GPU and on a CPU that multiplies it (Intel's AMX); float16, on a GPU"
    add("--dtype", default="float32", help=f"float32 (default); {dtype}")
    programs = "compile the model with torch.compile for each clip size, on CUDA as a graph; this takes minutes"
    add("--compile", action="store_true", help=f"{programs}: meant for many videos of one size on a GPU")


def check_folder(option: str, path: str | os.PathLike) -> None:
    """Raises: FileNotFoundError, NotADirectoryError naming the option and its value."""
    if not Path(path).is_dir():
        if Path(path).exists():
            raise NotADirectoryError(f"{option} {path}: a file, expected a folder")
        raise FileNotFoundError(f"{option} {path}: no such folder")


def size(text: str) -> tuple[int, int]:
    """'360x640' -> (360, 640)."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected two whole numbers like 360x640, got {text!r}")
    return int(match[1]), int(match[2])


def run(args: argparse.Namespace) -> int:
    """Exit code 0, 1 where a video of several failed, 2 for wrong input."""
    listed = next((source for source in args.sources if source.endswith((".json", ".json.gz"))), None)
    if listed is not None:
        raise ValueError(
            f"{listed} is JSON, expected a video: a data set is named by --dataset, its folder by --frames"
        )
    if bool(args.sources) == bool(args.dataset):
        raise ValueError("expected either sources or --dataset, got " + ("both" if args.dataset else "neither"))
    if args.dataset and not args.frames:
        raise ValueError("--dataset needs --frames: the folder that its file names are relative to")
    if args.frames:
        check_folder("--frames", args.frames)
    if not args.dataset and (args.frames or args.zip):
        raise ValueError("--frames and --zip go with --dataset")
    if not args.dataset and args.class_map:
        raise ValueError("--class-map goes with --dataset")
    if args.dataset and args.stream:
        raise ValueError("--stream goes with sources: a data set's videos are written one by one as it is")
    if "-" in args.sources and (len(args.sources) > 1 or not args.stream):
        raise ValueError("- (standard input) goes alone, with --stream")
    if args.decoder != "pyav" and (args.dataset or "-" in args.sources):
        raise ValueError("--decoder goes with video files, not with --dataset or standard input")
    # Before anything is loaded or written: a wrong value must not be recorded as what a folder's videos depend on.
    from tevit.configs import PredictOptions

    tracks = 1 if args.max_tracks is None else args.max_tracks
    PredictOptions(args.window, tracks, args.score_threshold, args.size, args.cuts)
    return _predict_dataset(args) if args.dataset else _predict_sources(args)


def _load(args: argparse.Namespace) -> "AnyPredictor":
    """The model; --max-tracks gets its default."""
    from tevit.inference.model_source import check_name, find_source

    name = args.checkpoint or args.model or DEFAULT_MODEL
    if args.model:
        check_name(args.model)
    if source := find_source(str(name)):
        return _load_external(source, args)
    if args.parameters:
        raise ValueError(f"-p goes with a model of your own: {name} has no parameters")
    args.max_tracks = 10 if args.max_tracks is None else args.max_tracks
    from tevit.inference.predictor import load

    with TerminalProgress("B") as progress:
        return load(
            name, device=args.device, dtype=args.dtype, model=args.model, compile=args.compile, progress=progress
        )


def _load_external(source: "ModelSource", args: argparse.Namespace) -> "ExternalPredictor":
    from tevit.inference.external import MAX_TRACKS
    from tevit.inference.model_source import load_external, parse_parameters

    if args.checkpoint:
        raise ValueError(f"--checkpoint goes with a model of TeViT, not with {source.name}")
    others = {"dtype": "float32", "compile": False, "window": None, "size": None, "cuts": True}
    for option, default in others.items():
        if getattr(args, option) != default:
            flag = "--no-cuts" if option == "cuts" else f"--{option}"
            raise ValueError(f"{flag} goes with a model of TeViT, not with {source.name}")
    args.max_tracks = MAX_TRACKS if args.max_tracks is None else args.max_tracks
    return load_external(source, parse_parameters(args.parameters), device=args.device)


def _about(predictor: "AnyPredictor", args: argparse.Namespace) -> dict[str, Any]:
    """The model and its numbers, for the record of what tracks depend on."""
    if isinstance(about := getattr(predictor, "about", None), dict):
        return about
    from tevit.configs import BUNDLED_MODELS
    from tevit.download import bundled_path
    from tevit.inference.dataset import file_digest

    name = Path(args.checkpoint).name if args.checkpoint else args.model or DEFAULT_MODEL
    file = args.checkpoint or (bundled_path(name) if name in BUNDLED_MODELS else None)
    return {"weights": f"{name} {file_digest(file)}" if file else name, "dtype": args.dtype}


# --- videos


def _predict_sources(args: argparse.Namespace) -> int:
    if len(args.sources) == 1 and args.sources[0] != "-" and not Path(args.sources[0]).exists():
        raise FileNotFoundError(f"{args.sources[0]}: no such file or folder")  # before weights are downloaded for it
    predictor = _load(args)
    _print_demo_limits(predictor, args.sources)
    reports, failed = [], []
    for source, folder in zip(args.sources, _folders(args.sources, args.out), strict=True):
        try:
            reports.append(_predict_source(predictor, source, folder, args))
        except (ValueError, OSError, MemoryError) as error:
            if len(args.sources) == 1:
                raise
            failed.append({"source": source, "error": str(error)})
            print(f"tevit: {error}", file=sys.stderr)
    return _finish(args, {"videos": reports, "failed": failed}, len(reports), failed)


def _print_demo_limits(predictor: "AnyPredictor", sources: list[str]) -> None:
    """Say on standard error, once, that the demo model is of no use for other videos than those of the package."""
    from tevit.configs import DEMO_LIMITS, MODELS, TEVIT_DEMO
    from tevit.download import is_bundled

    if dict(predictor.categories) == dict(TEVIT_DEMO.categories) and not all(map(is_bundled, sources)):
        published = f"--model {DEFAULT_MODEL} ({MODELS[DEFAULT_MODEL].megabytes} MB)"
        print(f"tevit: note: {DEMO_LIMITS}; use {published}, or --model motion without weights", file=sys.stderr)


def _folders(sources: list[str], out: Path) -> list[Path]:
    """A folder for each source, named by its stem; a second source of one stem gets -2, a third -3."""
    folders: list[Path] = []
    for source in sources:
        path = Path("stdin" if source == "-" else source)
        stem = path.resolve().name if path.is_dir() else path.stem
        name, number = stem, 1
        while out / name in folders:
            number += 1
            name = f"{stem}-{number}"
        folders.append(out / name)
    return folders


def _predict_source(predictor: "AnyPredictor", source: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    from tevit.configs import PredictOptions
    from tevit.video.reader import open_pipe, open_video

    device = str(getattr(predictor, "device", "cpu"))
    device = device if device.startswith("cuda") else "cpu"
    video = open_pipe(sys.stdin.buffer) if source == "-" else open_video(source, args.decoder, device)
    options = PredictOptions(args.window, args.max_tracks, args.score_threshold, args.size, args.cuts)
    with TerminalProgress() as progress:
        if args.stream:
            report = _stream(predictor, video, folder, options, args, progress)
        else:
            report = _predict(predictor, video, folder, options, progress)
    rate = report["frames_per_second"]
    summary = f"{report['tracks']} tracks in {report['frames']} frames" + (f", {rate:.2f} frames/s" if rate else "")
    if not args.json:
        print(f"{source}: {summary} -> {folder}")
    _print_warnings(report["warnings"])
    return {"source": source, "out": str(folder)} | report


def _predict(
    predictor: "AnyPredictor", video: "Video", folder: Path, options: "PredictOptions", progress: TerminalProgress
) -> dict[str, Any]:
    from tevit.io.ytvis import write_results
    from tevit.results import write_csv
    from tevit.video.overlay import write_overlay

    start = time.perf_counter()
    result = predictor(video, options, progress=progress)
    rate, warnings = result.length / (time.perf_counter() - start), [*video.warnings, *predictor.warnings]
    write_results(folder / "results.json", [result])
    write_csv(result, folder / "tracks.csv")
    write_overlay(video, result, folder / "overlay.mp4", progress=progress)
    return _report(result.length, len(result.tracks), rate, warnings)


def _stream(
    predictor: "AnyPredictor",
    video: "Video",
    folder: Path,
    options: "PredictOptions",
    args: argparse.Namespace,
    progress: TerminalProgress,
) -> dict[str, Any]:
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
        options,
        about=_about(predictor, args),
        progress=progress,
        on_window=lambda window: lengths.append(len(window.times)),
    )
    rate, warnings = sum(lengths) / (time.perf_counter() - start), [*video.warnings, *predictor.warnings]
    write_long_results(folder / "results.json", result.windows())
    write_csv(result.windows(), folder / "tracks.csv")
    if video.path.exists():  # a pipe's frames cannot be read again
        write_overlay(video, result.windows(), folder / "overlay.mp4", progress=progress)
    return _report(result.length, len(result.tracks), rate, warnings)


def _report(frames: int, tracks: int, rate: float, warnings: list[str]) -> dict[str, Any]:
    return {"frames": frames, "tracks": tracks, "frames_per_second": round(rate, 3), "warnings": warnings}


# --- a data set


def _predict_dataset(args: argparse.Namespace) -> int:
    """This process's share of the videos; the process that finds all of them finished merges them."""
    from tevit.configs import MODELS
    from tevit.download import checkpoint_path
    from tevit.inference.dataset import PartialResults, Share, file_digest, local_device, predict_dataset
    from tevit.io.categories import read_class_map
    from tevit.io.ytvis import open_dataset

    share, results = Share.of_environment(), PartialResults(args.out / "parts")
    dataset, name = open_dataset(args.dataset), args.model or DEFAULT_MODEL
    if share.world > 1:  # several processes must neither delete each other's results nor download the weights at once
        if args.fresh:
            raise ValueError(f"--fresh is for one process: remove {args.out / 'parts'} before several start")
        if not args.checkpoint and name in MODELS and not checkpoint_path(MODELS[name]).exists():
            raise ValueError(f"the weights of {name} are not here: `tevit models --get {name}` before several start")
    args.device = local_device(args.device)
    predictor = _load(args)
    if args.fresh:
        results.remove()
    options: PredictOverrides = {"window": args.window or 0, "max_tracks": args.max_tracks, "size": args.size}
    if not args.cuts:
        options["cuts"] = False
    options["score_threshold"] = args.score_threshold
    overrides = read_class_map(args.class_map) if args.class_map else None
    classes = _match_classes(predictor, dataset.categories, overrides)
    if not share.rank and not callable(classes):
        _print_warnings(classes.notes)
    mapped = {"class map": file_digest(args.class_map)} if args.class_map else {}
    results.check_options({"data set": file_digest(args.dataset)} | _about(predictor, args) | mapped | dict(options))
    with TerminalProgress("video", quiet=True if share.rank else None) as progress:
        videos = share.of(dataset.videos)
        predict_dataset(predictor, dataset, args.frames, results, videos, options, progress, classes)
    _print_warnings(predictor.warnings)
    return _merge(args, dataset, results, share.rank)


def _match_classes(
    predictor: "AnyPredictor", categories: Mapping[int, str], overrides: Mapping[str, str | int] | None
) -> "ClassMap | Callable[[VideoResult], ClassMap]":
    """The model's classes as the data set's; a function of each result for a model without a list of them."""
    from tevit.inference.dataset import match_classes

    if predictor.categories:
        return match_classes(predictor.categories, categories, overrides)
    return lambda result: match_classes(result.categories, categories, overrides, numbered=predictor.numbered)


def _merge(args: argparse.Namespace, dataset: "Dataset", results: "PartialResults", rank: int) -> int:
    """Write one file of all videos, if no other process has any left; the exit code is then that of the whole."""
    from tevit.io.ytvis import write_zip

    failed = [{"video_id": id, "error": text} for id, text in results.failed.items() if id in dataset.videos]
    count, total = len(results.finished & dataset.videos.keys()), len(dataset.videos)
    if count + len(failed) < total:
        if not args.json:
            print(f"process {rank} is done: {count} of {total} videos so far")
        return 0
    file = results.merge(args.out / "results.json", dataset.videos)
    if args.zip:
        write_zip(args.out / "submission.zip", file)
    if not args.json:
        print(f"{count} of {total} videos -> {file}")
    return _finish(args, {"videos": count, "out": str(args.out), "failed": failed}, count, failed)


def _print_warnings(warnings: Iterable[str]) -> None:
    for warning in warnings:
        print(f"tevit: warning: {warning}", file=sys.stderr)


def _finish(args: argparse.Namespace, report: dict[str, Any], finished: int, failed: list) -> int:
    """Print the number of failures, or the whole report as JSON. Returns the exit code."""
    if args.json:
        print(json.dumps(report))
    elif failed:
        print(f"{len(failed)} of {finished + len(failed)} failed, see above")
    return 1 if failed else 0
