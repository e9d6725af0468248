"""Masks: round trips, overlaps compared with pixels, and faulty run lengths are refused."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.annotations import masks_of_any_size, plain_runs, rectangle, text
from tevit.masks import json as segmentations
from tevit.masks import ops as masks
from tevit.masks import rle


def literal_runs(counts: bytes) -> list[int] | None:
    """Run lengths of COCO's text read one character after the other; None where it is malformed."""
    numbers, groups = [], []
    for code in counts:
        if not 48 <= code < 112:
            return None
        groups.append(code - 48)
        if groups[-1] < 32:
            bits = sum((group & 31) << 5 * i for i, group in enumerate(groups))
            numbers.append(bits - (1 << 5 * len(groups)) if groups[-1] & 16 else bits)
            groups = []
    for i in range(3, len(numbers)):
        numbers[i] += numbers[i - 2]
    return None if groups or not numbers else numbers


def is_mask(counts: bytes, size: tuple[int, int]) -> bool:
    runs = literal_runs(counts)
    return runs is not None and min(runs) >= 0 and sum(runs) == size[0] * size[1]


@settings(deadline=None)
@given(masks_of_any_size)
def test_encode_and_decode_are_inverse(mask):
    rle = masks.encode(mask)
    assert np.array_equal(masks.decode(rle), mask)
    assert rle["counts"].decode() == text(plain_runs(mask))
    assert rle["size"] == list(mask.shape)


@settings(deadline=None)
@given(masks_of_any_size, st.data())
def test_decode_within_is_a_part_of_decode(mask, data):
    (y1, y2), (x1, x2) = (sorted(data.draw(st.tuples(*[st.integers(0, side)] * 2))) for side in mask.shape)
    cropped = masks.decode_within(masks.encode(mask), (x1, y1, x2, y2))
    assert cropped.dtype == np.uint8 and cropped.flags.c_contiguous
    assert np.array_equal(cropped, mask[y1:y2, x1:x2])


def test_encode_takes_numbers_other_than_one():
    mask = np.array([[0, 255], [7, 0]], np.uint8)
    assert np.array_equal(masks.decode(masks.encode(mask)), mask > 0)
    assert np.array_equal(masks.decode(masks.encode(mask.astype(float))), mask > 0)


@given(st.data())
@settings(deadline=None)
def test_parts_are_encoded_as_the_wholes_would_be(data):
    """Including parts that touch the edges, fill whole columns or are empty; several at once."""
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    parts, wholes = [], []
    for _ in range(data.draw(st.integers(0, 4))):
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        shape = data.draw(st.integers(0, height - top)), data.draw(st.integers(0, width - left))
        numbers = np.random.default_rng(data.draw(st.integers(0, 999)))
        pixels = numbers.random(shape) < data.draw(st.sampled_from([0, 0.5, 1]))
        wholes.append(np.zeros((height, width), bool))
        wholes[-1][top : top + shape[0], left : left + shape[1]] = pixels
        parts.append(masks.MaskPart(pixels, left, top))
    rles, areas = masks.encode_parts(parts, (height, width))
    assert rles == [masks.encode(whole) for whole in wholes]
    assert areas.tolist() == [whole.sum() for whole in wholes]


def test_encode_batch_is_encode_of_each_and_takes_views():
    stack = np.random.default_rng(0).random((4, 5, 7, 2)) > 0.5
    view = stack[::2, :, ::-1, 1]
    assert masks.encode_batch(view) == [masks.encode(np.ascontiguousarray(mask)) for mask in view]
    with pytest.raises(ValueError, match=re.escape("(N, H, W), got (5, 7)")):
        masks.encode_batch(stack[0, :, :, 0])


def test_empty_has_no_pixel():
    assert not masks.decode(masks.empty((3, 5))).any()
    assert masks.empty((3, 5))["size"] == [3, 5]


@settings(deadline=None)
@given(masks_of_any_size)
def test_area_and_box(mask):
    rle = masks.encode(mask)
    assert masks.areas([None, rle]).tolist() == [0, mask.sum()]
    box = masks.to_box_xyxy(rle)
    if not mask.any():
        assert np.isnan(box).all()
        return
    ys, xs = np.nonzero(mask)
    assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert box.dtype == np.float32


def test_areas_of_more_masks_than_the_library_counts():
    assert masks.areas([masks.encode(rectangle(0, 0, 2, 3))] * 600 + [None]).tolist() == [6.0] * 600 + [0.0]


# --- the check


@settings(max_examples=40, deadline=None)
@given(st.lists(masks_of_any_size, max_size=6))
def test_check_accepts_valid_masks_and_gives_their_areas(samples):
    checked = rle.check_texts([masks.encode(m)["counts"] for m in samples], [m.shape for m in samples])
    assert checked.faults == {}
    assert checked.areas.tolist() == [m.sum() for m in samples]


def damaged(rng: np.random.Generator) -> tuple[bytes, tuple[int, int]]:
    """A mask's text with a few characters changed, lost or too much, or any characters, or none at all."""
    size = (int(rng.integers(1, 30)), int(rng.integers(1, 30)))
    if rng.random() < 0.2:
        return rng.integers(40, 120, rng.integers(0, 9)).astype(np.uint8).tobytes(), size
    counts = bytearray(masks.encode(rng.random(size) < rng.random() ** 2)["counts"])
    for _ in range(rng.integers(0, 3)):
        at = rng.integers(0, len(counts) + 1)
        counts[at : at + rng.integers(0, 3)] = rng.integers(46, 113, rng.integers(0, 3)).astype(np.uint8).tobytes()
    return bytes(counts), size


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_check_finds_exactly_the_faulty_ones(seed):
    rng = np.random.default_rng(seed)
    items = [damaged(rng) for _ in range(rng.integers(1, 60))]
    checked = rle.check_texts([counts for counts, _ in items], [size for _, size in items])
    for i, (counts, size) in enumerate(items):
        overlong = re.search(rb"[P-o]{7}", counts)
        assert (i not in checked.faults) == (is_mask(counts, size) and not overlong)
        assert checked.areas[i] == (0 if i in checked.faults else sum((literal_runs(counts) or [])[1::2]))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_check_does_not_depend_on_the_chunks(seed):
    rng = np.random.default_rng(seed)
    items = [damaged(rng) for _ in range(9)]
    counts, sizes = [c for c, _ in items], [s for _, s in items]
    whole = rle.check_texts(counts, sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rle, "_CHUNK", 5)
        split = rle.check_texts(counts, sizes)
    assert whole.faults == split.faults and whole.areas.tolist() == split.areas.tolist()


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("", "no runs"),
        ("6", r"sum to 6 pixels, expected 54 \(6 x 9\)"),
        ("f1f1", r"sum to 108 pixels, expected 54"),
        ("f1P", "breaks off within a run"),
        ("f", "breaks off within a run"),
        ("f1 ", r"character 2 \(' '\) cannot stand"),
        ("f1é", "cannot stand"),
        ("f1\x00", "cannot stand"),
        ("OW2", r"a run is negative \(-1\)"),
        (text([10, 5, 3, -40, 76]), r"a run is negative \(-40\)"),
        ("f" * 9 + "1", "for more than 7 characters"),
        ("P" * 8 + "0f1", "for more than 7 characters"),
        (bytes([48 + 64 + 22]) + b"1", "character 0 .* cannot stand"),
        (b"\x061", "character 0 .* cannot stand"),
    ],
)
def test_check_describes_the_fault(counts, message):
    checked = rle.check_texts([text([54]), counts, text([0, 54])], [(6, 9)] * 3)
    assert list(checked.faults) == [1]
    assert re.search(message, checked.faults[1])
    assert checked.areas.tolist() == [0, 0, 54]


@pytest.mark.parametrize("size", [(0, 5), (-2, 5), (1 << 20, 1 << 20), (1 << 62, 4), (-3, -4)])
def test_check_refuses_sizes(size):
    assert 0 in rle.check_texts([text([12])], [size]).faults


def test_runs_whose_sum_is_right_only_after_an_overflow_are_refused():
    up, size = 1 << 27, (1 << 13, 1 << 14)
    climbing = [0, 0, 0, *(up * (i // 2) for i in range(2, 72))]
    counts = [text(climbing), text([size[0] * size[1]])]
    assert literal_runs(counts[0].encode()) == climbing
    checked = rle.check_texts(counts, [size, size])
    assert list(checked.faults) == [0]


def test_a_large_picture_is_checked_exactly():
    size = (1 << 14, 1 << 14)
    halves = [1 << 14] * (1 << 14)
    checked = rle.check_texts([text(halves), text(halves[:-1])], [size, size])
    assert list(checked.faults) == [1]
    assert checked.areas[0] == 1 << 27


def test_check_requires_one_size_per_mask():
    with pytest.raises(ValueError, match="a size for each of 2 masks, got 1"):
        rle.check_texts(["6", "6"], [(2, 3)])


# --- the forms of data sets


def test_from_json_reads_every_form():
    square = rectangle(1, 2, 4, 5)
    expected = masks.encode(square)
    for form in (
        {"size": [6, 9], "counts": text(plain_runs(square))},
        {"size": [6, 9], "counts": plain_runs(square)},
        {"size": [6, 9], "counts": [float(run) for run in plain_runs(square)]},
        {"size": [6, 9], "counts": text(plain_runs(square)).encode()},
        [[2, 1, 5, 1, 5, 4, 2, 4]],
        [[2, 1, 5, 1, 5, 2.5, 2, 2.5], [2.0, 2.5, 5, 2.5, 5, 4, 2, 4]],
    ):
        assert segmentations.from_json(form, (6, 9)) == expected


def test_null_and_a_mask_of_no_pixel_are_the_same():
    assert segmentations.from_json(None, (6, 9)) is None
    assert segmentations.from_json({"size": [6, 9], "counts": [54]}, (6, 9)) is None
    assert segmentations.from_json([], (6, 9)) is None


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ("text", "expected null, polygons or an object"),
        ({"counts": [54]}, "expected null, polygons or an object"),
        ({"size": [6, 9], "counts": None}, "expected counts as text or a list"),
        ({"size": [6, 9], "counts": [10.5, 43.5]}, "whole numbers"),
        ({"size": [6, 9], "counts": [True] * 54}, "whole numbers"),
        ({"size": [6, 9], "counts": []}, "no runs"),
        ({"size": [6, 9], "counts": [-1, 55]}, r"negative \(-1\)"),
        ({"size": [6, 9], "counts": [10, 20]}, "sum to 30 pixels, expected 54"),
        ({"size": [6, 9], "counts": [2**64, 54 - 2**64]}, "negative"),
        ({"size": [6, 9], "counts": [2**70]}, "longer than any picture"),
        ({"size": [6, 8], "counts": [48]}, r"expected a mask of \(6, 9\) \(height, width\), got \(6, 8\)"),
        ({"size": [6, "9"], "counts": [54]}, "two whole numbers"),
        ({"size": [6], "counts": [54]}, "two whole numbers"),
        ([1, 2, 3, 4, 5, 6], "expected a polygon as a list"),
        ([[1, 2, 3, 4]], "three points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "three points"),
        ([[1, 2, 3, 4, float("nan"), 6]], "far outside"),
        ([[1, 2, 3, 4, 1e12, 6]], "far outside"),
    ],
)
def test_from_json_refuses(segmentation, message):
    with pytest.raises(ValueError, match=message):
        segmentations.from_json(segmentation, (6, 9))


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-2, 60), max_size=6), max_size=6))
def test_plain_runs_are_checked_together_as_one_by_one(lists):
    flat = np.array([run for runs in lists for run in runs], np.int64)
    checked = rle.check_runs(flat, np.array([len(runs) for runs in lists], int), np.full((len(lists), 2), (6, 9)))
    for i, runs in enumerate(lists):
        right = len(runs) > 0 and min(runs) >= 0 and sum(runs) == 54
        assert (i not in checked.faults) == right
        assert checked.areas[i] == (sum(runs[1::2]) if right else 0)


@pytest.mark.parametrize("runs", [[-1, 30, 25], [54, -1, 1], [30, -6, 30], [0, 55, -1]])
def test_negative_plain_runs_with_the_right_sum_are_a_fault(runs):
    checked = rle.check_runs(np.array([54, *runs, 54]), np.array([1, len(runs), 1]), np.full((3, 2), (6, 9)))
    assert list(checked.faults) == [1]


# --- overlaps


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_overlaps_are_those_of_the_pixels(seed):
    rng = np.random.default_rng(seed)
    tracks = [[_mask_or_none(rng) for _ in range(rng.integers(0, 4))] for _ in range(rng.integers(2, 6))]
    rles = [[None if mask is None else masks.encode(mask) for mask in track] for track in tracks]
    common, union = masks.overlaps(rles[:2], rles)
    assert common.shape == (2, len(tracks), max(map(len, tracks)))
    for i in range(2):
        for j, track in enumerate(tracks):
            expected = [_literal_overlap(a, b) for a, b in zip(tracks[i], track, strict=False)]
            expected += [(0, 0)] * (common.shape[2] - len(expected))
            assert list(zip(common[i, j], union[i, j], strict=True)) == expected
            sums = np.array(expected).sum(0) if expected else np.zeros(2)
            assert masks.track_iou(rles[i], rles[j]) == (sums[0] / sums[1] if sums[1] else 0)


def _mask_or_none(rng: np.random.Generator) -> np.ndarray | None:
    if rng.random() < 0.25:
        return None
    return rng.random((4, 5) if rng.random() < 0.8 else (5, 4)) < rng.random()


def _literal_overlap(a: np.ndarray | None, b: np.ndarray | None) -> tuple[int, int]:
    if a is None or b is None:
        return 0, int(sum(mask.sum() for mask in (a, b) if mask is not None))
    return (0, 0) if a.shape != b.shape else (int((a & b).sum()), int((a | b).sum()))


def test_frame_ious():
    square, bar = masks.encode(rectangle(0, 0, 2, 2)), masks.encode(rectangle(0, 1, 2, 3))
    common, union = masks.overlaps([[square, None, None, square]], [[bar, bar, None, square, square]])
    ious = np.divide(common[0, 0], union[0, 0], out=np.full(5, np.nan), where=union[0, 0] > 0)
    assert ious[[0, 1, 3]].tolist() == [2 / 6, 0, 1]
    assert np.isnan(ious[[2, 4]]).all()


def test_union_of_masks():
    rectangles = [rectangle(0, 0, 2, 2), rectangle(1, 1, 4, 3), rectangle(5, 5, 6, 6)]
    assert np.array_equal(masks.decode(masks.union([masks.encode(m) for m in rectangles])), np.any(rectangles, 0))
    assert masks.union([masks.encode(rectangles[0])]) == masks.encode(rectangles[0])


def test_iou_of_pixels():
    one, two = rectangle(0, 0, 2, 4).astype(bool), rectangle(0, 0, 2, 2).astype(bool)
    assert masks.pixel_iou(one, two) == 0.5 and masks.pixel_iou(one, ~one) == 0
    assert masks.pixel_iou(~(one | ~one), ~(one | ~one)) == 1
