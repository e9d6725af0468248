"""`tevit predict`: videos or a whole data set to tracked masks."""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tevit.progress import TerminalProgress

if TYPE_CHECKING:
    from tevit.predict import Predictor
    from tevit.tracks import VideoResult
    from tevit.video import Video
    from tevit.ytvis import Dataset

DEFAULT_MODEL = "tevit_msgshift"
DESCRIPTION = """\
Find, classify, segment and track the objects of videos.

  tevit predict dog.mp4 --out out             out/dog/results.json, overlay.mp4, tracks.csv
  tevit predict frames/ --checkpoint my.pth   a folder of images, your own weights
  tevit predict long.mp4 --out out --stream   any length, window by window; run it again after a stop: it goes on
  camera | tevit predict - --out out --stream a pipe (MPEG-TS, Matroska, MP4 with its index in front)
  tevit predict --dataset valid.json --frames JPEGImages --out out --zip
                                              a whole data set, ready for the evaluation server
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
    add("--dtype", default="float32", help="float32 (default), bfloat16, float16")
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
    add("--fresh", action="store_true", help="with --stream: begin again, whatever is there")
    add("--max-tracks", type=int, default=10, metavar="N", help="tracks a video (default 10)")
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
    from tevit.predict import load

    with TerminalProgress("B") as progress:
        chosen = args.checkpoint or args.model or DEFAULT_MODEL
        return load(chosen, device=args.device, dtype=args.dtype, model=args.model, progress=progress)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in ("window", "max_tracks", "size")}


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
    from tevit.pipe import open_pipe
    from tevit.video import open_video

    video = open_pipe(sys.stdin.buffer) if source == "-" else open_video(source)
    with TerminalProgress() as progress:
        done = (_streamed if args.stream else _at_once)(predictor, video, folder, args, progress)
    rate = done["frames_per_second"]
    said = f"{done['tracks']} tracks in {done['frames']} frames" + (f", {rate:.2f} frames/s" if rate else "")
    _say(args, f"{source}: {said} -> {folder}")
    for warning in done["warnings"]:
        print(f"tevit: warning: {warning}", file=sys.stderr)
    return {"source": source, "out": str(folder)} | done


def _at_once(
    predictor: "Predictor", video: "Video", folder: Path, args: argparse.Namespace, progress: TerminalProgress
) -> dict[str, Any]:
    from tevit.render import write_overlay
    from tevit.tracks import write_csv
    from tevit.ytvis import write_results

    start = time.perf_counter()
    result = predictor(video, **_options(args), score_threshold=args.score_threshold, progress=progress)
    rate, warnings = result.length / (time.perf_counter() - start), list(video.warnings)
    write_results(folder / "results.json", [result])
    write_csv(result, folder / "tracks.csv")
    write_overlay(video, result, folder / "overlay.mp4", progress=progress)
    return _report(result.length, len(result.tracks), rate, warnings)


def _streamed(
    predictor: "Predictor", video: "Video", folder: Path, args: argparse.Namespace, progress: TerminalProgress
) -> dict[str, Any]:
    """Window by window to disk. A pipe's frames are gone by the time the tracks are chosen: no overlay of those."""
    from tevit.render import write_overlay
    from tevit.streamed import discard, stream
    from tevit.tracks import write_csv
    from tevit.ytvis import write_long_results

    if args.fresh:
        discard(folder)
    start, new, about = time.perf_counter(), [0], {"model": args.checkpoint or args.model or DEFAULT_MODEL}
    done = stream(
        predictor,
        video,
        folder,
        options=_options(args),
        about=about | {"dtype": args.dtype},
        score_threshold=args.score_threshold,
        progress=progress,
        written=lambda part: new.append(len(part.times)),
    )
    rate, warnings = sum(new) / (time.perf_counter() - start), list(video.warnings)
    write_long_results(folder / "results.json", done.parts)
    write_csv(done.parts(), folder / "tracks.csv")
    if video.path.exists():
        write_overlay(video, done.parts(), folder / "overlay.mp4", progress=progress)
    return _report(done.length, len(done.kept), rate, warnings)


def _report(frames: int, tracks: int, rate: float, warnings: list[str]) -> dict[str, Any]:
    return {"frames": frames, "tracks": tracks, "frames_per_second": round(rate, 3), "warnings": warnings}


def _run_dataset(args: argparse.Namespace) -> int:
    from tevit.ytvis import open_dataset, write_results, write_zip

    dataset = open_dataset(args.dataset)
    predictor = _predictor(args)
    failed: list[dict[str, Any]] = []
    with TerminalProgress("video") as progress:
        write_results(args.out / "results.json", _dataset_results(predictor, dataset, args, failed, progress))
    if args.zip:
        write_zip(args.out / "submission.zip", args.out / "results.json")
    done = len(dataset.videos) - len(failed)
    _say(args, f"{done} of {len(dataset.videos)} videos -> {args.out / 'results.json'}")
    return _finish(args, {"videos": done, "out": str(args.out), "failed": failed}, done, failed)


def _dataset_results(
    predictor: "Predictor", dataset: "Dataset", args: argparse.Namespace, failed: list, progress: TerminalProgress
) -> Iterator["VideoResult"]:
    """Results of the data set's videos, one after the other; a video that fails is noted and passed over."""
    options = _options(args) | {"window": args.window or 0, "score_threshold": args.score_threshold}
    for index, video_id in enumerate(dataset.videos):
        progress("predicting", index, len(dataset.videos))
        try:
            yield _dataset_video(predictor, dataset, video_id, args.frames, options)
        except (ValueError, OSError, MemoryError) as error:
            failed.append({"video_id": video_id, "error": str(error)})
            print(f"tevit: video {video_id}: {error}", file=sys.stderr)
    progress("predicting", len(dataset.videos), len(dataset.videos))


def _dataset_video(
    predictor: "Predictor", dataset: "Dataset", video_id: int, root: Path, options: dict[str, Any]
) -> "VideoResult":
    """One video of a data set; its frames in the order of their names, as the original takes them."""
    from dataclasses import replace

    from tevit.video import open_images

    files = dataset.frame_files(video_id, root)
    ordered = sorted(files, key=lambda file: file.name)
    if ordered != files:
        print(f"tevit: warning: video {video_id}: the file's frame order is not that of the names", file=sys.stderr)
    return replace(predictor(open_images(ordered, str(video_id)), **options), video_id=video_id)


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
