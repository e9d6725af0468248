"""Damaged review logs: never an exception, never fewer decisions than a raw scan of the bytes finds.

`python -m tests.hostile.review_logs --files 2000` checks so many.
"""

import argparse
import random
import re
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pycocotools.mask as coco

from app.storage.review_log import LINES, NAME, ReviewStore
from tevit.review.decisions import AcceptMasks, ChangeClass, Decision, Keep, Mask, from_line, to_line
from tevit.review.recovery import recover_log

COUNT = 319
WAL = f"{NAME}-wal"
Content = dict[str, bytes]  # of a project's folder, by name


@cache
def noise() -> Mask:
    """A mask whose text has about two thousand letters."""
    mask = np.random.default_rng(1).random((48, 64)) < 0.3
    counts = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    assert isinstance(counts, bytes)
    return Mask((48, 64), counts.decode())


def decision(number: int) -> Decision:
    """Short and long lines; every eleventh is longer than a page of the database."""
    masks = AcceptMasks(number, 0, (noise(), None) * 5)
    action = masks if number % 11 == 0 else ChangeClass(number, 2) if number % 2 else Keep()
    return Decision(
        id=f"d{number}",
        dataset="0" * 64,
        video_id=1 + number % 5,
        tracks=(number,),
        verdict="label is right" if isinstance(action, Keep) else "label is wrong",
        action=action,
        note='größer {"id":"no decision"}' if number % 7 == 0 else "",
        reviewer="ann" if number % 3 else "björn",
        time=f"2026-01-31T12:{number // 60:02}:{number % 60:02}Z",
    )


@cache
def whole(closed: bool) -> Content:
    """The files of an intact log. closed: without -wal file, as after the end of the studio."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = ReviewStore(folder)
        store.extend([decision(number) for number in range(1, 200)])
        for number in range(200, COUNT + 1):
            store.extend([decision(number)])
        if closed:
            store.close()
        content = {path.name: path.read_bytes() for path in folder.iterdir() if path.name in (NAME, WAL, LINES)}
        store.close()
    assert closed or len(content[WAL]) > 100_000
    return content


def flip(rng: random.Random, data: bytearray) -> bytearray:
    for _ in range(rng.choice((1, 1, 5, 50))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def cut(rng: random.Random, data: bytearray) -> bytearray:
    return data[: rng.randrange(len(data))]


def zero(rng: random.Random, data: bytearray) -> bytearray:
    for _ in range(rng.choice((1, 1, 4, 20))):
        at = rng.randrange(len(data)) // 4096 * 4096
        data[at : at + 4096] = bytes(len(data[at : at + 4096]))
    return data


def overwrite(rng: random.Random, data: bytearray) -> bytearray:
    at = rng.randrange(len(data))
    data[at : at + 3000] = rng.randbytes(len(data[at : at + 3000]))
    return data


def repeat(rng: random.Random, data: bytearray) -> bytearray:
    """A part in a wrong place, as after a faulty copy."""
    at, to, size = rng.randrange(len(data)), rng.randrange(len(data)), rng.randrange(1, 9000)
    part = data[at : at + size]
    data[to : to + len(part)] = part
    return data


DAMAGES: list[Callable[[random.Random, bytearray], bytearray]] = [flip, cut, zero, overwrite, repeat]


def damaged(seed: int) -> tuple[Content, set[str]]:
    """A log's files and the names of those that were damaged; a file that was lost is not there."""
    rng = random.Random(seed)
    content = dict(whole(closed=rng.random() < 0.5))
    present = sorted(content)
    names = set(rng.choice(([NAME], [NAME], [LINES], present, [name for name in present if name != LINES])))
    for name in sorted(names):
        content[name] = bytes(rng.choice(DAMAGES)(rng, bytearray(content[name])))
    if rng.random() < 0.4:  # one file alone
        lost = rng.choice((LINES, NAME))
        names.add(lost)
        del content[lost]
        if lost == NAME:
            content.pop(WAL, None)
    return content, names


_SCAN = re.compile(rb'\{"id":"[^"]+","dataset":.*?"time":"[^"]+"\}', re.DOTALL)


def without_id(decision: Decision) -> str:
    return to_line(decision).partition(',"dataset":')[2]


def raw_scan(data: bytes) -> dict[str, str]:
    """Ids of the decisions whose whole JSON stands in the bytes -> the rest of their JSON."""
    decisions = {}
    for match in _SCAN.finditer(data):
        try:
            decision = from_line(match[0], "")
        except ValueError:
            continue
        decisions[decision.id] = without_id(decision)
    return decisions


def check(seed: int) -> tuple[int, int]:
    """Number of decisions that were restored, and of those that a raw scan finds."""
    content, names = damaged(seed)
    scanned = {id: text for data in content.values() for id, text in raw_scan(data).items()}
    with tempfile.TemporaryDirectory() as folder:
        for name, data in content.items():
            Path(folder, name).write_bytes(data)
        readers_agree(Path(folder), content)
        store = ReviewStore(folder)
        assert not store.in_memory, seed
        ids = {d.id for d in store.decisions()}
        originals = {f"d{n}" for n in range(1, COUNT + 1)}
        assert scanned.keys() & originals <= ids, (seed, scanned.keys() & originals - ids)
        rest = {without_id(d) for d in store.decisions()}  # an id that was damaged may be the former one again
        assert all(id in ids or text in rest for id, text in scanned.items()), (seed, scanned.keys() - ids)
        if LINES not in names or not names & {NAME, WAL}:  # one of the two is whole
            assert [to_line(d) for d in store.decisions()] == [to_line(decision(n)) for n in range(1, COUNT + 1)], seed
        assert len(ids & originals) == COUNT or store.notices or WAL in names or LINES in names, seed
        contents = [path.read_bytes() for path in Path(folder).iterdir() if path.is_file()]
        if any("kept as review" in text for text in store.notices):
            assert content[NAME] in contents, seed
        if any(f"{LINES} differed" in text for text in store.notices):
            assert content[LINES] in contents, seed
        assert store.append(decision(COUNT + 1)) == len(ids - {f"d{COUNT + 1}"}) + 1, seed
        store.close()
        again = ReviewStore(folder)
        assert not again.notices and {d.id for d in again.decisions()} >= ids, seed
        again.close()
    return len(ids), len(scanned)


def readers_agree(folder: Path, content: Content) -> None:
    """The library's reader of one file finds what a raw scan of it does, or refuses it as a whole."""
    for name in (NAME, LINES):
        scanned = raw_scan(content.get(name, b"")) | (raw_scan(content.get(WAL, b"")) if name == NAME else {})
        if name not in content or (name == NAME and not content[name].startswith(b"SQLite format 3\0")):
            continue
        try:
            ids = {d.id for d in recover_log(folder / name).decisions}
        except ValueError:
            ids = set()
        assert scanned.keys() & {f"d{n}" for n in range(1, COUNT + 1)} <= ids, (name, scanned.keys() - ids)


def damaged_review_log(draw: random.Random, _: Path) -> object:
    """A case of `python -m tests.hostile`."""
    return check(draw.randrange(1 << 40))


def main() -> None:
    """Check so many files; prints how much was restored."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.review_logs", description=__doc__)
    parser.add_argument("--files", type=int, default=2000, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    args = parser.parse_args()
    restored, began = [], time.monotonic()
    for seed in range(args.first, args.first + args.files):
        restored.append(check(seed))
    more = sum(ids - scanned for ids, scanned in restored)
    all_of = sum(ids >= COUNT for ids, _ in restored)
    print(
        f"{len(restored)} damaged logs in {time.monotonic() - began:.0f} s: no exception; all {COUNT} decisions "
        f"restored of {all_of}, {more} more than a raw scan finds, fewer of none"
    )


if __name__ == "__main__":
    main()
