"""One video: its matches, curves, marks, filmstrips and differences; and the list of videos."""

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from app.analysis.comparison import (
    KINDS,
    Comparison,
    difference,
    filter_videos,
    iou_curve,
    match_rows,
    neighbour_video,
    row_curve,
    timeline_marks,
    video_rows,
)
from app.analysis.filter import Filter, select
from app.analysis.service import ThumbnailCache, differences, filmstrip_frames
from app.projects.project import open_project
from tests.app import datasets
from tests.app.datasets import FRAMES, LEFT, RIGHT, SHIFTED, square
from tevit.evaluation.api import evaluate
from tevit.evaluation.errors import ALL_TYPES
from tevit.evaluation.report import HEIGHT, WIDTH
from tevit.masks import ops as masks
from tevit.results import RLE, Track, VideoResult

HALVES = [*LEFT[:5], *RIGHT[5:]], [*RIGHT[:5], *LEFT[5:]]
GAP = [*LEFT[:3], None, None, *LEFT[5:]]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comparison]:
    folder = tmp_path_factory.mktemp("set")
    a = [
        (1, 1, 0.9, LEFT),
        (1, 1, 0.5, LEFT),
        (1, 3, 0.8, RIGHT),
        (2, 1, 0.9, HALVES[0]),
        (2, 1, 0.7, HALVES[1]),
        (2, 3, 0.2, SHIFTED),
    ]
    b = [(1, 1, 0.6, SHIFTED), (2, 1, 0.9, GAP), (2, 2, 0.9, [*RIGHT[:9], square(38)])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEVIT_HOME", str(folder / "home"))
        paths = [datasets.write_predictions(folder, "a.json", a), datasets.write_predictions(folder, "b.json", b)]
        yield datasets.evaluate_project(open_project(datasets.write_ground_truth(folder), None, paths), folder / "kept")


def test_matches_come_before_what_has_none(comparison):
    rows = match_rows(comparison, 0, 1)
    assert [(matched, row.type, row.truth_id, row.prediction_id) for row, matched in rows] == [
        (True, "correct", 10, 1),
        (True, "classification", 11, 3),
        (False, "duplicate", 10, 2),
    ]
    assert [row.iou for row, _ in rows] == [1, 1, 1] and rows[1][0].predicted_class == "class 3"
    of_b = match_rows(comparison, 1, 1)
    assert [(matched, row.type, row.truth_id, row.score) for row, matched in of_b] == [
        (True, "spatial", 10, 0.6),
        (False, "missed", 11, None),
    ]
    with pytest.raises(ValueError, match="has no video 9"):
        match_rows(comparison, 0, 9)


def types_of(comparison: Comparison, model: int, video_id: int, side: str) -> dict[int, str]:
    """Track id -> type of error, of one side ("truth" or "prediction") of a video."""
    t = comparison.table
    here = (t.model == model) & (t.video == comparison.video_places[video_id]) & (t.truth == (side == "truth"))
    rows = np.flatnonzero(here)
    ids = t.truth_id if side == "truth" else t.prediction_id
    return {int(ids[index]): ALL_TYPES[int(t.type[index])] for index in rows.tolist()}


def test_every_track_is_in_exactly_one_row(comparison):
    for model in range(2):
        for video in (1, 2):
            rows = match_rows(comparison, model, video)
            predictions = [row.prediction_id for row, _ in rows if row.prediction_id is not None]
            assert sorted(predictions) == sorted(types_of(comparison, model, video, "prediction"))
            matched = [row.truth_id for row, matched in rows if matched or row.type == "missed"]
            assert sorted(id for id in matched if id) == sorted(types_of(comparison, model, video, "truth"))


def test_curves_equal_the_evaluations(comparison):
    project = comparison.project
    evaluation = evaluate(project.truth.path, project.models[1].file.path)
    for truth, prediction in ((20, 2), (21, 3), (21, 2)):
        expected = evaluation.frame_ious(prediction, truth)
        curve = iou_curve(comparison, 1, 2, truth, prediction)
        assert [iou for iou in curve.ious] == pytest.approx(expected.round(4).tolist())
        frames, known = curve.frames, dict(enumerate(curve.ious))
        order = sorted(frames, key=lambda frame: (known[frame] or 0, frame))
        assert (curve.worst, curve.median) == (order[0], order[(len(frames) - 1) // 2])
        assert curve.best == max(frames, key=lambda frame: (known[frame] or 0, -frame))
    with pytest.raises(ValueError, match="no annotation 99"):
        iou_curve(comparison, 0, 1, 99, None)


def test_the_worst_frame_of_a_row_is_that_of_its_curve(comparison):
    for index in range(len(comparison.table.model)):
        assert row_curve(comparison, index).worst == comparison.table.record(index).worst_frame


def test_switches_and_fragments_are_marked_on_both_sides(comparison):
    truths, predictions = timeline_marks(comparison, 0, 2)
    assert truths == {20: [{"frame": 5, "kind": "switch"}]}, "21 is of another class than both predictions"
    assert predictions == {5: [{"frame": 5, "kind": "switch"}]}
    assert timeline_marks(comparison, 0, 1) == ({}, {})
    assert timeline_marks(comparison, 1, 2) == ({}, {}), "without any prediction of the class in the gap"


def test_marks_are_the_events_that_evaluate_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path / "home"))
    predictions = [(2, 1, 0.9, GAP), (2, 1, 0.3, SHIFTED), (1, 1, 0.9, HALVES[0]), (1, 1, 0.8, HALVES[1])]
    path = datasets.write_predictions(tmp_path, "c.json", predictions)
    comparison = datasets.evaluate_project(
        open_project(datasets.write_ground_truth(tmp_path), None, [path]), tmp_path / "kept"
    )
    truths, predictions = timeline_marks(comparison, 0, 2)
    assert truths == {20: [{"frame": 5, "kind": "fragment"}]} and predictions == {1: [{"frame": 5, "kind": "fragment"}]}
    marks = [timeline_marks(comparison, 0, id)[0] for id in (1, 2)]
    counted = Counter(mark["kind"] for of_video in marks for mark in of_video.values() for mark in mark)
    identity = evaluate(datasets.write_ground_truth(tmp_path), path, metrics="id").identity
    assert identity is not None
    figures = identity.figures
    assert {"switch": figures["switches"], "fragment": figures["fragments"]} == counted and counted.total() > 1


def test_strips_tell_worst_median_and_best(comparison):
    index = select(comparison, Filter(model="b", video=2, types=("correct",))).rows.tolist()
    rows = {comparison.table.record(i).prediction_id: i for i in index if not comparison.table.record(i).truth}
    pictures = filmstrip_frames(comparison, rows[2])
    assert {picture.role: picture.frame for picture in pictures if picture.role} == {"worst": 3, "median": 2, "best": 0}
    assert [picture.frame for picture in pictures] == sorted({picture.frame for picture in pictures})
    assert len(pictures) <= 5 and all(0 <= picture.frame < FRAMES for picture in pictures)


def test_pictures_show_masks_and_are_kept_within_bounds(comparison):
    strips = ThumbnailCache(limit=20_000)
    rows = select(comparison).rows.tolist()
    for index in rows:
        for picture in filmstrip_frames(comparison, index):
            data = strips.picture(comparison, index, picture.frame)
            with Image.open(io.BytesIO(data)) as image:
                assert image.size == (WIDTH, HEIGHT) and np.asarray(image).std() > 0
            assert strips.picture(comparison, index, picture.frame) == data
    assert 0 < strips.size <= 20_000
    with pytest.raises(IndexError):
        strips.picture(comparison, rows[0], FRAMES)


pictures = arrays.arrays(bool, (3, 6, 9))


def track(id: int, masks_thw: np.ndarray) -> Track:
    rles: list[RLE | None] = [
        rle if mask.any() else None for rle, mask in zip(masks.encode_batch(masks_thw), masks_thw, strict=True)
    ]
    return Track(id, 1, 0.9, tuple(rles), masks.to_boxes_xyxy(rles), masks.areas(rles))


def video(*tracks: Track) -> VideoResult:
    return VideoResult(1, "v", (6, 9), np.arange(3.0), {1: "thing"}, tracks)


@settings(max_examples=60, deadline=None)
@given(pictures, pictures, pictures, st.booleans())
def test_agreed_missed_and_invented_pixels(a, b, c, together):
    result = difference(video(track(1, a), track(2, b)), video(track(7, c)), None if together else 2, 7)
    truth = a | b if together else b
    expected = {1: truth & c, 2: truth & ~c, 3: c & ~truth}
    drawn = {track.id: track for track in result.tracks}
    for id, pixels in expected.items():
        for frame in range(3):
            rle = drawn[id].rles[frame] if id in drawn else None
            shown = np.zeros((6, 9), bool) if rle is None else masks.decode(rle).astype(bool)
            np.testing.assert_array_equal(shown, pixels[frame])
    assert result.categories == KINDS


def test_differences_need_two_sides_that_fit(comparison):
    one = video(track(1, np.ones((3, 6, 9), bool)))
    with pytest.raises(ValueError, match="has no track 5"):
        difference(one, one, 5)
    other = VideoResult(1, "v", (6, 9), np.arange(2.0), {}, ())
    with pytest.raises(ValueError, match="expected both sides"):
        difference(one, other)
    result = differences(comparison.project, 0, 1, cutoff=0.6)
    assert result is not None and [t.id for t in result.tracks] == [1]


def test_videos_are_searched_and_sorted(comparison):
    rows = video_rows(comparison.project, comparison)
    assert [(r.id, r.name, r.truths, r.predictions) for r in rows] == [(1, "v1", 2, (3, 1)), (2, "v2", 2, (3, 2))]
    assert [row.errors for row in rows] == [(2, 2), (4, 0)] and rows[1].ap == pytest.approx((0, 0.85))
    total = sum(sum(track.cost) for track in rows)
    assert total == pytest.approx(float(comparison.table.share.sum()))
    assert [r.id for r in filter_videos(rows, "2")] == [2] and filter_videos(rows, "V") == rows
    assert [r.id for r in filter_videos(rows, order="AP", model=1)] == [1, 2]
    assert (
        neighbour_video(rows, 1, 1),
        neighbour_video(rows, 1, -1),
        neighbour_video(rows, 2, 1),
        neighbour_video(rows, 9, 1),
    ) == (2, None, None, None)
    with pytest.raises(ValueError, match="expected to sort"):
        filter_videos(rows, order="size")  # type: ignore[arg-type]


def test_videos_without_ground_truth_are_listed_too(tmp_path, monkeypatch):
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path / "home"))
    project = open_project(predictions=[datasets.write_predictions(Path(tmp_path), "a.json", [(4, 1, 0.9, LEFT)])])
    assert [(r.name, r.truths, r.predictions) for r in video_rows(project)] == [("video 4", None, (1,))]
    assert filter_videos(video_rows(project), order="AP") == video_rows(project)
