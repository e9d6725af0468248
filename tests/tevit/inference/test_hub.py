"""Weights in a folder or a repository of the Hugging Face Hub; the hub itself is replaced."""

import json
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import RepositoryNotFoundError

from tevit.inference.huggingface import WEIGHTS_NAME
from tevit.inference.predictor import Predictor, load

VIDEO = np.random.default_rng(0).integers(0, 255, (3, 64, 96, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    load("tevit_demo").save_pretrained(folder)  # packed: its own tensors cannot be saved any more
    return folder


def test_a_folder_gives_the_same_model(folder):
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "config.json", WEIGHTS_NAME]
    assert json.loads((folder / "config.json").read_text())["name"] == "tevit_demo"
    original, reloaded = load("tevit_demo"), Predictor.from_pretrained(folder)
    assert reloaded.config == original.config
    masks = [[track.areas.tolist() for track in predictor(VIDEO).tracks] for predictor in (original, reloaded)]
    assert masks[0] == masks[1]


def test_a_model_in_memory_is_saved(tiny_model, tmp_path):
    Predictor(tiny_model).save_pretrained(tmp_path)
    assert Predictor.from_pretrained(tmp_path).config == tiny_model.config
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: tevit\n") and "not measured" in card


def test_a_repository_is_downloaded(folder, monkeypatch):
    calls = []

    def download(repository, name, revision=None):
        calls.append((repository, name, revision))
        return str(folder / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert Predictor.from_pretrained("user/model", revision="v1").config.name == "tevit_demo"
    assert calls == [("user/model", WEIGHTS_NAME, "v1")]


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"expected model\.safetensors in it, found none"):
        Predictor.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder, nor a repository's name"):
        Predictor.from_pretrained(tmp_path / "none")

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(ConnectionError, match=r"user/model: model\.safetensors cannot be fetched: no network"):
        Predictor.from_pretrained("user/model")
    assert issubclass(RepositoryNotFoundError, OSError)  # so that it is one of those


def test_push_uploads_what_a_folder_would_hold(folder, monkeypatch):
    uploads = []

    class Api:
        def __init__(self, token=None):
            self.token = token

        def create_repo(self, name, private, exist_ok):
            uploads.append((self.token, name, private, exist_ok))
            return f"https://hub/{name}"

        def upload_folder(self, repo_id, folder_path, commit_message):
            uploads.append((repo_id, {file.name: file.read_bytes() for file in Path(folder_path).iterdir()}))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert (
        Predictor.from_pretrained(folder).push_to_hub("user/model", private=True, token="t") == "https://hub/user/model"
    )
    assert uploads[0] == ("t", "user/model", True, True)
    assert uploads[1] == ("user/model", {file.name: file.read_bytes() for file in folder.iterdir()})
