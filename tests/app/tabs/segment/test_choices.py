from pathlib import Path

import pytest

from app.tabs.segment.choices import Choice, choices, find
from tevit.configs import MODELS


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of checkpoints."""
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_without_weights_every_published_model_says_what_to_do(checkpoints: Path):
    offered = choices([])
    assert [choice.value for choice in offered] == ["tevit_demo", *MODELS]
    assert offered[0] == Choice("tevit_demo", "tevit_demo (shapes)")
    assert all(choice.label.endswith("(no weights)") for choice in offered[1:])
    assert "`tevit models --get tevit_r50`" in offered[3].advice and str(checkpoints) in offered[3].advice
    with pytest.raises(ValueError, match="weights of tevit_r50 are not on this machine"):
        find("tevit_r50", [])


def test_what_can_run_comes_first(checkpoints: Path, tmp_path: Path):
    given = tmp_path / "mine.pth"
    for path in (given, checkpoints / MODELS["tevit_r50"].file_name, checkpoints / "other.safetensors"):
        path.touch()
    for name in ("notes.txt", "half.pth.part"):
        (checkpoints / name).touch()
    offered = choices([given])
    assert offered[:3] == [
        Choice(str(given), "mine.pth"),
        Choice("tevit_r50", "tevit_r50 (AP 42.1)"),
        Choice(str(checkpoints / "other.safetensors"), "other.safetensors"),
    ]
    assert offered[3].value == "tevit_demo"
    assert len(offered) == 3 + len(MODELS) and all(choice.advice for choice in offered[4:])


def test_a_given_file_in_the_folder_is_listed_once(checkpoints: Path):
    (checkpoints / "mine.pth").touch()
    labels = [choice.label for choice in choices([checkpoints / "mine.pth"])]
    assert labels.count("mine.pth") == 1


def test_only_what_is_offered_can_be_chosen(checkpoints: Path, tmp_path: Path):
    (tmp_path / "secret.pth").touch()
    with pytest.raises(ValueError, match=r"^secret\.pth is not here any more"):
        find(str(tmp_path / "secret.pth"), [])
    with pytest.raises(ValueError, match="Choose a model first"):
        find(None, [])
    assert find(str(tmp_path / "secret.pth"), [tmp_path / "secret.pth"]).label == "secret.pth"


def test_a_folder_that_is_not_there_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path / "nowhere"))
    assert len(choices([])) == 1 + len(MODELS)
