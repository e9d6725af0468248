"""HTML panels from the Jinja2 templates in `app/templates`: `render`, and the messages that all tabs share.

Values are escaped unless a template marks them `safe`.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from jinja2 import Environment

from tevit.display import environment

from .tasks import TaskStatus


def render(name: str, /, **values: object) -> str:
    """The text of a template.

    name: path below `app/templates`, such as "errors/bar.html". Raises: jinja2.UndefinedError for a missing value.
    """
    # Plain text, not Markup: what is added to Markup with + would be escaped.
    return _environment().get_template(name).render(values)


@cache
def _environment() -> Environment:
    result = environment(Path(__file__).with_name("templates"))
    result.filters |= {"duration": duration, "counted": counted, "pixels": pixels}
    return result


def progress(task: TaskStatus) -> str:
    """A task's state with a bar and numbers: while it runs stage, time left and amount; else how it ended."""
    return render("progress.html", task=task).strip()


def note(sentence: str) -> str:
    """A status message."""
    return render("message.html", sentences=[sentence], kind="note")


def problem(*sentences: str) -> str:
    """Error messages of one sentence, one below another."""
    return render("message.html", sentences=sentences, kind="problem")


def hint(sentence: str) -> str:
    """A faint line of text."""
    return render("message.html", sentences=[sentence], kind="hint")


def notices(sentences: Iterable[str]) -> str:
    """Marked lines of text, for what is to be known of the data shown."""
    return render("message.html", sentences=sentences, kind="notice")


def counted(number: int, unit: str) -> str:
    """`1 frame`, `67 frames`."""
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def pixels(area: float) -> str:
    """`361 px`, with thin spaces between thousands."""
    return f"{area:,.0f} px".replace(",", "\N{NARROW NO-BREAK SPACE}")


def duration(seconds: float) -> str:
    """`3.4 s`, `27 s`, `2 min 5 s`, `1 h 3 min`; whole numbers of seconds without a fraction."""
    whole = round(seconds)
    if seconds < 9.95 and seconds != whole:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def on_load(module: str, call: str) -> str:
    """JavaScript for gradio's `js_on_load`. module: below `app/static`; call: statements that use its exports as
    `module`, and the studio's address as `root`."""
    return f"""
const root = window.gradio_config?.root ?? "";
import(root + "/studio/{module}").then((module) => {{ {call} }});
"""


def on_change(module: str, function: str) -> str:
    """JavaScript for the `js` of a gradio event: a function of a module below `app/static`, called with the value."""
    return (
        f'(value) => import(`${{window.gradio_config?.root ?? ""}}/studio/{module}`).then((m) => m.{function}(value))'
    )
