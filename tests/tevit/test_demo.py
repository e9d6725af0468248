"""The bundled model and data set: complete, and as their model card states."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

import tevit
from app.tabs.segment.models import model_options
from tests.pictures import write_video
from tevit import download
from tevit.cli.main import main
from tevit.configs import CATEGORIES_2019, TEVIT_DEMO
from tevit.io.ytvis import open_dataset, read_results
from tevit.model.cpu import can_pack
from tevit.synthetic import dataset as shapes

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "assets"
VALID = ASSETS / "shapes" / "valid.json"
PREDICTIONS = ASSETS / "shapes" / "predictions"


@pytest.fixture(scope="module")
def predictor():
    return tevit.load("tevit_demo", device="cpu")


def test_it_is_result_and_small(tmp_path, monkeypatch):
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path))
    path = download.bundled_path(TEVIT_DEMO.name)
    assert path == ASSETS / "tevit_demo.safetensors" and path.stat().st_size < 16e6
    assert model_options([])[0].value == "tevit_demo", "without other weights the studio starts with it"
    assert dict(TEVIT_DEMO.categories) == shapes.CATEGORIES != CATEGORIES_2019


def test_an_installed_package_carries_it():
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert download.bundled_path(TEVIT_DEMO.name).name in setup["package-data"]["tevit.assets"]
    names = {"tevit_studio": "app", "tevit_train": "train"}
    assert setup["package-dir"] == {"tevit.assets": "assets", **names}
    packages = {"tevit.assets"}
    for name, top in {"tevit": "tevit", **names}.items():
        folders = {path.parent.relative_to(ROOT / top) for path in (ROOT / top).rglob("*.py")}
        packages |= {".".join((name, *folder.parts)) for folder in folders}
    assert packages == set(setup["packages"])


def test_its_predictions_are_the_ones_beside_it(predictor):
    dataset = open_dataset(VALID)
    video = dataset.videos[1]
    result = predictor(ASSETS / "shapes" / "JPEGImages" / video.name, window=0)
    stored = [item for item in json.loads((PREDICTIONS / "tevit_demo.json").read_text()) if item["video_id"] == 1]
    assert [track.category_id for track in result.tracks] == [item["category_id"] for item in stored]
    np.testing.assert_allclose([track.score for track in result.tracks], [i["score"] for i in stored], atol=2e-3)


def test_the_card_says_its_figures():
    figures = tevit.evaluate(VALID, PREDICTIONS / "tevit_demo.json").figures
    card = (ASSETS / "tevit_demo.md").read_text()
    assert f"| `assets/shapes` | {100 * figures['AP']:.1f} | {100 * figures['AP50']:.1f} |" in card


def test_the_earlier_checkpoint_is_worse():
    earlier = next(path for path in PREDICTIONS.iterdir() if path.name != "tevit_demo.json")
    ap = [tevit.evaluate(VALID, path).figures["AP"] for path in (earlier, PREDICTIONS / "tevit_demo.json")]
    assert ap[0] < ap[1]


def test_the_set_with_errors_names_them():
    errors = json.loads((ASSETS / "shapes" / "label_errors.json").read_text())
    assert len(errors) == 12
    right, wrong = open_dataset(VALID), open_dataset(VALID.with_name("valid_with_errors.json"))
    assert right.videos.keys() == wrong.videos.keys()
    assert len(read_results(PREDICTIONS / "tevit_demo.json").predictions) > len(right.annotations)


CLIPS = ("crossing", "return", "crowd")


@pytest.fixture(scope="module")
def clip_results(predictor):
    return {name: predictor(ASSETS / "clips" / f"{name}.mp4") for name in CLIPS}


@pytest.mark.parametrize("name", CLIPS)
def test_it_runs_on_the_sample_clips(clip_results, name):
    result = clip_results[name]
    assert result.size_hw == (192, 320) and len(result.tracks) == 10


@pytest.mark.skipif(not can_pack(torch.bfloat16), reason="this processor has no bfloat16 products")
def test_bfloat16_changes_no_category_and_few_pixels(clip_results):
    """Of the tracks that the studio shows at first; docs/benchmarks.md has the counts."""
    mixed = tevit.load("tevit_demo", device="cpu", dtype="bfloat16")
    tracks, categories, pixels, changed = 0, 0, 0, 0
    for name, exact in clip_results.items():
        rough = mixed(ASSETS / "clips" / f"{name}.mp4")
        for track in (track for track in exact.tracks if track.score >= 0.3):
            masks = decoded(track, exact.size_hw)
            pairs = [((masks != decoded(other, exact.size_hw)).sum(), other) for other in rough.tracks]
            differing, nearest = min(pairs, key=lambda pair: pair[0])
            tracks, categories = tracks + 1, categories + (track.category_id != nearest.category_id)
            pixels, changed = pixels + masks.sum(), changed + differing
            assert nearest.score == pytest.approx(track.score, abs=0.02)
    assert (tracks, categories) == (12, 0)
    assert 0 < changed < 0.02 * pixels


def decoded(track, size_hw):
    """bool (T, H, W): the masks of a track."""
    return np.stack([np.zeros(size_hw, bool) if rle is None else coco.decode(rle).astype(bool) for rle in track.rles])


def test_all_of_it_is_small():
    assert sum(path.stat().st_size for path in (ASSETS / "shapes").rglob("*") if path.is_file()) < 12e6


def test_for_other_videos_the_command_says_that_it_finds_nothing_real(tmp_path, capsys):
    clip = write_video(tmp_path / "street.mp4", np.full((2, 64, 96, 3), 90, np.uint8))
    bundled = ASSETS / "shapes" / "JPEGImages" / "shapes-2001-0000"
    for source, notes in ((clip, 1), (bundled, 0)):
        argv = ["predict", str(source), "--model", "tevit_demo", "--out", str(tmp_path / "out"), "--json"]
        assert main(argv) == 0
        err = capsys.readouterr().err
        assert err.count("tevit_demo recognizes eight synthetic shapes and nothing real") == notes, err
        assert ("--model tevit_msgshift (648 MB), or --model motion" in err) == bool(notes)
