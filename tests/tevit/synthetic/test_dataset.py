"""The synthetic data set: its documented properties, and its frozen definition."""

import json
import math
import zlib
from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tevit.cli import main as cli
from tevit.io.ytvis import open_dataset
from tevit.masks import ops as masks
from tevit.synthetic import dataset as shapes
from tevit.synthetic import scenes
from tevit.synthetic.dataset import LABEL_ERROR_KINDS, corrupt
from tevit.synthetic.scenes import cos_sin, curve


@pytest.fixture(scope="module")
def twelve():
    return [shapes.video(5, index) for index in range(12)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("shapes")
    shapes.write(out, 6, 1001, label_errors=7)
    return out


def crc(*arrays) -> int:
    total = 0
    for array in arrays:
        total = zlib.crc32(np.ascontiguousarray(array).tobytes(), total)
    return total


# The bundled model was trained on exactly these pixels: the numbers must not change, on any machine.
FROZEN = {(0, 0): (2239800840, 20271031), (1, 3): (3144033053, 2735872027), (1001, 8): (1261124786, 822452130)}


@pytest.mark.parametrize("key", FROZEN)
def test_pixels_and_masks_are_frozen(key):
    sample = shapes.video(*key)
    counts = b"".join(rle["counts"] for track in sample.result.tracks for rle in track.rles if rle)
    assert (crc(*sample.frames()), zlib.crc32(counts)) == FROZEN[key]


def test_form_of_a_video(twelve):
    for sample in twelve:
        result, frames = sample.result, list(sample.frames())
        assert frames[0].shape == (192, 320, 3) and frames[0].dtype == np.uint8
        assert 12 <= len(frames) == result.length <= 36
        assert 2 <= len(result.tracks) <= 5
    assert len({sample.result.length for sample in twelve}) > 5
    ids = [track.id for sample in twelve for track in sample.result.tracks]
    assert len(set(ids)) == len(ids)
    assert {track.category_id for sample in twelve for track in sample.result.tracks} == set(range(1, 9))


def test_masks_are_exactly_the_visible_pixels(twelve):
    """No two masks share a pixel; without its shapes the picture differs inside the masks, and not far from them."""
    sample = twelve[0]
    for t in range(sample.result.length):
        assert union_count(sample, t).max() <= 1
    bare = scenes.frames(sample.scene, [[None] * len(sample.scene.shapes)] * sample.scene.length)
    changed = (np.abs(next(sample.frames()).astype(int) - next(bare)) > 40).any(-1)
    union = union_count(sample, 0) > 0
    assert changed[union].mean() > 0.9
    assert changed[~cv2.dilate(union.astype(np.uint8), np.ones((25, 25), np.uint8)).astype(bool)].sum() == 0


def union_count(sample, t) -> np.ndarray:
    """Number of masks that contain each pixel."""
    return np.sum([masks.decode(track.rles[t]) for track in sample.result.tracks if track.rles[t]], axis=0)


def test_slivers_are_not_annotated(twelve):
    slivers = 0
    for sample in twelve:
        for number, track in enumerate(sample.result.tracks):
            seen = sample.visible[:, number]
            assert (track.present == (seen >= 16)).all() and (track.areas == np.where(seen >= 16, seen, 0)).all()
            slivers += ((seen > 0) & (seen < 16)).sum()
    assert slivers > 0


def test_frequency_of_crossings_and_returns(twelve):
    assert np.mean([sample.crossing for sample in twelve]) >= 0.4
    assert np.mean([sample.returning for sample in twelve]) >= 0.2


def test_a_crossing_and_a_return_show_in_the_tracks(twelve):
    """Detected from the masks alone, without the generator's data."""
    crossings = returns = 0
    for sample in twelve:
        areas = [track.areas for track in sample.result.tracks]
        crossings += any((a[1:-1] <= 0.35 * np.median(a[a > 0])).any() for a in areas)
        texts = ["".join("x" if rle else "." for rle in track.rles).strip(".") for track in sample.result.tracks]
        returns += any(".." in text for text in texts)
    assert crossings >= 5
    assert returns == sum(sample.returning for sample in twelve) >= 3


def test_videos_do_not_depend_on_their_number(twelve):
    assert crc(*shapes.video(5, 7).frames()) == crc(*twelve[7].frames())
    assert crc(*shapes.video(6, 7).frames()) != crc(*twelve[7].frames())


def test_written_files_equal_the_videos(folder):
    dataset = open_dataset(folder / "valid.json")
    assert len(dataset.videos) == 6
    sample = shapes.video(1001, 2)
    files = dataset.frame_files(3, folder)
    assert [file.parent.name for file in files] == ["shapes-1001-0002"] * sample.result.length
    read = cv2.imread(str(files[5]))
    assert read is not None
    assert np.abs(read[..., ::-1].astype(int) - list(sample.frames())[5]).mean() < 6
    for track, original in zip(dataset.video(3).tracks, sample.result.tracks, strict=True):
        assert track.rles == original.rles and track.category_id == original.category_id
        np.testing.assert_array_equal(track.boxes_xyxy, original.boxes_xyxy)
        np.testing.assert_array_equal(track.areas, original.areas)
    assert list(dataset.categories.values()) == list(shapes.CATEGORIES.values())


def test_label_errors_equal_their_list(folder):
    right, wrong = open_dataset(folder / "valid.json"), open_dataset(folder / "valid_with_errors.json")
    errors = json.loads((folder / "label_errors.json").read_text())
    assert Counter(error["kind"] for error in errors) == Counter([*LABEL_ERROR_KINDS, *LABEL_ERROR_KINDS[:2]])
    named = {id for error in errors for id in error["track_ids"]}
    for video_id in right.videos:
        before = {track.id: track for track in right.video(video_id).tracks}
        after = {track.id: track for track in wrong.video(video_id).tracks}
        differing = {id for id in before | after if not same(before.get(id), after.get(id))}
        errors_here = [error for error in errors if error["video_id"] == video_id]
        copied = {error["track_ids"][0] for error in errors_here if error["kind"] == "duplicate"}
        assert differing == {id for error in errors_here for id in error["track_ids"]} - copied
        for error in errors_here:
            check_error(error, before, after)
    assert len(named) == sum(len(error["track_ids"]) for error in errors)


def same(a, b) -> bool:
    return a is not None and b is not None and (a.category_id, a.rles) == (b.category_id, b.rles)


def check_error(error, before, after):
    first, *more = error["track_ids"]
    if error["kind"] == "class":
        assert before[first].rles == after[first].rles
        assert shapes.CATEGORIES[after[first].category_id] == error["now"] != error["was"]
    elif error["kind"] == "missing":
        assert first not in after
    elif error["kind"] == "duplicate":
        assert masks.track_iou(after[first].rles, after[more[0]].rles) > 0.75
    elif error["kind"] == "shifted":
        assert 0 < masks.track_iou(before[first].rles, after[first].rles) < 0.5
    else:
        a, b = (np.array([rle and rle["counts"] for rle in before[id].rles], object) for id in error["track_ids"])
        at = error["frames"][0]
        new = np.array([rle and rle["counts"] for rle in after[first].rles], object)
        assert (new == np.concatenate([a[:at], b[at:]])).all()


def test_more_label_errors_than_tracks_are_refused(twelve):
    with pytest.raises(ValueError, match="make more videos"):
        corrupt([twelve[1].result], 40, 0)


def test_command_prints_shares_and_does_not_overwrite(tmp_path, capsys):
    command = ["shapes", str(tmp_path / "new"), "--videos", "3", "--seed", "2", "--split", "train"]
    assert cli.main(command) == 0
    story = capsys.readouterr().out
    assert "train.json: 3 videos" in story and "crossing: 3 videos (100 %)" in story and "absence: " in story
    assert (tmp_path / "new/train.json").exists()
    assert cli.main(command) == 2
    assert "train.json is there already" in capsys.readouterr().err
    assert cli.main(["shapes", str(tmp_path), "--videos", "0"]) == 2
    assert "got 0 videos" in capsys.readouterr().err


def test_interrupted_run_leaves_no_annotation_file_and_can_be_repeated(tmp_path):
    def stop(stage, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shapes.write(tmp_path, 2, 3, progress=stop)
    assert not list(tmp_path.glob("*.json"))
    assert all(file.suffix == ".jpg" and file.name[0] != "." for file in tmp_path.rglob("*.*") if file.is_file())
    assert shapes.write(tmp_path, 2, 3).videos == 2


@given(st.floats(-50, 50))
def test_polynomial_cosine_and_sine(turns):
    cos, sin = cos_sin(turns)
    assert abs(cos - math.cos(2 * math.pi * turns)) < 2e-6
    assert abs(sin - math.sin(2 * math.pi * turns)) < 2e-6


def test_curves_pass_through_their_points():
    values = [[3.0, 1.0], [-4.0, 5.0], [8.0, 2.0], [9.0, 9.0]]
    got = curve([0, 3, 5, 11], values, 12)
    np.testing.assert_allclose(got[[0, 3, 5, 11]], values)
    assert np.abs(np.diff(got, 2, axis=0)).max() < 12
