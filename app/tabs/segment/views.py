"""The HTML of the tab `Segment`: facts of a video, estimates, the table of tracks and their plots."""

from fractions import Fraction
from typing import Any

import numpy as np

from tevit.results import Track, VideoResult

from ...player.component import intervals
from ...rendering import counted, duration, hint, pixels, render
from .models import Estimate

NO_FACTS = "Any mp4, mov, mkv, webm, avi or gif."
NO_TRACKS = "The tracks of a run appear here, best score first."


def facts(length: int | None, size_hw: tuple[int, int], fps: Fraction | None, seconds: float | None) -> str:
    """Length, size and rate of a video; what the file does not state is left out."""
    terms = {
        "Length": counted(length, "frame") if length else "",
        "Time": duration(seconds) if seconds else "",
        "Size": f"{size_hw[1]} x {size_hw[0]}",
        "Rate": f"{float(fps):.4g} frames/s" if fps else "",
    }
    return render("segment/facts.html", terms=terms)


def estimate(run: Estimate) -> str:
    """Time and memory of a run: `about 14 s, 1.2 GB`."""
    time = "time known after the first run" if run.seconds is None else f"about {duration(max(1, run.seconds))}"
    return hint(f"{time}, {run.gigabytes:.1f} GB")


def tracks(result: VideoResult, total: int, selected: int | None) -> str:
    """The table of the tracks of `result`, best first, out of `total`. selected: a track's id."""
    rows = [
        {
            "id": track.id,
            "name": result.categories.get(track.category_id, f"class {track.category_id}").replace("_", " "),
            "score": track.score,
            "colour": _colour(track),
            "frames": (frames := np.flatnonzero(track.present)),
            "area": track.areas[frames].mean() if len(frames) else 0.0,
        }
        for track in sorted(result.tracks, key=lambda track: -track.score)
    ]
    return render("segment/tracks.html", rows=rows, total=total, length=result.length, selected=selected)


def plots(result: VideoResult, selected: int | None) -> str:
    """Score and mask area of every track over the frames, or of the selected one only."""
    if not result.tracks or result.length < 2:
        return ""
    shown = [track for track in result.tracks if selected in (None, track.id)] or list(result.tracks)
    areas = [(track, np.where(track.present, track.areas, np.nan)) for track in shown]
    scores = [(track, track.frame_scores) for track in shown if track.frame_scores is not None]
    max_area = max((float(np.nanmax(values)) for _, values in areas if np.isfinite(values).any()), default=1.0)
    return render(
        "segment/plots.html",
        plots=[
            {
                "title": title,
                "top": top,
                "lines": [line for track, values in curves for line in _lines(track, values / scale)],
            }
            for title, top, curves, scale in (
                ("Score over time", "1", scores, 1.0),
                ("Area over time", pixels(max_area), areas, max_area),
            )
            if curves
        ],
    )


def _lines(track: Track, values: np.ndarray) -> list[dict[str, Any]]:
    """One line for each interval without gaps, in a picture of 100 by 40. values: (T,), 0 to 1, NaN where absent."""
    x = (np.arange(len(values)) + 0.5) / len(values) * 100
    points = np.stack([x, 40 - 40 * values], axis=1)
    return [{"colour": _colour(track), "points": points[i:j].tolist()} for i, j in intervals(np.isfinite(values))]


def _colour(track: Track) -> str:
    from tevit.video.overlay import color

    return "#" + bytes(color(track.id)).hex()
