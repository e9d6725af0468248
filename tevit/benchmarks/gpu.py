"""`python -m tevit.benchmarks.gpu --out gpu.json`: every row of the GPU table in docs/benchmarks.md, in one JSON file.

Each job is a process of its own that writes a line of JSON for every row when it is measured: an error on the device
costs the rows of one job, and what is not done at the deadline is stopped. A row without figures has a sentence.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tevit.benchmarks.record import Figures, record, report, spread, time_call
from tevit.io.files import fault_sentence

if TYPE_CHECKING:
    import torch

    from tevit.inference.predictor import Predictor
    from tevit.video.reader import Decoder

MINUTES = 9.0
WARM_UP = 3  # passes of a model that are not counted; the first one compiles
TRACKS = 10
DECODERS: "tuple[Decoder, ...]" = ("pyav", "torchcodec")


@dataclass(frozen=True)
class Plan:
    """What is run. model: published, its weights by seed. clips: frames of each clip. clip_hw: size of their frames,
    pixels. rounds: timed passes over a clip. video_frames, video_hw: of the made-up video. passes: over it. training:
    arguments of `train.benchmark`, batch: what they make a step of. shapes: videos of the made-up data set.
    """

    model: str
    clips: tuple[int, ...]
    clip_hw: tuple[int, int]
    rounds: int
    video_frames: int
    video_hw: tuple[int, int]
    passes: int
    training: tuple[str, ...]
    batch: str
    shapes: int


FULL = Plan(
    model="tevit_msgshift",
    clips=(5, 16, 36),
    clip_hw=(360, 640),
    rounds=20,
    video_frames=240,
    video_hw=(720, 1280),
    passes=2,
    training=("tevit-msgshift", "--classes-from-data", "--precision", "bfloat16", "--workers", "8", "--steps", "10"),
    batch="16 clips of 5 frames",
    shapes=16,
)
SMALL = Plan(
    model="tevit_demo",
    clips=(2, 3),
    clip_hw=(64, 96),
    rounds=2,
    video_frames=8,
    video_hw=(64, 96),
    passes=1,
    training=(
        *("demo", "--precision", "bfloat16", "--steps", "1", "--frames", "2", "--scales", "96x64"),
        *("--slots", "2", "--clips-per-slot", "1"),
    ),
    batch="2 clips of 2 frames",
    shapes=2,
)
"""Of a CPU, where it shows that the program works."""


class Job(NamedTuple):
    """kind: "model" (alone), "video" (from file to results.json) or "training". seconds: with less time left the job is
    not started; an estimate."""

    kind: str
    dtype: str
    compiled: bool
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.dtype}{', compiled' if self.compiled else ''}"


JOBS = (
    Job("model", "bfloat16", False, 20),
    Job("model", "float32", False, 20),
    Job("video", "bfloat16", False, 30),
    Job("training", "bfloat16", False, 60),
    Job("video", "float32", False, 30),
    Job("model", "bfloat16", True, 60),
    Job("video", "bfloat16", True, 60),
)
"""In the order in which they run: compiling takes longest and may be stopped at the deadline."""


def rows_of(job: Job, plan: Plan) -> list[str]:
    """The rows of the table that a job fills."""
    how = f"{job.dtype}{', compiled' if job.compiled else ''}"
    if job.kind == "model":
        return [f"model alone, {frames} frames, {how}" for frames in plan.clips]
    if job.kind == "video":
        height, width = plan.video_hw
        return [f"file to results.json, {width}x{height}, {how}, {decoder}" for decoder in DECODERS]
    return [f"training, {plan.batch} a step, {how}"]


class Aim(NamedTuple):
    """text: what is to be reached. figure: its unit. rows: what the names of the rows begin with, and contain."""

    text: str
    figure: str
    rows: tuple[str, str]
    at_least: float


AIMS = (
    Aim("model alone in bfloat16", "frames/s", ("model alone", "bfloat16"), 1500),
    Aim("file to results.json in bfloat16", "end to end, frames/s", ("file to results.json", "bfloat16"), 300),
    Aim("training in bfloat16", "steps/s", ("training", "bfloat16"), 0.85),
)


# --- all jobs


@dataclass
class Outcome:
    """figures: row -> figures. missing: row -> a sentence that says why it has none."""

    figures: dict[str, Figures] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, rows: Sequence[str], lines: Sequence[str], end: str) -> None:
        """Add what a job wrote. end: why there is nothing more."""
        for line in lines:
            entry = json.loads(line)
            if "figures" in entry:
                self.figures[entry["row"]] = entry["figures"]
            else:
                self.missing[entry["row"]] = entry["error"]
        self.missing |= {row: end for row in rows if row not in self.figures and row not in self.missing}


Command = Callable[[Job, Path], list[str]]
"""The command line of a job's process, which appends a line for each row to a file."""


def run_jobs(
    jobs: Sequence[Job], plan: Plan, command: Command, begun: float, seconds: float, say: Callable[[str], None]
) -> Outcome:
    """Run the jobs one after the other, until `seconds` after `begun`, which is by `time.monotonic`.

    say: called with what begins, and with why a row stays without figures.
    """
    outcome, deadline = Outcome(), begun + seconds
    with tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder:
        for number, job in enumerate(jobs):
            left = deadline - time.monotonic()
            lines, end = Path(folder) / f"{number}.jsonl", ""
            if left < job.seconds:
                end = f"not started: {left:.0f} s were left of {seconds:.0f}, it takes about {job.seconds:.0f}"
            else:
                say(f"{job.name} ({left:.0f} s left)")
                end = _run(command(job, lines), lines.with_suffix(".log"), left, seconds)
            before = set(outcome.missing)
            outcome.add(rows_of(job, plan), lines.read_text().splitlines() if lines.exists() else [], end)
            for row in outcome.missing.keys() - before:
                say(f"{row}: not measured: {outcome.missing[row]}")
    return outcome


def _run(command: Sequence[str], log: Path, left: float, seconds: float) -> str:
    """Run a job's process; returns how it ended, as the reason of rows that it did not write. log: of its output."""
    with log.open("wb") as output:
        # In a group of its own, so that the processes it has started are stopped with it.
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(timeout=left)
        except subprocess.TimeoutExpired:
            return f"stopped after the {seconds:.0f} s that all rows together have"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    last = (log.read_text(errors="replace").strip().splitlines() or ["it wrote nothing"])[-1]
    return f"its process ended with exit code {code}: {last}"


def aims_of(figures: Mapping[str, Figures]) -> list[dict[str, Any]]:
    """Each aim with the best median of its rows; None where none was measured."""
    aims = []
    for aim in AIMS:
        begin, part = aim.rows
        fitting = [row for name, row in figures.items() if name.startswith(begin) and part in name]
        best = max((row[aim.figure]["median"] for row in fitting if aim.figure in row), default=None)
        aims.append({"aim": f"{aim.text}, {aim.figure}", "at least": aim.at_least, "measured": best})
    return aims


def table(plan: Plan, outcome: Outcome, jobs: Sequence[Job] = JOBS) -> str:
    """The rows as Markdown, with the medians of their figures; "not measured" where there are none."""
    lines = ["| row | measured |", "|---|---|"]
    for row in (row for job in jobs for row in rows_of(job, plan)):
        texts = []
        for name, value in outcome.figures.get(row, {}).items():
            what, _, unit = name.rpartition(", ")
            texts.append(f"{what} {value['median']:.4g} {unit}".strip())
        lines.append(f"| {row} | {', '.join(texts) or 'not measured'} |")
    return "\n".join(lines)


# --- one job


Measure = tuple[str, Callable[[], Figures]]
"""A row, and what measures it."""


def run_job(job: Job, plan: Plan, device: "torch.device", lines: Path) -> None:
    """Measure a job's rows, one after the other, and write a line for each."""
    with tempfile.TemporaryDirectory(prefix="tevit-benchmark-") as folder:
        kinds = {"model": _model_rows, "video": _video_rows, "training": _training_rows}
        for row, measure in kinds[job.kind](job, plan, device, Path(folder)):
            try:
                entry = {"row": row, "figures": measure()}
            except Exception as error:  # of any kind, such as CUDA's: the other rows are measured all the same
                entry = {"row": row, "error": " ".join(fault_sentence(error).split()) or type(error).__name__}
            with lines.open("a") as file:
                file.write(json.dumps(entry) + "\n")


def _model_rows(job: Job, plan: Plan, device: "torch.device", folder: Path) -> Iterator[Measure]:
    from tevit.benchmarks.speed import random_clip

    predictor = _load(job, plan, device)
    for row, frames in zip(rows_of(job, plan), plan.clips, strict=True):
        yield row, lambda frames=frames: _time_clip(predictor, *random_clip(frames, plan.clip_hw, device), plan.rounds)


def _time_clip(predictor: "Predictor", pixels: "torch.Tensor", sizes: Any, rounds: int) -> Figures:
    """Frames per second from pixels on the device to detections on the host."""
    _forget_peak(predictor.device)
    passes = [
        time_call(lambda: predictor.detections(pixels, sizes, TRACKS), predictor.device).seconds
        for _ in range(WARM_UP + rounds)
    ]
    _check_compiled(predictor)
    return {
        "frames/s": spread(pixels.shape[1] / seconds for seconds in passes[WARM_UP:]),
        "first pass, s": spread(passes[:1]),
        "peak memory, MB": _peak(predictor.device),
    }


def _video_rows(job: Job, plan: Plan, device: "torch.device", folder: Path) -> Iterator[Measure]:
    from tevit.benchmarks import speed
    from tevit.video.reader import open_video

    file = speed.write_synthetic_video(folder / "made-up.mp4", plan.video_frames, plan.video_hw)
    predictor = _load(job, plan, device)

    def measure(decoder: "Decoder") -> Figures:
        opened = open_video(file, decoder, str(device))
        _forget_peak(device)
        figures = speed.measure_video(predictor, opened, plan.passes)
        _check_compiled(predictor)
        return figures

    for row, decoder in zip(rows_of(job, plan), DECODERS, strict=True):
        yield row, lambda decoder=decoder: measure(decoder)


def _training_rows(job: Job, plan: Plan, device: "torch.device", folder: Path) -> Iterator[Measure]:
    (row,) = rows_of(job, plan)
    yield row, lambda: _train(plan, device, folder)


def _train(plan: Plan, device: "torch.device", folder: Path) -> Figures:
    """The figures of `train.benchmark` on a made-up data set. Raises: ValueError with its last line where it fails."""
    from tevit.synthetic import dataset as shapes

    shapes.write(folder / "shapes", plan.shapes, 5, "train")
    package = next((name for name in ("train", "tevit_train") if find_spec(name)), None)
    if package is None:
        raise ValueError("expected the package of training, train or tevit_train, beside tevit; there is none")
    arguments = [*plan.training, "--data", str(folder / "shapes"), "--device", str(device)]
    command = [sys.executable, "-m", f"{package}.benchmark", *arguments, "--json", str(folder / "training.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    result = json.loads((folder / "training.json").read_text())
    return {
        "steps/s": spread([1 / result["seconds a step"]]),
        "clips/s": spread([result["clips a second"]]),
        "waiting for data, %": spread([float(result["waiting for data"].removesuffix(" %"))]),
        "peak memory, MB": spread([1000 * result["peak memory, GB"]]),
    }


def _load(job: Job, plan: Plan, device: "torch.device") -> "Predictor":
    from tevit.benchmarks.speed import checkpoint_file
    from tevit.inference.predictor import load

    with checkpoint_file(plan.model) as file:
        return load(file, device=str(device), dtype=job.dtype, compile=job.compiled)


def _check_compiled(predictor: "Predictor") -> None:
    """Raises: ValueError with the compiler's error, so that no uncompiled model is measured as a compiled one."""
    if predictor.warnings:
        raise ValueError(predictor.warnings[0])


def _forget_peak(device: "torch.device") -> None:
    """A process's own peak cannot be forgotten; a CUDA device's can."""
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: "torch.device") -> dict[str, float]:
    from tevit.limits import peak_memory

    return spread([peak_memory(device) / 1e6])


# --- the command line


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="python -m tevit.benchmarks.gpu", description="Measure every row of the GPU table on one CUDA device."
    )
    top.add_argument("--out", type=Path, metavar="JSON", help="write the result there, too")
    on_cpu = "cpu: a small run that shows that the program works"
    top.add_argument("--device", default="cuda", help=f"cuda (default), cuda:1; {on_cpu}")
    top.add_argument("--minutes", type=float, default=MINUTES, help=f"for all rows (default {MINUTES:g})")
    top.add_argument("--job", choices=[job.name for job in JOBS], help=argparse.SUPPRESS)
    top.add_argument("--lines", type=Path, help=argparse.SUPPRESS)
    return top


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 for a user error, which is printed as one sentence."""
    begun, args = time.monotonic(), parser().parse_args(argv)
    from tevit.inference.predictor import resolve_device

    try:
        device = resolve_device(args.device)
        if args.minutes <= 0:
            raise ValueError(f"--minutes: expected more than 0, got {args.minutes:g}")
        if device.type not in ("cpu", "cuda"):
            raise ValueError(f"--device: expected cuda or cpu, got {args.device}")
    except ValueError as error:
        print(f"tevit.benchmarks.gpu: {error}", file=sys.stderr)
        return 2
    plan = FULL if device.type == "cuda" else SMALL
    if args.job:
        run_job(next(job for job in JOBS if job.name == args.job), plan, device, args.lines)
        return 0
    jobs = JOBS if device.type == "cuda" else [job for job in JOBS if not job.compiled]

    def command(job: Job, lines: Path) -> list[str]:
        own = ["--device", args.device, "--job", job.name, "--lines", str(lines)]
        return [sys.executable, "-m", "tevit.benchmarks.gpu", *own]

    say = partial(print, file=sys.stderr, flush=True)
    outcome = run_jobs(jobs, plan, command, begun, 60 * args.minutes, say)
    print(table(plan, outcome, jobs) + "\n")
    report(_result(plan, device, args.minutes, outcome, sys.argv[1:] if argv is None else argv), args.out)
    return 0


def _result(plan: Plan, device: "torch.device", minutes: float, outcome: Outcome, argv: list[str]) -> dict[str, Any]:
    """As of `record`; beside it the aims and, by row, why there are no figures."""
    sides = {name: f"{size[1]}x{size[0]}" for name, size in (("clip", plan.clip_hw), ("video", plan.video_hw))}
    settings = {"model": plan.model, **sides, "video frames": plan.video_frames, "minutes": minutes}
    figures = {f"{row}: {name}": value for row, own in outcome.figures.items() for name, value in own.items()}
    result = record("gpu", device, settings, figures)
    result["command"] = shlex.join(["python", "-m", "tevit.benchmarks.gpu", *argv])
    return result | {"aims": aims_of(outcome.figures), "not measured": outcome.missing}


if __name__ == "__main__":
    sys.exit(main())
