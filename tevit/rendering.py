"""HTML from Jinja2 templates: the pages of reports lie in `tevit/templates` and extend `base.html`."""

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def environment(folder: Path) -> "Environment":
    """Jinja2's environment for the templates below a folder.

    Values are escaped unless a template marks them `safe`; a missing value is an error. The filter `json` gives JSON
    that is escaped as any other text, which suits attributes in double quotes; inside <script> use `tojson`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    result = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    result.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return result


def render(name: str, /, **values: object) -> str:
    """The text of a template in `tevit/templates`, such as "errors.html". Raises: jinja2.UndefinedError."""
    return environment(Path(__file__).with_name("templates")).get_template(name).render(values)
