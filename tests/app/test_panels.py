from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser

import numpy as np
import pytest

from app import panels
from app.jobs import Snapshot
from tests.app.fakes import walking_squares

RUNNING = Snapshot("running", 0, "segmenting", 34, 67, 1.24, 26.4, 31.9, False, "", None)


class _Text(HTMLParser):
    def __init__(self):
        super().__init__()
        self.text: list[str] = []
        self.tags: list[tuple[str, dict]] = []

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(data.strip())

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))


def read(html: str) -> _Text:
    parser = _Text()
    parser.feed(html)
    return parser


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (3.44, "3.4 s"),
        (7, "7 s"),
        (9.97, "10 s"),
        (59.6, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3599.7, "1 h 0 min"),
        (7384, "2 h 3 min"),
    ],
)
def test_durations_read_well(seconds: float, words: str):
    assert panels.duration(seconds) == words


def test_facts_leave_out_what_the_file_does_not_state():
    assert read(panels.facts(67, (720, 1280), Fraction(30000, 1001), 2.24)).text == (
        ["Length", "67 frames", "Time", "2.2 s", "Size", "1280 x 720", "Rate", "29.97 frames/s"]
    )
    assert read(panels.facts(None, (720, 1280), None, None)).text == ["Size", "1280 x 720"]


def test_a_run_that_goes_on_shows_stage_frames_rate_and_time_left():
    page = read(panels.progress(RUNNING))
    assert page.text == ["Segmenting", "27 s left", "34 of 67 frames, 1.2 frames/s"]
    bar = next(attrs for _, attrs in page.tags if attrs.get("role") == "progressbar")
    assert (bar["aria-valuenow"], bar["aria-valuemax"], bar["aria-label"]) == ("34", "67", "segmenting")
    assert ("i", {"style": "width:50.7%"}) in page.tags


def test_there_is_a_number_where_nothing_can_be_foretold():
    loading = replace(RUNNING, stage="loading the model", done=0, total=None, rate=None, seconds_left=None)
    assert read(panels.progress(loading)).text == ["Loading the model", "31 s so far"]


@pytest.mark.parametrize(
    ("change", "headline"),
    [
        ({"state": "waiting", "ahead": 2}, "Waiting: 2 runs before yours"),
        ({"state": "waiting", "ahead": 1}, "Waiting: 1 run before yours"),
        ({"stopping": True}, "Stopping"),
        ({"state": "done"}, "Done after 32 s"),
        ({"state": "cancelled"}, "Cancelled after 32 s"),
        ({"state": "failed", "sentence": "It broke."}, "It broke."),
    ],
)
def test_every_state_has_its_words(change: dict, headline: str):
    assert read(panels.progress(replace(RUNNING, **change))).text[0] == headline


def test_more_frames_than_foretold_do_not_overflow_the_bar():
    assert ("i", {"style": "width:100.0%"}) in read(panels.progress(replace(RUNNING, done=80))).tags


def test_tracks_come_best_first_with_where_they_are_seen():
    result = walking_squares("clip", (96, 160), [frame / 10 for frame in range(20)], 10, 0.0)
    page = read(panels.tracks(replace(result, tracks=result.tracks[::-1]), "clip.mp4", "model.pth"))
    assert page.text == ["2 tracks in 20 frames", "clip.mp4, model.pth", "1 dog", "0.93", "2 person", "0.41"]
    bars = [attrs["style"] for tag, attrs in page.tags if tag == "i" and attrs["style"].startswith("left")]
    assert [bar.rpartition(";")[0] for bar in bars] == [
        "left:0.00%;width:100.00%",
        "left:0.00%;width:25.00%",
        "left:50.00%;width:25.00%",
    ]


def test_colours_are_those_of_the_overlay():
    from tevit.render import color

    result = walking_squares("clip", (96, 160), [0.0], 1, 0.0)
    assert f"background:#{bytes(color(1)).hex()}" in panels.tracks(result, "clip.mp4", "m")


def test_names_from_outside_stay_text():
    evil = "<img src=x onerror=alert(1)>"
    result = walking_squares(evil, (96, 160), [0.0], 10, 0.0)
    result = replace(result, categories={1: evil, 2: evil})
    for html in (
        panels.tracks(result, evil, evil),
        panels.problem(evil),
        panels.progress(replace(RUNNING, state="done", sentence=evil)),
        panels.progress(replace(RUNNING, stage=evil)),
    ):
        assert "img" not in [tag for tag, _ in read(html).tags]
    quoted = read(panels.first_frame(b"", '"onload="alert(1)'))
    assert [set(attrs) for _, attrs in quoted.tags] == [{"src", "alt"}]


def test_a_lane_of_a_track_that_is_never_seen_is_empty():
    assert panels.lane(np.zeros(4, bool), "#123456") == ""
