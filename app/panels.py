"""The page's words and figures as HTML: facts of a video, how far a run is, its tracks. No gradio, no state."""

import base64
import math
from collections.abc import Sequence
from fractions import Fraction
from html import escape

import numpy as np

from app.jobs import Snapshot
from tevit.tracks import Track, VideoResult

EMPTY = """<div class="empty"><strong>No video yet</strong>
<span>Drop one into the field named Video, choose a model and press Run.</span></div>"""
NO_FACTS = '<p class="hint">Any mp4, mov, mkv, webm, avi or gif.</p>'
NO_TRACKS = '<p class="hint">The tracks of a run appear here, best score first.</p>'


def first_frame(jpeg: bytes, name: str) -> str:
    """The picture that stands in the player's place until there is an overlay."""
    data = base64.b64encode(jpeg).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="First frame of {escape(name, quote=True)}">'


def facts(length: int | None, size_hw: tuple[int, int], fps: Fraction | None, seconds: float | None) -> str:
    """Length, size and rate of a video, a term each; what the file does not state is left away."""
    height, width = size_hw
    terms = {
        "Length": counted(length) if length else "",
        "Time": duration(seconds) if seconds else "",
        "Size": f"{width} x {height}",
        "Rate": f"{float(fps):.4g} frames/s" if fps else "",
    }
    shown = (f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in terms.items() if value)
    return f"<dl>{''.join(shown)}</dl>"


def counted(frames: int) -> str:
    """`1 frame`, `67 frames`."""
    return f"{frames} frame" if frames == 1 else f"{frames} frames"


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


def problem(sentence: str) -> str:
    """What went wrong, in one sentence."""
    return f'<div class="problem" role="alert">{escape(sentence)}</div>'


def progress(snapshot: Snapshot) -> str:
    """Where a run stands: never without a number."""
    if snapshot.state == "failed":
        return problem(snapshot.sentence)
    if snapshot.over:
        how = "Done" if snapshot.state == "done" else "Cancelled"
        ended = f"<strong>{how} after {duration(snapshot.seconds)}</strong><span>{escape(snapshot.sentence)}</span>"
        return f'<div role="status">{ended}</div>'
    return (
        f'<div class="line"><strong>{_headline(snapshot)}</strong><span>{_time(snapshot)}</span></div>'
        f"{_bar(snapshot)}<span>{_rate(snapshot)}</span>"
    )


def _headline(snapshot: Snapshot) -> str:
    if snapshot.stopping:
        return "Stopping"
    if snapshot.state == "waiting":
        before = {0: "the worker is busy", 1: "1 run before yours"}
        return f"Waiting: {before.get(snapshot.ahead, f'{snapshot.ahead} runs before yours')}"
    return escape(snapshot.stage[:1].upper() + snapshot.stage[1:])


def _time(snapshot: Snapshot) -> str:
    left = snapshot.seconds_left
    return f"{int(snapshot.seconds)} s so far" if left is None else f"{duration(math.ceil(left))} left"


def _rate(snapshot: Snapshot) -> str:
    rate = "" if snapshot.rate is None else f", {_figures(snapshot.rate)} frames/s"
    if snapshot.total:
        return f"{snapshot.done} of {snapshot.total} frames{rate}"
    return f"{counted(snapshot.done)}{rate}" if snapshot.done else ""


def _figures(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def _bar(snapshot: Snapshot) -> str:
    label = f'role="progressbar" aria-label="{escape(snapshot.stage or "waiting", quote=True)}"'
    if not snapshot.total:
        return f'<div class="bar" {label}></div>'
    part = min(1.0, snapshot.done / snapshot.total)
    value = f'aria-valuemin="0" aria-valuemax="{snapshot.total}" aria-valuenow="{snapshot.done}"'
    return f'<div class="bar" {label} {value}><i style="width:{part:.1%}"></i></div>'


def tracks(result: VideoResult, source: str, model: str) -> str:
    """One row a track, best first: colour, class, score, and where in time it is seen."""
    count = len(result.tracks)
    title = f"{count} {'track' if count == 1 else 'tracks'} in {result.length} frames"
    rows = "".join(_row(track, result) for track in sorted(result.tracks, key=lambda track: -track.score))
    return (
        f'<div class="title"><strong>{title}</strong><span>{escape(source)}, {escape(model)}</span></div>'
        f'<ol class="tracks">{rows}</ol>'
    )


def _row(track: Track, result: VideoResult) -> str:
    name = escape(result.categories.get(track.category_id, str(track.category_id)))
    present = track.present
    seen = f"seen in {present.sum()} of {result.length} frames"
    return (
        f'<li title="{seen}"><i class="dot" style="background:{_colour(track.id)}"></i>'
        f'<span class="name">{track.id} {name}</span><span class="score">{track.score:.2f}</span>'
        f'<span class="lane" role="img" aria-label="{seen}">{lane(present, _colour(track.id))}</span></li>'
    )


def lane(present: np.ndarray, colour: str) -> str:
    """A bar for every unbroken stretch of frames."""
    edges = np.flatnonzero(np.diff(present, prepend=False, append=False))
    return "".join(
        f'<i style="left:{begin / len(present):.2%};width:{(end - begin) / len(present):.2%};background:{colour}"></i>'
        for begin, end in _pairs(edges)
    )


def _pairs(edges: np.ndarray) -> Sequence[tuple[int, int]]:
    return list(zip(edges[0::2].tolist(), edges[1::2].tolist(), strict=True))


def _colour(track_id: int) -> str:
    from tevit.render import color

    return "#" + bytes(color(track_id)).hex()
