"""`tevit models`: the published models and their weights, and a check of one's own; `tevit convert`: checkpoints."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tevit.configs import BUNDLED_MODELS, MODELS, START_FILES, PublishedModel, published
from tevit.download import bundled_path, checkpoint_path, weights
from tevit.inference.model_source import BUILT_IN, FROM_HUB, ModelSource, named_models
from tevit.progress import TerminalProgress

BUILT_IN_CARDS = {"motion": "“motion”", "videomt": "“Cards”", "detector": "“Cards”"}
"""Sections of docs/bring_your_model.md."""


def register(commands) -> None:
    """Add the subcommands."""
    _add_models(commands)
    _add_convert(commands)


def _add_models(commands) -> None:
    parser = commands.add_parser(
        "models",
        help="published models: figures, where the weights lie, download",
        description="The authors' models on YouTube-VIS 2019 (their figures, per cent, the best of several runs), and "
        "the start file of the recipes for training.",
    )
    parser.add_argument("--get", nargs="+", default=[], metavar="NAME", help="download the weights of these models")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.set_defaults(run=run_models)
    check = parser.add_subparsers(metavar="check").add_parser(
        "check",
        help="run a model of your own on generated clips: does it keep the interface?",
        description="Shapes, stable ids, equal results of two runs, cancelling, memory over 300 frames, and speed of a "
        "model of your own (docs/bring_your_model.md). The exit code is 1 where a check fails.",
    )
    check.add_argument("model", metavar="MODEL", help="file.py:create, or the name of an installed model")
    parameter = "a parameter of the model; repeatable"
    check.add_argument("-p", dest="parameters", metavar="NAME=VALUE", action="append", default=[], help=parameter)
    check.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    check.add_argument("--video", metavar="FILE", help="a video with objects that the model finds (default: discs)")
    check.add_argument("--frames", type=int, default=300, metavar="N", help="of the check of memory (default 300)")
    check.add_argument("--json", action="store_true", help="print the checks as JSON")
    check.set_defaults(run=run_check)


def run_check(args: argparse.Namespace) -> int:
    """Exit code 0, 1 where a check fails; errors are raised."""
    from tevit.inference.conformance import check_model
    from tevit.inference.model_source import load_external, parse_parameters
    from tevit.video.reader import open_video

    predictor = load_external(args.model, parse_parameters(args.parameters), device=args.device)
    checks = []
    for check in check_model(predictor, open_video(args.video) if args.video else None, args.frames):
        checks.append(check)
        if not args.json:
            print(
                f"{ ({True: 'ok', False: 'FAILED', None: '-'}[check.passed]):7s}{check.name:14s}{check.text}",
                flush=True,
            )
    if args.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    return 1 if any(check.passed is False for check in checks) else 0


def run_models(args: argparse.Namespace) -> int:
    """Exit code 0; errors are raised."""
    for name in args.get:
        if name not in START_FILES:
            published(name)  # raises an error for an unknown name before anything is downloaded
    for name in args.get:
        with TerminalProgress("B") as progress:
            weights(name, progress)
    rows = [_model_row(name, model) for name, model in MODELS.items()]
    others = [_other_row(source) for source in named_models().values()]
    if args.json:
        print(json.dumps(rows + [_start_row(name) for name in START_FILES] + others, indent=2))
    else:
        print("\n".join([_model_table(rows), *map(_start_line, START_FILES), "", *_other_table(others)]))
    return 0


def _other_row(source: ModelSource) -> dict[str, Any]:
    built_in = source.name in BUILT_IN
    weights = "hub" if source.name in FROM_HUB else "none" if built_in else "its own"
    card = f"docs/bring_your_model.md, {BUILT_IN_CARDS[source.name]}" if built_in else ""
    names = {"name": source.name, "kind": "other model", "target": source.target, "origin": source.origin}
    return names | {"weights": weights, "card": card}


def _other_table(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each, and how to try one."""
    words = {"hub": "from the Hugging Face hub at the first use", "none": "none", "its own": "unknown to tevit"}
    cells = [["other model", "source", "weights", "card"]]
    for row in rows:
        source = row["origin"] if row["card"] else f"{row['origin']}: {row['target']}"
        cells.append([row["name"], source, words[row["weights"]], row["card"] or "with its source"])
    shown = "Any other model: `tevit predict --model FILE.py:create`; `tevit models check MODEL` tries one on clips."
    return [*_aligned(cells), "", shown]


def _start_row(name: str) -> dict[str, Any]:
    start = START_FILES[name]
    path = checkpoint_path(start)
    return {"name": name, "kind": "start file", "url": start.url, "weights": str(path), "present": path.is_file()}


def _start_line(name: str) -> str:
    place = "here" if checkpoint_path(START_FILES[name]).is_file() else "not here"
    return f"{name}, a start file for training (COCO, images; docs/training.md): {place}."


def _model_row(name: str, model: PublishedModel) -> dict[str, Any]:
    path = checkpoint_path(model)
    backbone = model.config.backbone
    return {
        "name": name,
        "kind": "model",
        "backbone": {"pvt_v2": "PVTv2-B1", "resnet50": "ResNet-50", "swin": "Swin-L"}[backbone.kind],
        "messengers": backbone.messengers,
        "queries": model.config.queries,
        "params_m": model.params_m[1],
        "AP": model.ap,
        "AP50": model.ap50,
        "AP75": model.ap75,
        "AR1": model.ar1,
        "AR10": model.ar10,
        "url": model.url,
        "weights": str(path),
        "present": path.is_file(),
    }


def _model_table(rows: list[dict[str, Any]]) -> str:
    columns = ("name", "backbone", "queries", "params_m", "AP", "AP50", "AP75", "AR1", "AR10", "present")
    heads, words = {"params_m": "params (M)", "present": "weights here"}, {True: "yes", False: "no"}
    cells = [[heads.get(column, column) for column in columns]]
    cells += [
        [words[value] if isinstance(value := row[column], bool) else str(value) for column in columns] for row in rows
    ]
    lines = _aligned(cells)
    folder = rows[0]["weights"].rpartition("/")[0] or rows[0]["weights"]
    lines += ["", f"Weights lie in {folder}; `tevit models --get NAME` fetches them."]
    lines += [f"{name}, for shapes, comes with the package: {bundled_path(name)}." for name in BUNDLED_MODELS]
    lines.append("Their cards: docs/models.md.")
    return "\n".join(lines)


def _aligned(cells: list[list[str]]) -> list[str]:
    """Lines of a table."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _add_convert(commands) -> None:
    parser = commands.add_parser(
        "convert",
        help="checkpoints: original .pth to .safetensors and back",
        description="Convert a checkpoint. The kind of each file follows from its suffix: .pth is the original "
        "implementation's layout, .safetensors ours, with the configuration inside.",
    )
    parser.add_argument("source", type=Path, metavar="IN", help="checkpoint to read (.pth or .safetensors)")
    parser.add_argument("target", type=Path, metavar="OUT", help="checkpoint to write (.safetensors or .pth)")
    parser.add_argument("--model", metavar="NAME", help="published model that the file must be")
    parser.add_argument("--inference", action="store_true", help="drop the mask heads that inference never uses")
    parser.add_argument("--json", action="store_true", help="print a report as JSON")
    parser.set_defaults(run=run_convert)


def run_convert(args: argparse.Namespace) -> int:
    """Exit code 0; errors are raised."""
    if args.target.suffix not in (".safetensors", ".pth"):
        raise ValueError(f"{args.target}: expected a file ending in .safetensors or .pth")
    if args.inference and args.target.suffix == ".pth":
        raise ValueError("--inference goes with .safetensors: the original's layout holds all mask heads")
    report = convert(args.source, args.target, args.model, args.inference)
    if args.json:
        print(json.dumps(report))
        return 0
    dropped = f", {report['dropped']} tensors that inference never uses dropped" if report["dropped"] else ""
    print(
        f"{report['in']} -> {report['out']}: {report['model']}, {report['classes']} classes, "
        f"{report['tensors']} tensors, {report['values'] / 1e6:.2f} M values{dropped}"
    )
    return 0


def convert(source: Path, target: Path, model: str | None, inference: bool) -> dict[str, Any]:
    """Read, check and write; returns a report. Errors as for `checkpoint.read_checkpoint`."""
    from tevit.checkpoint import inference_state, match_expected, read_checkpoint, save_original, save_state
    from tevit.configs import published

    if not source.exists() and target.is_file():
        raise FileNotFoundError(f"{source}: no such checkpoint; the file to read comes first, then the one to write")
    config, state = read_checkpoint(source)
    config = match_expected(source, config, published(model)) if model else config
    exported = inference_state(state, config.stages) if inference else state
    if target.suffix == ".pth":
        save_original(target, config, exported)
    else:
        save_state(target, config, exported)
    return {
        "in": str(source),
        "out": str(target),
        "model": config.name,
        "classes": config.num_classes,
        "tensors": len(exported),
        "values": sum(value.numel() for value in exported.values()),
        "dropped": len(state) - len(exported),
    }
