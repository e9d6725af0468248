import base64
import hashlib
import logging
import math
import re
from functools import partial
from types import SimpleNamespace

import pytest
from gradio.route_utils import upload_fn
from starlette.applications import Starlette
from starlette.formparsers import MultiPartException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from app.access import MAX_EVENT, EventReader, host_name, is_loopback
from app.middleware import (
    FREE_BYTES,
    BodyLimit,
    FailureLog,
    HostCheck,
    PageCheck,
    PagePolicy,
    PublicEvents,
    ResponseHeaders,
    SignInCheck,
    UploadLimit,
    installed,
)

SCRIPT = "window.gradio_config = {};"
PAGE = f"<html><script>{SCRIPT}</script><script type='module' src='./a.js'></script></html>"


def client(hosts: frozenset[str] | None = frozenset(), ancestors: tuple[str, ...] = ()) -> TestClient:
    """An app whose every answer allows all origins, as gradio's does for hosts that aren't this machine."""

    async def answer(request: Request) -> Response:
        return PlainTextResponse("read", headers={"Access-Control-Allow-Origin": "*"})

    async def page(request: Request) -> Response:
        return HTMLResponse(PAGE)

    async def download(request: Request) -> Response:
        return HTMLResponse(PAGE, headers={"Content-Disposition": "attachment"})

    methods = ["GET", "POST", "OPTIONS"]
    routes = [Route("/", page), Route("/file", download), Route("/{rest:path}", answer, methods=methods)]
    wrappers = [lambda app: HostCheck(app, hosts), ResponseHeaders]
    inner = [Middleware(PagePolicy, ancestors=ancestors)]
    return TestClient(Starlette(routes=routes, middleware=inner, lifespan=installed(wrappers)), "http://127.0.0.1:7860")


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:9000", "[::1]:7860", "LOCALHOST.", "127.8.9.1"])
def test_a_local_studio_answers_under_the_names_of_this_machine(host):
    with client() as studio:
        assert studio.get("/x", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example:7860", "127.0.0.1.evil.example", "localhost.evil.example", "", "[::"])
def test_a_page_whose_name_was_rebound_to_this_machine_gets_403_without_cors(host):
    with client() as studio:
        for path in ("/", "/x", "/gradio_api/queue/join"):
            answer = studio.get(path, headers={"Host": host, "Origin": f"http://{host}"})
            assert answer.status_code == 403
            assert not [name for name in answer.headers if name.startswith("access-control")]


def test_names_of_a_proxy_are_served_where_they_were_given():
    with client(frozenset({"vis.example.org"})) as studio:
        assert studio.get("/x", headers={"Host": "vis.example.org"}).status_code == 200
        assert studio.get("/x", headers={"Host": "other.example.org"}).status_code == 403
    with client(None) as studio:
        assert studio.get("/x", headers={"Host": "anything.example"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8000"},
        {"Origin": "http://127.0.0.1:7860.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_uploads_and_events_of_another_sites_page_are_refused(headers):
    with client(None) as studio:
        for path in ("/gradio_api/upload", "/gradio_api/queue/join"):
            answer = studio.post(path, headers=headers)
            assert (answer.status_code, answer.text) == (403, "This request comes from a page of another site.")
        preflight = studio.options("/gradio_api/upload", headers=headers | {"Access-Control-Request-Method": "POST"})
        assert preflight.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},  # curl, gradio's client
        {"Origin": "http://127.0.0.1:7860", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://vis.example.org", "X-Forwarded-Host": "vis.example.org"},
    ],
)
def test_the_studios_own_page_and_programs_may_post(headers):
    with client(frozenset({"vis.example.org"})) as studio:
        assert studio.post("/gradio_api/upload", headers=headers).status_code == 200


def test_another_sites_picture_signs_nobody_out():
    with client(None) as studio:
        assert studio.get("/logout", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert studio.get("/logout", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_no_answer_allows_other_origins_to_read_it():
    with client(None) as studio:
        answer = studio.get("/x", headers={"Origin": "https://evil.example"})
        assert answer.text == "read" and not [name for name in answer.headers if name.startswith("access-control")]


def test_only_scripts_that_the_server_wrote_run_in_the_page():
    with client(ancestors=("https://huggingface.co",)) as studio:
        policy = studio.get("/").headers["content-security-policy"]
    scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert scripts == f"script-src 'self' 'unsafe-eval' 'sha256-{digest}'"
    assert "frame-ancestors 'self' https://huggingface.co" in policy and "object-src 'none'" in policy


def test_what_is_no_page_runs_nothing_and_keeps_its_type():
    with client() as studio:
        for path in ("/file", "/x"):
            headers = studio.get(path).headers
            assert (
                "sandbox" in headers["content-security-policy"] and "script" not in headers["content-security-policy"]
            )
            assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("mark", ["%0A", "%00", "%7F", "%C2%85"])
def test_paths_with_control_characters_are_refused(mark):
    with client(None) as studio:
        assert studio.post(f"/gradio_api/run/predict{mark}").status_code == 400
        assert studio.get(f"/x{mark}y").status_code == 400


@pytest.mark.parametrize("host", ["evil.com@127.0.0.1", "127.0.0.1#evil.com", "127.0.0.1/evil.com", "a b"])
@pytest.mark.parametrize("hosts", [frozenset(), None])
def test_a_host_of_other_characters_is_refused(host, hosts):
    with client(hosts) as studio:
        assert studio.get("/x", headers={"Host": host}).status_code == 400


def forwarded(trust: bool, **headers: str) -> dict[str, str]:
    """What of these headers reaches the app behind HostCheck, for one name of a proxy."""

    async def answer(request: Request) -> Response:
        return JSONResponse({name: value for name, value in request.headers.items() if name.startswith("x-")})

    wrap = [lambda app: HostCheck(app, frozenset({"vis.example.org"}), trust)]
    app = Starlette(routes=[Route("/x", answer)], lifespan=installed(wrap))
    with TestClient(app, "http://127.0.0.1:7860") as studio:
        return studio.get("/x", headers={name.replace("_", "-"): value for name, value in headers.items()}).json()


def test_other_addresses_of_the_studio_are_not_taken_from_clients():
    evil = {"x-forwarded-host": "evil.example", "x-gradio-server": "http://evil.example"}
    assert forwarded(False, **evil) == {}
    assert forwarded(False, **{"x-forwarded-host": "vis.example.org, evil.example"}) == {}
    assert forwarded(True, **evil) == evil
    for name in ("vis.example.org", "127.0.0.1:7860"):
        assert forwarded(False, **{"x-forwarded-host": name}) == {"x-forwarded-host": name}


def test_a_part_of_a_file_has_no_header_of_its_request():
    async def part(request: Request) -> Response:  # as gradio's
        return Response("part", 206, {**request.headers, "Content-Range": "bytes 0-3/9"}, "text/plain")

    path = "/gradio_api/file=/a"
    app = Starlette(routes=[Route(path, part)], lifespan=installed([ResponseHeaders]))
    sent = {"Cookie": "secret=1", "Authorization": "secret", "X-Content-Type-Options": "sniff", "X-Any": "1"}
    with TestClient(app) as studio:
        answer = studio.get(path, headers=sent | {"Content-Security-Policy": "none", "Referrer-Policy": "unsafe-url"})
    assert answer.headers["content-range"] == "bytes 0-3/9" and answer.headers["x-content-type-options"] == "nosniff"
    assert not {"cookie", "authorization", "host", "x-any"} & set(answer.headers) and "secret" not in str(
        answer.headers
    )
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "same-origin"


def test_headers_of_the_app_do_not_replace_the_studios():
    async def answer(request: Request) -> Response:
        return PlainTextResponse("", headers={"X-Content-Type-Options": "x", "Content-Security-Policy": "x"})

    app = Starlette(routes=[Route("/x", answer)], lifespan=installed([ResponseHeaders]))
    with TestClient(app) as studio:
        headers = studio.get("/x").headers
    assert headers["x-content-type-options"] == "nosniff" and "sandbox" in headers["content-security-policy"]


def test_names_are_read_from_addresses():
    assert [host_name(text) for text in ("a:1", "[::1]:2", "http://B.c/d", "", "[::")] == ["a", "::1", "b.c", "", ""]
    assert is_loopback("localhost") and is_loopback("::1") and not is_loopback("0.0.0.0") and not is_loopback("a.b")


# --- sessions of pages

EVENTS = PublicEvents(frozenset({7}), frozenset({"segment"}), frozenset({3, 7}))
JOIN = "/gradio_api/queue/join"


def paged(embedded: bool = False, largest: int = MAX_EVENT) -> TestClient:
    """An app behind PageCheck that returns what it was sent."""

    async def echo(request: Request) -> Response:
        return Response(await request.body())

    async def page(request: Request) -> Response:
        return HTMLResponse(PAGE)

    async def range_(request: Request) -> Response:
        return PlainTextResponse(request.headers.get("range", "none"))

    routes = [Route("/", page), Route("/range", range_), Route("/{rest:path}", echo, methods=["GET", "POST"])]
    scheme = "https" if embedded else "http"
    wrap = [lambda app: PageCheck(app, EVENTS, embedded, EventReader(largest))]
    return TestClient(Starlette(routes=routes, lifespan=installed(wrap)), f"{scheme}://127.0.0.1")


@pytest.mark.parametrize("path", [JOIN, "/gradio_api/run/x", "/gradio_api/api/x", "/gradio_api/call/x"])
def test_private_events_refuse_callers_that_have_not_loaded_the_page(path):
    body = {"fn_index": 3, "session_hash": "abc", "data": [None]}
    with paged() as studio:
        assert studio.post(path, json=body).status_code == 403
        studio.cookies.set("tevit-page-00000000", "forged.mark")
        assert studio.post(path, json=body).status_code == 403
        studio.get("/")
        answer = studio.post(path, json=body)
        assert answer.status_code == 200 and answer.json() == body


def test_a_lines_end_in_the_path_does_not_open_private_events():
    with paged() as studio:
        answer = studio.post("/gradio_api/run/predict%0A", json={"fn_index": 3, "data": []})
        assert answer.status_code == 403


def test_a_forged_or_changed_cookie_is_none():
    with paged() as studio:
        studio.get("/")
        name, value = next(iter(studio.cookies.items()))
        studio.cookies.clear()
        studio.cookies.set(name, f"x{value}")
        assert studio.post(JOIN, json={"fn_index": 3, "session_hash": "a"}).status_code == 403


def test_programs_call_the_endpoints_without_the_page():
    with paged() as studio:
        assert studio.post(JOIN, json={"fn_index": 7, "session_hash": "abc"}).status_code == 200
        assert studio.post("/gradio_api/call/segment", json={"data": []}).status_code == 200
        assert studio.post("/gradio_api/call/v2/segment", json={"data": []}).status_code == 200
        assert studio.post("/gradio_api/call/load", json={"data": []}).status_code == 403
        assert studio.post("/gradio_api/call/segment", json={"fn_index": 3}).status_code == 403
        assert studio.post("/gradio_api/reset", json={"fn_index": 7, "event_id": "1"}).status_code == 200


def test_a_session_is_the_browsers_that_used_it_first():
    with paged() as studio:
        studio.get("/")
        assert studio.post(JOIN, json={"fn_index": 3, "session_hash": "mine"}).status_code == 200
        own = dict(studio.cookies)
        studio.cookies.clear()
        studio.get("/")
        for answer in (
            studio.post(JOIN, json={"fn_index": 3, "session_hash": "mine"}),
            studio.get("/gradio_api/queue/data", params={"session_hash": "mine"}),
            studio.get("/gradio_api/heartbeat/mine"),
            studio.post("/gradio_api/cancel", json={"fn_index": 3, "session_hash": "mine", "event_id": "1"}),
        ):
            assert (answer.status_code, answer.text) == (403, "This session is another page's.")
        studio.cookies.clear()
        studio.cookies.update(own)
        assert studio.get("/gradio_api/queue/data", params={"session_hash": "mine"}).status_code == 200


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"[]", 422),
        (b"{", 422),
        (b"\xff", 422),
        (b'{"fn_index": "3"}', 422),
        (b'{"fn_index": 99999}', 404),
        (b'{"fn_index": 3, "session_hash": 5}', 422),
        (b'{"data":' * 50_000, 422),
        (b'{"session_hash": "\xff"}', 422),
        (b'{"fn_index": 3, "data": [' + b"0," * 200_001 + b"0]}", 413),
    ],
)
def test_malformed_events_are_refused_with_a_sentence(content, status):
    with paged() as studio:
        studio.get("/")
        answer = studio.post(JOIN, content=content)
        assert answer.status_code == status and answer.text.endswith(".") and "Traceback" not in answer.text


def test_addresses_of_gradio_that_the_studio_does_not_use_are_closed():
    with paged() as studio:
        studio.get("/")
        assert studio.get("/pwa_icon/512").status_code == 200
        for path in (
            "pwa_icon/30000",
            "pwa_icon/0512",
            "pwa_icon/+192",
            "pwa_icon/512%0A",
            "pwa_icon//8000",
            "pwa_icon/8000/",
            "gradio_api/file=http://a/b",
            "gradio_api/file=%20http://a/b",
            "gradio_api/file/http://1.1.1.1/",
            "gradio_api/file//tmp/a",
            "gradio_api/file=/tmp/a.mp4",
            f"gradio_api/file=/tmp/{'a' * 64}",
            f"gradio_api/file=/tmp/{'a' * 64}/b/c.mp4",
            "gradio_api/proxy=a%0Ab",
            "gradio_api/vibe-code",
            "gradio_api/deep_link",
            "gradio_api/proxy=http://a",
            "monitoring/summary",
        ):
            assert studio.get(f"/{path}").status_code == 404
        for folder in ("a" * 64, f"runs/{'a' * 32}"):
            assert studio.get(f"/gradio_api/file=/tmp/{folder}/a.mp4").status_code == 200
        assert studio.get("/gradio_api/queue/data?" + "&".join("a=1" for _ in range(60))).status_code == 403


def test_the_cookie_is_for_this_site_unless_the_page_is_shown_in_a_frame():
    with paged() as studio:
        assert studio.get("/").headers["set-cookie"].endswith("; Path=/; HttpOnly; SameSite=Lax")
        assert "set-cookie" not in studio.get("/").headers  # the browser has it
    with paged(embedded=True) as studio:
        assert studio.get("/").headers["set-cookie"].endswith("HttpOnly; SameSite=None; Secure; Partitioned")


def test_an_event_that_is_too_long_is_refused():
    with paged(largest=100) as studio:
        studio.get("/")
        answer = studio.post(JOIN, json={"fn_index": 3, "data": ["a" * 100]})
        assert (answer.status_code, answer.text) == (413, "Expected an event of at most 100 bytes.")


def test_only_simple_ranges_reach_the_app():
    """Several would be an error of gradio's."""
    with paged() as studio:
        for range_ in ("bytes=0-5", "bytes=7-", "bytes=-3"):
            assert studio.get("/range", headers={"Range": range_}).text == range_
        for range_ in ("bytes=0-1,3-4", "bytes=1-2-3", "bytes=x", "items=0-1", "bytes=-", f"bytes={'9' * 5000}-"):
            assert studio.get("/range", headers={"Range": range_}).text == "none"


def test_content_that_nothing_else_limits_states_its_length_and_is_short():
    async def answer(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    routes = [Route("/{rest:path}", answer, methods=["POST"])]
    with TestClient(Starlette(routes=routes, lifespan=installed([BodyLimit]))) as studio:
        assert studio.post("/login", content=b"a" * 1_000_000).text == "1000000"
        long = studio.post("/login", content=b"a" * 1_000_001)
        assert (long.status_code, long.text) == (413, "Expected content of at most 1,000,000 bytes.")
        assert studio.post("/login", content=b"", headers={"Content-Length": "9" * 5000}).status_code == 413
        assert studio.post("/login", content=iter([b"a"])).status_code == 411
        for path in ("/gradio_api/upload", "/studio/review/x/propose"):
            assert studio.post(path, content=iter([b"a" * 2_000_000])).text == "2000000"


# --- uploads


@pytest.fixture
def uploads(monkeypatch, tmp_path):
    """Gradio's own upload behind UploadLimit, of at most 2,000 bytes besides what forms add."""

    async def upload(request: Request) -> Response:
        try:
            files, *_ = await upload_fn(request, tmp_path, math.inf, None)
        except MultiPartException as error:
            return PlainTextResponse(error.message, 413 if "maximum allowed size" in error.message else 400)
        return JSONResponse([str(file) for file in files])

    monkeypatch.setenv("TEVIT_LIMITS", "upload_bytes=2000")
    monkeypatch.setattr("app.middleware.FORM_BYTES", 500)
    routes = [Route("/gradio_api/upload", upload, methods=["POST"])]
    with TestClient(Starlette(routes=routes, lifespan=installed([partial(UploadLimit, folder=tmp_path)]))) as studio:
        yield studio


def test_uploads_beyond_the_limit_are_refused_by_what_they_state(uploads):
    assert uploads.post("/gradio_api/upload", files={"files": b"a" * 1500}).status_code == 200
    answer = uploads.post("/gradio_api/upload", files={"files": b"a" * 3000})
    assert answer.status_code == 413
    assert answer.text == "The upload exceeds the maximum allowed size of 2,000 bytes (upload_bytes)."
    assert uploads.post("/gradio_api/upload", headers={"Content-Length": "9" * 5000}).status_code == 413


def test_uploads_leave_room_on_the_disk_for_what_others_write(uploads, tmp_path, monkeypatch):
    free = [FREE_BYTES + 1000]
    monkeypatch.setattr("app.middleware.shutil.disk_usage", lambda folder: SimpleNamespace(free=free[0]))
    assert uploads.post("/gradio_api/upload", files={"files": b"a" * 900}).status_code == 200
    assert uploads.post("/gradio_api/upload", files={"files": b"a" * 1600}).status_code == 413
    free[0] = FREE_BYTES - 5
    answer = uploads.post("/gradio_api/upload", files={"files": b"a" * 900})
    assert answer.status_code == 413
    assert answer.text == "The disk has room for uploads of a maximum allowed size of 0 bytes at the moment."


def test_uploads_that_send_more_than_the_limit_leave_no_file(uploads, tmp_path):
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%d"\r\n\r\n' + b"a" * 900 + b"\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = uploads.post(
        "/gradio_api/upload", content=(part % n for n in range(9)), headers=headers
    )  # in parts, whose length is not stated
    assert answer.status_code == 413 and "2,000 bytes" in answer.text
    assert not list(tmp_path.iterdir())


def test_uploads_that_end_early_leave_no_file(uploads, tmp_path):
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n' + b"a" * 900
    messages = iter([{"type": "http.request", "body": part, "more_body": True}, {"type": "http.disconnect"}])
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"multipart/form-data; boundary=b")]
    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "query_string": b"", "headers": headers}
    scope |= {"root_path": "", "scheme": "http", "client": ("a", 1), "server": ("a", 1), "http_version": "1.1"}

    async def receive() -> dict:
        return next(messages)

    async def send(message: dict) -> None:
        sent.append(message)

    sent: list[dict] = []
    uploads.portal.call(uploads.app, scope, receive, send)
    assert not list(tmp_path.iterdir()) and sent[0]["status"] == 400


# --- sign-in, failures


def test_without_a_sign_in_only_the_page_that_signs_in_is_served():
    async def answer(request: Request) -> Response:
        return PlainTextResponse("read")

    app = Starlette(routes=[Route("/{rest:path}", answer, methods=["GET", "POST"])], lifespan=installed([SignInCheck]))
    vars(app).update(cookie_id="id", tokens={"t0ken": "ann"})  # as gradio's app has them
    with TestClient(app) as studio:
        for path in ("/", "/login", "/assets/a.js", "/theme.css"):
            assert studio.get(path).status_code == 200
        closed = ("/config", "/studio/shows/x/video/x.mp4", "/gradio_api/heartbeat/x", "/studio/page/page.js")
        for path in closed:
            answer_ = studio.get(path)
            assert (answer_.status_code, answer_.text) == (401, "Sign in first.")
        studio.cookies.set("access-token-unsecure-id", "wrong")
        assert studio.get("/config").status_code == 401
        studio.cookies.set("access-token-unsecure-id", "t0ken")
        assert all(studio.get(path).status_code == 200 for path in closed)


def test_a_failure_is_one_line_in_the_log_and_a_sentence(caplog):
    async def fail(request: Request) -> Response:
        raise KeyError("/home/somebody/secret")

    caplog.set_level(logging.INFO)
    routes = [Route("/x", fail), Route("/gradio_api/file=/home/somebody/a.mp4", fail)]
    with TestClient(Starlette(routes=routes, lifespan=installed([FailureLog]))) as studio:
        answer = studio.get("/x")
        studio.get("/gradio_api/file=/home/somebody/a.mp4", headers={"Range": "bytes=1-2-3"})
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    lines = [line.getMessage() for line in caplog.records if line.levelno >= logging.ERROR]
    assert len(lines) == 2 and lines[1].startswith("GET '/gradio_api/file=…': KeyError at")
    assert re.fullmatch(r"GET '/x': KeyError at .* > test_middleware\.py:\d+ fail", lines[0])
    assert "somebody" not in str(lines) and "Traceback" not in caplog.text
