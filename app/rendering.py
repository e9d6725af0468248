"""HTML panels from the Jinja2 templates in `app/templates`; values are escaped unless a template marks them `safe`."""

import json
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Path(__file__).with_name("templates")


def render(name: str, /, **values: object) -> str:
    """The text of a template.

    name: path below `app/templates`, such as "errors/bar.html". Raises: jinja2.UndefinedError for a missing value.
    """
    # Plain text, not Markup: what is added to Markup with + would be escaped.
    return _environment().get_template(name).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Unlike jinja's `tojson` the text is escaped as any other, which suits attributes in double quotes.
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment
