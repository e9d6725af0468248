"""A studio for others: signing in, whose decision it is, what a public one leaves to those who run it; its end."""

import importlib
import json
import threading
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit

import gradio.oauth
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.servers import PATIENCE, ROOT, start_studio
from tests.browser.test_datasets import open_panel
from tests.browser.test_review import free_port
from tests.processes import run_python

pytestmark = pytest.mark.browser
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A studio for ann, an admin, and bob."""
    folder = tmp_path_factory.mktemp("private")
    for name, *options in (("ann", "--admin"), ("bob",)):
        command = ("-m", "app", "--auth", folder / "accounts", "--add-user", name, *options)
        done = run_python(*command, folder=folder, stdin=f"{PASSWORD}\n".encode())
        assert (done.returncode, done.stderr) == (0, "") and PASSWORD not in done.stdout
    with start_studio("--auth", folder / "accounts", home=folder / "home") as (url, _):
        yield url


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A studio for everybody; its standard error."""
    folder = tmp_path_factory.mktemp("public")
    with start_studio("--public", home=folder / "home", errors=folder / "errors") as (url, _):
        yield url, folder / "errors"


def asked(
    opener: urllib.request.OpenerDirector, url: str, data: bytes | None = None, **headers: str
) -> tuple[int, str]:
    """Status and body of an answer."""
    request = urllib.request.Request(url, data, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with opener.open(request, timeout=120) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_nothing_is_served_without_signing_in(private: str):
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    status, page = asked(opener, private)
    assert status == 200 and "Annotated" not in page and '"auth_required":true' in page.replace(" ", "")
    for path in ("config", "gradio_api/info", "studio/page/page.js", "gradio_api/heartbeat/x", "studio/segmenter"):
        assert asked(opener, private + path) == (401, "Sign in first.")
    wrong = urlencode({"username": "bob", "password": "wrong password"}).encode()
    assert asked(opener, f"{private}login", wrong)[0] == 400
    right = urlencode({"username": "bob", "password": PASSWORD}).encode()
    assert asked(opener, f"{private}login", right)[0] == 200
    assert asked(opener, f"{private}studio/page/page.js")[0] == 200


def test_who_signs_out_has_signed_out_everywhere(private: str, browser: Browser):
    """By the link in the page's head, on the device where it is pressed and on the others."""
    contexts = [browser.new_context() for _ in range(2)]
    page, other = (context.new_page() for context in contexts)
    for each in (page, other):
        each.goto(private)
        each.get_by_label("username").fill("bob")
        each.get_by_label("password").fill(PASSWORD)
        each.get_by_role("button", name="Login").click()
        expect(each.get_by_role("tab", name="Segment")).to_be_visible()
    page.get_by_role("tab", name="Review").click()
    expect(page.get_by_label("Reviewer")).to_have_value("bob", timeout=60_000)
    event = next(fn["id"] for fn in other.request.get(f"{private}config").json()["dependencies"] if fn["backend_fn"])
    join, body = f"{private}gradio_api/queue/join", {"fn_index": event, "data": [], "session_hash": "of the test"}
    assert other.request.post(join, data=body).status == 200
    page.get_by_role("link", name="Sign out").click()
    expect(page.get_by_role("button", name="Login")).to_be_visible()
    for each in (page, other):
        refused = each.request.post(join, data=body)
        assert (refused.status, refused.text()) == (401, "Sign in first.")
    other.reload()
    expect(other.get_by_role("button", name="Login")).to_be_visible()
    for context in contexts:
        context.close()


def test_the_page_of_a_public_studio_leaves_things_to_those_who_run_it(public: tuple[str, Path], browser: Browser):
    page = browser.new_context().new_page()
    page.goto(public[0])
    page.get_by_role("tab", name="Review").click()
    expect(page.locator(".prompt-where")).to_contain_text(" of ", timeout=60_000)
    page.get_by_label("Reviewer").fill("anna")
    page.keyboard.press("Escape")
    page.locator(".prompt-answers button").first.click()
    page.get_by_role("button", name="Save decision").click()
    expect(page.locator("#review-prompt").get_by_role("status")).to_contain_text("can be looked at, not changed")
    open_panel(page)
    expect(page.locator("#datasets-open")).to_contain_text("shapes")
    expect(page.get_by_role("button", name="Open", exact=True)).to_be_hidden()
    page.get_by_role("button", name="Predict all videos").click()
    expect(page.get_by_text("predicting a whole data set is left to those who run it").first).to_be_visible()
    page.context.close()


def test_no_address_that_a_visitor_sends_is_fetched(public: tuple[str, Path]):
    received: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            received.append(self.path)
            self.send_error(404)

    with HTTPServer(("127.0.0.1", 0), Listener) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{listener.server_port}/clip.mp4"
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        for file in ({"path": address}, {"url": address, "path": "clip.mp4"}, {"url": address}):
            data = json.dumps({"data": [file | {"meta": {"_type": "gradio.FileData"}}, "motion", 0, 5]}).encode()
            status, _ = asked(opener, f"{public[0]}gradio_api/run/segment", data, Content_Type="application/json")
            assert status >= 400
        asked(opener, f"{public[0]}gradio_api/file={address}")
        listener.shutdown()
    assert received == []


def test_refused_input_leaves_no_path_and_no_traceback(public: tuple[str, Path]):
    url, errors = public
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    asked(opener, url)
    json_type = {"Content_Type": "application/json"}
    join, answers, made_up = f"{url}gradio_api/queue/join", [], []
    for index in (10**6, -1):
        answers.append(asked(opener, join, json.dumps({"fn_index": index, "session_hash": "a"}).encode(), **json_type))
    answers += [asked(opener, f"{url}gradio_api/file=/etc/passwd"), asked(opener, f"{url}gradio_api/file=../../x")]
    answers += [asked(opener, f"{url}gradio_api/upload", b"x", Content_Type="multipart/form-data; boundary=x")]
    answers += [asked(opener, f"{url}gradio_api/run/segment", b'{"data": [null]}', **json_type)]
    answers += [asked(opener, f"{url}gradio_api/run/segment", b'{"data": 5}', **json_type)]
    logged = errors.read_text()
    events = {d["id"]: d for d in json.loads(asked(opener, f"{url}config")[1])["dependencies"] if d["backend_fn"]}
    values = (None, "<img src=x>", {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, [[{}]])
    for id, event in events.items():
        body = {"fn_index": id, "session_hash": "a", "event_data": {"do": []}}
        body["data"] = [values[(id + place) % len(values)] for place in range(len(event["inputs"]))]
        made_up.append(asked(opener, f"{url}gradio_api/run/x", json.dumps(body).encode(), **json_type))
    assert all(400 <= status < 600 for status, _ in answers), answers
    for text in (*(body for _, body in [*answers, *made_up]), logged):
        assert "Traceback" not in text and "site-packages" not in text and "object at 0x" not in text
        assert str(ROOT) not in text and str(errors.parent) not in text
    assert "gradio/routes.py" not in errors.read_text()  # its tracebacks; a task of the studio's may log its own


FAKE_AUTHLIB = '''"""Authlib as far as gradio uses it: everybody who comes to the hub is carl."""
import time
from starlette.responses import RedirectResponse


class MismatchingStateError(Exception):
    pass


class Provider:
    async def authorize_redirect(self, request, address):
        return RedirectResponse(str(request.url.replace(path="/login/callback", query="_target_url=/")))

    async def authorize_access_token(self, request):
        person = {"preferred_username": "carl", "name": "Carl", "profile": "", "picture": ""}
        return {"userinfo": person, "access_token": "t", "scope": "", "expires_at": time.time() + 600}


class OAuth:
    def register(self, name, **options):
        setattr(self, name, Provider())
'''

FAKE_ITSDANGEROUS = '''"""Itsdangerous as far as starlette uses it, without a signature."""


class BadSignature(Exception):
    pass


class TimestampSigner:
    def __init__(self, secret):
        pass

    def sign(self, data):
        return data

    def unsign(self, data, max_age):
        return data
'''


def read_variables() -> None:
    """Gradio's sign-in takes them when it is imported, which it is before the fork."""
    importlib.reload(gradio.oauth)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A studio that is started as a Space with sign-in; provider and signatures are fakes, for want of the packages."""
    folder = tmp_path_factory.mktemp("space")
    for name in ("integrations.base_client.errors", "integrations.starlette_client"):
        module = folder / "authlib" / f"{name.replace('.', '/')}.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(FAKE_AUTHLIB)
        for package in (folder / "authlib", folder / "authlib" / "integrations", module.parent):
            (package / "__init__.py").touch()
    (folder / "itsdangerous").mkdir()
    for name in ("__init__", "exc"):
        (folder / "itsdangerous" / f"{name}.py").write_text(FAKE_ITSDANGEROUS)
    variables = {"SPACE_ID": "carl/studio", "SPACE_AUTHOR_NAME": "carl", "SYSTEM": "spaces", "PYTHONPATH": str(folder)}
    variables |= {"OAUTH_CLIENT_ID": "a", "OAUTH_CLIENT_SECRET": "b", "OAUTH_SCOPES": "openid"}
    variables |= {"OPENID_PROVIDER_URL": "http://127.0.0.1:9"}
    options = ("--host", "127.0.0.1", "--port", str(free_port()))
    with start_studio(*options, home=folder / "home", variables=variables, before=read_variables) as (url, _):
        yield url


def test_who_signs_in_on_a_space_decides_in_that_name(space: str, browser: Browser):
    page = browser.new_context().new_page()

    def open_review() -> None:
        page.get_by_role("tab", name="Review").click()
        expect(page.locator(".prompt-where")).to_contain_text(" of ", timeout=60_000)

    # Chromium keeps Secure cookies of localhost, as it would of the Space's own address.
    page.goto(space.replace("127.0.0.1", "localhost"))
    open_review()
    page.get_by_label("Reviewer").fill("somebody")
    page.keyboard.press("Escape")
    page.locator(".prompt-answers button").first.click()
    page.get_by_role("button", name="Save decision").click()
    status = page.locator("#review-prompt").get_by_role("status")
    expect(status).to_contain_text("This studio is public: sign in to decide")
    page.get_by_role("button", name="Sign in with Hugging Face").click()
    expect(page.get_by_role("button", name="Logout (carl)")).to_be_visible()
    open_review()
    expect(page.get_by_label("Reviewer")).to_have_value("carl")
    page.locator(".prompt-answers button").first.click()
    page.get_by_role("button", name="Save decision").click()
    expect(status).to_contain_text("saved")
    page.context.close()


def test_a_page_says_that_the_studio_has_stopped_and_is_loaded_anew_when_it_runs_again(
    browser: Browser, tmp_path: Path
):
    (model := tmp_path / "fast.pth").touch()
    page = browser.new_page()
    page.clock.install()
    with start_studio("--checkpoint", model, home=tmp_path / "home") as (url, process):
        page.goto(url)
        expect(page.get_by_label("Model")).to_have_value("fast.pth")
        bar, title = page.locator("#stopped"), page.get_by_role("heading", name="TeViT Studio")
        expect(bar).to_be_attached()  # the studio is watched from now on
        with page.expect_event("requestfinished", lambda request: request.url.endswith("/app_id")):
            page.clock.fast_forward(5000)
        expect(bar).to_be_hidden()
        process.kill()
        process.wait()
        page.clock.fast_forward(5000)
        expect(bar).to_be_visible()
        expect(bar).to_contain_text("The studio has stopped")
        above, below = bar.bounding_box(), title.bounding_box()
        assert above and below and above["y"] + above["height"] <= below["y"]  # nothing is covered
    port = urlsplit(url).port
    with start_studio("--checkpoint", model, "--port", port, home=tmp_path / "home"):
        with page.expect_event("load", timeout=2000 * PATIENCE):
            page.clock.fast_forward(5000)
        expect(bar).to_be_hidden()
        expect(page.get_by_label("Model")).to_have_value("fast.pth")
    page.close()
