from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser

import numpy as np
import pytest

from app import panels
from app.tabs.segment.worker import Snapshot
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
    page = read(panels.tracks(replace(result, tracks=result.tracks[::-1]), 5, 2))
    dog = ["1 dog", "0.93", "20 frames, 0 to 19", "361 px"]
    person = ["2 person", "0.41", "10 frames, 0 to 14", "361 px"]
    assert page.text == ["2 of 5 tracks in 20 frames", *dog, *person]
    rows = [attrs for tag, attrs in page.tags if tag == "button"]
    assert [(row["data-track"], row["aria-pressed"]) for row in rows] == [("1", "false"), ("2", "true")]


def test_colours_are_those_of_the_overlay():
    from tevit.video.overlay import color

    result = walking_squares("clip", (96, 160), [0.0], 1, 0.0)
    assert f"background:#{bytes(color(1)).hex()}" in panels.tracks(result, 1, None)


def test_plots_have_a_line_a_stretch_and_the_selected_track_alone():
    result = walking_squares("clip", (96, 160), [frame / 10 for frame in range(20)], 10, 0.0)
    lines = [attrs for tag, attrs in read(panels.plots(result, None)).tags if tag == "polyline"]
    assert len(lines) == 1 + 2, "one track is always seen, the other in two stretches"
    assert [attrs["points"] for attrs in lines][1].startswith("2.50,0.00 7.50,0.00")
    alone = read(panels.plots(result, 2))
    assert len([tag for tag, _ in alone.tags if tag == "polyline"]) == 2
    scored = replace(result.tracks[0], frame_scores=np.linspace(0, 1, 20, dtype=np.float32))
    page = read(panels.plots(replace(result, tracks=(scored,)), None))
    assert page.text == ["Score over time", "1", "Area over time", "361 px"]
    assert panels.plots(replace(result, tracks=()), None) == panels.NO_PLOT


def test_a_gauge_counts_frames_and_megabytes():
    frames, megabytes = panels.Gauge("frames"), panels.Gauge("bytes")
    frames("drawing", 3, 12)
    megabytes("downloading", 5_000_000, 20_000_000)
    assert read(frames.html()).text[0] == "Drawing" and "3 of 12 frames" in frames.html()
    assert read(megabytes.html()).text[-1] == "5 of 20 MB"


def test_names_from_outside_stay_text():
    evil = "<img src=x onerror=alert(1)>"
    result = walking_squares(evil, (96, 160), [0.0], 10, 0.0)
    result = replace(result, categories={1: evil, 2: evil})
    for html in (
        panels.tracks(result, 2, None),
        panels.note(evil),
        panels.problem(evil),
        panels.progress(replace(RUNNING, state="done", sentence=evil)),
        panels.progress(replace(RUNNING, stage=evil)),
    ):
        assert "img" not in [tag for tag, _ in read(html).tags]
