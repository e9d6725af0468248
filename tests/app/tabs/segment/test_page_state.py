import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.player.component import Layer, PlayerView
from app.player.proxy import BrowserVideo
from app.tabs.segment.page_state import MIN_SCORE, Session, TrackFilter, from_query, to_query
from tests.app.fakes import walking_squares

filters = st.builds(
    TrackFilter,
    st.integers(0, 100).map(lambda percent: percent / 100),
    st.none() | st.frozensets(st.integers(0, 999), min_size=1),
    st.integers(1, 100),
    st.integers(0, 500),
)
ranges = st.tuples(st.integers(0, 5000), st.integers(0, 5000)).map(sorted).map(tuple)


@given(filters, st.none() | ranges)
def test_filter_and_range_of_an_address(tracks: TrackFilter, frames: tuple[int, int] | None):
    assert from_query(to_query(tracks, frames)) == (tracks, frames)


@pytest.mark.parametrize("query", ["score=2", "score=nan", "max=0", "classes=a", "range=5-3", "range=-1-3", "range=4"])
def test_a_malformed_address_changes_nothing(query: str):
    session = Session()
    with pytest.raises(ValueError):
        session.restore(query)
    assert (session.filter, session.range, session.score_chosen) == (TrackFilter(MIN_SCORE), None, False)


@pytest.fixture
def session() -> Session:
    """Of a result with a dog of score 0.93 in 18 frames and a person of 0.41 in 10."""
    times = [frame / 10 for frame in range(18)]
    result = walking_squares("street", (96, 160), times, 10, 0.0)
    frames = BrowserVideo("street", (96, 160), tuple(times))
    return Session(token="a", view=PlayerView("a", frames, 0, 18, (Layer("model", False, result),)))


@pytest.mark.parametrize(
    ("tracks", "classes"),
    [
        (TrackFilter(), [("person (1)", 1), ("dog (1)", 2)]),
        (TrackFilter(max_tracks=1), [("person (1)", 1), ("dog (1)", 2)]),
        (TrackFilter(0.5), [("dog (1)", 2)]),
        (TrackFilter(min_frames=11), [("dog (1)", 2)]),
        (TrackFilter(0.5, frozenset([1])), [("person (0)", 1), ("dog (1)", 2)]),
    ],
)
def test_only_classes_with_tracks_can_be_chosen(session: Session, tracks: TrackFilter, classes: list[tuple[str, int]]):
    session.filter = tracks
    assert session.classes() == classes


def test_an_address_without_filter_and_range_is_empty(session: Session):
    assert session.query == ""
    session.range = (2, 4)
    assert from_query(session.query) == (TrackFilter(MIN_SCORE), (2, 4))
    session.token = ""
    assert session.query == ""
