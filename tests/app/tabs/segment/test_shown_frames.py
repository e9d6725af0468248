"""The player shows the frames that the model got, also of a file that is served as it is and does not decode whole."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.player.component import PlayerView
from app.player.proxy import BrowserVideo, VideoSource
from app.storage.results import ResultStore, Settings
from app.tabs.segment.run import Studio, open_studio
from tests.app.fakes import FakePredictor, damage_frame, make_video
from tests.app.tabs.segment.test_run import held_at, wait_until

FRAMES = 18


@pytest.fixture
def model() -> FakePredictor:
    return FakePredictor()


@pytest.fixture
def studio(tmp_path: Path, model: FakePredictor) -> Iterator[Studio]:
    studio = open_studio(tmp_path / "server", tmp_path / "home", lambda *_: model, [], 30.0)
    yield studio
    studio.close()


def whole(folder: Path) -> Path:
    return make_video(folder / "a.mp4", FRAMES)


def damaged(folder: Path, index: int) -> Path:
    return damage_frame(whole(folder), index)


def view_of(studio: Studio, source: VideoSource, settings: Settings) -> PlayerView:
    """What the player shows after the run."""
    assert studio.proxies.start(source).wait(60).result is not None
    token = studio.worker.submit(source, settings)
    run = studio.worker.find(token)
    assert run is not None
    run.wait(60)
    wait_until(lambda: studio.run_view(token) is not None)
    view = studio.run_view(token)
    assert view is not None
    return view


def check(view: PlayerView, source: VideoSource, settings: Settings) -> None:
    """Frame by frame the player has the times of the decoder, and the masks belong to them."""
    decoded = [frame.time for frame in source.read().frames()]
    result = view.layers[0].result
    assert view.length == result.length
    assert view.frames.times == pytest.approx(decoded, abs=0.0006)
    shown = np.array(view.frames.times[view.first : view.first + view.length])
    assert shown - shown[0] == pytest.approx(result.times, abs=0.0011)


@pytest.mark.parametrize("settings", [Settings("fast"), Settings("fast", first=7, stop=12)], ids=["all", "range"])
def test_a_whole_file_is_shown_and_stored_as_it_is(studio: Studio, settings: Settings, tmp_path: Path):
    source = VideoSource("a.mp4", whole(tmp_path))
    view = view_of(studio, source, settings)
    assert view.frames.video is not None and view.frames.video.samefile(tmp_path / "a.mp4")
    check(view, source, settings)
    store = ResultStore(tmp_path / "home" / "results")
    wait_until(lambda: store.folder.is_dir() and (store.folder / view.token).is_dir())
    stored = store.open(view.token)
    assert stored.frames.times == view.frames.times
    assert stored.frames.video is not None and stored.frames.video.samefile(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    ("index", "settings"),
    [(5, Settings("fast")), (FRAMES - 1, Settings("fast")), (5, Settings("fast", first=7, stop=12))],
    ids=["in it", "at the end", "before the range"],
)
def test_of_a_damaged_file_the_decoded_frames_are_shown_and_stored(
    studio: Studio, index: int, settings: Settings, tmp_path: Path
):
    source = VideoSource("a.mp4", damaged(tmp_path, index))
    served = studio.proxies.start(source).wait(60).result
    assert served is not None and served.as_is and served.length == FRAMES
    view = view_of(studio, source, settings)
    assert view.frames.video is not None and not view.frames.video.samefile(tmp_path / "a.mp4")
    assert view.frames.length == FRAMES - 1
    check(view, source, settings)
    store = ResultStore(tmp_path / "home" / "results")
    wait_until(lambda: store.folder.is_dir() and (store.folder / view.token).is_dir())
    assert store.open(view.token).frames.times == view.frames.times
    again = studio.proxies.start(source).wait(60).result
    assert again is not None and not again.as_is


def test_a_file_with_another_warning_is_copied(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Such as frames of another size, which browsers show in theirs."""
    read = VideoSource.read

    def read_with_warning(source: VideoSource):
        video = read(source)
        frames = video.frames

        def warned():
            yield from frames()
            video.warnings.append("a.mp4: 3 frames of another size were scaled")

        video.frames = warned
        return video

    monkeypatch.setattr("app.tabs.segment.run.VideoSource.open", lambda source, check=None: read_with_warning(source))
    source = VideoSource("a.mp4", whole(tmp_path))
    frames = view_of(studio, source, Settings("fast")).frames
    assert isinstance(frames, BrowserVideo) and not frames.as_is


class TestWhileItRuns:
    """The first frames are compared as soon as they are there."""

    @pytest.fixture
    def model(self) -> FakePredictor:
        return held_at(FRAMES - 2)

    def test_frames_so_far(self, studio: Studio, tmp_path: Path):
        source = VideoSource("a.mp4", damaged(tmp_path, 2))
        assert studio.proxies.start(source).wait(60).result is not None
        token = studio.worker.submit(source, Settings("fast"))
        run = studio.worker.find(token)
        assert run is not None
        with studio.followed(token):
            wait_until(lambda: (view := studio.run_view(token)) and view.layers and view.layers[0].result.length)
            view = studio.run_view(token)
            assert view is not None and view.frames.length == FRAMES - 1 and not run.over
