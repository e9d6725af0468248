"""`tevit report`: the loss and AP curves of a training run as one HTML page that works offline."""

import argparse
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

Line = dict[str, Any]

KINDS = {"class": "classes (focal)", "l1": "boxes (L1)", "giou": "boxes (GIoU)", "dice": "masks (dice)"}
COLOURS = ("#4c84f0", "#d9603b", "#12a594", "#a06bf0", "#d29a06")
GREY = "#7d8795"
POINTS = 2000  # of a curve: more are not seen, and make the page large
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
:root {{ color-scheme: light dark; --page: #f6f7f9; --card: #fff; --text: #1c2330; --faint: #626c7c; --line: #e1e5eb; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --page: #12151b; --card: #1a1f27; --text: #e6e9ee; --faint: #97a1b0; --line: #2b323d; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }}
main {{ max-width: 1180px; margin: 0 auto; padding: 28px 24px 60px; }}
h1 {{ margin: 0; font-size: 24px; overflow-wrap: anywhere; }} h2 {{ margin: 0; font-size: 16px; }}
p {{ margin: 0; color: var(--faint); font-size: 14px; }}
dl {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 12px; margin: 22px 0 14px; }}
dl div, section {{ background: var(--card); border: 1px solid var(--line); border-radius: 11px; padding: 11px 15px; }}
dt {{ color: var(--faint); font-size: 13px; }} dd {{ margin: 0; font-size: 22px; font-variant-numeric: tabular-nums; }}
.grid {{ display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 14px; }}
@media (max-width: 820px) {{ .grid {{ grid-template-columns: minmax(0, 1fr); }} main {{ padding: 18px 14px 40px; }} }}
</style><script>{plotly}</script></head><body><main>
<h1>{title}</h1><p>{subtitle}</p><dl>{cards}</dl><div class="grid">{sections}</div>
</main></body></html>
"""


def register(commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "report",
        help="loss and AP curves of a training run as one HTML page",
        description="Draw the curves of a training run from its metrics.jsonl, as one HTML page that works offline.",
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a run of `python -m train`")
    parser.add_argument("--out", type=Path, metavar="FILE", help="page to write (default: RUN/report.html)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit code 0; errors are raised."""
    target = args.out or args.folder / "report.html"
    write_report(target, args.folder.resolve().name, read_metrics(args.folder))
    print(f"wrote {target}")
    return 0


def read_metrics(folder: Path) -> list[Line]:
    """The lines of a run's metrics.jsonl; a last one that is still being written is left out.

    Raises: FileNotFoundError, ValueError where there is nothing to draw.
    """
    path = folder / "metrics.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: expected the folder of a training run, found no metrics.jsonl in it")
    texts = path.read_text("utf-8").splitlines()
    lines = [line for number, text in enumerate(texts, 1) if (line := _line(text, path, number, len(texts)))]
    if not any(line["kind"] == "train" for line in lines):
        raise ValueError(f"{path}: no step has been logged yet")
    return lines


def _line(text: str, path: Path, number: int, count: int) -> Line | None:
    try:
        line = json.loads(text)
        return line if {"kind", "iteration"} <= line.keys() else None
    except (json.JSONDecodeError, AttributeError):
        if number == count:
            return None
        raise ValueError(f"{path}, line {number}: expected one JSON object, got {text[:40]!r}") from None


def write_report(path: Path, name: str, lines: list[Line]) -> None:
    """Draw the curves; the page holds plotly's script and asks nothing of the network."""
    from plotly.offline import get_plotlyjs

    from tevit.io.files import atomic

    train, found = ([line for line in lines if line["kind"] == kind] for kind in ("train", "eval"))
    page = PAGE.format(
        title=escape(f"Training run {name}"),
        subtitle=_subtitle(train),
        plotly=get_plotlyjs(),
        cards="".join(f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in _cards(train, found)),
        sections="".join(_sections(train, found)),
    )
    with atomic(path) as temporary:
        temporary.write_text(page, "utf-8")


def _subtitle(train: list[Line]) -> str:
    hours = sum(line.get("seconds", 0.0) for line in train) / len(train) * train[-1]["iteration"] / 3600
    return f"{train[-1]['iteration']} iterations, about {hours:.1f} hours of steps. Thick lines are smoothed."


def _cards(train: list[Line], found: list[Line]) -> list[tuple[str, str]]:
    recent = train[-20:]
    mean = {
        key: sum(line[key] for line in recent) / len(recent) for key in ("total", "clips_per_s", "data_wait", "seconds")
    }
    cards = [("loss, lately", f"{mean['total']:.3g}"), ("clips a second", f"{mean['clips_per_s']:.2f}")]
    cards += [("waiting for data", f"{100 * mean['data_wait'] / mean['seconds']:.0f} %")]
    cards += [("memory, peak", f"{max(line['memory_gb'] for line in train):.1f} GB")]
    if found:
        best = max(found, key=lambda line: line["AP"])
        cards += [("best AP", f"{best['AP']:.1f}"), ("AP50 there", f"{best['AP50']:.1f}")]
        cards += [("at iteration", str(best["iteration"]))]
    return cards


def _sections(train: list[Line], found: list[Line]) -> list[str]:
    last = max(int(key[5 : key.index("_")]) for key in train[-1] if key.startswith("stage"))
    at = [line["iteration"] for line in train]
    kinds = {text: [line[f"stage{last}_{kind}"] for line in train] for kind, text in KINDS.items()}
    stages = {f"stage {stage + 1}": [_stage_total(line, stage) for line in train] for stage in range(last + 1)}
    parts = [_section("Loss", "Of all stages together.", at, {"loss": [line["total"] for line in train]}, log=True)]
    if found:
        figures = {name: [line[name] for line in found] for name in ("AP", "AP50", "AP75", "AR10")}
        parts.append(
            _section(
                "Evaluation",
                "In per cent, on the labelled split.",
                [line["iteration"] for line in found],
                figures,
                raw=True,
            )
        )
    parts.append(_section("The last stage's losses", "Weighted.", at, kinds, log=True))
    parts.append(_section("Loss of each stage", "Each refines the one before.", at, stages, log=True))
    parts.append(
        _section(
            "Gradient norm", "Before it is clipped.", at, {"norm": [line["grad_norm"] for line in train]}, log=True
        )
    )
    parts.append(
        _section(
            "Learning rate", "Before the factors of the groups.", at, {"rate": [line["lr"] for line in train]}, raw=True
        )
    )
    return parts


def _stage_total(line: Line, stage: int) -> float:
    return sum(value for key, value in line.items() if key.startswith(f"stage{stage}_"))


def _section(
    title: str, note: str, at: Sequence[int], curves: dict[str, list[float]], log: bool = False, raw: bool = False
) -> str:
    """A chart in its frame. raw: without a smoothed line over the values; log: a logarithmic axis."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for (name, values), colour in zip(curves.items(), COLOURS, strict=False):
        if not raw:
            x, y = _thinned(at, values)
            figure.add_scatter(
                x=x, y=y, line={"color": colour, "width": 1}, opacity=0.25, hoverinfo="skip", showlegend=False
            )
        x, y = _thinned(at, values if raw else _smooth(values))
        markers = "lines+markers" if raw and len(x) < 60 else "lines"
        figure.add_scatter(x=x, y=y, name=name, mode=markers, line={"color": colour, "width": 2})
    axis = {"gridcolor": "rgba(125,135,149,0.2)", "zeroline": False}
    figure.update_layout(
        height=320,
        margin={"l": 48, "r": 8, "t": 12, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": GREY, "size": 12},
        showlegend=len(curves) > 1,
        legend={"orientation": "h", "y": 1.12},
        hovermode="x unified",
        xaxis={**axis, "title": "iteration"},
        yaxis={**axis, "type": "log" if log else "linear"},
    )
    chart = figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True})
    return f"<section><h2>{title}</h2><p>{note}</p>{chart}</section>"


def _thinned(at: Sequence[int], values: list[float]) -> tuple[list[int], list[float]]:
    step = -(-len(at) // POINTS)
    return list(at[::step]), values[::step]


def _smooth(values: list[float]) -> list[float]:
    """A running mean that forgets over about 2 % of the run, without the pull of its start towards zero."""
    keep, out, total, weight = 1 - 1 / max(5, len(values) / 50), [], 0.0, 0.0
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        out.append(total / weight)
    return out
