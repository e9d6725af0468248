"""The kinds of cases that `python -m tests.hostile` draws from: a call with the case's random generator and a folder.

To add a kind, add an entry to CASES.
"""

import json
import random
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from tests.hostile.mutations import damaged_bytes, damaged_json
from tests.hostile.readers import READERS, Reader, configuration, read, with_configuration
from tests.hostile.review_logs import damaged_review_log

Case = Callable[[random.Random, Path], object]


@cache
def _valid(name: str) -> bytes:
    return READERS[name].make()


def damaged_file(reader: Reader, draw: random.Random, folder: Path) -> str:
    """Damage a reader's file and read it."""
    damage = damaged_json if reader.is_json and draw.random() < 0.8 else damaged_bytes
    return read(reader, folder / reader.name, damage(_valid(reader.name), draw))


def damaged_configuration(draw: random.Random, folder: Path) -> str:
    """Damage the configuration in a checkpoint's header and load the model."""
    reader = READERS["model.safetensors"]
    config = damaged_json(json.dumps(configuration()).encode(), draw)
    return read(reader, folder / reader.name, with_configuration(json.loads(config.decode("utf-8", "replace"))))


CASES: dict[str, Case] = {
    **{f"file:{name}": partial(damaged_file, reader) for name, reader in READERS.items()},
    "configuration": damaged_configuration,
    "review log": damaged_review_log,
}
"""By name. A case raises an exception for what must not happen."""


def run_case(kind: str, number: int, folder: Path) -> None:
    """Run the case of a number. Raises: what the case raises."""
    CASES[kind](random.Random(number), folder)
