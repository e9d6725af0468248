"""Links: round trip through the query, and malformed queries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.page import LAYOUTS, View, from_query, to_query

ids = st.none() | st.integers(-(10**9), 10**12)
views = st.builds(
    View,
    project=st.text("0123456789abcdef", max_size=12),
    video=ids,
    frame=st.integers(0, 10**6),
    models=st.lists(st.text(min_size=1, max_size=20), max_size=2).map(tuple),
    truth=ids,
    prediction=ids,
    side=st.integers(0, 1),
    layout=st.sampled_from(LAYOUTS),
    error=st.from_regex(r"\A\d{1,4}[tp]\d{1,18}\Z") | st.just(""),
    range=st.none() | st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)).map(lambda ends: (min(ends), max(ends))),
)


@given(views)
def test_round_trip(view):
    assert from_query(to_query(view)) == view
    assert from_query(f"?{to_query(view)}") == view


def test_defaults_of_an_empty_query():
    assert from_query("") == View() and to_query(View()) == ""
    assert from_query("utm_source=mail") == View()
    assert from_query({"video": "3", "frame": "7"}) == View(video=3, frame=7)


MALFORMED = "video=x video=1_0 video=%D9%A3 video=--1 frame=-1 frame=1.5 layout=round".split()
RANGES = "range=3 range=9-3 range=-3-5 range=a-b range=-".split()


@pytest.mark.parametrize("query", [*MALFORMED, *RANGES, "truth=" + "9" * 40])
def test_malformed_queries_are_rejected(query):
    with pytest.raises(ValueError, match=r"^link: expected"):
        from_query(query)


@given(st.text(max_size=60))
def test_any_query_gives_a_view_or_a_message(query):
    try:
        assert isinstance(from_query(query), View)
    except ValueError as error:
        assert str(error)
