"""The fast road through the JSON of a track's masks: it reads what the JSON says, or nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tevit.segmentations import read, read_texts

texts = st.text(st.characters(min_codepoint=48, max_codepoint=111), min_size=1, max_size=12)
tracks = st.lists(st.none() | texts, min_size=1, max_size=6).filter(any)


@given(tracks, st.sampled_from([None, 0, 2]), st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : ")]))
def test_texts_are_read_as_the_json_has_them(track, indent, separators):
    masks = [None if text is None else {"size": [36, 64], "counts": text} for text in track]
    found = read_texts(json.dumps(masks, indent=indent, separators=separators).encode())
    assert found is not None
    assert (found.size, found.length) == ((36, 64), len(track))
    assert dict(zip(found.frames, found.counts, strict=True)) == {
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
def test_whatever_else_is_left_to_the_json_reader(usual, other):
    for frames in (f"[{ONE}, {ONE.replace(usual, other)}]", f"[{ONE.replace(usual, other)}, {ONE}]"):
        json.loads(frames)
        assert read_texts(frames.encode()) is None


@pytest.mark.parametrize("frames", ["[null, null]", "[]", "7"])
def test_what_holds_no_text_is_left_to_it_too(frames):
    assert read_texts(frames.encode()) is None


def test_escapes_that_spell_a_text_are_read():
    spelt = ONE.replace("f1", r"\u0066\u0031")
    tracks, faults = read([f"[{spelt}]".encode()], None)
    assert faults == [] and tracks[0].rles == [{"size": [6, 9], "counts": b"f1"}]
    _, faults = read([f"[{ONE}, {ONE.replace('f1', 'f1' + BREAK)}]".encode()], None)
    assert [(fault.track, fault.frame) for fault in faults] == [(0, 1)]
