import base64
import hashlib

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from app.access import host_name, is_loopback
from app.middleware import HostCheck, PagePolicy, ResponseHeaders, installed

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
    with client() as studio:
        assert studio.post("/gradio_api/upload", headers=headers).status_code == 200


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


def test_names_are_read_from_addresses():
    assert [host_name(text) for text in ("a:1", "[::1]:2", "http://B.c/d", "", "[::")] == ["a", "::1", "b.c", "", ""]
    assert is_loopback("localhost") and is_loopback("::1") and not is_loopback("0.0.0.0") and not is_loopback("a.b")
