"""The payload of the player, and the check of its events."""

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


def view(first: int = 0, length: int = 40) -> PlayerView:
    frames = PosterFrame("clip.mp4", (96, 160), tuple(TIMES))
    result = walking_squares("clip", (96, 160), TIMES[:length], 10, 0.0)
    truth = replace(result, tracks=result.tracks[:1])
    layers = (
        Layer("Ground truth", True, truth, marks={1: [{"frame": 3, "kind": "switch"}]}),
        Layer("A", False, result),
    )
    return PlayerView("token", frames, first, length, layers)


def test_the_payload_has_times_and_intervals_but_no_masks():
    data = payload(view(5, 20), [Pane("left", (0,)), Pane("right", (1,))], "swipe")
    assert (data["width"], data["height"], data["first"], len(data["times"])) == (160, 96, 5, 20)
    assert data["times"][0] == 0.5 and data["end"] == 2.5, "the next frame of the video ends the last one"
    assert payload(view())["end"] == pytest.approx(4.0), "a mean interval after the last frame"
    assert [pane["layers"] for pane in data["panes"]] == [[0], [1]] and data["layout"] == "swipe"
    assert payload(view())["panes"] == [{"name": "", "layers": [0, 1]}]
    truth, prediction = data["layers"]
    assert truth["tracks"][0]["marks"] == [{"frame": 3, "kind": "switch"}]
    assert [track["seen"] for track in prediction["tracks"]] == [[[0, 20]], [[0, 5], [10, 15]]]
    assert "counts" not in str(data)


def test_masks_are_sent_in_chunks_with_null_where_absent():
    full_view = view()
    texts = [mask_chunk(full_view, chunk)["layers"][1]["2"] for chunk in (0, 1)]
    assert [len(chunk) for chunk in texts] == [CHUNK, 40 - CHUNK]
    rles = full_view.layers[1].result.tracks[1].rles
    assert [*texts[0], *texts[1]] == [None if rle is None else rle["counts"].decode() for rle in rles]
    for chunk in (-1, 2):
        with pytest.raises(IndexError):
            mask_chunk(full_view, chunk)


@given(st.lists(st.booleans(), max_size=30))
def test_intervals_cover_what_is_present(present: list[bool]):
    spans = intervals(np.array(present, bool))
    covered = [any(first <= frame < stop for first, stop in spans) for frame in range(len(present))]
    assert covered == present and all(a[1] < b[0] for a, b in pairwise(spans))


@pytest.mark.parametrize(
    ("data", "event"),
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
def test_valid_events_are_read(data: dict, event: Event):
    assert read_event(data, view()) == event


@pytest.mark.parametrize("kind", ["frame", "track", "range"])
def test_late_events_of_another_view_do_not_count(kind: str):
    own = view()
    late = {"kind": kind, "frame": 400, "layer": 0, "track": 1, "first": 1, "last": 2, "token": "before"}
    assert read_event(late, own) is None
    assert read_event(late | {"frame": 3, "token": own.token}, own) is not None


def test_the_style_of_drawing_counts_for_any_view():
    late = {"kind": "look", "frame": 400, "opacity": 0.25, "contours": True, "labels": False, "token": "before"}
    assert read_event(late, view()) == Event("look", 0, opacity=0.25, contours=True, labels=False)


@pytest.mark.parametrize(
    ("data", "sentence"),
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
def test_invalid_events_are_rejected(data: object, sentence: str):
    with pytest.raises(ValueError) as caught:
        read_event(data, view())
    assert sentence in str(caught.value)
