"""Every route of the studio, with bodies, queries and parts of paths that nobody sends by mistake: no answer of status
500 or above, and one sentence, or gradio's own JSON, where a request is refused."""

import json
import re
from collections.abc import Iterator
from itertools import product
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import gradio as gr
import httpx
import pytest
from gradio.routes import App
from starlette.routing import Route

from app.player import component as player_routes
from app.player.component import ViewRegistry
from app.tabs.errors import views as errors_views
from app.tabs.review import segmentation as review_routes
from tests.browser.servers import start_studio
from tests.hostile.mutations import WRONG, encoded

JSON = "application/json"
FORM = "multipart/form-data; boundary=x"
BODIES: list[tuple[bytes, str]] = [
    (b"", JSON), (b"{", JSON), (b"null", JSON), (b"5", JSON), (b'"x"', JSON), (b"[]", JSON), (b"{}", JSON),
    (b"\xff\xfe", JSON), (b"[" * 50_000, JSON), (b'{"a":' * 5_000, JSON), (b'{"data": 1' + b"0" * 5_000 + b"}", JSON),
    (b"", FORM), (b"--x\r\n\r\n--x--", FORM), (b"\x00" * 100, FORM), (b"--x\r\nContent-Disposition: form-data", FORM),
    (b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\na\r\n--x--', FORM),
    (b"a=%ff&b", "application/x-www-form-urlencoded"), (b"x", "text/plain"), (b"x", "a/b; charset=\xc3"),
]  # fmt: skip
PARTS = ("x", "segment", "0", "-1", "9" * 400, "%00", "%0a", "..%2f..%2fetc%2fpasswd", "\u2028", "%ff", "a" * 3000)
QUERIES = ("", "?session_hash=x", "?session_hash=%ff&a=%00", "?x[]=1&" + "a=1&" * 200, "?%")
SENTENCE = re.compile(r"[^\n]{1,400}")


def routes() -> list[tuple[str, str]]:
    """Method and path of all routes: gradio's and the studio's."""
    anything: Any = SimpleNamespace()
    routers: list[Any] = [App.create_app(gr.Blocks())]
    for router in routers:
        routers += [it.original_router for it in router.routes if hasattr(it, "original_router")]
    listed: list[Any] = [route for router in routers for route in router.routes]
    listed += player_routes.routes(ViewRegistry())
    listed += [*errors_views.routes(anything), *review_routes.routes(anything, anything)]
    return sorted({(method, it.path) for it in listed if isinstance(it, Route) for method in it.methods or ()})


def filled(path: str, part: str) -> str:
    return re.sub(r"\{[^}]*\}", part if "%" in part else quote(part), path)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("public")
    limits = ("--uploads-per-minute", "0", "--calls-per-minute", "0", "--queue", "100000")
    with start_studio("--public", *limits, "--queue-per-visitor", "100000", home=folder / "home") as (url, _):
        yield url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    """A browser that has loaded the page."""
    with httpx.Client(base_url=url, timeout=20) as opened:
        opened.get("/")
        yield opened


def fault(client: httpx.Client, method: str, path: str, **request: Any) -> str:
    """What is wrong with the answer, of which only a refusal is read to its end; "" for nothing."""
    with client.stream(method, path, **request) as answer:
        text = "" if answer.status_code < 400 else answer.read().decode()
    if answer.status_code >= 500:
        return f"{answer.status_code} {text[:300]}"
    if "Traceback" in text or "site-packages" in text or "object at 0x" in text:
        return text[:300]
    if answer.status_code >= 400 and method != "HEAD" and not SENTENCE.fullmatch(text) and not text.startswith("{"):
        return f"no sentence: {text[:300]}"
    return ""


def test_all_routes_are_listed():
    paths = {path for _, path in routes()}
    assert {"/gradio_api/call/v2/{api_name}", "/studio/shows/{token}/video/{name}", "/gradio_api/upload"} <= paths
    assert len(paths) > 60


def test_no_route_fails_for_a_part_of_its_path_or_its_query(client: httpx.Client):
    faults = []
    for (method, path), part in product(routes(), PARTS):
        if "{" in path or part == PARTS[0]:
            address = filled(path, part)
            faults += [f"{method} {address[:80]}: {text}" for text in [fault(client, method, address)] if text]
    for (method, path), query in product(routes(), QUERIES[1:]):
        address = filled(path, "x") + query
        faults += [f"{method} {address[:80]}: {text}" for text in [fault(client, method, address)] if text]
    assert faults == []


def test_no_route_fails_for_a_body(client: httpx.Client):
    faults = []
    for (method, path), (body, kind) in product(routes(), BODIES):
        if method in ("POST", "PUT", "DELETE", "PATCH"):
            address = filled(path, "segment")
            text = fault(client, method, address, content=body, headers={b"Content-Type": kind.encode("latin-1")})
            faults += [f"{method} {address} {body[:30]!r} {kind}: {text}"] if text else []
    assert faults == []


ENDPOINTS = {
    "segment": {"video": None, "model": "tevit_demo", "score_threshold": 0.5, "max_tracks": 3},
    "evaluate": {"gt": None, "results": None, "map_classes": ""},
}


def bodies(name: str) -> Iterator[tuple[str, Any]]:
    """Paths and JSON bodies of an endpoint with each value of the wrong type, and with too few and too many."""
    valid = ENDPOINTS[name]
    for place, (field, wrong) in enumerate(product(valid, WRONG)):
        named = valid | {field: wrong}
        path = ("call", "run", "api", "call/v2")[place % 4]
        yield f"/gradio_api/{path}/{name}", named if path == "call/v2" else {"data": list(named.values())}
    for wrong in WRONG:
        yield f"/gradio_api/run/{name}", {"data": wrong}
        yield f"/gradio_api/run/{name}", {"data": list(valid.values()), "event_data": wrong, "session_hash": wrong}
        yield f"/gradio_api/call/v2/{name}", {"unknown": wrong}
    yield f"/gradio_api/run/{name}", {"data": [None] * 100}
    yield "/gradio_api/call/v2/unknown", valid


@pytest.mark.parametrize("name", ENDPOINTS)
def test_no_endpoint_fails_for_its_arguments(client: httpx.Client, name: str):
    faults = []
    for path, body in bodies(name):
        text = fault(client, "POST", path, content=encoded(body), headers={"Content-Type": JSON})
        faults += [f"{path} {json.dumps(body)[:150]}: {text}"] if text else []
    assert faults == []


def test_events_of_a_public_studio_are_small(client: httpx.Client):
    answer = client.post("/gradio_api/queue/join", json={"fn_index": 0, "data": ["x" * 2_000_000]})
    assert (answer.status_code, answer.text) == (413, "Expected an event of at most 2,000,000 bytes.")
