"""The console script `tevit`; its subcommands are in the modules of this package; here, what concerns training."""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import tevit
from tevit.io.files import FileKindError, fault_sentence

# Command -> module of this package, in the order of `tevit --help`. A module's `register(commands)` adds its commands;
# heavy packages are imported when one runs.
COMMANDS = {
    "studio": "main",
    "train": "main",
    "report": "main",
    "predict": "predict",
    "models": "models",
    "convert": "models",
    "evaluate": "evaluate",
    "errors": "evaluate",
    "validate": "datasets",
    "split": "datasets",
    "formats": "datasets",
    "shapes": "datasets",
    "benchmark": "benchmark",
    "review": "review",
}


def parser(names: Iterable[str] = COMMANDS) -> argparse.ArgumentParser:
    """The command line, of these commands and those beside them, as an argparse parser."""
    top = argparse.ArgumentParser(prog="tevit", description="Video instance segmentation with TeViT.")
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for module in dict.fromkeys(COMMANDS[name] for name in names):
        import_module(f"tevit.cli.{module}").register(commands)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code. A user's error is one sentence on standard error and code 2.

    With TEVIT_TRACEBACK=1 in the environment such an error is raised.
    """
    arguments = (sys.argv[1:] if argv is None else argv)[:1]
    top = parser(
        arguments if arguments and arguments[0] in COMMANDS else COMMANDS
    )  # importing all commands takes longer
    args = top.parse_args(argv)
    if args.version:
        from importlib.metadata import version

        print(version("tevit-studio"))
        return 0
    if args.command is None:
        top.print_help()
        return 2
    try:
        code = args.run(args)
        sys.stdout.flush()  # here, so that a closed pipe is not taken for another error
        return code
    except KeyboardInterrupt:
        print("tevit: stopped; nothing half-written is left", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, MemoryError) as error:
        if os.environ.get("TEVIT_TRACEBACK"):
            raise
        print(f"tevit: {_sentence(error, args)}", file=sys.stderr)
        return 2


def console() -> NoReturn:
    """Run the command of sys.argv and end the process."""
    code = main()
    if sys.argv[1:2] in (["evaluate"], ["errors"]):
        # They leave nothing to clean up, and freeing each object of large files would take a twentieth of their time.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _sentence(error: Exception, args: argparse.Namespace) -> str:
    """What is wrong: with the file's name first where the system reports it, and with the order of the arguments."""
    return fault_sentence(error) + (_order(args) if isinstance(error, FileKindError) else "")


def _order(args: argparse.Namespace) -> str:
    if hasattr(args, "log"):
        return "; the log comes first, the labels after it"
    return "; the ground truth comes first, predictions after it" if hasattr(args, "gt") else ""


# --- the studio and training, which are packages of their own, started from anywhere, and the report of a training


def register(commands) -> None:
    """Add the subcommands; all arguments of the first two are parsed by the program that is started."""
    for name, run, help in (
        ("studio", run_studio, "open the studio in the browser"),
        ("train", run_training, "train a model by a recipe"),
    ):
        # Without a usable prefix character nothing is an option here, not even --help.
        part = commands.add_parser(name, help=help, add_help=False, prefix_chars="\0")
        part.add_argument("arguments", nargs="*")
        part.set_defaults(run=run)
    register_report(commands)


def run_studio(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C; returns the exit code. Raises: ValueError where gradio is not installed."""
    if find_spec("gradio") is None:
        raise ValueError("the studio needs gradio: pip install 'tevit-studio[app]'")
    return import_module(f"{package('tevit_studio', 'app')}.app").main(args.arguments, prog="tevit studio")


def run_training(args: argparse.Namespace) -> int:
    """Train; returns the exit code."""
    return import_module(f"{package('tevit_train', 'train')}.__main__").main(args.arguments, prog="tevit train")


def package(installed: str, in_checkout: str) -> str:
    """The name by which a package beside `tevit` is imported: in the wheel, or in a checkout, which is put on sys.path.

    Raises: ValueError where it is not part of this installation.
    """
    root = Path(tevit.__file__).resolve().parents[1]
    if (root / installed).is_dir():
        return installed
    if not (root / in_checkout / "__main__.py").is_file():
        raise ValueError(f"expected the package {installed} in {root}, beside tevit: install the whole wheel")
    sys.path.insert(0, str(root))  # first: the current folder may have packages of these names
    return in_checkout


# --- the report of a training run

Line = dict[str, Any]
KINDS = {"class": "classes (focal)", "l1": "boxes (L1)", "giou": "boxes (GIoU)", "dice": "masks (dice)"}
MAX_POINTS = 2000  # of a curve: more are not visible, and make the page large


def register_report(commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "report",
        help="loss and AP curves of a training run as one HTML page",
        description="Draw the curves of a training run from its metrics.jsonl, as one HTML page that works offline.",
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a run of `tevit train`")
    parser.add_argument("--out", type=Path, metavar="FILE", help="page to write (default: RUN/report.html)")
    parser.set_defaults(run=run_report)


def run_report(args: argparse.Namespace) -> int:
    """Exit code 0; errors are raised."""
    target = args.out or args.folder / "report.html"
    write_report(target, args.folder.resolve().name, read_metrics(args.folder))
    print(f"wrote {target}")
    return 0


def read_metrics(folder: Path) -> list[Line]:
    """The lines of a run's metrics.jsonl; a last one that is still being written is left out.

    Raises: FileNotFoundError, ValueError where there is nothing to draw.
    """
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder")
    path = folder / "metrics.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: expected the folder of a training run, found no metrics.jsonl in it")
    texts, lines = path.read_text("utf-8").splitlines(), []
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
            if {"kind", "iteration"} <= line.keys():
                lines.append(line)
        except (json.JSONDecodeError, AttributeError):
            if number < len(texts):
                message = f"{path}, line {number}: expected one JSON object, got {text[:40]!r}"
                raise ValueError(message) from None
    if not any(line["kind"] == "train" for line in lines):
        raise ValueError(f"{path}: no step has been logged yet")
    return lines


def write_report(path: Path, name: str, lines: list[Line]) -> None:
    """Write the page of a run's curves; it contains plotly's script and loads nothing from the network."""
    from plotly.offline import get_plotlyjs

    from tevit.display import render
    from tevit.io.files import atomic

    train, evaluations = ([line for line in lines if line["kind"] == kind] for kind in ("train", "eval"))
    hours = sum(line.get("seconds", 0.0) for line in train) / len(train) * train[-1]["iteration"] / 3600
    page = render(
        "training.html",
        title=f"Training run {name}",
        subtitle=f"{train[-1]['iteration']} iterations, about {hours:.1f} hours of steps. Thick lines are smoothed.",
        cards=_cards(train, evaluations),
        charts=_charts(train, evaluations),
        footer="",
        plotly=get_plotlyjs(),
    )
    with atomic(path) as temporary:
        temporary.write_text(page, "utf-8")


def _cards(train: list[Line], evaluations: list[Line]) -> list[tuple[str, str]]:
    recent = train[-20:]
    keys = ("total", "clips_per_s", "data_wait", "seconds")
    mean = {key: sum(line[key] for line in recent) / len(recent) for key in keys}
    cards = [
        ("recent loss", f"{mean['total']:.3g}"),
        ("clips per second", f"{mean['clips_per_s']:.2f}"),
        ("waiting for data", f"{100 * mean['data_wait'] / mean['seconds']:.0f} %"),
        ("peak memory", f"{max(line['memory_gb'] for line in train):.1f} GB"),
    ]
    if evaluations:
        best = max(evaluations, key=lambda line: line["AP"])
        cards += [("best AP", f"{best['AP']:.1f}"), ("its AP50", f"{best['AP50']:.1f}")]
        cards += [("its iteration", str(best["iteration"]))]
    return cards


def _charts(train: list[Line], evaluations: list[Line]) -> list[dict[str, Any]]:
    last = max(int(key[5 : key.index("_")]) for key in train[-1] if key.startswith("stage"))
    at = [line["iteration"] for line in train]

    def losses(prefix: str) -> list[float]:
        return [sum(value for key, value in line.items() if key.startswith(prefix)) for line in train]

    kinds = {text: losses(f"stage{last}_{kind}") for kind, text in KINDS.items()}
    stages = {f"stage {stage + 1}": losses(f"stage{stage}_") for stage in range(last + 1)}
    norm, rate = ({name: [line[key] for line in train]} for name, key in (("norm", "grad_norm"), ("rate", "lr")))
    charts = [
        _chart("Loss", "Of all stages together.", at, {"loss": [line["total"] for line in train]}, log=True),
        _chart("The last stage's losses", "Weighted.", at, kinds, log=True),
        _chart("Loss of each stage", "Each refines the one before.", at, stages, log=True),
        _chart("Gradient norm", "Before it is clipped.", at, norm, log=True),
        _chart("Learning rate", "Before the factors of the groups.", at, rate, raw=True),
    ]
    if evaluations:
        figures = {name: [line[name] for line in evaluations] for name in ("AP", "AP50", "AP75", "AR10")}
        iterations = [line["iteration"] for line in evaluations]
        charts.insert(1, _chart("Evaluation", "In percent, on the labelled split.", iterations, figures, raw=True))
    return charts


def _chart(
    title: str, note: str, at: Sequence[int], curves: dict[str, list[float]], log: bool = False, raw: bool = False
) -> dict[str, Any]:
    """A chart as the template draws it. raw: without a smoothed line over the values; log: a logarithmic axis."""
    from tevit.evaluation.report import ACCENT, TYPE_COLOURS

    colours = (ACCENT, *(TYPE_COLOURS[type] for type in ("background", "temporal", "classification", "duplicate")))
    step = -(-len(at) // MAX_POINTS)
    traces: list[dict[str, Any]] = []
    for (name, values), colour in zip(curves.items(), colours, strict=False):
        x = list(at[::step])
        mode = "lines+markers" if raw and len(x) < 60 else "lines"
        line = {"color": colour, "width": 2}
        if not raw:
            faint = {"line": line | {"width": 1}, "opacity": 0.25, "hoverinfo": "skip", "showlegend": False}
            traces.append({"x": x, "y": values[::step], "mode": "lines", **faint})
        shown = (values if raw else _smooth(values))[::step]
        traces.append({"x": x, "y": shown, "name": name, "mode": mode, "line": line, "showlegend": len(curves) > 1})
    return {"title": title, "note": note, "traces": traces, "axis": "log" if log else "linear"}


def _smooth(values: list[float]) -> list[float]:
    """An exponential mean over about 2 % of the run, corrected for its start at zero."""
    keep, out, total, weight = 1 - 1 / max(5, len(values) / 50), [], 0.0, 0.0
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        out.append(total / weight)
    return out
