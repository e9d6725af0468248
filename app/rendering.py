"""HTML panels from the Jinja2 templates in `app/templates`."""

from pathlib import Path

from tevit.rendering import environment

_TEMPLATES = Path(__file__).with_name("templates")


def render(name: str, /, **values: object) -> str:
    """The text of a template, its values escaped as `tevit.rendering.environment` says.

    name: path below `app/templates`, such as "errors/bar.html". Raises: jinja2.UndefinedError for a missing value.
    """
    # Plain text, not Markup: what is added to Markup with + would be escaped.
    return environment(_TEMPLATES).get_template(name).render(values)
