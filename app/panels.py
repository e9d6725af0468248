"""The page's words and figures as HTML: facts of a video, how far a run is, its tracks. No gradio, no state."""

import math
import time
from fractions import Fraction
from html import escape

import numpy as np

from app.player.component import intervals
from app.tabs.segment.run import Meter, Snapshot
from tevit.results import Track, VideoResult

NO_FACTS = '<p class="hint">Any mp4, mov, mkv, webm, avi or gif.</p>'
NO_TRACKS = '<p class="hint">The tracks of a run appear here, best score first.</p>'
NO_PLOT = ""


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


def note(sentence: str) -> str:
    """Something to know."""
    return f'<div role="status"><span>{escape(sentence)}</span></div>'


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


def preparing(done: int, total: int | None, seconds: float) -> str:
    """While a video is made ready to be played."""
    return progress(Snapshot("running", 0, "preparing the video", done, total, None, None, seconds, False, "", None))


class Gauge:
    """How far a piece of work is: give it to the work as its progress, look at `html()`. unit: frames, or bytes."""

    def __init__(self, unit: str):
        self._unit = unit
        self._meter = Meter()
        self._began = time.monotonic()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        self._meter(stage, done, total)

    def html(self) -> str:
        """As it stands."""
        m, seconds = self._meter, time.monotonic() - self._began
        stage, rate, left = m.stage or "beginning", m.rate, m.seconds_left
        snapshot = Snapshot("running", 0, stage, m.done, m.total, rate, left, seconds, False, "", None)
        return progress(snapshot) if self._unit == "frames" else _downloading(snapshot)


def _downloading(snapshot: Snapshot) -> str:
    done, total = snapshot.done / 1e6, snapshot.total
    amount = f"{done:.0f} of {total / 1e6:.0f} MB" if total else f"{done:.0f} MB"
    head = f'<div class="line"><strong>{_headline(snapshot)}</strong><span>{_time(snapshot)}</span></div>'
    return f"{head}{_bar(snapshot)}<span>{amount}</span>"


def estimate(seconds: float | None, gigabytes: float) -> str:
    """What a run will take: `about 14 s, 1.2 GB`."""
    time = f"about {duration(max(1, seconds))}, " if seconds is not None else "time known after the first run, "
    return f'<p class="hint">{time}{gigabytes:.1f} GB</p>'


def tracks(shown: VideoResult, of: int, selected: int | None) -> str:
    """One row a track, best first: colour, class, score, frames, first and last, mean area. A row is a button.

    shown: the tracks that the choices leave, of so many.
    """
    count = len(shown.tracks)
    title = f"{count} of {of} tracks" if count < of else f"{of} {'track' if of == 1 else 'tracks'}"
    rows = "".join(_row(track, shown, selected) for track in sorted(shown.tracks, key=lambda track: -track.score))
    return f'<div class="title"><strong>{title} in {counted(shown.length)}</strong></div><ol class="tracks">{rows}</ol>'


def _row(track: Track, result: VideoResult, selected: int | None) -> str:
    name = escape(result.categories.get(track.category_id, f"class {track.category_id}").replace("_", " "))
    seen = np.flatnonzero(track.present)
    where = f"{counted(len(seen))}, {seen[0]} to {seen[-1]}" if len(seen) else "seen in no frame"
    area = f"{track.areas[seen].mean():,.0f} px".replace(",", "\N{NARROW NO-BREAK SPACE}") if len(seen) else ""
    return (
        f'<li><button type="button" data-track="{track.id}" aria-pressed="{str(track.id == selected).lower()}">'
        f'<i class="dot" style="background:{_colour(track.id)}"></i>'
        f'<span class="name">{track.id} {name}</span><span class="score">{track.score:.2f}</span>'
        f'<span class="where">{where}</span><span class="area">{area}</span></button></li>'
    )


def plots(shown: VideoResult, selected: int | None) -> str:
    """Score and area of every track over the frames, or of the selected one alone; a click says where."""
    if not shown.tracks or shown.length < 2:
        return NO_PLOT
    of = [track for track in shown.tracks if selected in (None, track.id)] or list(shown.tracks)
    areas = [(track, np.where(track.present, track.areas, np.nan)) for track in of]
    scores = [(track, track.frame_scores) for track in of if track.frame_scores is not None]
    most = max((float(np.nanmax(values)) for _, values in areas if np.isfinite(values).any()), default=1.0)
    drawn = [_plot("Score over time", "1", scores, 1.0)] if scores else []
    drawn.append(_plot("Area over time", f"{most:,.0f} px".replace(",", "\N{NARROW NO-BREAK SPACE}"), areas, most))
    return "".join(drawn)


def _plot(title: str, top: str, lines: list[tuple[Track, np.ndarray]], most: float) -> str:
    drawn = "".join(_line(values / most, _colour(track.id)) for track, values in lines)
    return (
        f'<figure class="plot"><figcaption>{title}<span>{top}</span></figcaption>'
        f'<svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label="{title}: click to go there">'
        f"{drawn}</svg></figure>"
    )


def _line(values: np.ndarray, colour: str) -> str:
    """A line a stretch without gaps; values: (T,), 0 to 1, NaN where there is nothing."""
    parts = []
    for first, stop in intervals(np.isfinite(values)):
        across = (np.arange(first, stop) + 0.5) / len(values) * 100
        points = " ".join(f"{x:.2f},{40 - 40 * y:.2f}" for x, y in zip(across, values[first:stop], strict=True))
        parts.append(f'<polyline points="{points}" stroke="{colour}"/>')
    return "".join(parts)


def _colour(track_id: int) -> str:
    from tevit.video.overlay import color

    return "#" + bytes(color(track_id)).hex()
