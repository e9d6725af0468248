"""Filmstrips in the report of errors: both masks on the data set's frames, grey where a frame is missing."""

import base64
import re

import cv2
import numpy as np
import pytest

from tevit.cli import main as cli
from tevit.download import assets_folder
from tevit.evaluation.report import COLOURS, HEIGHT, WIDTH, choose_frames, draw_thumbnail
from tevit.masks import ops as masks

SHAPES = assets_folder() / "shapes"
FILES = [str(SHAPES / "valid.json"), str(SHAPES / "predictions" / "tevit_demo.json")]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    """The report of the bundled predictions on the bundled set, with pictures."""
    folder = tmp_path_factory.mktemp("report")
    assert cli.main(["errors", *FILES, "--frames", str(SHAPES / "JPEGImages"), "--out", str(folder)]) == 0
    return (folder / "report.html").read_text()


def pictures(page: str) -> list[np.ndarray]:
    encoded = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    decoded = [cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR) for text in encoded]
    return [picture for picture in decoded if picture is not None]


def test_the_worst_hundred_errors_have_a_filmstrip(page):
    assert page.count('<tr class="strip">') == page.count('<tr class="above">') == 100
    assert "The worst 100; share: " in page and "ground truth alone" in page
    images = pictures(page)
    assert 300 < len(images) <= 500 and all(picture.shape == (HEIGHT, WIDTH, 3) for picture in images)
    assert min(picture.std() for picture in images) > 5, "frames, not grey"
    captions = re.findall(r"<figcaption>(frame \d+, IoU \d\.\d\d(?:, (\w+))?)</figcaption>", page)
    assert len(captions) == len(images) and {role for _, role in captions} == {"", "worst", "median", "best"}


def test_missing_frames_are_grey_and_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["errors", *FILES, "--frames", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 0
    stderr = capsys.readouterr().err
    assert "none of its frames" in stderr and stderr.count("\n") < 30
    page = (tmp_path / "out/report.html").read_text()
    assert len(pictures(page)) > 300 and "Note: video &#39;shapes-2001-" in page


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--frames", "."], "--frames goes with --out"),
        (["--frames", "nowhere", "--out", "o"], "nowhere: no such folder"),
    ],
)
def test_wrong_options_are_named(more, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["errors", *FILES, *more]) == 2
    assert sentence in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_pixels_of_both_of_one_and_of_the_other_have_their_colours():
    size = (96, 128)
    truth, prediction = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    truth[20:70, 20:80], prediction[20:70, 50:110] = 1, 1
    jpeg = draw_thumbnail(np.zeros((*size, 3), np.uint8), size, masks.encode(truth), masks.encode(prediction))
    drawn = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    for kind, column in {"missed": 30, "agreed": 65, "invented": 100}.items():
        assert np.abs(drawn[45, column, ::-1] - 0.45 * np.array(COLOURS[kind])).max() < 12, kind


@pytest.mark.parametrize("grey", [40, 110, 230])
def test_masks_stand_out_from_a_picture_of_their_own_colour(grey: int):
    size, mask = (96, 128), np.zeros((96, 128), np.uint8)
    mask[30:60, 40:80] = 1
    picture = np.full((*size, 3), grey, np.uint8)
    picture[30:60, 40:80] = COLOURS["missed"][::-1]
    drawn = cv2.imdecode(
        np.frombuffer(draw_thumbnail(picture, size, masks.encode(mask), None), np.uint8), cv2.IMREAD_COLOR
    )
    assert drawn is not None
    line = drawn[45, :, 1].astype(int)  # across the left edge
    assert np.abs(np.diff(line[20:60])).max() > 80


def test_named_frames_are_shown_and_some_between():
    ious = dict.fromkeys(range(10, 30), 0.5)
    shown = choose_frames(ious, {12: "best", 12 + 1: "median", 20: "worst"})
    assert [item.frame for item in shown] == [10, 12, 13, 15, 20]
    assert [item.role for item in shown] == ["", "best", "median", "", "worst"]
    assert choose_frames({}, {None: "worst"}) == []
