"""What is left where a process is killed, the disk is full, a worker dies or a cache is corrupted.

`python -m tests.hostile.faults --rounds N` runs so many faults of each kind and prints how many there were of each; the
first one that leaves what it must not ends it. POSIX only: processes are forked, and their files limited in size.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from unittest.mock import patch

import numpy as np

from app.analysis import service
from app.analysis.service import EvaluationRequest, EvaluationService, evaluate_in_subprocess, evaluate_into
from app.player.proxy import BrowserVideo, VideoSource, make_proxy
from app.projects.project import Project, open_project
from app.storage.results import PROXY, ResultStore, Settings
from app.storage.review_log import ReviewStore
from app.tabs.segment.models import Speeds
from app.tabs.segment.page_state import export
from app.tabs.segment.run import Footage
from app.tabs.segment.views import estimate
from tests.app.datasets import LEFT, SHIFTED, write_ground_truth, write_predictions
from tests.app.fakes import make_video, walking_squares
from tests.hostile.mutations import damaged_bytes
from tests.hostile.review_logs import decision
from tevit.io.formats import convert
from tevit.io.ytvis import read_results
from tevit.results import VideoResult
from tevit.video.reader import open_video

TOKEN = "0" * 32
FRAMES = 12


class FaultError(Exception):
    """Something was lost, half-written, or reported in more than a sentence."""


def check(condition: object, sentence: str) -> None:
    """Raises: FaultError."""
    if not condition:
        raise FaultError(sentence)


@cache
def material() -> Path:
    """A folder with a clip, a data set and a model's results."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    make_video(folder / "clip.mp4", frames=FRAMES, size_hw=(48, 64))
    write_ground_truth(folder)
    write_predictions(folder, "model.json", [(1, 1, 0.9, LEFT), (2, 1, 0.8, SHIFTED)])
    return folder


@cache
def result() -> VideoResult:
    times = [n / 10 for n in range(FRAMES)]
    return walking_squares("clip.mp4", (48, 64), times, 2, 0.0)


def project(folder: Path) -> Project:
    at = material()
    return open_project(at / "gt.json", None, [at / "model.json"], folder / "project")


# --- what is written, by a call with the path, and a call that raises where it is not whole


@dataclass(frozen=True)
class Writer:
    """name: of the file or folder. write: it. read: raises where it cannot be read to its end."""

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]


def write_export(path: Path) -> None:
    export(path.name, result(), path.parent, footage=Footage(VideoSource("clip.mp4", material() / "clip.mp4")))


def store_result(path: Path) -> None:
    frames = BrowserVideo("clip.mp4", (48, 64), tuple(result().times.tolist()), material() / "clip.mp4")
    ResultStore(path.parent).save(path.name, "clip.mp4", Settings("model"), frames, result())


def evaluation(path: Path) -> EvaluationRequest:
    return EvaluationRequest(str(material() / "gt.json"), str(material() / "model.json"), None, str(path))


def read_video(path: Path) -> None:
    check(sum(1 for _ in open_video(path).frames()) == FRAMES, f"{path.name} lacks frames")


def read_zip(path: Path) -> None:
    shutil.unpack_archive(path, path.parent / ".unpacked")
    shutil.rmtree(path.parent / ".unpacked")


WRITERS = (
    Writer("results.json", write_export, read_results),
    Writer("submission.zip", write_export, read_results),
    Writer("masks.zip", write_export, read_zip),
    Writer("tracks.csv", write_export, lambda path: check(path.read_bytes().endswith(b"\n"), "a line is cut")),
    Writer("overlay.mp4", write_export, read_video),
    Writer("proxy.mp4", lambda path: make_proxy(VideoSource("clip.mp4", material() / "clip.mp4"), path), read_video),
    Writer("coco.json", lambda path: convert.write(path, "coco", iter([result()])), lambda path: convert.read(path)),
    Writer("evaluation.npz", lambda path: evaluate_into(evaluation(path), lambda *_: None), service.load),
    Writer(TOKEN, store_result, lambda path: ResultStore(path.parent).open(path.name)),
)


@cache
def content_of(writer: Writer) -> dict[str, bytes]:
    """What it writes when nothing is in the way, by name."""
    with tempfile.TemporaryDirectory() as folder:
        writer.write(Path(folder, writer.name))
        return content(Path(folder))


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# --- processes that end early


def in_child(work: Callable[[], object]) -> tuple[int, int]:
    """Fork; returns the child's id and the end of a pipe that holds the sentence of its error, "" for none."""
    reader, writer = os.pipe()
    if child := os.fork():
        os.close(writer)
        return child, reader
    text = ""
    try:
        work()
    except (OSError, ValueError) as error:
        text = str(error) or "no sentence\n"
    except BaseException as error:
        text = f"unexpected {type(error).__name__}\n{error}"
    os.write(writer, text.encode()[:60_000])
    os._exit(0)


def sentence_of(child: int, reader: int) -> str:
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


def kill_after(work: Callable[[], object], seconds: float) -> None:
    child, reader = in_child(work)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    check(not sentence_of(child, reader), "the work failed before it was killed")


def with_full_disk(work: Callable[[], object], size: int) -> str:
    """The sentence with which work ends where no file may have more bytes than `size`."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        work()

    return sentence_of(*in_child(limited))


def forever(work: Callable[[], object]) -> None:
    while True:
        work()


# --- the faults


def killed_while_writing(writer: Writer, draw: random.Random, folder: Path) -> None:
    """There is the former file or a whole new one; what else there is begins with a dot."""
    path = folder / writer.name
    writer.write(path)
    kill_after(partial(forever, lambda: writer.write(path)), draw.uniform(0.0, 0.2))
    writer.read(path)
    others = [entry.name for entry in folder.iterdir() if entry != path and not entry.name.startswith(".")]
    check(not others, f"{others} were left beside {writer.name}")


def full_disk_while_writing(writer: Writer, draw: random.Random, folder: Path) -> None:
    """One sentence, the former file as it was, and nothing beside it."""
    path = folder / writer.name
    largest = max(len(data) for name, data in content_of(writer).items() if Path(name).name != PROXY)  # which is linked
    writer.write(path)
    before = content(folder)
    sentence = with_full_disk(lambda: writer.write(path), draw.randrange(largest))
    check(sentence and "\n" not in sentence, f"{writer.name}: expected one sentence, got {sentence!r}")
    check(content(folder) == before, f"{writer.name}: {sorted(content(folder))} differ from what was there")


def killed_while_deciding(draw: random.Random, folder: Path) -> None:
    """All decisions that were acknowledged are there, in both files, and no notice is needed."""
    reader, writer = os.pipe()

    def decide() -> None:
        store = ReviewStore(folder)
        for number in range(1, 10_000):
            store.extend([decision(number)])
            os.write(writer, f"d{number} ".encode())

    kill_after(decide, draw.uniform(0.02, 0.3))
    os.close(writer)
    with os.fdopen(reader) as pipe:
        acknowledged = pipe.read().split()
    store = ReviewStore(folder)
    remaining = [one.id for one in store.decisions()]
    store.close()
    check(
        remaining[: len(acknowledged)] == acknowledged,
        f"{len(acknowledged)} were acknowledged, {len(remaining)} are there",
    )
    check(not store.notices, f"notices after a kill: {store.notices}")


def full_disk_while_deciding(draw: random.Random, folder: Path) -> None:
    """The first decision that does not fit is refused in one sentence; all before it are there."""
    size, count = draw.randrange(100_000, 400_000), 0
    reader, writer = os.pipe()

    def decide() -> None:
        store = ReviewStore(folder)
        for number in range(1, 100_000):
            store.extend([decision(number)])
            os.write(writer, b".")

    sentence = with_full_disk(decide, size)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        count = len(pipe.read())
    check("nothing was saved" in sentence and "\n" not in sentence, f"expected one sentence, got {sentence!r}")
    store = ReviewStore(folder)
    remaining = len(store.decisions())
    store.close()
    check(remaining == count > 0, f"{count} decisions were acknowledged, {remaining} are there")


def killed_worker(draw: random.Random, folder: Path) -> None:
    """The evaluation's process dies: one sentence, no file, and the next evaluation works."""
    started: list[subprocess.Popen] = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(self)

    target, end = folder / "evaluation.npz", time.monotonic() + draw.uniform(0.0, 2.0)

    def report(stage: str, share: float) -> None:
        if time.monotonic() > end:
            for process in started:
                process.kill()

    with patch.object(subprocess, "Popen", Recorded):
        try:
            evaluate_in_subprocess(evaluation(target), report)
        except (ValueError, OSError) as error:
            check("\n" not in str(error), f"expected one sentence, got {error}")
            check(not target.exists(), "a killed evaluation left its file")
    figures(project(folder), folder)


def figures(opened: Project, cache: Path) -> dict[str, float]:
    """Of a project's first model, by a new studio."""
    service = EvaluationService(cache, in_process=True)
    return dict(service.load_or_evaluate(opened, opened.models[0], 1, lambda *_: None).summary.figures)


def corrupted_evaluation(draw: random.Random, folder: Path) -> None:
    """It is computed anew: the figures are the same."""
    opened, cache = project(folder), folder / "cache"
    expected = figures(opened, cache)
    (file,) = cache.glob("*.npz")
    file.write_bytes(damaged_bytes(file.read_bytes(), draw))
    np.testing.assert_equal(figures(opened, cache), expected)


def corrupted_result(draw: random.Random, folder: Path) -> None:
    """The stored result is as it was, or there is one sentence."""
    store_result(folder / TOKEN)
    file = draw.choice([path for path in (folder / TOKEN).iterdir() if path.suffix == ".json"])
    file.write_bytes(damaged_bytes(file.read_bytes(), draw))
    try:
        stored = ResultStore(folder).open(TOKEN)
    except ValueError as error:
        check("\n" not in str(error) and str(folder) not in str(error), f"expected one sentence, got {error}")
        return
    check([track.rles for track in stored.result.tracks] == [track.rles for track in result().tracks], "other masks")


def corrupted_speeds(draw: random.Random, folder: Path) -> None:
    """The estimate is missing, or a number; the next run is measured."""
    Speeds(folder / "speeds.json").record("motion", 5.0)
    file = folder / "speeds.json"
    file.write_bytes(damaged_bytes(file.read_bytes(), draw))
    speeds = Speeds(file)
    estimate(speeds.estimate("motion", (96, 160), 100))
    speeds.record("motion", 5.0)
    check(Speeds(file).estimate("motion", (96, 160), 100).seconds, "the run was not measured")


def corrupted_project(draw: random.Random, folder: Path) -> None:
    """It opens as it was, or there is one sentence; decisions stay."""
    opened = project(folder)
    store = ReviewStore(opened.folder)
    store.extend([decision(1)])
    store.close()
    file = opened.folder / "project.json"
    file.write_bytes(damaged_bytes(file.read_bytes(), draw))
    try:
        again = open_project(None, None, [], opened.folder)
        check(again.dataset.videos and again.results, "the data set is empty")
    except (ValueError, OSError) as error:
        check("\n" not in str(error), f"expected one sentence, got {error}")
    store = ReviewStore(opened.folder)
    check(len(store.decisions()) == 1, "a decision was lost")
    store.close()


FAULTS: dict[str, Callable[[random.Random, Path], None]] = {
    **{f"killed while writing {w.name}": partial(killed_while_writing, w) for w in WRITERS},
    **{f"full disk while writing {w.name}": partial(full_disk_while_writing, w) for w in WRITERS},
    "killed while deciding": killed_while_deciding,
    "full disk while deciding": full_disk_while_deciding,
    "killed worker": killed_worker,
    "corrupted evaluation": corrupted_evaluation,
    "corrupted result": corrupted_result,
    "corrupted speeds": corrupted_speeds,
    "corrupted project": corrupted_project,
}


def main() -> int:
    """Returns 1 where a fault left what it must not."""
    top = argparse.ArgumentParser(prog="tests.hostile.faults", description=__doc__)
    top.add_argument("--rounds", type=int, default=20, help="faults of each kind (default: %(default)s)")
    top.add_argument("--first", type=int, default=0, help="number of the first round (default: %(default)s)")
    top.add_argument("--only", action="append", choices=FAULTS, help="a kind of fault; repeatable (default: all)")
    args, code = top.parse_args(), 0
    for kind in args.only or FAULTS:
        began = time.monotonic()
        for number in range(args.first, args.first + args.rounds):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    FAULTS[kind](random.Random(f"{kind} {number}"), Path(folder))
                except Exception as error:
                    code = 1
                    print(f"FOUND {kind}, round {number}: {type(error).__name__}: {error}", flush=True)
        print(f"{kind}: {args.rounds} rounds, {time.monotonic() - began:.1f} s", flush=True)
    shutil.rmtree(material())
    return code


if __name__ == "__main__":
    sys.exit(main())
