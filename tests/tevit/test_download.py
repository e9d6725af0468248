"""Downloads from a local server: whole, resumed, changed, interrupted, missing, wrong."""

import hashlib
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tevit import download
from tevit.configs import MODELS, START_FILES
from tevit.progress import Cancelled

CONTENT = bytes(range(256)) * 12_000  # 3 MB
MODEL = replace(MODELS["tevit_r50"], sha256=hashlib.sha256(CONTENT).hexdigest())


class Server(ThreadingHTTPServer):
    """Serves `content` at /file, with ranges; closes the connection after `cut` bytes of a response; sends
    little of it until `stall` is set."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.cut, self.etag = CONTENT, None, '"one"'
        self.ranges: list[str | None] = []
        self.stall: threading.Event | None = None
        self.url = f"http://127.0.0.1:{self.server_address[1]}/file"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        assert isinstance(server, Server)
        requested = self.headers.get("Range")
        server.ranges.append(requested)
        if self.path != "/file":
            return self.send_error(404)
        start = int(requested.removeprefix("bytes=").rstrip("-")) if requested else 0
        if self.headers.get("If-Range", server.etag) != server.etag:
            start = 0
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            return self.end_headers()
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.etag)
        self.end_headers()
        if server.stall:
            self.wfile.write(body[:1000])
            server.stall.wait(20)
        self.wfile.write(body[: server.cut])

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path))
    return tmp_path


def test_whole_file_with_progress_and_hash(server, home):
    calls = []
    path = download.download(MODEL, lambda *args: calls.append(args), url=server.url)
    assert path == home / "checkpoints" / "tevit_r50.pth" and path.read_bytes() == CONTENT
    assert calls[-1] == ("downloading tevit_r50.pth", len(CONTENT), len(CONTENT))
    assert sorted(item.name for item in path.parent.iterdir()) == ["tevit_r50.pth", "tevit_r50.pth.sha256"]
    assert str(MODEL.sha256) in (path.parent / "tevit_r50.pth.sha256").read_text()
    download.download(MODEL, url=server.url)
    assert len(server.ranges) == 1  # it exists already


def test_interrupted_then_resumed(server, home):
    server.cut = 1_000_000
    with pytest.raises(ConnectionError, match=f"broke off: expected {len(CONTENT)} bytes, got 1000000"):
        download.download(MODEL, url=server.url)
    assert not (home / "checkpoints" / "tevit_r50.pth").exists()
    server.cut = None
    assert download.download(MODEL, url=server.url).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000000-"]


def test_cancelled_then_resumed(server):
    def stop(stage, done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        download.download(MODEL, stop, url=server.url)
    assert download.download(MODEL, url=server.url).read_bytes() == CONTENT
    assert server.ranges[1] is not None


def test_a_cancel_does_not_wait_for_a_silent_server(server):
    server.stall = threading.Event()

    def stop(stage, done, total):
        if time.monotonic() > began + 0.2:
            raise Cancelled

    began = time.monotonic()
    with pytest.raises(Cancelled):
        download.download(MODEL, stop, url=server.url)
    assert time.monotonic() - began < 5
    server.stall.set()


def test_changed_file_is_downloaded_again(server):
    server.cut, server.content, server.etag = 1_000_000, CONTENT[::-1], '"zero"'
    with pytest.raises(ConnectionError):
        download.download(MODEL, url=server.url)
    server.cut, server.content, server.etag = None, CONTENT, '"one"'
    assert download.download(MODEL, url=server.url).read_bytes() == CONTENT


def test_complete_part_is_used(server, home):
    part = home / "checkpoints" / "tevit_r50.pth.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    assert download.download(MODEL, url=server.url).read_bytes() == CONTENT


def test_part_longer_than_the_file_is_removed(server, home):
    part = home / "checkpoints" / "tevit_r50.pth.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT + b"more")
    with pytest.raises(ConnectionError, match="has another length; run it again"):
        download.download(MODEL, url=server.url)
    assert download.download(MODEL, url=server.url).read_bytes() == CONTENT


def test_wrong_content_is_removed(server, home):
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(ValueError, match=f"expected SHA-256 {MODEL.sha256}, got"):
        download.download(MODEL, url=server.url)
    assert list((home / "checkpoints").iterdir()) == []


def test_missing_file_and_network_raise_one_sentence(server, home):
    with pytest.raises(ConnectionError, match=r"cannot get .*/none \(the server answers 404"):
        download.download(MODEL, url=server.url.replace("/file", "/none"))
    port = server.server_address[1]
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionError) as caught:
        download.download(MODEL, url=f"http://127.0.0.1:{port}/file")
    without = f"put tevit_r50.pth into {home / 'checkpoints'}, or name another file with --checkpoint; the model motion"
    assert without in str(caught.value) and "\n" not in str(caught.value)


def test_size_of_an_unfinished_download(server, home):
    assert download.partial_bytes(MODEL) == 0
    server.cut = 1_000_000
    with pytest.raises(ConnectionError):
        download.download(MODEL, url=server.url)
    assert download.partial_bytes(MODEL) == 1_000_000


def test_files_of_the_package_and_copies_of_its_clips_are_bundled(tmp_path):
    clip = download.assets_folder() / "clips" / "crossing.mp4"
    copy, other = tmp_path / "copy.mp4", tmp_path / "other.mp4"
    copy.write_bytes(clip.read_bytes())
    other.write_bytes(clip.read_bytes()[:-1])
    assert download.is_bundled(clip) and download.is_bundled(copy)
    assert download.is_bundled(download.assets_folder() / "shapes")
    assert not any(map(download.is_bundled, (other, tmp_path, "-", tmp_path / "nothere.mp4")))


def test_start_files_are_fetched_by_name(server, home, monkeypatch):
    start = replace(START_FILES["queryinst_pvtv2b1_coco"], file_name="file")
    monkeypatch.setattr(download, "RELEASED", {"start": start})
    monkeypatch.setattr("tevit.configs.RELEASE", server.url.removesuffix("file"))
    assert download.weights("start") == home / "checkpoints" / "file"
    assert download.checkpoint_path(start).read_bytes() == CONTENT
    monkeypatch.setattr(download, "START_FILES", {"start": replace(start, file_name="none")})
    with pytest.raises(ConnectionError, match=r"put none into .*checkpoints, where --init finds it by its name"):
        download.download(replace(start, file_name="none"))


def test_published_urls():
    base = "https://github.com/hustvl/Storage/releases/download/v1.1.0/"
    start = START_FILES["queryinst_pvtv2b1_coco"]
    assert start.url == base + "queryinst_pvtv2-b1_fpn_mstrain_480-800_3x_coco.pth"
    assert {model.url for model in MODELS.values()} == {
        base + name
        for name in ("tevit_msgshift.pth", "tevit_msgshift_mstrain.pth", "tevit_r50.pth", "tevit_swin-l_mstrain.pth")
    }
