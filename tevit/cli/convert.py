"""`tevit convert`: checkpoints from the original's layout to this project's and back."""

import argparse
import json
from pathlib import Path
from typing import Any


def register(commands) -> None:
    """Add the subcommand."""
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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
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
