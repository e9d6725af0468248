"""Files that pages may open: none outside the folders that the operator allowed."""

from pathlib import Path

import pytest
from PIL import Image

from app.player.proxy import BrowserVideo, PlaceholderFrames, dataset_frames
from app.projects import project
from app.projects.project import AllowedFolders, guess_frames, open_project, with_frames
from tests.app import datasets
from tests.app.datasets import LEFT


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """`open` with a data set, predictions and frames; `secret` beside it, and links from one to the other."""
    datasets.write_ground_truth(tmp_path / "open", "gt.json")
    datasets.write_predictions(tmp_path / "open" / "more", "a.json", [(1, 1, 0.9, LEFT)])
    for frame in range(datasets.FRAMES):
        for folder in ("open/frames/v1", "secret/v2"):
            file = tmp_path / folder / f"{frame}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (60, 40)).save(file)
    datasets.write_ground_truth(tmp_path / "secret", "hidden.json")
    (tmp_path / "open" / "frames" / "v2").symlink_to(tmp_path / "secret" / "v2")
    (tmp_path / "open" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "open" / "out.json").symlink_to(tmp_path / "secret" / "hidden.json")
    (tmp_path / "open" / "round").symlink_to(tmp_path / "open")
    (tmp_path / "open" / "loop").symlink_to(tmp_path / "open" / "loop")
    (tmp_path / "open" / "notes.json").write_text("words")
    return tmp_path


def test_only_files_in_allowed_folders_are_listed(disk: Path, monkeypatch: pytest.MonkeyPatch):
    listing = AllowedFolders.of([disk / "open", disk / "open"]).listing()
    assert listing.truths == (str(disk / "open" / "gt.json"),) and listing.complete
    assert listing.predictions == (str(disk / "open" / "more" / "a.json"),)
    assert listing.folders == (str(disk / "open"), str(disk / "open" / "frames"))
    monkeypatch.setattr(project, "MAX_ENTRIES", 3)
    assert not AllowedFolders.of([disk / "open"]).listing().complete
    with pytest.raises(FileNotFoundError, match="--allow: no such folder"):
        AllowedFolders.of([disk / "none"])


@pytest.mark.parametrize(
    "path",
    [
        "secret/hidden.json",
        "secret/nothing.json",
        "open/out.json",
        "open/out/hidden.json",
        "open/../secret/hidden.json",
    ],
)
def test_paths_outside_are_refused_whether_they_exist_or_not(disk: Path, path: str):
    with pytest.raises(ValueError, match="is not below a folder that the operator allowed"):
        AllowedFolders.of([disk / "open"]).file(str(disk / path))


def test_paths_inside_are_resolved(disk: Path):
    allowed = AllowedFolders.of([disk / "open"])
    assert allowed.file(str(disk / "open" / "round" / "gt.json")) == disk / "open" / "gt.json"
    assert allowed.folder(str(disk / "open")) == disk / "open"
    for wrong in ("gt.json", "open\0", str(disk / "open" / "loop")):
        with pytest.raises(ValueError, match="is not below"):
            allowed.file(wrong)
    with pytest.raises(FileNotFoundError, match="no such file"):
        allowed.file(str(disk / "open" / "none.json"))


def test_frames_outside_are_grey(disk: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEVIT_HOME", str(disk / "home"))
    allowed = AllowedFolders.of([disk / "open"])
    project = open_project(disk / "open" / "gt.json", disk / "open" / "frames", allowed=allowed)
    assert isinstance(dataset_frames(project, 1), BrowserVideo)
    outside = dataset_frames(project, 2)
    assert (
        isinstance(outside, PlaceholderFrames)
        and not outside.files
        and "lead out of the allowed folders" in outside.reason
    )
    assert isinstance(
        dataset_frames(open_project(disk / "open" / "gt.json", disk / "open" / "frames"), 2), BrowserVideo
    )
    open_project(disk / "open" / "gt.json", disk / "secret")
    assert open_project(disk / "open" / "gt.json", allowed=allowed).frames is None
    assert guess_frames(project.dataset, allowed.listing().folders) == disk / "open" / "frames"


def test_frames_beside_the_file_are_found_and_kept(disk: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEVIT_HOME", str(disk / "home"))
    allowed = AllowedFolders.of([disk / "open"])
    project = open_project(disk / "open" / "gt.json", allowed=allowed)
    assert project.frames is None
    changed = with_frames(project, allowed)
    assert changed.frames == disk / "open" / "frames"
    assert open_project(disk / "open" / "gt.json", allowed=allowed).frames == changed.frames
    assert with_frames(changed, allowed, disk / "open") is changed, "the folder that it has stays"
