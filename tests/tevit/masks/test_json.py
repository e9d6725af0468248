"""The fast path through the JSON of a track's masks: it agrees with the JSON reader or returns None."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tevit.masks.json import read, read_runs, read_texts
from tevit.masks.rle import parse_numbers

texts = st.text(st.characters(min_codepoint=48, max_codepoint=111), min_size=1, max_size=12)
tracks = st.lists(st.none() | texts, min_size=1, max_size=6).filter(any)


@given(tracks, st.sampled_from([None, 0, 2]), st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : ")]))
def test_texts_are_those_of_the_json(track, indent, separators):
    masks = [None if text is None else {"size": [36, 64], "counts": text} for text in track]
    encoded = read_texts(json.dumps(masks, indent=indent, separators=separators).encode())
    assert encoded is not None
    assert (encoded.sizes_hw.tolist(), encoded.length) == ([[36, 64]] * len(encoded.frames), len(track))
    assert dict(zip(encoded.frames, encoded.counts, strict=True)) == {
        frame: text.encode() for frame, text in enumerate(track) if text is not None
    }


BREAK = r"\n"
ONE = '{"size": [6, 9], "counts": "f1"}'
REPLACED = [  # in the second of two masks
    ('"f1"', "[54]"),
    ("[6, 9]", "[9, 6]"),
    ('"f1"', r'"a\n"'),
    ('"f1"', r'"a\\\n"'),
    ('"f1"', r'"\u0066\u0031"'),
    ('"f1"', r'"a\"b"'),
    ('"f1"', '"f1", "more": "x"'),
    (ONE, '{"counts": "f1", "size": [6, 9]}'),
    (ONE, "7"),
]


@pytest.mark.parametrize(("usual", "other"), REPLACED)
def test_other_texts_are_left_to_the_json_reader(usual, other):
    for frames in (f"[{ONE}, {ONE.replace(usual, other)}]", f"[{ONE.replace(usual, other)}, {ONE}]"):
        json.loads(frames)
        assert read_texts(frames.encode()) is None


@pytest.mark.parametrize("frames", ["[null, null]", "[]", "7"])
def test_tracks_without_text_are_left_to_the_json_reader(frames):
    assert read_texts(frames.encode()) is None


def test_every_text_and_list_needs_its_object():
    assert read_texts(f'[{ONE},"f1"}}]'.encode()) is None
    assert read_runs(b'[{"size": [6, 9], "counts": [50, 4]}]7]') is None


def test_escapes_that_spell_a_text_are_read():
    spelt = ONE.replace("f1", r"\u0066\u0031")
    tracks, faults = read([f"[{spelt}]".encode()], None)
    assert faults == [] and tracks[0].rles == [{"size": [6, 9], "counts": b"f1"}]
    _, faults = read([f"[{ONE}, {ONE.replace('f1', 'f1' + BREAK)}]".encode()], None)
    assert [(fault.track, fault.frame) for fault in faults] == [(0, 1)]


runs = st.lists(st.integers(0, 10**9) | st.integers(0, 300), min_size=1, max_size=12)


@given(
    st.lists(st.none() | runs, min_size=1, max_size=6).filter(any),
    st.sampled_from([None, 0, 2]),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : ")]),
    st.booleans(),
)
def test_plain_runs_are_those_of_the_json(track, indent, separators, size_first):
    masks = [None if runs is None else {"counts": runs, "size": [36, 64]} for runs in track]
    if size_first:
        masks = [mask and dict(reversed(mask.items())) for mask in masks]
    encoded = read_runs(json.dumps(masks, indent=indent, separators=separators).encode())
    assert encoded is not None
    assert (encoded.sizes_hw.tolist(), encoded.length) == ([[36, 64]] * len(encoded.frames), len(track))
    assert encoded.frames.tolist() == [frame for frame, mask in enumerate(track) if mask is not None]
    values, counts = parse_numbers(encoded.counts)
    present = [mask for mask in track if mask is not None]
    assert counts.tolist() == list(map(len, present)) and values.tolist() == [run for mask in present for run in mask]


whole = st.integers(0, 2**40) | st.integers(0, 1100) | st.integers(1, 12).map(lambda size: 10**size - 1)


@given(
    st.lists(st.lists(whole, min_size=1, max_size=9), max_size=5),
    st.sampled_from([",", ", ", " ,", ",\n "]),
    st.booleans(),
)
def test_numbers_are_read_from_their_digits(lists, comma, padded):
    texts = [comma.join(map(str, numbers)).encode() for numbers in lists]
    values, counts = parse_numbers([b" %b\n" % text for text in texts] if padded else texts)
    assert values.tolist() == [run for numbers in lists for run in numbers] and counts.tolist() == list(map(len, lists))
    assert values.dtype == counts.dtype == np.int64


PLAIN = ['{"size": [6, 9], "counts": [50, 4]}', '{"counts": [50, 4], "size": [6, 9]}']


@pytest.mark.parametrize("one", PLAIN)
@pytest.mark.parametrize(
    ("usual", "other"),
    [
        ("[50, 4]", '"f1"'),
        ("[6, 9]", "[9, 6]"),
        ("[6, 9]", "[6, 9, 1]"),
        ("[6, 9]", "[6.0, 9]"),
        ("50", "50.0"),
        ("50", "5e1"),
        ("50", "-50"),
        ("50", "[50]"),
        ("50", "true"),
        ("[50, 4]", "[]"),
        ("[50, 4]", "[ ]"),
        ("[50, 4]", "[[50, 4]]"),
        ("}", ', "more": 1}'),
        ("}", ', "more": [1]}'),
        ("{", '{"more": [], '),
        (None, '{"size": [6, 9]}'),
        (None, '{"counts": [50, 4]}'),
        (None, "[[2, 1, 5, 1, 5, 4]]"),
        (None, "7"),
    ],
)
def test_other_runs_are_left_to_the_json_reader(one, usual, other):
    other = one.replace(usual, other, 1) if usual else other
    for frames in (f"[{one}, {other}]", f"[{other}, {one}]", f"[[{one}]]", one, f"[{other}]"):
        if frames != f"[{other}]" or other != one.replace("[6, 9]", "[9, 6]"):
            assert read_runs(frames.encode()) is None


@pytest.mark.parametrize("size", ["[0, 9]", "[6, 0]", "[9999999999, 9]"])
def test_impossible_sizes_are_left_to_the_json_reader(size):
    for one in PLAIN:
        assert read_runs(f"[{one.replace('[6, 9]', size)}]".encode()) is None


@pytest.mark.parametrize("frames", ["[null, null]", "[]", "7"])
def test_tracks_without_runs_are_left_to_the_json_reader(frames):
    assert read_runs(frames.encode()) is None


def test_runs_of_more_than_64_bits_are_a_fault():
    for run in (2**63 - 1, 2**63, 2**70):
        _, faults = read([json.dumps([{"size": [6, 9], "counts": [run, 3]}]).encode()], None)
        assert [fault.text for fault in faults] == ["a run is longer than any picture"]


def test_counts_that_are_no_list_are_a_fault():
    for counts in ("142", "true", '{"1": 4}', "-1.5"):
        _, faults = read([f'[{{"size": [2, 2], "counts": {counts}}}]'.encode()], None)
        assert ["counts as text or a list" in fault.text for fault in faults] == [True]
