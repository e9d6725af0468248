"""Drawing tracks: colours, masks, labels; overlay videos with the times and audio of the original."""

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.pictures import onsets, write_video
from tevit.masks import ops as masks
from tevit.results import Track, VideoResult
from tevit.video import overlay as render
from tevit.video.overlay import PALETTE, color, overlay, track_colors, write_overlay
from tevit.video.reader import open_video, video_slice

GREY = 100


def result_of(objects: list[tuple[int, float, np.ndarray]], size_hw: tuple[int, int], length: int = 1) -> VideoResult:
    """Tracks of (id, score, mask), the same in every frame; a mask may also be (T, H, W)."""
    tracks = []
    for number, score, mask in objects:
        mask = np.broadcast_to(mask, (length, *size_hw))
        rles = tuple(masks.encode(m) if m.any() else None for m in mask)
        boxes = np.full((length, 4), np.nan, np.float32)
        tracks.append(Track(number, 1, score, rles, boxes, mask.sum((1, 2)).astype(float)))
    return VideoResult(1, "v", size_hw, np.arange(length) / 10, {1: "giant_panda"}, tuple(tracks))


def box(size_hw: tuple[int, int], y1: int, x1: int, y2: int, x2: int) -> np.ndarray:
    mask = np.zeros(size_hw, bool)
    mask[y1:y2, x1:x2] = True
    return mask


def draw(result: VideoResult, index: int = 0, **options) -> tuple[np.ndarray, np.ndarray]:
    """The overlay on a grey frame, and where it differs from it: bool (H, W)."""
    frame = np.full((*result.size_hw, 3), GREY, np.uint8)
    out = overlay(frame, result, index, **options)
    assert (frame == GREY).all() and out.dtype == np.uint8, "the frame itself is unchanged"
    return out, (out != frame).any(-1)


# --- colours


def perceived(kind: str, rgb: tuple[int, int, int]) -> np.ndarray:
    """OKLab of a colour as seen with normal vision or without one kind of cones (Machado et al. 2009)."""
    cones = {
        "normal": np.eye(3),
        "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    }
    level = np.array(rgb) / 255
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(cones[kind]) @ linear, 0, 1)
    lms = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]) @ linear
    return np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]) @ np.cbrt(lms)


@pytest.mark.parametrize("kind", ["normal", "protanopia", "deuteranopia", "tritanopia"])
def test_colours_are_distinguishable(kind):
    # The usual colour-blind-safe palette, Okabe and Ito's seven, has a least distance of 0.054 to 0.076 here.
    seen = [perceived(kind, color(number)) for number in range(12)]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 0.065


def test_all_colours_of_the_palette_differ():
    seen = [perceived("normal", rgb) for rgb in PALETTE]
    assert len(PALETTE) == 24 and min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 0.06


def test_visible_tracks_have_different_colours():
    assert color(3) == color(15) != color(4), "alone each has the one of its id"

    def places(ids: list[int]) -> list[int]:
        colors = track_colors(ids)
        return [PALETTE.index(colors[id]) for id in ids]

    assert places([3, 1, 14]) == [3, 1, 2]
    assert places([3, 15, 27]) == [3, 0, 1]
    many = [5 * i for i in range(24)]
    assert len(set(places(many))) == 24
    assert places([*many, 1000])[-1] == 4, "of more than the palette has, its own once more"
    assert track_colors([3, 15], {15: PALETTE[3]}) == {3: PALETTE[0], 15: PALETTE[3]}, "a known one stays"


def test_the_overlay_draws_tracks_of_one_frame_in_different_colours():
    shapes = [box((60, 80), 0, 0, 20, 20), box((60, 80), 30, 30, 50, 50)]
    result = result_of([(3, 0.9, shapes[0]), (15, 0.8, shapes[1])], (60, 80))
    out, _ = draw(result, labels=False, opacity=1)
    assert tuple(out[10, 10]) == color(3) and tuple(out[40, 40]) == PALETTE[0]


# --- masks and outlines


def test_a_mask_is_blended_in_its_pixels_alone():
    shape = box((60, 80), 10, 20, 30, 50) & ~box((60, 80), 15, 30, 20, 40)
    out, changed = draw(result_of([(5, 0.9, shape)], (60, 80)), contours=False, labels=False, opacity=0.25)
    np.testing.assert_array_equal(changed, shape)
    expected = np.round(0.75 * GREY + 0.25 * np.array(color(5)))
    np.testing.assert_array_equal(out[shape], np.broadcast_to(expected, (shape.sum(), 3)))


def test_the_higher_score_is_on_top():
    wide, small = box((60, 80), 0, 0, 60, 80), box((60, 80), 20, 20, 40, 40)
    for scores in ((0.9, 0.5), (0.5, 0.9)):
        result = result_of([(1, scores[0], wide), (2, scores[1], small)], (60, 80))
        out, _ = draw(result, contours=False, labels=False, opacity=1)
        assert tuple(out[30, 30]) == (color(1) if scores[0] > scores[1] else color(2))


def test_contours_follow_the_edge_and_holes():
    shape = box((120, 160), 20, 30, 100, 130) & ~box((120, 160), 40, 60, 80, 100)
    out, changed = draw(result_of([(1, 0.9, shape)], (120, 160)), labels=False, opacity=0)
    line = np.abs(out.astype(int) - color(1)).max(-1) < 40
    for y, x in [(20, 80), (99, 80), (60, 30), (60, 129), (39, 80), (80, 80), (60, 59), (60, 100)]:
        assert line[y - 1 : y + 2, x - 1 : x + 2].any(), (y, x)
    assert not changed[23:37].any(where=shape[23:37] & box((120, 160), 0, 34, 120, 126)[23:37])
    assert not changed[:17].any() and not changed[103:].any()


def test_slanted_contours_are_smooth():
    y, x = np.mgrid[:200, :200]
    out, changed = draw(result_of([(1, 0.9, y + x // 3 < 120)], (200, 200)), labels=False, opacity=0)
    assert len(np.unique(out[changed], axis=0)) > 20, "an anti-aliased line has many shades"


def test_absent_and_low_tracks_are_left_out():
    shape = box((60, 80), 10, 20, 30, 50)
    result = result_of([(1, 0.3, np.stack([shape, shape & False]))], (60, 80), length=2)
    assert draw(result, 0, min_score=0.3)[1].any()
    assert not draw(result, 0, min_score=0.31)[1].any()
    assert not draw(result, 1)[1].any()


def test_a_frame_of_another_size_is_an_error():
    with pytest.raises(ValueError, match=r"video 'v': expected a frame of \(60, 80, 3\), got \(60, 90, 3\)"):
        overlay(np.zeros((60, 90, 3), np.uint8), result_of([], (60, 80)), 0)


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 9), (9, 2), (30, 40)])
def test_tiny_pictures_and_masks(size_hw):
    out, changed = draw(result_of([(1, 0.5, np.ones(size_hw, bool)), (2, 0.6, box(size_hw, 0, 0, 1, 1))], size_hw))
    assert out.shape == (*size_hw, 3) and changed.all()


# --- labels


def plate_of(number: int, out: np.ndarray) -> tuple[int, int, int, int]:
    """y1, x1, y2, x2 of the pixels in a track's full colour."""
    y, x = np.nonzero((out == color(number)).all(-1))
    return y.min(), x.min(), y.max() + 1, x.max() + 1


@pytest.mark.parametrize("place", [(0, 0), (0, 250), (150, 0), (150, 250), (60, 100), (150, 100)])
def test_a_label_is_whole_and_beside_its_mask_wherever_that_is(place):
    size_hw = (200, 300)
    top, left = place
    whole = render._label_image("giant panda 0.87", color(3), max(9, round(13 * 200 / 360)))
    out, _ = draw(result_of([(3, 0.87, box(size_hw, top, left, top + 50, left + 50))], size_hw), contours=False)
    y1, x1, y2, x2 = plate_of(3, out)
    np.testing.assert_array_equal(out[y1:y2, x1:x2], whole)
    assert y2 == top - 1 or (top == 0 and y1 == 51), "above it, at the top of the frame below it"


def test_a_label_is_inside_of_an_object_that_fills_the_frame():
    out, _ = draw(result_of([(3, 0.87, box((200, 300), 0, 0, 200, 300))], (200, 300)), contours=False)
    assert plate_of(3, out)[:2] == (0, 0)


def test_a_label_does_not_bury_another_object():
    size_hw, small = (200, 300), (41, 100, 49, 130)
    object_, other = box(size_hw, 50, 100, 90, 140), box(size_hw, *small)
    out, _ = draw(result_of([(3, 0.87, object_), (4, 0.5, other)], size_hw), contours=False, opacity=0)
    assert plate_of(3, out)[0] >= 90, "below its object, since the small one is above it"


def test_of_many_labels_those_of_the_lowest_scores_are_left_out():
    size_hw = (200, 330)
    places = [(20 + 44 * (k // 3), 110 * (k % 3)) for k in range(12)]
    objects = [(k, 1 - k / 100, box(size_hw, y, x, y + 20, x + 20)) for k, (y, x) in enumerate(places)]
    out, _ = draw(result_of(objects, size_hw), contours=False, opacity=0)
    labelled = [k for k, _, _ in objects if (out == color(k)).all(-1).any()]
    share = np.prod(render._label_image("giant panda 0.99", color(0), 9).shape[:2]) / (200 * 330)
    assert labelled == list(range(int(0.15 / share))) and 2 < len(labelled) < 12


def test_labels_do_not_cover_each_other():
    size_hw = (240, 320)
    result = result_of([(k, 0.5 + k / 100, box(size_hw, 100, 100, 200, 200)) for k in range(1, 5)], size_hw)
    out, _ = draw(result, contours=False)
    plates = [plate_of(k, out) for k in range(1, 5)]
    for a, b in itertools.combinations(plates, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_labels_scale_with_the_frame_and_have_contrast():
    heights = [render._label_image("dog 0.93", (0, 0, 0), round(13 * side / 360)).shape[0] for side in (360, 720, 1080)]
    assert heights[1] == pytest.approx(2 * heights[0], abs=3) and heights[2] == pytest.approx(3 * heights[0], abs=5)
    for rgb in PALETTE:
        plate = render._label_image("dog 0.93", rgb, 26).reshape(-1, 3).astype(float)
        ink = plate[np.abs(plate - rgb).sum(1).argmax()]
        light, dark = sorted((perceived("normal", tuple(c))[0] for c in (ink, rgb)), reverse=True)
        assert light - dark > 0.38, rgb


# --- whole videos


def moving(length: int, size_hw: tuple[int, int]) -> np.ndarray:
    return np.stack([box(size_hw, 40, 4 * t, 80, 4 * t + 30) for t in range(length)])


def test_an_overlay_has_the_frames_times_and_audio_of_the_original(tmp_path):
    stamps = [Fraction(t, 1000) for t in (0, 40, 41, 300, 900, 1000, 1100, 1400, 1500, 1600, 1700, 2400)]
    path = write_video(tmp_path / "a.mov", [np.full((120, 160, 3), GREY, np.uint8)] * 12, stamps, sound="aac")
    video = open_video(path)
    steps = []
    result = result_of([(12, 0.9, moving(12, (120, 160)))], (120, 160), 12)
    write_overlay(video, result, tmp_path / "o.mp4", progress=lambda *step: steps.append(step))
    overlay = open_video(tmp_path / "o.mp4")
    frames = list(overlay.frames())
    assert [frame.time for frame in frames] == pytest.approx([float(t) for t in stamps], abs=1e-4)
    for frame, mask in zip(frames, moving(12, (120, 160)), strict=True):
        blue = frame.rgb[60, :, 2].astype(int) - frame.rgb[60, :, 0]  # of grey and sky blue
        assert (blue > 40).sum() == pytest.approx(30, abs=6) and abs(np.argmax(blue > 40) - np.argmax(mask[60])) < 4
    assert onsets(tmp_path / "o.mp4") == pytest.approx(onsets(path), abs=0.03)
    assert steps == [("drawing", k + 1, 12) for k in range(12)]
    assert video.warnings == []


def test_a_cancelled_overlay_leaves_no_file(tmp_path):
    path = write_video(tmp_path / "a.mp4", [np.full((48, 64, 3), GREY, np.uint8)] * 5)

    def stop(stage: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_overlay(open_video(path), result_of([], (48, 64), 5), tmp_path / "out" / "o.mp4", progress=stop)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_overlay_and_its_audio_end_with_the_result(tmp_path):
    path = write_video(tmp_path / "a.mp4", [np.full((48, 64, 3), GREY, np.uint8)] * 40, sound="aac")
    write_overlay(open_video(path), result_of([], (48, 64), 15), tmp_path / "o.mp4")
    assert len(list(open_video(tmp_path / "o.mp4").frames())) == 15
    whole, cut = (_sound_seconds(file) for file in (path, tmp_path / "o.mp4"))
    assert whole > 3.5 and cut == pytest.approx(1.5, abs=0.1)


def test_an_overlay_of_a_slice_has_its_frames_and_audio(tmp_path):
    path = write_video(tmp_path / "a.mp4", [np.full((48, 64, 3), GREY, np.uint8)] * 40, sound="aac")
    write_overlay(video_slice(open_video(path), 15, 35), result_of([], (48, 64), 20), tmp_path / "o.mp4")
    overlay = list(open_video(tmp_path / "o.mp4").frames())
    assert [frame.time for frame in overlay] == pytest.approx([k / 10 for k in range(20)], abs=1e-4)
    assert onsets(tmp_path / "o.mp4") == pytest.approx([0.5, 1.5], abs=0.03), "the tones of seconds 2 and 3"
    assert _sound_seconds(tmp_path / "o.mp4") == pytest.approx(2, abs=0.1)


def test_an_overlay_without_audio_contours_and_with_low_opacity(tmp_path):
    path = write_video(tmp_path / "a.mp4", [np.full((120, 160, 3), GREY, np.uint8)] * 2, sound="aac")
    result = result_of([(12, 0.9, moving(2, (120, 160)))], (120, 160), 2)
    options = {"opacity": 0.0, "contours": False, "labels": False}
    write_overlay(open_video(path), result, tmp_path / "o.mp4", sound=False, **options)
    overlay = open_video(tmp_path / "o.mp4")
    assert not overlay.has_audio and np.abs(next(overlay.frames()).rgb.astype(int) - GREY).max() < 4


def _sound_seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        return max(float((packet.pts or 0) * packet.time_base) for packet in container.demux(audio=0) if packet.size)
