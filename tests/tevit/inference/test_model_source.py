"""Models by file, module, environment variable and entry point; their parameters; other models on the command line."""

import json
from importlib.metadata import EntryPoint

import pytest

from tests.fakes import squares, write_frames
from tevit.cli.main import main
from tevit.inference import model_source
from tevit.inference.model_source import find_source, load_external, model_parameters
from tevit.io.ytvis import read_results

SIZE = (32, 48)
MODEL = """
from dataclasses import dataclass, field
from typing import Literal
from tevit import Instance

@dataclass
class parameters:
    level: int = 128
    share: float = 0.5
    name: Literal["red", "green"] = "red"
    limit: float | None = field(default=None, metadata={"help": "none: no limit"})
    invert: bool = False

class Model:
    def __init__(self, **values):
        self.values = values

    def predict(self, frames):
        for frame in frames:
            yield {1: Instance(self.values["name"], self.values["share"], frame[..., 0] > self.values["level"])}

def create(**values):
    return Model(**values)
"""
PLAIN = """
from tevit import Instance

classes = {5: "thing"}

def predict(frames):
    for frame in frames:
        yield {1: Instance(5, 0.5, frame[..., 0] > 128)}
"""


@pytest.fixture
def clip(tmp_path):
    return write_frames(tmp_path / "clip", squares(60, SIZE, [lambda t: (2 + t // 2, 4)]))


@pytest.fixture
def model(tmp_path):
    (tmp_path / "my_model.py").write_text(MODEL)
    return str(tmp_path / "my_model.py")


def test_parameters_are_parsed_by_their_type(model):
    def values(**given):
        return load_external(f"{model}:create", given).about["parameters"]

    assert values() == {"level": 128, "share": 0.5, "name": "red", "limit": None, "invert": False}
    texts = {"level": "7", "share": "1", "name": "green", "limit": "2", "invert": "yes"}
    assert values(**texts) == {"level": 7, "share": 1.0, "name": "green", "limit": 2.0, "invert": True}
    assert values(limit="none", level=3.0) == values(level=3)
    source = find_source(model)
    assert source is not None and [item.help for item in model_parameters(source)][3] == "none: no limit"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"level": "x"}, "parameter level: expected a whole number, got 'x'"),
        ({"name": "blue"}, "parameter name: expected one of red, green, got 'blue'"),
        ({"invert": "maybe"}, "parameter invert: expected true or false, got 'maybe'"),
        ({"limit": "x"}, "parameter limit: expected a number or none, got 'x'"),
        ({"colour": "x"}, "unknown parameter 'colour'; it has level, share, name, limit, invert"),
    ],
)
def test_a_wrong_parameter_is_refused_with_a_sentence(model, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_external(model, given)


def test_an_enum_is_chosen_by_name(tmp_path):
    text = "from enum import Enum\nclass Mode(Enum):\n  FAST = 1\n  EXACT = 2\n"
    (tmp_path / "m.py").write_text(f"{text}def create(mode: Mode = Mode.FAST):\n  import my\n")
    source = find_source(f"{tmp_path}/m.py")
    assert source is not None
    (parameter,) = model_parameters(source)
    assert parameter.default.name == "FAST" and parameter.parse("EXACT").value == 2
    assert parameter.check(parameter.choices[1]) is parameter.choices[1]
    with pytest.raises(ValueError, match="mode: expected one of FAST, EXACT, got 'slow'"):
        parameter.parse("slow")


def test_the_parameters_of_create_without_a_dataclass(tmp_path):
    head = "class M:\n  def __init__(self, size: int, rate=0.5, device='cpu'): self.device = device\n"
    (tmp_path / "m.py").write_text(f"{head}  def predict(self, frames): ...\n")
    source = find_source(f"{tmp_path}/m.py:M")
    assert source is not None
    assert [(item.name, item.kind, item.required) for item in model_parameters(source)] == [
        ("size", int, True),
        ("rate", float, False),
    ]
    with pytest.raises(ValueError, match="parameter size needs a value, a whole number"):
        load_external(source)
    assert getattr(load_external(source, {"size": 3}, device="cpu").model, "device", None) == "cpu"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "import nowhere_to_be_found",
            r"No module named 'nowhere_to_be_found' \(ModuleNotFoundError in m.py, line 1\)",
        ),
        ("x = 1", "expected a function create or predict in it, found neither"),
        ("create = 3", "expected a function or an object with predict, got int"),
        ("def create(): return 3", r"expected an object with predict\(frames\), got int"),
        ("def create(): raise OSError('no weights')", r"no weights \(OSError in m.py, line 1\)"),
        ("def create(x: list): ...", "parameter x: expected int, float, bool, str, an Enum or a Literal, got"),
        ("delay = -1\ndef predict(frames): ...", "delay: expected a number of frames from 0 or None, got -1"),
    ],
)
def test_a_file_that_is_no_model_is_refused_with_a_sentence(tmp_path, text, sentence):
    (tmp_path / "m.py").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        load_external(str(tmp_path / "m.py"))


def test_a_missing_file_or_attribute_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.py: no such file"):
        load_external(str(tmp_path / "nothing.py"))
    (tmp_path / "m.py").write_text("x = 1")
    with pytest.raises(ValueError, match="there is no make in"):
        load_external(f"{tmp_path}/m.py:make")


def test_models_are_found_by_variable_and_entry_point(tmp_path, monkeypatch, capsys):
    (tmp_path / "plain_model.py").write_text(PLAIN)
    (tmp_path / "made_model.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("installed", "made_model:create", model_source.GROUP)
    monkeypatch.setattr(model_source, "entry_points", lambda group: [point] if group == model_source.GROUP else [])
    monkeypatch.setenv("TEVIT_MODELS", "plain=plain_model, other=made_model:create")
    assert load_external("plain").categories == {5: "thing"}
    assert load_external("other").about["weights"] == "other (made_model:create)"
    assert load_external("installed", {"level": 1}).about["parameters"]["level"] == 1
    assert main(["predict", "x", "--out", str(tmp_path / "out"), "--model", "instaled"]) == 2
    monkeypatch.setenv("TEVIT_MODELS", "plain")
    with pytest.raises(ValueError, match=r"TEVIT_MODELS: expected name=package\.module:create, got 'plain'"):
        find_source("anything")


def predict(*arguments: object) -> int:
    return main(["predict", *map(str, arguments)])


def test_predict_writes_the_usual_files(clip, model, tmp_path):
    assert predict(clip, "--model", model, "--out", tmp_path / "out", "-p", "share=0.25") == 0
    assert {file.name for file in (tmp_path / "out/clip").iterdir()} == {"results.json", "overlay.mp4", "tracks.csv"}
    (track,) = read_results(tmp_path / "out/clip/results.json").predictions
    assert track.score == 0.25
    assert "red" in (tmp_path / "out/clip/tracks.csv").read_text().splitlines()[1]


def test_a_stream_has_the_same_results_and_is_resumed(clip, model, tmp_path, monkeypatch):
    assert predict(clip, "--model", model, "--out", tmp_path / "whole") == 0
    expected = (tmp_path / "whole/clip/results.json").read_bytes()
    broken = MODEL.replace(
        "for frame in frames:", "for number, frame in enumerate(frames):\n            if number == 40: 1 / 0"
    )
    text = (tmp_path / "my_model.py").read_text()
    (tmp_path / "my_model.py").write_text(broken)
    monkeypatch.setattr(model_source, "_identity", lambda source: "my_model")  # the same model, for the stream
    streamed = ("--model", model, "--out", tmp_path / "stream", "--stream")
    assert predict(clip, *streamed) == 2
    lines = (tmp_path / "stream/clip/stream.jsonl").read_bytes()
    assert lines.count(b"\n") == 2
    (tmp_path / "my_model.py").write_text(text)
    assert predict(clip, *streamed) == 0
    assert (tmp_path / "stream/clip/stream.jsonl").read_bytes().startswith(lines)
    assert (tmp_path / "stream/clip/results.json").read_bytes() == expected
    csv = (tmp_path / "stream/clip/tracks.csv").read_text()
    assert csv == (tmp_path / "whole/clip/tracks.csv").read_text()
    assert predict(clip, *streamed) == 0  # finished: written again from the stream
    assert (tmp_path / "stream/clip/tracks.csv").read_text() == csv
    assert predict(clip, *streamed, "-p", "level=100") == 2


def test_a_data_set_gets_its_class_ids_by_name(clip, model, tmp_path, capsys, monkeypatch):
    names = sorted(file.name for file in clip.iterdir())
    videos = [{"id": 9, "width": 48, "height": 32, "length": 60, "file_names": [f"clip/{name}" for name in names]}]
    categories = [{"id": 1, "name": "green"}, {"id": 4, "name": "Red"}]
    (tmp_path / "valid.json").write_text(json.dumps({"videos": videos, "categories": categories, "annotations": None}))
    dataset = ("--dataset", tmp_path / "valid.json", "--frames", tmp_path, "--model", model)
    assert predict(*dataset, "--out", tmp_path / "out", "--zip") == 0
    (track,) = read_results(tmp_path / "out/results.json").predictions
    assert (track.video_id, track.category_id) == (9, 4)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert predict(*dataset, "--out", tmp_path / "two") == 0
    assert "process 0 is done" not in capsys.readouterr().out  # one video: the first process has it
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    (tmp_path / "my_model.py").write_text(MODEL.replace('self.values["name"],', '"blue",'))
    assert predict(*dataset, "--out", tmp_path / "other") == 0
    assert read_results(tmp_path / "other/results.json").predictions == ()
    assert predict(*dataset, "--out", tmp_path / "out") == 2
    assert "holds another prediction (weights my_model.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--dtype", "bfloat16"), "--dtype goes with a model of TeViT, not with"),
        (("--no-cuts",), "--no-cuts goes with a model of TeViT, not with"),
        (("-p", "level"), "-p: expected name=value, got 'level'"),
        (("--device", "cpu"), "its create takes no device; leave out --device cpu"),
    ],
)
def test_options_that_do_not_apply_are_refused(clip, model, tmp_path, capsys, options, sentence):
    if "cpu" in options:
        (tmp_path / "my_model.py").write_text(
            MODEL.replace("**values):\n    return", "level: int = 1):\n    values = {}\n    return")
        )
    assert predict(clip, "--model", model, "--out", tmp_path / "out", *options) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
