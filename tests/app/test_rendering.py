"""HTML from templates: values are escaped."""

import json
from html import unescape

from app.rendering import render
from app.tabs.compare import views


def test_names_and_messages_are_escaped():
    name = '<img src=x onerror="alert(1)">&'
    html = views.evaluating(f"{name}: reading", 0.5)
    assert "<img" not in html and "&lt;img" in html and "50 %" in html
    assert "<img" not in views.matches(name, [], None)
    assert "<img" not in views.notices([name])


def test_json_in_an_attribute_survives_escaping():
    html = render("compare/notices.html", sentences=[json.dumps({"a": '"<b>'})])
    assert json.loads(unescape(html.split(">")[1].split("</p")[0])) == {"a": '"<b>'}
