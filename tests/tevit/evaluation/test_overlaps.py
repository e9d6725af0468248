"""Run lengths decoded and overlapped without pixels, against pixels; and what is no mask is refused with its place."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tevit.evaluation import literal, sets
from tevit.masks import rle
from tevit.masks.ops import BadMaskError, EncodedMasks, decode_spans, frame_overlaps, track_ious

SIZES = ((7, 9), (5, 4), (1, 1))


@st.composite
def tracks(draw: st.DrawFn) -> list[np.ndarray | None]:
    """A mask of noise, of blocks, full, empty or none a frame, now and then of another size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    results = []
    for _ in range(draw(st.integers(0, 5))):
        size = SIZES[rng.choice(3, p=[0.8, 0.15, 0.05])]
        kind = rng.integers(5)
        mask = rng.random(size) < [0.5, 0.05, 1.0, 0.0, 0.9][kind]
        if kind == 1:
            mask = np.kron(rng.random((2, 2)) < 0.5, np.ones((4, 5), bool))[: size[0], : size[1]]
        results.append(None if rng.random() < 0.2 else mask.astype(np.uint8))
    return results


Mask = tuple[Sequence[int], bytes | list[int]]


def as_mask(mask: np.ndarray | None, plain: bool) -> Mask | None:
    encoded = (sets.plain if plain else sets.text)(mask)
    return None if encoded is None else (encoded["size"], in_bytes(encoded["counts"]))


def in_bytes(counts: str | list[int]) -> bytes | list[int]:
    return counts.encode() if isinstance(counts, str) else counts


def tracks_of(*masks: Sequence[Mask | None]) -> list[EncodedMasks]:
    return [EncodedMasks.of_frames(track) for track in masks]


def as_digits(track: EncodedMasks) -> EncodedMasks:
    """Run lengths as JSON has them; a track of texts as it is."""
    if not all(isinstance(counts, list) for counts in track.counts):
        return track
    return track._replace(counts=rle.LIST_END.join(str(c)[1:-1].encode() for c in track.counts), digits=True)


def pixels(track: list) -> int:
    return max((mask.size for mask in track if mask is not None), default=0)


@settings(max_examples=200, deadline=None)
@given(st.lists(tracks(), max_size=4), st.lists(tracks(), max_size=4), st.booleans(), st.booleans(), st.booleans())
def test_overlaps_equal_those_of_pixels(first, second, plain, mixed, digits):
    length, stride = max(map(len, first + second), default=0), max(map(pixels, first + second), default=0)
    sides = []
    for side in (first, second):
        given = tracks_of(
            *([as_mask(m, plain and not (mixed and t % 2)) for t, m in enumerate(track)] for track in side)
        )
        sides.append(decode_spans(list(map(as_digits, given)) if digits else given, length, stride))
    pairs = np.indices((len(first), len(second))).reshape(2, -1).T
    common, union = frame_overlaps(sides[0], sides[1], pairs)
    ious = track_ious(common, union)
    for row, (i, j) in enumerate(pairs):
        a, b = first[i], second[j]
        assert ious[row] == literal.track_iou(*([m if m is None else m.astype(bool) for m in x] for x in (a, b)))
        for t in range(length):
            one, other = (track[t] if t < len(track) else None for track in (a, b))
            if one is None or other is None or one.shape != other.shape:
                assert common[row, t] == 0
            else:
                assert common[row, t] == (one & other).sum()
    for side, tracks in zip((first, second), sides, strict=True):
        for i, track in enumerate(side):
            assert tracks.areas[i, : len(track)].tolist() == [0 if m is None else m.sum() for m in track]


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ("", "there are no run lengths"),
        ("0", "sum to 0, expected 63"),
        ("n1", "sum to 62, expected 63"),
        ("`", "ends inside a number"),
        ("15a`", "ends inside a number"),
        ("1 5", "outside '0' to 'o'"),
        ("1ü5", "outside '0' to 'o'"),
        ("oooooooo1", "negative"),
        ("O0", "negative"),
        ([], "there are no run lengths"),
        ([1, 2], "sum to 3, expected 63"),
        ([70, -7], "negative"),
        ([2**62, 2**62, 2**62, 2**62, 63], "exceeds the picture"),
        ([2**70], "exceeds the picture"),
    ],
)
def test_what_is_no_mask_is_refused_with_its_place(counts, reason):
    good = as_mask(np.ones((7, 9), np.uint8), plain=isinstance(counts, list))
    with pytest.raises(BadMaskError, match=reason) as caught:
        decode_spans(tracks_of([good, None], [None, good, ((7, 9), in_bytes(counts))]), 3, 63)
    assert (caught.value.track, caught.value.frame) == (1, 2)
    if isinstance(counts, list) and counts and min(counts) >= 0:
        with pytest.raises(BadMaskError, match=reason) as caught:
            decode_spans(list(map(as_digits, tracks_of([good, None], [None, good, ((7, 9), counts)]))), 3, 63)
        assert (caught.value.track, caught.value.frame) == (1, 2)


@pytest.mark.parametrize("size", [(0, 9), (-7, -9), (2**20, 2**20), (2**40, 2**40)])
def test_sizes_that_cannot_be_are_refused(size):
    with pytest.raises(BadMaskError, match="cannot be"):
        decode_spans(tracks_of([(size, b"1")]), 1, 1)


def test_numbers_that_overflow_their_sum_are_refused():
    # Differences of 2^29 add up along the text; their sums would come round to any number.
    step = rle.decode_texts([b"oooooo?"], np.array([2**34 - 1])).lengths[0, 0]
    assert step == 2**34 - 1
    with pytest.raises(rle.RleError):
        rle.decode_texts([b"oooooo?" * 100_000], np.array([63]))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12), min_size=1, max_size=5))
def test_any_text_is_decoded_as_the_literal_reading_or_refused(texts):
    size = np.full(len(texts), 63)
    try:
        decoded = rle.decode_texts([text.encode() for text in texts], size)
    except rle.RleError as error:
        texts = texts[error.index : error.index + 1]
        assert not is_mask(texts[0])
        return
    assert all(map(is_mask, texts))
    for text, start, stop in zip(texts, decoded.first, decoded.first[1:], strict=False):
        expected = literal.runs_of_text(text)
        assert decoded.lengths[start:stop].ravel().tolist()[: len(expected)] == expected


def is_mask(text: str) -> bool:
    """Of 63 pixels."""
    if not text or not all("0" <= character <= "o" for character in text) or ord(text[-1]) - 48 > 31:
        return False
    decoded = literal.runs_of_text(text)
    return min(decoded) >= 0 and sum(decoded) == 63


def test_masks_of_noise_in_a_large_picture():
    rng = np.random.default_rng(0)
    masks = [(rng.random((360, 640)) < p).astype(np.uint8) for p in (0.5, 0.01, 0.99)]
    decoded = decode_spans(tracks_of([as_mask(mask, plain=False) for mask in masks]), 3, 360 * 640)
    common, _ = frame_overlaps(decoded, decoded, np.zeros((1, 2), int))
    assert common[0].tolist() == [mask.sum() for mask in masks]
