"""`--log-to`: a module with the interface of trackio and wandb, and trackio itself where it is installed."""

import json
import sys
from types import ModuleType

import pytest

from tests.train.test_command import SMALL
from tevit.synthetic import dataset as shapes
from train.__main__ import main
from train.report import Log, Tracker, read_lines

RUN = (*SMALL, "--save-every", "2", "--log-every", "1", "--lr-schedule", "step", "--device", "cpu")


class FakeTracker(ModuleType):
    """Keeps what is logged. begun: the arguments of each `init`. lines: (step, metrics)."""

    def __init__(self, name: str):
        super().__init__(name)
        self.begun, self.lines, self.finished = [], [], 0

    def init(self, **arguments):
        self.begun.append(arguments)
        return self

    def log(self, metrics, step):
        self.lines.append((step, metrics))

    def finish(self):
        self.finished += 1


@pytest.fixture(params=["trackio", "wandb"])
def tracker(request, monkeypatch) -> FakeTracker:
    fake = FakeTracker(request.param)
    monkeypatch.setitem(sys.modules, request.param, fake)
    return fake


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    shapes.write(folder, 1, 5, "train")
    shapes.write(folder, 1, 6, "valid")
    return folder


def train(data, out, *more: str) -> int:
    return main(["demo", "--data", str(data), "--out", str(out), *RUN, *more])


def test_a_run_is_logged_and_resumed_under_its_name(data, tmp_path, tracker):
    name = tracker.__name__
    run = tmp_path / "mine"
    assert train(data, run, "--iterations", "2", "--eval-every", "2", "--log-to", name) == 0
    (begun,) = tracker.begun
    assert begun["project"] == "tevit" and begun["name"].startswith("mine-") and begun["config"]["iterations"] == 2
    assert begun.get("id") == (begun["name"] if name == "wandb" else None) and begun["resume"] == "allow"
    assert [step for step, _ in tracker.lines] == [1, 2, 2] and tracker.finished == 1
    lines = read_lines(run / "metrics.jsonl")
    assert tracker.lines[0][1]["train/total"] == lines[0]["total"] and tracker.lines[2][1]["eval/AP"] == lines[2]["AP"]
    assert train(data, run, "--iterations", "3", "--eval-every", "0", "--log-to", name) == 0
    assert tracker.begun[1]["name"] == begun["name"] and [step for step, _ in tracker.lines] == [1, 2, 2, 3]
    assert train(data, run, "--iterations", "1", "--eval-every", "0", "--log-to", name, "--fresh") == 0
    assert tracker.begun[2]["name"] != begun["name"] and tracker.lines[-1][0] == 1


def test_what_was_logged_before_a_kill_is_not_logged_again(tmp_path, tracker):
    for start, stop in ((0, 4), (2, 3), (2, 6)):  # killed twice behind the checkpoint of iteration 2
        with Log(tmp_path, start, 6, tracker=Tracker(tracker.__name__, tmp_path, {})) as log:
            for iteration in range(start + 1, stop + 1):
                log.write("train", iteration, {"total": 1.0, "note": "no number"})
    assert tracker.lines == [(step, {"train/total": 1.0}) for step in range(1, 7)]
    assert [line["iteration"] for line in read_lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_nothing_is_logged_by_default(data, tmp_path, tracker):
    assert train(data, tmp_path, "--iterations", "1", "--eval-every", "0") == 0
    assert not tracker.begun and not (tmp_path / "tracked.json").exists()


def test_a_missing_package_is_named_before_anything_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "trackio", None)
    assert train(tmp_path / "nothing", tmp_path / "run", "--log-to", "trackio") == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "train: --log-to trackio: it needs the package trackio: pip install 'tevit-studio[trackio]'"
    )
    assert error.count("\n") == 1 and not (tmp_path / "run").exists()


def test_a_tracker_that_begins_no_run_is_named(data, tmp_path, tracker, monkeypatch, capsys):
    def refuse(**arguments):
        raise RuntimeError("no account")

    monkeypatch.setattr(tracker, "init", refuse)
    assert train(data, tmp_path, "--iterations", "1", "--eval-every", "0", "--log-to", tracker.__name__) == 2
    assert capsys.readouterr().err == f"train: --log-to {tracker.__name__}: it began no run (no account)\n"


def test_trackio_has_the_metrics_of_a_resumed_run_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="the extra trackio is not installed")
    storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
    for start, stop in ((0, 3), (2, 4)):
        with Log(tmp_path, start, 4, tracker=Tracker("trackio", tmp_path, {"lr": 0.1})) as log:
            for iteration in range(start + 1, stop + 1):
                log.write("train", iteration, {"total": 1.5})
    name = json.loads((tmp_path / "tracked.json").read_text())["trackio"]["run"]
    assert storage.get_runs("tevit") == [name]
    logged = [(line["step"], line["train/total"]) for line in storage.get_logs("tevit", name)]
    assert logged == [(1, 1.5), (2, 1.5), (3, 1.5), (4, 1.5)]
