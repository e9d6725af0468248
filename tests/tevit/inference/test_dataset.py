"""A data set predicted by one process or several, stopped, killed and resumed: the file is always the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.fakes import squares, write_frames
from tevit import checkpoint
from tevit.cli.main import main
from tevit.inference.dataset import PartialResults, Share
from tevit.io.ytvis import VideoInfo

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


def test_two_processes_one_of_them_killed_write_the_same_file(data, expected, tmp_path: Path):
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", "1", "--monitor-interval", "0.1", str(tmp_path / "worker.py"), str(tmp_path / "log")]
    argv = [*command, *data, "--out", str(tmp_path / "out"), "--zip"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
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
