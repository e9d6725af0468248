import csv
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.player import component as shows
from app.player.proxy import VideoSource, make_proxy
from app.tabs.segment.page_state import NAMES, OverlayStyle, TrackFilter, export
from app.tabs.segment.run import Footage
from tests.app.fakes import make_video, walking_squares
from tests.pictures import pictures, write_video
from tevit.masks import ops as masks
from tevit.progress import Cancelled
from tevit.results import VideoResult
from tevit.video.reader import open_video, resized_video

LENGTH = 18


@pytest.fixture
def result() -> VideoResult:
    """Track 1: a dog, 0.93, in all 18 frames. Track 2: a person, 0.41, in 10 of them."""
    return walking_squares("clip", (96, 160), [frame / 10 for frame in range(LENGTH)], 10, 0.0)


NO_VIDEO = Footage(VideoSource("gone", Path("gone")))  # only an overlay needs the frames


def ids(result: VideoResult, **choices) -> list[int]:
    return [track.id for track in TrackFilter(**choices).apply(result).tracks]


def test_filter_by_score_class_length_and_number(result: VideoResult):
    assert ids(result) == [1, 2]
    assert ids(result, min_score=0.41) == [1, 2] and ids(result, min_score=0.42) == [1]
    assert ids(result, classes=frozenset({1})) == [2] and ids(result, classes=frozenset()) == []
    assert ids(result, min_frames=10) == [1, 2] and ids(result, min_frames=11) == [1]
    assert ids(result, max_tracks=1) == [1]
    assert ids(replace(result, tracks=result.tracks[::-1]), max_tracks=1) == [1], "the best, wherever it stands"
    assert ids(replace(result, tracks=result.tracks[::-1])) == [2, 1], "in the order in which they stood"


def test_filter_keeps_everything_else(result: VideoResult):
    some = TrackFilter(min_score=0.5).apply(result)
    assert len(result.tracks) == 2 and some.tracks[0] is result.tracks[0]
    assert replace(some, tracks=()).__dict__ == replace(result, tracks=()).__dict__


@pytest.mark.parametrize(
    ("construct", "sentence"),
    [
        (lambda: TrackFilter(min_score=1.5), "score threshold: expected a number from 0 to 1, got 1.5"),
        (lambda: TrackFilter(min_score=float("nan")), "score threshold: expected a number from 0 to 1, got nan"),
        (lambda: TrackFilter(max_tracks=0), "tracks at most: expected 1 or more, got 0"),
        (lambda: TrackFilter(min_frames=-1), "shortest track: expected 0 frames or more, got -1"),
        (lambda: OverlayStyle(opacity=2), "opacity: expected a number from 0 to 1, got 2"),
    ],
)
def test_invalid_options_are_one_sentence(construct, sentence: str):
    with pytest.raises(ValueError) as error:
        construct()
    assert str(error.value) == sentence


def test_results_and_submission_are_equal(result: VideoResult, tmp_path: Path):
    some = TrackFilter(min_score=0.5).apply(result)
    objects = json.loads(export("results.json", some, tmp_path, footage=NO_VIDEO).read_text())
    assert [(item["category_id"], len(item["segmentations"])) for item in objects] == [(2, LENGTH)]
    with zipfile.ZipFile(export("submission.zip", some, tmp_path, footage=NO_VIDEO)) as archive:
        assert archive.namelist() == ["results.json"] and json.loads(archive.read("results.json")) == objects
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "submission.zip"]


def test_csv_has_a_row_for_each_frame_of_the_filtered_tracks(result: VideoResult, tmp_path: Path):
    path = export("tracks.csv", TrackFilter(classes=frozenset({1})).apply(result), tmp_path, footage=NO_VIDEO)
    rows = list(csv.DictReader(path.open()))
    assert [int(row["frame"]) for row in rows] == [*range(5), *range(10, 15)]
    assert {(row["track"], row["category"]) for row in rows} == {("2", "person")}


def test_masks_are_one_png_for_each_frame_of_a_track(result: VideoResult, tmp_path: Path):
    named = replace(result, categories={1: "../giant panda/", 2: "dog"})
    with zipfile.ZipFile(export("masks.zip", named, tmp_path, footage=NO_VIDEO)) as archive:
        names = archive.namelist()
        assert names[:LENGTH] == [f"001-dog/{frame:05d}.png" for frame in range(LENGTH)]
        seen = [*range(5), *range(10, 15)]
        assert names[LENGTH:] == [f"002-giant-panda/{frame:05d}.png" for frame in seen]
        for name in ("001-dog/00007.png", "002-giant-panda/00011.png"):
            picture = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_UNCHANGED)
            rle = result.tracks[int(name[:3]) - 1].rles[int(name[-9:-4])]
            assert rle is not None and picture is not None and picture.dtype == np.uint8
            np.testing.assert_array_equal(picture, masks.decode(rle) * 255)


def test_overlay_shows_the_filtered_tracks_only(result: VideoResult, clip: Path, tmp_path: Path):
    steps = []
    some = TrackFilter(min_score=0.5).apply(result)
    style = OverlayStyle(opacity=1, contours=False, labels=False)
    path = export(
        "overlay.mp4",
        some,
        tmp_path,
        footage=Footage(VideoSource("clip", clip)),
        style=style,
        progress=lambda *step: steps.append(step),
    )
    shown = [frame.rgb.astype(int) for frame in open_video(path).frames()]
    plain = [frame.rgb.astype(int) for frame in open_video(clip).frames()]
    changed = [(np.abs(a - b).max(-1) > 60) for a, b in zip(shown, plain, strict=True)]
    square = masks.decode(result.tracks[0].rles[9] or masks.empty((96, 160))).astype(bool)
    assert changed[9][square].mean() > 0.8 and changed[9][40:].mean() < 0.02, "the second track is not drawn"
    assert steps[-1] == ("drawing", LENGTH, LENGTH)


def test_overlay_of_a_range_with_and_without_sound(tmp_path: Path):
    clip = write_video(tmp_path / "loud.mp4", pictures(20), sound="aac")
    result = walking_squares("loud", (48, 64), [frame / 10 for frame in range(6)], 10, 0.0)
    for sound in (True, False):
        path = export(
            "overlay.mp4",
            result,
            tmp_path,
            footage=Footage(VideoSource("clip", clip), 4, 10),
            style=OverlayStyle(sound=sound),
        )
        overlay = open_video(path)
        assert (overlay.length, overlay.has_audio) == (6, sound)


def test_overlay_can_be_drawn_on_the_proxy_of_a_deleted_source(tmp_path: Path):
    """As for a stored result: the proxy of odd frames is larger, and has a name of its own."""
    clip = make_video(tmp_path / "clip.mp4")
    smaller = resized_video(open_video(clip), (95, 159))
    source = VideoSource("clip.mp4", clip)
    footage = replace(make_proxy(source, tmp_path / "proxy.mp4"), size_hw=(95, 159))
    clip.unlink()
    result = walking_squares("clip", smaller.size_hw, list(footage.times), 10, 0.0)
    path = export("overlay.mp4", result, tmp_path, footage=Footage(footage))
    assert open_video(path).length == LENGTH


@pytest.mark.parametrize("name", ["overlay.mp4", "masks.zip"])
def test_cancelled_export_keeps_the_earlier_file(name: str, result: VideoResult, clip: Path, tmp_path: Path):
    (tmp_path / name).write_text("an earlier one")

    def stop(stage: str, done: int, total: int | None) -> None:
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        export(name, result, tmp_path, footage=Footage(VideoSource("clip", clip)), progress=stop)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "an earlier one")]


def test_all_files_can_be_downloaded_and_other_names_are_rejected(result: VideoResult, tmp_path: Path):
    assert set(NAMES) <= set(shows.DOWNLOADS)
    with pytest.raises(ValueError, match=r"expected one of overlay\.mp4, results\.json, .*, got '\.\./x'"):
        export("../x", result, tmp_path, footage=NO_VIDEO)
    assert list(tmp_path.iterdir()) == []


def test_result_without_tracks_makes_empty_files(result: VideoResult, tmp_path: Path):
    none = TrackFilter(classes=frozenset()).apply(result)
    assert json.loads(export("results.json", none, tmp_path, footage=NO_VIDEO).read_text()) == []
    with zipfile.ZipFile(io.BytesIO(export("masks.zip", none, tmp_path, footage=NO_VIDEO).read_bytes())) as archive:
        assert archive.namelist() == []
