"""What the player is given, and that nothing is taken from it that it cannot have said."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.player.component import CHUNK, Event, Layer, Pane, PlayerView, intervals, mask_chunk, payload, read_event
from app.player.proxy import PosterFrame
from tests.app.fakes import walking_squares

TIMES = [frame / 10 for frame in range(40)]


def show(first: int = 0, length: int = 40) -> PlayerView:
    footage = replace(PosterFrame("clip.mp4", (96, 160), b""), times=tuple(TIMES))
    result = walking_squares("clip", (96, 160), TIMES[:length], 10, 0.0)
    truth = replace(result, tracks=result.tracks[:1])
    layers = (
        Layer("Ground truth", True, truth, marks={1: [{"frame": 3, "kind": "switch"}]}),
        Layer("A", False, result),
    )
    return PlayerView("token", footage, first, length, layers)


def test_the_payload_says_when_and_where_but_holds_no_mask():
    said = payload(show(5, 20), [Pane("left", (0,)), Pane("right", (1,))], "swipe")
    assert (said["width"], said["height"], said["first"], len(said["times"])) == (160, 96, 5, 20)
    assert said["times"][0] == 0.5 and said["end"] == 2.5, "the next frame of the footage ends the last one"
    assert payload(show())["end"] == pytest.approx(4.0), "a mean interval after the last frame"
    assert [pane["layers"] for pane in said["panes"]] == [[0], [1]] and said["layout"] == "swipe"
    assert payload(show())["panes"] == [{"name": "", "layers": [0, 1]}]
    truth, found = said["layers"]
    assert truth["tracks"][0]["marks"] == [{"frame": 3, "kind": "switch"}]
    assert [track["seen"] for track in found["tracks"]] == [[[0, 20]], [[0, 5], [10, 15]]]
    assert "counts" not in str(said)


def test_masks_come_in_chunks_and_absent_ones_as_null():
    whole = show()
    parts = [mask_chunk(whole, chunk)["layers"][1]["2"] for chunk in (0, 1)]
    assert [len(part) for part in parts] == [CHUNK, 40 - CHUNK]
    rles = whole.layers[1].result.tracks[1].rles
    assert [*parts[0], *parts[1]] == [None if rle is None else rle["counts"].decode() for rle in rles]
    for chunk in (-1, 2):
        with pytest.raises(IndexError):
            mask_chunk(whole, chunk)


@given(st.lists(st.booleans(), max_size=30))
def test_intervals_cover_what_is_present(present: list[bool]):
    found = intervals(np.array(present, bool))
    covered = [any(first <= frame < stop for first, stop in found) for frame in range(len(present))]
    assert covered == present and all(a[1] < b[0] for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("said", "event"),
    [
        ({"kind": "frame", "frame": 3}, Event("frame", 3)),
        ({"kind": "track", "frame": 3, "layer": 1, "track": 2}, Event("track", 3, 1, 2)),
        ({"kind": "track", "frame": 3, "layer": None, "track": None}, Event("track", 3)),
        ({"kind": "range", "frame": 0, "first": 2, "last": 9}, Event("range", 0, first=2, last=9)),
        ({"kind": "range", "frame": 0, "first": None, "last": None}, Event("range", 0)),
        (
            {"kind": "look", "frame": 0, "opacity": 1, "contours": False, "labels": True},
            Event("look", 0, opacity=1.0, contours=False, labels=True),
        ),
    ],
)
def test_what_the_player_says_is_read(said: dict, event: Event):
    assert read_event(said, show()) == event


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (None, "frame from 0 to 39, got 'None'"),
        ({"kind": "frame", "frame": 40}, "frame from 0 to 39, got '40'"),
        ({"kind": "frame", "frame": True}, "got 'True'"),
        ({"kind": "frame", "frame": 1.0}, "got '1.0'"),
        ({"kind": "delete", "frame": 0}, "expected the kind track, frame, range or look, got 'delete'"),
        ({"kind": "track", "frame": 0, "layer": 2, "track": 1}, "layer from 0 to 1, got '2'"),
        ({"kind": "track", "frame": 0, "layer": 0, "track": 2}, "Ground truth has no track 2"),
        ({"kind": "track", "frame": 0, "layer": 0, "track": "1"}, "Ground truth has no track 1"),
        ({"kind": "range", "frame": 0, "first": 9, "last": 2}, "expected a range, got 9 to 2"),
        ({"kind": "look", "frame": 0, "opacity": 2, "contours": True, "labels": True}, "an opacity from 0 to 1"),
        ({"kind": "look", "frame": 0, "opacity": 1, "contours": 1, "labels": True}, "two flags"),
    ],
)
def test_anything_else_is_refused(said: object, sentence: str):
    with pytest.raises(ValueError) as caught:
        read_event(said, show())
    assert sentence in str(caught.value)
