"""What the page gets of Python beside components: HTML of templates, lines of JavaScript, and links into the studio.

Links have data set, video, frames, pair of tracks and layout as the query of an address. HTML panels are made from the
Jinja2 templates in `app/templates`, whose values are escaped unless a template marks them `safe`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, urlencode

from jinja2 import Environment

from tevit.display import environment

from .tasks import TaskStatus

LAYOUTS = ("side", "stacked", "swipe", "difference")
_MAX_INT = 1 << 53
_RANGE = re.compile(r"([0-9]{1,15})-([0-9]{1,15})")


@dataclass(frozen=True)
class View:
    """project: a data set's id, "" for the current one. video: its id. frame: from 0. models: names of A and, possibly,
    B. truth: annotation id. prediction: number in the file of model `side`, from 1. error: key of the pair's row in the
    list of errors; the pair is framed then. range: the selected frames, the first and the last of them."""

    project: str = ""
    video: int | None = None
    frame: int = 0
    models: tuple[str, ...] = ()
    truth: int | None = None
    prediction: int | None = None
    side: int = 0
    layout: str = "side"
    error: str = ""
    range: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f"link: expected layout to be one of {', '.join(LAYOUTS)}, got {self.layout[:40]!r}")
        if not 0 <= self.frame <= _MAX_INT or self.side not in (0, 1):
            raise ValueError(f"link: expected a frame from 0 and a side 0 or 1, got {self.frame} and {self.side}")
        if self.range is not None and not 0 <= self.range[0] <= self.range[1] <= _MAX_INT:
            raise ValueError(f"link: expected a range of frames from 0, got {self.range}")
        if len(self.models) > 2:
            raise ValueError(f"link: expected at most two models, got {len(self.models)}")


def to_query(view: View) -> str:
    """The query, without the question mark and without values that are the default."""
    fields = [
        ("data", view.project or None),
        ("video", view.video),
        ("frame", view.frame or None),
        *(("model", name) for name in view.models),
        ("truth", view.truth),
        ("prediction", view.prediction),
        ("side", "b" if view.side else None),
        ("layout", view.layout if view.layout != "side" else None),
        ("error", view.error or None),
        ("range", view.range and "-".join(map(str, view.range))),
    ]
    return urlencode([(name, value) for name, value in fields if value is not None])


def from_query(query: str | Mapping[str, str]) -> View:
    """The view of a query; unknown fields are ignored. A mapping has at most one model.

    Raises: ValueError, one sentence, for a malformed field.
    """
    if isinstance(query, str):
        fields = parse_qs(query.removeprefix("?"), max_num_fields=50)
    else:
        fields = {name: [value] for name, value in query.items()}
    text = {name: values[-1][:100] for name, values in fields.items()}
    return View(
        project=text.get("data", ""),
        video=_integer(fields, "video"),
        frame=_integer(fields, "frame", minimum=0) or 0,
        models=tuple(name[:300] for name in fields.get("model", ())),
        truth=_integer(fields, "truth"),
        prediction=_integer(fields, "prediction"),
        side=int(text.get("side") == "b"),
        layout=text.get("layout") or "side",
        error=text.get("error", ""),
        range=read_range(text["range"]) if text.get("range") else None,
    )


def read_range(text: str) -> tuple[int, int]:
    """The first and the last frame of a range such as "3-12". Raises: ValueError."""
    ends = _RANGE.fullmatch(text)
    if ends is None or int(ends[1]) > int(ends[2]):
        raise ValueError(f"link: expected range as two frames, such as 3-12, got {text[:40]!r}")
    return int(ends[1]), int(ends[2])


def _integer(fields: Mapping[str, list[str]], name: str, minimum: int = -_MAX_INT) -> int | None:
    text = fields.get(name, [""])[-1]
    if not text:
        return None
    digits = text.removeprefix("-")
    # Not int() alone: it accepts spaces, underscores and the digits of other scripts.
    if not (digits.isascii() and digits.isdigit() and len(digits) < 16 and int(text) >= minimum):
        raise ValueError(f"link: expected {name} as a whole number, got {text[:40]!r}")
    return int(text)


# --- HTML


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


# --- JavaScript


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
