"""`tevit models`: the published models, the paths of their weights, and downloading them."""

import argparse
import json
from typing import Any

from tevit.configs import BUNDLED_MODELS, MODELS, PublishedModel, published
from tevit.download import bundled_path, checkpoint_path, weights
from tevit.progress import TerminalProgress


def register(commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "models",
        help="published models: figures, where the weights lie, download",
        description="The authors' models on YouTube-VIS 2019 (their figures, per cent, the best of several runs).",
    )
    parser.add_argument("--get", nargs="+", default=[], metavar="NAME", help="download the weights of these models")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit code 0; errors are raised."""
    for name in args.get:
        published(name)  # raises an error for an unknown name before anything is downloaded
        with TerminalProgress("B") as progress:
            weights(name, progress)
    rows = [_row(name, model) for name, model in MODELS.items()]
    print(json.dumps(rows, indent=2) if args.json else _table(rows))
    return 0


def _row(name: str, model: PublishedModel) -> dict[str, Any]:
    path = checkpoint_path(model)
    backbone = model.config.backbone
    return {
        "name": name,
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


def _table(rows: list[dict[str, Any]]) -> str:
    columns = ("name", "backbone", "queries", "params_m", "AP", "AP50", "AP75", "AR1", "AR10", "present")
    heads, words = {"params_m": "params (M)", "present": "weights here"}, {True: "yes", False: "no"}
    cells = [[heads.get(column, column) for column in columns]]
    cells += [
        [words[value] if isinstance(value := row[column], bool) else str(value) for column in columns] for row in rows
    ]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    folder = rows[0]["weights"].rpartition("/")[0] or rows[0]["weights"]
    lines += ["", f"Weights lie in {folder}; `tevit models --get NAME` fetches them."]
    return "\n".join(
        [*lines, *(f"{name}, for shapes, comes with the package: {bundled_path(name)}." for name in BUNDLED_MODELS)]
    )
