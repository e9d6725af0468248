"""The checks of a model's interface: what passes, and that each mistake fails with its sentence."""

import json
from pathlib import Path

import pytest

from tevit.cli.main import main
from tevit.inference.conformance import check_clip, check_model
from tevit.inference.model_source import load_external

EXAMPLE = Path(__file__).parents[3] / "examples" / "my_model.py"
RIGHT = """
import numpy as np
from tevit import Instance

hoard, calls = [], 0

def found(frame):
    levels = frame.astype(int)
    return {0: (levels[..., 0] > 200), 1: (levels[..., 2] > 200)}

def predict(frames):
    for number, frame in enumerate(frames):
        yield {id: Instance("disc", 0.9, mask) for id, mask in found(frame).items()}
"""


def check(folder: Path, source: str, capsys, *options: str) -> tuple[int, dict[str, tuple[bool | None, str]]]:
    (folder / "model.py").write_text(source)
    code = main(["models", "check", str(folder / "model.py"), "--json", *options])
    return code, {item["name"]: (item["passed"], item["text"]) for item in json.loads(capsys.readouterr().out)}


def test_a_right_model_passes(tmp_path, capsys):
    code, checks = check(tmp_path, RIGHT, capsys)
    assert code == 0 and list(checks) == ["shapes", "ids", "deterministic", "cancel", "memory", "speed"]
    assert all(passed for name, (passed, _) in checks.items() if name != "speed")
    assert "48 frames, 2 tracks" in checks["shapes"][1] and "at most 0 frames late" in checks["memory"][1]


def test_the_example_passes(capsys):
    assert main(["models", "check", str(EXAMPLE)]) == 0
    out = capsys.readouterr().out
    assert "FAILED" not in out and "ok     memory" in out and "frames a second of 320x240" in out


def test_motion_passes():
    checks = list(check_model(load_external("motion", {}), check_clip(28, (96, 128)), frames=28))
    assert [check.passed for check in checks] == [True] * 5 + [None], checks


def test_tracks_with_one_box_are_left_out_of_the_check_of_ids(tmp_path, capsys):
    """Which of two tracks with one box is the object is not clear."""
    both = "[(k + 2 * j, m) for k, m in found(frame).items() for j in (0, 1)]}"
    source = RIGHT.replace("found(frame).items()}", both).replace("{id: Inst", "{(id + 2 * number) % 4: Inst")
    code, checks = check(tmp_path, source, capsys, "--frames", "30")
    assert code == 0 and checks["ids"][0] is None and "apart from others" in checks["ids"][1]


WRONG = {
    "size": ('"disc", 0.9, mask)', '"disc", 0.9, mask[:, 1:])', "shapes", "expected a mask of the frame's size"),
    "early": ("enumerate(frames)", "zip(range(30), frames)", "shapes", "it ended after the results of 30 frames"),
    "late": ("def predict", "delay = 1\ndef predict", "shapes", "expected results at most 1 frames late"),
    "ids": (
        "{id: Instance",
        "{id + 2 * number: Instance",
        "ids",
        "of 94 successive masks changed it: the object of track",
    ),
    "grows": ("        yield", "        hoard.append(frame.copy())\n        yield", "memory", "it grew by"),
    "random": (
        "0.9, mask",
        "float(np.random.default_rng().random()), mask",
        "deterministic",
        "another class or score in frame 0",
    ),
    "state": (
        "    for number",
        "    global calls\n    calls += 1\n    for number",
        "cancel",
        "frame 0 has other track ids in the second: its state outlives predict",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_model_fails_with_its_sentence(name, tmp_path, capsys):
    old, new, failing, sentence = WRONG[name]
    source = RIGHT.replace(old, new)
    if name == "late":
        source = source.replace("enumerate(frames)", "enumerate(list(frames))")
    if name == "state":
        source = source.replace("{id: Instance", "{id + (calls > 4): Instance")
    assert source != RIGHT
    code, checks = check(tmp_path, source, capsys)
    assert failing in checks, checks
    passed, text = checks[failing]
    assert code == 1 and passed is False and sentence in text and text.startswith("model")
    others = [other for other, (passed, _) in checks.items() if passed is False and other != failing]
    assert not others or name in ("ids", "random"), others


def test_a_model_that_does_not_end_where_it_is_closed_fails(tmp_path, capsys):
    source = RIGHT.replace("        yield {", "        try:\n            yield {").replace(
        "found(frame).items()}", "found(frame).items()}\n        except GeneratorExit:\n            yield {}"
    )
    code, checks = check(tmp_path, source, capsys)
    assert code == 1 and checks["cancel"] == (
        False,
        "model: expected predict to end where it is closed, but: generator ignored GeneratorExit",
    )


def test_a_model_that_reads_the_whole_video_is_not_measured(tmp_path, capsys):
    source = RIGHT.replace("enumerate(frames)", "enumerate(list(frames))")
    code, checks = check(tmp_path, source, capsys, "--frames", "30")
    assert code == 0 and checks["memory"] == (
        None,
        "it reads the whole video first: memory grows with the video's length",
    )


def test_a_model_without_objects_asks_for_a_video(tmp_path, capsys):
    code, checks = check(tmp_path, RIGHT.replace("> 200", "> 255"), capsys, "--frames", "30")
    assert code == 0 and checks["ids"][0] is None and "give a --video" in checks["ids"][1]
