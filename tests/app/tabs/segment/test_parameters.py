"""The form of a model's parameters: its fields, and the check of what a browser sends."""

from pathlib import Path

import pytest

from app.storage.results import Settings
from app.tabs.segment.models import ModelCache, errors_of, form, given, read_form
from tests.app.fakes import FakePredictor

MODEL = """
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

class Mode(Enum):
    FAST = 1
    EXACT = 2

@dataclass
class Parameters:
    side: int = field(default=8, metadata={"help": "pixels of the square"})
    share: float = 0.5
    invert: bool = False
    name: Literal["thing", "stuff"] = "thing"
    mode: Mode = Mode.FAST
    limit: float | None = None
    label: str = "a"

parameters = Parameters

def create(**values): ...
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "my_model.py").write_text(MODEL)
    return str(tmp_path / "my_model.py")


def test_each_kind_of_parameter_has_its_field(model: str):
    content = form(model)
    kinds = {field["name"]: field["kind"] for field in content["fields"]}
    assert kinds == {
        "side": "whole",
        "share": "number",
        "invert": "flag",
        "name": "choice",
        "mode": "choice",
        "limit": "number",
        "label": "text",
    }
    assert content["fields"][0]["help"] == "pixels of the square"
    assert [field["choices"] for field in content["fields"][3:5]] == [["thing", "stuff"], ["FAST", "EXACT"]]
    defaults = dict(side="8", share="0.5", invert=False, name="thing", mode="FAST", limit="", label="a")
    assert content["values"] == defaults
    assert form(model, {"side": "3", "gone": "1"})["values"] == {**defaults, "side": "3"}
    assert form("tevit_demo")["fields"] == form(None)["fields"] == []
    assert [field["name"] for field in form("motion")["fields"]] == ["min_area"]


def test_a_file_that_cannot_be_imported_is_a_sentence(tmp_path: Path):
    (tmp_path / "broken.py").write_text("import nowhere_to_be_found")
    assert "No module named 'nowhere_to_be_found'" in form(str(tmp_path / "broken.py"))["problem"]


def test_only_values_that_are_not_the_defaults_are_passed(model: str):
    def read(**values: object) -> tuple:
        return read_form(model, {"model": model, "values": values})

    assert read() == read(side="8", share="0.50", invert=False, limit="", mode="FAST") == ((), {})
    values, errors = read(side="9", invert=True, limit="2", mode="EXACT", name="stuff")
    assert errors == {} and [name for name, _ in values] == ["invert", "limit", "mode", "name", "side"]
    assert dict(values)["side"] == 9 and dict(values)["limit"] == 2.0 and dict(values)["mode"].value == 2


def test_what_is_wrong_has_a_sentence(model: str):
    values = {"side": "x", "share": "", "invert": "perhaps", "name": "blue", "limit": [1], "other": "1"}
    assert read_form(model, {"model": model, "values": values})[1] == {
        "side": "expected a whole number, got 'x'",
        "share": "expected a number, got ''",
        "invert": "expected true or false, got 'perhaps'",
        "name": "expected one of thing, stuff, got 'blue'",
        "limit": "expected a number or none, got [1]",
    }
    for other in ({"model": "motion", "values": values}, None, "x", {"model": model, "values": 3}):
        assert read_form(model, other) == ((), {})


def test_a_failed_run_names_the_field(model: str):
    assert errors_of(model, "my_model.py: side: expected 1 to 9, got 0 (ValueError in my_model.py, line 3)") == {
        "side": "expected 1 to 9, got 0 (ValueError in my_model.py, line 3)"
    }
    assert errors_of("motion", "min_area: expected a share of the frame between 0 and 1, got 3.0").keys() == {
        "min_area"
    }
    assert errors_of(model, "out of memory") == errors_of("/nothere.py", "side: x") == {}


def test_models_with_other_parameters_are_loaded_apart(model: str):
    loads: list[dict] = []

    def load(name: str, parameters: dict | None = None) -> FakePredictor:
        loads.append(parameters or {})
        return FakePredictor()

    models = ModelCache(load, free=lambda: None)
    first = models.get(model)
    assert models.get(model, (("side", 3),)) is not first and models.get(model) is first
    assert loads == [{}, {"side": 3}]
    assert Settings(model) != Settings(model, parameters=(("side", 3),))


def test_a_page_remembers_only_values_of_the_fields(model: str):
    sent = {"side": "3", "invert": True, "label": "x" * 20_000, "share": ["1"] * 9, "other": "x" * 20_000}
    assert given(model, {"values": sent}) == {"side": "3", "invert": True, "label": "x" * 10_000}
    assert given(model, {"values": ["side"]}) == given(model, {}) == {}
