"""What a link shows: data set, video, frame, pair and layout, as the address's query."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode

LAYOUTS = ("side", "stacked", "swipe", "difference")
_MOST = 1 << 53


@dataclass(frozen=True)
class View:
    """project: the data set's id (`Project.id`), "" for the one that is open. video: its id. frame: from 0. models:
    names of A and, perhaps, B. truth: annotation id; prediction: place in the file, from 1, of `side`'s model."""

    project: str = ""
    video: int | None = None
    frame: int = 0
    models: tuple[str, ...] = ()
    truth: int | None = None
    prediction: int | None = None
    side: int = 0
    layout: str = "side"

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f"link: expected layout to be one of {', '.join(LAYOUTS)}, got {self.layout[:40]!r}")
        if not 0 <= self.frame <= _MOST or self.side not in (0, 1):
            raise ValueError(f"link: expected a frame from 0 and a side 0 or 1, got {self.frame} and {self.side}")
        if len(self.models) > 2:
            raise ValueError(f"link: expected at most two models, got {len(self.models)}")


def to_query(view: View) -> str:
    """Without the question mark; what is as by default is left out."""
    said: list[tuple[str, object]] = [("data", view.project)] if view.project else []
    said += [("video", view.video)] if view.video is not None else []
    said += [("frame", view.frame)] if view.frame else []
    said += [("model", name) for name in view.models]
    said += [("truth", view.truth)] if view.truth is not None else []
    said += [("prediction", view.prediction)] if view.prediction is not None else []
    said += [("side", "b")] if view.side else []
    said += [("layout", view.layout)] if view.layout != "side" else []
    return urlencode(said)


def from_query(query: str | Mapping[str, str]) -> View:
    """The view of a link; parts that it does not know are passed over. A mapping has at most one model.

    Raises: ValueError, one sentence, for a part that is not what it should be.
    """
    if isinstance(query, str):
        said = parse_qs(query.removeprefix("?"), max_num_fields=50)
    else:
        said = {name: [value] for name, value in query.items()}
    return View(
        project=_text(said, "data"),
        video=_whole(said, "video"),
        frame=_whole(said, "frame", least=0) or 0,
        models=tuple(name[:300] for name in said.get("model", ())),
        truth=_whole(said, "truth"),
        prediction=_whole(said, "prediction"),
        side=int(_text(said, "side") == "b"),
        layout=_text(said, "layout") or "side",
    )


def _text(said: Mapping[str, list[str]], name: str) -> str:
    return said.get(name, [""])[-1][:100]


def _whole(said: Mapping[str, list[str]], name: str, least: int = -_MOST) -> int | None:
    text = said.get(name, [""])[-1]
    if not text:
        return None
    digits = text.removeprefix("-")
    # Not int() alone: it takes spaces, underscores and the digits of other scripts.
    if not (digits.isascii() and digits.isdigit() and len(digits) < 16 and int(text) >= least):
        raise ValueError(f"link: expected {name} as a whole number, got {text[:40]!r}")
    return int(text)
