"""The HTML of the tab Segment: facts, tracks and plots."""

from dataclasses import replace
from fractions import Fraction

import numpy as np

from app.tabs.segment import views
from app.tabs.segment.models import ModelOption
from tests.app.fakes import walking_squares
from tests.app.markup import read


def test_facts_omit_what_the_file_does_not_state():
    assert read(views.facts(67, (720, 1280), Fraction(30000, 1001), 2.24)).text == (
        ["Length", "67 frames", "Time", "2.2 s", "Size", "1280 x 720", "Rate", "29.97 frames/s"]
    )
    assert read(views.facts(None, (720, 1280), None, None)).text == ["Size", "1280 x 720"]


def test_tracks_are_listed_best_first_with_their_frames():
    result = walking_squares("clip", (96, 160), [frame / 10 for frame in range(20)], 10, 0.0)
    page = read(views.tracks(replace(result, tracks=result.tracks[::-1]), 5, 2))
    dog = ["1 dog", "0.93", "20 frames, 0 to 19", "361 px"]
    person = ["2 person", "0.41", "10 frames, 0 to 14", "361 px"]
    assert page.text == ["2 of 5 tracks in 20 frames", *dog, *person]
    rows = [attrs for tag, attrs in page.tags if tag == "button"]
    assert [(row["data-track"], row["aria-pressed"]) for row in rows] == [("1", "false"), ("2", "true")]


def test_colours_equal_the_overlays():
    from tevit.video.overlay import track_colors

    result = walking_squares("clip", (96, 160), [0.0], 2, 0.0)
    result = replace(result, tracks=tuple(replace(track, id=1 + 12 * k) for k, track in enumerate(result.tracks)))
    first, second = (f"background:#{bytes(rgb).hex()}" for rgb in track_colors([1, 13]).values())
    assert first != second and first in (table := views.tracks(result, 2, None)) and second in table


def test_hidden_low_scores_are_stated():
    result = walking_squares("clip", (96, 160), [0.0], 1, 0.0)
    assert "are hidden: move “Lowest score” to see them. Files are" in views.tracks(result, 3, None, 2, in_files=True)
    assert "Files" not in (one := views.tracks(result, 2, None, 1)) and "1 track of a lower score is hidden" in one
    assert "hidden" not in views.tracks(result, 1, None)


def test_plots_have_a_line_for_each_interval_of_the_selected_tracks():
    result = walking_squares("clip", (96, 160), [frame / 10 for frame in range(20)], 10, 0.0)
    lines = [attrs for tag, attrs in read(views.plots(result, None)).tags if tag == "polyline"]
    assert len(lines) == 1 + 2, "one track is always seen, the other in two stretches"
    assert [attrs["points"] for attrs in lines][1].startswith("2.50,0.00 7.50,0.00")
    alone = read(views.plots(result, 2))
    assert len([tag for tag, _ in alone.tags if tag == "polyline"]) == 2
    scored = replace(result.tracks[0], frame_scores=np.linspace(0, 1, 20, dtype=np.float32))
    page = read(views.plots(replace(result, tracks=(scored,)), None))
    assert page.text == ["Score over time", "1", "Area over time", "361 px"]
    assert views.plots(replace(result, tracks=()), None) == ""


def test_category_names_are_escaped():
    evil = "<img src=x onerror=alert(1)>"
    result = walking_squares(evil, (96, 160), [0.0], 10, 0.0)
    result = replace(result, categories={1: evil, 2: evil})
    assert "img" not in [tag for tag, _ in read(views.tracks(result, 2, None)).tags]


def test_advice_says_what_a_model_cannot_do():
    demo, motion = ModelOption("tevit_demo", "tevit_demo (shapes)"), ModelOption("motion", "other models: motion")
    missing = ModelOption("tevit_msgshift", "", "No weights.", "Get tevit_msgshift, 648 MB")
    assert views.advice(demo, real_video=False) == views.advice(ModelOption("mine.pth", "mine.pth"), True) == ""
    assert "tevit_demo recognizes eight synthetic shapes and nothing real: in this" in views.advice(demo, True)
    assert "nothing that stands still" in views.advice(motion, False)
    assert read(views.advice(missing, False)).text == ["No weights."]
    text = read(views.advice(missing, True)).text
    assert text[0] == "No weights." and "nothing real" in text[1] and "motion needs no weights" in text[1]
