"""Results in a notebook: representations, HTML, pictures, masks, records, tables, supervision; frames as input."""

import json
import re
from fractions import Fraction

import numpy as np
import pandas
import pytest
import supervision
from PIL import Image

import tevit
from tests.fakes import FakeModel, squares
from tevit.download import assets_folder
from tevit.inference.predictor import Predictor
from tevit.masks import ops
from tevit.results import CSV_COLUMNS
from tevit.video.overlay import color
from tevit.video.reader import open_frames

SHAPES = assets_folder() / "shapes"


def red(t):
    return 5 + 4 * t, 10


def blue(t):
    return (60, 30) if t < 3 else None


VIDEO = squares(5, (64, 96), (red, lambda t: None, blue))


@pytest.fixture(scope="module")
def result():
    return Predictor(FakeModel())(VIDEO, score_threshold=0.5)


@pytest.fixture(scope="module")
def evaluation():
    return tevit.evaluate(SHAPES / "valid.json", SHAPES / "predictions" / "tevit_demo.json")


# --- input


def test_arrays_lists_iterators_and_pil_images_are_one_video(result):
    predictor = Predictor(FakeModel())
    sources = (list(VIDEO), iter(VIDEO), (Image.fromarray(frame) for frame in VIDEO), open_frames(VIDEO, fps=30))
    for source in sources:
        other = predictor(source, score_threshold=0.5)
        assert other.length == 5 and [t.id for t in other.tracks] == [t.id for t in result.tracks]
        for ours, theirs in zip(other.tracks, result.tracks, strict=True):
            assert [r and r["counts"] for r in ours.rles] == [r and r["counts"] for r in theirs.rles]
    assert open_frames(VIDEO, fps=30).fps == Fraction(30)
    assert np.allclose(predictor(open_frames(VIDEO, fps=29.97)).times, np.arange(5) / 29.97, atol=1e-4)


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        ([], "expected at least one frame, got none"),
        (VIDEO[0], r"expected an array \(T, H, W, 3\), got \(64, 96, 3\)"),
        (VIDEO.astype(float), "frame 0: expected uint8 RGB .* got float64"),
        ([VIDEO[0], VIDEO[0][:, :90]], "frame 1: expected 96x64 pixels, got 90x64"),
        ([VIDEO[0], "x.jpg"], "frame 1: expected uint8 RGB .* got str"),
        (7, "expected an array .* got int"),
    ],
)
def test_other_input_is_named(frames, sentence):
    with pytest.raises(ValueError, match=sentence):
        Predictor(FakeModel())(frames)


def test_an_iterator_is_read_once():
    video = open_frames(iter(VIDEO))
    assert len(list(video.frames())) == 5
    with pytest.raises(ValueError, match="an iterator can be read once only"):
        list(video.frames())


# --- output


def test_representations_are_one_line(result, evaluation):
    assert repr(result) == "VideoResult('frames', 5 frames of 96x64, 2 tracks)"
    assert re.fullmatch(r"Track\(\d+, category 1, score 0\.9\d, 5 of 5 frames\)", repr(result.tracks[0]))
    assert repr(Predictor(FakeModel())) == "Predictor(fake, 3 classes, float32 on cpu)"
    assert repr(evaluation).startswith("Evaluation(AP ") and "20 videos" in repr(evaluation)
    errors = tevit.find_errors(SHAPES / "valid.json", SHAPES / "predictions" / "tevit_demo.json")
    assert repr(errors).startswith("Errors(AP50 ") and "missed " in repr(errors)
    for shown in (result, evaluation, errors, Predictor(FakeModel())):
        assert "\n" not in repr(shown) and len(repr(shown)) < 250


def test_html_has_a_filmstrip_a_row_for_each_track_and_escapes(result, evaluation):
    html = result._repr_html_()
    assert html.count("data:image/jpeg;base64,") == 5 and "frame 4, 0.67 s" in html
    assert html.count("<tr>") == 1 + len(result.tracks) and "#" + bytes(color(result.tracks[0].id)).hex() in html
    named = tevit.VideoResult(1, "<b>", (4, 4), np.zeros(0), {}, ())._repr_html_()
    assert "&lt;b&gt;" in named and "<b>" not in named
    html = evaluation._repr_html_()
    assert html.count("<tr>") == 2 + len(evaluation.names) and f"{100 * evaluation.figures['AP']:.1f}" in html
    assert "<td" in Predictor(FakeModel())._repr_html_()


def test_masks_have_the_order_of_the_tracks(result):
    for frame in range(result.length):
        masks = result.masks(frame)
        assert masks.shape == (2, 64, 96) and masks.dtype == bool
        for mask, track in zip(masks, result.tracks, strict=True):
            assert mask.sum() == track.areas[frame]
    for frame in (-1, 5):
        with pytest.raises(ValueError, match="expected a frame from 0 to 4"):
            result.masks(frame)


def test_draw_decodes_the_frame_and_colours_the_masks(result):
    drawn = result.draw(1, opacity=1.0, contours=False, labels=False)
    masks = result.masks(1)
    assert drawn.dtype == np.uint8 and (drawn[~masks.any(0)] == VIDEO[1][~masks.any(0)]).all()
    assert (drawn[masks[0]] == color(result.tracks[0].id)).all()
    assert (np.asarray(result.draw_pil(1)) == result.draw(1)).all() and isinstance(result.draw_pil(1), Image.Image)
    white = np.full_like(VIDEO[0], 255)
    assert (result.draw(1, white, labels=False, contours=False)[~masks.any(0)] == 255).all()
    without = tevit.VideoResult(1, "v", (64, 96), result.times, result.categories, result.tracks)
    assert len(np.unique(without.draw(4, labels=False)[~without.masks(4).any(0)])) < 30  # grey, beside contours


def test_save_writes_what_the_command_writes(result, tmp_path):
    files = result.save(tmp_path / "out")
    assert [file.name for file in files] == ["results.json", "tracks.csv", "overlay.mp4"]
    assert all(file.stat().st_size for file in files) and len(json.loads(files[0].read_text())) == 2
    table = pandas.read_csv(files[1])
    pandas.testing.assert_frame_equal(table, result.to_dataframe(), check_dtype=False, atol=0.01)


def test_records_have_a_row_for_each_frame_of_each_track(result):
    records = result.to_records()
    assert [tuple(record) for record in records] == [CSV_COLUMNS] * sum(int(t.present.sum()) for t in result.tracks)
    assert list(result.to_dataframe().columns) == list(CSV_COLUMNS)
    empty = tevit.VideoResult(1, "v", (4, 4), np.zeros(0), {}, ())
    assert empty.to_records() == [] and list(empty.to_dataframe().columns) == list(CSV_COLUMNS)


def test_an_evaluation_as_a_table(evaluation):
    table = evaluation.to_dataframe()
    assert (
        list(table.index) == ["all", *evaluation.names.values()] and table.loc["all", "AP"] == evaluation.figures["AP"]
    )
    assert table.isna().sum().sum() == sum(
        value < 0 for figures in (evaluation.figures, *evaluation.per_class.values()) for value in figures.values()
    )


def test_supervision_there_and_back(result):
    detections = [result.to_supervision(frame) for frame in range(result.length)]
    assert [len(item) for item in detections] == [int(result.masks(f).any((1, 2)).sum()) for f in range(5)]
    assert isinstance(detections[0], supervision.Detections)
    boxes = supervision.mask_to_xyxy(result.masks(0))
    assert (detections[0].xyxy - boxes == (0, 0, 1, 1)).all()  # ours end behind the last pixel
    supervision.MaskAnnotator().annotate(VIDEO[0].copy(), detections[0])
    back = tevit.from_supervision(detections, VIDEO, result.categories)
    tracks = {track.id: track for track in result.tracks}
    assert {track.id for track in back.tracks} == tracks.keys()
    for track in back.tracks:
        assert track.category_id == tracks[track.id].category_id and abs(track.score - tracks[track.id].score) < 1e-6
        assert ops.areas(track.rles).tolist() == tracks[track.id].areas.tolist()
    for wrong in (detections[:3], [*detections, detections[0]]):
        with pytest.raises(ValueError, match="expected detections for each frame"):
            tevit.from_supervision(wrong, VIDEO, result.categories)
