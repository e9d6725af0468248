"""A data set predicted by one process or several, stopped, killed and resumed: the file is always the same."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fakes import FakeModel, squares, write_frames
from tevit import checkpoint
from tevit.cli.main import main
from tevit.inference.dataset import PartialResults, Share, in_file_order, match_classes, open_frames, predict_dataset
from tevit.inference.predictor import Predictor
from tevit.io.validate import validate
from tevit.io.ytvis import VideoInfo, open_dataset
from tevit.masks import ops
from tevit.results import Track, VideoResult

ROOT = Path(__file__).parents[3]
LENGTHS = {3: 2, 1: 4, 7: 3, 5: 2, 2: 3}  # id -> frames: the file's order is not that of the ids
WORKER = """
import os, signal, sys
from tevit.inference import dataset
from tevit.cli.main import main

add = dataset.PartialResults.add

def add_and_die(self, result):
    add(self, result)
    with open(sys.argv[1], "a") as log:
        print(os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"], result.video_id, file=log)
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)

dataset.PartialResults.add = add_and_die
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("set")


@pytest.fixture(scope="module")
def data(tiny_model, folder: Path) -> list[str]:
    """The command line for five tiny videos but for --out."""
    videos = []
    for id, length in LENGTHS.items():
        write_frames(folder / "frames" / f"v{id}", squares(length, (64, 96), (lambda t, x=id: (5 * x + t, 10),) * 3))
        names = [f"v{id}/{index:05d}.png" for index in range(length)]
        videos.append({"id": id, "width": 96, "height": 64, "length": length, "file_names": names})
    truth = {"videos": videos, "categories": [{"id": 1, "name": "person"}], "annotations": None}
    (folder / "valid.json").write_text(json.dumps(truth))
    checkpoint.save_model(folder / "tiny.safetensors", tiny_model)
    command = ["predict", "--dataset", str(folder / "valid.json"), "--frames", str(folder / "frames")]
    return [*command, "--checkpoint", str(folder / "tiny.safetensors")]


@pytest.fixture(scope="module")
def expected(data: list[str], folder: Path):
    """The file that one process writes without a stop, with one thread, as torchrun sets for its processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert main([*data, "--out", str(folder / "whole")]) == 0
    yield (folder / "whole" / "results.json").read_bytes()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def own_model(data: list[str], folder: Path) -> tuple[list[str], bytes]:
    """The command line but for --out with a model in a Python file, which loads in a moment, and the file of one
    process without a stop."""
    source = "import numpy as np\nfrom tevit import Instance\n\ndef predict(frames):\n"
    source += "    for frame in frames:\n        yield {1: Instance('person', 0.5, frame[..., 0] > 0)}\n"
    (folder / "model.py").write_text(source)
    argv = [*data[: data.index("--checkpoint")], "--model", str(folder / "model.py")]
    assert main([*argv, "--out", str(folder / "own")]) == 0
    return argv, (folder / "own" / "results.json").read_bytes()


def test_two_processes_one_of_them_killed_write_the_same_file(own_model, tmp_path: Path):
    data, expected = own_model
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", "1", "--monitor-interval", "0.1", str(tmp_path / "worker.py"), str(tmp_path / "log")]
    argv = [*command, *data, "--out", str(tmp_path / "out"), "--zip"]
    process = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "out" / "results.json").read_bytes() == expected and (tmp_path / "out/submission.zip").exists()
    lines = [tuple(map(int, line.split())) for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(id for *_, id in lines) == sorted(LENGTHS), "no video twice after the kill"
    assert {restart for rank, restart, _ in lines if rank == 1} == {0, 1}
    assert {rank for rank, *_ in lines} == {0, 1}


def test_one_process_resumes_after_a_stop(data, expected, folder, tmp_path: Path, monkeypatch, capsys):
    finished, add = [], PartialResults.add

    def stopped(self, result):
        add(self, result)
        finished.append(result.video_id)
        if len(finished) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(PartialResults, "add", stopped)
    argv = [*data, "--out", str(tmp_path / "out")]
    assert main(argv) == 130 and not (tmp_path / "out" / "results.json").exists()
    assert main(argv) == 0 and finished == list(LENGTHS), "each once, in the data set's order"
    assert (tmp_path / "out" / "results.json").read_bytes() == expected
    capsys.readouterr()
    assert main([*argv, "--max-tracks", "3"]) == 2
    assert "holds another prediction (max_tracks 10, now 3): give another folder, or --fresh" in capsys.readouterr().err
    (tmp_path / "other.json").write_text((folder / "valid.json").read_text() + "\n")
    assert main([*argv, "--dataset", str(tmp_path / "other.json")]) == 2
    assert "holds another prediction (data set " in capsys.readouterr().err
    assert main([*argv, "--max-tracks", "3", "--fresh"]) == 0 and len(finished) == 2 * len(LENGTHS)


def test_a_wrong_option_is_refused_before_anything_is_written(data, tmp_path, capsys):
    argv = [*data, "--out", str(tmp_path / "out")]
    for option, value in (("--max-tracks", "0"), ("--window", "1"), ("--score-threshold", "2")):
        assert main([*argv, option, value]) == 2
        assert f"{option[2:].replace('-', '_')}: expected" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_process_of_several_predicts_its_share(data, expected, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    argv = [*data, "--out", str(tmp_path / "out")]
    (folder / "frames" / "v5").rename(folder / "gone")
    for rank, code in (("0", 0), ("1", 1)):
        monkeypatch.setenv("RANK", rank)
        assert not (tmp_path / "out" / "results.json").exists()
        assert main(argv) == code, "the process that merges reports the failures"
    assert "process 0 is done" in capsys.readouterr().out
    (folder / "gone").rename(folder / "frames" / "v5")
    monkeypatch.setenv("RANK", "0")
    assert main(argv) == 0, "failed videos are predicted again"
    assert (tmp_path / "out" / "results.json").read_bytes() == expected


def test_a_model_of_ones_own_is_shared_out_stopped_and_resumed(own_model, tmp_path, monkeypatch):
    argv, expected = own_model
    argv = [*argv, "--out"]
    assert len(json.loads(expected)) == len(LENGTHS)
    add = PartialResults.add

    def stopped(self, result):
        add(self, result)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PartialResults, "add", stopped)
        assert main([*argv, str(tmp_path / "out")]) == 130
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert main([*argv, str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "results.json").read_bytes() == expected


@pytest.mark.parametrize(
    ("rank", "arguments", "words"),
    [
        ("2", [], "expected RANK from 0 and below WORLD_SIZE, got RANK=2 and WORLD_SIZE=2"),
        ("0", ["--fresh"], "--fresh is for one process: remove "),
    ],
)
def test_wrong_input_of_several_processes_is_one_sentence(data, tmp_path, monkeypatch, capsys, rank, arguments, words):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    assert main([*data, "--out", str(tmp_path / "out"), *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_several_processes_do_not_download_weights(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*data[:-2], "--out", str(tmp_path / "out")]) == 2
    assert "`tevit models --get tevit_msgshift` before several start" in capsys.readouterr().err


def test_shares_are_balanced_and_complete():
    lengths = [30, 5, 5, 20, 12, 7, 36, 1]
    videos = {10 - id: VideoInfo(10 - id, 4, 4, length, ()) for id, length in enumerate(lengths)}
    for world in (1, 2, 3, 11):
        shares = [Share(rank, world).of(videos) for rank in range(world)]
        assert sorted(id for share in shares for id in share) == sorted(videos)
        assert all(share == [id for id in videos if id in share] for share in shares)
        frames = [sum(videos[id].length for id in share) for share in shares]
        assert max(frames) <= max(36, -(-sum(lengths) // world) + 5)


@pytest.mark.parametrize(
    ("numbers", "size"), [({"red": 4, "green": 100, "blue": 7}, (96, 160)), ({"Blue": 1, "RED": 2}, (48, 80))]
)
def test_predictions_have_the_ids_and_the_size_of_the_data_set(tmp_path, capsys, numbers, size):
    video = squares(3, (96, 160), (lambda t: (5, 5), lambda t: (60, 50), lambda t: (100, 20)))
    write_frames(tmp_path / "frames" / "v", video)
    content = {
        "videos": [{"id": 1, "height": size[0], "width": size[1], "file_names": [f"v/{t:05d}.png" for t in range(3)]}],
        "categories": [{"id": id, "name": name} for name, id in numbers.items()],
    }
    (tmp_path / "valid.json").write_text(json.dumps(content))
    dataset = open_dataset(tmp_path / "valid.json")
    classes = match_classes(dict(FakeModel.config.categories), dataset.categories)
    results = PartialResults(tmp_path / "parts")
    results.folder.mkdir()
    predict_dataset(Predictor(FakeModel()), dataset, tmp_path / "frames", results, [1], {}, lambda *_: None, classes)
    entries = json.loads(results.merge(tmp_path / "results.json", [1]).read_text())
    assert {entry["category_id"] for entry in entries} == set(numbers.values())
    assert all(entry["segmentations"][0]["size"] == list(size) for entry in entries)
    scaled = "its images have 160x96 pixels, the data set's file states 80x48: scaled to it"
    assert (scaled in capsys.readouterr().err) == (size != (96, 160))
    assert validate(tmp_path / "results.json", gt=dataset).faults == []


def test_frames_with_unpadded_numbers_are_in_natural_order(tmp_path):
    video = squares(3, (96, 160), (lambda t: (5, 5), lambda t: (60, 50), lambda t: (100, 20)))
    folder = write_frames(tmp_path / "v", video)
    files = [folder / f"{number}.png" for number in (1, 2, 10)]
    for old, new in zip(sorted(folder.iterdir()), files, strict=True):
        old.rename(new)
    opened = open_frames(files[::-1], 1)
    assert opened.file_names == ("1.png", "2.png", "10.png")
    assert opened.notes == [
        "frames are in natural order ('2.png' is number 2), not alphabetical ('10.png' would be)",
        "the data set's file has another order of frames: masks are written in that of the file",
    ]
    assert len(open_frames(files, 1).notes) == 1


def test_masks_are_in_the_order_of_the_data_sets_file(tmp_path):
    """Labels written by a tool that sorts plainly: the second mask belongs to 10.png."""
    names = ["v/1.png", "v/10.png", "v/2.png"]
    full = np.ones((4, 6), np.uint8)
    rles = [ops.encode(np.roll(np.eye(4, 6, dtype=np.uint8), shift, 1)) for shift in range(2)] + [ops.encode(full)]
    track = Track(1, 1, 0.9, tuple(rles), ops.to_boxes_xyxy(rles), ops.areas(rles), frame_scores=np.arange(3.0))
    result = VideoResult(1, "v", (4, 6), np.arange(3.0), {1: "a"}, (track,), ("1.png", "2.png", "10.png"))
    ordered = in_file_order(result, [Path(name) for name in names])
    track = ordered.tracks[0]
    assert ordered.file_names == ("1.png", "10.png", "2.png")
    assert track.rles == (rles[0], rles[2], rles[1])
    assert track.areas.tolist() == [4, 24, 4] and track.boxes_xyxy[1].tolist() == [0, 0, 6, 4]
    assert track.frame_scores is not None and track.frame_scores.tolist() == [0, 2, 1]
    assert in_file_order(result, [Path(f"v/{n}.png") for n in (1, 2, 10)]) is result
