"""HTML from templates: progress and messages; values are escaped."""

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

import app
import tevit
from app.page import duration, note, notices, problem, progress
from app.tabs.compare import views
from app.tasks import TaskStatus
from tests.app.markup import read

RUNNING = TaskStatus("running", "segmenting", 34, 67, rate=1.24, seconds_left=26.4, seconds=31.9)


def test_names_and_messages_are_escaped():
    name = '<img src=x onerror="alert(1)">&'
    html = progress(TaskStatus("running", f"{name}: reading", 500, 1000, "share"))
    assert "<img" not in html and "&lt;img" in html and "50 %" in html
    assert "<img" not in views.matches(name, [], None)
    assert "<img" not in notices([name])


def test_json_in_an_attribute_survives_escaping():
    html = notices([json.dumps({"a": '"<b>'})])
    assert json.loads(unescape(html.split(">")[1].split("</p")[0])) == {"a": '"<b>'}


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
def test_durations(seconds: float, words: str):
    assert duration(seconds) == words


def test_running_task_shows_stage_frames_rate_and_time_left():
    page = read(progress(RUNNING))
    assert page.text == ["Segmenting", "27 s left", "34 of 67 frames, 1.2 frames/s"]
    bar = next(attrs for _, attrs in page.tags if attrs.get("role") == "progressbar")
    assert (bar["aria-valuenow"], bar["aria-valuemax"], bar["aria-label"]) == ("34", "67", "segmenting")
    assert ("i", {"style": "width:50.7%"}) in page.tags


def test_task_without_a_total_shows_its_time():
    loading = replace(RUNNING, stage="loading the model", done=0, total=None, rate=None, seconds_left=None)
    assert read(progress(loading)).text == ["Loading the model", "31 s so far"]


@pytest.mark.parametrize(
    ("change", "headline"),
    [
        ({"state": "queued", "ahead": 2}, "Waiting: 2 runs before yours"),
        ({"state": "queued", "ahead": 1}, "Waiting: 1 run before yours"),
        ({"stopping": True}, "Stopping"),
        ({"state": "done"}, "Done after 32 s"),
        ({"state": "cancelled"}, "Cancelled after 32 s"),
        ({"state": "failed", "message": "It broke."}, "It broke."),
    ],
)
def test_headline_of_every_state(change: dict, headline: str):
    assert read(progress(replace(RUNNING, **change))).text[0] == headline


def test_bar_ends_at_100_percent():
    assert ("i", {"style": "width:100.0%"}) in read(progress(replace(RUNNING, done=80))).tags


def test_downloads_are_counted_in_megabytes():
    frames = TaskStatus("running", "drawing", 3, 12)
    megabytes = TaskStatus("running", "downloading", 5_000_000, 20_000_000, "bytes")
    assert read(progress(frames)).text[0] == "Drawing" and "3 of 12 frames" in progress(frames)
    assert read(progress(megabytes)).text[-1] == "5 of 20 MB"


def test_a_share_is_shown_in_percent():
    page = read(progress(TaskStatus("running", "reading", 3, 10, "share")))
    bar = next(attrs for _, attrs in page.tags if attrs.get("role") == "progressbar")
    assert page.text == ["reading, 30 %"] and (bar["aria-valuenow"], bar["aria-valuemax"]) == ("30", "100")


def test_messages_and_stages_are_escaped():
    evil = "<img src=x onerror=alert(1)>"
    for html in (
        note(evil),
        problem(evil),
        progress(replace(RUNNING, state="done", message=evil)),
        progress(replace(RUNNING, stage=evil)),
    ):
        assert "img" not in [tag for tag, _ in read(html).tags]


def test_every_table_has_the_one_look():
    """Of the studio, the reports and notebooks; "marks" is read by screen readers alone."""
    folders = [Path(package.__path__[0]) / "templates" for package in (app, tevit)]
    tables = [
        tag for folder in folders for f in folder.rglob("*.html") for tag in re.findall("<table[^>]*>", f.read_text())
    ]
    assert len(tables) > 8 and all('"tevit-table' in tag or '"marks"' in tag for tag in tables)
