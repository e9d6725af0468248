import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urljoin

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.player import component as player
from app.player import component as player_routes
from app.player.component import Layer, PlayerView, ViewRegistry, routes
from app.player.proxy import BrowserVideo, VideoSource, make_proxy
from tests.app.fakes import make_video, walking_squares

TOKEN = "0123456789abcdef0123456789abcdef"
FRAMES = 40


@dataclass(frozen=True)
class Site:
    client: TestClient
    views: ViewRegistry
    frames: BrowserVideo
    folder: Path

    def get(self, path: str, **headers: str):
        return self.client.get(f"/studio/shows/{path}", headers={key.title(): value for key, value in headers.items()})


def view_of(frames: BrowserVideo, token: str, first: int = 0) -> PlayerView:
    times = list(frames.times[first:])
    result = walking_squares("clip", frames.size_hw, times, 10, 0.0)
    return PlayerView(token, frames, first, len(times), (Layer("model", False, result),))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> BrowserVideo:
    folder = tmp_path_factory.mktemp("frames")
    return make_proxy(VideoSource("clip", make_video(folder / "clip.mp4", FRAMES)), folder / "proxy.mp4")


@pytest.fixture
def site(tmp_path: Path, frames: BrowserVideo) -> Site:
    registry = ViewRegistry()
    registry.put(view_of(frames, TOKEN), tmp_path / "run")
    (tmp_path / "run").mkdir()
    return Site(TestClient(Starlette(routes=list(routes(registry)))), registry, frames, tmp_path / "run")


def test_the_video_is_sent_whole_or_in_ranges(site: Site):
    assert site.frames.video is not None
    data = site.frames.video.read_bytes()
    response = site.get(f"{TOKEN}/video/proxy.mp4")
    assert (response.status_code, response.content, response.headers["content-type"]) == (200, data, "video/mp4")
    assert response.headers["accept-ranges"] == "bytes"
    some = site.get(f"{TOKEN}/video/proxy.mp4", range="bytes=100-199")
    assert (some.status_code, some.content) == (206, data[100:200])
    assert some.headers["content-range"] == f"bytes 100-199/{len(data)}"


def test_a_video_has_the_type_of_its_container_and_its_name(site: Site, tmp_path: Path):
    video = tmp_path / "a.webm"
    video.write_bytes(b"webm")
    site.views.put(PlayerView("webm", replace(site.frames, video=video), 0, 1, ()))
    assert site.get("webm/video/a.webm").headers["content-type"] == "video/webm"
    other = site.get("webm/video/proxy.mp4")  # of a page that has not heard of the new video yet
    assert (other.status_code, other.text) == (404, "The video is not here any more: open it again.")


def test_frames_are_those_of_the_source(site: Site):
    for index in (0, 17, FRAMES - 1):
        response = site.get(f"{TOKEN}/frames/{index}.jpg")
        assert (response.status_code, response.headers["content-type"]) == (200, "image/jpeg")
        assert response.content == site.frames.picture(index)


def test_masks_are_sent_in_chunks(site: Site):
    view = site.views.get(TOKEN)
    assert view is not None
    for chunk in (0, 1):
        response = site.get(f"{TOKEN}/masks/{chunk}")
        assert response.status_code == 200 and response.json() == player.mask_chunk(view, chunk)
        assert response.headers["cache-control"] == "no-cache", "more tracks come while a run goes on"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("unknown/video/proxy.mp4", "There is no such show, or not any more: open it again."),
        ("unknown/masks/0", "There is no such show, or not any more: open it again."),
        (f"{TOKEN}/frames/40.jpg", "There is no such frame: expected 0 to 39."),
        (f"{TOKEN}/frames/-1.jpg", "There is no such frame: expected 0 to 39."),
        (f"{TOKEN}/frames/1_0.jpg", "There is no such frame: expected 0 to 39."),
        (f"{TOKEN}/frames/%D9%A3.jpg", "There is no such frame: expected 0 to 39."),
        (f"{TOKEN}/frames/{'9' * 5000}.jpg", "There is no such frame: expected 0 to 39."),
        (f"{TOKEN}/masks/2", "There is no such chunk: expected 0 to 1."),
        (f"{TOKEN}/masks/x", "There is no such chunk: expected 0 to 1."),
        (f"{TOKEN}/files/results.json", "There is no such file to download."),
        (f"{TOKEN}/files/secret.txt", "There is no such file to download."),
        (f"{TOKEN}/files/..%2Fsecret.txt", None),
        (f"{TOKEN}/files/%2e%2e", "There is no such file to download."),
        ("../player/..%2fplayer.py", None),
    ],
)
def test_missing_files_give_one_sentence(site: Site, path: str, sentence: str | None):
    (site.folder / "secret.txt").write_text("secret")
    (site.folder.parent / "secret.txt").write_text("secret")
    response = site.get(path)
    assert response.status_code == 404 and "secret" not in response.text
    assert sentence is None or response.text == sentence


def test_downloads_are_attachments_under_their_names(site: Site):
    (site.folder / "tracks.csv").write_text("video,track\n")
    response = site.get(f"{TOKEN}/files/tracks.csv")
    assert (response.status_code, response.text) == (200, "video,track\n")
    assert response.headers["content-disposition"] == 'attachment; filename="tracks.csv"'


@pytest.mark.parametrize(
    ("title", "header"),
    [
        ("street.mp4", 'filename="street-tracks.csv"'),
        ("shapes/valid.json", 'filename="shapes-valid-tracks.csv"'),
        ('a "b"\r\n; c', 'filename="a-b-c-tracks.csv"'),
        ("../..", 'filename="tracks.csv"'),
        ("crossing (shapes)", 'filename="crossing-(shapes)-tracks.csv"'),
        ("Straße.mp4", "filename*=utf-8''Stra%C3%9Fe-tracks.csv"),
    ],
)
def test_downloads_are_named_after_their_video(site: Site, title: str, header: str):
    (site.folder / "tracks.csv").write_text("video,track\n")
    site.views.put(view_of(site.frames, TOKEN), site.folder, title)
    answer = site.get(f"{TOKEN}/files/tracks.csv")
    assert answer.headers["content-disposition"] == f"attachment; {header}"


def test_a_view_of_images_has_no_video_and_one_without_a_folder_no_files(site: Site):
    images = BrowserVideo("set", (96, 160), (0.0,), files=(Path("gone.jpg"),))
    site.views.put(view_of(images, "images"))
    assert site.get("images/video/proxy.mp4").text == "This show consists of pictures: there is no video."
    assert site.get("images/files/results.json").status_code == 404
    response = site.get("images/frames/0.jpg")
    assert (response.status_code, response.text) == (404, "This file cannot be read any more.")


def test_a_removed_video_gives_one_sentence(site: Site, tmp_path: Path):
    site.views.put(view_of(BrowserVideo("gone", (96, 160), (0.0,), tmp_path / "gone.mp4"), "gone"))
    assert site.get("gone/video/proxy.mp4").text == "The video is not here any more: open it again."
    assert site.get("gone/frames/0.jpg").text == "This file cannot be read any more."


def test_scripts_have_their_media_types(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(player_routes, "STATIC", tmp_path)
    (tmp_path / "player").mkdir()
    for name in ("player.js", "player.css", "notes.txt"):
        (tmp_path / "player" / name).write_text(name)
    for name, kind in (("player.js", "text/javascript"), ("player.css", "text/css")):
        response = site.client.get(f"/studio/player/{name}")
        assert (response.status_code, response.text, response.headers["cache-control"]) == (200, name, "no-cache")
        assert response.headers["content-type"].startswith(kind)
    for name in ("notes.txt", "..%2Fplayer.js", "nothing.js", "%2e%2e"):
        assert site.client.get(f"/studio/player/{name}").status_code == 404


def test_every_module_and_its_imports_are_served(site: Site):
    modules = list(player_routes.STATIC.glob("*/*.js"))
    assert {file.parent.name for file in modules} == set(player_routes.SCRIPT_FOLDERS)
    for file in modules:
        address = f"/studio/{file.parent.name}/{file.name}"
        assert site.client.get(address).text == file.read_text()
        for path in re.findall(r'^import .* from "(.*)";$', file.read_text(), re.MULTILINE):
            assert site.client.get(urljoin(address, path)).status_code == 200


def test_the_least_recently_used_view_is_dropped_first(frames: BrowserVideo):
    registry = ViewRegistry(max_views=2)
    for token in ("a", "b"):
        registry.put(view_of(frames, token))
    assert registry.get("a") is not None
    registry.put(view_of(frames, "c"))
    assert registry.get("b") is None and registry.get("a") is not None
    replacement = view_of(frames, "a", first=3)
    registry.put(replacement)
    assert registry.get("a") is replacement and registry.get("c") is not None
    registry.drop("a")
    assert registry.get("a") is None


def test_views_of_one_visitor_drop_none_of_others(frames: BrowserVideo):
    registry = ViewRegistry(max_views=3)
    registry.put(view_of(frames, "his"), visitor="bob")
    for number in range(5):
        registry.put(view_of(frames, f"hers {number}"), visitor="ann")
    assert registry.get("his") is not None and registry.get("hers 4") is not None and registry.get("hers 2") is None
